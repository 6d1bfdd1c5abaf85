//! What became of one file: its life, its versions, and what to tell the sender. Pure.

use serde::Serialize;
use time::OffsetDateTime;

use super::chart::commas;
use super::moment::{in_utc, read};
use super::sentence::Sentence;
use crate::history::files_by_name::{Hit, NamesFound};
use crate::model::number_of;
use crate::report::{Word, in_bytes};

/// Something that happened to a file, or that was found of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FileEvent {
    /// When, or when the run began that tells of it.
    #[serde(with = "time::serde::rfc3339::option")]
    pub at: Option<OffsetDateTime>,
    /// What became of the file.
    pub outcome: Word,
    /// It in a sentence.
    pub title: String,
    /// More of it.
    pub details: Vec<Sentence>,
    /// The newest run that tells so.
    pub run: String,
    /// How many runs do.
    pub runs: u64,
    /// When the first of them began.
    #[serde(with = "time::serde::rfc3339::option")]
    pub since: Option<OffsetDateTime>,
}

/// A version of a file that was stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FileVersion {
    /// Its number, the oldest that is known being 1.
    pub number: usize,
    /// When it was stored, as its manifest tells.
    pub stored: Option<String>,
    /// The blob that holds it as it came.
    pub blob: Option<String>,
    /// Its MD5, if it is stored as it came.
    pub md5: Option<String>,
    /// Its size in bytes at the source.
    pub size: Option<u64>,
    /// Members, if it was unpacked.
    pub members: Option<u64>,
    /// The run that brought it.
    pub run: String,
}

/// The page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FileLife {
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub as_of: OffsetDateTime,
    /// The answer, in a sentence.
    pub answer: String,
    /// More of the answer.
    pub lead: Sentence,
    /// Its source.
    pub source: String,
    /// Its path there.
    pub path: String,
    /// What can be read out to the sender.
    pub for_the_sender: String,
    /// What happened to it, newest first.
    pub life: Vec<FileEvent>,
    /// Its versions, newest first.
    pub versions: Vec<FileVersion>,
    /// Whether all that is known of it is told.
    pub complete: bool,
}

impl FileLife {
    /// Of what is known of a file; `None` if nothing is.
    pub fn of(found: &NamesFound, now: OffsetDateTime) -> Option<Self> {
        let newest = found.hits.first()?;
        let versions = versions(&found.hits);
        Some(Self {
            as_of: now,
            answer: answer(newest, !versions.is_empty()),
            lead: lead(newest, versions.first()),
            source: newest.source.clone(),
            path: newest.path.clone(),
            for_the_sender: for_the_sender(newest, versions.first()),
            life: found.hits.iter().map(|hit| event(hit, &versions)).collect(),
            versions,
            complete: found.complete,
        })
    }
}

fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn answer(newest: &Hit, stored: bool) -> String {
    let file = name(&newest.path);
    match (newest.outcome, stored) {
        (Word::Ingested, _) => format!("{file} is here"),
        (Word::Failed, true) => format!("{file} is here, and what came after it fails"),
        (Word::Failed, false) => format!("{file} fails"),
        (Word::Deferred, true) => format!("{file} is here, and what came after it waits"),
        (Word::Deferred, false) => format!("{file} waits"),
        (Word::Gone, true) => format!("{file} is here, and gone from the source"),
        (Word::Gone, false) => format!("{file} is gone from the source, and did not arrive"),
        (Word::Skipped, true) => format!("{file} is here"),
        (Word::Skipped, false) => format!("{file} is left out"),
    }
}

fn lead(newest: &Hit, version: Option<&FileVersion>) -> Sentence {
    if let (Word::Ingested, Some(stored)) =
        (newest.outcome, version.and_then(|version| version.stored.as_deref()))
    {
        return and_time(Sentence::new("Its newest version arrived at "), stored).and(".");
    }
    let runs = number_of(newest.runs, "run");
    Sentence::new("Since ").known(newest.since).and(format!(", {runs}."))
}

/// `sentence` with a time behind, as manifests tell it; as it is, if it cannot be read.
fn and_time(sentence: Sentence, text: &str) -> Sentence {
    match read(text) {
        Some(at) => sentence.at(at),
        None => sentence.and(text),
    }
}

fn for_the_sender(newest: &Hit, version: Option<&FileVersion>) -> String {
    let path = &newest.path;
    let Some(version) = version else {
        let why = newest.message.as_ref().or(newest.reason.as_ref());
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        let since = newest.began.map_or_else(|| "unknown".to_owned(), in_utc);
        return match newest.outcome {
            Word::Gone => format!("We saw {path}, and did not receive it before it was removed."),
            Word::Skipped => format!("We do not take {path}{why}."),
            _ => format!("We see {path} and have not received it as of {since}{why}."),
        };
    };
    let mut facts = Vec::new();
    facts.extend(version.size.map(|size| match size {
        1 => "1 byte".to_owned(),
        size => format!("{} bytes", commas(size)),
    }));
    facts.extend(version.md5.as_ref().map(|md5| format!("MD5 {md5}")));
    facts.extend(
        version.members.map(|members| format!("unpacked into {}", number_of(members, "file"))),
    );
    let stored = version.stored.as_deref();
    let stored = stored.map(|stored| read(stored).map_or_else(|| stored.to_owned(), in_utc));
    facts.extend(stored.map(|stored| format!("complete since {stored}")));
    format!("We have {path}: {}.", facts.join(", "))
}

