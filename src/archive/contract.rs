//! What an archive format is: it visits members in order and proves each one by its checksum.

use std::fmt;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use time::{PrimitiveDateTime, UtcOffset};

use crate::archive::limits::Meter;
use crate::archive::spool_reader::SpoolReader;
use crate::model::{ModifiedTime, Precision};

pub use crate::archive::error::UnpackError;
pub use crate::archive::options::{ArchiveOptions, Charset};

/// A kind of archive.
pub trait Format: Send + Sync + fmt::Debug {
    /// Its usual name, as `zip`.
    fn name(&self) -> &'static str;

    /// Whether a file called `name` that begins with `head` (its first bytes, up to [`HEAD_BYTES`])
    /// may be one. The content decides: the name may only say that it is worth a closer look at the
    /// whole file.
    fn recognises(&self, head: &[u8], name: &str) -> bool;

    /// What a file that [`Format::recognises`] took for one really is. Blocking. An error is one of
    /// an archive that cannot be read, not of a file that is none.
    fn nature(&self, archive: SpoolReader) -> Result<Nature, UnpackError>;

    /// Calls `visit` for each member in the archive's order, each exactly once, directories and
    /// links too, and `index` counts them from 0. Hard links, whose content stands earlier, come
    /// after all others. `visit` reads the content to its end or returns an error, which ends the
    /// visit and comes back as it is. `Ok` means that the archive was read to its end and every
    /// checksum and size in it held. `meter` counts what comes out; its limits are errors of class
    /// `limit_archive`. Blocking: runs on a blocking thread.
    fn visit(
        &self,
        archive: SpoolReader,
        options: &ArchiveOptions,
        meter: &Meter,
        visit: &mut Visit<'_>,
    ) -> Result<(), UnpackError>;

    /// The members, where each can be read by itself without those before it; `None` where it
    /// cannot. Everything that the archive says beside the members' content is judged here, as
    /// [`Format::visit`] would. Blocking.
    fn index(
        &self,
        _archive: SpoolReader,
        _options: &ArchiveOptions,
        _meter: &Meter,
    ) -> Result<Option<Arc<dyn Indexed>>, UnpackError> {
        Ok(None)
    }

    /// How to read single members from parts of the file, where the format allows it.
    fn partial(&self) -> Option<&dyn Partial> {
        None
    }
}

/// A format that lists its members in one place and has each of them in another: some can be read
/// without the others. What is not read is not proved.
pub trait Partial: Send + Sync {
    /// Whether a file called `name` is worth a look at its directory.
    fn expects(&self, name: &str) -> bool;

    /// How many first bytes of a file are looked at.
    fn head_bytes(&self) -> u64;

    /// How many last bytes of a file tell where its directory is.
    fn tail_bytes(&self) -> u64;

    /// Where the directory is, by the end of the file. `archive` holds the first
    /// [`Partial::head_bytes`] and the last [`Partial::tail_bytes`] at least. Blocking.
    fn directory(&self, archive: SpoolReader) -> Result<Range<u64>, UnpackError>;

    /// What the directory says of the members, in its order. `archive` holds the tail and the
    /// directory. Blocking.
    fn places(
        &self,
        archive: SpoolReader,
        options: &ArchiveOptions,
        meter: &Meter,
    ) -> Result<Vec<Place>, UnpackError>;

    /// The archive, of which `archive` holds the tail, the directory and the places of those
    /// members that are `wanted`; only these may be visited. Blocking.
    fn open(
        &self,
        archive: SpoolReader,
        options: &ArchiveOptions,
        meter: &Meter,
        wanted: &[bool],
    ) -> Result<Arc<dyn Indexed>, UnpackError>;
}

/// What the directory says of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The member.
    pub member: Member,
    /// The part of the file that all of it is in.
    pub bytes: Range<u64>,
    /// Whether these bytes may hold another member, which the directory does not list.
    pub may_hide: bool,
    /// CRC-32 of its content, as claimed.
    pub crc32: Option<u32>,
}

