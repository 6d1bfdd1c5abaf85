//! Locks on names, also against other processes: waited for with patience, and with the name of
//! a caller that holds them. They are those of the operating system; where these are missing, or
//! hold on one machine alone, files take their place, for everybody who uses the folder.

use std::cell::Cell;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::lock_files::{HeldLockFile, LockFiles};
use super::modes;
use crate::runtime::mounts::local_locks_of;
use crate::store::holder::Holder;

/// A caller that holds a lock does a few steps and flushes some files: who takes longer is frozen,
/// or its disk is.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where a lock was not to be had a moment ago.
const LITTLE_PATIENCE: Duration = Duration::from_secs(2);
/// Of tasks of this very store, which take turns: their disk is slow. It is the time of many turns.
const PATIENCE_WITH_OURSELVES: Duration = Duration::from_secs(120);
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

/// How the names of lock files end.
const HELD: &str = "held";
/// A file that says that locks are files here. Who is the first to need that makes it, and all
/// others keep to it.
const BY_FILES: &str = "by-files";

/// A lock, until it is dropped.
#[derive(Debug)]
pub(crate) struct HeldLock {
    _of_the_system: Option<File>,
    _file: Option<HeldLockFile>,
    _own: OwnLock,
}

/// What tells a lock of a folder from the others: the beginning of its keys.
type LockMark = [u8; 2];

/// The locks that tasks of this store hold: one by several tasks, where these only read.
type OwnLocks = Arc<Mutex<Vec<LockMark>>>;

/// One of them.
#[derive(Debug)]
struct OwnLock {
    all: OwnLocks,
    mark: LockMark,
}

impl OwnLock {
    fn new(all: &OwnLocks, mark: LockMark) -> Self {
        locked(all).push(mark);
        Self { all: all.clone(), mark }
    }
}

