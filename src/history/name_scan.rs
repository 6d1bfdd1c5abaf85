//! Looking through lines of names for those that fit: fast enough for a million of them while
//! somebody waits. Pure.
//!
//! The longest text that every fitting line must hold is looked for in a part as a whole; only
//! lines that hold it are taken apart.

use std::collections::BTreeSet;

use memchr::memmem::Finder;
use memchr::{memchr, memrchr};

use super::name_segment::NameEntry;
use super::name_words::NameWords;

/// Bytes of lines that are looked through together: their copy in small letters stays in the
/// processor's cache.
const TOGETHER: usize = 64 << 10;

/// Looks through the lines of one segment, part by part.
pub(crate) struct NameScan<'a> {
    words: &'a NameWords,
    /// What every fitting line holds in small letters; `None`: each line must be taken apart.
    needle: Option<Finder<'a>>,
    lower: Vec<u8>,
    /// Names that were looked at.
    pub names: u64,
    /// The first runs that lines tell of.
    runs: BTreeSet<Vec<u8>>,
    last_run: Vec<u8>,
}

impl<'a> NameScan<'a> {
    /// For lines that fit `words`.
    pub fn new(words: &'a NameWords) -> Self {
        // Other alphabets have letters that are small letters of this one.
        let needle = words.needle().filter(|text| text.is_ascii());
        Self {
            words,
            needle: needle.map(Finder::new),
            lower: Vec::new(),
            names: 0,
            runs: BTreeSet::new(),
            last_run: Vec::new(),
        }
    }

    /// Looks through whole lines; those that fit are added to `found`.
    pub fn see(&mut self, lines: &[u8], found: &mut Vec<NameEntry>) {
        let mut rest = lines;
        while !rest.is_empty() {
            let (some, later) = rest.split_at(end_of_some(rest));
            self.see_some(some, found);
            rest = later;
        }
    }

    fn see_some(&mut self, lines: &[u8], found: &mut Vec<NameEntry>) {
        self.count(lines);
        match self.needle.take() {
            Some(needle) if lines.is_ascii() => {
                self.lower.clear();
                self.lower.extend_from_slice(lines);
                self.lower.make_ascii_lowercase();
                let mut from = 0;
                while let Some(at) = needle.find(&self.lower[from..]) {
                    let begin = memrchr(b'\n', &lines[..from + at]).map_or(0, |end| end + 1);
                    let length = memchr(b'\n', &lines[begin..]).unwrap_or(lines.len() - begin);
                    from = begin + length;
                    self.take_apart(&lines[begin..from], found);
                }
                self.needle = Some(needle);
            }
            needle => {
                lines.split(|byte| *byte == b'\n').for_each(|line| self.take_apart(line, found));
                self.needle = needle;
            }
        }
    }

    /// The oldest run that the lines tell of.
    pub fn oldest(self) -> Option<String> {
        let oldest = self.runs.into_iter().next()?;
        String::from_utf8(oldest).ok()
    }

    fn count(&mut self, lines: &[u8]) {
        let mut begin = 0;
        while begin < lines.len() {
            let end = memchr(b'\n', &lines[begin..]).map_or(lines.len(), |length| begin + length);
            let line = &lines[begin..end];
            begin = end + 1;
            if line.is_empty() || line.starts_with(b"\x01") {
                continue;
            }
            self.names += 1;
            let run = memrchr(b'\t', line).map_or(line, |tab| &line[tab + 1..]);
            if run != self.last_run {
                self.last_run = run.to_vec();
                self.runs.insert(run.to_vec());
            }
        }
    }

    fn take_apart(&self, line: &[u8], found: &mut Vec<NameEntry>) {
        if line.is_empty() || line.starts_with(b"\x01") {
            return;
        }
        let line = String::from_utf8_lossy(line);
        let mut fields = line.splitn(3, '\t');
        let (Some(key), Some(path)) = (fields.next(), fields.next()) else { return };
        if self.words.fits_either(key, path) {
            found.extend(NameEntry::parse(&line));
        }
    }
}

/// Where whole lines end that are looked through together.
fn end_of_some(lines: &[u8]) -> usize {
    if lines.len() <= TOGETHER {
        return lines.len();
    }
    let (some, later) = lines.split_at(TOGETHER);
    match (memrchr(b'\n', some), memchr(b'\n', later)) {
        (Some(end), _) => end + 1,
        // A line that is longer than that.
        (None, Some(end)) => TOGETHER + end + 1,
        (None, None) => lines.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::name_segment::key_of;
    use proptest::prelude::*;

    fn line(path: &str, since: &str) -> String {
        let key = key_of(path);
        format!("{key}\t{path}\tacme\tingested-00\tr9\t0\t1\t1\t{since}\n")
    }

    fn scanned(words: &str, lines: &str) -> (Vec<String>, u64, Option<String>) {
        let (words, mut found) = (NameWords::new(words), Vec::new());
        let mut scan = NameScan::new(&words);
        scan.see(lines.as_bytes(), &mut found);
        let names = scan.names;
        (found.into_iter().map(|entry| entry.path).collect(), names, scan.oldest())
    }

    #[test]
    fn lines_that_fit_are_found_and_lines_of_the_index_are_none() {
        let lines = [
            line("/Sales/A.csv", "r2"),
            line("/x/sales_2.CSV", "r1"),
            line("/x/b.csv", "r3"),
            "\u{1}sales\t0\n\u{1}\t00000000000000000000\n".to_owned(),
        ];
        let (found, names, oldest) = scanned("SALES", &lines.concat());
        assert_eq!(found, ["/Sales/A.csv", "/x/sales_2.CSV"]);
        assert_eq!((names, oldest.as_deref()), (3, Some("r1")));
        // What stands in other fields is no name.
        assert_eq!(scanned("ingested", &lines.concat()).0, Vec::<String>::new());
        assert_eq!(scanned("*", &lines.concat()).0.len(), 3);
        assert_eq!(scanned("", "").1, 0);
    }

    #[test]
    fn lines_are_whole_wherever_they_are_cut() {
        let long = line(&format!("/x/{}a_sale", "y".repeat(2 * TOGETHER)), "r2");
        let mut lines: Vec<_> = (0..4_000).map(|n| line(&format!("/x/{n}_sale"), "r1")).collect();
        for at in [0, 1_000, lines.len()] {
            lines.insert(at, long.clone());
        }
        let (found, names, _) = scanned("_sale", &lines.concat());
        assert_eq!((found.len(), names), (4_003, 4_003));
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_fits(
            words in "[aB\u{e9}\u{212a}k*._]{0,4}",
            paths in proptest::collection::vec(
                "(/[aAbBkK\u{e9}\u{c9}\u{212a}._]{1,4}){1,2}",
                0..20,
            ),
        ) {
            let lines: String = paths.iter().map(|path| line(path, "r1")).collect();
            let wanted = NameWords::new(&words);
            let key = |path: &str| key_of(path);
            let fitting: Vec<String> =
                paths.iter().filter(|path| wanted.fits_either(&key(path), path)).cloned().collect();
            prop_assert_eq!(scanned(&words, &lines).0, fitting);
        }
    }
}
