//! Reads only those members of a remote archive that are wanted: its directory first, then the
//! parts they are in.
//!
//! Whatever stands in the way here is no failure: the archive is then read as a whole, and that way
//! tells.

use std::ops::Range;

use bytes::Bytes;

use crate::archive::contract::{Format, Member, MemberKind, Nature, Partial, Place};
use crate::archive::limits::Meter;
use crate::archive::spool::SpoolRoom;
use crate::archive::spool_reader::{Spool, SpoolPiece, SpoolReader};
use crate::archive::{FORMATS, contract::UnpackError, recognise};
use crate::model::RemoteFile;
use crate::model::failure::{Class, Failure};
use crate::rules::naming::escaped_for_metadata;
use crate::rules::verify::{self, Verdict};
use crate::source::contract::{Session, SourceError};
use crate::source::pool::PoolLease;
use crate::store::contract::BLOCK_BYTES;
use crate::transfer::archive::checking::{self, ProvenArchive, Selection};
use crate::transfer::archive::manifest::{self, Manifest};
use crate::transfer::archive::nested;
use crate::transfer::context::Pass;
use crate::transfer::error::TransferError;
use crate::transfer::identity::TransferIdentity;
use crate::transfer::request::Transfer;
use crate::transfer::settings::{After, Archives, MemberGlobs};

/// A smaller file is read faster than looked at.
const WORTH_BYTES: u64 = 1 << 20;
/// A gap up to this is read along: asking twice costs more.
const GAP_BYTES: u64 = 64 << 10;
/// Reading more than this share of the file in parts is not worth it, in percent.
const WORTH_PERCENT: u64 = 70;

/// What reading in parts came to.
pub enum Partly {
    /// The wanted members, proved, and what is known of the others.
    Proven(Box<ProvenArchive>),
    /// The file is not what it was when the reading began.
    Changed(Verdict),
    /// The file is to be read as a whole.
    Not,
}

/// Tries to read only what is wanted of the file of `identity`.
pub(crate) async fn read(
    pass: &Pass,
    transfer: &Transfer,
    identity: &TransferIdentity<'_>,
) -> Result<Partly, TransferError> {
    let file = identity.file;
    let file_name = file.path.file_name_text();
    let Some((format, partial)) = expected(pass, file, &file_name) else { return Ok(Partly::Not) };
    let before = if pass.source.incremental_members {
        manifest::before(pass, transfer).await?
    } else {
        None
    };
    if pass.source.include_members.is_none() && before.is_none() {
        return Ok(Partly::Not);
    }
    let size = file.size.unwrap_or(0);
    let Ok(mut lease) = pass.pool.lend().await else { return Ok(Partly::Not) };
    let mut work = PartialWork { pass, file, size, session: &mut *lease };
    let found = match work.look(format, partial).await {
        Ok(Some(found)) => found,
        Ok(None) => {
            lease.give_back();
            return Ok(Partly::Not);
        }
        Err(stop) => return Ok(stop.end(lease)),
    };
    let selection = select(pass, before.as_ref(), &found.places);
    let spool = match work.fetch(&found, &selection).await {
        Ok(Some(spool)) => spool,
        Ok(None) => {
            lease.give_back();
            return Ok(Partly::Not);
        }
        Err(stop) => return Ok(stop.end(lease)),
    };
    let after = lease.stat(&file.path).await;
    lease.settle(&after);
    let Ok(after) = after else { return Ok(Partly::Not) };
    match verify::source(file, after.as_ref(), size) {
        Ok(Verdict::Whole | Verdict::Unseen) => {}
        Ok(verdict) => return Ok(Partly::Changed(verdict)),
        Err(_) => return Ok(Partly::Not),
    }
    let bytes = work_bytes(&found, &selection);
    tracing::debug!(source = pass.source.name, path = %file.path, bytes, of = size, "An archive is \
        read in parts.");
    let archive = checking::archive(pass, &file.path, format, &spool);
    match checking::check_some(pass, transfer, identity, archive, partial, selection).await {
        Ok(proven) => Ok(Partly::Proven(Box::new(proven))),
        // Most likely a part that a reader wants and that nobody thought of.
        Err(error) if error.class() == Class::Internal => {
            tracing::debug!(
                error = crate::model::chain(&error),
                "An archive cannot be read in parts."
            );
            Ok(Partly::Not)
        }
        Err(error) => Err(error),
    }
}

