//! One line of a listing: a name with what the server tells of it, or why there is none.

use crate::model::ModifiedTime;

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FtpListingLine {
    /// Nothing: a blank line, `total 12`, the directory itself or its parent.
    Nothing,
    /// An entry of the directory.
    Entry(FtpListingEntry),
    /// Something that is no known form of an entry.
    Unparsed,
}

/// An entry of a directory, before it is put below that directory's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FtpListingEntry {
    /// What it is.
    pub kind: FtpListingKind,
    /// Its name, byte for byte.
    pub name: Vec<u8>,
    /// Its size, if the line tells it.
    pub size: Option<u64>,
    /// Its modified time, if the line tells it.
    pub modified: Option<ModifiedTime>,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FtpListingKind {
    File,
    Directory,
    Symlink,
    Special,
    /// The server does not tell.
    Untold,
}

impl FtpListingKind {
    /// Whether no size is looked for.
    pub(super) fn has_no_size(self) -> bool {
        !matches!(self, FtpListingKind::File | FtpListingKind::Untold)
    }
}

/// The words of a line and where each ends; never more than `LIMIT`, since no dialect has more
/// columns, and names of groups that hold blanks are short.
pub(super) fn words(line: &[u8]) -> Vec<(&[u8], usize)> {
    const LIMIT: usize = 32;
    let mut words = Vec::with_capacity(16);
    let mut start = None;
    for (at, byte) in line.iter().chain(b" ").enumerate() {
        match (start, matches!(*byte, b' ' | b'\t')) {
            (None, false) => start = Some(at),
            (Some(from), true) => {
                words.push((&line[from..at], at));
                start = None;
                if words.len() == LIMIT {
                    break;
                }
            }
            _ => {}
        }
    }
    words
}

/// Drops the names that mean the directory itself, refuses those that mean nothing.
pub(super) fn settled(entry: FtpListingEntry) -> FtpListingLine {
    match entry.name.as_slice() {
        b"." | b".." => FtpListingLine::Nothing,
        b"" => FtpListingLine::Unparsed,
        _ => FtpListingLine::Entry(entry),
    }
}
