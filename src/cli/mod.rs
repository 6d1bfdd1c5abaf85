//! The command line: one file a command.

mod arrived;
mod audit;
mod check;
mod completions;
mod console;
mod demo;
mod exit;
mod expect;
mod find;
mod init;
mod init_destination;
mod init_refused;
mod init_text;
mod ledger;
mod ls;
mod plan;
mod progress;
mod reference;
mod run;
mod serve;
mod since;
mod state;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use crate::app::configured::Configured;
use crate::app::open::{self, OpenedConfig};
use crate::cli::exit::{NOTHING, UNUSABLE, WELL};
use crate::model::chain;
use crate::model::failure::Failure;
use crate::runtime::retry::{Policy, retry};
use crate::state::store::StateStore;
use crate::telemetry::lines::LineOut;
use crate::telemetry::{self, Console};

/// Brings files from FTP, FTPS and SFTP servers into Azure Blob Storage: whole, proven and on time.
#[derive(Debug, Parser)]
#[command(name = "blobferry", version, propagate_version = true)]
struct BlobferryArguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring over what is new, once.
    ///
    /// Exit status: 0 all well, 1 some files failed or the run is degraded,
    /// 2 unusable configuration, 3 nothing could be done.
    Run(run::RunArguments),
    /// Show what a run would do now, and change nothing.
    Plan(plan::PlanArguments),
    /// Try everything that a run needs, step by step, and say what to mend.
    ///
    /// Changes nothing but for small blobs below `_blobferry/` that it writes and removes, in a
    /// container that it creates if a run would. Exit status: 0 all well, 1 some sources failed, 2
    /// unusable configuration, 3 the destination or every source failed.
    Check(check::CheckArguments),
    /// List blobs in the container: size, modified time, checksum, name.
    Ls(ls::LsArguments),
    /// Find files by their names: which arrived, fail, wait or are gone, by which run.
    ///
    /// Asks the index of names that runs keep; where it does not reach, the manifests of runs,
    /// newest first. Exit status: 0 found, 1 nothing has this name, 2 unusable configuration, 3
    /// storage could not be read.
    Find {
        #[command(flatten)]
        configured: Configured,
        #[command(flatten)]
        words: find::FindWords,
    },
    /// Judge which expected files are here, late or missing (`[[source.expect]]`).
    ///
    /// Writes down what changed since the last judgement, and alerts of that once. Exit status: 0
    /// all are met or due, 1 some are late or missed (those of severity `warn` do not count), 2
    /// unusable configuration, 3 the state could not be read.
    Expect {
        #[command(flatten)]
        configured: Configured,
        #[command(flatten)]
        words: expect::ExpectWords,
    },
    /// Look at the record of what was ingested, or make it anew from the blobs.
    Ledger(ledger::LedgerArguments),
    /// Move our own state to another place.
    State(state::StateArguments),
    /// Check on live storage what the ledger, the manifests and the reports of runs claim. Changes
    /// nothing.
    ///
    /// Exit status: 0 all of it holds, 1 something does not, 2 unusable configuration, 3 storage
    /// could not be read.
    Audit(audit::AuditArguments),
    /// Try it without any cloud: embedded servers, generated files, two runs into a local folder.
    Demo(demo::DemoArguments),
    /// Write a commented configuration file, from flags or from a few questions.
    Init(init::InitArguments),
    /// Be the custom handler of an Azure Functions app; the host's default where no command is
    /// given.
    ///
    /// With `--status`: show the status page to a browser on this machine instead.
    Serve(serve::ServeArguments),
    /// Print the JSON Schema of the configuration file.
    Schema(reference::ReferenceArguments),
    /// Print completions for a shell, as for bash: `blobferry completions bash >
    /// /etc/bash_completion.d/blobferry`.
    Completions(completions::Completions),
    /// Print the manual page, or write a page for each command.
    Man(completions::Man),
}

/// How long what is under way on other threads may take once the command has ended.
const LAST_WORK: Duration = Duration::from_secs(2);

/// Runs the command that the process was called with. Returns its exit status. The runtime is here
/// and not in `main.rs`: where a future is first polled, all that it awaits is compiled once more.
pub fn main() -> u8 {
    let Ok(runtime) = tokio::runtime::Builder::new_multi_thread().enable_all().build() else {
        return NOTHING;
    };
    let code = runtime.block_on(command());
    // A thread that waits for a disk or a lock that never answers must not hold up the end.
    runtime.shutdown_timeout(LAST_WORK);
    code
}

