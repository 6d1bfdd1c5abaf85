//! What a file system does with names, times and locks: looked at, never tried by writing.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::lines::CheckLines;
use crate::runtime::mounts::local_locks_of;
use crate::source::finding::Finding;

/// So many entries are looked at.
const MOST_ENTRIES: usize = 500;
/// Fewer times say nothing of what their file system can keep.
const FEWEST_TIMES: usize = 5;

/// Tells how the file system of the folder `root` treats names, times and locks.
pub fn tell(lines: &mut CheckLines, root: &Path, others: OtherMachines) {
    let found = names(root).into_iter().chain(times(root)).chain(locks(root, others));
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
fn locks(root: &Path, others: OtherMachines) -> Option<Finding> {
    let folder = File::open(root).ok()?;
    let taken = folder.try_lock_shared();
    drop(folder.unlock());
    Some(match taken {
        Err(TryLockError::Error(error)) if error.kind() != io::ErrorKind::Interrupted => {
            let text = format!("not to be had here: {error}");
            Finding::new("locks", text).advice(others.advice())
        }
        _ => match local_locks_of(root) {
            Some(why) => {
                let text = format!("they hold on this machine only ({why})");
                Finding::new("locks", text).advice(others.advice())
            }
            None => Finding::new("locks", "to be had"),
        },
    })
}

/// What other machines may do with a folder whose locks they do not see.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OtherMachines {
    /// Bring files there: a source.
    Send,
    /// Write blobs there: a destination.
    Write,
}

impl OtherMachines {
    fn advice(self) -> &'static str {
        match self {
            Self::Send => "what others lock on their machines is not seen on this one",
            Self::Write => {
                "lock files take their place for every machine that works with this folder: see \
                `.blobferry/locks`"
            }
        }
    }
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
        assert!(
            locks(dir.path(), OtherMachines::Write)
                .expect("it can be opened")
                .text
                .contains("to be had")
        );
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
}
