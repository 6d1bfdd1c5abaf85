//! `StateStore`: the only way by which state is read and written, beside leases and appends.
//!
//! JSON passes the redactor before it is stored. What must keep names byte by byte (the ledger, the
//! files of a piece, the manifests of archives) goes as it is: it holds names of files and blobs,
//! and no words of a peer.

use std::sync::Arc;

use bytes::Bytes;
use md5::{Digest, Md5};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::sum;
use super::version::{self, LaterVersion};
use crate::model::BlobName;
use crate::model::failure::{Class, Failure};
use crate::model::redactor::Redactor;
use crate::runtime::retry::{Policy, retry};
use crate::store::contract::{
    BlobInfo, Condition, Etag, Metadata, Properties, Store, StoreError, StoreKind,
};

/// Why a blob of state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not what we write.
    #[error("reading `{blob}`: {why}")]
    Damaged {
        /// Its name.
        blob: String,
        /// What is wrong with it.
        why: String,
    },
    /// A later release wrote it.
    #[error(transparent)]
    Later(#[from] LaterVersion),
}

impl Failure for StateError {
    fn class(&self) -> Class {
        match self {
            StateError::Store(error) => error.class(),
            StateError::Damaged { .. } | StateError::Later(_) => Class::Ledger,
        }
    }

    fn is_transient(&self) -> bool {
        matches!(self, StateError::Store(error) if error.is_transient())
    }
}

/// The state in a store. Cloning it copies nothing.
#[derive(Clone, Debug)]
pub struct StateStore {
    store: Arc<dyn Store>,
    redactor: Redactor,
    policy: Policy,
    /// Work on state goes on when a run is told to stop: it is little, and what was done must be
    /// told.
    never: CancellationToken,
}

impl StateStore {
    /// The state in `store`. Nothing is written that `redactor` knows.
    pub fn new(store: Arc<dyn Store>, redactor: Redactor, policy: Policy) -> Self {
        Self { store, redactor, policy, never: CancellationToken::new() }
    }

    /// The store, for leases, appends and listings.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// What is taken out of texts.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// How often a request is tried.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// A blob's properties; `None` if there is no such blob. `doing` is a present participle, for
    /// logs.
    pub async fn head(
        &self,
        name: &BlobName,
        doing: &'static str,
    ) -> Result<Option<BlobInfo>, StoreError> {
        retry(&self.policy, &self.never, doing, |_| self.store.head(name)).await
    }

