//! Archives in archives: a member that is one is opened in its turn, down to a depth.

use std::collections::HashSet;
use std::io::Read;
use std::sync::Arc;

use crate::archive::contract::{Format, HEAD_BYTES, Member, MemberKind, Nature, UnpackError};
use crate::archive::limits::Meter;
use crate::archive::options::ArchiveOptions;
use crate::archive::options::InnerErrors;
use crate::archive::spool::{SpoolRoom, Spooler};
use crate::archive::spool_reader::Spool;
use crate::archive::unread::{self, Unread};
use crate::model::failure::{Class, Failure};

/// Content is read in pieces of at most this many bytes.
pub const CHUNK_BYTES: usize = 256 << 10;
/// What stands between the raw names of an archive and of a member of it, as in blob names.
const INSIDE: &[u8] = b"!/";

/// An archive that is to be unpacked, and how.
#[derive(Clone, Debug)]
pub struct Archive {
    /// Its format.
    pub format: &'static dyn Format,
    /// Its bytes.
    pub spool: Spool,
    /// How it is read.
    pub options: Arc<ArchiveOptions>,
    /// Gives room to the archives in it.
    pub spooler: Spooler,
    /// Tells the format of files in it; it is handed in, since the table of formats is built upon
    /// this.
    pub recognise: Recognise,
}

/// The format that a file that begins with these bytes and has this name may have.
pub(crate) type Recognise = fn(&[u8], &str) -> Option<&'static dyn Format>;

/// The way down through one archive.
pub(super) struct NestedWalk<'a> {
    archive: &'a Archive,
    meter: &'a Meter,
    runtime: tokio::runtime::Handle,
    /// Archives in it that are not opened again, where that is known.
    kept: Option<&'a HashSet<Vec<usize>>>,
}

/// Why an archive in an archive is not unpacked, and stored as the member that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptInner {
    /// The indices of the archives on the way to it, and its own.
    pub place: Vec<usize>,
    /// The reason.
    pub why: KeptWhy,
}

/// Why an archive in an archive is not unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptWhy {
    /// It cannot be: the class of the failure and its words.
    Failed(Class, String),
    /// Its kind is not read.
    Unread(Unread),
}

/// Where on that way an archive stands.
#[derive(Clone, Default)]
struct NestedPlace {
    within: Vec<String>,
    raw: Vec<u8>,
    indices: Vec<usize>,
}

/// Who takes the members that are not opened.
pub(super) trait Leaves {
    /// A member with its content; `kept` tells why it is not opened though it is an archive.
    fn leaf(
        &mut self,
        member: &Member,
        content: &mut dyn Read,
        kept: Option<KeptInner>,
    ) -> Result<(), UnpackError>;

    /// How many there are so far.
    fn mark(&self) -> usize;

    /// Those that came since `mark` are none after all.
    fn undo(&mut self, mark: usize);
}

impl<'a> NestedWalk<'a> {
    /// On a blocking thread of a runtime.
    pub(super) fn new(archive: &'a Archive, meter: &'a Meter) -> Self {
        Self { archive, meter, runtime: tokio::runtime::Handle::current(), kept: None }
    }

    /// Once more, when it is known which archives in it are `kept` as they are.
    pub(super) fn again(
        archive: &'a Archive,
        meter: &'a Meter,
        kept: &'a HashSet<Vec<usize>>,
    ) -> Self {
        Self { kept: Some(kept), ..Self::new(archive, meter) }
    }

    /// Gives `leaves` the `member` of the outermost archive or, where it is an archive, each of its
    /// members. An archive in it that cannot be unpacked is a member like others, if the settings
    /// do not say otherwise.
    pub(super) fn leaves(
        &self,
        member: &Member,
        content: &mut dyn Read,
        leaves: &mut dyn Leaves,
    ) -> Result<(), UnpackError> {
        self.below(&NestedPlace::default(), member, content, leaves)
    }

