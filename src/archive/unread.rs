//! Archives that are not read: told by name, so that somebody sees on the first day what is stored
//! whole.

use std::fmt;

use memchr::memmem;

/// A kind of archive, or of a part of one, that is stored as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unread {
    /// RAR.
    Rar,
    /// A cabinet of Windows.
    Cab,
    /// `.Z` of Unix's `compress`.
    Compress,
    /// LZMA alone, without a container.
    Lzma,
    /// lzip.
    Lzip,
    /// ARJ.
    Arj,
    /// A part of a zip in several files.
    SplitZip,
    /// A part of a 7z in several files.
    Split7z,
    /// A part of a RAR in several files.
    SplitRar,
    /// A volume of a tar in several.
    TarVolume,
    /// A program that unpacks what it carries, or another file with a zip behind bytes of its own.
    SelfExtractor,
}

impl Unread {
    /// The word for reports.
    pub fn word(self) -> &'static str {
        match self {
            Unread::Rar => "rar",
            Unread::Cab => "cab",
            Unread::Compress => "compress",
            Unread::Lzma => "lzma",
            Unread::Lzip => "lzip",
            Unread::Arj => "arj",
            Unread::SplitZip => "split_zip",
            Unread::Split7z => "split_7z",
            Unread::SplitRar => "split_rar",
            Unread::TarVolume => "tar_volume",
            Unread::SelfExtractor => "self_extractor",
        }
    }

    /// What it is, for people.
    pub fn about(self) -> &'static str {
        match self {
            Unread::Rar => "a RAR archive",
            Unread::Cab => "a cabinet",
            Unread::Compress => "a file of `compress` (.Z)",
            Unread::Lzma => "a file of LZMA alone",
            Unread::Lzip => "a file of lzip",
            Unread::Arj => "an ARJ archive",
            Unread::SplitZip => "one part of a split zip",
            Unread::Split7z => "one part of a split 7z",
            Unread::SplitRar => "one part of a split RAR archive",
            Unread::TarVolume => "one volume of a tar in several volumes",
            Unread::SelfExtractor => "a program or another file that carries an archive",
        }
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What a file is that no format takes, by its first bytes and its name.
pub(crate) fn of(head: &[u8], name: &str) -> Option<Unread> {
    let name = name.to_ascii_lowercase();
    match head {
        _ if head.starts_with(b"Rar!\x1A\x07\0") => {
            Some(if is_volume_4(head) || names_rar_part(&name) {
                Unread::SplitRar
            } else {
                Unread::Rar
            })
        }
        _ if head.starts_with(b"Rar!\x1A\x07\x01\0") => {
            Some(if is_volume_5(head).unwrap_or(false) || names_rar_part(&name) {
                Unread::SplitRar
            } else {
                Unread::Rar
            })
        }
        [b'R', b'E', b'~', b'^', ..] if name.ends_with(".rar") => Some(Unread::Rar),
        _ if head.starts_with(b"MSCF\0\0\0\0") => Some(Unread::Cab),
        // The bits of a code, 9 to 16, and a flag for blocks.
        [0x1F, 0x9D, flags, ..] if flags & 0x60 == 0 && (9..=16).contains(&(flags & 0x1F)) => {
            Some(Unread::Compress)
        }
        [b'L', b'Z', b'I', b'P', 0 | 1, ..] => Some(Unread::Lzip),
        _ if is_arj(head) => Some(Unread::Arj),
        _ if is_lzma(head, &name) => Some(Unread::Lzma),
        _ => part_by_name(&name),
    }
}

