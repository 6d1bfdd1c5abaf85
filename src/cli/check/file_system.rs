//! What a file system does with names, times and locks: looked at, never tried by writing.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::lines::CheckLines;
use crate::source::finding::Finding;

/// So many entries are looked at.
const MOST_ENTRIES: usize = 500;
/// Fewer times say nothing of what their file system can keep.
const FEWEST_TIMES: usize = 5;

/// Tells how the file system of the folder `root` treats names, times and locks.
pub fn tell(lines: &mut CheckLines, root: &Path) {
    let found = names(root).into_iter().chain(times(root)).chain(locks(root));
    found.for_each(|finding| lines.found(finding));
}

/// Names that differ in case are one file, or two: an entry is asked for by another spelling.
fn names(root: &Path) -> Option<Finding> {
    let entries: Vec<String> = fs::read_dir(root)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .take(MOST_ENTRIES)
        .collect();
    let other = |name: &str| -> String {
        let swap = |c: char| match c.is_ascii_lowercase() {
            true => c.to_ascii_uppercase(),
            false => c.to_ascii_lowercase(),
        };
        name.chars().map(swap).collect()
    };
    let asked = entries.iter().map(|name| other(name));
    let asked = asked.zip(&entries).find(|(other, name)| other != *name)?.0;
    let folds = fs::symlink_metadata(root.join(&asked)).is_ok() && !entries.contains(&asked);
    Some(Finding::new(
        "names",
        match folds {
            true => "names that differ in case only are one file here",
            false => "names that differ in case only are two files here",
        },
    ))
}

/// What the times of its entries show of their precision.
fn times(root: &Path) -> Option<Finding> {
    let entries = fs::read_dir(root).ok()?.filter_map(Result::ok).take(MOST_ENTRIES);
    let files = entries.filter_map(|entry| entry.metadata().ok()).filter(fs::Metadata::is_file);
    let times: Vec<(u64, u32)> = files
        .filter_map(|found| found.modified().ok()?.duration_since(UNIX_EPOCH).ok())
        .map(|time| (time.as_secs(), time.subsec_nanos()))
        .collect();
    precision(&times).map(|text| Finding::new("times", text))
}

fn precision(times: &[(u64, u32)]) -> Option<&'static str> {
    if times.len() < FEWEST_TIMES {
        return None;
    }
    let (is_whole, is_even) = times
        .iter()
        .fold((true, true), |(whole, even), (s, ns)| (whole && *ns == 0, even && s % 2 == 0));
    Some(match (is_whole, is_even) {
        (true, true) => "kept to two seconds, as these files show",
        (true, false) => "kept to the second, as these files show",
        (false, _) => "kept to fractions of a second",
    })
}

/// Whether locks can be had, and whether other machines see them.
fn locks(root: &Path) -> Option<Finding> {
    let folder = File::open(root).ok()?;
    let taken = folder.try_lock_shared();
    drop(folder.unlock());
    let options = mount_options(root).unwrap_or_default();
    Some(match taken {
        Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Interrupted => {
            let text = format!("not to be had here: {error}");
            Finding::new("locks", text).advice(ALONE)
        }
        _ => match local_locks(&options) {
            Some(why) => {
                let text = format!("they hold on this machine only ({why})");
                Finding::new("locks", text).advice(ALONE)
            }
            None => Finding::new("locks", "to be had"),
        },
    })
}

const ALONE: &str = "let one machine at a time work with this folder: others do not see its locks";

/// Why other machines do not see locks, by the kind and the options of a mount.
fn local_locks(options: &str) -> Option<&'static str> {
    let mut words = options.split([' ', ',']);
    let kind = words.next()?;
    let has = |wanted: &[&str]| options.split([' ', ',']).any(|word| wanted.contains(&word));
    match kind {
        "fuse.sshfs" => Some("sshfs"),
        "nfs" | "nfs4" if has(&["nolock", "local_lock=all", "local_lock=flock"]) => {
            Some("an NFS mount with `nolock` or `local_lock`")
        }
        "cifs" | "smb3" if has(&["nobrl", "nolock"]) => Some("an SMB mount with `nobrl`"),
        _ => None,
    }
}

/// Kind and options of the mount that `root` is in: `nfs4 rw,vers=4.2 …`.
#[cfg(target_os = "linux")]
fn mount_options(root: &Path) -> Option<String> {
    let real = fs::canonicalize(root).ok()?;
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mounts = table.lines().filter_map(|line| {
        let (mount, system) = line.split_once(" - ")?;
        let point = mount.split(' ').nth(4)?;
        let mut words = system.split(' ');
        let (kind, options) = (words.next()?, words.nth(1)?);
        real.starts_with(point).then(|| (point.len(), format!("{kind} {options}")))
    });
    mounts.max_by_key(|(length, _)| *length).map(|(_, options)| options)
}

#[cfg(not(target_os = "linux"))]
fn mount_options(_root: &Path) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_times_and_locks_are_is_seen_without_writing() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(names(dir.path()), None, "nothing shows it");
        fs::write(dir.path().join("Report.csv"), "").expect("it writes");
        let told = names(dir.path()).expect("it is seen").text;
        let folds = dir.path().join("rEPORT.CSV").exists();
        assert_eq!(told.contains("one file"), folds, "{told}");
        assert!(locks(dir.path()).expect("it can be opened").text.contains("to be had"));
        assert_eq!(fs::read_dir(dir.path()).expect("it lists").count(), 1);
    }

    #[test]
    fn times_show_how_exactly_they_are_kept() {
        let even = [(2, 0), (4, 0), (6, 0), (8, 0), (10, 0)];
        assert_eq!(precision(&even[1..]), None);
        assert!(precision(&even).is_some_and(|text| text.contains("two seconds")));
        let odd = [&even[..], &[(3, 0)]].concat();
        assert!(precision(&odd).is_some_and(|text| text.contains("the second")));
        let fine = [&even[..], &[(3, 7)]].concat();
        assert!(precision(&fine).is_some_and(|text| text.contains("fractions")));
    }

    #[test]
    fn mounts_whose_locks_hold_on_one_machine_are_known() {
        assert_eq!(local_locks("fuse.sshfs rw,user_id=0"), Some("sshfs"));
        assert!(local_locks("nfs4 rw,local_lock=none,vers=4.2").is_none());
        assert!(local_locks("nfs rw,vers=3,nolock,proto=tcp").is_some());
        assert!(local_locks("nfs rw,local_lock=all").is_some());
        assert!(local_locks("cifs rw,nobrl,cache=none").is_some());
        assert!(local_locks("cifs rw,cache=none").is_none() && local_locks("ext4 rw").is_none());
    }
}
