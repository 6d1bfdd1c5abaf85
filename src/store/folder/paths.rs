//! Which file holds which blob: plain names are their own relative path, the rest is marked,
//! one-to-one.
//!
//! The mark is `%=`. A literal `%=` of a name is doubled; what follows a single one tells why
//! the name could not stay as it is:
//!
//! - `%=d`, `%=f` at the end of each folder and of the file: another blob's name needs one of
//!   the plain names as a folder or as a file (`a` and `a/b`), so this one lives apart.
//! - `%=h` and 32 hex digits: a segment too long for a file system; the whole of it is kept in a
//!   file.
//! - `%=c` and 16 hex digits, at the end: the file system takes the name for that of another blob
//!   (`A.csv` and `a.csv`), so this one has a mark of its own; all of the name is kept in a file.
//! - `%=r`: the store's own folder, or a name that Windows keeps to itself.
//! - `%=x` and two hex digits: a character that the file system cannot hold, as Windows and exFAT
//!   (there only).

use std::path::{Path, PathBuf};

use sha2::Digest;

use crate::model::hex;

/// The store's own folder, below the root.
pub(crate) const OWN: &str = ".blobferry";
const MARK: &str = "%=";
const FOLDED: &str = "%=c";
/// File systems hold 255 bytes; a mark at the end needs three of them.
const MAX_SEGMENT: usize = 252;
const WINDOWS_NAMES: [&str; 4] = ["con", "prn", "aux", "nul"];

/// Where a blob lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum FolderPlace {
    /// At its own name.
    Plain,
    /// Under marked names, where no plain name can be in its way.
    Apart,
    /// With a mark at its end, where the file system takes its name for another's.
    Marked,
}

/// Whether the file system holds all characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Characters {
    /// All but `/` and NUL.
    #[default]
    All,
    /// Those that Windows can hold: the others are escaped.
    OfWindows,
}

/// Characters that Windows, and file systems that come from there, cannot hold.
fn is_foreign(c: char) -> bool {
    matches!(c, '<' | '>' | ':' | '"' | '|' | '?' | '*' | '\\') || c.is_ascii_control()
}

/// Whether Windows can hold all of `name` as it is.
pub(crate) fn fits_windows(name: &str) -> bool {
    !name.contains(is_foreign) && name.split('/').all(|segment| !segment.ends_with([' ', '.']))
}

/// The path of blob `name` below the root, and the long segments that have to be kept for it.
pub fn path_of(
    name: &str,
    place: FolderPlace,
    characters: Characters,
) -> (PathBuf, Vec<LongSegment>) {
    if place == FolderPlace::Marked {
        return marked_path_of(name, characters);
    }
    let mut long = Vec::new();
    let mut path = PathBuf::new();
    let mut segments = name.split('/').enumerate().peekable();
    while let Some((depth, segment)) = segments.next() {
        let mark = match (place, segments.peek()) {
            (FolderPlace::Plain | FolderPlace::Marked, _) => "",
            (FolderPlace::Apart, Some(_)) => "%=d",
            (FolderPlace::Apart, None) => "%=f",
        };
        path.push(format!("{}{mark}", segment_of(segment, depth, characters, &mut long)));
    }
    (path, long)
}

fn marked_path_of(name: &str, characters: Characters) -> (PathBuf, Vec<LongSegment>) {
    let (mut path, mut long) = path_of(name, FolderPlace::Plain, characters);
    let hash = hex(&sha2::Sha256::digest(name)[..8]);
    let mut last = path.file_name().and_then(|last| last.to_str()).unwrap_or_default().to_owned();
    if last.len() + FOLDED.len() + hash.len() > MAX_SEGMENT {
        let end = (0..=180).rev().find(|end| last.is_char_boundary(*end)).unwrap_or(0);
        last.truncate(end);
    }
    path.set_file_name(format!("{last}{FOLDED}{hash}"));
    long.push(LongSegment { hash, text: name.to_owned() });
    (path, long)
}

/// The name that a marked path stands for, whatever case its folders have on the disk.
fn marked_name_of(
    last: &str,
    characters: &dyn Fn(&str) -> Characters,
    long: &dyn Fn(&str) -> Option<String>,
) -> Option<String> {
    let (_, hash) = last.rsplit_once(FOLDED)?;
    let whole = hash.len() == 16 && hash.bytes().all(|digit| digit.is_ascii_hexdigit());
    let name = if whole { long(hash)? } else { return None };
    let path = path_of(&name, FolderPlace::Marked, characters(&name)).0;
    (path.file_name()?.to_str()? == last).then_some(name)
}

