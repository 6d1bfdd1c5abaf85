//! Files that a pass could not take, until its end: not there when they were asked for, changing,
//! or young.

use std::sync::{Mutex, MutexGuard};

use crate::model::{RemoteFile, RemotePath};
use crate::rules::plan::Why;
use crate::rules::plan::known::Seen;
use crate::source::contract::SourceError;
use crate::transfer::leaving::Due;

/// One of them.
#[derive(Debug)]
pub enum Absent {
    /// A file that could not be described or opened, and why it was to be fetched, if it was.
    File(RemoteFile, Option<Why>),
    /// A folder that could not be entered.
    Folder(RemotePath, SourceError),
    /// A stored file that was to leave.
    Leaving(Box<Due>),
}

impl Absent {
    /// Its path.
    pub fn path(&self) -> &RemotePath {
        match self {
            Absent::File(file, _) => &file.path,
            Absent::Folder(path, _) => path,
            Absent::Leaving(due) => &due.file.path,
        }
    }
}

/// Those of a pass.
#[derive(Debug, Default)]
pub struct Absences {
    absent: Mutex<Vec<Absent>>,
    moving: Mutex<Vec<RemoteFile>>,
    resting: Mutex<Vec<Seen>>,
}

impl Absences {
    /// One more.
    pub(crate) fn add(&self, absent: Absent) {
        self.all().push(absent);
    }

    /// All of them.
    pub(crate) fn take(&self) -> Vec<Absent> {
        std::mem::take(&mut self.all())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// One more file that changed while it was read.
    pub fn moving(&self, file: RemoteFile) {
        self.moving.lock().expect("no code panics while it holds this lock").push(file);
    }

    /// All of those.
    pub(crate) fn take_moving(&self) -> Vec<RemoteFile> {
        std::mem::take(&mut self.moving.lock().expect("no code panics while it holds this lock"))
    }

    /// One more file that is another one by now, and may still be written.
    pub(crate) fn resting(&self, seen: Seen) {
        self.resting.lock().expect("no code panics while it holds this lock").push(seen);
    }

    /// All of those.
    pub(crate) fn take_resting(&self) -> Vec<Seen> {
        std::mem::take(&mut self.resting.lock().expect("no code panics while it holds this lock"))
    }

    /// The same of one file only, if it is among them.
    pub(crate) fn take_resting_of(&self, path: &RemotePath) -> Option<Seen> {
        let mut resting = self.resting.lock().expect("no code panics while it holds this lock");
        let at = resting.iter().position(|seen| seen.file.path == *path)?;
        Some(resting.swap_remove(at))
    }

    fn all(&self) -> MutexGuard<'_, Vec<Absent>> {
        self.absent.lock().expect("no code panics while it holds this lock")
    }
}
