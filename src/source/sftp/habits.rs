//! What the logins of a source found out about its server, so that later ones keep to it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;

use super::packet::status;
use super::request_limit::RequestLimit;
use crate::model::number_of;
use crate::source::finding::Finding;

/// Refusals that were found to mean what they say, at most.
const MOST_BELIEVED: usize = 64;
/// A refusal that does not say that too much is open is doubted for so long: others may have files
/// open for hours.
const DOUBT: Duration = Duration::from_secs(30);
/// What a refusal says that is about how much is open.
const TOO_MANY: [&str; 9] =
    ["too many", "maxim", "concurrent", "simultan", "limit", "exceed", "in use", "busy", "handles"];

/// What is known of a server.
#[derive(Debug, Default)]
pub struct Habits {
    /// It gave one handle to two open files.
    gives_handles_twice: AtomicBool,
    /// It mixes up the answers when it is asked for several pages of a folder at once.
    mixes_pages: AtomicBool,
    /// It refuses to have more than some files open.
    stands_few: AtomicBool,
    /// How many requests it stands at once.
    pub(super) requests: RequestLimit,
    /// It may read no more than the first of several requests in one message.
    wants_requests_alone: AtomicBool,
    /// How many logins are in.
    inside: AtomicUsize,
    /// How many files and folders are open, and how many may be.
    counts: Mutex<OpenCounts>,
    changed: Notify,
}

#[derive(Debug)]
struct OpenCounts {
    open: usize,
    most: usize,
    /// What `most` was before a refusal that is not understood yet.
    before: Option<usize>,
    /// Refusals, as status and words, that have nothing to do with how much is open.
    believed: HashSet<(u32, Bytes)>,
}

impl Default for OpenCounts {
    fn default() -> Self {
        Self { open: 0, most: usize::MAX, before: None, believed: HashSet::new() }
    }
}

/// The right to have one file or folder open; it ends when this is dropped.
#[derive(Debug)]
pub struct OpenPlace(Arc<Habits>);

impl OpenPlace {
    /// How many others have one.
    pub fn company(&self) -> usize {
        self.0.counts().open.saturating_sub(1)
    }
}

impl Drop for OpenPlace {
    fn drop(&mut self) {
        let mut counts = self.0.counts();
        counts.open -= 1;
        if counts.open < counts.most {
            self.0.changed.notify_waiters();
        }
    }
}

/// A login that is in, as long as this lives.
#[derive(Debug)]
pub(super) struct LoginPresence(Arc<Habits>);

impl Drop for LoginPresence {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Habits {
    /// The server stalled after several requests had gone out in one message: from now on each is
    /// sent in one of its own.
    pub(super) fn sends_them_alone(&self) {
        if !self.wants_requests_alone.swap(true, Ordering::Relaxed) {
            tracing::debug!(
                "The server stalled after several requests in one message: from now on each is \
                sent alone."
            );
        }
    }

    /// Whether each request is sent in a message of its own.
    pub(super) fn wants_them_alone(&self) -> bool {
        self.wants_requests_alone.load(Ordering::Relaxed)
    }

    /// A login came in.
    pub(super) fn enters(self: &Arc<Self>) -> LoginPresence {
        self.inside.fetch_add(1, Ordering::Relaxed);
        LoginPresence(self.clone())
    }

    /// How many logins are in.
    pub(super) fn inside(&self) -> usize {
        self.inside.load(Ordering::Relaxed)
    }

