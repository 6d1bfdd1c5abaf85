//! Who holds a lease: a run in a process on a machine, and whether that process still lives.

use std::fs;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// A run that holds, or wants to hold, a lease. It is written beside the lease, for others to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The run's id.
    pub run: String,
    /// The machine's name, for people.
    pub host: String,
    /// The process.
    pub process: Process,
    /// When it asked for the lease, by its own clock.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

/// A process that cannot be taken for another one, as far as the operating system tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub id: u32,
    /// When it began, in ticks since the machine did: numbers are used again.
    pub began: Option<u64>,
    /// The one start of the one machine, and the space of process numbers there: containers have
    /// their own.
    pub space: Option<String>,
}

/// What is known of the life of a holder's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Alive,
    /// It ended.
    Dead,
    /// It is on another machine or in another container, or this system does not tell.
    Unknown,
}

impl Holder {
    /// The run `run` of this process.
    pub fn new(run: &str) -> Self {
        Self {
            run: run.to_owned(),
            host: host(),
            process: Process::this(),
            since: OffsetDateTime::now_utc(),
        }
    }

    /// Whether its process still lives, seen from this one.
    pub fn life(&self) -> Life {
        self.process.life()
    }
}

impl Process {
    /// This process.
    pub fn this() -> Self {
        let id = std::process::id();
        Self { id, began: began(id), space: space() }
    }

    fn life(&self) -> Life {
        if self.space.is_none() || self.began.is_none() || self.space != space() {
            Life::Unknown
        } else if began(self.id) == self.began {
            Life::Alive
        } else {
            Life::Dead
        }
    }
}

fn host() -> String {
    let told = ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .into_iter()
        .find_map(|path| fs::read_to_string(path).ok());
    let told = told
        .or_else(|| std::env::var("COMPUTERNAME").ok())
        .or_else(|| std::env::var("HOSTNAME").ok());
    let name = told
        .map(|name| crate::model::printable(name.trim().as_bytes()))
        .filter(|name| !name.is_empty());
    name.unwrap_or_else(|| "an unnamed host".into())
}

/// Only Linux tells which start of which machine this is; elsewhere nobody is ever called dead.
fn space() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let numbers = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{} {}", boot.trim(), numbers.display()))
}

/// The 22nd field of its line. The 2nd is its name in parentheses, which may itself hold anything.
fn began(id: u32) -> Option<u64> {
    let line = fs::read(format!("/proc/{id}/stat")).ok()?;
    let line = String::from_utf8_lossy(&line);
    let mut fields = line.rsplit_once(')')?.1.split_ascii_whitespace();
    // A process that has ended and waits for its parent to look works no more.
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_alive_until_it_is_not() {
        let ours = Holder::new("r");
        let (space, began) = (ours.process.space.clone(), ours.process.began);
        if cfg!(target_os = "linux") {
            assert_eq!(ours.life(), Life::Alive);
            let other = |id, began, space: Option<String>| Process { id, began, space }.life();
            // The number lives, the process that had it does not.
            assert_eq!(other(ours.process.id, Some(1), space.clone()), Life::Dead);
            assert_eq!(other(u32::MAX, began, space), Life::Dead);
            assert_eq!(
                other(ours.process.id, began, Some("another machine".into())),
                Life::Unknown
            );
            assert_eq!(other(ours.process.id, began, None), Life::Unknown);
        } else {
            assert_eq!(ours.life(), Life::Unknown);
        }
    }

    #[test]
    fn a_child_that_was_killed_is_dead() {
        if !cfg!(target_os = "linux") {
            return;
        }
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("it starts");
        let process = Process { id: child.id(), began: began(child.id()), space: space() };
        assert_eq!(process.life(), Life::Alive);
        child.kill().expect("it is killed");
        // Also before its parent has looked.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while process.life() != Life::Dead {
            assert!(std::time::Instant::now() < until, "it is dead");
            std::thread::yield_now();
        }
        child.wait().expect("it ended");
        assert_eq!(process.life(), Life::Dead);
    }

    #[test]
    fn a_holder_is_read_as_it_was_written() {
        let holder = Holder::new("20261123T100000Z-0a1b2c3d");
        let text = serde_json::to_vec(&holder).expect("it is written");
        assert_eq!(serde_json::from_slice::<Holder>(&text).expect("it is read"), holder);
        assert!(!holder.host.is_empty() && !holder.host.contains('\n'), "{holder:?}");
    }
}
