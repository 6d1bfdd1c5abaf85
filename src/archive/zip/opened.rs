//! A zip whose directory and headers were read and judged.

use std::io;

use crate::archive::contract::{Indexed, Member, UnpackError, Visit};
use crate::archive::limits::Meter;
use crate::archive::member_table::MemberTable;
use crate::archive::options::ArchiveOptions;
use crate::archive::spool_reader::SpoolReader;
use crate::archive::zip::content::{ZipContent, ZipContentPacked};
use crate::archive::zip::directory::{
    Directory, ENTRY_BYTES, FLAG_ENCRYPTED, FLAG_MASKED, FLAG_PATCH, FLAG_STRONG, ZipEntry,
};
use crate::archive::zip::extent::{Odd, apart, cover, extent};
use crate::archive::zip::locks::Lock;
use crate::archive::zip::names::{self, Decoding};
use crate::archive::zip::{end, fields};
use crate::model::failure::Class;
use crate::model::printable;

/// A zip whose headers were judged: all that they can tell, before the first member is read.
#[derive(Debug)]
pub(super) struct ZipOpened {
    members: MemberTable,
    /// `None` for members whose places are not there.
    packed: Vec<Option<ZipContentPacked>>,
    crc32: Vec<u32>,
}

impl Indexed for ZipOpened {
    fn count(&self) -> usize {
        self.members.len()
    }

    fn member(&self, index: usize) -> Member {
        self.members.member(index)
    }

    fn crc32(&self, index: usize) -> Option<u32> {
        self.crc32.get(index).copied()
    }

    fn visit_one(
        &self,
        index: usize,
        archive: SpoolReader,
        options: &ArchiveOptions,
        meter: &Meter,
        visit: &mut Visit<'_>,
    ) -> Result<(), UnpackError> {
        let member = &self.members.member(index);
        let at = |error: UnpackError| error.at(&member.name);
        let absent =
            || at(UnpackError::new(Class::Internal, "its place in the archive was not fetched"));
        let packed = self.packed[index].as_ref().ok_or_else(absent)?;
        let meter = meter.member().map_err(at)?;
        let cipher = packed.open(&archive, options).map_err(at)?;
        let mut content = ZipContent::new(archive, member, packed, cipher, meter).map_err(at)?;
        visit(member, &mut content)?;
        // `Ok` from us means proven, whatever `visit` left unread.
        io::copy(&mut content, &mut io::sink()).map_err(UnpackError::from_read)?;
        Ok(())
    }
}

impl ZipOpened {
    /// Of an archive that is there as a whole, or in the places of those members that are `wanted`.
    pub fn new(
        mut archive: SpoolReader,
        options: &ArchiveOptions,
        meter: &Meter,
        wanted: Option<&[bool]>,
    ) -> Result<Self, UnpackError> {
        let (directory, decoding, count) = listed(&mut archive, options, meter)?;
        let (mut members, mut packed, mut crc32) = (
            MemberTable::with_capacity(count),
            Vec::with_capacity(count),
            Vec::with_capacity(count),
        );
        let mut extents = Vec::with_capacity(count);
        directory.entries(&mut archive.clone(), |mut entry| {
            let listed_as = decoding.name(&entry);
            crc32.push(entry.crc);
            if wanted.is_some_and(|wanted| !wanted.get(members.len()).copied().unwrap_or(false)) {
                packed.push(None);
                members.push(&member(members.len(), listed_as, &entry));
                return Ok(());
            }
            let at = |error: UnpackError| error.at(&listed_as);
            let lock = is_readable(&entry).and_then(|()| Lock::of(&entry, options)).map_err(at)?;
            let name = || printable(listed_as.as_bytes());
            let mut note = |odd| match odd {
                Odd::Remark(text) => meter.remark(format!("member `{}`: {text}", name())),
                Odd::Doubt(text) => meter.doubt(format!("member `{}`: {text}", name())),
            };
            let found = extent(&directory, &mut archive, &mut entry, &mut note);
            let extent = found.map_err(|error| directory.judge(error)).map_err(at)?;
            packed.push(Some(ZipContentPacked::new(&entry, lock, extent).map_err(at)?));
            extents.push(extent);
            members.push(&member(members.len(), decoding.name(&entry), &entry));
            Ok(())
        })?;
        if wanted.is_some() {
            let apart = apart(&directory, &mut archive, &extents);
            apart.map_err(|error| directory.judge(error))?;
        } else {
            let unused = cover(&directory, &mut archive, extents);
            let unused = unused.map_err(|error| directory.judge(error))?;
            if unused > 0 && (members.len() as u64) < directory.members {
                // An entry that damage took away leaves its member behind.
                meter.doubt(format!("{unused} bytes belong to no member that its directory lists"));
            }
        }
        Ok(Self { members, packed, crc32 })
    }
}

/// Where the directory is, how its names are to be read, how many members it lists. It is read to
/// its end once: its entries take more room than what is kept of them.
pub(super) fn listed(
    archive: &mut SpoolReader,
    options: &ArchiveOptions,
    meter: &Meter,
) -> Result<(Directory, Decoding, usize), UnpackError> {
    let directory = end::find(archive)?;
    let claimed = directory.members.min(directory.size / ENTRY_BYTES);
    meter.claimed_members(claimed)?;
    let (mut count, mut untold) = (0, Vec::new());
    let found = directory.entries(archive, |entry| {
        count += 1;
        untold.extend(names::untold(entry));
        meter.claimed_members(count as u64)
    })?;
    directory.oddity.iter().for_each(|oddity| meter.remark(oddity.clone()));
    if found != directory.members {
        let counted = directory.members;
        meter.remark(format!("its directory counts {counted} members and lists {found}"));
    }
    if directory.is_part {
        meter.remark("its end says that it is a part of several; all of it is here".to_owned());
    }
    Ok((directory, Decoding::of(options.charset, &untold), count))
}

/// Refuses what no password helps with.
fn is_readable(entry: &ZipEntry) -> Result<(), UnpackError> {
    let unsupported = |what: &str| Err(UnpackError::new(Class::ArchiveUnsupported, what));
    match entry.flags {
        flags if flags & FLAG_MASKED != 0 => {
            unsupported("its directory is encrypted (PKWARE strong encryption)")
        }
        flags if flags & FLAG_ENCRYPTED != 0 && flags & FLAG_STRONG != 0 => {
            unsupported("it is encrypted with PKWARE strong encryption")
        }
        flags if flags & FLAG_PATCH != 0 => unsupported("it is a patch"),
        _ => Ok(()),
    }
}

/// A member as its entry tells of it, by the name that was decoded.
pub(super) fn member(index: usize, name: String, entry: &ZipEntry) -> Member {
    Member {
        index,
        within: Vec::new(),
        raw_name: entry.raw_name.clone(),
        kind: fields::kind(&name, entry.made_by, entry.attributes, entry.unpacked),
        name,
        size: Some(entry.unpacked),
        modified: fields::modified(&entry.extra, entry.dos_date, entry.dos_time),
    }
}