    fn below(
        &self,
        place: &NestedPlace,
        member: &Member,
        content: &mut dyn Read,
        leaves: &mut dyn Leaves,
    ) -> Result<(), UnpackError> {
        let told = place.tell(member);
        let is_deepest = place.within.len() + 1 >= self.archive.options.depth as usize;
        if member.kind != MemberKind::File || is_deepest {
            return leaves.leaf(&told, content, None);
        }
        let file_name = member.name.rsplit('/').next().unwrap_or_default();
        let mut head = [0; HEAD_BYTES];
        let filled = fill(content, &mut head)?;
        let mut content = head[..filled].chain(content);
        let inside = place.enter(member);
        let is_kept = self.kept.is_some_and(|kept| kept.contains(&inside.indices));
        let Some(format) =
            (self.archive.recognise)(&head[..filled], file_name).filter(|_| !is_kept)
        else {
            let kind = unread::of(&head[..filled], file_name);
            let kept =
                kind.map(|kind| KeptInner { place: inside.indices, why: KeptWhy::Unread(kind) });
            return leaves.leaf(&told, &mut content, kept);
        };
        let spool =
            self.spool(member.size, &mut content).map_err(|error| error.at(&member.name))?;
        let (mark, meter) = (leaves.mark(), self.meter.inner());
        match self.open(format, &spool, file_name, &inside, (&meter, leaves)) {
            Ok(true) => Ok(()),
            Ok(false) => leaves.leaf(&told, &mut spool.reader(), None),
            Err(error) if self.is_kept_whole(&error) => {
                leaves.undo(mark);
                meter.forget()?;
                let part = || {
                    unread::part_by_name(file_name)
                        .filter(|_| error.class() != Class::ArchiveEncrypted)
                };
                let why = match error.kind().or_else(part) {
                    Some(kind) => KeptWhy::Unread(kind),
                    None => KeptWhy::Failed(error.class(), crate::model::chain(&error)),
                };
                leaves.leaf(
                    &told,
                    &mut spool.reader(),
                    Some(KeptInner { place: inside.indices, why }),
                )
            }
            Err(error) => Err(error.inside(&member.name)),
        }
    }

    /// Gives `leaves` what the archive in `spool` holds; `false` if it is none, or a document that
    /// is wanted whole.
    fn open(
        &self,
        format: &'static dyn Format,
        spool: &Spool,
        file_name: &str,
        inside: &NestedPlace,
        (meter, leaves): (&Meter, &mut dyn Leaves),
    ) -> Result<bool, UnpackError> {
        match format.nature(spool.reader())?.called(file_name) {
            Nature::Archive => {}
            Nature::Document if self.archive.options.unpack_documents => {}
            Nature::Document | Nature::Beginning | Nature::Other => return Ok(false),
        }
        let options = ArchiveOptions {
            file_name: file_name.to_owned(),
            ..ArchiveOptions::clone(&self.archive.options)
        };
        let deeper = NestedWalk {
            meter,
            archive: self.archive,
            runtime: self.runtime.clone(),
            kept: self.kept,
        };
        format.visit(spool.reader(), &options, meter, &mut |member, content| {
            deeper.below(inside, member, content, leaves)
        })?;
        Ok(true)
    }

    /// Whether an archive in the archive that failed with `error` is stored as it is. What was
    /// found once is found again, so the second time nothing fails but for reasons of its own.
    fn is_kept_whole(&self, error: &UnpackError) -> bool {
        let is_its_own = matches!(
            error.class(),
            Class::ArchiveDamaged
                | Class::ArchiveEncrypted
                | Class::ArchiveUnsupported
                | Class::LimitArchive
        );
        is_its_own && self.kept.is_none() && self.archive.options.inner_errors != InnerErrors::Fail
    }

    fn spool(&self, size: Option<u64>, content: &mut dyn Read) -> Result<Spool, UnpackError> {
        let mut writer =
            self.runtime.block_on(self.archive.spooler.writer(size, SpoolRoom::Now))?;
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let filled = fill(content, &mut chunk)?;
            self.runtime.block_on(writer.write(bytes::Bytes::copy_from_slice(&chunk[..filled])))?;
            if filled < chunk.len() {
                return self.runtime.block_on(writer.finish());
            }
        }
    }
}

impl NestedPlace {
    /// `member`, with the way to it.
    fn tell(&self, member: &Member) -> Member {
        let raw_name = [&self.raw[..], &member.raw_name].concat();
        Member { within: self.within.clone(), raw_name, ..member.clone() }
    }

    fn enter(&self, member: &Member) -> Self {
        let within = self.within.iter().cloned().chain([member.name.clone()]).collect();
        let indices = self.indices.iter().copied().chain([member.index]).collect();
        Self { within, raw: [&self.raw[..], &member.raw_name, INSIDE].concat(), indices }
    }
}

/// Reads some; 0 at the content's end.
fn read(content: &mut dyn Read, into: &mut [u8]) -> Result<usize, UnpackError> {
    loop {
        match content.read(into) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result.map_err(UnpackError::from_read),
        }
    }
}

/// Fills `into`; less only at the content's end.
pub(super) fn fill(content: &mut dyn Read, into: &mut [u8]) -> Result<usize, UnpackError> {
    let mut filled = 0;
    while filled < into.len() {
        match read(content, &mut into[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}
