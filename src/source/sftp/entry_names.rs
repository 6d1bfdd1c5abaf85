//! The name of an entry within its folder, in whichever form the server tells it.

use super::packet::{Attributes, FileKind, PacketEntry};

/// The kind of an entry of these attributes and this line. The letter of the line counts where the
/// bits tell no kind, and where they tell one that nobody could read.
pub(super) fn kind(attributes: &Attributes, line: &[u8]) -> Option<FileKind> {
    let line = kind_of_line(line);
    match attributes.kind() {
        Some(FileKind::Special) => {
            let readable = matches!(line, Some(FileKind::Regular | FileKind::Directory));
            line.filter(|_| readable).or(Some(FileKind::Special))
        }
        kind => kind.or(line),
    }
}

/// What the line `drwxr-xr-x …` says, for servers that send no permission bits.
fn kind_of_line(line: &[u8]) -> Option<FileKind> {
    let letters = line.get(1..10)?;
    if !letters.iter().all(|letter| b"rwxsStT-".contains(letter)) {
        return None;
    }
    match line[0] {
        b'-' => Some(FileKind::Regular),
        b'd' => Some(FileKind::Directory),
        b'l' => Some(FileKind::Symlink),
        b'b' | b'c' | b'p' | b's' => Some(FileKind::Special),
        _ => None,
    }
}

/// The name of an entry in the folder that the server knows by `dir`; `.` for the folder itself.
/// Some servers name entries by their whole path, and some the folder among them.
pub(super) fn own_name<'a>(dir: &[u8], name: &'a [u8]) -> &'a [u8] {
    let name = here(name);
    let own = relative_to(dir, name).or_else(|| relative_to(here(dir), name));
    own.unwrap_or(name)
}

/// `path` without the `./` before it.
fn here(path: &[u8]) -> &[u8] {
    let mut path = path;
    while let Some(rest) = path.strip_prefix(b"./")
        && !rest.is_empty()
    {
        path = without_slashes(rest);
    }
    path
}

fn without_slashes(path: &[u8]) -> &[u8] {
    &path[path.iter().take_while(|byte| **byte == b'/').count()..]
}

fn relative_to<'a>(dir: &[u8], name: &'a [u8]) -> Option<&'a [u8]> {
    if dir.is_empty() || !name.contains(&b'/') {
        return None;
    }
    let rest = name.strip_prefix(dir.strip_suffix(b"/").unwrap_or(dir))?;
    let own = without_slashes(rest);
    match own {
        [] if !rest.is_empty() || name == dir => Some(b"."),
        own if own.len() < rest.len() && !own.contains(&b'/') => Some(own),
        _ => None,
    }
}

/// The name of an entry without the slash behind it, by which gateways over object stores mark
/// their folders.
pub(super) fn without_mark(entry: &PacketEntry) -> &[u8] {
    let unmarked = entry.name.strip_suffix(b"/").filter(|name| !name.is_empty());
    let kind = kind(&entry.attributes, &entry.long_name);
    unmarked.filter(|_| kind == Some(FileKind::Directory)).unwrap_or(&entry.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, line: &str, permissions: Option<u32>) -> PacketEntry {
        PacketEntry {
            name: name.to_owned().into(),
            long_name: line.to_owned().into(),
            attributes: Attributes { permissions, ..Attributes::default() },
        }
    }

    #[test]
    fn a_slash_behind_the_name_of_a_folder_is_no_part_of_it() {
        for (name, line, own) in [
            ("sub/", "drwxr-xr-x 1 u g 0 Jan 1 2024 sub/", "sub"),
            ("/out/sub/", "drwxr-xr-x 1 u g 0 Jan 1 2024 sub/", "sub"),
            ("sub", "drwxr-xr-x 1 u g 0 Jan 1 2024 sub", "sub"),
            ("a.csv/", "-rw-r--r-- 1 u g 0 Jan 1 2024 a.csv/", "a.csv/"),
            ("a/b/", "drwxr-xr-x 1 u g 0 Jan 1 2024 a/b/", "a/b"),
            ("/out/", "drwxr-xr-x 1 u g 0 Jan 1 2024 out", "."),
        ] {
            let entry = entry(name, line, None);
            assert_eq!(own_name(b"/out", without_mark(&entry)), own.as_bytes(), "{name}");
        }
    }

    #[test]
    fn names_come_with_and_without_their_folder() {
        for (dir, name, own) in [
            ("/out", "a.csv", "a.csv"),
            ("/out", "/out/a.csv", "a.csv"),
            ("/out", "/out//a.csv", "a.csv"),
            ("/", "/a.csv", "a.csv"),
            ("/", "/", "."),
            ("/out/", "/out/.", "."),
            ("/out", "/out", "."),
            ("/out", "/out/", "."),
            ("/out", "./a.csv", "a.csv"),
            ("/out", ".//a.csv", "a.csv"),
            ("./out", "out/a.csv", "a.csv"),
            ("./out", "./out/a.csv", "a.csv"),
            (".", "./a.csv", "a.csv"),
            ("/out", "/outer/a.csv", "/outer/a.csv"),
            ("/out", "/else/a.csv", "/else/a.csv"),
            ("/out", "/out/sub/a.csv", "/out/sub/a.csv"),
            ("/out", "./sub/a.csv", "sub/a.csv"),
            ("/out", "../a.csv", "../a.csv"),
            ("/out", ".", "."),
            ("/out", "..", ".."),
            ("/out", "./", "./"),
            ("/out", "", ""),
        ] {
            assert_eq!(own_name(dir.as_bytes(), name.as_bytes()), own.as_bytes(), "{dir} {name}");
        }
    }

    #[test]
    fn the_line_tells_the_kind_where_the_bits_tell_none_that_can_be_read() {
        let (file, dir, pipe) = ("-rw-r--r-- 1", "drwxr-xr-x 1", "prw-r--r-- 1");
        for (line, bits, told) in [
            (file, None, Some(FileKind::Regular)),
            (file, Some(0o644), Some(FileKind::Regular)),
            (file, Some(0o170_644), Some(FileKind::Regular)),
            (file, Some(0o010_644), Some(FileKind::Regular)),
            (dir, Some(0o060_755), Some(FileKind::Directory)),
            (pipe, Some(0o010_644), Some(FileKind::Special)),
            ("", Some(0o140_755), Some(FileKind::Special)),
            ("", Some(0o170_755), None),
            // As z/OS counts kinds: above the bits that others use.
            ("", Some(0o300_000_644), None),
            (file, Some(0o040_755), Some(FileKind::Directory)),
            (pipe, Some(0o100_644), Some(FileKind::Regular)),
            // A sign that was kept.
            ("", Some(0xFFFF_81A4), Some(FileKind::Regular)),
        ] {
            let entry = entry("x", line, bits);
            assert_eq!(kind(&entry.attributes, &entry.long_name), told, "{line} {bits:?}");
        }
    }
}
