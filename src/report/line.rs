//! One file of a pass as a line of the run's manifest: what became of it, and what can be
//! re-checked.

use crate::report::proof::{ArchiveClaim, BlobClaim};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::model::redactor::Redactor;
use crate::model::{Precision, RemoteFile, Version, hex};
use crate::report::outcome::{DEFERS_WITH_LINES, Outcome, SKIPS_WITH_LINES};
use crate::rules::naming::escaped_for_metadata;
use crate::rules::plan::Why;

/// What became of a file that has a line: see [`Outcome::has_line`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// It is in the store and in the ledger.
    Ingested,
    /// It was left alone.
    Skipped,
    /// A fresh listing of its folder does not show it any more.
    Gone,
    /// It is taken by a later run.
    Deferred,
    /// It could not be brought over.
    Failed,
}

/// A line of a run's manifest: a JSON object. What does not apply is left out; readers pass over
/// what they do not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The file's path, percent-escaped as in the metadata of blobs: decoding gives the server's
    /// bytes.
    pub path: String,
    /// What became of it.
    pub outcome: Word,
    /// Why it was to be fetched: `new`, `changed`, `again`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Why it was skipped or deferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The class of its failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// What failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Its size in bytes at the source, if that told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When it was last modified, RFC 3339, if the source told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<String>,
    /// How exactly that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// The version that size and time make, 32 hex digits: what blobs and the ledger call it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Bytes that were read from the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The blob that holds it as it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<BlobClaim>,
    /// The archive that it was unpacked as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveClaim>,
    /// When its commit was confirmed, by the store's clock: RFC 3339, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<String>,
    /// The run that brought it over and died before it could say so; this line's run only says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<String>,
}

/// A moment to the second.
fn rfc3339(at: OffsetDateTime) -> Option<String> {
    at.to_offset(time::UtcOffset::UTC).replace_nanosecond(0).ok()?.format(&Rfc3339).ok()
}

impl Line {
    /// The line of `file`, which came to `outcome`; `why` it was to be fetched, if it was. `None`
    /// if it has no line.
    pub fn of(file: &RemoteFile, why: Option<Why>, outcome: &Outcome) -> Option<Self> {
        if !outcome.has_line() {
            return None;
        }
        let mut line = match outcome {
            Outcome::Unchanged => return None,
            Outcome::Ingested(_) => Self::about(file, Word::Ingested),
            Outcome::Skipped(skip) => {
                Self { reason: Some(skip.word().to_owned()), ..Self::about(file, Word::Skipped) }
            }
            Outcome::Gone => Self::about(file, Word::Gone),
            Outcome::Deferred(defer) => {
                Self { reason: Some(defer.word().to_owned()), ..Self::about(file, Word::Deferred) }
            }
            Outcome::Failed(problem) => Self {
                class: Some(problem.class.word().to_owned()),
                message: Some(problem.message.clone()),
                ..Self::about(file, Word::Failed)
            },
        };
        line.why = why.map(|why| why.word().to_owned());
        if let Outcome::Ingested(ingested) = outcome {
            let proof = &ingested.proof;
            if let Some((taken, version)) = &proof.taken {
                line.describe(taken, Some(*version));
            }
            line.bytes = Some(ingested.bytes);
            line.stored = proof.stored.and_then(rfc3339);
            line.blob = proof.blob.as_ref().map(|(name, size, md5)| BlobClaim {
                name: name.as_str().to_owned(),
                size: *size,
                md5: md5.as_ref().map(|md5| hex(md5)),
            });
            let manifest = proof.archive.as_ref();
            line.archive = manifest.map(|manifest| ArchiveClaim {
                members: ingested.members.unwrap_or(0),
                manifest: manifest.as_str().to_owned(),
            });
        }
        Some(line)
    }

    fn about(file: &RemoteFile, outcome: Word) -> Self {
        let mut line = Self {
            path: escaped_for_metadata(file.path.as_bytes()),
            outcome,
            why: None,
            reason: None,
            class: None,
            message: None,
            size: None,
            modified: None,
            precision: None,
            version: None,
            bytes: None,
            blob: None,
            archive: None,
            stored: None,
            recovered: None,
        };
        // Of what is known by its path alone, as a link, nobody can say which version it is.
        let version = (file.size.is_some() || file.modified.is_some()).then(|| Version::of(file));
        line.describe(file, version);
        line
    }

    fn describe(&mut self, file: &RemoteFile, version: Option<Version>) {
        self.size = file.size;
        self.modified = file.modified.and_then(|modified| modified.at.format(&Rfc3339).ok());
        self.precision = file.modified.map(|modified| modified.precision);
        self.version = version.map(|version| version.to_string());
    }

    /// The same without secrets in names and texts that came from outside.
    #[must_use]
    pub(crate) fn redacted(mut self, redactor: &Redactor) -> Self {
        self.path = redactor.name(&self.path);
        self.message = self.message.map(|text| redactor.text(&text));
        self.blob = self.blob.map(|blob| BlobClaim { name: redactor.name(&blob.name), ..blob });
        self
    }

