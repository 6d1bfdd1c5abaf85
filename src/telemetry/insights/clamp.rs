//! Texts fit for export: no secret, no control character, no longer than is taken.
//!
//! The exporter cuts texts at a byte, and panics where that byte is in the middle of a character;
//! after such a panic a signal is never exported again. So nothing that is longer than its limits
//! reaches it.

use crate::model::printable;
use crate::model::redactor::Redactor;

/// Bytes of an attribute, a message or an exception's text. The exporter's limit is 8,192.
const VALUE: usize = 8_000;
/// Bytes of a name, a dependency's type and target. The exporter's limit is 1,024.
const NAME: usize = 1_000;
/// What a text that was cut ends in.
const CUT: &str = "…";

/// Cleans texts before they are exported.
#[derive(Clone)]
pub(crate) struct Cleaner {
    redactor: Redactor,
}

impl Cleaner {
    /// Takes out what `redactor` knows.
    pub fn new(redactor: Redactor) -> Self {
        Self { redactor }
    }

    /// An attribute's value, a message's or an exception's text: at most 8,000 bytes.
    pub fn value(&self, text: &str) -> String {
        self.clean(text, VALUE)
    }

    /// A name, a type, a target: at most 1,000 bytes.
    pub fn name(&self, text: &str) -> String {
        self.clean(text, NAME)
    }

    fn clean(&self, text: &str, most: usize) -> String {
        // Secrets go first: a cut in the middle of one would leave its first half.
        cut(printable(self.redactor.text(text).as_bytes()), most)
    }
}

/// `text` cut between two characters, so that it has at most `most` bytes.
fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most - CUT.len()));
        text.push_str(CUT);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_text_of_any_characters_is_cut_between_two_of_them(text in "\\PC{0,60}",
            most in 3usize..60) {
            let short = cut(text.clone(), most);
            prop_assert!(short.len() <= most);
            prop_assert!(text.len() > most || short == text);
            prop_assert!(text.starts_with(short.trim_end_matches(CUT)));
        }
    }

    #[test]
    fn what_a_text_holds_does_not_reach_the_exporter_as_it_is() {
        let cleaner = Cleaner::new(Redactor::new([&Secret::new("canary-pa55")]));
        assert_eq!(
            cleaner.value("a\r\nb\0 canary-pa55 ü\u{202e}"),
            "a\\x0D\\x0Ab\\x00 *** ü\\u{202E}"
        );
        for (before, limit) in [(8_191, 8_192), (1_023, 1_024), (7_997, 8_192)] {
            let text = "a".repeat(before) + "üüü";
            assert!(
                cleaner.value(&text).len() <= VALUE
                    && cleaner.name(&text).len() <= NAME
                    && VALUE < 8_192
                    && NAME < 1_024,
                "{limit}"
            );
        }
        assert_eq!(cleaner.value(&"a".repeat(VALUE)).len(), VALUE);
        // A secret across the cut is gone before the cut is made.
        assert!(!cleaner.value(&("a".repeat(VALUE - 8) + "canary-pa55")).contains("canary"));
    }
}
