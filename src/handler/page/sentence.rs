//! A sentence with moments in it: for programs each in UTC, for people in the zone of their
//! browser. Pure.

use std::fmt;

use maud::{Markup, Render, html};
use serde::{Serialize, Serializer};
use time::OffsetDateTime;

use super::moment::{at, in_utc};

/// A sentence with moments in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sentence(Vec<SentencePart>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum SentencePart {
    Text(String),
    At(OffsetDateTime),
}

impl Sentence {
    /// One that begins with `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self::default().and(text)
    }

    /// It with `text` behind.
    #[must_use]
    pub fn and(mut self, text: impl Into<String>) -> Self {
        self.0.push(SentencePart::Text(text.into()));
        self
    }

    /// It with a moment behind.
    #[must_use]
    pub fn at(mut self, at: OffsetDateTime) -> Self {
        self.0.push(SentencePart::At(at));
        self
    }

    /// It with a moment behind, or that nobody knows it.
    #[must_use]
    pub fn known(self, moment: Option<OffsetDateTime>) -> Self {
        match moment {
            Some(moment) => self.at(moment),
            None => self.and("unknown"),
        }
    }
}

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            SentencePart::Text(text) => f.write_str(text),
            SentencePart::At(at) => f.write_str(&in_utc(*at)),
        })
    }
}

impl Serialize for Sentence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Render for Sentence {
    fn render(&self) -> Markup {
        html! {
            @for part in &self.0 {
                @match part {
                    SentencePart::Text(text) => (text),
                    SentencePart::At(moment) => (at(*moment)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn people_get_a_moment_that_can_be_turned_and_programs_the_same_in_utc() {
        let told = Sentence::new("Since <").at(datetime!(2026-12-02 07:01 +1)).and(", 3 runs.");
        assert_eq!(told.to_string(), "Since <2026-12-02 06:01:00 UTC, 3 runs.");
        assert_eq!(serde_json::json!(told), told.to_string());
        assert_eq!(
            told.render().into_string(),
            "Since &lt;<time datetime=\"2026-12-02T06:01:00Z\">2026-12-02 06:01:00 UTC</time>, \
            3 runs."
        );
        assert_eq!(Sentence::new("at ").known(None).to_string(), "at unknown");
    }
}
