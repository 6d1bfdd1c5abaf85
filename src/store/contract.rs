//! What a store is: a flat space of named blobs with conditional, all-or-nothing writes.
//!
//! `tests/it/store_contract.rs` holds for every implementation. Nothing in here retries:
//! `retry` does, and a conditional write whose reply was lost comes back as
//! [`StoreKind::Condition`] on the next try, which the caller resolves by [`Store::head`].

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::holder::Holder;
use super::placement::Placement;
use crate::model::failure::{Class, Failure};
use crate::model::{BlobName, BoxError, Md5};
use crate::runtime::random;

/// The bytes of a block at which [`Store::stage`] is worth its request; the default block size.
pub(crate) const BLOCK_BYTES: u64 = 8 << 20;
/// The most blocks that one blob can have.
pub(crate) const MAX_BLOCKS: u64 = 50_000;
/// The most bytes of metadata, names and values together.
pub const MAX_METADATA_BYTES: usize = 8 << 10;

/// An opaque version of a blob, as the store tells it. Changes with every write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etag(pub String);

/// When a write may happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Only if there is no such blob.
    IfAbsent,
    /// Only if the blob is the one with this tag.
    IfMatch(Etag),
    /// In any case. For our own reports, never for users' data.
    Always,
}

/// Metadata of a blob: names are lower-case letters, digits and `_`, values printable ASCII
/// without blanks at the ends. At most [`MAX_METADATA_BYTES`] in all.
pub type Metadata = BTreeMap<String, String>;

/// Everything about a blob but its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// MIME type.
    pub content_type: String,
    /// MD5 of the whole content, stored as the blob's `Content-MD5`.
    pub md5: Md5,
    /// Our metadata.
    pub metadata: Metadata,
    /// How it is kept, where the store has several ways.
    pub placement: Placement,
}

/// A blob as the store describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its name in the container. Text, not [`BlobName`]: others write names there that we would
    /// not.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its version.
    pub etag: Etag,
    /// Its `Content-MD5`, if it has one.
    pub md5: Option<Md5>,
    /// Its metadata.
    pub metadata: Metadata,
    /// Its MIME type, if told.
    pub content_type: Option<String>,
}

/// One upload of one blob in blocks. Blocks of different uploads never mix, even under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// The blob to be.
    pub name: BlobName,
    nonce: String,
}

impl Upload {
    /// A new upload with a random nonce of its own.
    pub fn new(name: BlobName) -> Self {
        let mut nonce = [0u8; 8];
        random::of_name(&mut nonce);
        Self { name, nonce: crate::model::hex(&nonce) }
    }

    /// The id of block `index`: equally long for each, unique to this upload.
    pub fn block_id(&self, index: u32) -> String {
        format!("{}-{index:08}", self.nonce)
    }
}

/// How long a lease is good for, unless it is renewed: the longest that Azure gives.
pub const LEASE: Duration = Duration::from_secs(60);

/// What came of asking for a lease.
#[derive(Debug)]
pub enum Leased {
    /// It is ours.
    Held(Box<dyn Lease>),
    /// Somebody else has it.
    Taken(Taken),
}

/// Somebody else's lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Who said last that it is theirs; `None` if nobody did, or not in a way that we can read.
    pub by: Option<Holder>,
    /// How long it may outlive its holder: zero where it ends with the holder's process.
    pub outlives: Duration,
}

/// A lease that is ours for [`LEASE`]. Dropping it gives it back as far as that can be done without
/// waiting.
///
/// A lease saves work that two would do twice. It protects nothing: it can be lost at any moment.
#[async_trait]
pub trait Lease: Send + Sync + fmt::Debug {
    /// Makes it ours for another [`LEASE`] from now. [`StoreKind::Condition`] says that it is lost
    /// for good.
    async fn renew(&self) -> Result<(), StoreError>;

    /// Gives it back. `Ok` also when it was not ours any more.
    async fn release(self: Box<Self>) -> Result<(), StoreError>;
}

/// What a container or its account forbids, or has otherwise than others, for every writer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// An immutability policy: nothing is overwritten or removed while it lasts.
    pub has_immutability_policy: bool,
    /// A legal hold: the same, until it is cleared.
    pub has_legal_hold: bool,
    /// Names are files in directories, not free text.
    pub has_directories: bool,
}

