//! The zip format: members stored or deflated, each proven by size and CRC-32.
#![expect(clippy::disallowed_types, reason = "decoders are opened here, under the meter, and nowhere else")]

use std::io::{self, Read, Take};
use std::sync::Arc;

use crc_fast::{CrcAlgorithm, Digest};
use flate2::bufread::DeflateDecoder;

use crate::archive::contract::{Format, Indexed, Member, Nature, Options, Partial, UnpackError, Visit};
use crate::archive::limits::{MemberMeter, Meter};
use crate::archive::spool::SpoolReader;
use crate::archive::zip_directory::{Directory, Entry, FLAG_ENCRYPTED, damaged};
use crate::archive::zip_fields;
use crate::failure::Class;

/// zip, with zip64 and data descriptors.
#[derive(Debug)]
pub struct Zip;

impl Format for Zip {
    fn name(&self) -> &'static str {
        "zip"
    }

    fn recognises(&self, head: &[u8], _name: &str) -> bool {
        // A member, an empty archive, a part of a split one, one that was to be split and fitted after all.
        [b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"].iter().any(|magic| head.starts_with(*magic)) || head.starts_with(b"PK00PK\x03\x04")
    }

    fn nature(&self, mut archive: SpoolReader) -> Result<Nature, UnpackError> {
        let directory = Directory::find(&mut archive)?;
        let mut index = 0;
        let mut document = false;
        directory.entries(&mut archive, |entry| {
            document |= marks_document(index, &entry);
            index += 1;
            Ok(())
        })?;
        Ok(if document { Nature::Document } else { Nature::Archive })
    }

    fn visit(&self, archive: SpoolReader, options: &Options, meter: &Meter, visit: &mut Visit<'_>) -> Result<(), UnpackError> {
        let opened = Opened::new(archive.clone(), options, meter, None)?;
        (0..opened.members.len()).try_for_each(|index| opened.visit_one(index, archive.clone(), options, meter, visit))
    }

    fn index(&self, archive: SpoolReader, options: &Options, meter: &Meter) -> Result<Option<Arc<dyn Indexed>>, UnpackError> {
        Ok(Some(Arc::new(Opened::new(archive, options, meter, None)?)))
    }

    fn partial(&self) -> Option<&dyn Partial> {
        Some(self)
    }
}

/// A zip whose headers were judged: all that they can tell, before the first member is read.
#[derive(Debug)]
pub(super) struct Opened {
    members: Vec<Member>,
    packed: Vec<Packed>,
}

impl Indexed for Opened {
    fn members(&self) -> &[Member] {
        &self.members
    }

    fn crc32(&self, index: usize) -> Option<u32> {
        self.packed.get(index).map(|packed| packed.crc)
    }

    fn visit_one(&self, index: usize, mut archive: SpoolReader, _: &Options, meter: &Meter, visit: &mut Visit<'_>) -> Result<(), UnpackError> {
        let (member, packed) = (&self.members[index], &self.packed[index]);
        let meter = meter.member().map_err(|error| error.at(&member.name))?;
        archive.jump(packed.data);
        let mut content = Content::new(archive, member, packed, meter);
        visit(member, &mut content)?;
        // `Ok` from us means proven, whatever `visit` left unread.
        io::copy(&mut content, &mut io::sink()).map_err(UnpackError::from_read)?;
        Ok(())
    }
}

/// What office documents, Java and Android programs, e-books and Python packages are told by.
fn marks_document(index: u64, entry: &Entry) -> bool {
    let is_short_and_stored = entry.method == STORED && entry.unpacked < 256;
    match entry.raw_name.as_slice() {
        b"[Content_Types].xml" | b"META-INF/MANIFEST.MF" | b"AndroidManifest.xml" | b"META-INF/container.xml" | b"Index/Document.iwa" => true,
        b"EGG-INFO/PKG-INFO" => true,
        b"META-INF/" => index == 0,
        b"mimetype" => index == 0 && is_short_and_stored,
        name => name.ends_with(b".dist-info/WHEEL"),
    }
}

/// Where a member's packed content is, and how it is packed.
#[derive(Debug)]
struct Packed {
    method: Method,
    crc: u32,
    bytes: u64,
    unpacked: u64,
    data: u64,
}

/// The ways to pack that are read. A further one is a variant here and in [`Decoder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Stored,
    Deflate,
}

const STORED: u16 = 0;
const DEFLATE: u16 = 8;
/// Stands for the real method of content encrypted with AES.
const AES: u16 = 99;
/// Bit 5 of the flags: a patch to a file that someone else has.
const FLAG_PATCH: u16 = 1 << 5;

impl Method {
    fn of(entry: &Entry) -> Result<Self, UnpackError> {
        let unsupported = |what: &str| Err(UnpackError::new(Class::ArchiveUnsupported, format!("it is {what}")));
        match entry.method {
            _ if entry.flags & FLAG_ENCRYPTED != 0 => Err(UnpackError::new(Class::ArchiveEncrypted, "it is encrypted")),
            AES => Err(UnpackError::new(Class::ArchiveEncrypted, "it is encrypted with AES")),
            _ if entry.flags & FLAG_PATCH != 0 => unsupported("a patch"),
            STORED => Ok(Method::Stored),
            DEFLATE => Ok(Method::Deflate),
            other => match METHODS.iter().find(|(number, _)| *number == other) {
                Some((number, name)) => unsupported(&format!("packed with {name} (method {number})")),
                None => unsupported(&format!("packed with the unknown method {other}")),
            },
        }
    }
}

