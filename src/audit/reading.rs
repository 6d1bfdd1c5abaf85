//! What an audit reads of the store: in parts, some blobs at once, tried again.

use std::sync::Arc;

use bytes::Bytes;
use md5::{Digest, Md5};
use tokio_util::sync::CancellationToken;

use crate::ledger::described;
use crate::model::{BlobName, RemoteFile};
use crate::runtime::retry::{Policy, retry};
use crate::store::contract::{BlobInfo, Store, StoreError, StoreKind};
use crate::transfer::settings::Source;

/// Bytes that are read at once.
const PART: u64 = 4 << 20;
/// No line of ours is longer.
const LONGEST_LINE: usize = 8 << 20;
/// How often a blob may be replaced while it is read.
const MAX_REPLACED: u32 = 5;

/// A store that is read.
#[derive(Clone, Debug)]
pub(crate) struct AuditReader {
    /// The store.
    pub store: Arc<dyn Store>,
    /// How stubborn to be with it.
    pub policy: Policy,
    /// Ends waits between tries.
    pub cancel: CancellationToken,
}

/// How a manifest ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuditEnding {
    /// After a line.
    Whole,
    /// In the midst of one.
    Torn,
}

/// What reading all of a blob came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hashed {
    /// So many bytes with this MD5, of the blob that is described.
    Content(u64, crate::model::Md5, BlobInfo),
    /// It is gone.
    Gone,
    /// It was replaced again and again.
    Restless,
}

impl AuditReader {
    /// What stands under `name`.
    pub async fn head(&self, name: &BlobName) -> Result<Option<BlobInfo>, StoreError> {
        retry(&self.policy, &self.cancel, "looking for a blob", |_| self.store.head(name)).await
    }

    /// A whole blob of at most `most` bytes; an error of [`StoreKind::Rejected`] if it is larger.
    pub async fn whole(
        &self,
        name: &BlobName,
        most: u64,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        retry(&self.policy, &self.cancel, "reading a blob", |_| self.store.get(name, 0, most)).await
    }

    async fn part(
        &self,
        name: &BlobName,
        start: u64,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        retry(&self.policy, &self.cancel, "reading a blob", |_| self.store.read(name, start, PART))
            .await
    }

    /// Tells `visit` of each line of `name`, without its end. `None`: there is no such blob. What
    /// is no text of lines that end is torn.
    pub async fn lines(
        &self,
        name: &BlobName,
        mut visit: impl FnMut(&[u8]) + Send,
    ) -> Result<Option<AuditEnding>, StoreError> {
        let (mut at, mut rest) = (0, Vec::new());
        loop {
            let Some((info, bytes)) = self.part(name, at).await? else { return Ok(None) };
            at += bytes.len() as u64;
            rest.extend_from_slice(&bytes);
            let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            rest[..whole]
                .split_inclusive(|byte| *byte == b'\n')
                .for_each(|line| visit(&line[..line.len() - 1]));
            rest.drain(..whole);
            if bytes.is_empty() || at >= info.size || rest.len() > LONGEST_LINE {
                return Ok(Some(if rest.is_empty() {
                    AuditEnding::Whole
                } else {
                    AuditEnding::Torn
                }));
            }
        }
    }

    /// Reads all of `name`, one part after the other, and hashes it.
    pub async fn hash(&self, name: &BlobName) -> Result<Hashed, StoreError> {
        'anew: for _ in 0..MAX_REPLACED {
            let (mut at, mut md5, mut first): (u64, Md5, Option<BlobInfo>) = (0, Md5::new(), None);
            loop {
                let (info, bytes) = match self.part(name, at).await {
                    Ok(Some(found)) => found,
                    Ok(None) => return Ok(Hashed::Gone),
                    // It is shorter than it was: another one by now.
                    Err(error) if error.kind == StoreKind::Rejected && at > 0 => continue 'anew,
                    Err(error) => return Err(error),
                };
                if first.as_ref().is_some_and(|first| first.etag != info.etag) {
                    continue 'anew;
                }
                at += bytes.len() as u64;
                md5.update(&bytes);
                if bytes.is_empty() || at >= info.size {
                    return Ok(Hashed::Content(at, md5.finalize().into(), info));
                }
                first = Some(info);
            }
        }
        Ok(Hashed::Restless)
    }
}

/// Whether a newer file stands in the place of `file`, where only the newest one is kept.
pub(crate) async fn has_successor(
    reader: &AuditReader,
    source: &Source,
    file: &RemoteFile,
) -> Result<bool, StoreError> {
    let Some(rule) = source.succession() else { return Ok(false) };
    let Ok(name) = source.naming.file(file) else { return Ok(false) };
    let there = reader.head(&name).await?.and_then(|info| described(&info.metadata));
    Ok(there.is_some_and(|(path, known)| rule.succeeds(&known.file(&path), file, &source.patterns)))
}
