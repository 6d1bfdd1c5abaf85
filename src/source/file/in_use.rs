//! Who writes to a file of a share: asked of the system, since a file's time can stand still while
//! it is written.
//!
//! A read lease would answer that in one call; no binding of it is at hand that is safe. So locks
//! are looked at, and what the processes of this machine have open for writing or mapped. That is
//! all there is to know of a disk of this machine, unless processes are hidden or it is exported;
//! of a share that other machines write to it is not, and the answer is "unknown".

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A look at all processes is good for this long, and for so many times what it took.
const GOOD_FOR: Duration = Duration::from_secs(1);
const GOOD_TIMES: u32 = 20;
/// The namespace of a machine's own processes. In others not all of them are seen.
const ALL_PROCESSES: &str = "pid:[4026531836]";
/// File systems that nobody but this machine's kernel writes to.
const LOCAL: &[u64] = &[
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
    0x0102_1994, // tmpfs
    0xf2f5_2010, // f2fs
    0x2fc1_2fc1, // zfs
    0x4d44,      // vfat
    0x2011_bab0, // exfat
];

/// What was seen in the last look at all processes.
#[derive(Debug, Default)]
pub(crate) struct OpenFiles(Mutex<Option<OpenFilesLook>>);

#[derive(Debug)]
struct OpenFilesLook {
    begun: Instant,
    took: Duration,
    /// Whether every process could be looked at.
    is_whole: bool,
    writers: HashMap<u64, Vec<OpenFilesWriter>>,
}

/// A process that has a file open for writing, or mapped so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenFilesWriter {
    name: OsString,
    process: u32,
}

impl OpenFiles {
    /// Who writes to the file `name` with this inode; `Ok(None)` is nobody, `Err` that it cannot be
    /// known.
    pub fn writer(&self, name: &OsStr, inode: u64) -> Result<Option<String>, ()> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_good = |look: &OpenFilesLook| {
            look.begun.elapsed() < GOOD_FOR.max(look.took.saturating_mul(GOOD_TIMES))
        };
        if !last.as_ref().is_some_and(is_good) {
            *last = Some(look());
        }
        let Some(look) = last.as_ref() else { return Err(()) };
        let writer = look.writers.get(&inode).and_then(|writers| {
            writers.iter().find(|writer| writer.name == name).map(|writer| writer.process)
        });
        match writer {
            Some(process) => Ok(Some(words(process))),
            None if look.is_whole => Ok(None),
            None => Err(()),
        }
    }
}

/// Whether nobody but this machine's processes writes to a file system of this kind.
pub(crate) fn is_local(kind: u64) -> bool {
    // An exported one is written to by the kernel, for a task that has mounted it.
    LOCAL.contains(&kind) && !Path::new("/proc/net/rpc/nfsd").exists()
}

/// Whether a file system of this kind keeps times to the nanosecond.
pub(crate) fn keeps_nanoseconds(kind: u64) -> bool {
    const COARSE: &[u64] = &[0x4d44, 0x2011_bab0];
    LOCAL.contains(&kind) && !COARSE.contains(&kind)
}

fn words(process: u32) -> String {
    let name = fs::read(format!("/proc/{process}/comm")).unwrap_or_default();
    let name = crate::model::printable(name.trim_ascii_end());
    format!("process {process} ({name}) has it open for writing")
}

fn look() -> OpenFilesLook {
    let begun = Instant::now();
    let own = std::process::id();
    let mut writers: HashMap<u64, Vec<OpenFilesWriter>> = HashMap::new();
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let mut is_whole = namespace == Path::new(ALL_PROCESSES);
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for process in processes.filter(|process: &u32| *process != own) {
        let mut add = |inode: u64, name: OsString| {
            writers.entry(inode).or_default().push(OpenFilesWriter { name, process });
        };
        let seen = open_for_writing(process, &mut add).and_then(|()| mapped(process, &mut add));
        if let Err(error) = seen
            && error.kind() == std::io::ErrorKind::PermissionDenied
        {
            is_whole = false;
        }
    }
    OpenFilesLook { begun, took: begun.elapsed(), is_whole, writers }
}

/// Nothing here touches the files themselves: theirs may be a file system that hangs.
fn open_for_writing(process: u32, add: &mut dyn FnMut(u64, OsString)) -> std::io::Result<()> {
    for entry in fs::read_dir(format!("/proc/{process}/fd"))?.flatten() {
        let number = entry.file_name();
        let told = Path::new("/proc").join(process.to_string()).join("fdinfo").join(&number);
        // It may be closed by now.
        let Ok(told) = fs::read_to_string(told) else { continue };
        let Some(inode) = written_inode(&told) else { continue };
        let Ok(path) = fs::read_link(entry.path()) else { continue };
        if let Some(name) = path.file_name() {
            add(inode, name.to_owned());
        }
    }
    Ok(())
}

/// The inode of a descriptor that may write, as `/proc/…/fdinfo` tells it.
fn written_inode(told: &str) -> Option<u64> {
    let value = |key: &str| told.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let flags = u32::from_str_radix(value("flags:")?, 8).ok()?;
    let may_write = flags & 0o3 != 0;
    may_write.then(|| value("ino:")?.parse().ok())?
}