/// A segment that a file system cannot hold, and the name that stands for it.
#[derive(Debug)]
pub(crate) struct LongSegment {
    /// 32 hex digits.
    pub hash: String,
    /// The segment.
    pub text: String,
}

fn segment_of(
    segment: &str,
    depth: usize,
    characters: Characters,
    long: &mut Vec<LongSegment>,
) -> String {
    let mut text = segment.replace(MARK, "%=%=");
    if characters == Characters::OfWindows {
        let escaped = |c: char| format!("{MARK}x{:02X}", u32::from(c));
        text =
            text.chars().map(|c| if is_foreign(c) { escaped(c) } else { c.to_string() }).collect();
        // Windows drops these at the end. What they stand behind may end in one, too.
        if let Some(last) = text.chars().last().filter(|last| [' ', '.'].contains(last)) {
            text.pop();
            text += &escaped(last);
        }
    }
    let stem = segment.split('.').next().unwrap_or_default().to_ascii_lowercase();
    if (depth == 0 && segment.eq_ignore_ascii_case(OWN))
        || (cfg!(windows) && WINDOWS_NAMES.contains(&stem.as_str()))
    {
        text.push_str("%=r");
    }
    if text.len() <= MAX_SEGMENT {
        return text;
    }
    let hash = hex(&sha2::Sha256::digest(segment)[..16]);
    let mut start = 180;
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    // Cut before a mark rather than through it.
    let shown = text[..start].split(MARK).next().unwrap_or_default();
    let cut = format!("{shown}{MARK}h{hash}");
    long.push(LongSegment { hash, text: segment.to_owned() });
    cut
}

/// The name and the place that a relative path stands for; `characters` says which of them count
/// for a name, `long` finds a segment by its hash.
/// `None` for a path that no blob maps to.
pub fn name_of(
    path: &Path,
    characters: &dyn Fn(&str) -> Characters,
    long: &dyn Fn(&str) -> Option<String>,
) -> Option<(String, FolderPlace)> {
    let mut segments = Vec::new();
    let mut apart = 0;
    let parts: Vec<&str> = path.iter().map(|part| part.to_str()).collect::<Option<_>>()?;
    if let Some(name) = parts.last().and_then(|last| marked_name_of(last, characters, long)) {
        return Some((name, FolderPlace::Marked));
    }
    for (depth, part) in parts.iter().enumerate() {
        let mark = if depth + 1 == parts.len() { "%=f" } else { "%=d" };
        let (text, marked) = original(part, mark, long)?;
        apart += usize::from(marked);
        segments.push(text);
    }
    let place = match apart {
        0 => FolderPlace::Plain,
        all if all == parts.len() => FolderPlace::Apart,
        _ => return None,
    };
    let name = segments.join("/");
    // Only the path that the name maps to is the blob: others are somebody else's files.
    (path_of(&name, place, characters(&name)).0 == path).then_some((name, place))
}

