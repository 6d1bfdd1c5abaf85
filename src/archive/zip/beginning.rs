//! How a zip begins, and what only looks so.

/// What is looked at of the first header.
pub(crate) const HEAD_BYTES: usize = 32;

/// What a file begins with that is a zip from its first byte on: a member, an empty archive, a part
/// of a split one, one that was to be split and fitted after all.
const BEGINNINGS: &[&[u8]] = &[b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08", b"PK00PK\x03\x04"];

/// Whether a file that begins with `head` is a zip from its first byte on, or has been one.
pub(crate) fn begins_as_zip(head: &[u8]) -> bool {
    BEGINNINGS.iter().any(|beginning| head.starts_with(beginning))
}

/// Whether a file that begins with `head` is a zip from its first byte on, as far as `head` tells:
/// a text may begin with a signature, and has no header behind it.
pub(crate) fn begins_with_a_member(head: &[u8]) -> bool {
    let field =
        |at: usize| head.get(at..at + 2).map(|field| u16::from_le_bytes([field[0], field[1]]));
    match begins_as_zip(head) {
        true if head.starts_with(b"PK\x03\x04") => {
            field(4).is_none_or(|version| version & 0xFF <= 63)
                && field(6).is_none_or(|flags| flags & 0xC000 == 0)
                && field(8).is_none_or(|method| method <= 99)
                && field(26).is_none_or(|name_bytes| (1..=4096).contains(&name_bytes))
        }
        // The first part of a split one: its mark, and then its first member.
        true if head.starts_with(b"PK\x07\x08") => head.len() < 8 || begins_as_split(head),
        begins => begins,
    }
}

/// Whether a file that begins with `head` is the first part of a split archive.
pub(crate) fn begins_as_split(head: &[u8]) -> bool {
    head.starts_with(b"PK\x07\x08PK\x03\x04")
}