/// What the directory of an archive tells.
pub(crate) struct Previewed {
    /// The archive's format.
    pub format: &'static str,
    /// Its members, in the directory's order.
    pub members: Vec<Member>,
}

/// The members of `file`, where its directory can be read by itself.
pub(crate) async fn preview(pass: &Pass, file: &RemoteFile) -> Option<Previewed> {
    let file_name = file.path.file_name_text();
    let size = file.size?;
    let (format, partial) = by_name(&file_name)?;
    let mut lease = pass.pool.lend().await.ok()?;
    let found = PartialWork { pass, file, size, session: &mut *lease }.look(format, partial).await;
    match found {
        Ok(found) => {
            lease.give_back();
            let members = found?.places.into_iter().map(|place| place.member).collect();
            Some(Previewed { format: format.name(), members })
        }
        Err(stop) => {
            stop.end(lease);
            None
        }
    }
}

/// The format that `file` has by its name, if its settings and size make parts worth a try.
fn expected(
    pass: &Pass,
    file: &RemoteFile,
    file_name: &str,
) -> Option<(&'static dyn Format, &'static dyn Partial)> {
    let wants_parts = pass.source.include_members.is_some() || pass.source.incremental_members;
    // With `both` the original is needed whole. Nothing leaves the source that was not read whole.
    if !wants_parts
        || pass.source.after != After::Keep
        || pass.source.archives != Archives::Unpack
        || file.size.is_none_or(|size| size < WORTH_BYTES)
    {
        return None;
    }
    by_name(file_name)
}

fn by_name(file_name: &str) -> Option<(&'static dyn Format, &'static dyn Partial)> {
    let formats = FORMATS.iter().copied().filter_map(|format| Some((format, format.partial()?)));
    formats.into_iter().find(|(_, partial)| partial.expects(file_name))
}

/// Reading in parts has come to an end, perhaps by an error of the source; reading the whole will
/// tell why.
struct Stop(Option<SourceError>);

impl Stop {
    /// The session may be in any state: it goes, and with it a login that was lost.
    fn end(self, lease: PoolLease) -> Partly {
        match self.0 {
            Some(error) if !error.keeps_session() => lease.lost(&error),
            _ => drop(lease),
        }
        Partly::Not
    }
}

impl From<SourceError> for Stop {
    fn from(error: SourceError) -> Self {
        tracing::debug!(error = crate::model::chain(&error), "An archive cannot be read in parts.");
        Self(Some(error))
    }
}

impl From<UnpackError> for Stop {
    fn from(error: UnpackError) -> Self {
        tracing::debug!(error = crate::model::chain(&error), "An archive cannot be read in parts.");
        Self(None)
    }
}

/// An archive whose directory was read.
struct PartialFound {
    /// The parts that were read for it.
    parts: Vec<(u64, Bytes)>,
    places: Vec<Place>,
}

struct PartialWork<'a> {
    pass: &'a Pass,
    file: &'a RemoteFile,
    size: u64,
    session: &'a mut dyn Session,
}