/// Which archive a file called `name`, in lower case, is a part of, as its name tells it.
pub(crate) fn part_by_name(name: &str) -> Option<Unread> {
    let name = name.to_ascii_lowercase();
    let (base, ending) = name.rsplit_once('.')?;
    let digits = |text: &str| {
        (2..=3).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if ending.len() == 3 && digits(ending) {
        return match base.rsplit_once('.')?.1 {
            "zip" | "zipx" => Some(Unread::SplitZip),
            "7z" => Some(Unread::Split7z),
            "rar" => Some(Unread::SplitRar),
            "tar" => Some(Unread::TarVolume),
            _ => None,
        };
    }
    match ending.split_at_checked(1) {
        Some(("z", number)) if digits(number) => Some(Unread::SplitZip),
        Some(("r", number)) if number.len() == 2 && digits(number) => Some(Unread::SplitRar),
        _ => None,
    }
}

/// What a program carries that begins with `head`, of which as much is here as is at hand.
pub(crate) fn carried(head: &[u8]) -> Option<Unread> {
    let is_program = [&b"MZ"[..], b"\x7FELF", b"#!"].iter().any(|magic| head.starts_with(magic));
    let is_7z = |at: &[u8]| {
        at.starts_with(b"7z\xBC\xAF\x27\x1C\0")
            && at.get(7).is_some_and(|minor| (2..=4).contains(minor))
    };
    let is_rar =
        |at: &[u8]| at.starts_with(b"Rar!\x1A\x07\0") || at.starts_with(b"Rar!\x1A\x07\x01\0");
    let is_cab = |at: &[u8]| at.starts_with(b"MSCF\0\0\0\0") && at.get(24..26) == Some(b"\x03\x01");
    // A local header of one of the usual methods, with a name.
    let is_zip = |at: &[u8]| {
        at.starts_with(b"PK\x03\x04")
            && matches!(at.get(8..10), Some([0 | 8 | 12 | 14, 0]))
            && at.get(26..28).is_some_and(|length| length != [0, 0])
    };
    let begins = |at: &[u8]| match at.first() {
        Some(b'7') => is_7z(at),
        Some(b'R') => is_rar(at),
        Some(b'M') => is_cab(at),
        Some(b'P') => is_zip(at),
        _ => false,
    };
    (is_program && (0..head.len()).any(|at| begins(&head[at..]))).then_some(Unread::SelfExtractor)
}

/// As many of a file's last bytes are looked at as a zip with a short comment ends with.
pub(crate) const END_BYTES: usize = 1024;

/// What a file of `size` bytes carries that does not begin as an archive and ends with `end`: a
/// zip's own end, which tells of a directory that fits before it.
pub(crate) fn carried_at_end(head: &[u8], end: &[u8], size: u64) -> Option<Unread> {
    let end = &end[end.len().saturating_sub(END_BYTES)..];
    let is_end = |record: &[u8]| -> Option<bool> {
        let short = |at: usize| Some(u16::from_le_bytes(record.get(at..at + 2)?.try_into().ok()?));
        let long = |at: usize| Some(u32::from_le_bytes(record.get(at..at + 4)?.try_into().ok()?));
        let (members, directory, start) = (short(10)?, u64::from(long(12)?), u64::from(long(16)?));
        let is_whole = [short(4)?, short(6)?] == [0, 0] && short(8)? == members && members > 0;
        let fits = directory >= 46 * u64::from(members)
            && directory + start <= size.saturating_sub(record.len() as u64);
        let has_no_more = usize::from(short(20)?) + 22 == record.len();
        Some(is_whole && fits && has_no_more)
    };
    let mut ends = memmem::find_iter(end, b"PK\x05\x06");
    (!head.starts_with(b"PK") && ends.any(|at| is_end(&end[at..]) == Some(true)))
        .then_some(Unread::SelfExtractor)
}

fn names_rar_part(name: &str) -> bool {
    let stem = name.strip_suffix(".rar").and_then(|stem| stem.rsplit_once(".part"));
    stem.is_some_and(|(_, number)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    }) || part_by_name(name) == Some(Unread::SplitRar)
}

/// The main header of RAR 4 follows the signature: checksum, type 0x73, flags, of which the first
/// tells of volumes.
fn is_volume_4(head: &[u8]) -> bool {
    matches!(head.get(9..12), Some([0x73, flags, _]) if flags & 1 != 0)
}

