//! `blobferry check`: step by step, what works and what does not, ending with what to mend or to
//! paste.

use std::time::Instant;

mod destination;
mod lines;
mod names;
mod probe;
mod rights;
mod source;

use super::configured::Configured;
use super::exit::{NOTHING, WELL};
use super::open::{self, Opened};
use crate::config::Config;
use crate::config::text::Environment;
use crate::model::failure::Class;
use crate::runtime::platform::Hosting;
use lines::{Form, Line, Lines};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    configured: Configured,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Also log in again and again, until so many logins are open at once or one is refused. Ask
    /// the server's owner first.
    #[arg(long, value_name = "MOST", num_args = 0..=1, default_missing_value = "16", value_parser = clap::value_parser!(u16).range(2..=256))]
    probe_connections: Option<u16>,
}

pub async fn check(arguments: Arguments, environment: &Environment) -> u8 {
    let Opened { config, store, redactor } = match open::open(&arguments.configured, environment) {
        Ok(opened) => opened,
        Err(unusable) => return unusable.tell(),
    };
    let form = if arguments.json { Form::Json } else { Form::Text };
    let mut lines = Lines::new(form, redactor);
    let of =
        format!("`{}`: {} sources", arguments.configured.config.display(), config.sources.len());
    lines.tell(Line::ok("configuration", of));
    let place = Hosting::of(environment);
    let by_queue = config.dispatch.by_queue.unwrap_or(place.in_azure());
    lines.tell(Line::ok("place", place.told(by_queue)));
    unresolved(&mut lines, environment);
    match &config.state {
        None => {
            destination::check(&mut lines, &config.destination, store.as_ref(), by_queue).await;
        }
        Some(state) => {
            let places =
                open::place(&config.destination).and_then(|blobs| Ok((blobs, open::place(state)?)));
            let (blobs, of_state) = match places {
                Ok(places) => places,
                Err(unusable) => return unusable.tell(),
            };
            destination::check_blobs(&mut lines, &config.destination, blobs.as_ref()).await;
            lines.tell(Line::ok("state", format!("in a place of its own, {}", of_state.address())));
            destination::check(&mut lines, state, of_state.as_ref(), by_queue).await;
        }
    }
    if by_queue {
        queue(&mut lines, &config, environment).await;
    }
    let destination_failed = lines.failed();
    let mut failed = 0;
    for source in &config.sources {
        lines.about(Some(&source.name));
        let before = lines.failed();
        source::check(&mut lines, source, arguments.probe_connections.map(usize::from)).await;
        failed += usize::from(lines.failed() > before);
    }
    lines.about(None);
    lines.end();
    match lines.failed() {
        0 => WELL,
        // Without the one or the other end nothing can be done.
        _ if destination_failed > 0 || failed == config.sources.len() => NOTHING,
        _ => 1,
    }
}

/// The queue that work goes by: made if it is not there, as the first request would make it.
async fn queue(lines: &mut Lines, config: &Config, environment: &Environment) {
    let start = Instant::now();
    let queue = match open::queue_settings(config, environment)
        .and_then(|settings| open::queue(&settings))
    {
        Ok(queue) => queue,
        Err(open::Unusable(problem)) => {
            return lines.tell(Line::wrong("queue", Class::StoreRejected, problem));
        }
    };
    lines.tell(match rights::in_time(queue.prepare()).await {
        Ok(()) => Line::ok("queue", format!("{} is there", queue.address())).took(start.elapsed()),
        Err(error) => Line::failed("queue", &error)
            .and("this is needed for work by the queue")
            .took(start.elapsed()),
    });
}

/// Key Vault references that the platform left as they stand. One that a setting needs has ended us
/// before; the others may be meant for something else, but are seldom meant to be so.
fn unresolved(lines: &mut Lines, environment: &Environment) {
    let names: Vec<&str> = environment
        .iter()
        .filter(|(_, value)| value.starts_with("@Microsoft.KeyVault("))
        .map(|(name, _)| name.as_str())
        .collect();
    if !names.is_empty() {
        let hint = "check the vault's and the secret's name, and that the app's identity has the \
            role `Key Vault Secrets User`";
        let names = crate::model::printable(names.join(", ").as_bytes());
        lines.tell(
            Line::note(
                "environment",
                format!("Key Vault references that were not resolved: {names}"),
            )
            .hint(hint),
        );
    }
}
