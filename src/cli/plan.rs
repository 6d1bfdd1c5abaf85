//! `blobferry plan`.

use std::fmt::Write as _;

use super::open::{self, Opened};
use super::{Configured, console};
use crate::config::Destination;
use crate::config::text::Environment;
use crate::failure::Failure;
use crate::model::chain;
use crate::report::{Status, in_bytes};
use crate::retry::retry;
use crate::run::{self, Options, Plan, Planned};
use crate::telemetry::lines::LineOut;
use crate::telemetry::{self, Console};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    configured: Configured,
    /// Print the plan as JSON.
    #[arg(long)]
    json: bool,
}

pub async fn plan(arguments: Arguments, environment: &Environment) -> u8 {
    let Opened { config, store, redactor } = match open::open(&arguments.configured, environment) {
        Ok(opened) => opened,
        Err(unusable) => return unusable.tell(),
    };
    let mut log = config.log.clone();
    // A plan changes nothing, its log files included.
    log.files = Some(false);
    let telemetry = telemetry::start(
        &log,
        Console::Quiet,
        console::watched(),
        LineOut::new(|_, line| console::say(String::from_utf8_lossy(line).trim_end())),
        &redactor,
    );
    let options =
        Options { redactor: redactor.clone(), ..Options::new(store, open::limits(&config.limits)) };
    if let Some(problem) = missing_container(&config.destination, &options).await {
        console::say(&redactor.text(&problem));
        return super::NOTHING;
    }
    let plans = run::plan(config.sources, options).await;
    let text = if arguments.json {
        format!("{:#}\n", redactor.json(json(&plans)))
    } else {
        redactor.text(&plans.iter().map(text).collect::<String>())
    };
    drop(telemetry);
    match console::data(&text) {
        super::WELL => exit_code(&plans),
        failed => failed,
    }
}

/// A container that is missing is no hindrance, unless nobody may create it: then preparing it
/// changes nothing either.
async fn missing_container(destination: &Destination, options: &Options) -> Option<String> {
    if !matches!(destination, Destination::Azure { create_container: false, .. }) {
        return None;
    }
    let error = retry(&options.policy, &options.cancel, "looking for the container", |_| {
        options.store.prepare()
    })
    .await
    .err()?;
    Some(format!("error: {}\nhint: {}", chain(&error), error.hint()))
}

fn exit_code(plans: &[Plan]) -> u8 {
    Status::of_all(plans.iter().map(|plan| plan.report.status())).exit_code()
}

fn json(plans: &[Plan]) -> serde_json::Value {
    let plans: Vec<_> =
        plans.iter().map(|plan| serde_json::json!({ "source": plan.report.source, "fetch": plan.files, "decided": plan.report })).collect();
    plans.into()
}

fn text(plan: &Plan) -> String {
    let mut text = String::new();
    for Planned { path, size, why, unsettled, blob } in &plan.files {
        let size = size.map_or("? B".to_owned(), in_bytes);
        let wait = if *unsettled { ", may still be written: is looked at again first" } else { "" };
        writeln!(text, "{why:8} {size:>10}  {path} -> {blob}{wait}")
            .expect("writing to a String does not fail");
    }
    let bytes: u64 = plan.files.iter().filter_map(|file| file.size).sum();
    writeln!(text, "{}: {} to fetch, {}", plan.report.source, plan.files.len(), in_bytes(bytes))
        .expect("writing to a String does not fail");
    text + "decided already: " + &plan.report.to_string()
}
