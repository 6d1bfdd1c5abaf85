//! Very many members in little memory: forty bytes each, and their names.

use std::collections::HashMap;

use time::{OffsetDateTime, PrimitiveDateTime};

use crate::archive::contract::{Member, MemberKind, MemberTime};
use crate::model::{ModifiedTime, Precision};

/// Members by their place.
#[derive(Debug, Default)]
pub(crate) struct MemberTable {
    rows: Vec<MemberRow>,
    /// Names as stored, one behind the other, each with the decoded one where that is another.
    names: Vec<u8>,
    /// What archives in the outermost one are called, for runs of members that are in one.
    within: Vec<Vec<String>>,
    /// Members that do not fit into a row.
    rare: HashMap<usize, Member>,
}

#[derive(Clone, Copy, Debug)]
struct MemberRow {
    /// Where its names begin.
    names: u64,
    size: u64,
    seconds: i64,
    raw_bytes: u32,
    /// Of the decoded name, if that is another.
    name_bytes: u32,
    nanoseconds: u32,
    /// Which of [`MemberTable::within`] counts, from 1.
    within: u16,
    kind: MemberKind,
    time: RowTime,
}

/// What kind of time a row tells.
#[derive(Clone, Copy, Debug)]
enum RowTime {
    Unknown,
    Local,
    Utc(Precision),
}

/// A size that only reading tells.
const UNKNOWN_SIZE: u64 = u64::MAX;

/// The row of a member that does not fit into one.
const NOTHING: MemberRow = MemberRow {
    names: 0,
    size: 0,
    seconds: 0,
    raw_bytes: 0,
    name_bytes: 0,
    nanoseconds: 0,
    within: 0,
    kind: MemberKind::File,
    time: RowTime::Unknown,
};

