//! Locks on names, also against other processes: waited for with patience, and with the name of
//! a caller that holds them.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::modes;

/// A caller that holds a lock does a few steps and flushes some files: who takes longer is frozen,
/// or its disk is.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where a lock was not to be had a moment ago.
const LITTLE_PATIENCE: Duration = Duration::from_secs(2);
/// So long that is remembered.
const MEMORY: Duration = Duration::from_secs(60);
/// The longest pause between two looks.
const PAUSE: Duration = Duration::from_millis(25);

/// Whether a lock is exclusive.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ExclusiveLock {
    /// For writing.
    Yes,
    /// For reading.
    No,
}

/// The locks in a folder.
#[derive(Clone, Debug)]
pub(crate) struct Locks {
    folder: PathBuf,
    /// When one of them was not to be had.
    stuck: Arc<Mutex<Option<Instant>>>,
}

impl Locks {
    /// The locks in `folder`.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, stuck: Arc::default() }
    }

    /// Held until dropped; the system drops it when a process dies. One that is not to be had in a
    /// few seconds is an error that names its holder.
    pub fn lock(&self, key: &str, alone: ExclusiveLock) -> io::Result<File> {
        let path = self.folder.join(&key[..2]);
        let file =
            modes::private().create(true).truncate(false).read(true).write(true).open(&path)?;
        let begun = Instant::now();
        let mut patience = None;
        let mut pause = Duration::from_micros(200);
        loop {
            let taken = match alone {
                ExclusiveLock::Yes => file.try_lock(),
                ExclusiveLock::No => file.try_lock_shared(),
            };
            match taken {
                Ok(()) => {
                    return Ok(file);
                }
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) => {}
            }
            let patience = *patience.get_or_insert_with(|| self.patience());
            if begun.elapsed() >= patience {
                *self.stuck.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                // The first time it is worth trying again.
                let kind = if patience == PATIENCE {
                    io::ErrorKind::TimedOut
                } else {
                    io::ErrorKind::ResourceBusy
                };
                return Err(io::Error::new(kind, held(&path, &file, patience)));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE);
        }
    }

    fn patience(&self) -> Duration {
        let stuck = self.stuck.lock().unwrap_or_else(PoisonError::into_inner);
        if stuck.is_some_and(|at| at.elapsed() < MEMORY) { LITTLE_PATIENCE } else { PATIENCE }
    }
}

fn held(path: &Path, file: &File, patience: Duration) -> String {
    let holder =
        holder(file).unwrap_or_else(|| "another process, perhaps on another machine".to_owned());
    format!(
        "`{}` is locked by {holder}, which did not let it go within {} s: end it, or let it go on",
        path.display(),
        patience.as_secs()
    )
}

/// Who holds the lock on `file`, where the system tells.
#[cfg(target_os = "linux")]
fn holder(file: &File) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let inode = format!(":{}", file.metadata().ok()?.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    // `7: FLOCK  ADVISORY  WRITE 1234 fd:01:1835043 0 EOF`; one that waits has `->` for its second
    // word.
    let words = locks.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let process = words
        .filter(|words| words.get(1) == Some(&"FLOCK"))
        .find(|words| words.get(5).is_some_and(|on| on.ends_with(&inode)))?;
    let process: u32 = process.get(4)?.parse().ok().filter(|process| *process > 0)?;
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
    let state = match rest.trim_start().chars().next() {
        Some('T' | 't') => ", which is stopped",
        Some('D') => ", which waits for a disk",
        _ => "",
    };
    Some(format!("process {process} ({}{state})", crate::model::printable(name.as_bytes())))
}

#[cfg(not(target_os = "linux"))]
fn holder(_file: &File) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_is_never_let_go_is_told_with_its_holder_and_then_soon() {
        let folder = tempfile::tempdir().expect("a folder");
        let (ours, theirs) =
            (Locks::new(folder.path().to_owned()), Locks::new(folder.path().to_owned()));
        let kept = theirs.lock("ab", ExclusiveLock::No).expect("it is free");
        drop(ours.lock("ab", ExclusiveLock::No).expect("readers do not exclude each other"));
        let begun = Instant::now();
        let error = ours.lock("ab", ExclusiveLock::Yes).expect_err("somebody reads");
        assert!(begun.elapsed() >= PATIENCE && error.kind() == io::ErrorKind::TimedOut, "{error}");
        if cfg!(target_os = "linux") {
            assert!(
                error.to_string().contains(&format!("process {}", std::process::id())),
                "{error}"
            );
        }
        let begun = Instant::now();
        ours.lock("ab", ExclusiveLock::Yes).expect_err("it still does");
        assert!(begun.elapsed() < PATIENCE, "it is known by now");
        drop(ours.lock("cd", ExclusiveLock::Yes).expect("others are free"));
        drop(kept);
        drop(ours.lock("ab", ExclusiveLock::Yes).expect("it is free again"));
    }
}
