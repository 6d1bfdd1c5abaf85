//! `blobferry check`: step by step, what works and what does not, ending with what to mend.

use std::time::{Duration, Instant};

use super::open::{self, Opened};
use super::{Configured, NOTHING, WELL, console};
use crate::config::text::Environment;
use crate::failure::{Class, Failure};
use crate::model::{BlobName, Precision, RemoteFile, chain};
use crate::report::in_bytes;
use crate::run::settings::{After, Source, Versions};
use crate::source::contract::{Listed, Session, SourceError};
use crate::store::contract::{Store, StoreKind};
use crate::telemetry::redact::Redactor;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    configured: Configured,
}

/// How many entries of a listing are shown.
const SHOWN: usize = 5;
/// A file this far in the future tells of a clock that is wrong.
const FUTURE: Duration = Duration::from_secs(300);

pub async fn check(arguments: Arguments, environment: &Environment) -> u8 {
    let Opened { config, store, redactor } = match open::open(&arguments.configured, environment) {
        Ok(opened) => opened,
        Err(unusable) => return unusable.tell(),
    };
    let mut steps = Steps { redactor, failed: 0, done: 0 };
    steps.well(&format!("configuration `{}`: {} sources", arguments.configured.config.display(), config.sources.len()));
    destination(&mut steps, store.as_ref()).await;
    for source in &config.sources {
        check_source(&mut steps, source).await;
    }
    steps.result(config.sources.len())
}

/// What was found so far, line by line.
struct Steps {
    redactor: Redactor,
    failed: usize,
    done: usize,
}

impl Steps {
    fn line(&self, text: &str) {
        console::data(&(self.redactor.text(text) + "\n"));
    }

    fn well(&mut self, text: &str) {
        self.done += 1;
        self.line(&format!("ok    {text}"));
    }

    fn note(&self, text: &str) {
        self.line(&format!("note  {text}"));
    }

    fn failure(&mut self, error: &impl Failure) {
        self.failed += 1;
        self.line(&format!("FAIL  [{}] {}", error.class(), chain(error)));
        self.line(&format!("      hint: {}", error.class().hint()));
    }

    fn result(&self, sources: usize) -> u8 {
        match self.failed {
            0 => {
                self.line("all is well: `blobferry plan` shows what a run would do");
                WELL
            }
            failed if failed > sources => NOTHING,
            failed => {
                self.line(&format!("{failed} failed, see above"));
                1
            }
        }
    }
}

/// Asks for a blob that is not there: that needs the way, the credential and the right to read, and changes nothing.
async fn destination(steps: &mut Steps, store: &dyn Store) {
    let name = BlobName::new("_blobferry/check").expect("the name is our own");
    let started = Instant::now();
    match store.head(&name).await {
        Ok(_) => steps.well(&format!("destination {}: it answers, in {} ms", store.address(), started.elapsed().as_millis())),
        Err(error) if error.kind == StoreKind::NoContainer => {
            steps.note(&format!("destination {}: it is not there yet; the first run creates it unless `create_container = false`", store.address()));
        }
        Err(error) => steps.failure(&error),
    }
}

async fn check_source(steps: &mut Steps, source: &Source) {
    let started = Instant::now();
    let mut session = match source.endpoint.open().await {
        Ok(session) => session,
        Err(error) => return steps.failure(&error),
    };
    let address = source.endpoint.address();
    let name = &source.name;
    steps.well(&format!("{name}: connected and logged in at {address}, in {} ms", started.elapsed().as_millis()));
    match look(session.as_mut(), source).await {
        Ok(seen) => seen.tell(steps, source),
        Err(error) => steps.failure(&error),
    }
    warnings(steps, source);
    session.close().await;
}

/// What one listing shows of a server.
#[derive(Default)]
struct Seen {
    first: Vec<String>,
    files: u64,
    directories: u64,
    others: u64,
    unparsed: u64,
    foreign_names: u64,
    coarse: u64,
    newest: Option<time::OffsetDateTime>,
    some_file: Option<RemoteFile>,
}

async fn look(session: &mut dyn Session, source: &Source) -> Result<Seen, SourceError> {
    let mut seen = Seen::default();
    session.list(&source.root, &mut |listed| seen.take(listed)).await?;
    if let Some(file) = seen.some_file.take() {
        // A listing may be coarse where a single answer is exact.
        seen.coarse = match session.stat(&file.path).await? {
            Some(exact) if exact.modified.is_some_and(|modified| modified.precision <= Precision::Second) => 0,
            _ => seen.coarse,
        };
    }
    Ok(seen)
}

impl Seen {
    fn take(&mut self, listed: Listed) {
        let shown = match &listed {
            Listed::File(file) => format!("{} ({})", file.path, file.size.map_or("size unknown".into(), in_bytes)),
            Listed::Directory(path) => format!("{path}/"),
            Listed::Symlink(path) => format!("{path} (link, skipped)"),
            Listed::Special(path) => format!("{path} (special, skipped)"),
            Listed::Unreachable(path, why) => format!("{path} (cannot be asked for: {why})"),
            Listed::Unparsed(line) => format!("cannot be parsed: {line}"),
        };
        if self.first.len() < SHOWN {
            self.first.push(shown);
        }
        match listed {
            Listed::File(file) => {
                self.files += 1;
                self.foreign_names += u64::from(std::str::from_utf8(file.path.as_bytes()).is_err());
                self.coarse += u64::from(file.modified.is_none_or(|modified| modified.precision > Precision::Second));
                self.newest = self.newest.max(file.modified.map(|modified| modified.at));
                self.some_file.get_or_insert(file);
            }
            Listed::Directory(_) => self.directories += 1,
            Listed::Unparsed(_) => self.unparsed += 1,
            Listed::Symlink(_) | Listed::Special(_) | Listed::Unreachable(..) => self.others += 1,
        }
    }

    fn tell(&self, steps: &mut Steps, source: &Source) {
        let (name, root) = (&source.name, &source.root);
        steps.well(&format!("{name}: `{root}` holds {} files, {} folders, {} others", self.files, self.directories, self.others));
        for entry in &self.first {
            steps.line(&format!("        {entry}"));
        }
        if self.unparsed > 0 {
            steps.failed += 1;
            steps.line(&format!("FAIL  [{}] {name}: {} lines of the listing cannot be parsed", Class::ListingFailed, self.unparsed));
        }
        if self.foreign_names > 0 {
            steps.note(&format!("{name}: {} names are not UTF-8; their bytes are percent-escaped in blob names", self.foreign_names));
        }
        if self.coarse > 0 {
            steps.note(&format!(
                "{name}: the server tells modified times only to the minute or day, so a changed file of the same size may be missed"
            ));
        }
        let now = time::OffsetDateTime::now_utc();
        if let Some(newest) = self.newest.filter(|newest| *newest > now + FUTURE) {
            steps.note(&format!(
                "{name}: the newest file is dated {} minutes in the future: the server's clock or zone is wrong",
                (newest - now).whole_minutes()
            ));
        }
    }
}

fn warnings(steps: &Steps, source: &Source) {
    if source.versions == Versions::Overwrite {
        steps.note(&format!("{}: `versions = \"overwrite\"` replaces blobs; keep versions or soft deletion on in the container", source.name));
    }
    if source.after != After::Keep {
        steps.note(&format!("{}: files are removed from the server once they are stored (`after`)", source.name));
    }
}