impl MemberTable {
    /// With room for so many.
    pub fn with_capacity(members: usize) -> Self {
        Self { rows: Vec::with_capacity(members), ..Self::default() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Puts `member` in the next place, which is its index from now on.
    pub fn push(&mut self, member: &Member) {
        let row = self.row(member);
        if row.is_none() {
            self.rare.insert(self.rows.len(), member.clone());
        }
        self.rows.push(row.unwrap_or(MemberRow { names: self.names.len() as u64, ..NOTHING }));
    }

    /// Takes back all but the first `len`.
    pub fn truncate(&mut self, len: usize) {
        if let Some(first) = self.rows.get(len) {
            self.names.truncate(first.names as usize);
        }
        self.rows.truncate(len);
        self.rare.retain(|place, _| *place < len);
    }

    /// The member at `place`, which must be there.
    pub fn member(&self, place: usize) -> Member {
        if let Some(rare) = self.rare.get(&place) {
            return Member { index: place, ..rare.clone() };
        }
        let row = &self.rows[place];
        let raw_name = self.raw_name(place).to_vec();
        let decoded = match row.name_bytes {
            0 => &raw_name[..],
            bytes => {
                let start = row.names as usize + row.raw_bytes as usize;
                &self.names[start..start + bytes as usize]
            }
        };
        let within = match row.within {
            0 => Vec::new(),
            number => self.within[usize::from(number) - 1].clone(),
        };
        Member {
            index: place,
            within,
            name: String::from_utf8_lossy(decoded).into_owned(),
            kind: row.kind,
            size: (row.size != UNKNOWN_SIZE).then_some(row.size),
            modified: row.modified(),
            raw_name,
        }
    }

    /// The kind of the member at `place`.
    pub fn kind(&self, place: usize) -> MemberKind {
        self.rare.get(&place).map_or(self.rows[place].kind, |rare| rare.kind)
    }

    /// The name of the member at `place`, as stored.
    pub fn raw_name(&self, place: usize) -> &[u8] {
        if let Some(rare) = self.rare.get(&place) {
            return &rare.raw_name;
        }
        let row = &self.rows[place];
        &self.names[row.names as usize..][..row.raw_bytes as usize]
    }

    /// Whether the member at `place` is in an archive that is in the outermost one.
    pub(crate) fn is_nested(&self, place: usize) -> bool {
        match self.rare.get(&place) {
            Some(rare) => !rare.within.is_empty(),
            None => self.rows[place].within != 0,
        }
    }

    /// `member` as a row, with its names put where they belong; `None` if it does not fit into one.
    fn row(&mut self, member: &Member) -> Option<MemberRow> {
        let raw_bytes = u32::try_from(member.raw_name.len()).ok()?;
        let is_as_stored = member.name.as_bytes() == member.raw_name;
        let decoded = if is_as_stored { "" } else { &member.name };
        let name_bytes = u32::try_from(decoded.len()).ok()?;
        // A decoded name of no bytes would be taken for none.
        let fits = (is_as_stored || name_bytes > 0) && member.size != Some(UNKNOWN_SIZE);
        if !fits {
            return None;
        }
        let (seconds, nanoseconds, time) = match member.modified {
            None => (0, 0, RowTime::Unknown),
            Some(MemberTime::Utc(ModifiedTime { at, precision })) => {
                (at.unix_timestamp(), at.nanosecond(), RowTime::Utc(precision))
            }
            Some(MemberTime::Local(wall)) => {
                let at = wall.assume_utc();
                (at.unix_timestamp(), at.nanosecond(), RowTime::Local)
            }
        };
        let within = self.within_number(&member.within)?;
        let names = self.names.len() as u64;
        self.names.extend_from_slice(&member.raw_name);
        self.names.extend_from_slice(decoded.as_bytes());
        Some(MemberRow {
            names,
            size: member.size.unwrap_or(UNKNOWN_SIZE),
            seconds,
            raw_bytes,
            name_bytes,
            nanoseconds,
            within,
            kind: member.kind,
            time,
        })
    }

    /// Members of one archive come one behind the other.
    fn within_number(&mut self, within: &[String]) -> Option<u16> {
        if within.is_empty() {
            return Some(0);
        }
        if self.within.last().is_none_or(|last| last != within) {
            if self.within.len() == usize::from(u16::MAX) {
                return None;
            }
            self.within.push(within.to_vec());
        }
        u16::try_from(self.within.len()).ok()
    }
}

impl MemberRow {
    fn modified(&self) -> Option<MemberTime> {
        let at = OffsetDateTime::from_unix_timestamp(self.seconds).ok()?;
        let at = at.replace_nanosecond(self.nanoseconds).ok()?;
        match self.time {
            RowTime::Unknown => None,
            RowTime::Utc(precision) => Some(MemberTime::Utc(ModifiedTime { at, precision })),
            RowTime::Local => Some(MemberTime::Local(PrimitiveDateTime::new(at.date(), at.time()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn member(raw: &[u8], name: &str) -> Member {
        Member {
            index: 0,
            within: Vec::new(),
            raw_name: raw.to_vec(),
            name: name.to_owned(),
            kind: MemberKind::File,
            size: Some(3),
            modified: None,
        }
    }

    fn kinds() -> Vec<Member> {
        let utc = |at, precision| Some(MemberTime::Utc(ModifiedTime::new(at, precision)));
        let wall = MemberTime::Local(PrimitiveDateTime::new(
            datetime!(1980-01-02 3:04:06 UTC).date(),
            datetime!(1980-01-02 3:04:06 UTC).time(),
        ));
        let inside = |outer: &[&str]| outer.iter().map(|name| (*name).to_owned()).collect();
        vec![
            member(b"a/b.txt", "a/b.txt"),
            Member { kind: MemberKind::Directory, size: None, ..member(b"a/", "a/") },
            Member { kind: MemberKind::Link, ..member(b"\x84.txt", "\u{e4}.txt") },
            Member { kind: MemberKind::Special, ..member(b"", "") },
            member(b"\x00", ""),
            Member { size: Some(u64::MAX), ..member(b"large", "large") },
            Member {
                modified: utc(datetime!(1601-01-01 0:00:00.1 UTC), Precision::Nanosecond),
                ..member(b"old", "old")
            },
            Member {
                modified: utc(datetime!(2026-07-01 0:00 UTC), Precision::Minute),
                within: inside(&["x.zip"]),
                ..member(b"x.zip!/new", "new")
            },
            Member { within: inside(&["x.zip"]), ..member(b"x.zip!/wall", "wall") },
            Member { within: inside(&["x.zip", "y"]), ..member(b"x.zip!/y!/z", "z") },
            Member { modified: Some(wall), ..member(b"wall", "wall") },
        ]
    }

    #[test]
    fn members_come_back_as_they_were() {
        let mut table = MemberTable::default();
        let all: Vec<Member> =
            kinds().into_iter().enumerate().map(|(index, one)| Member { index, ..one }).collect();
        all.iter().for_each(|one| table.push(one));
        for (place, one) in all.iter().enumerate() {
            assert_eq!(&table.member(place), one);
            let told = (table.kind(place), table.raw_name(place), table.is_nested(place));
            assert_eq!(told, (one.kind, &one.raw_name[..], !one.within.is_empty()));
        }
        for length in (0..all.len()).rev() {
            table.truncate(length);
            assert_eq!(table.len(), length);
            table.push(&all[length]);
            let back: Vec<Member> = (0..=length).map(|place| table.member(place)).collect();
            assert_eq!(back, all[..=length]);
            table.truncate(length);
        }
    }

    #[test]
    fn a_member_takes_forty_bytes_beside_its_name() {
        assert_eq!(size_of::<MemberRow>(), 40);
    }
}
