//! `blobferry ls`.

use std::fmt::Write as _;
use std::sync::Arc;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::arrived::{self, ArrivedLine};
use super::console;
use super::exit::{NOTHING, WELL};
use super::since::since;
use crate::app::configured::Configured;
use crate::app::open::{self, OpenedConfig};
use crate::config::text::Environment;
use crate::history::run_id::began;
use crate::model::failure::Failure;
use crate::model::{chain, hex, printable};
use crate::report::in_bytes;
use crate::runtime::retry::{Policy, retry};
use crate::state::paths::is_state;
use crate::state::store::StateStore;
use crate::store::contract::{BlobInfo, Store, StoreError};

#[derive(Debug, clap::Args)]
pub(crate) struct LsArguments {
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
    let OpenedConfig { config, store, destinations, redactor } =
        match open::open(&arguments.configured, environment).await {
            Ok(opened) => opened,
            Err(unusable) => return console::refuse(&unusable),
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
    // The first one lists the state too, which is shared by all.
    let first = [(None, store.clone())].into_iter();
    let others = destinations.iter().map(|(name, store)| (Some(name), store.clone()));
    let named = &arguments.configured.sources;
    let is_asked = |place: &Option<&str>| {
        named.is_empty() || config.sources.iter().any(|one| one.destination.as_deref() == *place)
    };
    let mut listings = Vec::new();
    for (place, store) in first.chain(others).filter(|(place, _)| is_asked(place)) {
        match listed(&store, &arguments).await {
            Ok(mut blobs) => {
                blobs.retain(|blob| place.is_none() || !is_state(&blob.name));
                listings.push((store.address().to_owned(), blobs));
            }
            Err(error) => {
                let text = format!("error: {}\nhint: {}", chain(&error), error.hint());
                console::say(&redactor.text(&text));
                return NOTHING;
            }
        }
    }
    print_listings(&listings, &arguments)
}

/// The blobs of one destination that are asked for.
async fn listed(
    store: &Arc<dyn Store>,
    arguments: &LsArguments,
) -> Result<Vec<BlobInfo>, StoreError> {
    let once = |_| {
        let (store, prefix) = (store.clone(), arguments.prefix.clone());
        async move {
            let mut blobs = Vec::new();
            store.list(&prefix, &mut |blob| blobs.push(blob)).await.map(|()| blobs)
        }
    };
    let cancel = tokio_util::sync::CancellationToken::new();
    let mut blobs = retry(&Policy::default(), &cancel, "listing blobs", once).await?;
    blobs.retain(|blob| {
        let own = is_state(&blob.name) && !arguments.all && !arguments.prefix.starts_with('_');
        !own && is_of(&arguments.configured.sources, blob)
            && arguments
                .since
                .is_none_or(|since| modified(blob).is_none_or(|modified| modified >= since))
    });
    Ok(blobs)
}

/// Prints the blobs of each destination, which is named where there are several.
fn print_listings(listings: &[(String, Vec<BlobInfo>)], arguments: &LsArguments) -> u8 {
    let several = listings.len() > 1;
    if arguments.json {
        let lines = listings.iter().flat_map(|(store, blobs)| {
            blobs.iter().map(move |blob| json(blob, several.then_some(store.as_str())))
        });
        return console::data(&lines.collect::<String>());
    }
    for (store, blobs) in listings {
        // Standard output is data; what only people read goes beside it.
        if several {
            console::say(&format!("{store}:"));
        }
        if !blobs.is_empty() {
            console::say(&header());
        }
        let code = console::data(&blobs.iter().map(text).collect::<String>());
        console::say(&sum(blobs, &arguments.prefix));
        if code != WELL {
            return code;
        }
    }
    WELL
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
fn sum(blobs: &[BlobInfo], prefix: &str) -> String {
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

fn json(blob: &BlobInfo, store: Option<&str>) -> String {
    let mut value = serde_json::json!({
        "name": blob.name,
        "size": blob.size,
        "modified": blob.metadata.get("mtime"),
        "arrived": run_began(blob).and_then(|at| at.format(&Rfc3339).ok()),
        "md5": blob.md5.map(|md5| hex(&md5)),
        "content_type": blob.content_type,
        "metadata": blob.metadata,
    });
    if let Some(store) = store {
        value["store"] = store.into();
    }
    format!("{value}\n")
}
