//! Single compressed files: gz, bz2, xz, zst, lz4; what is in them is a tar's members or one
//! member.

#[cfg(test)]
mod tests;

use std::io::{self, Read};

use crate::archive::compressed_stream::{Codec, CodecStreams, GzHeader};
use crate::archive::contract::{
    Format, HEAD_BYTES, Member, MemberKind, MemberTime, Nature, UnpackError, Visit,
};
use crate::archive::limits::{MemberMeter, Meter};
use crate::archive::nested::fill;
use crate::archive::options::ArchiveOptions;
use crate::archive::spool_reader::SpoolReader;
use crate::archive::tar::{self, Tar};
use crate::archive::tar_header::{begins_tar, decoded};
use crate::model::ModifiedTime;

/// A compressed file. Where its content begins like a tar, it is one archive with the tar's
/// members, whatever its name.
#[derive(Debug)]
pub struct Compressed(pub Codec);

impl Format for Compressed {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn recognises(&self, head: &[u8], name: &str) -> bool {
        self.0.begins(head) || self.0.may_begin(head) && plain_name(name, self.0) != name
    }

    fn nature(&self, _archive: SpoolReader) -> Result<Nature, UnpackError> {
        Ok(Nature::Archive)
    }

    fn visit(
        &self,
        archive: SpoolReader,
        options: &ArchiveOptions,
        meter: &Meter,
        visit: &mut Visit<'_>,
    ) -> Result<(), UnpackError> {
        let (mut streams, header) = CodecStreams::open(self.0, archive.clone(), meter)?;
        let mut head = [0; HEAD_BYTES];
        let filled = fill(&mut streams, &mut head)?;
        let mut content = head[..filled].chain(streams);
        if begins_tar(&head[..filled]) {
            let again = || {
                Ok(Box::new(CodecStreams::open(self.0, archive.clone(), meter)?.0) as Box<dyn Read>)
            };
            // A volume of several is never compressed.
            return tar::visit_members(&mut content, &again, options, meter, visit)
                .map_err(UnpackError::for_certain);
        }
        let member = member(self.0, header, options);
        let mut content =
            CompressedCounted { content: &mut content, meter: meter.member()?, name: &member.name };
        visit(&member, &mut content)?;
        // `Ok` from us means proven, whatever `visit` left unread.
        io::copy(&mut content, &mut io::sink()).map_err(UnpackError::from_read)?;
        Ok(())
    }
}

/// The only member of a compressed file, called as the file itself was before it was compressed.
fn member(codec: Codec, header: Option<GzHeader>, options: &ArchiveOptions) -> Member {
    let GzHeader { name, modified } = header.unwrap_or_default();
    // A reader that unpacks with the stored name takes its last segment.
    let stored = name
        .as_deref()
        .and_then(|name| name.rsplit(|byte| *byte == b'/').next())
        .filter(|name| !name.is_empty());
    let raw_name =
        stored.map_or_else(|| plain_name(&options.file_name, codec).into_bytes(), <[u8]>::to_vec);
    let modified = modified
        .and_then(|seconds| ModifiedTime::from_unix(i64::from(seconds)))
        .map(MemberTime::Utc);
    Member {
        index: 0,
        within: Vec::new(),
        name: decoded(&raw_name, options.charset),
        raw_name,
        kind: MemberKind::File,
        size: None,
        modified,
    }
}

/// `name` without what compressing it added; as it is if that is nothing.
fn plain_name(name: &str, codec: Codec) -> String {
    let cut = |(ending, instead): &(&str, &str)| {
        let at = name.len().checked_sub(ending.len()).filter(|at| *at > 0)?;
        let matches = name.get(at..).is_some_and(|end| end.eq_ignore_ascii_case(ending));
        matches.then(|| format!("{}{instead}", &name[..at]))
    };
    codec.endings().iter().find_map(cut).unwrap_or_else(|| name.to_owned())
}

/// Content that is counted as a member's.
struct CompressedCounted<'a> {
    content: &'a mut dyn Read,
    meter: MemberMeter<'a>,
    name: &'a str,
}

impl Read for CompressedCounted<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(into).map_err(UnpackError::from_read);
        let counted = read.and_then(|read| self.meter.bytes(read as u64).map(|()| read));
        counted.map_err(|error| error.at(self.name).into_read())
    }
}

/// Files of programs that happen to be compressed or a tar, which users want whole. Only their
/// names tell.
#[derive(Debug)]
pub struct Documents;

/// Pictures, diagrams, spreadsheets and data of R; scenes, projects and packages.
const DOCUMENT_ENDINGS: &[&str] = &[
    "svgz",
    "emz",
    "wmz",
    "vsdz",
    "dia",
    "gnumeric",
    "rds",
    "rda",
    "rdata",
    "blend",
    "als",
    "prproj",
    "tgs",
    "ova",
    "gem",
    "crate",
    "apk",
    "unitypackage",
];

const INSIDE_DOCUMENTS: &[&dyn Format] = &[
    &Tar,
    &Compressed(Codec::Gz),
    &Compressed(Codec::Bz2),
    &Compressed(Codec::Xz),
    &Compressed(Codec::Zst),
    &Compressed(Codec::Lz4),
];

impl Format for Documents {
    fn name(&self) -> &'static str {
        "document"
    }

    fn recognises(&self, head: &[u8], name: &str) -> bool {
        let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_lowercase());
        ending.is_some_and(|ending| DOCUMENT_ENDINGS.contains(&ending.as_str()))
            && inside(head).is_some()
    }

    fn nature(&self, _archive: SpoolReader) -> Result<Nature, UnpackError> {
        Ok(Nature::Document)
    }

    fn visit(
        &self,
        archive: SpoolReader,
        options: &ArchiveOptions,
        meter: &Meter,
        visit: &mut Visit<'_>,
    ) -> Result<(), UnpackError> {
        let mut head = [0; HEAD_BYTES];
        let filled = fill(&mut archive.clone(), &mut head)?;
        match inside(&head[..filled]) {
            Some(format) => format.visit(archive, options, meter, visit),
            None => Err(UnpackError::new(
                crate::model::failure::Class::Internal,
                "a document in the form of no archive",
            )),
        }
    }
}

fn inside(head: &[u8]) -> Option<&'static dyn Format> {
    INSIDE_DOCUMENTS.iter().copied().find(|format| format.recognises(head, ""))
}
