//! What a run claims of a file that it ingested, so that others can check the claim.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::model::{BlobName, Md5, RemoteFile, Version};

/// What of an ingested file can be re-checked later.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// The file as it was taken, and its version.
    pub taken: Option<(RemoteFile, Version)>,
    /// The blob that holds it as it came: name, size in bytes, MD5 as the store tells it.
    pub blob: Option<(BlobName, u64, Option<Md5>)>,
    /// The manifest of the archive that it was unpacked as.
    pub archive: Option<BlobName>,
    /// When its commit was confirmed, by the store's clock.
    pub stored: Option<OffsetDateTime>,
}

/// A blob that holds a file as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobClaim {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its MD5, 32 lower-case hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<String>,
}

/// An archive that was unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveClaim {
    /// How many members it has, directories and links among them.
    pub members: u64,
    /// The blob that tells of each: `_blobferry/<source>/archives/<version>.json`.
    pub manifest: String,
}
