//! The 7z format: members out of folders, each proven by its CRC-32.

#[cfg(test)]
mod tests;

use std::io::{self, Read};

use crc_fast::{CrcAlgorithm, Digest, crc32_iso_hdlc};
use time::OffsetDateTime;

use crate::archive::contract::{
    Format, Member, MemberKind, MemberTime, Nature, UnpackError, Visit,
};
use crate::archive::limits::Meter;
use crate::archive::options::ArchiveOptions;
use crate::archive::sevenz_aes::Keys;
use crate::archive::sevenz_coders as coders;
use crate::archive::sevenz_content::{FolderReader, SevenZipContent, SevenZipState};
use crate::archive::sevenz_header::{
    Contents, HEADER, PACKED_HEADER, PartOf, SevenZipEntry, SevenZipFolder, SevenZipHeaderReader,
    SevenZipStreams,
};
use crate::archive::spool_reader::SpoolReader;
use crate::archive::tar_header::damaged;
use crate::archive::unread::Unread;
use crate::model::failure::{Class, Failure};
use crate::model::{ModifiedTime, Precision, Secret};

/// 7z.
#[derive(Debug)]
pub struct SevenZ;

const MAGIC: &[u8] = b"7z\xBC\xAF\x27\x1C";
const SIGNATURE_BYTES: u64 = 32;
/// The largest header that is read: a million members with names of 50 letters.
const MOST_HEADER_BYTES: u64 = 128 << 20;
/// A header may be packed, and what comes out of that again.
const MOST_LAYERS: usize = 4;

impl Format for SevenZ {
    fn name(&self) -> &'static str {
        "7z"
    }

    fn recognises(&self, head: &[u8], _name: &str) -> bool {
        head.starts_with(MAGIC)
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
        let passwords = options.passwords.iter().map(utf16).collect();
        let opened = SevenZipOpened {
            archive,
            meter,
            passwords,
            keys: Keys::default(),
            file_name: &options.file_name,
        };
        let contents = opened.contents()?;
        meter.claimed_members(contents.entries.len() as u64)?;
        opened.visit(&contents, visit)
    }
}

fn utf16(password: &Secret) -> Vec<u8> {
    password.reveal().encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// One archive on its way.
struct SevenZipOpened<'a> {
    archive: SpoolReader,
    meter: &'a Meter,
    passwords: Vec<Vec<u8>>,
    keys: Keys,
    file_name: &'a str,
}

