//! A pass's manifest: a line for each file that something was done about, appended while the pass
//! goes on.
//!
//! ```text
//! _blobferry/<source>/runs/<date>/<run>.jsonl     the lines, see `report::Line`
//! _blobferry/<source>/runs/<date>/<run>.json      the report, which comes after them
//! ```
//!
//! Making a line ([`Line::of`]) is pure and may happen anywhere, in another process too; appending
//! it happens in one place ([`Appender`]), at a known position. Lines wait in memory until there is
//! 1 MiB of them, so the manifest of a killed run ends early; that no report stands beside it says
//! so.

use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::model::{BlobName, hex};
use crate::report::{Line, Problem, Word, problem};
use crate::runtime::retry::{Policy, retry};
use crate::store::contract::{Store, StoreError, StoreKind};

/// Lines are appended when there are so many bytes of them, and never many more at once: Azure
/// allows 4 MiB.
const FULL: usize = 1 << 20;

/// The one writer of a manifest: it knows how long it is. Another one that writes to it is noticed
/// at the next append.
#[derive(Debug)]
pub struct Appender {
    store: Arc<dyn Store>,
    policy: Policy,
    name: BlobName,
    position: u64,
    lines: u64,
    /// Of all that was written, if all of it was written here.
    sum: Option<Sha256>,
}

impl Appender {
    /// Of the manifest `name`, which has `position` bytes in `lines` lines; 0: there is none yet.
    pub fn new(
        store: Arc<dyn Store>,
        policy: Policy,
        name: BlobName,
        position: u64,
        lines: u64,
    ) -> Self {
        let sum = (position == 0).then(Sha256::new);
        Self { store, policy, name, position, lines, sum }
    }

    /// How many lines the manifest has.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// How many bytes the manifest has.
    #[cfg(test)]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// SHA-256 of the manifest, in hex, if this appender wrote all of it.
    pub fn sha256(&self) -> Option<String> {
        self.sum.clone().map(|sum| hex(&sum.finalize()))
    }

    /// Appends whole lines, `FULL` bytes of them at once at most, if none is longer; they are
    /// durable when this returns. After an error, or if it is dropped before its end, only a
    /// beginning of them may be there.
    pub async fn append(&mut self, lines: Bytes) -> Result<(), StoreError> {
        let mut rest = lines;
        while !rest.is_empty() {
            let next = rest.split_to(whole_lines(&rest));
            self.append_once(&next).await?;
            self.position += next.len() as u64;
            self.sum.iter_mut().for_each(|sum| sum.update(&next));
            self.lines += next.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        Ok(())
    }

    async fn append_once(&self, bytes: &Bytes) -> Result<(), StoreError> {
        // What a run has done is written down also when it is being stopped.
        let cancel = CancellationToken::new();
        let what = "writing a manifest";
        let once = |_| self.store.append(&self.name, bytes.clone(), self.position);
        let error = match retry(&self.policy, &cancel, what, once).await {
            Ok(_) => return Ok(()),
            Err(error) if error.kind == StoreKind::Condition => error,
            Err(error) => return Err(error),
        };
        // Either the answer to a first try was lost, or somebody else writes here.
        let read = |_| self.store.read(&self.name, self.position, bytes.len() as u64 + 1);
        match retry(&self.policy, &cancel, what, read).await {
            Ok(Some((_, there))) if there == *bytes => Ok(()),
            _ => Err(error),
        }
    }
}

/// How many of the first bytes are to be appended at once: whole lines.
fn whole_lines(bytes: &[u8]) -> usize {
    if bytes.len() <= FULL {
        return bytes.len();
    }
    let end = |at: usize| at + 1;
    let fits = bytes[..FULL].iter().rposition(|byte| *byte == b'\n').map(end);
    fits.or_else(|| bytes.iter().position(|byte| *byte == b'\n').map(end)).unwrap_or(bytes.len())
}

/// The lines of a pass on their way to its manifest.
#[derive(Debug)]
pub struct RunManifest {
    waiting: Mutex<BufferedLines>,
    out: tokio::sync::Mutex<ManifestOut>,
}

/// Lines that are not appended yet.
#[derive(Debug, Default)]
struct BufferedLines {
    wanted: bool,
    /// Whether somebody else appends them.
    kept: bool,
    /// Whether some were appended.
    begun: bool,
    /// Lines of files that this run has ingested itself.
    ingested: u64,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct ManifestOut {
    appender: Appender,
    /// Why nothing more can be appended.
    broken: Option<Problem>,
}

/// A manifest as far as it was written.
#[derive(Debug)]
pub struct WrittenManifest {
    /// Its name.
    pub name: BlobName,
    /// Its lines.
    pub lines: u64,
    /// SHA-256 of it, in hex.
    pub sha256: Option<String>,
    /// Why lines are missing, if some are.
    pub broken: Option<Problem>,
}

impl RunManifest {
    /// On their way to the manifest `name`. What is noted is dropped until [`RunManifest::begin`]:
    /// a plan leaves no manifest.
    pub fn new(store: Arc<dyn Store>, policy: Policy, name: BlobName) -> Self {
        let appender = Appender::new(store, policy, name, 0, 0);
        Self {
            waiting: Mutex::default(),
            out: tokio::sync::Mutex::new(ManifestOut { appender, broken: None }),
        }
    }