impl PartialWork<'_> {
    /// Reads the directory; `None` if this is no archive to be opened.
    async fn look(
        &mut self,
        format: &'static dyn Format,
        partial: &'static dyn Partial,
    ) -> Result<Option<PartialFound>, Stop> {
        let tail_start = self.size.saturating_sub(partial.tail_bytes());
        let head = 0..partial.head_bytes().min(tail_start);
        let mut parts = vec![
            (0, self.part(head.clone()).await?),
            (tail_start, self.part(tail_start..self.size).await?),
        ];
        let spool = spooled(self.pass, self.size, &parts).await?;
        let directory = blocking(&spool, move |reader| partial.directory(reader)).await?;
        if directory.start < tail_start {
            let more = directory.start..directory.end.min(tail_start);
            parts.insert(1, (more.start, self.part(more.clone()).await?));
            if more.end < tail_start {
                let between = more.end..tail_start;
                parts.insert(2, (between.start, self.part(between).await?));
            }
        }
        let spool = spooled(self.pass, self.size, &parts).await?;
        let nature = blocking(&spool, move |reader| format.nature(reader))
            .await?
            .called(&self.file.path.file_name_text());
        let opens = nature == Nature::Archive
            || (nature == Nature::Document && self.pass.source.unpacking.unpack_documents);
        if !opens {
            return Ok(None);
        }
        let archive = checking::archive(self.pass, &self.file.path, format, &spool);
        let options = archive.options.clone();
        let limits = options.limits.clone();
        let size = self.size;
        let places = blocking(&spool, move |reader| {
            partial.places(reader, &options, &Meter::new(limits, size))
        })
        .await?;
        Ok(Some(PartialFound { parts, places }))
    }

    /// Reads the places of wanted members; `None` if that is not worth it or there is no room.
    async fn fetch(
        &mut self,
        found: &PartialFound,
        selection: &Selection,
    ) -> Result<Option<Spool>, Stop> {
        if may_hide(&found.places, &selection.wanted) {
            tracing::debug!(path = %self.file.path, "An archive is not read in parts: bytes \
                between its members may hold others, which only who reads all would see.");
            return Ok(None);
        }
        let ranges = missing(found, &selection.wanted);
        let bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        let there: u64 = found.parts.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        if (bytes + there) * 100 > self.size.saturating_mul(WORTH_PERCENT) {
            return Ok(None);
        }
        // Room is not waited for while the directory is held.
        let Ok(mut writer) =
            self.pass.run.spooler.writer(Some(bytes + there), SpoolRoom::Now).await
        else {
            return Ok(None);
        };
        let mut pieces = Vec::new();
        for range in ranges {
            let mut at = range.start;
            pieces.push(SpoolPiece { start: at, length: range.end - at, packed: writer.size() });
            let mut download = self.session.read_part(self.file, range.clone()).await?;
            while at < range.end {
                let Some(mut chunk) = download.next().await? else { return Err(Stop(None)) };
                chunk.truncate(usize::try_from(range.end - at).unwrap_or(usize::MAX));
                at += chunk.len() as u64;
                self.pass.run.progress.fetched(&self.pass.source.name, chunk.len() as u64);
                writer.write(chunk).await?;
            }
            download.stop().await?;
        }
        for (start, bytes) in &found.parts {
            pieces.push(SpoolPiece {
                start: *start,
                length: bytes.len() as u64,
                packed: writer.size(),
            });
            writer.write(bytes.clone()).await?;
        }
        pieces.sort_unstable_by_key(|piece| piece.start);
        Ok(Some(Spool::of_parts(writer.finish().await?, self.size, pieces)))
    }

    async fn part(&mut self, range: Range<u64>) -> Result<Bytes, Stop> {
        let length = usize::try_from(range.end - range.start).map_err(|_| Stop(None))?;
        if length == 0 {
            return Ok(Bytes::new());
        }
        // What the directory says is a claim.
        let mut part = bytes::BytesMut::with_capacity(length.min(BLOCK_BYTES as usize));
        let mut download = self.session.read_part(self.file, range.clone()).await?;
        while part.len() < length {
            let Some(mut chunk) = download.next().await? else { return Err(Stop(None)) };
            chunk.truncate(length - part.len());
            self.pass.run.progress.fetched(&self.pass.source.name, chunk.len() as u64);
            part.extend_from_slice(&chunk);
        }
        download.stop().await?;
        Ok(part.freeze())
    }
}

