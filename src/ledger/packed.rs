//! What is known of a file in 16 bytes, without loss; what does not fit is told so.

use time::OffsetDateTime;

use crate::model::{ModifiedTime, Precision, RemoteFile, RemotePath, Version};
use crate::rules::plan::known::{History, Known};

/// Size, modified time, its precision and the listed time of one file. The version is not in it: it
/// is a fingerprint of path, size and time, so it is computed again when it is asked for.
///
/// ```text
/// bits 0..47   size
/// bit  47      its bytes were read, and the record in full tells their MD5
/// bit  48, 49  size, time are known
/// bits 50..52  precision of the time
/// bits 52..54  listed time: none, the same, or the same cut to the minute, to the day; the last
///              three in some zone
/// bits 54..62  that zone's offset in quarters of an hour
/// bit  62      none of this holds: what is known stands beside
/// bit  63      it left the source
/// bits 64..128 the time, in nanoseconds or seconds since 1970, as its precision says; without one,
///              when the bytes were compared last, in seconds
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexPacked {
    facts: u64,
    time: i64,
}

const SIZE: u64 = (1 << 47) - 1;
const READ: u64 = 1 << 47;
const HAS_SIZE: u64 = 1 << 48;
const HAS_TIME: u64 = 1 << 49;
const PRECISION: u32 = 50;
const LISTED: u32 = 52;
const OFFSET: u32 = 54;
const BESIDE: u64 = 1 << 62;
const LEFT: u64 = 1 << 63;

const PRECISIONS: [Precision; 4] =
    [Precision::Nanosecond, Precision::Second, Precision::Minute, Precision::Day];
/// No zone is further from another than a day.
const QUARTERS: i64 = 96;

impl IndexPacked {
    /// What is known of this file does not fit, and stands in a table of its own.
    pub(crate) const BESIDE: IndexPacked = IndexPacked { facts: BESIDE, time: 0 };

    /// `known` of the file at `path`, if it fits without loss.
    pub fn of(path: &RemotePath, known: &Known) -> Option<Self> {
        let mut facts = 0;
        if let Some(size) = known.size {
            facts |= HAS_SIZE | Some(size).filter(|size| *size <= SIZE)?;
        }
        let mut time = 0;
        if let Some(modified) = &known.modified {
            let precision =
                PRECISIONS.iter().position(|precision| *precision == modified.precision)? as u64;
            facts |= HAS_TIME | precision << PRECISION;
            time = match modified.precision {
                Precision::Nanosecond => i64::try_from(modified.at.unix_timestamp_nanos()).ok()?,
                _ => modified.at.unix_timestamp(),
            };
        } else if let Some(looked) = known.history.looked {
            time = looked.unix_timestamp();
        }
        if known.history.read {
            facts |= READ;
        }
        if known.history.left {
            facts |= LEFT;
        }
        let packed = IndexPacked { facts: facts | listed(known)?, time };
        // Nothing is believed to fit: it is looked at.
        (packed.known(path) == Some(known.indexed())).then_some(packed)
    }

    /// What is known of the file at `path`; `None` if it stands beside.
    pub fn known(&self, path: &RemotePath) -> Option<Known> {
        let has = |bit: u64| self.facts & bit != 0;
        if has(BESIDE) {
            return None;
        }
        let size = has(HAS_SIZE).then_some(self.facts & SIZE);
        let modified = if has(HAS_TIME) { Some(self.modified()?) } else { None };
        let version = Version::of(&RemoteFile { path: path.clone(), size, modified });
        let history = History {
            read: has(READ),
            md5: None,
            looked: self.looked(modified)?,
            moves: false,
            left: has(LEFT),
            refused: None,
        };
        Some(Known { size, modified, listed: self.listed(modified)?, version, history })
    }

    fn looked(&self, modified: Option<ModifiedTime>) -> Option<Option<OffsetDateTime>> {
        match (modified, self.time) {
            (Some(_), _) | (None, 0) => Some(None),
            (None, seconds) => OffsetDateTime::from_unix_timestamp(seconds).ok().map(Some),
        }
    }

    fn modified(&self) -> Option<ModifiedTime> {
        let precision = PRECISIONS[(self.facts >> PRECISION & 3) as usize];
        let at = match precision {
            Precision::Nanosecond => {
                OffsetDateTime::from_unix_timestamp_nanos(self.time.into()).ok()?
            }
            _ => OffsetDateTime::from_unix_timestamp(self.time).ok()?,
        };
        Some(ModifiedTime::new(at, precision))
    }

    fn listed(&self, modified: Option<ModifiedTime>) -> Option<Option<ModifiedTime>> {
        let precision = match self.facts >> LISTED & 3 {
            0 => return Some(None),
            1 => modified?.precision,
            2 => Precision::Minute,
            _ => Precision::Day,
        };
        let quarters = (self.facts >> OFFSET & 0xff) as u8 as i8;
        let at = modified?.at.checked_add(time::Duration::minutes(15 * i64::from(quarters)))?;
        Some(Some(ModifiedTime::new(at, precision)))
    }

