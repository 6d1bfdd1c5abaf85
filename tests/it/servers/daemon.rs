//! A server process that is ready when we get it, and dies with its guard or with the test process.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take until it greets, on a busy machine.
const READY: Duration = Duration::from_secs(60);

/// The keeper: runs the server, and ends the whole process group when the server ends or when our
/// end of its standard input closes, which the kernel does even if the test process is killed. Only
/// then, and for guards that live as long as the process, nobody else removes the server's folder:
/// the one who does so has left the group before it ends the group.
const KEEPER: &str = r#"exec 3<&0; folder=$1; shift
"$@" 3<&- </dev/null & server=$!
(cat <&3 >/dev/null
 setsid -f sh -c 'kill -s KILL -- "-$1"; i=0
  while kill -0 $2 2>/dev/null && [ $i -lt 20 ]; do sleep 0.1; i=$((i+1)); done
  rm -rf "$0"' "$folder" $$ $server
) & exec 3<&-
wait $server; kill -KILL 0"#;

/// How a server shows that it is ready.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ready {
    /// It sends these first bytes.
    Greets(&'static str),
    /// It accepts a connection.
    Accepts,
    /// It accepts a connection at each of its ports.
    AllAccept,
}

/// A running server process.
#[derive(Debug)]
pub struct Daemon {
    name: &'static str,
    keeper: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts what `command` makes for `N` free ports, and waits until the first of them is ready,
    /// or all of them are. `log`, in the server's own folder, is where its output goes; if another
    /// process took a port meanwhile, other ports are tried.
    pub fn start<const N: usize>(
        name: &'static str,
        log: &Path,
        ready: Ready,
        mut command: impl FnMut([u16; N]) -> Vec<String>,
    ) -> (Self, [u16; N]) {
        for attempt in 1.. {
            let ports = free_ports();
            let words = command(ports);
            let output = File::options().create(true).append(true).open(log).unwrap();
            let mut keeper = Command::new("sh");
            keeper
                .args(["-c", KEEPER, name])
                .arg(log.parent().expect("a file has a folder"))
                .args(&words)
                .process_group(0)
                .stdin(Stdio::piped());
            keeper
                .stdout(output.try_clone().unwrap())
                .stderr(output)
                .env("LD_LIBRARY_PATH", super::library_path());
            let mut daemon = Self { name, keeper: keeper.spawn().unwrap(), log: log.to_owned() };
            if daemon.is_ready(&ports, ready) {
                return (daemon, ports);
            }
            let text = daemon.log();
            assert!(attempt < 5 && daemon.has_ended(), "{name} did not start: {words:?}\n{text}");
        }
        unreachable!("the loop ends by return or panic")
    }

    fn is_ready(&mut self, ports: &[u16], ready: Ready) -> bool {
        let (start, ports) =
            (Instant::now(), if ready == Ready::AllAccept { ports } else { &ports[..1] });
        while start.elapsed() < READY && !self.has_ended() {
            if ports.iter().all(|port| greets(*port, ready)) && !self.has_ended() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    fn has_ended(&mut self) -> bool {
        self.keeper.try_wait().unwrap().is_some()
    }

    /// What the server has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Sends a signal (`STOP`, `CONT`, `TERM`) to the server and the processes of its sessions.
    pub fn signal(&self, signal: &str) {
        send(signal, descendants(self.keeper.id()).into_iter().filter(|pid| !is_helper(*pid)));
    }

    /// How many sessions of sshd are logged in.
    pub fn sessions(&self) -> usize {
        let is_session = |pid: &u32| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains("@notty"))
        };
        descendants(self.keeper.id()).iter().filter(|pid| is_session(pid)).count()
    }

    /// Ends the processes of the sessions, as if each connection broke; the server goes on.
    pub fn kill_sessions(&self) {
        for server in
            children(&parents(), self.keeper.id()).into_iter().filter(|pid| !is_helper(*pid))
        {
            send("KILL", descendants(server).into_iter());
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Sessions of sshd have left the process group, so they are looked up first.
        let pids = descendants(self.keeper.id());
        send("KILL", pids.into_iter());
        drop(self.keeper.stdin.take());
        send("KILL", std::iter::once(self.keeper.id()));
        let ended = self.keeper.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!(
                "--- log of {} ({ended:?})\n{}\n---",
                self.name,
                lines[lines.len().saturating_sub(200)..].join("\n")
            );
        }
    }
}

fn greets(port: u16, ready: Ready) -> bool {
    let Ok(mut connection) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let Ready::Greets(text) = ready else { return true };
    connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut greeting = vec![0; text.len()];
    connection.read_exact(&mut greeting).is_ok() && greeting == text.as_bytes()
}

/// Ports that are free now. All are held until all are known, so they differ.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.each_ref().map(|listener| listener.local_addr().unwrap().port())
}

fn send(signal: &str, pids: impl Iterator<Item = u32>) {
    let pids: Vec<String> = pids.map(|pid| pid.to_string()).collect();
    if !pids.is_empty() {
        // A process that has ended meanwhile is no news.
        Command::new("kill")
            .arg(format!("-{signal}"))
            .args(pids)
            .stderr(Stdio::null())
            .status()
            .unwrap();
    }
}

/// Whether it is a process of the keeper's own.
fn is_helper(pid: u32) -> bool {
    matches!(std::fs::read_to_string(format!("/proc/{pid}/comm")).as_deref(), Ok("cat\n" | "sh\n"))
}

/// Every process and its parent.
fn parents() -> HashMap<u32, u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // `pid (name) state parent …`, where the name may hold anything.
    let parent = |pid: u32| {
        std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .ok()?
            .rsplit_once(')')?
            .1
            .split_whitespace()
            .nth(1)?
            .parse()
            .ok()
    };
    pids.filter_map(|pid| Some((pid, parent(pid)?))).collect()
}

fn children(parents: &HashMap<u32, u32>, of: u32) -> Vec<u32> {
    parents.iter().filter(|(_, parent)| **parent == of).map(|(pid, _)| *pid).collect()
}

fn descendants(of: u32) -> Vec<u32> {
    let parents = parents();
    let mut found = children(&parents, of);
    let mut next = 0;
    while next < found.len() {
        found.extend(children(&parents, found[next]));
        next += 1;
    }
    found
}