/// A container of blobs.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Where it is, for logs and reports; never a secret.
    fn address(&self) -> &str;

    /// Whether our own state is in it too, beside the blobs.
    fn holds_state(&self) -> bool {
        true
    }

    /// How far this machine's clock is ahead of the store's, by the store's last answer; `None` if
    /// it never told, or has no other clock than this machine's.
    fn clock_ahead(&self) -> Option<time::Duration> {
        None
    }

    /// How many small blobs are best written at once, where the store gains by seeing many of them
    /// together.
    fn small_writes_at_once(&self) -> usize {
        1
    }

    /// Makes sure that the container is there: creates it if that is allowed,
    /// else fails with [`StoreKind::NoContainer`]. Safe to call from many processes at once.
    async fn prepare(&self) -> Result<(), StoreError>;

    /// What the container and its account forbid. By itself a store forbids nothing.
    async fn terms(&self) -> Result<Terms, StoreError> {
        Ok(Terms::default())
    }

    /// The blob's properties; `None` if there is no such (committed) blob.
    async fn head(&self, name: &BlobName) -> Result<Option<BlobInfo>, StoreError>;

    /// The bytes of a blob from `start` (at most its size) to its end; `None` if there is no such
    /// blob. More than `max_bytes` of them is [`StoreKind::Rejected`]: this is for our own state,
    /// not for users' data.
    async fn get(
        &self,
        name: &BlobName,
        start: u64,
        max_bytes: u64,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError>;

    /// At most `most` bytes of a blob from `start` (at most its size) on; `None` if there is no
    /// such blob. Read in parts, a blob is one content only as long as its tag stays the same. (By
    /// itself this reads all that follows: what holds large blobs does better.)
    async fn read(
        &self,
        name: &BlobName,
        start: u64,
        most: u64,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        let found = self.get(name, start, u64::MAX).await?;
        let length = usize::try_from(most).unwrap_or(usize::MAX);
        Ok(found.map(|(info, bytes)| (info, bytes.slice(..length.min(bytes.len())))))
    }

    /// Writes a whole blob at once: either all of it, its properties with it, becomes visible, or
    /// nothing. The store checks the bytes against `properties.md5` on arrival.
    async fn put(
        &self,
        name: &BlobName,
        bytes: Bytes,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError>;

    /// Stages block `index` of `upload`: invisible until committed, checked by checksum on arrival.
    /// Staging the same block again replaces it. Calls for one upload may overlap.
    async fn stage(&self, upload: &Upload, index: u32, bytes: Bytes) -> Result<(), StoreError>;

    /// Makes blocks `0..blocks` of `upload` the content of its blob, with `properties`, at once and
    /// visibly.
    async fn commit(
        &self,
        upload: &Upload,
        blocks: u32,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError>;

    /// Gives up staged blocks, as far as the store can (Azure drops them after a week by itself).
    async fn abandon(&self, upload: &Upload);

    /// Appends `bytes` (at most 4 MiB) to the append-only blob `name` if it is exactly `position`
    /// bytes long; at position 0 the blob is created. Another length is [`StoreKind::Condition`].
    /// Returns the new length.
    async fn append(&self, name: &BlobName, bytes: Bytes, position: u64)
    -> Result<u64, StoreError>;

    /// Calls `visit` for each blob whose name starts with `prefix`, in order of name, with
    /// metadata.
    async fn list(
        &self,
        prefix: &str,
        visit: &mut (dyn FnMut(BlobInfo) + Send),
    ) -> Result<(), StoreError>;

    /// Removes the directories below `prefix` whose names come before `before` and that hold
    /// nothing, where a listing has shown that the store keeps such.
    async fn remove_empty_directories(
        &self,
        _prefix: &str,
        _before: &str,
    ) -> Result<(), StoreError> {
        Ok(())
    }

    /// Removes a blob; `Ok` also when there was none.
    async fn delete(&self, name: &BlobName) -> Result<(), StoreError>;

    /// Takes the lease `name`, which is nothing but a lease: no blob of this name is written or
    /// read in another way. Of many that ask at once, one gets it. The same `holder` asking again
    /// gets it again, so a call whose answer was lost may be repeated; two leases at once need two
    /// holders (`holder.run` differs).
    async fn lease(&self, name: &BlobName, holder: &Holder) -> Result<Leased, StoreError>;

    /// Ends the lease `name` if it is that of `holder`, whose process is known to be dead; else
    /// does nothing.
    async fn end_lease(&self, name: &BlobName, holder: &Holder) -> Result<(), StoreError>;
}

/// What kind of refusal it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// A condition did not hold: the blob is there already, or is another one by now.
    Condition,
    /// The credential was refused or lacks a right.
    Denied,
    /// There is no such container, or it cannot be used.
    NoContainer,
    /// Too busy, timed out, connection lost: may work later.
    Unavailable,
    /// The bytes did not arrive as sent.
    Corrupted,
    /// The peer that answered is not known to be the store: its certificate is not trusted.
    Untrusted,
    /// Anything else that it does not accept.
    Rejected,
}

/// Something that went wrong with a store: what we were doing, to what, why.
#[derive(Debug)]
pub struct StoreError {
    op: &'static str,
    name: Box<str>,
    address: Box<str>,
    /// What kind of refusal.
    pub kind: StoreKind,
    retry_after: Option<Duration>,
    had_no_effect: bool,
    /// The store has failed for so long that asking again is in vain.
    is_for_good: bool,
    /// What kind it is if nobody was quicker after all.
    no_race: Option<StoreKind>,
    hint: &'static str,
    /// What the store calls it, where it is a refusal that we know; else empty.
    code: &'static str,
    cause: BoxError,
}

impl StoreError {
    /// `op` is a present participle, as `writing`; `name` a blob's or container's name.
    pub fn new(
        op: &'static str,
        name: &str,
        address: &str,
        kind: StoreKind,
        cause: impl Into<BoxError>,
    ) -> Self {
        let name = crate::model::printable(name.as_bytes());
        Self {
            op,
            name: name.into_boxed_str(),
            address: address.into(),
            kind,
            retry_after: None,
            had_no_effect: false,
            is_for_good: false,
            no_race: None,
            hint: "",
            code: "",
            cause: cause.into(),
        }
    }

    /// What to do about it, where more is known than its class tells; empty is nothing.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: &'static str) -> Self {
        self.hint = hint;
        self
    }

    /// What the store calls it.
    #[must_use]
    pub(crate) fn with_code(mut self, code: &'static str) -> Self {
        self.code = code;
        self
    }

    /// What the store calls it, where it is a refusal that we know; else empty.
    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// A refusal that a write meets only where something stands already: the caller has to look.
    #[must_use]
    pub(crate) fn into_race(mut self) -> Self {
        if self.kind != StoreKind::Condition {
            self.no_race = Some(self.kind);
            self.kind = StoreKind::Condition;
        }
        self
    }

    /// The same error, once a look has shown that nobody was quicker: it is a refusal, and asking
    /// again leads nowhere.
    #[must_use]
    pub(crate) fn into_no_race(mut self) -> Self {
        self.kind = match (self.no_race, self.kind) {
            (Some(kind), _) => kind,
            (None, StoreKind::Condition) => StoreKind::Rejected,
            (None, kind) => kind,
        };
        self
    }

    /// Nothing has been had of the store for long: this request is not made again.
    #[must_use]
    pub(crate) fn for_good(mut self) -> Self {
        self.is_for_good = true;
        self
    }

    /// The store has said that it did nothing, and will not do it later.
    #[must_use]
    pub(crate) fn without_effect(mut self) -> Self {
        self.had_no_effect = true;
        self
    }

    /// Whether the store has said that it did nothing, and will not do it later. False where nobody
    /// knows: a request whose answer is lost may have its effect after it was sent again.
    pub(crate) fn had_no_effect(&self) -> bool {
        self.had_no_effect
    }

    /// The store asked us to wait.
    #[must_use]
    pub fn after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}` in {}", self.op, self.name, self.address)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.cause.as_ref())
    }
}

impl Failure for StoreError {
    fn class(&self) -> Class {
        match self.kind {
            StoreKind::Condition => Class::StoreConflict,
            StoreKind::Denied => Class::StoreAuth,
            StoreKind::NoContainer => Class::StoreContainer,
            StoreKind::Unavailable | StoreKind::Corrupted => Class::StoreUnavailable,
            StoreKind::Untrusted => Class::Tls,
            StoreKind::Rejected => Class::StoreRejected,
        }
    }
    fn is_transient(&self) -> bool {
        !self.is_for_good && matches!(self.kind, StoreKind::Unavailable | StoreKind::Corrupted)
    }
    fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
    fn hint(&self) -> &'static str {
        if self.hint.is_empty() { self.class().hint() } else { self.hint }
    }
}