impl Drop for OwnLock {
    fn drop(&mut self) {
        let mut all = locked(&self.all);
        if let Some(place) = all.iter().position(|mark| *mark == self.mark) {
            all.swap_remove(place);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The locks in a folder.
#[derive(Clone, Debug)]
pub(crate) struct Locks {
    folder: PathBuf,
    /// Whether they are files, once that is known.
    by_files: Arc<Mutex<Option<bool>>>,
    files: LockFiles,
    /// Who takes them.
    holder: Arc<OnceLock<Holder>>,
    /// When one of them was not to be had.
    stuck: Arc<Mutex<Option<Instant>>>,
    own: OwnLocks,
}

impl Locks {
    /// The locks in `folder`.
    pub fn new(folder: PathBuf) -> Self {
        let (by_files, files, holder) = (Arc::default(), LockFiles::default(), Arc::default());
        Self { folder, by_files, files, holder, stuck: Arc::default(), own: Arc::default() }
    }

    /// Held until dropped; the lock of a process that dies is free. One that is not to be had in a
    /// few seconds is an error that names its holder.
    pub fn lock(&self, key: &str, alone: ExclusiveLock) -> io::Result<HeldLock> {
        let path = self.folder.join(&key[..2]);
        let mark = [key.as_bytes()[0], key.as_bytes()[1]];
        if !self.is_by_files()? {
            match self.of_the_system(&path, mark, alone) {
                Err(error) if is_missing(&error) => self.become_files()?,
                result => return result,
            }
        }
        self.by_file(&path.with_extension(HELD), mark)
    }

    fn of_the_system(
        &self,
        path: &Path,
        mark: LockMark,
        alone: ExclusiveLock,
    ) -> io::Result<HeldLock> {
        let file =
            modes::private().create(true).truncate(false).read(true).write(true).open(path)?;
        let once = || {
            let taken = match alone {
                ExclusiveLock::Yes => file.try_lock(),
                ExclusiveLock::No => file.try_lock_shared(),
            };
            match taken {
                Ok(()) => Ok(Some(())),
                Err(TryLockError::Error(error)) => Err(error),
                Err(TryLockError::WouldBlock) => Ok(None),
            }
        };
        self.patiently((path, mark), || holder(&file), once)?;
        Ok(HeldLock { _of_the_system: Some(file), _file: None, _own: self.own(mark) })
    }

    fn by_file(&self, path: &Path, mark: LockMark) -> io::Result<HeldLock> {
        let ours = self.holder.get_or_init(|| Holder::new("-"));
        let theirs = Cell::new(None);
        let once = || match self.files.take(path, ours)? {
            Ok(held) => Ok(Some(held)),
            Err(other) => {
                theirs.set(other);
                Ok(None)
            }
        };
        let told = || {
            let Holder { process, host, .. } = theirs.take()?;
            Some(format!("process {} on {host}", process.id))
        };
        let taken = self.patiently((path, mark), told, once)?;
        Ok(HeldLock { _of_the_system: None, _file: Some(taken), _own: self.own(mark) })
    }

    fn own(&self, mark: LockMark) -> OwnLock {
        OwnLock::new(&self.own, mark)
    }

    /// The same for a lease: at once or not at all. `None`: locks are those of the system here.
    pub(crate) fn lease_by_file(
        &self,
        key: &str,
        holder: &Holder,
    ) -> io::Result<Option<Result<HeldLockFile, Option<Holder>>>> {
        if !self.is_by_files()? {
            return Ok(None);
        }
        let path = self.folder.join(format!("lease-{key}.{HELD}"));
        self.files.take(&path, holder).map(Some)
    }

    /// Asks `once` until it gives something, as long as that is worth it.
    fn patiently<T>(
        &self,
        (path, mark): (&Path, LockMark),
        holder: impl Fn() -> Option<String>,
        mut once: impl FnMut() -> io::Result<Option<T>>,
    ) -> io::Result<T> {
        let begun = Instant::now();
        let mut patience = None;
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(taken) = once()? {
                return Ok(taken);
            }
            let patience = *patience.get_or_insert_with(|| self.patience());
            let waited = begun.elapsed();
            let is_our_turn = || locked(&self.own).contains(&mark);
            if waited >= PATIENCE_WITH_OURSELVES || (waited >= patience && !is_our_turn()) {
                *locked(&self.stuck) = Some(Instant::now());
                // The first time it is worth trying again.
                let kind = if patience == PATIENCE {
                    io::ErrorKind::TimedOut
                } else {
                    io::ErrorKind::ResourceBusy
                };
                return Err(io::Error::new(kind, held(path, holder(), waited)));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE);
        }
    }

    fn is_by_files(&self) -> io::Result<bool> {
        let mut known = locked(&self.by_files);
        if let Some(known) = *known {
            return Ok(known);
        }
        // Nothing is known of a folder that is not there yet.
        if !self.folder.is_dir() {
            return Ok(false);
        }
        let mark = self.folder.join(BY_FILES);
        let is_by_files = mark.try_exists()? || local_locks_of(&self.folder).is_some();
        if is_by_files {
            make(&mark)?;
        }
        Ok(*known.insert(is_by_files))
    }

    /// Locks are files here from now on.
    pub(crate) fn become_files(&self) -> io::Result<()> {
        make(&self.folder.join(BY_FILES))?;
        *locked(&self.by_files) = Some(true);
        Ok(())
    }

    fn patience(&self) -> Duration {
        let stuck = *locked(&self.stuck);
        if stuck.is_some_and(|at| at.elapsed() < MEMORY) { LITTLE_PATIENCE } else { PATIENCE }
    }
}

fn make(mark: &Path) -> io::Result<()> {
    modes::private().create(true).truncate(false).write(true).open(mark).map(drop)
}

/// ENOLCK: a network file system has no locks, or its server does not answer for them.
const NO_LOCKS: Option<i32> = if cfg!(target_os = "linux") {
    Some(37)
} else if cfg!(target_os = "macos") {
    Some(77)
} else {
    None
};

/// Whether the file system has no locks.
pub(crate) fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
        || (NO_LOCKS.is_some() && error.raw_os_error() == NO_LOCKS)
}

fn held(path: &Path, holder: Option<String>, waited: Duration) -> String {
    let holder = holder.unwrap_or_else(|| "another process, perhaps on another machine".to_owned());
    format!(
        "`{}` is locked by {holder}, which did not let it go within {} s: end it, or let it go on",
        path.display(),
        waited.as_secs()
    )
}

/// Who holds the lock on `file`, where the system tells.
#[cfg(target_os = "linux")]
fn holder(file: &File) -> Option<String> {
    use std::fs;
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
    use std::fs;

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

    #[test]
    fn tasks_of_one_store_wait_for_each_other_longer_than_for_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let ours = Locks::new(folder.path().to_owned());
        let slow = ours.lock("ab", ExclusiveLock::Yes).expect("it is free");
        let next = {
            let ours = ours.clone();
            std::thread::spawn(move || ours.lock("ab", ExclusiveLock::Yes).map(drop))
        };
        std::thread::sleep(PATIENCE + Duration::from_secs(1));
        drop(slow);
        next.join().expect("no panic").expect("the disk was slow, and nobody is frozen");
        assert!(locked(&ours.own).is_empty(), "both have let it go");
    }

    #[test]
    fn a_folder_whose_locks_are_files_is_that_for_everybody() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = || Locks::new(folder.path().to_owned());
        fs::write(folder.path().join(BY_FILES), "").expect("it writes");
        let (ours, theirs) = (at(), at());
        let kept = theirs.lock("ab", ExclusiveLock::No).expect("it is free");
        let error = ours.lock("ab", ExclusiveLock::No).expect_err("readers wait, too");
        let told = format!("process {} on ", std::process::id());
        assert!(error.to_string().contains(&told), "{error}");
        drop(ours.lock("cd", ExclusiveLock::Yes).expect("others are free"));
        drop(kept);
        drop(ours.lock("ab", ExclusiveLock::Yes).expect("it is free again"));
        let left = fs::read_dir(folder.path()).expect("it lists").count();
        assert_eq!(left, 1, "the mark alone is left");
    }

    #[test]
    fn a_file_system_without_locks_gets_lock_files() {
        assert!(is_missing(&io::ErrorKind::Unsupported.into()));
        assert!(!is_missing(&io::ErrorKind::PermissionDenied.into()));
        #[cfg(target_os = "linux")]
        assert!(is_missing(&io::Error::from_raw_os_error(37)), "ENOLCK");
        let folder = tempfile::tempdir().expect("a folder");
        let (ours, theirs) =
            (Locks::new(folder.path().to_owned()), Locks::new(folder.path().to_owned()));
        assert!(!ours.is_by_files().expect("it is looked at"), "this one has some");
        ours.become_files().expect("it writes");
        assert!(ours.is_by_files().expect("it is known"));
        assert!(theirs.is_by_files().expect("it is looked at"), "whoever comes later keeps to it");
    }
}
