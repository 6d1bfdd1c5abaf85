//! The manifest of an archive: its last write, and what tells of it later.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;

use crate::archive::contract::{Member, Place};
use crate::archive::verify::Checked;
use crate::model::{self, BlobName, Version, hex};
use crate::report::{Ingested, Proof};
use crate::rules::naming::escaped_for_metadata;
use crate::runtime::retry::retry;
use crate::state::paths::StatePaths;
use crate::transfer::commit::{self, Stored};
use crate::transfer::context::Pass;
use crate::transfer::error::TransferError;
use crate::transfer::request::Transfer;

/// The largest manifest that is read back: a million members have one of some 250 MB.
pub const MAX_MANIFEST_BYTES: u64 = 1 << 30;

/// Metadata: the MD5 of the archive as it came.
pub(crate) const SOURCE_MD5: &str = "source_md5";

/// The last write of an archive: the sign that all of it is in the store.
#[derive(Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of this form: 1.
    pub schema: u32,
    /// The run that wrote it.
    pub run: String,
    /// The archive's path at the source, percent-escaped as in metadata.
    pub source_path: String,
    /// Its version, 32 hex digits.
    pub version: String,
    /// Its format.
    pub format: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its members, in the archive's order.
    pub members: Vec<ManifestMember>,
    /// Blobs of members that the version before had and this one has not. They stay.
    pub stale: Vec<String>,
    /// Archives in it that were opened.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inner: Vec<InnerArchive>,
    /// The settings that decided which were.
    #[serde(default)]
    pub opening: String,
}

/// What the manifest of an archive says of a member.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ManifestMember {
    /// Its name as stored in the archive, percent-escaped as in metadata.
    pub name: String,
    /// The blob that holds it, if it was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    /// Why it was not stored, if it was not.
    pub skipped: Option<String>,
    /// Its size in bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    /// When it was last modified, RFC 3339, if the archive tells.
    pub modified: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    /// MD5 of its blob, 32 lower-case hex digits.
    pub md5: Option<String>,
    /// As the archive tells it, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc32: Option<String>,
    /// Why it was not unpacked, if it is an archive: the class of the failure, or its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_unpacked: Option<String>,
}

impl ManifestMember {
    /// The MD5 that was recorded, as bytes.
    pub(crate) fn md5_bytes(&self) -> Option<model::Md5> {
        model::md5_of_hex(self.md5.as_ref()?)
    }
}

/// The name of the manifest of an archive's version.
pub fn name_of(source: &str, version: Version) -> BlobName {
    StatePaths::of(source).archive(version)
}

/// Whether this version of an archive is in the store already, by its manifest.
pub async fn complete(pass: &Pass, version: Version) -> Result<Option<Ingested>, TransferError> {
    let name = name_of(&pass.source.name, version);
    let Some(found) = commit::head(&pass.run, &name).await? else { return Ok(None) };
    let count =
        |key: &str| found.metadata.get(key).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let (members, skipped) = (count("members"), count("members_skipped"));
    let identical = members - skipped.min(members);
    let proof = Box::new(Proof { archive: Some(name), ..Proof::default() });
    Ok(Some(Ingested {
        identical,
        members_skipped: skipped,
        members_left: count("members_left"),
        members: Some(members),
        proof,
        ..Ingested::default()
    }))
}

/// The MD5 of this version of an archive as it came, if its manifest tells.
pub(crate) async fn source_md5(
    pass: &Pass,
    version: Version,
) -> Result<Option<model::Md5>, TransferError> {
    let found = commit::head(&pass.run, &name_of(&pass.source.name, version)).await?;
    Ok(found.and_then(|found| model::md5_of_hex(found.metadata.get(SOURCE_MD5)?)))
}

/// A member's modified time as manifests tell it.
pub fn modified(pass: &Pass, member: &Member) -> Option<String> {
    pass.modified(member).and_then(|modified| modified.at.format(&Rfc3339).ok())
}

