//! The names of all blobs of our own state. Nothing else spells them.
//!
//! ```text
//! _blobferry/state.json                       where the state is, if it is not here: see `apart`
//! _blobferry/place.json                       there: which destination it belongs to
//! _blobferry/moving.json                      there, until all of it has come: where it comes from
//! _blobferry/_runs/<date>/<run>.json          the record of a run: every source that it looked at
//! _blobferry/_runs/sources.json               when each source was looked at last: a cache
//! _blobferry/_names/<run>….tsv                names of files, sorted: a cache over the manifests
//! _blobferry/<source>/runs/<date>/<run>.json  the report of a pass; .jsonl: its manifest
//! _blobferry/<source>/ledger/…                head, index, shards, journals: see `ledger`
//! _blobferry/<source>/archives/<version>.json the manifest of an archive
//! _blobferry/<source>/quarantine/<version>    the original of an archive that cannot be unpacked
//! _blobferry/<source>/refused/<version>       the limit that refused it
//! _blobferry/<source>/expect/<name>/<deadline>.<state>.json  what a window came to
//! _blobferry/<source>/expect/open.json        how expectations stand: a cache over manifests
//! _blobferry/<source>/work/<pass>/…           a pass in pieces: see `jobs`
//! _blobferry/<source>/slots/<n>               one lease for each login
//! _blobferry/<source>/lock                    the lease of the source
//! ```

use time::{Date, OffsetDateTime};

use crate::model::{BlobName, IllegalName, Version};

/// What names of our own state begin with. Names of sources never begin with `_`.
pub const ROOT: &str = "_blobferry/";
/// What names of the probes of `check` begin with.
pub(crate) const PROBES: &str = "_blobferry/_check/";
/// What names of records of runs begin with.
pub(crate) const RUNS: &str = "_blobferry/_runs/";

/// What segments of the index of names begin with.
pub const NAMES: &str = "_blobferry/_names/";

/// Whether a blob of this name is our own state.
pub(crate) fn is_state(name: &str) -> bool {
    name.starts_with(ROOT)
}

fn legal(name: String) -> BlobName {
    BlobName::new(name).expect("names of sources, runs and passes are legal segments")
}

/// A day as folders are named by it: `20261123`.
pub fn day(date: Date) -> String {
    format!("{:04}{:02}{:02}", date.year(), u8::from(date.month()), date.day())
}

/// A moment as ids of runs begin with it: `20261123T100000Z`. Equally long for each, ordered like
/// time.
pub fn stamp(at: OffsetDateTime) -> String {
    format!("{}T{:02}{:02}{:02}Z", day(at.date()), at.hour(), at.minute(), at.second())
}

/// The record of the run `id`; `None` if that is no id of a run.
pub(crate) fn run_record(id: &str) -> Option<BlobName> {
    is_run_id(id).then(|| legal(format!("{RUNS}{}/{id}.json", &id[..8])))
}

/// Whether `id` is an id of a run: a moment and eight hexadecimal digits.
pub(crate) fn is_run_id(id: &str) -> bool {
    const PATTERN: &[u8] = b"00000000T000000Z-hhhhhhhh";
    let fits = |(byte, pattern): (u8, &u8)| match pattern {
        b'0' => byte.is_ascii_digit(),
        b'h' => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        other => byte == *other,
    };
    id.len() == PATTERN.len() && id.bytes().zip(PATTERN).all(fits)
}

/// The run that `name` is the record of.
pub fn run_of_record(name: &str) -> Option<&str> {
    let (_, file) = name.strip_prefix(RUNS)?.split_once('/')?;
    file.strip_suffix(".json").filter(|id| is_run_id(id))
}

/// A segment of the index of names.
pub fn names(segment: &str) -> BlobName {
    legal(format!("{NAMES}{segment}.tsv"))
}

/// What names of records of a day begin with.
pub(crate) fn runs_of_day(date: Date) -> String {
    format!("{RUNS}{}/", day(date))
}

/// In a place of its own for the state: which destination it belongs to.
pub fn place() -> BlobName {
    legal(format!("{ROOT}place.json"))
}

/// Where the state of a destination is that holds none itself.
pub(crate) fn pointer() -> BlobName {
    legal(format!("{ROOT}state.json"))
}

/// In a place that the state is moving to: where it comes from.
pub(crate) fn move_mark() -> BlobName {
    legal(format!("{ROOT}moving.json"))
}

/// When each source was looked at last.
pub fn sources() -> BlobName {
    legal(format!("{RUNS}sources.json"))
}

/// The names of the state of one source.
#[derive(Clone, Copy, Debug)]
pub struct StatePaths<'a> {
    source: &'a str,
}

impl<'a> StatePaths<'a> {
    /// Of the source of this name, which is a legal segment.
    pub fn of(source: &'a str) -> Self {
        Self { source }
    }

    fn below(self, rest: &str) -> BlobName {
        legal(format!("{ROOT}{}/{rest}", self.source))
    }

    /// What all of them begin with.
    pub fn folder(self) -> String {
        format!("{ROOT}{}/", self.source)
    }

    /// What names of the ledger begin with.
    pub(crate) fn ledger_folder(self) -> String {
        format!("{ROOT}{}/ledger/", self.source)
    }

    /// A blob of the ledger. Its name may come from a head, so it may be no name.
    pub(crate) fn ledger(self, name: &str) -> Result<BlobName, IllegalName> {
        BlobName::new(format!("{}{name}", self.ledger_folder()))
    }