/// Methods that have a name and are not read.
const METHODS: &[(u16, &str)] = &[
    (1, "shrink"),
    (2, "reduce"),
    (3, "reduce"),
    (4, "reduce"),
    (5, "reduce"),
    (6, "implode"),
    (9, "deflate64"),
    (10, "PKWARE DCL implode"),
    (12, "bzip2"),
    (14, "LZMA"),
    (16, "IBM CMPSC"),
    (18, "IBM TERSE"),
    (19, "IBM LZ77"),
    (20, "zstd"),
    (93, "zstd"),
    (94, "MP3"),
    (95, "xz"),
    (96, "JPEG"),
    (97, "WavPack"),
    (98, "PPMd"),
];

impl Opened {
    /// Of an archive that is there as a whole, or in the places of the members that are `wanted`.
    pub(super) fn new(mut archive: SpoolReader, _options: &Options, meter: &Meter, wanted: Option<&[bool]>) -> Result<Self, UnpackError> {
        let directory = Directory::find(&mut archive)?;
        meter.claimed_members(directory.members)?;
        let count = usize::try_from(directory.members).unwrap_or(usize::MAX);
        let (mut members, mut packed) = (Vec::with_capacity(count), Vec::with_capacity(count));
        let mut extents = Vec::with_capacity(count);
        let mut headers = archive.clone();
        directory.entries(&mut archive, |entry| {
            let member = member(members.len(), &entry);
            if wanted.is_some_and(|wanted| !wanted.get(members.len()).copied().unwrap_or(false)) {
                packed.push(Packed { method: Method::Stored, crc: entry.crc, bytes: 0, unpacked: entry.unpacked, data: 0 });
                members.push(member);
                return Ok(());
            }
            let at = |error: UnpackError| error.at(&member.name);
            let method = Method::of(&entry).map_err(at)?;
            let extent = directory.extent(&mut headers, &entry).map_err(at)?;
            if method == Method::Stored && entry.packed != entry.unpacked {
                return Err(at(damaged("it is stored, and its sizes packed and unpacked differ")));
            }
            extents.push(extent);
            packed.push(Packed { method, crc: entry.crc, bytes: entry.packed, unpacked: entry.unpacked, data: extent.data });
            members.push(member);
            Ok(())
        })?;
        if wanted.is_none() {
            directory.covers(&mut headers, extents)?;
        }
        Ok(Self { members, packed })
    }
}

pub(super) fn member(index: usize, entry: &Entry) -> Member {
    let name = zip_fields::name(&entry.raw_name, &entry.extra, entry.made_by);
    Member {
        index,
        within: Vec::new(),
        raw_name: entry.raw_name.clone(),
        kind: zip_fields::kind(&name, entry.made_by, entry.attributes, entry.unpacked),
        name,
        size: Some(entry.unpacked),
        modified: zip_fields::modified(&entry.extra, entry.dos_date, entry.dos_time),
    }
}

/// The content of a member. Its end is reported only once size and checksum held.
struct Content<'a> {
    member: &'a Member,
    packed: &'a Packed,
    decoder: Decoder,
    meter: MemberMeter<'a>,
    crc: Digest,
    size: u64,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Reading,
    Proven,
    Failed,
}

/// Decoders that know which packed byte they stand at. Opened here only, under the meter.
enum Decoder {
    Stored(Take<SpoolReader>),
    Deflate(Box<DeflateDecoder<Take<SpoolReader>>>),
}

impl Decoder {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Decoder::Stored(input) => input.read(into),
            Decoder::Deflate(decoder) => decoder.read(into),
        }
    }

    fn unread(&self) -> u64 {
        match self {
            Decoder::Stored(input) => input.limit(),
            Decoder::Deflate(decoder) => decoder.get_ref().limit(),
        }
    }
}

impl<'a> Content<'a> {
    fn new(archive: SpoolReader, member: &'a Member, packed: &'a Packed, meter: MemberMeter<'a>) -> Self {
        let input = archive.take(packed.bytes);
        let decoder = match packed.method {
            Method::Stored => Decoder::Stored(input),
            Method::Deflate => Decoder::Deflate(Box::new(DeflateDecoder::new(input))),
        };
        Self { member, packed, decoder, meter, crc: Digest::new(CrcAlgorithm::Crc32IsoHdlc), size: 0, state: State::Reading }
    }

    fn next(&mut self, into: &mut [u8]) -> Result<usize, UnpackError> {
        if self.state == State::Failed {
            return Err(damaged("it failed before"));
        }
        let read = self.decoder.read(into).map_err(UnpackError::from_read)?;
        if read == 0 && !into.is_empty() {
            self.prove()?;
        }
        let claimed = self.packed.unpacked;
        self.size += read as u64;
        self.meter.bytes(read as u64)?;
        if self.size > claimed {
            return Err(damaged(format!("it has more than the {claimed} bytes that the directory tells")));
        }
        self.crc.update(&into[..read]);
        Ok(read)
    }

    fn prove(&mut self) -> Result<(), UnpackError> {
        let (size, claimed) = (self.size, self.packed.unpacked);
        if size != claimed {
            return Err(damaged(format!("it has {size} bytes; the directory tells {claimed}")));
        }
        let (crc, told) = (self.crc.finalize(), u64::from(self.packed.crc));
        if crc != told {
            return Err(damaged(format!("its checksum is {crc:08x}; the directory tells {told:08x}")));
        }
        match self.decoder.unread() {
            0 => self.state = State::Proven,
            left => return Err(damaged(format!("{left} packed bytes follow its end"))),
        }
        Ok(())
    }
}

impl Read for Content<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.state == State::Proven {
            return Ok(0);
        }
        self.next(into).map_err(|error| {
            self.state = State::Failed;
            error.at(&self.member.name).into_read()
        })
    }
}
