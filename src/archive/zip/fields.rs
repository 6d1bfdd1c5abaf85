//! What a zip's directory tells of a member beside its bytes and its name: time and kind.

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

use crate::archive::contract::{MemberKind, MemberTime};
use crate::model::{ModifiedTime, Precision};

/// Systems that made an archive, as its directory numbers them.
pub(crate) const MADE_BY_DOS: u8 = 0;
pub(crate) const MADE_BY_UNIX: u8 = 3;
pub(crate) const MADE_BY_NTFS: u8 = 10;
pub(crate) const MADE_BY_VFAT: u8 = 14;
const MADE_BY_OSX: u8 = 19;

/// Info-ZIP's field with the name in UTF-8.
pub(crate) const UNICODE_PATH: u16 = 0x7075;

/// The fields of an extra block, as far as they make sense: padding and stray bytes at its end are
/// common, and nothing that proves content is told here.
pub fn fields(mut extra: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (head, rest) = extra.split_first_chunk::<4>()?;
        let (id, length) =
            (u16::from_le_bytes([head[0], head[1]]), u16::from_le_bytes([head[2], head[3]]));
        let (data, rest) = rest.split_at_checked(usize::from(length))?;
        extra = rest;
        Some((id, data))
    })
}

/// The first field `id`.
pub fn field(extra: &[u8], id: u16) -> Option<&[u8]> {
    fields(extra).find_map(|(found, data)| (found == id).then_some(data))
}

/// When a member was last modified: the finest and surest of what is told.
pub fn modified(extra: &[u8], dos_date: u16, dos_time: u16) -> Option<MemberTime> {
    ntfs_time(extra)
        .or_else(|| unix_time(extra))
        .map(MemberTime::Utc)
        .or_else(|| wall_time(dos_date, dos_time).map(MemberTime::Local))
}

/// Field 0x000A: four bytes unused, then tagged parts; part 1 begins with the modified time in 100
/// ns since 1601.
fn ntfs_time(extra: &[u8]) -> Option<ModifiedTime> {
    const BETWEEN_1601_AND_1970: i128 = 11_644_473_600 * 1_000_000_000;
    let times = field(field(extra, 0x000A)?.get(4..)?, 1)?;
    let ticks = u64::from_le_bytes(*times.first_chunk::<8>()?);
    let nanoseconds = i128::from(ticks) * 100 - BETWEEN_1601_AND_1970;
    let at = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).ok()?;
    (ticks != 0).then(|| ModifiedTime::new(at, Precision::Nanosecond))
}

/// Field 0x5455 with its modified bit, else the older 0x5855 and 0x000D (access time first).
/// Signed, as Info-ZIP says.
fn unix_time(extra: &[u8]) -> Option<ModifiedTime> {
    let seconds = |bytes: &[u8]| Some(i64::from(i32::from_le_bytes(*bytes.first_chunk::<4>()?)));
    let extended = || {
        field(extra, 0x5455)
            .filter(|data| data.first().is_some_and(|flags| flags & 1 != 0))
            .and_then(|data| seconds(&data[1..]))
    };
    let older = |id| field(extra, id).and_then(|data| seconds(data.get(4..)?));
    extended().or_else(|| older(0x5855)).or_else(|| older(0x000D)).and_then(ModifiedTime::from_unix)
}

fn wall_time(date: u16, time: u16) -> Option<PrimitiveDateTime> {
    // The first moment of the format's calendar is what writers put when they know no time.
    const NO_TIME: (u16, u16) = (1 << 5 | 1, 0);
    if (date, time) == NO_TIME {
        return None;
    }
    let month = Month::try_from((date >> 5 & 0xF) as u8).ok()?;
    let date =
        Date::from_calendar_date(1980 + i32::from(date >> 9), month, (date & 0x1F) as u8).ok()?;
    let time =
        Time::from_hms((time >> 11) as u8, (time >> 5 & 0x3F) as u8, (time & 0x1F) as u8 * 2)
            .ok()?;
    Some(PrimitiveDateTime::new(date, time))
}

/// The attribute of MS-DOS that makes a directory of what has no slash at its end.
const DOS_DIRECTORY: u32 = 0x10;