    /// Journal `number` of the release before 0.1.
    pub fn legacy_journal(self, number: usize) -> BlobName {
        self.below(&format!("journal-{number:05}.ndjson"))
    }

    /// The lease of the source.
    pub fn lock(self) -> BlobName {
        self.below("lock")
    }

    /// The last refused login, as release 0.1 kept it.
    pub fn auth(self) -> BlobName {
        self.below("auth")
    }

    /// Who was asked to go over the source last, as release 0.1 kept it.
    pub fn asked(self) -> BlobName {
        self.below("asked")
    }

    /// What names of reports and manifests begin with.
    pub(crate) fn runs_folder(self) -> String {
        format!("{ROOT}{}/runs/", self.source)
    }

    /// What names of reports and manifests of a day begin with.
    pub(crate) fn runs_of_day(self, date: Date) -> String {
        format!("{}{}/", self.runs_folder(), day(date))
    }

    /// The report of the run `run`.
    pub fn report(self, run: &str) -> BlobName {
        self.beside_report(run, "json")
    }

    /// The manifest of the run `run`.
    pub fn manifest(self, run: &str) -> BlobName {
        self.beside_report(run, "jsonl")
    }

    fn beside_report(self, run: &str, extension: &str) -> BlobName {
        // Ids begin with the date.
        let date: String = run.chars().take(8).collect();
        self.below(&format!("runs/{date}/{run}.{extension}"))
    }

    /// What names of manifests of archives begin with.
    pub(crate) fn archives_folder(self) -> String {
        format!("{ROOT}{}/archives/", self.source)
    }

    /// The manifest of this version of an archive.
    pub fn archive(self, version: Version) -> BlobName {
        self.below(&format!("archives/{version}.json"))
    }

    /// What names of originals in quarantine begin with.
    pub(crate) fn quarantine_folder(self) -> String {
        format!("{ROOT}{}/quarantine/", self.source)
    }

    /// The original of this version of an archive.
    pub fn quarantined(self, version: Version) -> BlobName {
        self.below(&format!("quarantine/{version}"))
    }

    /// What names of archives that were refused by a limit begin with.
    pub(crate) fn refused_folder(self) -> String {
        format!("{ROOT}{}/refused/", self.source)
    }

    /// Why this version of an archive was refused by a limit.
    pub fn refused(self, version: Version) -> BlobName {
        self.below(&format!("refused/{version}"))
    }

    /// What names of all passes in pieces begin with.
    pub(crate) fn passes_folder(self) -> String {
        format!("{ROOT}{}/work/", self.source)
    }

    /// How the expectations of the source stand, and which manifests were counted: a cache.
    pub(crate) fn open_expectations(self) -> BlobName {
        self.below("expect/open.json")
    }

    /// That a window of the expectation `name` came to `state`. `deadline` is its [`stamp`].
    pub(crate) fn expectation(self, name: &str, deadline: &str, state: &str) -> BlobName {
        self.below(&format!("expect/{name}/{deadline}.{state}.json"))
    }

    /// The lease of one login.
    pub fn slot(self, number: usize) -> BlobName {
        self.below(&format!("slots/{number:02}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn names_are_those_of_release_0_1() {
        let paths = StatePaths::of("acme");
        let run = "20261123T100000Z-0a1b2c3d";
        let version = Version::from_hex("47229c09b79bf7b9ec4b257484aef024").expect("a version");
        for (name, expected) in [
            (paths.lock(), "_blobferry/acme/lock"),
            (paths.report(run), "_blobferry/acme/runs/20261123/20261123T100000Z-0a1b2c3d.json"),
            (paths.manifest(run), "_blobferry/acme/runs/20261123/20261123T100000Z-0a1b2c3d.jsonl"),
            (
                paths.archive(version),
                "_blobferry/acme/archives/47229c09b79bf7b9ec4b257484aef024.json",
            ),
            (
                paths.quarantined(version),
                "_blobferry/acme/quarantine/47229c09b79bf7b9ec4b257484aef024",
            ),
            (paths.refused(version), "_blobferry/acme/refused/47229c09b79bf7b9ec4b257484aef024"),
            (paths.legacy_journal(7), "_blobferry/acme/journal-00007.ndjson"),
            (paths.slot(3), "_blobferry/acme/slots/03"),
            (paths.ledger("head.json").expect("a name"), "_blobferry/acme/ledger/head.json"),
            (
                run_record(run).expect("an id"),
                "_blobferry/_runs/20261123/20261123T100000Z-0a1b2c3d.json",
            ),
        ] {
            assert_eq!(name.as_str(), expected);
            assert!(is_state(name.as_str()));
        }
    }

    #[test]
    fn only_ids_of_runs_have_records() {
        let id = "20261123T100000Z-0a1b2c3d";
        assert_eq!(run_of_record(run_record(id).expect("an id").as_str()), Some(id));
        assert!(id.starts_with(&stamp(datetime!(2026-11-23 10:00 UTC))));
        assert_eq!(
            runs_of_day(datetime!(2026-11-23 10:00 UTC).date()),
            "_blobferry/_runs/20261123/"
        );
        for bad in [
            "",
            "..",
            "20261123T100000Z-ABCDEF01",
            "20261123T100000Z-abcdef0",
            "20261123T100000Z/abcdef01",
            "20261123T100000Z-abcdef0é",
        ] {
            assert_eq!(run_record(bad), None, "{bad}");
        }
        assert_eq!(run_of_record("_blobferry/_runs/sources.json"), None);
        assert_eq!(run_of_record("_blobferry/_runs/20261123/notes.txt"), None);
    }
}
