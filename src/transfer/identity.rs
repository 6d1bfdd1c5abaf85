//! Which version of which file a blob holds, as its metadata tells.

use time::format_description::well_known::Rfc3339;

use crate::model::{Md5, ModifiedTime, Precision, RemoteFile, Version};
use crate::rules::naming::escaped_for_metadata;
use crate::rules::plan::known::UNSEEN_MARK;
use crate::store::contract::Metadata;

/// What a blob is: which content of which file, or of which member of it.
#[derive(Clone, Debug)]
pub struct TransferIdentity<'a> {
    /// The file at the source.
    pub file: &'a RemoteFile,
    /// Its version.
    pub version: Version,
    /// MD5 of all of the file, where that is known: of an archive that was read whole, and of bytes
    /// that its version tells of.
    pub md5: Option<Md5>,
    /// Whether the server did not show the file any more once it was read, so that nobody can say
    /// whether it changed meanwhile.
    pub unseen: bool,
    /// Whether its time was another one at every look, so that its version tells no moment.
    pub moved: bool,
    /// Whether another file of its listing is to have its plain name.
    pub yields: bool,
    /// The member of it: format of the archive, raw name, place among members of the same name,
    /// modified time.
    pub member: Option<MemberOf<'a>>,
}

impl<'a> TransferIdentity<'a> {
    /// Of a file as it is recorded, whose time and bytes tell no more.
    pub(crate) fn recorded(file: &'a RemoteFile, version: Version) -> Self {
        Self { file, version, md5: None, unseen: false, moved: false, yields: false, member: None }
    }
}

/// A member of an archive.
#[derive(Clone, Debug)]
pub struct MemberOf<'a> {
    /// The archive's format.
    pub format: &'static str,
    /// The member's name as stored in the archive.
    pub raw_name: &'a [u8],
    /// 0, or its place in the archive if an earlier member has the same raw name.
    pub twin: usize,
    /// Its modified time, if the archive tells.
    pub modified: Option<ModifiedTime>,
}

impl TransferIdentity<'_> {
    pub(super) fn modified(&self) -> Option<ModifiedTime> {
        self.member.as_ref().and_then(|member| member.modified).or(self.file.modified)
    }

    /// Source, path and member in bytes, for a name apart.
    pub(super) fn bytes(&self, source: &str) -> Vec<u8> {
        let mut bytes = [source.as_bytes(), b"\0", self.file.path.as_bytes()].concat();
        if let Some(member) = &self.member {
            bytes.extend_from_slice(b"\0");
            bytes.extend_from_slice(member.raw_name);
            bytes.extend_from_slice(format!("\0{}", member.twin).as_bytes());
        }
        bytes
    }

    /// The metadata that the blob carries.
    pub fn metadata(&self, source: &str, run: &str) -> Metadata {
        let mut metadata = Metadata::new();
        let mut set = |key: &str, value: String| metadata.insert(key.to_owned(), value);
        set("source", source.to_owned());
        set("version", self.version.to_string());
        set("run", run.to_owned());
        if let Some(md5) =
            self.md5.filter(|md5| self.version == Version::of_content(self.file, md5))
        {
            set("source_md5", crate::model::hex(&md5));
        }
        if self.unseen {
            set(UNSEEN_MARK, "true".to_owned());
        }
        if self.moved {
            set("time_moves", "true".to_owned());
        }
        set_name("source_path", self.file.path.as_bytes(), &mut set);
        if let Some(size) = self.file.size {
            set("source_size", size.to_string());
        }
        if let Some(modified) = self.modified() {
            if let Ok(text) = modified.at.format(&Rfc3339) {
                set("mtime", text);
            }
            if modified.precision > Precision::Second {
                set("mtime_precision", format!("{:?}", modified.precision).to_ascii_lowercase());
            }
        }
        if let Some(member) = &self.member {
            set("archive", member.format.to_owned());
            set_name("member", member.raw_name, &mut set);
            if member.twin > 0 {
                set("member_index", member.twin.to_string());
            }
        }
        metadata
    }
}

pub(super) fn set_name(
    key: &str,
    name: &[u8],
    set: &mut impl FnMut(&str, String) -> Option<String>,
) {
    use sha2::Digest;
    let escaped = escaped_for_metadata(name);
    if escaped.is_empty() {
        // Azure has no empty values; a lone `%` is nobody's escaped name.
        set(key, "%".to_owned());
    } else if escaped.len() <= LONGEST_NAME {
        set(key, escaped);
    } else {
        set(&format!("{key}_sha256"), crate::model::hex(&sha2::Sha256::digest(name)));
    }
}

/// Longer values of names are kept as their SHA-256: all metadata of a blob shares 8 KiB. The
/// archive's manifest and the ledger keep the name itself.
pub(crate) const LONGEST_NAME: usize = 3_000;
