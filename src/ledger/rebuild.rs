//! Makes a ledger anew from what the blobs say of themselves.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_util::sync::CancellationToken;

use crate::ledger::blobs::{HEAD, LedgerBlobs, Race};
use crate::ledger::compact::{Tuning, write_generation};
use crate::ledger::error::{BadState, LedgerError};
use crate::ledger::head::{Head, stamp_of};
use crate::ledger::index::OpenRuns;
use crate::ledger::journal_files::{MAX_OVERTAKEN, make, seal_blindly};
use crate::ledger::key::{Key, key};
use crate::ledger::record::Record;
use crate::ledger::snapshot::{Entry, Snapshot};
use crate::model::{ModifiedTime, Precision, RemoteFile, RemotePath, Version, md5_of_hex};
use crate::rules::plan::known::{History, Known, UNSEEN_MARK};
use crate::runtime::retry::{Policy, retry};
use crate::settings::percent_decode;
use crate::state::paths::{StatePaths, is_state};
use crate::store::contract::{BlobInfo, Metadata, Store};

/// Metadata that tells the MD5 of the whole file: of an archive, and where its version tells of its
/// bytes.
const SOURCE_MD5: &str = "source_md5";

/// What a blob that is a file as it came proves of that file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Originals {
    /// All of it was ingested.
    Prove,
    /// Nothing by itself: the source keeps archives beside their members, and members may be
    /// missing. Only the manifest of an archive, its last write, proves that all of it was
    /// ingested.
    NeedManifest,
}

/// What a rebuild came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Rebuilt {
    /// Files that the ledger knows now, archives among them.
    pub files: u64,
    /// Archives among them.
    pub archives: u64,
    /// Blobs of this source, manifests included, that do not say enough of their file, or do not
    /// prove that all of it is there. The next run looks for what is there before it fetches.
    pub left_out: u64,
    /// Blobs that were looked at.
    pub blobs: u64,
}

/// The latest version of each path that a blob speaks of.
#[derive(Default)]
struct RebuildFound {
    latest: HashMap<Key, Latest>,
    counts: Rebuilt,
}

struct Latest {
    /// When the run began that wrote it, to the second, and the file's own time: what is newer.
    age: (String, Option<OffsetDateTime>),
    archive: bool,
    line: Bytes,
}

/// Replaces the ledger of `source`, whatever is in it, by what its blobs say. A writer that is
/// writing to the old one goes on in the new one. On `Err` the old one is as it was, but for
/// journals that were ended.
pub async fn rebuild(
    store: Arc<dyn Store>,
    source: &str,
    originals: Originals,
    run: &str,
    policy: Policy,
    cancel: CancellationToken,
) -> Result<Rebuilt, LedgerError> {
    let shelf = LedgerBlobs { store, source: source.to_owned(), policy, cancel };
    let manifests = StatePaths::of(source).archives_folder();
    let list = |_| async {
        let mut found = RebuildFound::default();
        shelf
            .store
            .list("", &mut |info| found.take_in(&info, source, originals, &manifests))
            .await
            .map(|()| found)
    };
    let found = retry(&shelf.policy, &shelf.cancel, "listing blobs", list).await;
    let found = found.map_err(|cause| LedgerError::Store {
        source_name: source.to_owned(),
        cause: Box::new(cause),
    })?;
    let RebuildFound { latest, mut counts } = found;
    counts.files = latest.len() as u64;
    counts.archives = latest.values().filter(|latest| latest.archive).count() as u64;
    let entries = latest.into_values().filter_map(|latest| entry(&latest.line)).collect();
    replace(&shelf, entries, run).await?;
    Ok(counts)
}

fn entry(line: &Bytes) -> Option<Entry> {
    let record: Record = serde_json::from_slice(line).ok()?;
    Entry::of(&record, line)
}

impl RebuildFound {
    fn take_in(&mut self, info: &BlobInfo, source: &str, originals: Originals, manifests: &str) {
        self.counts.blobs += 1;
        let manifest = info.name.starts_with(manifests);
        let metadata = &info.metadata;
        let ours = metadata.get("source").is_some_and(|name| name == source)
            && metadata.contains_key("version");
        if !manifest && (!ours || is_state(&info.name)) {
            return;
        }
        // A member speaks for its archive only together with all others: their manifest does.
        if metadata.contains_key("archive") {
            return;
        }
        if !manifest && originals == Originals::NeedManifest {
            self.counts.left_out += 1;
            return;
        }
        match described(metadata) {
            Some((path, known)) => self.add(&path, &known, info, manifest),
            None => self.counts.left_out += 1,
        }
    }

