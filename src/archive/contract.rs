//! What an archive format is: it visits members in order and proves each one by its checksum.

use std::fmt;
use std::io::Read;

use time::{PrimitiveDateTime, UtcOffset};

use crate::archive::limits::Meter;
use crate::archive::spool::SpoolReader;
use crate::model::{ModifiedTime, Precision};

pub use crate::archive::error::UnpackError;

/// A kind of archive.
pub trait Format: Send + Sync + fmt::Debug {
    /// Its usual name, as `zip`.
    fn name(&self) -> &'static str;

    /// Whether a file that begins with `head` (its first bytes, up to [`HEAD_BYTES`]) may be one.
    fn recognises(&self, head: &[u8]) -> bool;

    /// Whether the archive is really a document (docx, jar, epub…) that users want whole.
    fn is_document(&self, archive: SpoolReader) -> Result<bool, UnpackError>;

    /// Calls `visit` for each member in the archive's order, each exactly once, directories and links too.
    /// `visit` reads the content to its end or returns an error, which ends the visit and comes back as it is.
    /// `Ok` means that the archive was read to its end and every checksum and size in it held.
    /// `meter` counts what comes out; its limits are errors of class `limit_archive`.
    /// Blocking: runs on a blocking thread.
    fn visit(&self, archive: SpoolReader, meter: &mut Meter, visit: &mut Visit<'_>) -> Result<(), UnpackError>;
}

/// What is called for each member, with its content.
pub type Visit<'a> = dyn FnMut(&Member, &mut dyn Read) -> Result<(), UnpackError> + 'a;

/// How many first bytes of a file are looked at to recognise a format.
pub const HEAD_BYTES: usize = 512;

/// One member, as the archive's directory describes it: claims, until the content was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Place in the archive, from 0.
    pub index: usize,
    /// Its name as stored: bytes, in whatever character set.
    pub raw_name: Vec<u8>,
    /// Its name decoded, with `/` between segments; may still climb, be absolute or hold anything.
    pub name: String,
    /// Its kind.
    pub kind: MemberKind,
    /// Unpacked size in bytes, as claimed.
    pub size: u64,
    /// When it was last modified, if the archive tells a date that exists.
    pub modified: Option<MemberTime>,
}

/// A member's modified time, as the archive tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberTime {
    /// A moment.
    Utc(ModifiedTime),
    /// What the clock on the wall of whoever packed it showed; the archive does not tell in which zone.
    Local(PrimitiveDateTime),
}

impl MemberTime {
    /// The moment, if the packer's clock was `offset` ahead of UTC. A moment that is known stays as it is.
    pub fn at_offset(self, offset: UtcOffset) -> ModifiedTime {
        match self {
            MemberTime::Utc(modified) => modified,
            // Wall clocks in archives step by two seconds: the second is the finest step that loses none of that.
            MemberTime::Local(wall) => ModifiedTime::new(wall.assume_offset(offset).to_offset(UtcOffset::UTC), Precision::Second),
        }
    }
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberKind {
    /// A file with content.
    File,
    /// A directory.
    Directory,
    /// A symbolic or hard link, a device: reported, not stored.
    Special,
}
