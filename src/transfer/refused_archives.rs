//! Remembers large archives that a limit refused, so that they are not fetched in vain until a
//! limit changes.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::archive::limits::ArchiveLimits;
use crate::model::failure::Class;
use crate::model::{Version, chain};
use crate::report::Problem;
use crate::state::paths::StatePaths;
use crate::state::store::StateStore;
use crate::store::contract::{BLOCK_BYTES, BlobInfo, Condition, StoreError};

/// A smaller archive is fetched again: asking whether it was refused would take as long.
const WORTH_BYTES: u64 = BLOCK_BYTES;
/// The largest record that is read.
const MOST_BYTES: u64 = 64 << 10;

/// Which versions of files a source has refused, once that is known.
#[derive(Debug, Default)]
pub struct RefusalCache(OnceCell<HashSet<String>>);

/// What is remembered of one source.
pub(crate) struct RefusalRecords<'a> {
    /// Where it is kept.
    pub state: &'a StateStore,
    /// The source's name.
    pub source: &'a str,
    /// The run.
    pub run: &'a str,
    /// The limits that hold now, see [`limits`].
    pub limits: String,
    /// What is known of it.
    pub refused: &'a RefusalCache,
}

/// Why a version was refused.
#[derive(Debug, Serialize, Deserialize)]
struct RefusedRecord {
    /// The run that refused it.
    run: String,
    /// What it failed with.
    message: String,
    /// The limits that held then.
    limits: String,
}

/// Every limit that an archive may fail by, as text.
pub fn limits(limits: &ArchiveLimits, memory: u64) -> String {
    let ArchiveLimits { total_bytes, member_bytes: _, ratio, members, time } = limits;
    let seconds = time.as_secs();
    format!(
        "archive_bytes {total_bytes}, archive_ratio {ratio}, archive_members {members}, \
        archive_time {seconds}, memory {memory}"
    )
}

impl RefusalRecords<'_> {
    /// Reads what is there: one listing, with the first file that is large enough.
    async fn versions(&self) -> Result<&HashSet<String>, StoreError> {
        let list = || async {
            let folder = StatePaths::of(self.source).refused_folder();
            let version = |blob: BlobInfo| blob.name.strip_prefix(&folder).map(str::to_owned);
            let versions = self.state.list(&folder, "listing refused archives", version).await?;
            Ok(versions.into_iter().collect())
        };
        self.refused.0.get_or_try_init(list).await
    }

    /// Why this version of a file of `size` bytes is not fetched: a limit refused it, and is what
    /// it was.
    pub async fn earlier_refusal(
        &self,
        size: Option<u64>,
        version: Version,
    ) -> Result<Option<Problem>, StoreError> {
        if !is_worth(size) || !self.versions().await?.contains(&version.to_string()) {
            return Ok(None);
        }
        let name = StatePaths::of(self.source).refused(version);
        // A record that cannot be read is none: the archive is fetched, and refused again.
        let record = self
            .state
            .get_json::<RefusedRecord>(&name, MOST_BYTES, "reading why an archive was refused")
            .await;
        let Ok(Some((RefusedRecord { run, message, limits }, _))) = record else { return Ok(None) };
        let text = format!(
            "{message} (found by run {run}; it is not fetched again until the limit is another one)"
        );
        Ok((limits == self.limits).then(|| Problem::new(Class::LimitArchive, text)))
    }

    /// Remembers that a limit refused this version of a file of `size` bytes.
    pub async fn remember(&self, version: Version, size: u64, message: String) {
        if !is_worth(Some(size)) {
            return;
        }
        let name = StatePaths::of(self.source).refused(version);
        let record =
            RefusedRecord { run: self.run.to_owned(), message, limits: self.limits.clone() };
        let written = self
            .state
            .put_json(&name, &record, &Condition::Always, "writing why an archive was refused")
            .await;
        if let Err(failed) = written {
            let (source, error) = (self.source, chain(&failed));
            tracing::warn!(
                source,
                error,
                "Warning: an archive will be fetched again though a limit refuses it."
            );
        }
    }

    /// This version was unpacked after all.
    pub async fn release(&self, version: Version) -> Result<(), StoreError> {
        let is_there =
            self.refused.0.get().is_some_and(|versions| versions.contains(&version.to_string()));
        if is_there {
            let name = StatePaths::of(self.source).refused(version);
            self.state.delete(&name, "removing why an archive was refused").await?;
        }
        Ok(())
    }
}

fn is_worth(size: Option<u64>) -> bool {
    size.is_none_or(|size| size > WORTH_BYTES)
}
