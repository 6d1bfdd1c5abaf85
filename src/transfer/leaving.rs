//! Files that are stored and are to leave the source, until it is proven that they are what was
//! read.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard};

use tokio::time::Instant;

use crate::failpoint::safeguard_off;
use crate::model::{Md5, ModifiedTime, RemoteFile, RemotePath};
use crate::report::Problem;
use crate::rules::equality::{self, Equality, is_exact};
use crate::rules::plan::known::Known;
use crate::rules::plan::rest::Rest;

/// A file that this program read and stored, and that is to leave the source.
#[derive(Clone, Debug)]
pub struct Due {
    /// As it was described after it was read.
    pub file: RemoteFile,
    /// Its time as the listing showed it.
    pub listed: Option<ModifiedTime>,
    /// What the ledger says of it.
    pub known: Known,
    /// MD5 of its bytes as they were read.
    pub md5: Md5,
    /// When they were read.
    pub read: Instant,
    /// What its time proves of its rest.
    pub rest: Rest,
    /// Whether an earlier removal was refused, or came to nothing though the server said that it
    /// was done: then it is looked at once more after it was removed.
    pub doubted: bool,
    /// Whether it lies on a disk or a share, where a time can stand still while a file is written.
    pub is_of_share: bool,
}

/// Whether what an earlier run knew of a file casts doubt on what the server says of its removal.
/// A file that left and is there again may be one that another sender put there, or one that never
/// left and was written on, or is told with another time.
pub(crate) fn is_doubted(before: Option<&Known>) -> bool {
    before.is_some_and(|before| before.history.left || before.history.refused.is_some())
}

/// What has to be shown before a file may leave the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadProof {
    /// It is looked at once it has rested since it was read.
    pub wait: bool,
    /// Its bytes are read once more.
    pub reread: bool,
}

impl Due {
    /// An exact time that proves rest needs no more than a description that still equals the one
    /// after the reading. A younger one needs that after a while; one that proves nothing, and a
    /// time that is only listed, or that tells it without a size, equal bytes; so does a young one
    /// of a share, unless its system says that nobody writes to the file.
    pub(crate) fn proof(&self) -> ReadProof {
        let exact = self.file.modified.as_ref().is_some_and(is_exact) && self.file.size.is_some();
        let young = self.is_of_share && self.rest == Rest::Young && !safeguard_off!("share-reread");
        ReadProof {
            wait: self.rest != Rest::Proven,
            reread: self.rest == Rest::Nothing || !exact || young,
        }
    }

    /// Whether a description, taken right before the file leaves, is still that of what was read.
    pub(crate) fn is_still(&self, now: &RemoteFile) -> bool {
        match equality::between(&self.file, now) {
            Equality::Same => true,
            Equality::Unknown => self.proof().reread,
            Equality::Different => safeguard_off!("look-before-removal"),
        }
    }
}

/// Those of a pass.
#[derive(Debug, Default)]
pub struct Leaving {
    waiting: Mutex<Vec<Due>>,
    failed: Mutex<Vec<(RemotePath, Problem)>>,
    moved: Mutex<Vec<(Due, RemotePath)>>,
    refused: AtomicU32,
}

/// After so many refusals in a row the source is not asked again in this pass.
const MOST_REFUSALS: u32 = 20;

impl Leaving {
    /// One more has to wait.
    pub fn add(&self, due: Due) {
        self.waiting().push(due);
    }

    /// One that was unchanged could not leave.
    pub fn failed(&self, path: &RemotePath, problem: Problem) {
        self.failures().push((path.clone(), problem));
    }

    /// Those that could not leave.
    pub(crate) fn take_failed(&self) -> Vec<(RemotePath, Problem)> {
        std::mem::take(&mut self.failures())
    }

    /// One was moved to this path, and no description tells whether it was still what was read.
    pub(crate) fn moved(&self, due: Due, to: RemotePath) {
        self.moves().push((due, to));
    }

    /// Those that were moved so.
    pub(crate) fn take_moved(&self) -> Vec<(Due, RemotePath)> {
        std::mem::take(&mut self.moves())
    }

    fn moves(&self) -> MutexGuard<'_, Vec<(Due, RemotePath)>> {
        self.moved.lock().expect("no code panics while it holds this lock")
    }

    fn failures(&self) -> MutexGuard<'_, Vec<(RemotePath, Problem)>> {
        self.failed.lock().expect("no code panics while it holds this lock")
    }

    /// All that wait.
    pub fn take(&self) -> Vec<Due> {
        std::mem::take(&mut self.waiting())
    }

    /// The source refused to let one go.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// The source let one go.
    pub(crate) fn let_go(&self) {
        self.refused.store(0, Ordering::Relaxed);
    }

    /// Whether the source refuses everything.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.refused.load(Ordering::Relaxed) >= MOST_REFUSALS
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Due>> {
        self.waiting.lock().expect("no code panics while it holds this lock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Precision, Version};

    fn check(precision: Precision, rest: Rest, wait: bool, reread: bool) {
        check_of(false, precision, rest, wait, reread);
    }

    fn check_of(is_of_share: bool, precision: Precision, rest: Rest, wait: bool, reread: bool) {
        let modified =
            Some(ModifiedTime::new(time::macros::datetime!(2026-11-20 10:00 UTC), precision));
        let file = RemoteFile { path: RemotePath::from("/a"), size: Some(1), modified };
        let known = Known::new(&file, modified, Version::of(&file));
        let due = Due {
            doubted: is_doubted(Some(&known)),
            file,
            listed: modified,
            known,
            md5: [0; 16],
            read: Instant::now(),
            rest,
            is_of_share,
        };
        assert!(!due.doubted);
        assert_eq!(due.proof(), ReadProof { wait, reread }, "{precision:?} {rest:?}");
    }

    #[tokio::test]
    async fn the_less_a_time_proves_the_more_has_to_be_shown() {
        check(Precision::Second, Rest::Proven, false, false);
        check(Precision::Second, Rest::Young, true, false);
        check(Precision::Second, Rest::Nothing, true, true);
        check(Precision::Minute, Rest::Proven, false, true);
        check(Precision::Minute, Rest::Young, true, true);
        check_of(true, Precision::Nanosecond, Rest::Young, true, true);
        check_of(true, Precision::Nanosecond, Rest::Proven, false, false);
    }
}