    /// A blob of at most `most` bytes; `None` if there is no such blob, or no container yet.
    pub async fn get(
        &self,
        name: &BlobName,
        most: u64,
        doing: &'static str,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        match retry(&self.policy, &self.never, doing, |_| self.store.get(name, 0, most)).await {
            // A plan comes before the first run has made the container: it holds nothing yet.
            Err(error) if error.kind == StoreKind::NoContainer => Ok(None),
            found => found,
        }
    }

    /// At most `most` bytes of a blob from `start` on; `None` if there is no such blob, or no
    /// container yet.
    pub async fn read(
        &self,
        name: &BlobName,
        start: u64,
        most: u64,
        doing: &'static str,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        match retry(&self.policy, &self.never, doing, |_| self.store.read(name, start, most)).await
        {
            Err(error) if error.kind == StoreKind::NoContainer => Ok(None),
            found => found,
        }
    }

    /// JSON of ours, with the tag of its blob.
    pub(crate) async fn get_json<T: DeserializeOwned>(
        &self,
        name: &BlobName,
        most: u64,
        doing: &'static str,
    ) -> Result<Option<(T, Etag)>, StateError> {
        let Some((info, bytes)) = self.get(name, most, doing).await? else { return Ok(None) };
        Ok(Some((parse(name, &bytes)?, info.etag)))
    }

    /// Writes JSON of ours, redacted, with its version. `None`: the condition did not hold, which
    /// is also so when the answer to a first try was lost.
    pub(crate) async fn put_json(
        &self,
        name: &BlobName,
        value: &impl Serialize,
        condition: &Condition,
        doing: &'static str,
    ) -> Result<Option<Etag>, StoreError> {
        self.put(name, json(&self.redactor, value), Metadata::new(), condition, doing).await
    }

    /// As [`StateStore::put_json`]; the SHA-256 of what was stored comes back, so that another blob
    /// can name it.
    pub(crate) async fn put_named_json(
        &self,
        name: &BlobName,
        value: &impl Serialize,
        condition: &Condition,
        doing: &'static str,
    ) -> Result<Option<String>, StoreError> {
        let bytes = json(&self.redactor, value);
        let sha256 = sum::sha256(&bytes);
        Ok(self.put(name, bytes, Metadata::new(), condition, doing).await?.map(|_| sha256))
    }

    /// As [`StateStore::put_json`], with a checksum of its own in it: for what no other blob names.
    pub(crate) async fn put_sealed_json(
        &self,
        name: &BlobName,
        value: &impl Serialize,
        condition: &Condition,
        doing: &'static str,
    ) -> Result<Option<Etag>, StoreError> {
        let mut value = object(&self.redactor, value);
        sum::seal(&mut value);
        self.put(name, pretty(&value), Metadata::new(), condition, doing).await
    }

    /// As [`StateStore::put_json`], with metadata.
    pub(crate) async fn put_json_with(
        &self,
        name: &BlobName,
        value: &impl Serialize,
        metadata: Metadata,
        condition: &Condition,
        doing: &'static str,
    ) -> Result<Option<Etag>, StoreError> {
        self.put(name, json(&self.redactor, value), metadata, condition, doing).await
    }

    /// Writes bytes as they are: names of files and blobs, and no words of a peer.
    pub async fn put(
        &self,
        name: &BlobName,
        bytes: Bytes,
        metadata: Metadata,
        condition: &Condition,
        doing: &'static str,
    ) -> Result<Option<Etag>, StoreError> {
        let content_type = "application/json".to_owned();
        let properties = Properties {
            content_type,
            md5: Md5::digest(&bytes).into(),
            metadata,
            placement: Default::default(),
        };
        let once = |_| self.store.put(name, bytes.clone(), &properties, condition);
        match retry(&self.policy, &self.never, doing, once).await {
            Ok(etag) => Ok(Some(etag)),
            Err(error) if error.kind == StoreKind::Condition => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes a blob; `Ok` also when there was none.
    pub async fn delete(&self, name: &BlobName, doing: &'static str) -> Result<(), StoreError> {
        retry(&self.policy, &self.never, doing, |_| self.store.delete(name)).await
    }

    /// Names and properties of all blobs whose names begin with `prefix`, as far as `keep` wants
    /// them.
    pub async fn list<T>(
        &self,
        prefix: &str,
        doing: &'static str,
        keep: impl Fn(BlobInfo) -> Option<T> + Sync,
    ) -> Result<Vec<T>, StoreError>
    where
        T: Send,
    {
        let keep = &keep;
        let once = |_| async move {
            let mut kept = Vec::new();
            self.store.list(prefix, &mut |info| kept.extend(keep(info))).await.map(|()| kept)
        };
        match retry(&self.policy, &self.never, doing, once).await {
            Err(error) if error.kind == StoreKind::NoContainer => Ok(Vec::new()),
            listed => listed,
        }
    }
}

/// JSON of ours as it is stored: redacted, an object with its version.
fn json(redactor: &Redactor, value: &impl Serialize) -> Bytes {
    pretty(&object(redactor, value))
}

fn object(redactor: &Redactor, value: &impl Serialize) -> Value {
    let mut value =
        redactor.json(serde_json::to_value(value).expect("state holds nothing that JSON cannot"));
    if let Value::Object(object) = &mut value {
        object.insert(version::MEMBER.to_owned(), version::VERSION.into());
    }
    value
}

fn pretty(value: &Value) -> Bytes {
    Bytes::from(serde_json::to_vec_pretty(value).expect("a value is JSON"))
}

/// Reads JSON of ours, the content of `name`. No tree of values is made of it first: it may be the
/// record of a run over a thousand sources.
pub(crate) fn parse<T: DeserializeOwned>(name: &BlobName, bytes: &[u8]) -> Result<T, StateError> {
    let damaged = |error: serde_json::Error| StateError::Damaged {
        blob: name.as_str().to_owned(),
        why: error.to_string(),
    };
    // What a later release wrote may look otherwise: its version is asked for first.
    version::check(name.as_str(), &version::member(bytes).map_err(damaged)?)?;
    serde_json::from_slice(bytes).map_err(damaged)
}
