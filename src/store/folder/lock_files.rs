//! Locks as files that one process alone can create, for file systems whose own locks are missing
//! or hold on one machine only.
//!
//! A file tells who holds it. Its holder writes to it every [`BEAT`]; one that was not written to
//! for [`DEAD`], by the clock of its file system, or whose process ended on this machine, is a dead
//! holder's and is broken.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use super::modes;
use crate::runtime::random;
use crate::store::holder::{Holder, Life};

/// How often a holder writes to its files.
const BEAT: Duration = Duration::from_secs(10);
/// How long a holder may be silent.
pub(crate) const DEAD: Duration = Duration::from_secs(60);
/// How old a file of a process may be that is about to break a lock.
const BREAKING: Duration = Duration::from_secs(60);

/// The lock files that this process holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct LockFiles {
    held: Arc<Mutex<HeldLocks>>,
}

#[derive(Debug, Default)]
struct HeldLocks {
    files: HashMap<PathBuf, BeatingFile>,
    /// Whether a thread writes to them.
    beats: bool,
}

#[derive(Debug)]
struct BeatingFile {
    file: File,
    text: Vec<u8>,
}

/// A lock file that is ours until it is dropped.
#[derive(Debug)]
pub(crate) struct HeldLockFile {
    path: PathBuf,
    text: Vec<u8>,
    of: LockFiles,
}

/// What is written into a lock file: a holder, and what nobody else can have written.
#[derive(serde::Serialize, serde::Deserialize)]
struct LockText {
    holder: Holder,
    nonce: String,
}

