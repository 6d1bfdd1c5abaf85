//! `blobferry ledger`.

use std::fmt::Write as _;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::console;
use super::exit::NOTHING;
use crate::app::configured::Configured;
use crate::app::open::{self, OpenedConfig};
use crate::config::text::Environment;
use crate::history::run_id::run_id;
use crate::ledger::error::LedgerError;
use crate::ledger::{self, Originals, Overview, Rebuilt};
use crate::model::chain;
use crate::model::failure::Failure;
use crate::model::number_of;
use crate::report::in_bytes;
use crate::runtime::retry::Policy;
use crate::store::contract::Store;
use crate::transfer::settings::{Archives, Source};

#[derive(Debug, clap::Args)]
pub(crate) struct LedgerArguments {
    #[command(subcommand)]
    action: LedgerAction,
}

#[derive(Debug, clap::Subcommand)]
enum LedgerAction {
    /// Say what the ledger of each source holds. Changes nothing.
    ///
    /// Exit status: 0 all can be read, 1 some cannot, 2 unusable configuration, 3 none can be read.
    Show(LedgerGiven),
    /// Replace the ledger of each source by what the blobs in the container say of themselves.
    ///
    /// For a ledger that is damaged or lost. What was removed from the container since is fetched
    /// again by the next run, if the source still has it. Exit status as of `show`.
    Rebuild(LedgerGiven),
}

#[derive(Debug, clap::Args)]
struct LedgerGiven {
    #[command(flatten)]
    configured: Configured,
    /// Print one JSON object for each source.
    #[arg(long)]
    json: bool,
}

pub async fn ledger(arguments: LedgerArguments, environment: &Environment) -> u8 {
    let (LedgerAction::Show(given) | LedgerAction::Rebuild(given)) = &arguments.action;
    let OpenedConfig { config, store, destinations, redactor } =
        match open::open(&given.configured, environment).await {
            Ok(opened) => opened,
            Err(unusable) => return console::refuse(&unusable),
        };
    let (mut text, mut failed) = (String::new(), 0);
    for source in &config.sources {
        let store = destinations.of(source.destination.as_deref(), &store);
        let done = match &arguments.action {
            LedgerAction::Show(_) => show(&store, source)
                .await
                .map(|overview| (of_overview(&overview), serde_json::json!(overview))),
            LedgerAction::Rebuild(_) => rebuild(&store, source)
                .await
                .map(|rebuilt| (of_rebuilt(&rebuilt), serde_json::json!(rebuilt))),
        };
        match done {
            Ok((_, mut value)) if given.json => {
                value["source"] = source.name.as_str().into();
                writeln!(text, "{}", redactor.json(value))
                    .expect("writing to a String does not fail");
            }
            Ok((line, _)) => writeln!(text, "{}: {line}", source.name)
                .expect("writing to a String does not fail"),
            Err(error) => {
                failed += 1;
                console::say(&redactor.text(&format!(
                    "error: {}\nhint: {}",
                    chain(&error),
                    error.hint()
                )));
            }
        }
    }
    match console::data(&redactor.text(&text)) {
        crate::cli::exit::WELL if failed == config.sources.len() => NOTHING,
        crate::cli::exit::WELL => u8::from(failed > 0),
        broken => broken,
    }
}

async fn show(store: &Arc<dyn Store>, source: &Source) -> Result<Overview, LedgerError> {
    ledger::overview(store.clone(), &source.name, Policy::default(), CancellationToken::new()).await
}

async fn rebuild(store: &Arc<dyn Store>, source: &Source) -> Result<Rebuilt, LedgerError> {
    let originals =
        if source.archives == Archives::Both { Originals::NeedManifest } else { Originals::Prove };
    let run = run_id(time::OffsetDateTime::now_utc());
    ledger::rebuild(
        store.clone(),
        &source.name,
        originals,
        &run,
        Policy::default(),
        CancellationToken::new(),
    )
    .await
}

fn of_overview(overview: &Overview) -> String {
    let Overview {
        files,
        in_snapshot,
        generation,
        shards,
        snapshot_bytes,
        journals,
        journal_lines,
        unclean,
        legacy,
    } = overview;
    let mut line = format!(
        "{} known; snapshot {generation} of {} in {}, {}; {} of {}",
        number_of(*files, "file"),
        number_of(*in_snapshot, "file"),
        number_of(*shards, "shard"),
        in_bytes(*snapshot_bytes),
        number_of(journals.len(), "journal"),
        number_of(*journal_lines, "line")
    );
    if *unclean {
        line += "; a run has not ended, or is under way";
    }
    if *legacy {
        line +=
            "; written by an earlier release, taken over by the next run that records something";
    }
    line
}

fn of_rebuilt(rebuilt: &Rebuilt) -> String {
    let Rebuilt { files, archives, left_out, blobs } = rebuilt;
    let mut line = format!(
        "{} known again, {archives} of them archives, from {}",
        number_of(*files, "file"),
        number_of(*blobs, "blob")
    );
    if *left_out > 0 {
        write!(
            line,
            "; {left_out} blobs prove nothing by themselves, so the next run looks for \
            what is there"
        )
        .expect("writing to a String does not fail");
    }
    line
}