fn mapped(process: u32, add: &mut dyn FnMut(u64, OsString)) -> std::io::Result<()> {
    let maps = fs::read(format!("/proc/{process}/maps"))?;
    for line in maps.split(|byte| *byte == b'\n') {
        if let Some((inode, name)) = written_map(line) {
            add(inode, name);
        }
    }
    Ok(())
}

/// The inode and the name of a file that a mapping shares its writes with:
/// `7f…-7f… rw-s 00000000 08:01 1234      /srv/in/a`.
fn written_map(line: &[u8]) -> Option<(u64, OsString)> {
    let mut words = line.splitn(6, |byte| *byte == b' ');
    let (rights, inode) = (words.nth(1)?, words.nth(2)?);
    if rights.get(1) != Some(&b'w') || rights.get(3) != Some(&b's') {
        return None;
    }
    let inode: u64 = std::str::from_utf8(inode).ok()?.parse().ok()?;
    let path = words.next()?.trim_ascii_start();
    let name = Path::new(OsStr::from_bytes(path)).file_name()?;
    (inode != 0).then(|| (inode, name.to_owned()))
}

/// Who holds a lock for writing on the file with this inode, by the table of locks
/// (`7: POSIX  ADVISORY  WRITE 1234 fd:01:1835043 0 EOF`).
pub fn locked(inode: u64) -> Option<String> {
    locked_in(&fs::read_to_string("/proc/locks").ok()?, inode, std::process::id())
}

fn locked_in(table: &str, inode: u64, own: u32) -> Option<String> {
    let ending = format!(":{inode}");
    let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let held = lines
        .filter(|words| words.get(1) != Some(&"->") && words.get(3) == Some(&"WRITE"))
        .find(|words| words.get(5).is_some_and(|on| on.ends_with(&ending)))?;
    let process: u32 = held.get(4)?.parse().unwrap_or(0);
    (process != own).then(|| match process {
        0 => "another machine or container holds a lock on it".to_owned(),
        _ => format!("process {process} holds a lock on it"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_file_that_another_process_has_open_for_writing_is_told_with_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("slow.dat");
        fs::write(&path, b"begun").expect("it writes");
        let inode = fs::metadata(&path).expect("it is there").ino();
        let name = OsStr::new("slow.dat");
        let told = OpenFiles::default().writer(name, inode);
        assert!(!matches!(told, Ok(Some(_))), "nobody has it: {told:?}");
        let script = "exec 3>>\"$1\"; echo ready; read -r line";
        let mut writer = std::process::Command::new("/bin/sh")
            .args(["-c", script, "sh"])
            .arg(&path)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut ready = [0; 6];
        let out = writer.stdout.as_mut().expect("it is piped");
        std::io::Read::read_exact(out, &mut ready).expect("it begins");
        let files = OpenFiles::default();
        let told = files.writer(name, inode).expect("it is known").expect("somebody has it");
        assert!(told.contains(&format!("process {}", writer.id())), "{told}");
        assert!(!matches!(files.writer(OsStr::new("other"), inode), Ok(Some(_))));
        writer.stdin.take().expect("it is piped").write_all(b"\n").expect("it reads");
        writer.wait().expect("it ends");
    }

    #[test]
    fn what_the_system_tells_of_open_files_is_read() {
        let told = |flags: &str| format!("pos:\t0\nflags:\t{flags}\nmnt_id:\t29\nino:\t77\n");
        assert_eq!(written_inode(&told("0100000")), None, "it is only read");
        assert_eq!(written_inode(&told("0100001")), Some(77));
        assert_eq!(written_inode(&told("0102002")), Some(77));
        let map = |rights: &str, path: &str| {
            written_map(format!("7f00-7f10 {rights} 00000000 08:01 12 {path}").as_bytes())
        };
        assert_eq!(map("rw-s", "       /srv/a b"), Some((12, OsString::from("a b"))));
        assert_eq!((map("rw-p", "  /srv/a"), map("r--s", "  /srv/a")), (None, None));
        assert_eq!(written_map(b"7f00-7f10 rw-p 00000000 00:00 0"), None);
    }

    #[test]
    fn locks_of_others_are_told() {
        let table = "1: POSIX  ADVISORY  WRITE 1234 fd:01:77 0 EOF\n\
             1: -> POSIX  ADVISORY  WRITE 99 fd:01:78 0 EOF\n\
             2: FLOCK  ADVISORY  READ 5 fd:01:79 0 EOF\n\
             3: OFDLCK ADVISORY  WRITE -1 fd:01:80 0 EOF\n";
        let told = |inode| locked_in(table, inode, 7);
        assert_eq!(told(77).as_deref(), Some("process 1234 holds a lock on it"));
        assert_eq!((told(78), told(79), locked_in(table, 77, 1234)), (None, None, None));
        assert!(told(80).is_some_and(|who| who.contains("another machine")));
    }
}
