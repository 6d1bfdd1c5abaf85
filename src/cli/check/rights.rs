//! The probes of the destination: blobs of our own on which everything is tried that a run does.

use std::time::{Duration, Instant};

use bytes::Bytes;
use md5::{Digest, Md5};

use crate::model::{BlobName, BoxError};
use crate::state::paths::PROBES;
use crate::store::contract::{BlobInfo, Condition, Etag, Properties, Store, StoreError, StoreKind};
use crate::store::placement::Placement;

/// No step waits longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// What is appended, and what a blob that is written whole holds.
const LINE: &[u8] = b"probe of blobferry check\n";

/// The blob that is written as a source wants its own to be kept.
const PLACED: &str = "_blobferry/_check/placed";

/// What became of a step, and how long it took.
pub type Done<T> = (Result<T, StoreError>, Duration);

/// Two blobs: one that is written whole and one that is appended to.
pub(crate) struct Probe<'a> {
    store: &'a dyn Store,
    whole: BlobName,
    appended: BlobName,
}

impl<'a> Probe<'a> {
    /// In this store; asks nothing yet.
    pub fn new(store: &'a dyn Store) -> Self {
        let name =
            |name: &str| BlobName::new(format!("{PROBES}{name}")).expect("the name is our own");
        Self { store, whole: name("probe"), appended: name("probe-appended") }
    }

    /// Creates the whole one under the condition that it is not there.
    pub async fn create(&mut self) -> Done<&'static str> {
        timed(async {
            match self.put(&Condition::IfAbsent).await {
                Ok(_) => Ok("a small blob below `_blobferry/`"),
                Err(error)
                    if error.kind == StoreKind::Condition
                        && self.head(&self.whole).await?.is_some() =>
                {
                    Ok("the probe of an earlier check is there, which could not be removed")
                }
                Err(error) => Err(error.into_no_race()),
            }
        })
        .await
    }

    /// Reads the whole one.
    pub async fn read(&mut self) -> Done<&'static str> {
        timed(async {
            match in_time(self.store.get(&self.whole, 0, 1 << 10)).await? {
                Some((_, bytes)) if bytes == LINE => Ok("it comes back as it was written"),
                Some(_) => Err(self.wrong(
                    &self.whole,
                    StoreKind::Corrupted,
                    "it does not come back as it was written",
                )),
                None => Err(self.wrong(
                    &self.whole,
                    StoreKind::Rejected,
                    "there is nothing to read, since nothing could be written",
                )),
            }
        })
        .await
    }

    /// Replaces the whole one under its tag, as the ledger's head is replaced.
    pub async fn overwrite(&mut self) -> Done<&'static str> {
        timed(async {
            let found = self.head(&self.whole).await?;
            let etag = found.map(|found| found.etag).ok_or_else(|| {
                self.wrong(&self.whole, StoreKind::Rejected, "there is nothing to overwrite")
            })?;
            self.put(&Condition::IfMatch(etag)).await.map_err(StoreError::into_no_race)?;
            Ok("the blob was replaced")
        })
        .await
    }

    /// Appends twice, to a blob that is made so if it is not there.
    pub async fn append(&mut self) -> Done<&'static str> {
        timed(async {
            let mut at = self.head(&self.appended).await?.map_or(0, |found| found.size);
            for _ in 0..2 {
                let appended =
                    in_time(self.store.append(&self.appended, Bytes::from_static(LINE), at)).await;
                at = appended.map_err(StoreError::into_no_race)?;
            }
            Ok("a blob was made and appended to")
        })
        .await
    }

    /// Lists the probes.
    pub async fn list(&mut self) -> Done<&'static str> {
        timed(async {
            let mut names = 0;
            in_time(self.store.list(PROBES, &mut |_| names += 1)).await?;
            match names {
                0 => Err(self.wrong(
                    &self.whole,
                    StoreKind::Rejected,
                    "the listing does not show what was written just now",
                )),
                _ => Ok("the listing shows the probes"),
            }
        })
        .await
    }

    /// Writes a blob that is kept as `placement` says, and removes it.
    pub async fn placed(&mut self, placement: &Placement) -> Done<()> {
        timed(async {
            let name = BlobName::new(PLACED).expect("the name is our own");
            let properties = Properties {
                content_type: "text/plain".into(),
                md5: Md5::digest(LINE).into(),
                metadata: [].into(),
                placement: placement.clone(),
            };
            let bytes = Bytes::from_static(LINE);
            in_time(self.store.put(&name, bytes, &properties, &Condition::Always)).await?;
            if let Err(error) = in_time(self.store.delete(&name)).await {
                tracing::debug!(error = %crate::model::chain(&error), "The probe stays.");
            }
            Ok(())
        })
        .await
    }

    /// Removes both.
    pub async fn remove(&mut self) -> Done<()> {
        timed(async {
            let first = in_time(self.store.delete(&self.whole)).await;
            first.and(in_time(self.store.delete(&self.appended)).await)
        })
        .await
    }

    async fn put(&self, condition: &Condition) -> Result<Etag, StoreError> {
        let properties = Properties {
            content_type: "text/plain".into(),
            md5: Md5::digest(LINE).into(),
            metadata: [].into(),
            placement: Default::default(),
        };
        in_time(self.store.put(&self.whole, Bytes::from_static(LINE), &properties, condition)).await
    }

    async fn head(&self, name: &BlobName) -> Result<Option<BlobInfo>, StoreError> {
        in_time(self.store.head(name)).await
    }

    fn wrong(&self, name: &BlobName, kind: StoreKind, why: impl Into<BoxError>) -> StoreError {
        StoreError::new("trying", name.as_str(), self.store.address(), kind, why)
    }
}

/// The step, or an error once it has taken too long.
pub(crate) async fn in_time<T>(
    step: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let late = || {
        StoreError::new(
            "asking",
            "storage",
            "time",
            StoreKind::Unavailable,
            format!("no answer within {} s", PATIENCE.as_secs()),
        )
    };
    tokio::time::timeout(PATIENCE, step).await.unwrap_or_else(|_| Err(late()))
}

async fn timed<T>(step: impl Future<Output = Result<T, StoreError>>) -> Done<T> {
    let start = Instant::now();
    let done = step.await;
    (done, start.elapsed())
}
