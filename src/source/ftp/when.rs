//! Moments as FTP servers write them: `MDTM` stamps, month names, years left out.

use time::{Date, Duration, Month, OffsetDateTime, PrimitiveDateTime, Time};

use super::months;
use crate::model::{ModifiedTime, Precision};

/// A number of at most nine digits; `None` for anything else, so that nothing overflows.
pub fn number(bytes: &[u8]) -> Option<u32> {
    let fits = !bytes.is_empty() && bytes.len() <= 9;
    fits.then(|| {
        bytes
            .iter()
            .try_fold(0, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u32::from(b - b'0')))
    })?
}

fn small(bytes: &[u8]) -> Option<u8> {
    number(bytes).and_then(|number| u8::try_from(number).ok())
}

fn utc(date: Date, time: Time) -> OffsetDateTime {
    PrimitiveDateTime::new(date, time).assume_utc()
}

fn date(year: u32, month: u8, day: u8) -> Option<Date> {
    Date::from_calendar_date(i32::try_from(year).ok()?, Month::try_from(month).ok()?, day).ok()
}

/// `20261120101112` or `20261120101112.345`, UTC: what `MLSD` and `MDTM` tell.
pub fn stamp(bytes: &[u8]) -> Option<ModifiedTime> {
    let (whole, fraction) = match bytes.iter().position(|b| *b == b'.') {
        Some(dot) => (&bytes[..dot], &bytes[dot + 1..]),
        None => (bytes, &b""[..]),
    };
    if whole.len() != 14 || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let date = date(number(&whole[..4])?, small(&whole[4..6])?, small(&whole[6..8])?)?;
    // A leap second is told as 60; the type knows none.
    let time =
        Time::from_hms(small(&whole[8..10])?, small(&whole[10..12])?, small(&whole[12..])?.min(59))
            .ok()?;
    Some(ModifiedTime::new(utc(date, time), Precision::Second))
}

/// `20`, `20.`, `20,` or `20日`, from 1 to 31.
pub fn day(bytes: &[u8]) -> Option<u8> {
    let digits = bytes.strip_suffix(b".").or(bytes.strip_suffix(b",")).unwrap_or(bytes);
    let plain = small(digits).filter(|day| digits.len() <= 2 && (1..=31).contains(day));
    plain.or_else(|| months::counted(bytes, 1..=31))
}

/// `7` or `07` as a month.
pub(crate) fn month_number(bytes: &[u8]) -> Option<u8> {
    small(bytes).filter(|month| bytes.len() <= 2 && (1..=12).contains(month))
}

/// `19-NOV-2001`, `6-Apr-07` or `01-jun-99`.
pub(crate) fn named_date(bytes: &[u8]) -> Option<Date> {
    let mut parts = bytes.split(|b| *b == b'-');
    let (first, name, last) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !matches!(last.len(), 2 | 4) {
        return None;
    }
    date(century(number(last)?), months::month(name)?, day(first)?)
}

/// The date of three numbers of which nobody says what is what: only if there is one reading.
pub(crate) fn lone_reading(bytes: &[u8]) -> Option<Date> {
    let dotted = bytes.contains(&b'.');
    let parts: Vec<u32> =
        bytes.split(|b| matches!(b, b'/' | b'.' | b'-')).map(number).collect::<Option<_>>()?;
    let &[first, second, third] = parts.as_slice() else { return None };
    let read = |year: u32, month: u32, day: u32| {
        date(century(year), u8::try_from(month).ok()?, u8::try_from(day).ok()?)
    };
    if dotted {
        return if first > 99 { read(first, second, third) } else { read(third, second, first) };
    }
    let readings =
        [read(first, second, third), read(third, first, second), read(third, second, first)];
    let mut readings = readings.into_iter().flatten();
    let one = readings.next()?;
    readings.all(|other| other == one).then_some(one)
}

fn century(year: u32) -> u32 {
    match year {
        0..=69 => 2000 + year,
        70..=199 => 1900 + year,
        _ => year,
    }
}

/// `10:11`, `9:05`, `10:11:12.345`; cut to minutes. With `AM` or `PM` behind it, a 12-hour clock.
pub fn clock(bytes: &[u8]) -> Option<Time> {
    let (digits, half) = match bytes.len().checked_sub(2).map(|at| bytes.split_at(at)) {
        Some((digits, tail)) if tail.eq_ignore_ascii_case(b"am") => (digits, Some(0)),
        Some((digits, tail)) if tail.eq_ignore_ascii_case(b"pm") => (digits, Some(12)),
        _ => (bytes, None),
    };
    let mut parts = digits.split(|b| *b == b':');
    let (hour, minute) = (small(parts.next()?)?, small(parts.next()?)?);
    if !parts.all(|part| part.iter().all(|b| b.is_ascii_digit() || *b == b'.')) {
        return None;
    }
    let hour = match half {
        None => hour,
        Some(offset) => hour.checked_rem(12).filter(|_| (1..=12).contains(&hour))? + offset,
    };
    Time::from_hms(hour, minute, 0).ok()
}

