//! Zips for tests, built byte by byte where a lie needs it.

use std::io::Write;

use flate2::write::DeflateEncoder;

use crate::archive::contract::{Format, UnpackError};
use crate::archive::limits::{ArchiveLimits, Meter};
use crate::archive::options::ArchiveOptions;
use crate::archive::spool_reader::Spool;
use crate::archive::tests::read_by;
use crate::archive::zip::Zip;
use crate::model::chain;
use crate::model::failure::{Class, Failure};

/// A member to build; what is `None` is told as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct ZipMade {
    pub name: Vec<u8>,
    pub content: Vec<u8>,
    pub deflate: bool,
    pub descriptor: bool,
    pub made_by: u8,
    pub attributes: u32,
    pub flags: u16,
    pub method: Option<u16>,
    pub size: Option<u32>,
    pub crc: Option<u32>,
    pub extra: Vec<u8>,
    /// What stands there as packed, instead of the content deflated or stored.
    pub as_packed: Option<Vec<u8>>,
}

pub fn made(name: &str, content: &[u8]) -> ZipMade {
    ZipMade {
        name: name.into(),
        content: content.to_vec(),
        deflate: true,
        made_by: 3,
        ..ZipMade::default()
    }
}

impl ZipMade {
    pub fn packed(&self) -> Vec<u8> {
        if let Some(packed) = &self.as_packed {
            return packed.clone();
        }
        if !self.deflate {
            return self.content.clone();
        }
        let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&self.content).unwrap();
        encoder.finish().unwrap()
    }

    /// The fields that header and directory share, from `version needed` to `extra length`.
    pub fn shared(&self, packed: u32, hidden: bool) -> Vec<u8> {
        let method = self.method.unwrap_or(if self.deflate { 8 } else { 0 });
        let crc = self.crc.unwrap_or_else(|| crc_fast::crc32_iso_hdlc(&self.content));
        let sizes = [crc, packed, self.size.unwrap_or(self.content.len() as u32)]
            .map(|value| if hidden { 0 } else { value });
        let mut out = Vec::new();
        for value in [20, self.flags | u16::from(self.descriptor) << 3, method, 0x6000, 0x5B74] {
            out.extend(value.to_le_bytes());
        }
        sizes.iter().for_each(|value| out.extend(value.to_le_bytes()));
        out.extend((self.name.len() as u16).to_le_bytes());
        out.extend((self.extra.len() as u16).to_le_bytes());
        out
    }
}

pub fn end(members: u16, size: usize, start: usize) -> Vec<u8> {
    let counts = [0u16, 0, members, members].into_iter().flat_map(|value| value.to_le_bytes());
    let places = [size as u32, start as u32].into_iter().flat_map(u32::to_le_bytes);
    b"PK\x05\x06".iter().copied().chain(counts).chain(places).chain([0, 0]).collect()
}

pub fn build(members: &[ZipMade]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for member in members {
        let packed = member.packed();
        let (start, length) = (out.len() as u32, packed.len() as u32);
        out.extend(
            [
                b"PK\x03\x04",
                &member.shared(length, member.descriptor)[..],
                &member.name,
                &member.extra,
                &packed,
            ]
            .concat(),
        );
        if member.descriptor {
            out.extend([b"PK\x07\x08", &member.shared(length, false)[10..22]].concat());
        }
        directory.extend(
            [b"PK\x01\x02", &[20, member.made_by][..], &member.shared(length, false), &[0; 6]]
                .concat(),
        );
        directory.extend(
            [
                &member.attributes.to_le_bytes()[..],
                &start.to_le_bytes(),
                &member.name,
                &member.extra,
            ]
            .concat(),
        );
    }
    let start = out.len();
    let tail = end(members.len() as u16, directory.len(), start);
    [out, directory, tail].concat()
}

pub use crate::archive::tests::Read;

pub(crate) fn read_within(archive: &[u8], limits: ArchiveLimits) -> Result<Read, UnpackError> {
    read_as(archive, &ArchiveOptions { limits, ..ArchiveOptions::default() })
}

pub fn read_as(archive: &[u8], options: &ArchiveOptions) -> Result<Read, UnpackError> {
    read_by(&Zip, archive, options)
}

pub fn read(archive: &[u8]) -> Result<Read, UnpackError> {
    read_within(archive, ArchiveLimits::default())
}

/// What its reader doubts of `archive`, which is read.
pub fn doubts(archive: &[u8]) -> Vec<String> {
    let spool = Spool::of(archive);
    let meter = Meter::new(ArchiveLimits::default(), spool.size());
    let read = Zip.visit(spool.reader(), &ArchiveOptions::default(), &meter, &mut |_, _| Ok(()));
    assert!(read.is_ok());
    meter.doubts()
}

/// Asserts that `archive` holds just these names and contents, in this order.
pub fn check(archive: &[u8], expected: &[(&str, &[u8])]) {
    let read = read(archive).unwrap_or_else(|error| panic!("{}", chain(&error)));
    let found: Vec<_> =
        read.iter().map(|(member, bytes)| (member.name.as_str(), bytes.as_slice())).collect();
    assert_eq!(found, expected);
    assert!(
        read.iter().enumerate().all(|(index, (member, bytes))| member.index == index
            && member.size == Some(bytes.len() as u64))
    );
}

pub fn refused(archive: &[u8], class: Class, text: &str) {
    let error = read(archive).expect_err("it must be refused");
    let line = chain(&error);
    assert_eq!(error.class(), class, "{line}");
    assert!(line.contains(text), "{line}");
}

pub fn find(archive: &[u8], part: &[u8]) -> usize {
    archive.windows(part.len()).position(|window| window == part).unwrap()
}
