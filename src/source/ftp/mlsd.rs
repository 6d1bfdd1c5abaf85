//! Lines of `MLSD` and `MLST` (RFC 3659): facts, one blank, the name.

use super::listing_entry::settled;
use super::listing_entry::{FtpListingEntry, FtpListingKind, FtpListingLine};
use super::when;

/// A line as `type=file;size=1024;modify=20261120101112; name`.
///
/// Everything behind the blank that follows the facts is the name, whatever it holds.
pub fn line(line: &[u8]) -> FtpListingLine {
    if line.is_empty() {
        return FtpListingLine::Nothing;
    }
    // MLST writes a blank before the facts; some servers do so in MLSD, too.
    let has_kind = |line: &&[u8]| {
        end_of_facts(line).is_some_and(|blank| Facts::of(&line[..blank]).kind.is_some())
    };
    let line = line.strip_prefix(b" ").filter(has_kind).unwrap_or(line);
    let Some(blank) = end_of_facts(line) else { return FtpListingLine::Unparsed };
    let blank = end_of_spaced_facts(line, blank);
    let facts = Facts::of(&line[..blank]);
    let name = line[blank + 1..].to_vec();
    match facts.kind {
        Some(Meaning::Itself) => FtpListingLine::Nothing,
        Some(Meaning::Entry(kind)) => {
            settled(FtpListingEntry { kind, name, size: facts.size, modified: facts.modified })
        }
        // A name without a type may be a folder as well as a file: better tried out than guessed.
        None if facts.size.is_some() || facts.modified.is_some() => settled(FtpListingEntry {
            kind: FtpListingKind::Untold,
            name,
            size: facts.size,
            modified: facts.modified,
        }),
        None => FtpListingLine::Unparsed,
    }
}

/// Where the blank stands that ends the facts. Values may hold blanks (`UNIX.groupname=domain
/// users;`), so that is the first one behind a `;`; but some servers leave out the last `;`.
fn end_of_facts(line: &[u8]) -> Option<usize> {
    let first = line.iter().position(|b| *b == b' ')?;
    let mut at = 0;
    while line.get(at) != Some(&b' ') {
        let Some(end) = line[at..].iter().position(|b| *b == b';') else { return Some(first) };
        if line[at..at + end].contains(&b' ') && !may_hold_blanks(&line[at..at + end]) {
            return Some(first);
        }
        at += end + 1;
    }
    Some(at)
}

/// Where the blank stands that ends the facts, of which the first one ends at `blank`. Some servers
/// put a blank behind each: then the first one stands alone, and others follow that it does not
/// tell.
fn end_of_spaced_facts(line: &[u8], blank: usize) -> usize {
    const KNOWN: [&[u8]; 6] = [b"type", b"size", b"modify", b"perm", b"unique", b"create"];
    let name = |fact: &[u8]| {
        let name = fact.split(|b| *b == b'=').next().unwrap_or_default();
        name.trim_ascii().to_ascii_lowercase()
    };
    let mut names = vec![name(&line[..blank])];
    let mut end = blank;
    if line[..blank].iter().filter(|b| **b == b';').count() != 1 {
        return end;
    }
    while let Some(over) = line[end + 1..].iter().position(|b| *b == b';') {
        let over = end + 1 + over;
        let told = name(&line[end + 1..over]);
        if line.get(over + 1) != Some(&b' ') || !KNOWN.contains(&&told[..]) || names.contains(&told)
        {
            break;
        }
        names.push(told);
        end = over + 1;
    }
    end
}

/// Whether this is a fact of which the value may hold blanks: a name's, or where a link leads to.
fn may_hold_blanks(fact: &[u8]) -> bool {
    let Some(equals) = fact.iter().position(|b| *b == b'=') else { return false };
    let (name, value) =
        (fact[..equals].to_ascii_lowercase(), fact[equals + 1..].to_ascii_lowercase());
    match name.as_slice() {
        b"type" => value.starts_with(b"os."),
        b"size" | b"modify" | b"create" | b"perm" | b"unique" | b"lang" | b"charset" => false,
        name => !name.is_empty() && !name.contains(&b' '),
    }
}

/// Whether `FEAT`'s line of facts (as `type*;size*;modify;perm*;`) leaves out one that we need by
/// default.
pub(crate) fn lacks_facts(offered: &str) -> bool {
    let on = |fact: &str| {
        offered.split(';').any(|word| {
            word.trim().strip_suffix('*').is_some_and(|word| word.eq_ignore_ascii_case(fact))
        })
    };
    offered.contains(';') && !["type", "size", "modify"].into_iter().all(on)
}

enum Meaning {
    Itself,
    Entry(FtpListingKind),
}

#[derive(Default)]
struct Facts {
    kind: Option<Meaning>,
    size: Option<u64>,
    modified: Option<crate::model::ModifiedTime>,
}

impl Facts {
    fn of(facts: &[u8]) -> Self {
        let mut found = Self::default();
        for fact in facts.split(|b| *b == b';') {
            let Some(equals) = fact.iter().position(|b| *b == b'=') else { continue };
            let (name, value) = (fact[..equals].to_ascii_lowercase(), &fact[equals + 1..]);
            match name.trim_ascii_start() {
                b"type" => found.kind = meaning(value),
                b"size" => {
                    found.size = std::str::from_utf8(value)
                        .ok()
                        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
                        .and_then(|text| text.parse().ok())
                }
                b"modify" => found.modified = when::stamp(value),
                _ => {}
            }
        }
        found
    }
}