async fn spooled(pass: &Pass, size: u64, parts: &[(u64, Bytes)]) -> Result<Spool, Stop> {
    let bytes = parts.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    let mut writer = pass.run.spooler.writer(Some(bytes), SpoolRoom::Now).await?;
    let mut pieces = Vec::new();
    for (start, bytes) in parts {
        pieces.push(SpoolPiece {
            start: *start,
            length: bytes.len() as u64,
            packed: writer.size(),
        });
        writer.write(bytes.clone()).await?;
    }
    Ok(Spool::of_parts(writer.finish().await?, size, pieces))
}

async fn blocking<T: Send + 'static>(
    spool: &Spool,
    work: impl FnOnce(SpoolReader) -> Result<T, UnpackError> + Send + 'static,
) -> Result<T, Stop> {
    let reader = spool.reader();
    Ok(tokio::task::spawn_blocking(move || work(reader)).await.map_err(|_| Stop(None))??)
}

fn select(pass: &Pass, before: Option<&Manifest>, places: &[Place]) -> Selection {
    let by_name = manifest::by_name(before);
    let mut selection = Selection::default();
    for place in places {
        let member = &place.member;
        let earlier = by_name.get(escaped_for_metadata(&member.raw_name).as_str());
        let known = earlier.and_then(|earlier| manifest::unchanged(pass, earlier, place));
        let unchanged = before
            .filter(|_| known.is_none())
            .and_then(|before| nested::unchanged(pass, before, place));
        selection.wanted.push(known.is_none() && unchanged.is_none() && is_wanted(pass, place));
        selection.known.extend(known.map(|stored| (member.index, stored)));
        selection.unchanged.extend(unchanged.map(|archive| (member.index, archive)));
    }
    selection
}

/// Whether a member must be read: it is wanted itself, or it may be an archive with wanted members.
fn is_wanted(pass: &Pass, place: &Place) -> bool {
    let member = &place.member;
    if member.kind != MemberKind::File {
        return false;
    }
    pass.member_slips.see(&member.full_name());
    let unpacking = &pass.source.unpacking;
    let file_name = member.name.rsplit('/').next().unwrap_or_default();
    unpacking.depth > 1 && may_be_archive(file_name)
        || crate::transfer::settings::is_wanted(&MemberGlobs::of(&pass.source), member)
}

/// Whether a file of this name may be an archive that is read.
pub(crate) fn may_be_archive(file_name: &str) -> bool {
    recognise(&[], file_name).is_some() || has_archive_extension(file_name)
}

fn has_archive_extension(file_name: &str) -> bool {
    const EXTENSIONS: &[&str] = &[
        "zip", "zipx", "tar", "gz", "tgz", "bz2", "tbz2", "xz", "txz", "zst", "tzst", "lz4", "7z",
    ];
    let extension = file_name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str()))
}

/// Whether bytes before the members, or beside those that are not read, may hold members that the
/// directory does not list. What is read is checked for them.
fn may_hide(places: &[Place], wanted: &[bool]) -> bool {
    let first = places.iter().map(|place| place.bytes.start).min();
    first.is_some_and(|first| first > 0)
        || places.iter().zip(wanted).any(|(place, wanted)| place.may_hide && !wanted)
}

/// The parts of the file that hold wanted members and were not read yet, in order, those that lie
/// close together joined.
fn missing(found: &PartialFound, wanted: &[bool]) -> Vec<Range<u64>> {
    let head = found.parts.first().map_or(0, |(_, bytes)| bytes.len() as u64);
    let first_there = found.parts.get(1).map_or(u64::MAX, |(start, _)| *start);
    let wanted = found.places.iter().zip(wanted).filter(|(_, wanted)| **wanted);
    let mut ranges: Vec<Range<u64>> = wanted
        .map(|(place, _)| place.bytes.start.max(head)..place.bytes.end.min(first_there))
        .collect();
    ranges.retain(|range| range.start < range.end);
    ranges.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end.saturating_add(GAP_BYTES) => {
                last.end = last.end.max(range.end)
            }
            _ => joined.push(range),
        }
    }
    joined
}

fn work_bytes(found: &PartialFound, selection: &Selection) -> u64 {
    let ranges = missing(found, &selection.wanted);
    ranges.iter().map(|range| range.end - range.start).sum::<u64>()
        + found.parts.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>()
}
