//! Zips read in parts: by the directory alone, and the places of the members that are wanted.

use std::ops::Range;
use std::sync::Arc;

use crate::archive::contract::{Indexed, Partial, Place, UnpackError};
use crate::archive::limits::Meter;
use crate::archive::options::ArchiveOptions;
use crate::archive::spool_reader::SpoolReader;
use crate::archive::zip::beginning::HEAD_BYTES;
use crate::archive::zip::directory::{ZipEntry, damaged};
use crate::archive::zip::end;
use crate::archive::zip::opened::{ZipOpened, listed, member};

/// How far beyond a member its reader may look, for what follows it.
const BEYOND_BYTES: u64 = 32;
/// What stands beside a member's content and name: its header, a data descriptor, and by how much
/// the extra field of the header is usually larger than in the directory.
const BESIDE_BYTES: u64 = 30 + 24 + 56;

/// The zip format, read in parts.
#[derive(Debug)]
pub(super) struct ZipInParts;

impl Partial for ZipInParts {
    fn expects(&self, name: &str) -> bool {
        let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
        matches!(extension.as_deref(), Some("zip" | "zipx"))
    }

    fn head_bytes(&self) -> u64 {
        HEAD_BYTES as u64
    }

    fn tail_bytes(&self) -> u64 {
        // The end record with the longest comment, its zip64 forms, and some more: small
        // directories come along.
        128 << 10
    }

    fn directory(&self, mut archive: SpoolReader) -> Result<Range<u64>, UnpackError> {
        let directory = end::find(&mut archive)?;
        Ok(directory.start..directory.start + directory.size)
    }

    fn places(
        &self,
        mut archive: SpoolReader,
        options: &ArchiveOptions,
        meter: &Meter,
    ) -> Result<Vec<Place>, UnpackError> {
        let (directory, decoding, count) = listed(&mut archive, options, meter)?;
        // An entry that damage took away leaves its member behind: only who reads all sees that.
        if (count as u64) < directory.members {
            return Err(damaged(
                "its directory lists fewer members than it counts, so that all of it is to be read",
            ));
        }
        let mut entries = Vec::with_capacity(count);
        directory.entries(&mut archive, |entry| {
            entries.push(entry);
            Ok(())
        })?;
        // A member ends before the next one begins, whatever their order in the directory.
        let mut starts: Vec<u64> = entries.iter().map(|entry| entry.header).collect();
        starts.sort_unstable();
        if starts.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(damaged("two of its members are in one place, so that all is to be read"));
        }
        let place = |(index, entry): (usize, &_)| {
            let entry: &ZipEntry = entry;
            let next = directory.next_start(&starts, entry.header);
            let taken = entry.packed.saturating_add(BESIDE_BYTES)
                + (entry.raw_name.len() + entry.extra.len()) as u64;
            let least = entry.packed.saturating_add(30 + entry.raw_name.len() as u64);
            let room = next.saturating_sub(entry.header);
            let end = next.saturating_add(BEYOND_BYTES).min(directory.start).max(entry.header);
            Place {
                member: member(index, decoding.name(entry), entry),
                bytes: entry.header..end,
                // A member that reaches into the next one is another matter for who reads all.
                may_hide: room > taken || room < least,
                crc32: Some(entry.crc),
            }
        };
        Ok(entries.iter().enumerate().map(place).collect())
    }

    fn open(
        &self,
        archive: SpoolReader,
        options: &ArchiveOptions,
        meter: &Meter,
        wanted: &[bool],
    ) -> Result<Arc<dyn Indexed>, UnpackError> {
        Ok(Arc::new(ZipOpened::new(archive, options, meter, Some(wanted))?))
    }
}