/// `2026-11-20`, `2026/11/20` or `2026.11.20`; `20-11-2026`.
pub(crate) fn iso_date(bytes: &[u8]) -> Option<Date> {
    let between = |at: usize| matches!(bytes[at], b'-' | b'/' | b'.').then_some(bytes[at]);
    if bytes.len() != 10 {
        return None;
    }
    if between(4).is_some() && between(4) == between(7) {
        return date(number(&bytes[..4])?, small(&bytes[5..7])?, small(&bytes[8..])?);
    }
    let dashes = bytes[2] == b'-' && bytes[5] == b'-';
    dashes.then(|| date(number(&bytes[6..])?, small(&bytes[3..5])?, small(&bytes[..2])?))?
}

/// Whether a date of [`iso_date`] begins with its year.
pub(crate) fn is_year_first(bytes: &[u8]) -> bool {
    bytes.get(4).is_some_and(|b| !b.is_ascii_digit())
}

/// `09-26`: month and day.
pub(crate) fn month_and_day(bytes: &[u8]) -> Option<(u8, u8)> {
    let dash = bytes.len() == 5 && bytes[2] == b'-';
    dash.then(|| Some((month_number(&bytes[..2])?, day(&bytes[3..])?)))?
}

/// Whether these are the digits and dashes of `11-20-26`, `11-20-2026` or `2026-11-20`.
pub(crate) fn is_dashed_date(bytes: &[u8]) -> bool {
    let parts: Vec<&[u8]> = bytes.splitn(4, |b| *b == b'-' || *b == b'/').collect();
    let widths = (
        parts.first().map_or(0, |p| p.len()),
        parts.get(1).map_or(0, |p| p.len()),
        parts.get(2).map_or(0, |p| p.len()),
    );
    parts.len() == 3
        && parts.iter().all(|part| number(part).is_some())
        && matches!(widths, (2, 2, 2 | 4) | (4, 2, 2))
}

/// Whether these are the digits and dots of `20.11.26` or `20.11.2026`.
pub(crate) fn is_dotted_date(bytes: &[u8]) -> bool {
    let widths: Vec<usize> = bytes.split(|b| *b == b'.').map(<[u8]>::len).collect();
    matches!(widths.as_slice(), [1 | 2, 1 | 2, 2 | 4])
        && bytes.iter().all(|b| b.is_ascii_digit() || *b == b'.')
}

/// The day of `11-20-26`, `11-20-2026` (month first) or `2026-11-20`; `None` when no calendar has
/// it.
pub(crate) fn dashed_date(bytes: &[u8]) -> Option<Date> {
    let parts: Vec<u32> =
        bytes.splitn(4, |b| *b == b'-' || *b == b'/').map(number).collect::<Option<_>>()?;
    let &[first, second, third] = parts.as_slice() else { return None };
    let (year, month, day) =
        if first > 999 { (first, second, third) } else { (third, first, second) };
    date(century(year), u8::try_from(month).ok()?, u8::try_from(day).ok()?)
}

/// `date` and `time` as a listing tells them: to the minute, in an unknown zone.
pub(crate) fn to_the_minute(date: Date, time: Time) -> ModifiedTime {
    ModifiedTime::new(utc(date, time), Precision::Minute)
}

/// `date` without a time of day.
pub(crate) fn at_day(date: Date) -> Option<ModifiedTime> {
    Some(ModifiedTime::new(utc(date, Time::MIDNIGHT), Precision::Day))
}

/// A date and a time of day; `None` when no calendar has the date.
pub(crate) fn at_minute(year: u32, month: u8, day: u8, time: Time) -> Option<ModifiedTime> {
    Some(to_the_minute(date(year, month, day)?, time))
}

/// `2024-02-29` without a time of day.
pub(crate) fn to_the_day(year: u32, month: u8, day: u8) -> Option<ModifiedTime> {
    Some(ModifiedTime::new(utc(date(year, month, day)?, Time::MIDNIGHT), Precision::Day))
}

/// The latest year that puts this moment at most a day after `now`: a server's zone may be
/// ahead of ours by hours, but a listing leaves the year out only for the recent past.
pub(crate) fn without_year(
    month: u8,
    day: u8,
    time: Time,
    now: OffsetDateTime,
) -> Option<ModifiedTime> {
    let latest = now.saturating_add(Duration::DAY);
    let this_year = u32::try_from(now.year()).ok()?;
    // Nine years, because eight may lie between two 29ths of February.
    let years = (this_year.saturating_sub(8)..=this_year + 1).rev();
    years
        .filter_map(|year| date(year, month, day))
        .map(|date| utc(date, time))
        .find(|at| *at <= latest)
        .map(|at| ModifiedTime::new(at, Precision::Minute))
}

/// `+0100` as a distance from UTC.
pub fn zone(bytes: &[u8]) -> Option<Duration> {
    let (sign, digits) = match bytes.split_first()? {
        (b'+', digits) => (1, digits),
        (b'-', digits) => (-1, digits),
        _ => return None,
    };
    let four = digits.len() == 4;
    four.then(|| {
        Some(Duration::minutes(
            sign * i64::from(number(&digits[..2])? * 60 + number(&digits[2..])?),
        ))
    })?
}

/// A whole number of as many digits as a size has.
pub fn whole(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    plain.then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
}