/// The kind of a member of `size` bytes.
pub fn kind(name: &str, made_by: u8, attributes: u32, size: u64) -> MemberKind {
    let unix_type = match made_by {
        MADE_BY_UNIX | MADE_BY_OSX => attributes >> 16 & 0o170_000,
        _ => 0,
    };
    match unix_type {
        // Its content is the name of what it points at.
        0o120_000 => MemberKind::Link,
        // What has content is kept as a file, whatever it is called: its bytes have nowhere else to
        // go. What came from a pipe has the type of a pipe.
        _ if size > 0 => MemberKind::File,
        0o060_000 | 0o020_000 | 0o010_000 | 0o140_000 => MemberKind::Special,
        0o040_000 => MemberKind::Directory,
        0 if attributes & DOS_DIRECTORY != 0 => MemberKind::Directory,
        _ if name.ends_with('/') => MemberKind::Directory,
        _ => MemberKind::File,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn extra(id: u16, data: &[u8]) -> Vec<u8> {
        [&id.to_le_bytes(), &(data.len() as u16).to_le_bytes(), data].concat()
    }

    #[test]
    fn the_surest_time_wins() {
        let dos = ((2017 - 1980) << 9 | 10 << 5 | 31, 21 << 11 | 11 << 5 | 29);
        assert_eq!(
            modified(&[], dos.0, dos.1),
            Some(MemberTime::Local(time::macros::datetime!(2017-10-31 21:11:58)))
        );
        let unix = extra(0x5455, &[&[1][..], &1_509_509_517u32.to_le_bytes()].concat());
        let exact = ModifiedTime::new(datetime!(2017-11-01 4:11:57 UTC), Precision::Second);
        assert_eq!(modified(&unix, dos.0, dos.1), Some(MemberTime::Utc(exact)));
        let ticks: u64 = (11_644_473_600 + 1_509_509_517) * 10_000_000 + 1_234_567;
        let ntfs = extra(
            0x000A,
            &[&[0; 4][..], &extra(1, &[ticks.to_le_bytes(), [0; 8], [0; 8]].concat())].concat(),
        );
        let exact =
            ModifiedTime::new(datetime!(2017-11-01 4:11:57.1234567 UTC), Precision::Nanosecond);
        assert_eq!(modified(&[unix.clone(), ntfs].concat(), 0, 0), Some(MemberTime::Utc(exact)));
        let before = extra(0x5455, &[&[1][..], &(-1i32).to_le_bytes()].concat());
        assert_eq!(modified(&before, 0, 0), ModifiedTime::from_unix(-1).map(MemberTime::Utc));
    }

    #[test]
    fn a_time_that_cannot_be_is_unknown() {
        for (date, time) in [
            (0, 0),
            (33, 0),
            (13 << 5 | 1, 0),
            (2 << 5 | 30, 0),
            (1 << 5 | 2, 24 << 11),
            (1 << 5 | 2, 31),
        ] {
            assert_eq!(modified(&[], date, time), None, "{date} {time}");
        }
        for bad in [
            extra(0x5455, &[]),
            extra(0x5455, &[1, 2]),
            extra(0x000A, &[0; 3]),
            vec![0x55, 0x54, 9, 0, 1],
        ] {
            assert_eq!(modified(&bad, 0, 0), None);
        }
    }

    #[test]
    fn a_wall_clock_becomes_a_moment_in_its_zone() {
        let wall = MemberTime::Local(time::macros::datetime!(2026-07-01 10:00:02));
        let moment = wall.at_offset(time::UtcOffset::from_hms(2, 0, 0).unwrap());
        assert_eq!(moment, ModifiedTime::new(datetime!(2026-07-01 8:00:02 UTC), Precision::Second));
    }

    #[test]
    fn bytes_are_never_called_a_directory() {
        assert_eq!(kind("a/", MADE_BY_DOS, 0x10, 0), MemberKind::Directory);
        assert_eq!(kind("a/", MADE_BY_DOS, 0x10, 3), MemberKind::File);
        assert_eq!(kind("a", MADE_BY_DOS, 0x10, 0), MemberKind::Directory);
        assert_eq!(kind("a", MADE_BY_DOS, 0x10, 3), MemberKind::File);
        assert_eq!(kind("a", MADE_BY_UNIX, 0o100_644 << 16 | 0x10, 0), MemberKind::File);
        assert_eq!(kind("a", MADE_BY_UNIX, 0o120_777 << 16, 3), MemberKind::Link);
        for special in [0o060_000, 0o020_000, 0o010_000, 0o140_000] {
            assert_eq!(kind("a", MADE_BY_UNIX, special << 16, 3), MemberKind::File);
            assert_eq!(kind("a", MADE_BY_UNIX, special << 16, 0), MemberKind::Special);
        }
        assert_eq!(kind("a", MADE_BY_DOS, 0o120_777 << 16, 3), MemberKind::File);
    }
}