    /// Whether a manifest has such a line. Release 0.1 wrote lines for all that it left out or had
    /// wait.
    pub(crate) fn is_told(&self) -> bool {
        let reason = self.reason.as_deref().unwrap_or_default();
        match self.outcome {
            Word::Ingested | Word::Gone | Word::Failed => true,
            Word::Skipped => SKIPS_WITH_LINES.contains(&reason),
            Word::Deferred => DEFERS_WITH_LINES.iter().any(|defer| defer.word() == reason),
        }
    }

    /// As it stands in a manifest, with its end.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("a line holds nothing that JSON cannot");
        bytes.push(b'\n');
        bytes
    }

    /// Reads what [`Line::to_bytes`] wrote, with or without its end.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BlobName;
    use crate::model::failure::Class;
    use crate::model::{ModifiedTime, RemotePath, Secret};
    use crate::report::outcome::{Defer, Ingested, Problem};
    use crate::report::proof::Proof;
    use crate::rules::plan::Skip;
    use expect_test::expect;

    fn file() -> RemoteFile {
        RemoteFile {
            path: RemotePath::new(&b"/in/caf\xe9 1%.csv"[..]),
            size: Some(3),
            modified: ModifiedTime::from_unix(1_704_067_200),
        }
    }

    /// `{file}` in what is expected stands for the facts of the listing.
    fn check(why: Option<Why>, outcome: &Outcome, expected: &str) {
        let facts = r#""size":3,"modified":"2024-01-01T00:00:00Z","precision":"second","#;
        let version = r#""version":"47229c09b79bf7b9ec4b257484aef024""#;
        let line = Line::of(&file(), why, outcome).expect("it has a line");
        let told = String::from_utf8(line.to_bytes()).expect("JSON is text");
        let expected = expected.replace("{file}", &format!("{facts}{version}"));
        assert_eq!(told.trim_end(), format!(r#"{{"path":"/in/caf%E9%201%25.csv",{expected}}}"#));
        assert!(line.is_told());
        assert_eq!(Line::parse(&line.to_bytes()).ok(), Some(line));
    }

    #[test]
    fn a_line_tells_what_can_be_re_checked() {
        let blob = (BlobName::new("acme/in/caf%E9 1%25.csv").expect("legal"), 3, Some([0xab; 16]));
        let proof = Proof {
            taken: Some((file(), Version::of(&file()))),
            blob: Some(blob),
            archive: None,
            stored: OffsetDateTime::from_unix_timestamp(1_704_070_800).ok(),
        };
        let plain = Ingested { bytes: 3, stored: 1, proof: Box::new(proof), ..Ingested::default() };
        check(
            Some(Why::New),
            &Outcome::Ingested(plain),
            concat!(
                r#""outcome":"ingested","why":"new",{file},"bytes":3,"#,
                r#""blob":{"name":"acme/in/caf%E9 1%25.csv","size":3,"#,
                r#""md5":"abababababababababababababababab"},"stored":"2024-01-01T01:00:00Z""#
            ),
        );
        let proof = Proof {
            archive: BlobName::new("_blobferry/acme/archives/00.json").ok(),
            ..Proof::default()
        };
        let archive =
            Ingested { bytes: 9, members: Some(4), proof: Box::new(proof), ..Ingested::default() };
        check(
            Some(Why::Changed),
            &Outcome::Ingested(archive),
            concat!(
                r#""outcome":"ingested","why":"changed",{file},"bytes":9,"archive":{"members":4,"#,
                r#""manifest":"_blobferry/acme/archives/00.json"}"#
            ),
        );
    }

    #[test]
    fn a_line_tells_why_a_file_did_not_arrive() {
        let failed = Outcome::Failed(Problem::new(Class::Permission, "reading `/in/x`: no"));
        check(
            Some(Why::Again),
            &failed,
            concat!(
                r#""outcome":"failed","why":"again","class":"permission","#,
                r#""message":"reading `/in/x`: no",{file}"#
            ),
        );
        check(
            None,
            &Outcome::Deferred(Defer::Unsettled),
            r#""outcome":"deferred","reason":"unsettled",{file}"#,
        );
        let link = RemoteFile { size: None, modified: None, ..file() };
        let line = Line::of(&link, None, &Outcome::Gone).expect("it has a line");
        expect![[r#"{"path":"/in/caf%E9%201%25.csv","outcome":"gone"}"#]]
            .assert_eq(std::str::from_utf8(&line.to_bytes()).expect("JSON is text").trim_end());
    }

    #[test]
    fn what_is_unchanged_left_out_or_waiting_has_no_line() {
        assert_eq!(Line::of(&file(), None, &Outcome::Unchanged), None);
        for told_by_number in [
            Outcome::Skipped(Skip::Excluded),
            Outcome::Skipped(Skip::Symlink),
            Outcome::Skipped(Skip::NoMarker),
            Outcome::Deferred(Defer::TooMany),
            Outcome::Deferred(Defer::Interrupted),
        ] {
            assert_eq!(Line::of(&file(), None, &told_by_number), None);
        }
    }

    #[test]
    fn secrets_are_taken_out_of_texts_and_nothing_else_is_touched() {
        let failed = Outcome::Failed(Problem::new(Class::Auth, "a canary sang"));
        let line = Line::of(&file(), None, &failed).expect("it has a line");
        let clean = line.clone().redacted(&Redactor::new([&Secret::new("canary")]));
        assert_eq!(clean, Line { message: Some("a *** sang".into()), ..line });
    }
}
