//! Which character set names are in that are not UTF-8, as far as their bytes tell.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};

/// No more bytes of names are looked at.
const ENOUGH: usize = 64 << 10;

/// Names that are not UTF-8.
#[derive(Clone, Debug, Default)]
pub(crate) struct Foreign {
    count: u64,
    sample: Vec<u8>,
    first: Vec<u8>,
}

impl Foreign {
    /// Looks at a name.
    pub fn see(&mut self, name: &[u8]) {
        if std::str::from_utf8(name).is_ok() {
            return;
        }
        self.count += 1;
        if self.first.is_empty() {
            self.first = name.to_vec();
        }
        if self.sample.len() + name.len() < ENOUGH {
            self.sample.extend_from_slice(name);
            self.sample.push(b'\n');
        }
    }

    /// How many there are, and what they look like; nothing if there are none.
    pub fn told(&self) -> Option<String> {
        if self.count == 0 {
            return None;
        }
        let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
        detector.feed(&self.sample, true);
        let guess = detector.guess(None, Utf8Detection::Deny);
        let shown = guess.decode_without_bom_handling(&self.first).0;
        let names = match self.count {
            1 => "1 name is not UTF-8; it looks".to_owned(),
            count => format!("{count} names are not UTF-8; they look"),
        };
        Some(format!(
            "{names} like {}, as `{}`; such bytes are percent-escaped in blob names",
            guess.name(),
            crate::model::printable(shown.as_bytes())
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(names: &[&[u8]]) -> Option<String> {
        let mut foreign = Foreign::default();
        names.iter().for_each(|name| foreign.see(name));
        foreign.told()
    }

    #[test]
    fn the_character_set_is_guessed_from_all_names_together() {
        assert_eq!(told(&[b"plain.txt", "caf\u{e9}.txt".as_bytes()]), None);
        let western =
            told(&[b"plain.txt", b"caf\xe9.txt", b"\xfcbersicht.csv", b"na\xefve fa\xe7ade.txt"])
                .unwrap();
        assert!(
            western.starts_with(
                "3 names are not UTF-8; they look like windows-1252, as `caf\u{e9}.txt`"
            ),
            "{western}"
        );
        assert!(
            told(&[b"caf\xe9.txt"]).unwrap().starts_with("1 name is not UTF-8; it looks like ")
        );
        let japanese = encoding_rs::SHIFT_JIS.encode("売上報告書.csv").0.into_owned();
        let text = told(&[&japanese]).unwrap();
        assert!(text.contains("Shift_JIS, as `売上報告書.csv`"), "{text}");
        // What cannot be decoded breaks no line.
        assert!(!told(&[b"\x80\xff\n\x1b[2J"]).unwrap().chars().any(char::is_control));
    }
}