impl SevenZipOpened<'_> {
    fn contents(&self) -> Result<Contents, UnpackError> {
        let mut header = self.outer_header()?;
        for _ in 0..MOST_LAYERS {
            let mut reader = SevenZipHeaderReader::new(&header, self.meter);
            if header.is_empty() {
                return Ok(Contents::default());
            }
            match reader.byte()? {
                HEADER => return reader.contents(),
                PACKED_HEADER => {
                    let streams = reader.streams()?;
                    header = self.unpacked_header(&streams)?;
                }
                other => return Err(damaged(format!("its header is of the unknown kind {other}"))),
            }
        }
        Err(damaged(format!("its header is packed more than {MOST_LAYERS} times")))
    }

    /// The header that the first bytes of the archive point at.
    fn outer_header(&self) -> Result<Vec<u8>, UnpackError> {
        let mut reader = self.archive.clone();
        let mut signature = [0; SIGNATURE_BYTES as usize];
        if reader.size() < SIGNATURE_BYTES {
            return Err(damaged(format!(
                "it ends at byte {}, before its signature header does",
                reader.size()
            )));
        }
        reader.read_exact(&mut signature).map_err(UnpackError::from_read)?;
        let number =
            |at: usize| u64::from_le_bytes(signature[at..at + 8].try_into().unwrap_or_default());
        let crc =
            |at: usize| u32::from_le_bytes(signature[at..at + 4].try_into().unwrap_or_default());
        if signature[6] != 0 {
            return Err(UnpackError::new(
                Class::ArchiveUnsupported,
                format!("it is of version {}.{} of the format", signature[6], signature[7]),
            ));
        }
        if signature[8..].iter().all(|byte| *byte == 0) {
            return Err(damaged("whoever wrote it did not finish it"));
        }
        if crc32_iso_hdlc(&signature[12..]) != crc(8) {
            return Err(damaged("the checksum of its signature header does not hold"));
        }
        let (start, size) = (number(12).checked_add(SIGNATURE_BYTES), number(20));
        let end = start.and_then(|start| start.checked_add(size));
        let (Some(start), Some(end)) = (start, end) else {
            return Err(damaged("its header is nowhere"));
        };
        if end > reader.size() {
            return Err(self.ends_early(end));
        }
        if size > MOST_HEADER_BYTES {
            return Err(header_limit(size));
        }
        if size == 0 && reader.size() > SIGNATURE_BYTES {
            return Err(damaged("it has content, and its header lists nothing"));
        }
        reader.jump(start);
        let mut header = Vec::with_capacity(size as usize);
        reader.take(size).read_to_end(&mut header).map_err(UnpackError::from_read)?;
        if crc32_iso_hdlc(&header) != crc(28) {
            return Err(damaged("the checksum of its header does not hold"));
        }
        Ok(header)
    }

    fn ends_early(&self, end: u64) -> UnpackError {
        let (size, name) = (self.archive.size(), self.file_name);
        let told = format!("it has {size} bytes; its header ends at byte {end}");
        let numbered = name.rsplit_once('.').is_some_and(|(_, ending)| {
            ending.len() == 3 && ending.bytes().all(|byte| byte.is_ascii_digit())
        });
        match numbered {
            true => UnpackError::unread(Unread::Split7z),
            false => damaged(format!("{told}: it is truncated, or the first of several volumes")),
        }
    }

    fn unpacked_header(&self, streams: &SevenZipStreams) -> Result<Vec<u8>, UnpackError> {
        let [folder] = &streams.folders[..] else {
            return Err(damaged("its header is not packed as one piece"));
        };
        let size = folder.size();
        if size > MOST_HEADER_BYTES {
            return Err(header_limit(size));
        }
        self.with_password(folder, |password| {
            let stream =
                coders::open(&self.archive, streams, folder, password, &self.keys, self.meter)?;
            let mut header = Vec::new();
            stream.take(size + 1).read_to_end(&mut header).map_err(UnpackError::from_read)?;
            match header.len() as u64 == size
                && folder.crc.is_none_or(|crc| crc == crc32_iso_hdlc(&header))
            {
                true => Ok(header),
                false => Err(damaged("the checksum of its header does not hold")),
            }
        })
    }

    /// Does `work` with the password of `folder`: each that the settings name, until it goes well.
    fn with_password<T>(
        &self,
        folder: &SevenZipFolder,
        work: impl Fn(Option<&[u8]>) -> Result<T, UnpackError>,
    ) -> Result<T, UnpackError> {
        if !coders::is_encrypted(folder) {
            return work(None);
        }
        if self.passwords.is_empty() {
            return Err(UnpackError::new(Class::ArchiveEncrypted, "it is encrypted with AES"));
        }
        for password in &self.passwords {
            match work(Some(password)) {
                Err(error) if error.class() == Class::ArchiveDamaged => {}
                result => return result,
            }
        }
        Err(UnpackError::new(
            Class::ArchiveEncrypted,
            "none of the passwords opens it, or it is damaged",
        ))
    }

    fn visit(&self, contents: &Contents, visit: &mut Visit<'_>) -> Result<(), UnpackError> {
        let mut folders = contents.streams.folders.iter();
        let mut current: Option<FolderReader> = None;
        for (index, entry) in contents.entries.iter().enumerate() {
            let member = self.member(index, entry, 0);
            if !entry.has_content {
                let _counted = self.meter.member().map_err(|error| error.at(&member.name))?;
                visit(&member, &mut io::empty())?;
                continue;
            }
            if current.as_ref().is_none_or(FolderReader::is_over) {
                let at = |error: UnpackError| error.at(&member.name);
                current.take().map_or(Ok(()), FolderReader::end)?;
                current = Some(self.next_folder(&contents.streams, &mut folders).map_err(at)?);
            }
            // There are as many contents as members that have one: the header was judged by that.
            let Some(reader) = current.as_mut() else {
                return Err(damaged("its header is wrong: contents are missing"));
            };
            self.visit_one(reader, Member { size: Some(reader.part().size), ..member }, visit)?;
        }
        current.take().map_or(Ok(()), FolderReader::end)?;
        folders.try_for_each(empty)
    }

    fn next_folder<'f>(
        &self,
        streams: &SevenZipStreams,
        folders: &mut impl Iterator<Item = &'f SevenZipFolder>,
    ) -> Result<FolderReader<'f>, UnpackError> {
        for folder in folders {
            if folder.parts.is_empty() {
                empty(folder)?;
                continue;
            }
            let password = self.password(streams, folder)?;
            let stream =
                coders::open(&self.archive, streams, folder, password, &self.keys, self.meter)?;
            let encrypted = coders::is_encrypted(folder);
            return Ok(FolderReader {
                folder,
                stream,
                next: 0,
                crc: Digest::new(CrcAlgorithm::Crc32IsoHdlc),
                encrypted,
            });
        }
        Err(damaged("its header is wrong: contents are missing"))
    }

    /// The password of `folder`: if there is a choice, that with which its first content holds.
    fn password(
        &self,
        streams: &SevenZipStreams,
        folder: &SevenZipFolder,
    ) -> Result<Option<&[u8]>, UnpackError> {
        match &self.passwords[..] {
            _ if !coders::is_encrypted(folder) => Ok(None),
            [only] => Ok(Some(only)),
            _ => {
                let found = self.with_password(folder, |password| {
                    let mut stream = coders::open(
                        &self.archive,
                        streams,
                        folder,
                        password,
                        &self.keys,
                        self.meter,
                    )?;
                    self.try_first(&mut stream, folder.parts[0])?;
                    Ok(self.passwords.iter().position(|one| Some(&one[..]) == password))
                })?;
                Ok(found.map(|index| &self.passwords[index][..]))
            }
        }
    }

    fn try_first(&self, stream: &mut dyn Read, part: PartOf) -> Result<(), UnpackError> {
        let (mut crc, mut size, mut buffer) =
            (Digest::new(CrcAlgorithm::Crc32IsoHdlc), 0, vec![0; 64 << 10]);
        let mut first = stream.take(part.size);
        loop {
            let read = first.read(&mut buffer).map_err(UnpackError::from_read)?;
            if read == 0 {
                let holds = size == part.size
                    && part.crc.is_none_or(|told| u64::from(told) == crc.finalize());
                return if holds { Ok(()) } else { Err(damaged("its checksum does not hold")) };
            }
            crc.update(&buffer[..read]);
            size += read as u64;
            self.meter.between(size)?;
        }
    }

    fn visit_one(
        &self,
        reader: &mut FolderReader<'_>,
        member: Member,
        visit: &mut Visit<'_>,
    ) -> Result<(), UnpackError> {
        let meter = self.meter.member().map_err(|error| error.at(&member.name))?;
        let crc = Digest::new(CrcAlgorithm::Crc32IsoHdlc);
        let mut content = SevenZipContent {
            left: reader.part().size,
            name: &member.name,
            reader,
            crc,
            meter,
            state: SevenZipState::Reading,
        };
        visit(&member, &mut content)?;
        // `Ok` from us means proven, whatever `visit` left unread.
        io::copy(&mut content, &mut io::sink()).map_err(UnpackError::from_read)?;
        Ok(())
    }

    fn member(&self, index: usize, entry: &SevenZipEntry, size: u64) -> Member {
        let name = match &entry.name[..] {
            [] => self.file_name.strip_suffix(".7z").unwrap_or(self.file_name).to_owned(),
            name => String::from_utf16_lossy(name),
        };
        let raw_name =
            if entry.name.is_empty() { name.clone().into_bytes() } else { wtf8(&entry.name) };
        Member {
            index,
            within: Vec::new(),
            raw_name,
            name,
            kind: kind(entry),
            size: Some(size),
            modified: modified(entry),
        }
    }
}

