//! What extended headers of a tar say: pax records, GNU's long names.

use crate::archive::contract::{MemberTime, UnpackError};
use crate::archive::tar_header::{damaged, pax_time, records, until_nul};
use crate::archive::tar_sparse::SparseRecords;
use crate::archive::unread::Unread;
use crate::model::failure::Class;

/// What extended headers say of the member that follows them, or of all members.
#[derive(Clone, Default)]
pub struct Extended {
    /// Whether a pax header is among them.
    pub is_pax: bool,
    /// What a link points at.
    pub link: Option<Vec<u8>>,
    /// The bytes that follow the header.
    pub size: Option<u64>,
    /// When it was last modified.
    pub modified: Option<MemberTime>,
    /// Its holes.
    pub sparse: SparseRecords,
    path: Option<Vec<u8>>,
    long_name: Option<Vec<u8>>,
    other: Option<Other>,
}

/// What is not read.
#[derive(Clone, Copy)]
enum Other {
    Sparse,
    Volume,
}

impl Extended {
    /// Whether no header was read that a member must follow.
    pub fn is_none(&self) -> bool {
        !self.is_pax && self.link.is_none() && self.long_name.is_none()
    }

    /// Its name, if one is told.
    pub fn name(&self) -> Option<&Vec<u8>> {
        self.sparse.name.as_ref().or(self.path.as_ref()).or(self.long_name.as_ref())
    }

    /// An error if what is told is not read.
    pub(crate) fn is_readable(&self) -> Result<(), UnpackError> {
        match self.other {
            None => Ok(()),
            Some(Other::Sparse) => Err(UnpackError::new(
                Class::ArchiveUnsupported,
                "it is sparse in the form of `star` or Solaris: pack it without holes",
            )),
            Some(Other::Volume) => Err(UnpackError::unread(Unread::TarVolume)),
        }
    }

    /// GNU's header with a long name.
    pub(crate) fn read_long_name(&mut self, data: &[u8]) {
        self.long_name = Some(until_nul(data).to_vec());
    }

    /// GNU's header with the long name of what a link points at.
    pub(crate) fn read_long_link(&mut self, data: &[u8]) {
        self.link = Some(until_nul(data).to_vec()).filter(|link| !link.is_empty());
    }

    /// Keys that are not named here tell nothing of what is stored: owners, comments, attributes.
    pub(crate) fn read_pax(&mut self, data: &[u8]) -> Result<(), UnpackError> {
        self.is_pax = true;
        for record in records(data) {
            let (key, value) = record?;
            match key {
                b"path" => self.path = Some(value.to_vec()).filter(|path| !path.is_empty()),
                b"linkpath" => self.link = Some(value.to_vec()).filter(|path| !path.is_empty()),
                b"mtime" => self.modified = pax_time(value),
                b"size" if value.is_empty() => self.size = None,
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    self.size =
                        Some(size.ok_or_else(|| damaged("the size in a pax header is no number"))?);
                }
                b"SCHILY.realsize" | b"SUN.holesdata" => self.other = Some(Other::Sparse),
                key if key.starts_with(b"GNU.volume.") && key != b"GNU.volume.label" => {
                    self.other = Some(Other::Volume)
                }
                key => {
                    if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                        self.sparse.record(key, value)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// What is true of a member: what `global` headers told, unless its own say otherwise.
    #[must_use]
    pub fn over(self, global: &Self) -> Self {
        let own_name = self.name().is_some();
        let or = |own: Option<Vec<u8>>, global: &Option<Vec<u8>>| own.or_else(|| global.clone());
        Self {
            is_pax: self.is_pax,
            size: self.size.or(global.size),
            modified: self.modified.or(global.modified),
            path: if own_name { self.path } else { global.path.clone() },
            link: or(self.link, &global.link),
            long_name: self.long_name,
            sparse: self.sparse,
            other: self.other.or(global.other),
        }
    }
}
