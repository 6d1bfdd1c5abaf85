//! Messages of the work queue. Pure.
//!
//! Each is a plain JSON object; `host.json` says `messageEncoding: none`. The Functions host copies
//! the members of an object into the metadata of the invocation, where they would hide its own:
//! none is called as one of those is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of messages. Those of release 0.1 carry none, which counts as 1.
pub const VERSION: u64 = 2;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// See [`VERSION`].
    #[serde(default = "first_version")]
    v: u64,
    /// The run that it belongs to.
    pub run: String,
    /// The source.
    pub source: String,
    /// Of a plan, further sources in which the last run found nothing to do. Release 0.1 passes
    /// over them: they are asked for again after a quarter of an hour.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// What is to be done.
    #[serde(flatten)]
    pub task: Task,
}

/// What a message asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub enum Task {
    /// List the source, decide, and plan the pass.
    Plan,
    /// Do one piece of a pass.
    Piece {
        /// The pass.
        pass: String,
        /// The piece.
        piece: PieceId,
    },
}

fn first_version() -> u64 {
    1
}

/// Why a text is no message for this release.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// A later release sent it: it is to be put back for a worker of that release.
    #[error("a later release sent it (version {0}, this one knows {VERSION})")]
    Later(u64),
    /// It is none of ours.
    #[error("{0}")]
    Foreign(#[from] serde_json::Error),
}

impl Message {
    /// A message of this release.
    pub fn new(run: &str, source: &str, task: Task) -> Self {
        Self { v: VERSION, run: run.to_owned(), source: source.to_owned(), also: Vec::new(), task }
    }

    /// Asks for the plans of `sources`, at least one of them.
    pub fn plans(run: &str, sources: &[String]) -> Option<Self> {
        let (first, also) = sources.split_first()?;
        Some(Self { also: also.to_vec(), ..Self::new(run, first, Task::Plan) })
    }

    /// The sources that it is about.
    pub fn sources(&self) -> Vec<&str> {
        std::iter::once(&self.source).chain(&self.also).map(String::as_str).collect()
    }

    /// As it is sent.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("a message holds nothing that JSON cannot")
    }

    /// Reads what [`Message::to_text`] wrote.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        Self::read(serde_json::from_str(text)?)
    }

    /// As [`Message::parse`], of JSON.
    pub(crate) fn read(value: Value) -> Result<Self, Unreadable> {
        match value["v"].as_u64().filter(|version| *version > VERSION) {
            Some(version) => Err(Unreadable::Later(version)),
            None => Ok(serde_json::from_value(value)?),
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.task {
            Task::Plan => {
                write!(f, "the plan of `{}` for run {}", self.sources().join("`, `"), self.run)
            }
            Task::Piece { piece, .. } => {
                write!(f, "piece {piece} of `{}` for run {}", self.source, self.run)
            }
        }
    }
}

/// Which piece of a pass. A piece that runs out of time hands the rest on as its next part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PieceId {
    /// Its number, from 0.
    pub number: u32,
    /// Its part, from 0.
    pub part: u32,
}

impl PieceId {
    /// The first part of piece `number`.
    pub fn first(number: u32) -> Self {
        Self { number, part: 0 }
    }

    /// The part before it.
    pub fn before(self) -> Option<Self> {
        self.part.checked_sub(1).map(|part| Self { part, ..self })
    }

    /// What it hands on.
    pub fn rest(self) -> Self {
        Self { part: self.part + 1, ..self }
    }
}

impl fmt::Display for PieceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            0 => write!(f, "{:05}", self.number),
            part => write!(f, "{:05}.{part}", self.number),
        }
    }
}

impl From<PieceId> for String {
    fn from(id: PieceId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for PieceId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for PieceId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, part) = text.split_once('.').unwrap_or((text, "0"));
        let count = |text: &str| {
            text.parse::<u32>()
                .map_err(|_| format!("`{}` is no piece", crate::model::printable(text.as_bytes())))
        };
        let id = Self { number: count(number)?, part: count(part)? };
        // One spelling for each.
        if id.to_string() == text {
            Ok(id)
        } else {
            Err(format!("`{}` is no piece", crate::model::printable(text.as_bytes())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written() {
        let plan = Message::new("r", "acme", Task::Plan);
        assert_eq!(plan.to_text(), r#"{"v":2,"run":"r","source":"acme","task":"plan"}"#);
        let look = Message::plans("r", &["a".into(), "b".into()]).expect("two sources");
        assert_eq!(look.to_text(), r#"{"v":2,"run":"r","source":"a","also":["b"],"task":"plan"}"#);
        assert_eq!((look.sources(), plan.sources()), (vec!["a", "b"], vec!["acme"]));
        let piece = Task::Piece { pass: "r-1".into(), piece: PieceId { number: 7, part: 2 } };
        let piece = Message { task: piece, ..plan.clone() };
        assert_eq!(
            piece.to_text(),
            r#"{"v":2,"run":"r","source":"acme","task":"piece","pass":"r-1","piece":"00007.2"}"#
        );
        for message in [plan, look, piece] {
            assert_eq!(Message::parse(&message.to_text()).ok(), Some(message));
        }
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"run":"r","source":"a","task":"dance"}"#,
            r#"{"run":"r","source":"a","task":"piece","pass":"p","piece":"7"}"#,
        ] {
            assert!(Message::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn messages_of_release_0_1_are_read_and_those_of_a_later_release_are_told_apart() {
        let old =
            Message::parse(r#"{"run":"r","source":"acme","task":"plan"}"#).expect("a message");
        assert_eq!((old.sources(), &old.task), (vec!["acme"], &Task::Plan));
        let later = Message::parse(r#"{"v":3,"errand":"fly"}"#).expect_err("it is not known");
        assert_eq!(later.to_string(), "a later release sent it (version 3, this one knows 2)");
    }

    #[test]
    fn a_piece_has_one_spelling() {
        assert_eq!("00003".parse(), Ok(PieceId::first(3)));
        assert_eq!(PieceId::first(3).rest().to_string(), "00003.1");
        for bad in ["", "3", "00003.0", "00003.01", "00003.", "-1", "00003.1.1"] {
            assert!(bad.parse::<PieceId>().is_err(), "{bad}");
        }
    }
}