fn header_limit(size: u64) -> UnpackError {
    UnpackError::new(
        Class::LimitArchive,
        format!("its header has {size} bytes; more than {MOST_HEADER_BYTES} are not read"),
    )
}

/// A folder of no member must hold nothing.
fn empty(folder: &SevenZipFolder) -> Result<(), UnpackError> {
    if folder.size() == 0 {
        Ok(())
    } else {
        Err(damaged("it holds content that belongs to no member"))
    }
}

/// UTF-16 in bytes: UTF-8 but for halves of pairs, which keep their number.
fn wtf8(name: &[u16]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len());
    for unit in char::decode_utf16(name.iter().copied()) {
        match unit {
            Ok(letter) => bytes.extend(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            Err(half) => {
                let half = half.unpaired_surrogate();
                bytes.extend([
                    0xE0 | (half >> 12) as u8,
                    0x80 | (half >> 6 & 0x3F) as u8,
                    0x80 | (half & 0x3F) as u8,
                ]);
            }
        }
    }
    bytes
}

fn kind(entry: &SevenZipEntry) -> MemberKind {
    const REPARSE_POINT: u32 = 0x400;
    const HAS_UNIX_MODE: u32 = 0x8000;
    let unix_type =
        if entry.attributes & HAS_UNIX_MODE != 0 { entry.attributes >> 16 & 0o170_000 } else { 0 };
    match unix_type {
        // Its content is the name of what it points at.
        0o120_000 => MemberKind::Link,
        // What has content is kept as a file, whatever it is called: its bytes have nowhere else to
        // go. What came from a pipe has the type of a pipe, and a file that Windows keeps elsewhere
        // is a reparse point.
        _ if entry.has_content => MemberKind::File,
        0o060_000 | 0o020_000 | 0o010_000 | 0o140_000 => MemberKind::Special,
        _ if entry.is_deletion || entry.attributes & REPARSE_POINT != 0 => MemberKind::Special,
        _ if entry.is_empty_file => MemberKind::File,
        _ => MemberKind::Directory,
    }
}

fn modified(entry: &SevenZipEntry) -> Option<MemberTime> {
    const BETWEEN_1601_AND_1970: i128 = 11_644_473_600 * 1_000_000_000;
    let ticks = entry.modified.filter(|ticks| *ticks != 0)?;
    let at =
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(ticks) * 100 - BETWEEN_1601_AND_1970)
            .ok()?;
    Some(MemberTime::Utc(ModifiedTime::new(at, Precision::Nanosecond)))
}
