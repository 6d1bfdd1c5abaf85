//! How blobs of a source are kept: `tier`, `tags`, `metadata`.

use std::collections::BTreeMap;

use super::destination::Destination;
use crate::settings::{Section, SettingError};
use crate::store::contract::Metadata;
use crate::store::placement::{Placement, Tier, check_tags};
use crate::transfer::settings::Source;

/// Metadata that blobs have from us; later releases may add to it.
const OURS: &[&str] = &[
    "source",
    "version",
    "run",
    "source_md5",
    "not_seen_afterwards",
    "time_moves",
    "source_path",
    "source_path_sha256",
    "source_size",
    "mtime",
    "mtime_precision",
    "archive",
    "member",
    "member_sha256",
    "member_index",
    "members",
    "members_skipped",
    "members_left",
    "sha256",
    "pgp",
    "hdi_isfolder",
];
/// The most bytes of metadata that a source may add: ours needs the rest of the 8 KiB.
const MAX_BYTES: usize = 1 << 10;

/// `tier` and `tags`.
pub fn placement(section: &Section) -> Result<Placement, SettingError> {
    let tags: BTreeMap<String, String> = section.pairs("tags")?.into_iter().collect();
    check_tags(&tags).map_err(|problem| section.error("tags", problem))?;
    let tier = section.one_of("tier")?.and_then(Tier::of);
    if tier == Some(Tier::Archive) && section.one_of("versions")? == Some("overwrite") {
        return Err(section.error(
            "tier",
            "is `archive` beside `versions = \"overwrite\"`: what is archived cannot be replaced; \
            allowed is another tier, or `versions = \"keep\"`",
        ));
    }
    Ok(Placement { tier, tags })
}

/// Refuses tiers and tags where blobs of `source` go to a folder, which has none.
pub(crate) fn must_be_possible(
    file: &str,
    source: &Source,
    place: &Destination,
) -> Result<(), SettingError> {
    if source.placement.is_default() || matches!(place, Destination::Azure { .. }) {
        return Ok(());
    }
    let key = if source.placement.tier.is_some() { "tier" } else { "tags" };
    Err(SettingError {
        place: file.to_owned(),
        key: format!("source.{}.{key}", source.name),
        problem: "is for blobs in a folder; only storage accounts have tiers and tags".to_owned(),
        is_outside: false,
    })
}

/// `metadata`.
pub fn metadata(section: &Section) -> Result<Metadata, SettingError> {
    let given: Metadata = section.pairs("metadata")?.into_iter().collect();
    let wrong = |problem: String| Err(section.error("metadata", problem));
    for (name, value) in &given {
        let mut bytes = name.bytes();
        let starts_well = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
        let is_legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if !starts_well || !bytes.all(is_legal) {
            return wrong(format!(
                "holds the name `{name}`; allowed are lower-case letters, digits and `_`, a letter \
                or `_` first"
            ));
        }
        if OURS.contains(&name.as_str()) {
            return wrong(format!("holds the name `{name}`, which blobs have from blobferry"));
        }
        let printable = value.bytes().all(|b| (0x20..0x7f).contains(&b));
        if value.is_empty() || !printable || value.trim() != value {
            return wrong(format!(
                "holds a value of `{name}` that is no header; allowed is printable ASCII, not \
                empty, without blanks at its ends"
            ));
        }
    }
    let bytes: usize = given.iter().map(|(name, value)| name.len() + value.len()).sum();
    match bytes {
        0..=MAX_BYTES => Ok(given),
        _ => wrong(format!("has {bytes} bytes; allowed are {MAX_BYTES}")),
    }
}
