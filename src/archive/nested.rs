//! Archives in archives: a member that is one is opened in its turn, down to a depth.

use std::io::Read;
use std::sync::Arc;

use crate::archive::contract::{Format, HEAD_BYTES, Member, MemberKind, Nature, Options, UnpackError};
use crate::archive::limits::Meter;
use crate::archive::spool::{Room, Spool, Spooler};

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
    pub options: Arc<Options>,
    /// Gives room to the archives in it.
    pub spooler: Spooler,
    /// Tells the format of files in it; it is handed in, since the table of formats is built upon this.
    pub recognise: Recognise,
}

/// The format that a file that begins with these bytes and has this name may have.
pub type Recognise = fn(&[u8], &str) -> Option<&'static dyn Format>;

/// The way down through one archive.
pub(super) struct Walk<'a> {
    archive: &'a Archive,
    meter: &'a Meter,
    runtime: tokio::runtime::Handle,
}

/// Where on that way an archive stands.
#[derive(Clone, Default)]
struct Place {
    within: Vec<String>,
    raw: Vec<u8>,
}

/// What is called for each member that is not opened.
type Leaf<'a> = dyn FnMut(&Member, &mut dyn Read) -> Result<(), UnpackError> + 'a;

impl<'a> Walk<'a> {
    /// On a blocking thread of a runtime.
    pub(super) fn new(archive: &'a Archive, meter: &'a Meter) -> Self {
        Self { archive, meter, runtime: tokio::runtime::Handle::current() }
    }

    /// Calls `leaf` for `member` of the outermost archive or, where it is an archive, for each of its members.
    pub(super) fn leaves(&self, member: &Member, content: &mut dyn Read, leaf: &mut Leaf<'_>) -> Result<(), UnpackError> {
        self.below(&Place::default(), member, content, leaf)
    }

    fn below(&self, place: &Place, member: &Member, content: &mut dyn Read, leaf: &mut Leaf<'_>) -> Result<(), UnpackError> {
        let told = place.tell(member);
        let is_deepest = place.within.len() + 1 >= self.archive.options.depth as usize;
        if member.kind != MemberKind::File || is_deepest {
            return leaf(&told, content);
        }
        let file_name = member.name.rsplit('/').next().unwrap_or_default();
        let mut head = [0; HEAD_BYTES];
        let filled = fill(content, &mut head)?;
        let mut content = head[..filled].chain(content);
        let Some(format) = (self.archive.recognise)(&head[..filled], file_name) else { return leaf(&told, &mut content) };
        let at = |error: UnpackError| error.at(&member.name);
        let spool = self.spool(member.size, &mut content).map_err(at)?;
        let opens = match format.nature(spool.reader()).map_err(at)? {
            Nature::Archive => true,
            Nature::Document => self.archive.options.unpack_documents,
            Nature::Other => false,
        };
        if !opens {
            return leaf(&told, &mut spool.reader());
        }
        let options = Options { file_name: file_name.to_owned(), ..Options::clone(&self.archive.options) };
        let inside = place.enter(member);
        format
            .visit(spool.reader(), &options, &self.meter.inner(), &mut |member, content| self.below(&inside, member, content, leaf))
            .map_err(|error| error.inside(&member.name))
    }

    fn spool(&self, size: Option<u64>, content: &mut dyn Read) -> Result<Spool, UnpackError> {
        let mut writer = self.runtime.block_on(self.archive.spooler.writer(size, Room::Now))?;
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

impl Place {
    /// `member`, with the way to it.
    fn tell(&self, member: &Member) -> Member {
        let raw_name = [&self.raw[..], &member.raw_name].concat();
        Member { within: self.within.clone(), raw_name, ..member.clone() }
    }

    fn enter(&self, member: &Member) -> Self {
        let within = self.within.iter().cloned().chain([member.name.clone()]).collect();
        Self { within, raw: [&self.raw[..], &member.raw_name, INSIDE].concat() }
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