fn original(
    part: &str,
    end: &str,
    long: &dyn Fn(&str) -> Option<String>,
) -> Option<(String, bool)> {
    let (mut out, mut rest, mut marked) = (String::new(), part, false);
    while let Some(at) = rest.find(MARK) {
        out.push_str(&rest[..at]);
        let after = &rest[at + MARK.len()..];
        if let Some(next) = after.strip_prefix(MARK) {
            out.push_str(MARK);
            rest = next;
        } else if let Some(next) = after.strip_prefix('h') {
            out = long(next.get(..32)?)?;
            rest = next.get(32..)?;
        } else if let Some(next) = after.strip_prefix('x') {
            out.push(char::from(u8::from_str_radix(next.get(..2)?, 16).ok()?));
            rest = &next[2..];
        } else if let Some(next) = after.strip_prefix('r') {
            rest = next;
        } else if after == &end[MARK.len()..] {
            marked = true;
            rest = "";
        } else {
            return None;
        }
    }
    out.push_str(rest);
    Some((out, marked))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    use super::*;

    fn check(name: &str, plain: &str, apart: &str) {
        assert_eq!(path_of(name, FolderPlace::Plain, Characters::All).0, Path::new(plain));
        assert_eq!(path_of(name, FolderPlace::Apart, Characters::All).0, Path::new(apart));
    }

    #[test]
    #[cfg(unix)]
    fn plain_names_stay_as_they_are() {
        check(
            "acme/daily/ü report.csv",
            "acme/daily/ü report.csv",
            "acme%=d/daily%=d/ü report.csv%=f",
        );
        check("50%.txt", "50%.txt", "50%.txt%=f");
        check("%=f", "%=%=f", "%=%=f%=f");
        check(".blobferry/x", ".blobferry%=r/x", ".blobferry%=r%=d/x%=f");
        check("a/.blobferry", "a/.blobferry", "a%=d/.blobferry%=f");
        check("%%==", "%%=%==", "%%=%==%=f");
    }

    #[test]
    fn characters_that_a_file_system_cannot_hold_are_escaped_where_that_is_so() {
        let name = "acme/a:b?.txt/dots.. /c.";
        assert!(!fits_windows(name) && fits_windows("acme/a b/.c.txt"));
        let (path, _) = path_of(name, FolderPlace::Plain, Characters::OfWindows);
        assert_eq!(path, Path::new("acme/a%=x3Ab%=x3F.txt/dots..%=x20/c%=x2E"));
        let found = name_of(&path, &|_| Characters::OfWindows, &|_| None);
        assert_eq!(found, Some((name.to_owned(), FolderPlace::Plain)));
        assert_eq!(path_of(name, FolderPlace::Plain, Characters::All).0, Path::new(name));
        assert_eq!(name_of(&path, &|_| Characters::All, &|_| None), None, "there it is nobody's");
    }

    #[test]
    fn names_that_a_file_system_takes_for_one_have_marks_of_their_own() {
        let kept = RefCell::new(BTreeMap::new());
        let long_name = format!("acme/{}é", "ü".repeat(120));
        let names = ["acme/A.csv", "acme/a.csv", "acme/a.csv%=c", "b", long_name.as_str()];
        let mut paths = std::collections::HashSet::new();
        for name in names {
            let (path, long) = path_of(name, FolderPlace::Marked, Characters::All);
            assert!(path.iter().all(|part| part.len() <= 255), "{path:?}");
            for segment in long {
                kept.borrow_mut().insert(segment.hash, segment.text);
            }
            assert!(paths.insert(path.to_string_lossy().to_lowercase()), "{name}");
            let found =
                name_of(&path, &|_| Characters::All, &|hash| kept.borrow().get(hash).cloned());
            assert_eq!(found, Some((name.to_owned(), FolderPlace::Marked)));
        }
        // A folder may stand there in another case.
        let (path, _) = path_of("acme/A.csv", FolderPlace::Marked, Characters::All);
        let other = Path::new("ACME").join(path.file_name().expect("a name"));
        let found = name_of(&other, &|_| Characters::All, &|hash| kept.borrow().get(hash).cloned());
        assert_eq!(found, Some(("acme/A.csv".to_owned(), FolderPlace::Marked)));
    }

    proptest::proptest! {
        #[test]
        fn every_name_comes_back_from_its_path(name in "([a%=dfrhx?. \
            é]{1,4}|[a%=]{240,300}|\\.blobferry|con)(/([a%=dfrhx]{1,4}|\\.blobferry)){0,3}",
            apart: bool, windows: bool) {
            let characters = if windows { Characters::OfWindows } else { Characters::All };
            let place = if apart { FolderPlace::Apart } else { FolderPlace::Plain };
            let kept = RefCell::new(BTreeMap::new());
            let (path, long) = path_of(&name, place, characters);
            for segment in long {
                kept.borrow_mut().insert(segment.hash, segment.text);
            }
            proptest::prop_assert!(path.iter().all(|part| part.len() <= 255));
            if name.split('/').all(|segment| segment.len() < 200 && !matches!(segment,
                "." | "..")) || name.split('/').all(|segment| segment.len() >= 200) {
                let long = |hash: &str| kept.borrow().get(hash).cloned();
                let found = name_of(&path, &|_| characters, &long);
                proptest::prop_assert_eq!(found, Some((name, place)));
            }
        }
    }
}