    fn add(&mut self, path: &RemotePath, known: &Known, info: &BlobInfo, archive: bool) {
        let run = info.metadata.get("run").cloned().unwrap_or_default();
        let began = run.split('-').next().unwrap_or_default().to_owned();
        // What was read of an archive, its manifest tells; of another file, the blob is what was
        // read.
        let md5 = if archive {
            info.metadata.get(SOURCE_MD5).and_then(|text| md5_of_hex(text))
        } else {
            info.md5
        };
        let left = info.metadata.contains_key(UNSEEN_MARK);
        let history = History { read: md5.is_some(), md5, left, ..History::default() };
        let known = Known { history, ..known.clone() };
        let line = Record::file(path, &known, &run, 1, info.size).to_line().into();
        let latest =
            Latest { age: (began, known.modified.map(|modified| modified.at)), archive, line };
        match self.latest.entry(key(path)) {
            std::collections::hash_map::Entry::Vacant(free) => drop(free.insert(latest)),
            std::collections::hash_map::Entry::Occupied(mut taken) => {
                if taken.get().age <= latest.age {
                    taken.insert(latest);
                }
            }
        }
    }
}

/// The file that a blob's metadata tells of. Its version is the proof: it is a fingerprint of path,
/// size and time, so what does not lead to it is not what was ingested. `None` also if the blob
/// does not say enough.
pub fn described(metadata: &Metadata) -> Option<(RemotePath, Known)> {
    let path = RemotePath::new(percent_decode(metadata.get("source_path")?)?);
    let version = Version::from_hex(metadata.get("version")?)?;
    let size = match metadata.get("source_size") {
        Some(size) => Some(size.parse().ok()?),
        None => None,
    };
    let at = match metadata.get("mtime") {
        Some(mtime) => Some(OffsetDateTime::parse(mtime, &Rfc3339).ok()?),
        None => None,
    };
    // Blobs do not tell whether a time is known to the second or finer.
    let precisions = [Precision::Second, Precision::Nanosecond, Precision::Minute, Precision::Day];
    let times: Vec<Option<ModifiedTime>> = match at {
        Some(at) => {
            precisions.into_iter().map(|precision| Some(ModifiedTime::new(at, precision))).collect()
        }
        None => vec![None],
    };
    // Where other bytes of equal size and time were taken before, the version tells of the bytes
    // too.
    let md5 = metadata.get(SOURCE_MD5).and_then(|text| md5_of_hex(text));
    let proven = |modified: &Option<ModifiedTime>| {
        let file = RemoteFile { path: path.clone(), size, modified: *modified };
        Version::of(&file) == version
            || md5.is_some_and(|md5| Version::of_content(&file, &md5) == version)
    };
    let modified = times.into_iter().find(proven)?;
    let file = RemoteFile { path: path.clone(), size, modified };
    Some((path, Known::new(&file, modified, version)))
}

async fn replace(shelf: &LedgerBlobs, entries: Vec<Entry>, run: &str) -> Result<(), LedgerError> {
    // From here on, a writer that writes finds its journal ended, and asks the head where to go on.
    let own = make(shelf).await?;
    let generation = write_generation(
        shelf,
        &Tuning::default(),
        &base(shelf).await?,
        &Snapshot::default(),
        entries,
    )
    .await?;
    let mut race = Race::default();
    for _ in 0..MAX_OVERTAKEN {
        let tag = shelf.head_tag().await?;
        // Not all that the container holds may be known now: the next run looks before it fetches.
        let open = OpenRuns(vec![format!("rebuild-{run}")]);
        let head = generation.head(&Head::empty(), &open, &own);
        let swapped = shelf.swap(&head, tag.as_ref(), &mut race).await?.is_some();
        if swapped
            || shelf.head().await.is_ok_and(|found| found.is_some_and(|(found, _)| found == head))
        {
            end_all_but(shelf, &head, run).await?;
            return Ok(());
        }
    }
    Err(LedgerError::Closed("other writers were always quicker".to_owned()))
}

/// An empty head whose generation is not below the one in place, as far as that can be read.
async fn base(shelf: &LedgerBlobs) -> Result<Head, LedgerError> {
    let generation = match shelf.head().await {
        Ok(found) => found.map_or(0, |(head, _)| head.generation),
        // What was moved is not made anew here.
        Err(error @ LedgerError::Future { cause: BadState::Elsewhere { .. }, .. }) => {
            return Err(error);
        }
        Err(LedgerError::Damaged { .. } | LedgerError::Future { .. }) => 0,
        Err(error) => return Err(error),
    };
    Ok(Head { generation, ..Head::empty() })
}

/// Ends the journals that count no more. Their writers go on in new ones.
async fn end_all_but(shelf: &LedgerBlobs, head: &Head, run: &str) -> Result<(), LedgerError> {
    let names = shelf.names().await?;
    let others =
        names.iter().filter(|name| name.starts_with("journal-") && stamp_of(name).is_some());
    for name in others.filter(|name| *name != HEAD && !head.journals.contains(name)) {
        seal_blindly(shelf, name, run).await?;
    }
    for number in 0.. {
        let blob = shelf.paths().legacy_journal(number);
        if !matches!(shelf.store.head(&blob).await, Ok(Some(_))) {
            break;
        }
        shelf.remove(vec![blob]).await;
    }
    Ok(())
}