/// An archive whose members can be read in any order, by several threads at once.
pub trait Indexed: Send + Sync + fmt::Debug {
    /// How many members there are.
    fn count(&self) -> usize;

    /// The member at `index`, by the archive's order. There may be a million of them: what holds
    /// them holds no [`Member`] of each.
    fn member(&self, index: usize) -> Member;

    /// CRC-32 of the content of the member at `index`, where the archive tells it.
    fn crc32(&self, _index: usize) -> Option<u32> {
        None
    }

    /// Calls `visit` for the member at `index`, as [`Format::visit`] does. Blocking.
    fn visit_one(
        &self,
        index: usize,
        archive: SpoolReader,
        options: &ArchiveOptions,
        meter: &Meter,
        visit: &mut Visit<'_>,
    ) -> Result<(), UnpackError>;
}

/// What is called for each member, with its content.
pub(crate) type Visit<'a> = dyn FnMut(&Member, &mut dyn Read) -> Result<(), UnpackError> + 'a;

/// How many first bytes of a file are looked at to recognise a format: a tar header.
pub const HEAD_BYTES: usize = 512;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// An archive, to be unpacked.
    Archive,
    /// A document (docx, jar, epub…) in the form of an archive, which users want whole.
    Document,
    /// Only like an archive at first sight: a file like others.
    Other,
    /// It begins as an archive does, and is none: a text, or what is left of one.
    Beginning,
}

impl Nature {
    /// What a file of this nature is under `name`: a person who calls a document a zip wants it
    /// unpacked, and what is called a zip and begins as one is a broken one.
    #[must_use]
    pub fn called(self, name: &str) -> Self {
        let is_zip =
            name.len() > 4 && name.as_bytes()[name.len() - 4..].eq_ignore_ascii_case(b".zip");
        match self {
            Nature::Document | Nature::Beginning if is_zip => Nature::Archive,
            Nature::Beginning => Nature::Other,
            nature => nature,
        }
    }
}

/// One member, as the archive's directory describes it: claims, until the content was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Place in the archive, from 0.
    pub index: usize,
    /// Names of the archives that it is in, within the outermost one, from outside in; decoded like
    /// `name`. Empty as formats tell it: nesting is not their business.
    pub within: Vec<String>,
    /// Its name as stored: bytes, in whatever character set. Those of archives that it is in stand
    /// before it, each with `!/`.
    pub raw_name: Vec<u8>,
    /// Its name decoded, with `/` between segments; may still climb, be absolute or hold anything.
    pub name: String,
    /// Its kind.
    pub kind: MemberKind,
    /// Unpacked size in bytes, as claimed; `None` where only reading tells.
    pub size: Option<u64>,
    /// When it was last modified, if the archive tells a date that exists.
    pub modified: Option<MemberTime>,
}

impl Member {
    /// Its name with those of the archives that it is in, for people.
    pub(crate) fn full_name(&self) -> String {
        let mut full = String::new();
        for outer in &self.within {
            full.push_str(outer);
            full.push_str("!/");
        }
        full + &self.name
    }
}

/// A member's modified time, as the archive tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberTime {
    /// A moment.
    Utc(ModifiedTime),
    /// What the clock on the wall of the program that packed it showed; the archive does not tell
    /// in which zone.
    Local(PrimitiveDateTime),
}

impl MemberTime {
    /// The moment, if the packer's clock was `offset` ahead of UTC. A moment that is known stays as
    /// it is.
    pub fn at_offset(self, offset: UtcOffset) -> ModifiedTime {
        match self {
            MemberTime::Utc(modified) => modified,
            // Wall clocks in archives step by two seconds: the second is the finest step that loses
            // none of that.
            MemberTime::Local(wall) => ModifiedTime::new(
                wall.assume_offset(offset).to_offset(UtcOffset::UTC),
                Precision::Second,
            ),
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
    /// A symbolic link: told by name, not stored.
    Link,
    /// A device, a pipe, a hard link to what is not in the archive, without content: told by name,
    /// not stored.
    Special,
}