impl LockFiles {
    /// Takes the lock that the file at `path` is, unless a living process has it: then its holder,
    /// as far as that is known.
    pub fn take(
        &self,
        path: &Path,
        holder: &Holder,
    ) -> io::Result<Result<HeldLockFile, Option<Holder>>> {
        let nonce = random::digits();
        let text = LockText { holder: holder.clone(), nonce };
        let text = serde_json::to_vec(&text).map_err(io::Error::from)?;
        for broken in [false, true] {
            match modes::private().create_new(true).write(true).open(path) {
                Ok(file) => return self.hold(path, file, text).map(Ok),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            if broken || !break_dead(path)? {
                break;
            }
        }
        Ok(Err(read(path)?.and_then(|text| holder_of(&text))))
    }

    fn hold(&self, path: &Path, mut file: File, text: Vec<u8>) -> io::Result<HeldLockFile> {
        // From here on it goes away if a step fails.
        let held = HeldLockFile { path: path.to_owned(), text: text.clone(), of: self.clone() };
        file.write_all(&text)?;
        let mut all = self.all();
        all.files.insert(path.to_owned(), BeatingFile { file, text });
        if !std::mem::replace(&mut all.beats, true) {
            let of = self.clone();
            std::thread::Builder::new().name("lock-files".into()).spawn(move || of.beat())?;
        }
        Ok(held)
    }

    /// Writes to all files that are held, as long as there are some.
    fn beat(&self) {
        loop {
            std::thread::sleep(BEAT);
            let mut all = self.all();
            if all.files.is_empty() {
                all.beats = false;
                return;
            }
            for (path, BeatingFile { file, text }) in &mut all.files {
                let written = file.rewind().and_then(|()| file.write_all(text));
                if let Err(error) = written.and_then(|()| file.sync_data()) {
                    tracing::debug!(path = %path.display(), %error, "A lock file cannot be kept.");
                }
            }
        }
    }

    /// No code panics while it holds this lock, so a poisoned one is still sound.
    fn all(&self) -> MutexGuard<'_, HeldLocks> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HeldLockFile {
    /// Whether nobody broke it.
    pub fn is_ours(&self) -> io::Result<bool> {
        Ok(read(&self.path)?.is_some_and(|text| text == self.text))
    }
}

impl Drop for HeldLockFile {
    fn drop(&mut self) {
        self.of.all().files.remove(&self.path);
        let removed = match self.is_ours() {
            // A file without its text is ours, too: the disk was full.
            Ok(true) => fs::remove_file(&self.path),
            Ok(false) if fs::metadata(&self.path).is_ok_and(|found| found.len() == 0) => {
                fs::remove_file(&self.path)
            }
            other => other.map(drop),
        };
        if let Err(error) = removed {
            tracing::debug!(path = %self.path.display(), %error, "A lock file stays.");
        }
    }
}

fn holder_of(text: &[u8]) -> Option<Holder> {
    serde_json::from_slice::<LockText>(text).ok().map(|text| text.holder)
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    match File::open(path).and_then(|file| file.take(64 << 10).read_to_end(&mut text)) {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes the lock file at `path` if its holder is dead. Only one process at a time may do so: it
/// looks again once no other one can.
fn break_dead(path: &Path) -> io::Result<bool> {
    let Some(seen) = dead(path)? else { return Ok(false) };
    let breaking = path.with_extension("breaking");
    match modes::private().create_new(true).write(true).open(&breaking) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if age(&breaking)?.is_some_and(|age| age > BREAKING) {
                fs::remove_file(&breaking)?;
            }
            return Ok(false);
        }
        Err(error) => return Err(error),
    }
    let is_still = dead(path).map(|now| now.is_some_and(|now| now == seen));
    let removed = is_still.and_then(|still| match still {
        true => fs::remove_file(path).map(|()| true),
        false => Ok(false),
    });
    fs::remove_file(&breaking)?;
    if let Ok(true) = removed {
        tracing::info!(path = %path.display(), "The lock of a dead process is broken.");
    }
    removed
}

/// The text of the lock file at `path`, if its holder is dead.
fn dead(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let Some(text) = read(path)? else { return Ok(None) };
    let is_dead = match holder_of(&text).map(|holder| holder.life()) {
        Some(Life::Alive) => false,
        Some(Life::Dead) => true,
        Some(Life::Unknown) | None => age(path)?.is_some_and(|age| age > DEAD),
    };
    Ok(is_dead.then_some(text))
}

/// How long nobody has written to the file at `path`, by the clock of its file system.
fn age(path: &Path) -> io::Result<Option<Duration>> {
    let Some(written) = modified(path)? else { return Ok(None) };
    let now = path.with_extension(format!("now-{}", random::digits()));
    let made = modes::private().create_new(true).write(true).open(&now);
    let told = made.and_then(|mut file| {
        file.write_all(b"now")?;
        file.sync_data()?;
        file.metadata()?.modified()
    });
    fs::remove_file(&now)?;
    Ok(Some(told?.duration_since(written).unwrap_or_default()))
}

fn modified(path: &Path) -> io::Result<Option<SystemTime>> {
    match fs::metadata(path).and_then(|found| found.modified()) {
        Ok(modified) => Ok(Some(modified)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::holder::Process;

    fn elsewhere() -> Holder {
        let space = Some("another machine".to_owned());
        Holder { process: Process { space, ..Process::this() }, ..Holder::new("theirs") }
    }

    /// As if nobody had written to it for so long.
    fn aged(path: &Path, age: Duration) {
        let file = File::options().write(true).open(path).expect("it is there");
        file.set_modified(SystemTime::now() - age).expect("its time is set");
    }

    #[test]
    fn a_lock_file_is_one_holders_until_it_is_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, ours) = (folder.path().join("ab.held"), Holder::new("ours"));
        let (here, there) = (LockFiles::default(), LockFiles::default());
        let held = here.take(&path, &ours).expect("it works").expect("it is free");
        assert!(held.is_ours().expect("it is read"));
        let other = there.take(&path, &elsewhere()).expect("it works");
        assert_eq!(other.expect_err("it is held").expect("it tells by whom").run, "ours");
        drop(held);
        assert!(!path.exists());
        drop(there.take(&path, &elsewhere()).expect("it works").expect("it is free again"));
        assert_eq!(fs::read_dir(folder.path()).expect("it lists").count(), 0, "nothing is left");
    }

    #[test]
    fn a_lock_file_of_another_machine_is_broken_once_it_is_silent() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, ours) = (folder.path().join("ab.held"), Holder::new("ours"));
        let theirs = LockFiles::default().take(&path, &elsewhere()).expect("it works");
        let theirs = theirs.expect("it is free");
        aged(&path, DEAD / 2);
        let locks = LockFiles::default();
        locks.take(&path, &ours).expect("it works").expect_err("it may live");
        aged(&path, DEAD * 2);
        let held = locks.take(&path, &ours).expect("it works").expect("its holder is dead");
        assert!(!theirs.is_ours().expect("it is read"), "its holder is told, should it live");
        drop(theirs);
        assert!(held.is_ours().expect("it is read"), "and takes nothing away that is not its own");
    }

    #[test]
    fn a_lock_file_of_a_killed_process_is_broken_at_once() {
        if !cfg!(target_os = "linux") {
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let (path, ours) = (folder.path().join("ab.held"), Holder::new("ours"));
        let process = Process { began: Some(1), ..Process::this() };
        let killed = Holder { process, ..Holder::new("killed") };
        let theirs = LockFiles::default().take(&path, &killed).expect("it works");
        std::mem::forget(theirs);
        let held = LockFiles::default().take(&path, &ours).expect("it works");
        assert!(held.expect("its holder is dead").is_ours().expect("it is read"));
    }

    #[test]
    fn a_lock_that_another_process_is_about_to_break_is_left_to_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, ours) = (folder.path().join("ab.held"), Holder::new("ours"));
        let breaking = path.with_extension("breaking");
        std::mem::forget(LockFiles::default().take(&path, &elsewhere()).expect("it works"));
        aged(&path, DEAD * 2);
        fs::write(&breaking, "").expect("it writes");
        let locks = LockFiles::default();
        locks.take(&path, &ours).expect("it works").expect_err("another one is at it");
        aged(&breaking, BREAKING * 2);
        locks.take(&path, &ours).expect("it works").expect_err("it died; the next try breaks it");
        let held = locks.take(&path, &ours).expect("it works");
        assert!(held.expect("its holder is dead").is_ours().expect("it is read"));
    }
}