    /// The file's record in an index: sixteen bytes.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.facts.to_le_bytes());
        bytes[8..].copy_from_slice(&self.time.to_le_bytes());
        bytes
    }

    /// Reads what [`IndexPacked::to_bytes`] wrote.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let (facts, time) = bytes.split_at(8);
        let number =
            |half: &[u8]| u64::from_le_bytes(half.try_into().expect("half of sixteen bytes"));
        Self { facts: number(facts), time: number(time).cast_signed() }
    }
}

/// The bits that tell the listed time; `None` if it is neither the modified one nor that in some
/// zone.
fn listed(known: &Known) -> Option<u64> {
    let Some(listed) = &known.listed else { return Some(0) };
    if known.modified.as_ref() == Some(listed) {
        return Some(1 << LISTED);
    }
    let modified = known.modified?;
    let kind = match listed.precision {
        precision if precision == modified.precision => 1u64,
        Precision::Minute => 2,
        Precision::Day => 3,
        Precision::Nanosecond | Precision::Second => return None,
    };
    let in_zone = |quarters: i64| {
        modified
            .at
            .checked_add(time::Duration::minutes(15 * quarters))
            .map(|at| ModifiedTime::new(at, listed.precision))
    };
    let minutes = (listed.at - ModifiedTime::new(modified.at, listed.precision).at).whole_minutes();
    let candidates = [minutes.div_euclid(15), 0, -QUARTERS, QUARTERS];
    let found = candidates.into_iter().find(|quarters| {
        quarters.abs() <= QUARTERS && in_zone(*quarters).as_ref() == Some(listed)
    })?;
    let byte = i8::try_from(found).ok()?.cast_unsigned();
    Some(kind << LISTED | u64::from(byte) << OFFSET)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const AT: OffsetDateTime = datetime!(2026-11-20 10:11:12.123456789 UTC);

    fn known(
        size: Option<u64>,
        modified: Option<ModifiedTime>,
        listed: Option<ModifiedTime>,
    ) -> Known {
        let file = RemoteFile { path: RemotePath::from("/a"), size, modified };
        Known::new(&file, listed, Version::of(&file))
    }

    fn fits(known: &Known) -> bool {
        let packed = IndexPacked::of(&RemotePath::from("/a"), known);
        if let Some(packed) = packed {
            assert_eq!(
                IndexPacked::from_bytes(packed.to_bytes()).known(&RemotePath::from("/a")).as_ref(),
                Some(known)
            );
        }
        packed.is_some()
    }

    #[test]
    fn what_servers_tell_fits() {
        let time = |precision| Some(ModifiedTime::new(AT, precision));
        for precision in PRECISIONS {
            assert!(fits(&known(Some(5), time(precision), time(precision))));
            assert!(fits(&known(None, time(precision), None)));
        }
        assert!(fits(&known(Some(0), None, None)) && fits(&known(Some(SIZE), None, None)));
        // A listing in the server's own zone, to the minute and to the day.
        for minutes in [-1440, -720, -345, -60, 0, 60, 330, 765, 840, 1440] {
            let local = AT + time::Duration::minutes(minutes);
            for precision in [Precision::Minute, Precision::Day] {
                let listed = Some(ModifiedTime::new(local, precision));
                assert!(
                    fits(&known(Some(5), time(Precision::Second), listed)),
                    "{minutes} minutes, {precision:?}"
                );
            }
        }
    }

    #[test]
    fn how_a_file_was_taken_fits_and_what_is_rare_stands_beside() {
        let second = Some(ModifiedTime::new(AT, Precision::Second));
        let read = known(Some(5), second, second).read_at(AT, Some([7; 16])).indexed();
        assert!(read.history.read && fits(&read));
        assert!(fits(&Known {
            history: History { left: true, ..read.history.clone() },
            ..read.clone()
        }));
        let untimed = known(Some(5), None, None).read_at(AT, Some([7; 16])).indexed();
        assert!(untimed.history.looked.is_some() && fits(&untimed));
        assert!(!fits(&Known {
            history: History { refused: Some(AT), ..read.history.clone() },
            ..read.clone()
        }));
        assert!(!fits(&Known {
            history: History { looked: Some(AT), ..read.history.clone() },
            ..read
        }));
    }

    #[test]
    fn what_does_not_fit_is_not_bent() {
        let second = Some(ModifiedTime::new(AT, Precision::Second));
        let minute = |minutes| {
            Some(ModifiedTime::new(AT + time::Duration::minutes(minutes), Precision::Minute))
        };
        assert!(!fits(&known(Some(SIZE + 1), None, None)));
        assert!(!fits(&known(Some(5), None, second)));
        let moved = |minutes| {
            Some(ModifiedTime::new(AT + time::Duration::minutes(minutes), Precision::Second))
        };
        assert!(
            fits(&known(Some(5), second, moved(-60))) && !fits(&known(Some(5), second, moved(61)))
        );
        assert!(
            !fits(&known(Some(5), second, minute(7)))
                && !fits(&known(Some(5), second, minute(1455)))
        );
        assert!(!fits(&known(
            Some(5),
            Some(ModifiedTime::new(datetime!(1500-01-01 0:00 UTC), Precision::Nanosecond)),
            None
        )));
        let other = Known {
            version: Version::from_hex(&"ab".repeat(16)).expect("32 digits"),
            ..known(Some(5), second, second)
        };
        assert!(!fits(&other));
    }
}