    fn counts(&self) -> MutexGuard<'_, OpenCounts> {
        // No code panics while it holds this lock, so a poisoned one is still sound.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to open one file or folder more, as soon as the server is believed to stand it.
    pub async fn place(self: &Arc<Self>) -> OpenPlace {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let mut counts = self.counts();
                if counts.open < counts.most {
                    counts.open += 1;
                    return OpenPlace(self.clone());
                }
            }
            changed.await;
        }
    }

    /// Whether a refusal to open something may be about how much is open already.
    pub fn doubts(&self, code: u32, words: &Bytes) -> bool {
        let is_plain = matches!(
            code,
            status::OK
                | status::EOF
                | status::NO_SUCH_FILE
                | status::NO_CONNECTION
                | status::CONNECTION_LOST
        );
        !is_plain && !self.counts().believed.contains(&(code, words.clone()))
    }

    /// How long a refusal of these words is doubted; as long as it takes, if it is about how much
    /// is open.
    pub fn patience(&self, words: &[u8]) -> Option<Duration> {
        let words = String::from_utf8_lossy(words).to_lowercase();
        if TOO_MANY.iter().any(|word| words.contains(word)) { None } else { Some(DOUBT) }
    }

    /// One of `open` files was refused: only half as many are tried from now on.
    pub(crate) fn halve(&self, open: usize) {
        let mut counts = self.counts();
        let most = counts.most;
        counts.before.get_or_insert(most);
        counts.most = most.min((open / 2).max(1));
    }

    /// A refusal was repeated with nothing else open: it means what it says.
    pub(crate) fn believe(&self, code: u32, words: &Bytes) {
        let mut counts = self.counts();
        if counts.believed.len() < MOST_BELIEVED {
            counts.believed.insert((code, words.clone()));
        }
        if let Some(before) = counts.before.take() {
            counts.most = before;
        }
        drop(counts);
        self.changed.notify_waiters();
    }

    /// What was refused is open, now that less is: the server has a limit.
    pub(crate) fn stands_less(&self) {
        let mut counts = self.counts();
        counts.before = None;
        let files = counts.most;
        drop(counts);
        if !self.stands_few.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                files,
                "Warning: the server refuses to have more files open at once: from now on there \
                are so many at most."
            );
        }
    }

    /// The server gave out a handle that is open: from now on one file or folder is open at a time.
    pub(crate) fn handle_came_twice(&self, address: &str) {
        let mut counts = self.counts();
        (counts.most, counts.before) = (1, None);
        drop(counts);
        if !self.gives_handles_twice.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                server = address,
                "Warning: the server gave one handle to two open files, so that bytes of one could \
                be taken for the other's: from now on one file is open at a time."
            );
        }
    }

    /// The server leaves requests to open files without an answer for long, so that nobody knows
    /// which handles it will give out: from now on one file or folder is open at a time.
    pub(crate) fn opens_came_late(&self, address: &str) {
        let mut counts = self.counts();
        (counts.most, counts.before) = (1, None);
        drop(counts);
        if !self.stands_few.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                server = address,
                "Warning: the server leaves a request to open a file without an answer while \
                others are read: from now on one file is open at a time."
            );
        }
    }

    /// Whether it gave one handle to two open files.
    pub(crate) fn gives_handles_twice(&self) -> bool {
        self.gives_handles_twice.load(Ordering::Relaxed)
    }

    /// The server's answers about several pages of a folder made no whole: from now on it is asked
    /// for one at a time.
    pub(crate) fn pages_were_mixed(&self, address: &str, why: &str) {
        if !self.mixes_pages.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                server = address,
                why,
                "Warning: a listing made no whole: from now on folders are listed one question at \
                a time."
            );
        }
    }

    /// Whether it is asked for one page of a folder at a time.
    pub(crate) fn mixes_pages(&self) -> bool {
        self.mixes_pages.load(Ordering::Relaxed)
    }

    /// What people should know of it.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.gives_handles_twice() {
            let text = "the server gives one handle to two open files: one file is open at a time";
            findings.push(Finding::new("handles", text).advice(
                "tell the server's owner: other clients store \
                    wrong bytes from it, and transfers are slow",
            ));
        } else if self.stands_few.load(Ordering::Relaxed) {
            let text = format!(
                "the server lets {} be open at once, and refuses more",
                number_of(self.counts().most, "file")
            );
            findings.push(Finding::new("handles", text));
        }
        if self.mixes_pages() {
            let text = "the server mixes up the pages of a folder when it is asked for several: it \
                is asked for one at a time";
            findings.push(
                Finding::new("listing", text)
                    .advice("tell the server's owner: other clients miss files or see them twice"),
            );
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refusal_is_believed_once_it_is_repeated_with_nothing_else_open() {
        let learned = Arc::new(Habits::default());
        let words = Bytes::from_static(b"Permission denied");
        assert!(
            learned.doubts(status::PERMISSION_DENIED, &words)
                && !learned.doubts(status::NO_SUCH_FILE, &words)
        );
        let _open = [learned.place().await, learned.place().await, learned.place().await];
        learned.halve(4);
        assert_eq!(learned.counts().most, 2);
        learned.halve(2);
        assert_eq!(learned.counts().most, 1);
        learned.believe(status::PERMISSION_DENIED, &words);
        assert_eq!(learned.counts().most, usize::MAX, "the limit was none");
        assert!(
            !learned.doubts(status::PERMISSION_DENIED, &words)
                && learned.doubts(status::FAILURE, &words)
        );
        assert_eq!(learned.patience(b"Maximum concurrent transfers exceeded"), None);
    }

    #[tokio::test]
    async fn places_are_as_many_as_the_server_stands() {
        let learned = Arc::new(Habits::default());
        let (first, second) = (learned.place().await, learned.place().await);
        learned.handle_came_twice("sftp://x");
        let third = tokio::spawn({
            let learned = learned.clone();
            async move { drop(learned.place().await) }
        });
        drop(first);
        tokio::task::yield_now().await;
        assert!(!third.is_finished(), "the second is still open");
        drop(second);
        third.await.expect("it gets a place");
        assert_eq!(learned.findings().len(), 1);
    }
}
