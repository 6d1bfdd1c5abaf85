//! `blobferry ls`.

use std::fmt::Write as _;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::arrived::{self, ArrivedLine};
use super::configured::Configured;
use super::console;
use super::exit::NOTHING;
use super::open::{self, OpenedConfig};
use super::since::since;
use crate::config::text::Environment;
use crate::history::run_id::began;
use crate::model::failure::Failure;
use crate::model::{chain, hex, printable};
use crate::report::in_bytes;
use crate::runtime::retry::{Policy, retry};
use crate::state::paths::is_state;
use crate::state::store::StateStore;
use crate::store::contract::BlobInfo;

#[derive(Debug, clap::Args)]
pub struct LsArguments {
    #[command(flatten)]
    configured: Configured,
    /// Only blobs whose names begin so.
    #[arg(default_value = "")]
    prefix: String,
    /// Also our own state below `_blobferry/`.
    #[arg(long)]
    all: bool,
    /// One JSON object a line, with metadata.
    #[arg(long)]
    json: bool,
    /// Only blobs of files that were modified at their source since then: 2026-11-01,
    /// 2026-11-01T06:00:00Z, or 12h or 7d ago.
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<OffsetDateTime>,
    /// Files that were stored since then, in the same words, as manifests tell: what arrived.
    #[arg(long, value_name = "TIME", value_parser = since)]
    arrived: Option<OffsetDateTime>,
}

pub async fn ls(arguments: LsArguments, environment: &Environment) -> u8 {
    let OpenedConfig { config, store, redactor } =
        match open::open(&arguments.configured, environment) {
            Ok(opened) => opened,
            Err(unusable) => return unusable.tell(),
        };
    if let Some(since) = arguments.arrived {
        let state = StateStore::new(store, redactor.clone(), Policy::default());
        let sources: Vec<String> = config.sources.into_iter().map(|source| source.name).collect();
        return match arrived::files(&state, &sources, since).await {
            Ok(mut files) => {
                files.retain(|file| file.begins(&arguments.prefix));
                print_arrived(&files, arguments.json)
            }
            Err(error) => {
                let text = format!("error: {}\nhint: {}", chain(&error), error.class().hint());
                console::say(&redactor.text(&text));
                NOTHING
            }
        };
    }
    let once = |_| {
        let (store, prefix) = (store.clone(), arguments.prefix.clone());
        async move {
            let mut blobs = Vec::new();
            store.list(&prefix, &mut |blob| blobs.push(blob)).await.map(|()| blobs)
        }
    };
    let cancel = tokio_util::sync::CancellationToken::new();
    let blobs = match retry(&Policy::default(), &cancel, "listing blobs", once).await {
        Ok(blobs) => blobs,
        Err(error) => {
            console::say(&redactor.text(&format!(
                "error: {}\nhint: {}",
                chain(&error),
                error.hint()
            )));
            return NOTHING;
        }
    };
    let wanted = |blob: &&BlobInfo| {
        let own = is_state(&blob.name) && !arguments.all && !arguments.prefix.starts_with('_');
        !own && is_of(&arguments.configured.sources, blob)
            && arguments
                .since
                .is_none_or(|since| modified(blob).is_none_or(|modified| modified >= since))
    };
    let wanted: Vec<&BlobInfo> = blobs.iter().filter(wanted).collect();
    if arguments.json {
        return console::data(&wanted.into_iter().map(json).collect::<String>());
    }
    // Standard output is data; what only people read goes beside it.
    if !wanted.is_empty() {
        console::say(&header());
    }
    let code = console::data(&wanted.iter().map(|blob| text(blob)).collect::<String>());
    console::say(&sum(&wanted, &arguments.prefix));
    code
}

/// Prints files that arrived, and how many files and bytes they are.
fn print_arrived(files: &[ArrivedLine], as_json: bool) -> u8 {
    if as_json {
        return console::data(&arrived::json(files));
    }
    if !files.is_empty() {
        console::say(&arrived::header());
    }
    let code = console::data(&arrived::text(files));
    console::say(&arrived::sum(files));
    code
}

fn header() -> String {
    let (size, modified, arrived) = ("BYTES", "MODIFIED", "RUN OF");
    format!("{size:>14} {modified:30} {arrived:20} {:32} NAME", "MD5")
}

/// How many blobs and bytes these are.
fn sum(blobs: &[&BlobInfo], prefix: &str) -> String {
    let bytes: u64 = blobs.iter().map(|blob| blob.size).sum();
    let shown = printable(prefix.as_bytes());
    match blobs.len() {
        0 if prefix.is_empty() => "no blob".to_owned(),
        0 => format!("no blob whose name begins with `{shown}`"),
        1 => format!("1 blob, {}", in_bytes(bytes)),
        count => format!("{count} blobs, {}", in_bytes(bytes)),
    }
}

/// Whether a blob is of one of `sources`, by its metadata: layouts may put it anywhere. None named:
/// each is.
fn is_of(sources: &[String], blob: &BlobInfo) -> bool {
    let source = || blob.metadata.get("source");
    sources.is_empty() || source().is_some_and(|source| sources.contains(source))
}

/// When the run began that wrote a blob, as its metadata tells.
fn run_began(blob: &BlobInfo) -> Option<OffsetDateTime> {
    began(blob.metadata.get("run")?)
}

/// When the file of a blob was modified, as its metadata tells. A blob of which nobody knows is
/// shown rather than hidden.
fn modified(blob: &BlobInfo) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(blob.metadata.get("mtime")?, &Rfc3339).ok()
}

fn text(blob: &BlobInfo) -> String {
    let md5 = blob.md5.map_or_else(|| "-".repeat(32), |md5| hex(&md5));
    let mtime = blob.metadata.get("mtime").map_or("-", String::as_str);
    let mut line = String::new();
    let arrived = run_began(blob).and_then(|at| at.format(&Rfc3339).ok()).unwrap_or("-".into());
    let (size, name) = (blob.size, printable(blob.name.as_bytes()));
    writeln!(line, "{size:>14} {mtime:30} {arrived:20} {md5} {name}")
        .expect("writing to a String does not fail");
    line
}

fn json(blob: &BlobInfo) -> String {
    let value = serde_json::json!({
        "name": blob.name,
        "size": blob.size,
        "modified": blob.metadata.get("mtime"),
        "arrived": run_began(blob).and_then(|at| at.format(&Rfc3339).ok()),
        "md5": blob.md5.map(|md5| hex(&md5)),
        "content_type": blob.content_type,
        "metadata": blob.metadata,
    });
    format!("{value}\n")
}