/// The main header of RAR 5: checksum, size, type 1, flags, perhaps the size of more, and the
/// archive's flags.
fn is_volume_5(head: &[u8]) -> Option<bool> {
    let mut rest = head.get(12..)?;
    let mut next = || {
        let mut value = 0u64;
        for place in 0..10 {
            let (byte, after) = rest.split_first()?;
            rest = after;
            value |= u64::from(byte & 0x7F).checked_shl(7 * place)?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    };
    let (_size, kind, flags) = (next()?, next()?, next()?);
    if flags & 1 != 0 {
        next()?;
    }
    Some(kind == 1 && next()? & 1 != 0)
}

/// The main header of ARJ: its size, that of its first part, three versions and systems, and the
/// type 2.
fn is_arj(head: &[u8]) -> bool {
    match head {
        [0x60, 0xEA, low, high, first, _, _, _, _, _, 2, ..] => {
            (30..=2600).contains(&u16::from_le_bytes([*low, *high])) && (30..=64).contains(first)
        }
        _ => false,
    }
}

/// Properties, a dictionary of a size that encoders write, the size or -1, and the zero that the
/// coder begins with.
fn is_lzma(head: &[u8], name: &str) -> bool {
    let Some([properties, dictionary @ ..]) = head.first_chunk::<5>() else { return false };
    let (Some(size), Some(0)) = (
        head.get(5..13).and_then(|size| size.try_into().ok()).map(u64::from_le_bytes),
        head.get(13),
    ) else {
        return false;
    };
    let dictionary = u32::from_le_bytes(*dictionary);
    let is_usual = dictionary == u32::MAX
        || (dictionary >= 4096
            && (dictionary.is_power_of_two() || (dictionary / 3 * 2).is_power_of_two()));
    let is_named = name.ends_with(".lzma") || name.ends_with(".tlz");
    (*properties == 0x5D || is_named)
        && *properties < 225
        && is_usual
        && (size == u64::MAX || (1..1 << 38).contains(&size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_that_are_not_read_are_told_by_their_first_bytes() {
        let check =
            |head: &[u8], expected| assert_eq!(of(head, "parcel.bin"), expected, "{head:x?}");
        check(b"Rar!\x1A\x07\0\xCF\x90\x73\0\0\x0D\0", Some(Unread::Rar));
        check(b"Rar!\x1A\x07\0\xCF\x90\x73\x01\x01\x0D\0", Some(Unread::SplitRar));
        check(
            b"Rar!\x1A\x07\x01\0\x33\x92\xB5\xE5\x0A\x01\x05\x06\0\x05\x01\x01\x80\x80\0",
            Some(Unread::Rar),
        );
        check(
            b"Rar!\x1A\x07\x01\0\x33\x92\xB5\xE5\x0A\x01\x05\x06\x01\x05\x01\x01\x80\x80\0",
            Some(Unread::SplitRar),
        );
        check(b"MSCF\0\0\0\0\x2C\0", Some(Unread::Cab));
        check(b"MSCF is a signature", None);
        check(b"\x1F\x9D\x90abc", Some(Unread::Compress));
        check(b"\x1F\x9D\x08abc", None);
        check(b"LZIP\x01\x0C", Some(Unread::Lzip));
        check(b"LZIP is older", None);
        check(b"\x60\xEA\x29\0\x22\x0B\x01\x02\x10\0\x02\x7E", Some(Unread::Arj));
        check(b"\x5D\0\0\x80\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0abc", Some(Unread::Lzma));
        check(b"\x5D\0\0\x80\0\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01abc", None);
        check(&[0; 512], None);
        check(b"a,b\n1,2\n", None);
        check(b"", None);
    }

    #[test]
    fn parts_are_told_by_their_names() {
        let check = |name: &str, expected| assert_eq!(of(b"whatever", name), expected, "{name}");
        check("x.zip.002", Some(Unread::SplitZip));
        check("X.Z02", Some(Unread::SplitZip));
        check("x.7z.011", Some(Unread::Split7z));
        check("x.r00", Some(Unread::SplitRar));
        check("x.rar.001", Some(Unread::SplitRar));
        check("x.tar.002", Some(Unread::TarVolume));
        for plain in [
            "x.zip",
            "x.csv.001",
            "x.001",
            "x.z",
            "x.z1",
            "r00",
            ".z01x",
            "report.r1",
            "x.zip.2024",
        ] {
            check(plain, None);
        }
        assert_eq!(of(b"Rar!\x1A\x07\x01\0", "x.part2.rar"), Some(Unread::SplitRar));
    }

    #[test]
    fn a_program_with_an_archive_behind_it_is_told() {
        let program = |carries: &[u8]| [b"MZ", &[0x90; 600][..], carries, &[0; 40]].concat();
        assert_eq!(carried(&program(b"7z\xBC\xAF\x27\x1C\0\x04")), Some(Unread::SelfExtractor));
        assert_eq!(carried(&program(b"Rar!\x1A\x07\x01\0")), Some(Unread::SelfExtractor));
        assert_eq!(
            carried(&program(
                b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0a.csv"
            )),
            Some(Unread::SelfExtractor)
        );
        let script = b"#!/bin/sh\nexec unzip \"$0\"\n";
        let zip = b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0a.csv";
        assert_eq!(carried(&[&script[..], zip].concat()), Some(Unread::SelfExtractor));
        // Programs that read archives hold their signatures.
        assert_eq!(carried(&program(b"7z\xBC\xAF\x27\x1C Rar! PK\x03\x04\0\0")), None);
        assert_eq!(carried(b"text 7z\xBC\xAF\x27\x1C\0\x04"), None);
    }

    #[test]
    fn a_zip_behind_other_bytes_is_told() {
        let end = |members: u16, directory: u32, start: u32, comment: &[u8]| {
            let counts = [[0, 0, 0, 0].to_vec(), members.to_le_bytes().repeat(2)].concat();
            let places = [directory.to_le_bytes(), start.to_le_bytes()].concat();
            let length = (comment.len() as u16).to_le_bytes();
            [b"PK\x05\x06", &counts[..], &places, &length, comment].concat()
        };
        let check = |end: &[u8], size, expected| {
            assert_eq!(carried_at_end(b"whatever", end, size), expected, "{end:x?}");
        };
        let carries = Some(Unread::SelfExtractor);
        check(&end(2, 100, 80, b""), 1_226, carries);
        check(&[b"of the directory", &end(2, 100, 80, b"made by me")[..]].concat(), 1_236, carries);
        check(&end(2, 100, 80, b""), 200, None);
        check(&end(3, 100, 80, b""), 1_226, None);
        check(&end(0, 0, 80, b""), 1_226, None);
        check(&[&end(2, 100, 80, b"")[..], b"\n"].concat(), 1_227, None);
        check(b"PK\x05\x06", 4, None);
        check(b"", 0, None);
        assert_eq!(carried_at_end(b"PK\x03\x04", &end(2, 100, 80, b""), 1_226), None);
    }
}
