//! `blobferry state`: our own state, as a whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::console;
use super::exit::NOTHING;
use crate::app::configured::{CONFIG, Configured};
use crate::app::open;
use crate::app::secrets;
use crate::app::stores;
use crate::app::unusable::Unusable;
use crate::config::Config;
use crate::config::text::Environment;
use crate::model::chain;
use crate::model::failure::Failure;
use crate::model::number_of;
use crate::model::redactor::Redactor;
use crate::report::in_bytes;
use crate::run::state_move::{MoveError, StateMove, StateMoved};

#[derive(Debug, clap::Args)]
pub(crate) struct StateArguments {
    #[command(subcommand)]
    action: StateAction,
}

#[derive(Debug, clap::Subcommand)]
enum StateAction {
    /// Move the state to where the configuration has it: to `[state]`, or back among the blobs.
    ///
    /// Nothing may run meanwhile, which is made sure of. It may be stopped at any moment and called
    /// again. Exit status: 0 it is there, 2 unusable configuration, 3 it is not, or not all of it.
    Move(MoveWords),
}

#[derive(Debug, clap::Args)]
struct MoveWords {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "BLOBFERRY_CONFIG", default_value = CONFIG)]
    config: PathBuf,
    /// The configuration that the state was written under. Default: the same one without `[state]`.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

pub async fn state(arguments: StateArguments, environment: &Environment) -> u8 {
    let StateAction::Move(words) = arguments.action;
    let (relocation, redactors) = match relocation(&words, environment).await {
        Ok(found) => found,
        Err(unusable) => return console::refuse(&unusable),
    };
    let safe = |text: String| redactors.iter().fold(text, |text, redactor| redactor.text(&text));
    let (from, to) = (relocation.from.address().to_owned(), relocation.to.address().to_owned());
    match relocation.run().await {
        Ok(moved) => console::data(&safe(told(&moved, &from, &to))),
        Err(error) => {
            let mut text = format!("error: {}", chain(&error));
            if let MoveError::Store(error) = &error {
                text += &format!("\nhint: {}", error.hint());
            }
            console::say(&safe(text));
            NOTHING
        }
    }
}

fn told(moved: &StateMoved, from: &str, to: &str) -> String {
    if moved.was_there {
        return format!("the state is in {to} already\n");
    }
    let StateMoved { sources, blobs, bytes, .. } = moved;
    format!(
        "the state of {} is in {to} now: {}, {}\nwhat is left of it \
        below `_blobferry/` in {from} is not read any more\n",
        number_of(*sources, "source"),
        number_of(*blobs, "blob"),
        in_bytes(*bytes)
    )
}

/// What is to be moved, as both configurations tell.
async fn relocation(
    words: &MoveWords,
    environment: &Environment,
) -> Result<(StateMove, Vec<Redactor>), Unusable> {
    let config = read(&words.config, environment).await?;
    let old = match &words.from {
        Some(from) => Some(read(from, environment).await?),
        None => None,
    };
    let before = match (&old, &config.state) {
        (Some(old), _) => old.state.as_ref().unwrap_or(&old.destination),
        (None, Some(_)) => &config.destination,
        (None, None) => {
            return Err(Unusable(
                "this configuration has no `[state]`, so the state goes among the blobs; where it \
                is now is not said\nhint: `--from FILE` names the configuration with the \
                `[state]` that it is in"
                    .to_owned(),
            ));
        }
    };
    if old.as_ref().is_some_and(|old| !old.destination.meets(&config.destination)) {
        return Err(Unusable(
            "`[destination]` is another place in both configurations; only the state can be moved"
                .to_owned(),
        ));
    }
    let to = config.state.as_ref().unwrap_or(&config.destination);
    let mut destinations = vec![stores::place(&config.destination)?];
    for other in config.destinations.values() {
        destinations.push(stores::place(other)?);
    }
    let both = [Some(&config), old.as_ref()].into_iter().flatten();
    let redactors = both.map(secrets::redactor).collect();
    let relocation = StateMove {
        from: stores::place(before)?,
        to: match &config.state {
            Some(_) => stores::place(to)?,
            None => Arc::clone(&destinations[0]),
        },
        destinations,
        is_among_blobs: config.state.is_none(),
        sources: config.sources.iter().map(|source| source.name.clone()).collect(),
    };
    Ok((relocation, redactors))
}

async fn read(file: &Path, environment: &Environment) -> Result<Config, Unusable> {
    open::config(&Configured { config: file.to_owned(), sources: Vec::new() }, environment).await
}