/// Its versions, newest first. A line of a later run about a version that is here is no new one.
fn versions(hits: &[Hit]) -> Vec<FileVersion> {
    let mut seen: Vec<Option<&String>> = Vec::new();
    let mut found: Vec<FileVersion> = Vec::new();
    for hit in hits.iter().rev().filter(|hit| hit.outcome == Word::Ingested) {
        if hit.version.is_some() && seen.contains(&hit.version.as_ref()) {
            continue;
        }
        seen.push(hit.version.as_ref());
        found.push(FileVersion {
            number: found.len() + 1,
            stored: hit.stored.clone(),
            blob: hit.blob.clone(),
            md5: hit.md5.clone(),
            size: hit.size,
            members: hit.members,
            run: hit.run.clone(),
        });
    }
    found.reverse();
    found
}

fn event(hit: &Hit, versions: &[FileVersion]) -> FileEvent {
    let number = versions.iter().find(|version| version.run == hit.run).map(|known| known.number);
    let reason = hit.reason.as_deref().unwrap_or("no reason is told").replace('_', " ");
    let title = match (hit.outcome, number) {
        (Word::Ingested, Some(number)) if versions.len() > 1 => format!("Version {number} arrived"),
        (Word::Ingested, _) => "It arrived".into(),
        (Word::Failed, _) => format!("It failed: {reason}"),
        (Word::Deferred, _) => format!("It waited: {reason}"),
        (Word::Gone, _) => "It was gone from the source".into(),
        (Word::Skipped, _) => format!("It was left out: {reason}"),
    };
    let mut details: Vec<Sentence> = Vec::new();
    details.extend(hit.message.clone().map(Sentence::new));
    details.extend(hit.size.map(in_bytes).map(Sentence::new));
    let modified = || Sentence::new("modified at the source ");
    details.extend(hit.modified.as_deref().map(|at| and_time(modified(), at)));
    let unpacked = |members| format!("unpacked, {}", number_of(members, "member"));
    details.extend(hit.members.map(unpacked).map(Sentence::new));
    let brought = |run: &String| format!("brought by run {run}, which died");
    details.extend(hit.recovered.as_ref().map(brought).map(Sentence::new));
    let stored = hit.stored.as_deref().and_then(read);
    FileEvent {
        at: stored.or(hit.began),
        outcome: hit.outcome,
        title,
        details,
        run: hit.run.clone(),
        runs: hit.runs,
        since: hit.since,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn hit(run: &str, outcome: Word, version: &str) -> Hit {
        let began = crate::history::run_id::began(run);
        Hit {
            source: "acme".into(),
            path: "/out/sales.csv".into(),
            outcome,
            reason: (outcome != Word::Ingested).then(|| "permission".to_owned()),
            message: None,
            size: Some(1_234),
            modified: None,
            md5: (outcome == Word::Ingested).then(|| "00ff".to_owned()),
            blob: (outcome == Word::Ingested).then(|| "acme/out/sales.csv".to_owned()),
            members: None,
            run: run.to_owned(),
            began,
            runs: 3,
            since_run: run.to_owned(),
            since: began,
            stored: (outcome == Word::Ingested).then(|| "2026-11-23T10:00:05Z".to_owned()),
            recovered: None,
            version: Some(version.to_owned()),
        }
    }

    fn life(hits: Vec<Hit>) -> FileLife {
        let found = NamesFound { hits, complete: true, ..NamesFound::default() };
        FileLife::of(&found, datetime!(2026-11-23 12:00 UTC)).expect("it was seen")
    }

    #[test]
    fn a_file_that_is_here_can_be_told_to_its_sender() {
        let told = life(vec![
            hit("20261123T110000Z-00000002", Word::Ingested, "b"),
            hit("20261123T100000Z-00000001", Word::Ingested, "a"),
            hit("20261123T090000Z-00000000", Word::Deferred, "a"),
        ]);
        assert_eq!(told.answer, "sales.csv is here");
        assert_eq!(told.versions.iter().map(|v| v.number).collect::<Vec<_>>(), [2, 1]);
        let titles: Vec<&str> = told.life.iter().map(|event| event.title.as_str()).collect();
        assert_eq!(titles, ["Version 2 arrived", "Version 1 arrived", "It waited: permission"]);
        assert_eq!(
            told.for_the_sender,
            "We have /out/sales.csv: 1,234 bytes, MD5 00ff, complete since 2026-11-23 10:00:05 UTC."
        );
    }

    #[test]
    fn a_file_that_fails_says_since_when_and_what_is_here_of_it() {
        let failed = || hit("20261123T110000Z-00000002", Word::Failed, "b");
        let told = life(vec![failed()]);
        assert_eq!(told.answer, "sales.csv fails");
        assert_eq!(told.lead.to_string(), "Since 2026-11-23 11:00:00 UTC, 3 runs.");
        assert!(told.for_the_sender.contains("have not received it"), "{}", told.for_the_sender);
        let before = hit("20261123T100000Z-00000001", Word::Ingested, "a");
        assert_eq!(
            life(vec![failed(), before]).answer,
            "sales.csv is here, and what came after it fails"
        );
        assert_eq!(FileLife::of(&NamesFound::default(), OffsetDateTime::UNIX_EPOCH), None);
    }
}