async fn command() -> u8 {
    let arguments = match BlobferryArguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no errors: clap knows where each belongs.
            let code = if error.use_stderr() { UNUSABLE } else { WELL };
            return error.print().map_or(NOTHING, |()| code);
        }
    };
    let environment: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .collect();
    let command = match arguments.command {
        Some(command) => command,
        None if environment.contains_key(crate::handler::host::PORT) => {
            Command::Serve(serve::ServeArguments::none_given(&environment))
        }
        None => {
            console::say(&BlobferryArguments::command().render_help().to_string());
            return UNUSABLE;
        }
    };
    match command {
        Command::Run(arguments) => run::run(arguments, &environment).await,
        Command::Plan(arguments) => plan::plan(arguments, &environment).await,
        Command::Check(arguments) => check::check(arguments, &environment).await,
        Command::Ls(arguments) => ls::ls(arguments, &environment).await,
        Command::Find { configured, words } => look_for(&configured, words, &environment).await,
        Command::Expect { configured, words } => judge(&configured, &words, &environment).await,
        Command::Ledger(arguments) => ledger::ledger(arguments, &environment).await,
        Command::State(arguments) => state::state(arguments, &environment).await,
        Command::Audit(arguments) => audit::audit(arguments, &environment).await,
        Command::Demo(arguments) => demo::demo(arguments).await,
        Command::Serve(arguments) => serve::serve(arguments, &environment).await,
        Command::Init(arguments) => init::init(arguments),
        Command::Completions(arguments) => {
            completions::completions(&arguments, BlobferryArguments::command())
        }
        Command::Man(arguments) => completions::man(&arguments, BlobferryArguments::command()),
        Command::Schema(arguments) => reference::print(&arguments),
    }
}

/// Finds files by their names. Exit status 1: nothing has this name.
async fn look_for(
    configured: &Configured,
    words: find::FindWords,
    environment: &BTreeMap<String, String>,
) -> u8 {
    let OpenedConfig { config, store, redactor, .. } =
        match open::open(configured, environment).await {
            Ok(opened) => opened,
            Err(unusable) => return console::refuse(&unusable),
        };
    let state = StateStore::new(store, redactor.clone(), Policy::default());
    let sources = config.sources.into_iter().map(|source| source.name).collect();
    match find::find(&state, sources, words, &redactor).await {
        Ok((text, found)) => match console::data(&text) {
            WELL if !found => 1,
            told => told,
        },
        Err(error) => {
            let text = format!("error: {}\nhint: {}", chain(&error), error.hint());
            console::say(&redactor.text(&text));
            NOTHING
        }
    }
}

/// Judges what is expected. Exit status 1: something is late or missed.
async fn judge(
    configured: &Configured,
    words: &expect::ExpectWords,
    environment: &BTreeMap<String, String>,
) -> u8 {
    let OpenedConfig { config, store, redactor, .. } =
        match open::open(configured, environment).await {
            Ok(opened) => opened,
            Err(unusable) => return console::refuse(&unusable),
        };
    // Before the first run there may be no place for the state yet.
    if words.writes() && config.sources.iter().any(|source| !source.expectations.is_empty()) {
        let (policy, cancel) = (Policy::default(), CancellationToken::new());
        let prepared = retry(&policy, &cancel, "preparing the store", |_| store.prepare()).await;
        if let Err(error) = prepared {
            let text = format!("error: {}\nhint: {}", chain(&error), error.hint());
            console::say(&redactor.text(&text));
            return NOTHING;
        }
    }
    let mut log = config.log.clone();
    // How it will stand is told to nobody but who asks.
    if !words.writes() {
        log.files = Some(false);
    }
    let line_out = LineOut::new(|_, line| console::say(String::from_utf8_lossy(line).trim_end()));
    let telemetry = telemetry::start(&log, Console::Quiet, console::watched(), line_out, &redactor);
    telemetry.warnings.iter().for_each(|warning| console::say(warning));
    let state = StateStore::new(store, redactor.clone(), Policy::default());
    match expect::expect(&state, &config.sources, words, &redactor).await {
        Ok((text, is_unmet)) => match console::data(&text) {
            WELL if is_unmet => 1,
            told => told,
        },
        Err(error) => {
            let text = format!("error: {}\nhint: {}", chain(&error), error.class().hint());
            console::say(&redactor.text(&text));
            NOTHING
        }
    }
}
