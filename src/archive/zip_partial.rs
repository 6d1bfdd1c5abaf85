//! Zips read in parts: by the directory alone, and the places of the members that are wanted.

use std::ops::Range;
use std::sync::Arc;

use crate::archive::contract::{Indexed, Options, Partial, Place, UnpackError};
use crate::archive::limits::Meter;
use crate::archive::spool::SpoolReader;
use crate::archive::zip::{Opened, Zip, member};
use crate::archive::zip_directory::Directory;

impl Partial for Zip {
    fn expects(&self, name: &str) -> bool {
        let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
        matches!(extension.as_deref(), Some("zip" | "zipx"))
    }

    fn tail_bytes(&self) -> u64 {
        // The end record with the longest comment, its zip64 forms, and some more: small directories come along.
        128 << 10
    }

    fn directory(&self, mut archive: SpoolReader) -> Result<Range<u64>, UnpackError> {
        let directory = Directory::find(&mut archive)?;
        Ok(directory.start..directory.start + directory.size)
    }

    fn places(&self, mut archive: SpoolReader, _options: &Options, meter: &Meter) -> Result<Vec<Place>, UnpackError> {
        let directory = Directory::find(&mut archive)?;
        meter.claimed_members(directory.members)?;
        let mut places = Vec::new();
        directory.entries(&mut archive, |entry| {
            let member = member(places.len(), &entry);
            places.push(Place { member, bytes: entry.header..directory.start, crc32: Some(entry.crc) });
            Ok(())
        })?;
        // A member ends before the next one begins, whatever their order in the directory.
        let mut starts: Vec<u64> = places.iter().map(|place| place.bytes.start).collect();
        starts.sort_unstable();
        for place in &mut places {
            let next = starts.partition_point(|start| *start <= place.bytes.start);
            place.bytes.end = starts.get(next).copied().unwrap_or(directory.start).max(place.bytes.start);
        }
        Ok(places)
    }

    fn open(&self, archive: SpoolReader, options: &Options, meter: &Meter, wanted: &[bool]) -> Result<Arc<dyn Indexed>, UnpackError> {
        Ok(Arc::new(Opened::new(archive, options, meter, Some(wanted))?))
    }
}
