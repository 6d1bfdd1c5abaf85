//! What is odd about the names of an archive's members, so that it can be reported.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

/// Something odd about a member's name. None of it is a failure: `naming` gives every name a blob
/// name of its own; the report says why that looks different.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Oddity {
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
pub(crate) fn oddities(name: &str) -> Vec<Oddity> {
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

/// Each of `names` that has something odd about it, by itself and beside those before it, in order.
/// Of those before it hashes are kept: there may be a million.
pub(crate) fn odd_names(
    names: impl Iterator<Item = String>,
) -> impl Iterator<Item = (String, Vec<Oddity>)> {
    let (hashes, mut spelled, mut folded) =
        (RandomState::new(), HashSet::new(), HashSet::<u64>::new());
    names.filter_map(move |name| {
        let mut found = oddities(&name);
        let is_new_fold = folded.insert(hashes.hash_one(name.to_lowercase()));
        if !spelled.insert(hashes.hash_one(&name)) {
            found.push(Oddity::Duplicate);
        } else if !is_new_fold {
            found.push(Oddity::CaseOnly);
        }
        (!found.is_empty()).then_some((name, found))
    })
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
            ("A".to_owned(), vec![CaseOnly]),
            ("a".to_owned(), vec![Duplicate]),
            ("A".to_owned(), vec![Duplicate]),
            ("../b".to_owned(), vec![Climbs]),
            ("ä".to_owned(), vec![CaseOnly]),
        ];
        let found: Vec<_> = odd_names(names.into_iter().map(str::to_owned)).collect();
        assert_eq!(found, expected);
    }
}