    /// From now on lines are kept and appended.
    pub fn begin(&self) {
        let mut waiting = self.waiting();
        (waiting.wanted, waiting.kept) = (true, false);
    }

    /// From now on lines are kept, for [`RunManifest::take`]: a task that closes the pass appends
    /// them.
    pub fn keep(&self) {
        let mut waiting = self.waiting();
        (waiting.wanted, waiting.kept) = (true, true);
    }

    /// The lines that were kept.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.waiting().bytes)
    }

    fn waiting(&self) -> MutexGuard<'_, BufferedLines> {
        self.waiting.lock().expect("no code panics while it holds this lock")
    }

    /// Adds a line.
    pub fn push(&self, line: &Line) {
        let mut waiting = self.waiting();
        if waiting.wanted {
            let is_own = line.outcome == Word::Ingested && line.recovered.is_none();
            waiting.ingested += u64::from(is_own);
            waiting.bytes.extend(line.to_bytes());
        }
    }

    /// Appends the lines that wait, if there are many of them, or if they are the first: a manifest
    /// that is there by then costs the end of a run one answer less. A task that notes many lines
    /// calls this between them.
    pub async fn make_room(&self) {
        let full = {
            let waiting = self.waiting();
            let is_first = !waiting.begun && !waiting.bytes.is_empty();
            (waiting.bytes.len() >= FULL || is_first) && !waiting.kept
        };
        if full {
            self.append().await;
        }
    }

    /// How many lines tell of files that this run has ingested itself.
    pub fn ingested(&self) -> u64 {
        self.waiting().ingested
    }

    /// Appends what waits; whether everything that was noted is in the manifest, durably.
    pub async fn flush(&self) -> bool {
        self.append().await;
        self.out.lock().await.broken.is_none()
    }

    /// Appends what waits. What was written.
    pub async fn finish(&self) -> WrittenManifest {
        self.append().await;
        let out = self.out.lock().await;
        WrittenManifest {
            name: out.appender.name.clone(),
            lines: out.appender.lines,
            sha256: out.appender.sha256(),
            broken: out.broken.clone(),
        }
    }

    async fn append(&self) {
        let mut out = self.out.lock().await;
        let bytes = {
            let mut waiting = self.waiting();
            waiting.begun = true;
            std::mem::take(&mut waiting.bytes)
        };
        if bytes.is_empty() || out.broken.is_some() {
            return;
        }
        // If this is dropped in the midst of an append, nobody knows how long the manifest is.
        out.broken = Some(Problem::new(
            crate::model::failure::Class::Interrupted,
            "it was left in the midst of an append",
        ));
        out.broken = out.appender.append(bytes.into()).await.err().map(|error| problem(&error));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::paths::StatePaths;
    use crate::store::memory::MemoryStore;
    use crate::store::memory::{MemoryFault, MemoryOp};

    fn appender(store: &Arc<MemoryStore>) -> Appender {
        Appender::new(
            store.clone(),
            Policy { first_wait: std::time::Duration::ZERO, ..Policy::default() },
            StatePaths::of("acme").manifest("20260101T000000Z-00"),
            0,
            0,
        )
    }

    const NAME: &str = "_blobferry/acme/runs/20260101/20260101T000000Z-00.jsonl";

    #[tokio::test]
    async fn a_lost_answer_leaves_every_line_once() {
        let store = Arc::new(MemoryStore::new());
        let mut appender = appender(&store);
        for n in [1, 2] {
            store.fault(MemoryOp::Append, 1, MemoryFault::LostReply);
            appender.append(Bytes::from(format!("{{\"n\":{n}}}\n"))).await.expect("it appends");
        }
        assert_eq!(store.content(NAME), Some("{\"n\":1}\n{\"n\":2}\n".into()));
        assert_eq!((appender.lines(), appender.position()), (2, 16));
    }

    #[tokio::test]
    async fn a_second_writer_is_noticed() {
        let store = Arc::new(MemoryStore::new());
        let (mut one, mut other) = (appender(&store), appender(&store));
        one.append("1\n".into()).await.expect("it appends");
        assert_eq!(
            other.append("2\n".into()).await.expect_err("it is noticed").kind,
            StoreKind::Condition
        );
        assert_eq!(store.content(NAME), Some("1\n".into()));
        // A task that knows where it ends goes on.
        let mut next = Appender::new(
            store.clone(),
            Policy::default(),
            StatePaths::of("acme").manifest("20260101T000000Z-00"),
            2,
            1,
        );
        next.append("2\n".into()).await.expect("it appends");
        assert_eq!((store.content(NAME), next.lines()), (Some("1\n2\n".into()), 2));
    }

    #[tokio::test]
    async fn many_lines_go_in_pieces_that_end_with_a_line() {
        let store = Arc::new(MemoryStore::new());
        let mut appender = appender(&store);
        let lines: Bytes = format!("{}\n", "x".repeat(99)).repeat(30_000).into();
        appender.append(lines.clone()).await.expect("it appends");
        assert_eq!(
            (store.content(NAME), appender.lines(), store.counts().appends),
            (Some(lines), 30_000, 3)
        );
        assert_eq!(whole_lines(&vec![b'x'; 3 << 20]), 3 << 20);
    }
}
