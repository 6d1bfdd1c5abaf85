//! `blobferry serve`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Configured;
use super::open::{self, Unusable};
use crate::config::text::Environment;
use crate::handler::host::{APP_ROOT, INSTANCE};
use crate::handler::ready::{Given, Ready};
use crate::handler::{console as lines, server};
use crate::telemetry::{self, Console, Watched};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The configuration file; looked for beside host.json too.
    #[arg(long, value_name = "FILE", env = "BLOBFERRY_CONFIG", default_value = super::CONFIG)]
    config: PathBuf,
}

impl Arguments {
    /// What holds where no command was given.
    pub fn none_given(environment: &Environment) -> Self {
        Self { config: environment.get("BLOBFERRY_CONFIG").map_or(super::CONFIG, String::as_str).into() }
    }
}

pub async fn serve(arguments: Arguments, environment: &Environment) -> u8 {
    let of_load = environment.clone();
    let load = move || ready(arguments.config, &of_load).map_err(|Unusable(problem)| problem);
    let code = server::serve(environment, Box::new(load)).await;
    // Work that cannot be stopped, as a call of the operating system that hangs, must not hold up the end.
    std::process::exit(i32::from(code))
}

fn ready(config: PathBuf, environment: &Environment) -> Result<Ready, Unusable> {
    let configured = Configured { config: found(config, environment), sources: Vec::new() };
    let config = open::config(&configured, environment)?;
    let store = open::store(&config.destination)?;
    let redactor = open::redactor(&config);
    let mut log = config.log.clone();
    // The file system under the host is read-only, and the host keeps our lines.
    log.files = Some(log.files == Some(true));
    let line_out = |level, line: &[u8]| lines::say(level, &String::from_utf8_lossy(line));
    // In Azure lines end up where programs search them; under Core Tools, on a developer's terminal.
    let watched = if environment.contains_key(INSTANCE) { Watched::No } else { Watched::Yes };
    let (insights, warnings) = open::insights(&config, environment, &redactor);
    // The host sends our lines to Application Insights too, and each of them would be paid for twice.
    let console = if insights.is_some() { Console::Quiet } else { Console::AsSet };
    let telemetry = telemetry::start_with(&log, console, watched, Arc::new(line_out), &redactor, insights.as_ref());
    telemetry.warnings.iter().chain(&warnings).for_each(|warning| lines::say(tracing::Level::WARN, warning));
    let (destination, limits) = (config.destination, config.limits);
    let open = move || {
        let store = open::store(&destination).map_err(|Unusable(problem)| problem)?;
        Ok(Given { store, limits: open::limits(&limits) })
    };
    Ok(Ready { sources: config.sources, store, open: Box::new(open), redactor, insights, telemetry: Some(telemetry) })
}

/// The file as named, or the one beside host.json if there is none.
fn found(config: PathBuf, environment: &Environment) -> PathBuf {
    let beside = environment.get(APP_ROOT).map(|root| Path::new(root).join(&config));
    match beside {
        Some(beside) if !config.exists() && beside.exists() => beside,
        _ => config,
    }
}
