//! Bytes of names as text that a blob name or its metadata can hold, reversible by
//! percent-decoding.

use std::fmt::Write as _;

use crate::model::allowed_in_blob_name;

/// Bytes as printable ASCII for metadata: everything but letters, digits and `/._-` is `%XX`.
pub fn escaped_for_metadata(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => {
                out.push(char::from(*byte))
            }
            _ => push_escaped(&mut out, *byte),
        }
    }
    out
}

/// A path with every segment escaped. A slash that would make an empty segment becomes `%2F`;
/// the empty path becomes a lone `%`, which nothing else does.
pub(crate) fn escaped_path(path: &[u8]) -> String {
    if path.is_empty() {
        return "%".to_owned();
    }
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    loop {
        while let Some(after) = rest.strip_prefix(b"/") {
            out.push_str("%2F");
            rest = after;
        }
        let end = rest.iter().position(|b| *b == b'/').unwrap_or(rest.len());
        out.push_str(&escaped_segment(&rest[..end]));
        match rest.get(end + 1..) {
            None => return out,
            Some([]) => {
                out.push_str("%2F");
                return out;
            }
            Some(after) => {
                out.push('/');
                rest = after;
            }
        }
    }
}

/// One segment: what Azure or tools on it cannot hold becomes `%XX`, byte by byte.
pub(crate) fn escaped_segment(segment: &[u8]) -> String {
    let mut out = String::with_capacity(segment.len());
    // `.` and `..` would be resolved away, a trailing dot is dropped by Azure,
    // a trailing `!` is how we mark the members of an archive.
    let (body, last) = match segment {
        b"." | b".." => return segment.iter().map(|_| "%2E").collect(),
        [body @ .., last @ (b'.' | b'!')] => (body, Some(*last)),
        _ => (segment, None),
    };
    for chunk in body.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c != '%' && allowed_in_blob_name(c) {
                out.push(c);
            } else {
                c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| push_escaped(&mut out, byte));
            }
        }
        chunk.invalid().iter().for_each(|byte| push_escaped(&mut out, *byte));
    }
    if let Some(last) = last {
        push_escaped(&mut out, last);
    }
    out
}

fn push_escaped(out: &mut String, byte: u8) {
    write!(out, "%{byte:02X}").expect("writing to a String does not fail");
}