/// What was stored of the version before.
pub async fn before(pass: &Pass, transfer: &Transfer) -> Result<Option<Manifest>, TransferError> {
    let Some(known) = &transfer.known else { return Ok(None) };
    let name = name_of(&pass.source.name, known.version);
    let once = |_| pass.run.store.get(&name, 0, MAX_MANIFEST_BYTES);
    let Some((_, bytes)) =
        retry(&pass.run.policy, &pass.run.cancel, "reading a manifest", once).await?
    else {
        return Ok(None);
    };
    // The version before may not have been an archive, or be described by a later release: then
    // nothing is known of it.
    Ok(serde_json::from_slice(&bytes).ok())
}

/// Members by name; those that share one are left out.
pub(crate) fn by_name(before: Option<&Manifest>) -> HashMap<&str, &ManifestMember> {
    let mut members = HashMap::new();
    let mut shared = HashSet::new();
    for member in before.iter().flat_map(|manifest| &manifest.members) {
        if members.insert(member.name.as_str(), member).is_some() {
            shared.insert(member.name.as_str());
        }
    }
    members.retain(|name, _| !shared.contains(name));
    members
}

/// Blobs of members that the version before had and this one has not.
pub fn stale(
    before: Option<Manifest>,
    members: impl Iterator<Item = ManifestMember>,
) -> Vec<String> {
    let Some(before) = before else { return Vec::new() };
    let names: HashSet<String> = members.map(|member| member.name).collect();
    let gone = before.members.into_iter().filter(|member| !names.contains(&member.name));
    gone.filter_map(|member| member.blob).chain(before.stale).collect()
}

/// The blob of `earlier`, if it says that it holds what `checked` is.
pub(crate) fn same_content(
    pass: &Pass,
    earlier: &ManifestMember,
    checked: &Checked,
    md5: &model::Md5,
) -> Option<BlobName> {
    let same = earlier.size == checked.size
        && earlier.md5.as_ref() == Some(&hex(md5))
        && earlier.modified == modified(pass, &checked.member);
    earlier.blob.as_ref().filter(|_| same).and_then(|blob| BlobName::new(blob).ok())
}

/// The blob of `earlier`, if what its archive's directory says now is what it said then: CRC-32,
/// size and time.
pub fn unchanged(pass: &Pass, earlier: &ManifestMember, place: &Place) -> Option<Stored> {
    let crc32 = place.crc32.map(|crc32| format!("{crc32:08x}"))?;
    let same = earlier.crc32.as_ref() == Some(&crc32)
        && Some(earlier.size) == place.member.size
        && earlier.modified.is_some()
        && earlier.modified == modified(pass, &place.member);
    let blob = earlier.blob.as_ref().filter(|_| same).and_then(|blob| BlobName::new(blob).ok())?;
    Some(Stored {
        name: blob,
        size: earlier.size,
        md5: earlier.md5_bytes()?,
        identical: true,
        note: None,
    })
}

/// What an archive's manifest says of an archive in it that was opened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InnerArchive {
    /// Its name as a member, as members' names are told.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<String>,
    /// As the outer archive tells it, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crc32: Option<String>,
    /// Which of the manifest's members is the first that came of it.
    pub first: usize,
    /// How many came of it.
    pub members: usize,
}

impl InnerArchive {
    /// What a manifest says of the inner archive `member`.
    pub fn told(pass: &Pass, member: &Member, crc32: Option<u32>) -> Self {
        let (name, size) = (escaped_for_metadata(&member.raw_name), member.size.unwrap_or(0));
        Self {
            name,
            size,
            modified: modified(pass, member),
            crc32: crc32.map(|crc32| format!("{crc32:08x}")),
            first: 0,
            members: 0,
        }
    }
}

/// Why a file has no blob.
pub(crate) const NOT_WANTED: &str = "not wanted";

/// Why a symbolic link has none.
pub(crate) const LINK: &str = "symbolic link";

/// Why a device, or a hard link to what is not in the archive, has none.
pub(crate) const SPECIAL: &str = "link or special file";