fn meaning(value: &[u8]) -> Option<Meaning> {
    let value = value.to_ascii_lowercase();
    Some(match value.as_slice() {
        b"file" => Meaning::Entry(FtpListingKind::File),
        b"dir" => Meaning::Entry(FtpListingKind::Directory),
        b"cdir" | b"pdir" => Meaning::Itself,
        b"" => return None,
        // `OS.unix=slink:/target`, `OS.unix=slink:`, and proftpd's `OS.unix=symlink`.
        kind if kind.starts_with(b"os.unix=slink") || kind.starts_with(b"os.unix=symlink") => {
            Meaning::Entry(FtpListingKind::Symlink)
        }
        // `OS.unix=chr-1/3`, and pure-ftpd's `unknown` for a pipe.
        _ => Meaning::Entry(FtpListingKind::Special),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, shown: &str) {
        let found = match line(text.as_bytes()) {
            FtpListingLine::Entry(entry) => {
                let modified = entry.modified.map_or("?".into(), |m| m.at.to_string());
                format!(
                    "{:?} {:?} {:?} {modified}",
                    entry.kind,
                    String::from_utf8_lossy(&entry.name),
                    entry.size
                )
            }
            other => format!("{other:?}"),
        };
        assert_eq!(found, shown, "{text:?}");
    }

    #[test]
    fn names_keep_blanks_and_semicolons() {
        check(
            "type=file;size=3;modify=20261120101112; a;b = c ",
            r#"File "a;b = c " Some(3) 2026-11-20 10:11:12.0 +00:00:00"#,
        );
        check(
            "Type=file;Size=3;Modify=20261120101160.999;UNIX.mode=00;   x",
            r#"File "  x" Some(3) 2026-11-20 10:11:59.0 +00:00:00"#,
        );
        check("size=3;type=file x", r#"File "x" Some(3) ?"#);
        // As MLST writes it.
        check(" type=file;size=3; x", r#"File "x" Some(3) ?"#);
    }

    #[test]
    fn a_blank_behind_each_fact_belongs_to_none() {
        check(
            "Type=file; Size=3; Modify=20261120101112; a;b = c ",
            r#"File "a;b = c " Some(3) 2026-11-20 10:11:12.0 +00:00:00"#,
        );
        check("type=file; size=3; size=4; x", r#"File "size=4; x" Some(3) ?"#);
        check("type=file;size=3; perm=r; x", r#"File "perm=r; x" Some(3) ?"#);
        check("type=dir; a=b; x", r#"Directory "a=b; x" None ?"#);
    }

    #[test]
    fn values_of_facts_keep_blanks() {
        check(
            "type=file;size=6;UNIX.groupname=domain users;UNIX.mode=0644; a.csv",
            r#"File "a.csv" Some(6) ?"#,
        );
        check("UNIX.owner=a b c;type=file;size=6; x; y=1; z", r#"File "x; y=1; z" Some(6) ?"#);
        check("type=OS.unix=slink:/a b;size=4; l", r#"Symlink "l" Some(4) ?"#);
        // Without the last `;` the first blank ends the facts, whatever the name holds.
        check("size=3;type=file a;b= c", r#"File "a;b= c" Some(3) ?"#);
        check("type=file;size=3 a=b; c", r#"File "a=b; c" Some(3) ?"#);
    }

    #[test]
    fn what_is_no_file() {
        check("type=cdir;modify=20261120101112; /", "Nothing");
        check("type=pdir;modify=20261120101112; ..", "Nothing");
        check("type=dir; ..", "Nothing");
        check(
            "type=dir;modify=20261120101112; d",
            r#"Directory "d" None 2026-11-20 10:11:12.0 +00:00:00"#,
        );
        check("type=OS.unix=slink:/x;size=4; l", r#"Symlink "l" Some(4) ?"#);
        check("type=OS.unix=symlink;size=4; l", r#"Symlink "l" Some(4) ?"#);
        check("type=OS.unix=chr-1/3; c", r#"Special "c" None ?"#);
        check("type=unknown;size=0; p", r#"Special "p" Some(0) ?"#);
    }

    #[test]
    fn what_nobody_can_parse() {
        for text in
            ["x", " x", "type=file;size=3; ", "type=; x", "-rw-r--r-- 1 f f 3 Nov 20 10:11 x"]
        {
            check(text, "Unparsed");
        }
        check("type=file;size=-3;modify=now; x", r#"File "x" None ?"#);
    }

    #[test]
    fn a_name_without_a_type_is_to_be_tried_out() {
        check(
            "size=3;modify=20261120101112; x",
            r#"Untold "x" Some(3) 2026-11-20 10:11:12.0 +00:00:00"#,
        );
        check("modify=20261120101112; x", r#"Untold "x" None 2026-11-20 10:11:12.0 +00:00:00"#);
    }

    #[test]
    fn facts_that_have_to_be_switched_on() {
        assert!(lacks_facts("type*;size*;modify;perm*;"));
        assert!(!lacks_facts("Type*;Size*;Modify*;UNIX.mode*;"));
        assert!(!lacks_facts(""));
    }
}
