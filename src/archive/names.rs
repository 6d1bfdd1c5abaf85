//! What is odd about the names of an archive's members, so that it can be reported.

use std::collections::HashMap;
use std::fmt;

/// Something odd about a member's name. None of it is a failure: `naming` gives every name a blob
/// name of its own; the report says why that looks different.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Oddity {
    /// It has a `..` segment.
    Climbs,
    /// It begins with `/`.
    Absolute,
    /// It begins with a drive, as `C:`.
    Drive,
    /// It holds a NUL, at which some readers stop.
    Nul,
    /// It is empty, or nothing but slashes and dots.
    Empty,
    /// An earlier member has the same name.
    Duplicate,
    /// An earlier member's name differs only in upper and lower case.
    CaseOnly,
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Oddity::Climbs => "climbs out of its folder",
            Oddity::Absolute => "is absolute",
            Oddity::Drive => "names a drive",
            Oddity::Nul => "holds a NUL",
            Oddity::Empty => "is empty",
            Oddity::Duplicate => "is there twice",
            Oddity::CaseOnly => "differs from another in case only",
        })
    }
}

/// What is odd about `name` by itself. Backslashes count as slashes here: on the system that wrote
/// the name, or on the one that reads the blob, they may be.
pub fn oddities(name: &str) -> Vec<Oddity> {
    let mut found = Vec::new();
    let mut segments = name.split(['/', '\\']);
    let mut note = |is: bool, oddity| {
        if is {
            found.push(oddity);
        }
    };
    note(segments.clone().any(|segment| segment == ".."), Oddity::Climbs);
    note(name.starts_with(['/', '\\']), Oddity::Absolute);
    note(
        matches!(name.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic()),
        Oddity::Drive,
    );
    note(name.contains('\0'), Oddity::Nul);
    note(segments.all(|segment| matches!(segment, "" | ".")), Oddity::Empty);
    found
}

/// What is odd about each of `names`, by itself and beside those before it; only those with
/// something odd, in order.
pub fn odd_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<(usize, Vec<Oddity>)> {
    // For each folded name the spellings that were seen: one, nearly always.
    let mut seen: HashMap<String, Vec<&str>> = HashMap::new();
    let mut odd = Vec::new();
    for (index, name) in names.into_iter().enumerate() {
        let mut found = oddities(name);
        let spellings = seen.entry(name.to_lowercase()).or_default();
        if spellings.contains(&name) {
            found.push(Oddity::Duplicate);
        } else {
            if !spellings.is_empty() {
                found.push(Oddity::CaseOnly);
            }
            spellings.push(name);
        }
        if !found.is_empty() {
            odd.push((index, found));
        }
    }
    odd
}

#[cfg(test)]
mod tests {
    use super::*;
    use Oddity::{Absolute, CaseOnly, Climbs, Drive, Duplicate, Empty, Nul};

    #[test]
    fn names_tell_what_is_odd_about_them() {
        let check =
            |name: &str, expected: &[Oddity]| assert_eq!(oddities(name), expected, "{name:?}");
        for plain in ["a.txt", "a/b", "a/", "..a/b..", "ab:c", "2:b", ".hidden", "50%", "é"] {
            check(plain, &[]);
        }
        check("../a", &[Climbs]);
        check("a/..", &[Climbs]);
        check("..\\..\\a", &[Climbs]);
        check("/etc/passwd", &[Absolute]);
        check("\\\\host\\share", &[Absolute]);
        check("C:/a", &[Drive]);
        check("c:\\..\\a", &[Climbs, Drive]);
        check("a\0.txt", &[Nul]);
        check("", &[Empty]);
        check("/", &[Absolute, Empty]);
        check("./", &[Empty]);
        check("/../\0", &[Climbs, Absolute, Nul]);
    }

    #[test]
    fn names_that_meet_are_told() {
        let names = ["a", "A", "a", "b", "A", "../b", "Ä", "ä"];
        let expected = vec![
            (1, vec![CaseOnly]),
            (2, vec![Duplicate]),
            (4, vec![Duplicate]),
            (5, vec![Climbs]),
            (7, vec![CaseOnly]),
        ];
        assert_eq!(odd_names(names), expected);
    }
}
