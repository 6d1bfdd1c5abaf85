//! `blobferry plan`.

use std::fmt::Write as _;

use super::console;
use crate::app::configured::Configured;
use crate::app::open::{self, OpenedConfig};
use crate::config::Destination;
use crate::config::text::Environment;
use crate::model::failure::Failure;
use crate::model::{chain, printable};
use crate::report::{Status, in_bytes};
use crate::run::{self, Plan, Planned};
use crate::runtime::retry::retry;
use crate::telemetry::lines::LineOut;
use crate::telemetry::{self, Console};
use crate::transfer::options::Options;

#[derive(Debug, clap::Args)]
pub(crate) struct PlanArguments {
    #[command(flatten)]
    configured: Configured,
    /// Print the plan as JSON.
    #[arg(long)]
    json: bool,
}

pub async fn plan(arguments: PlanArguments, environment: &Environment) -> u8 {
    let OpenedConfig { config, store, destinations, redactor } =
        match open::open(&arguments.configured, environment) {
            Ok(opened) => opened,
            Err(unusable) => return console::refuse(&unusable),
        };
    if let Err(unusable) = open::must_be_on(&arguments.configured, &config) {
        return console::refuse(&unusable);
    }
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
    let limits = open::limits(&config.limits);
    let redacting = redactor.clone();
    let options = Options { redactor: redacting, destinations, ..Options::new(store, limits) };
    if let Some(problem) = missing_container(&config.destination, &options).await {
        console::say(&redactor.text(&problem));
        return crate::cli::exit::NOTHING;
    }
    let plans = run::plan(config.sources, options).await;
    let text = if arguments.json {
        format!("{:#}\n", redactor.json(json(&plans)))
    } else {
        let all = plans.iter().map(text).chain(in_all(&plans)).collect::<String>();
        redactor.text(&all)
    };
    drop(telemetry);
    match console::data(&text) {
        crate::cli::exit::WELL => exit_code(&plans),
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
    let plans: Vec<_> = plans.iter().map(one).collect();
    plans.into()
}

fn one(plan: &Plan) -> serde_json::Value {
    let mut json = serde_json::json!({
        "source": plan.report.source, "fetch": plan.files, "decided": plan.report,
    });
    if !plan.patterns.is_empty() {
        json["patterns"] = plan.patterns.clone().into();
    }
    json
}

fn text(plan: &Plan) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        writeln!(text, "{line}").expect("writing to a String does not fail");
    };
    let mut files: Vec<&Planned> = plan.files.iter().collect();
    files.sort_by(|one, other| one.path.cmp(&other.path));
    for file in files {
        let Planned { path, size, modified, why, unsettled, .. } = file;
        let size = size.map_or("? B".to_owned(), in_bytes);
        let modified = modified.as_deref().unwrap_or("-");
        let wait = if *unsettled { ", may still be written: is looked at again first" } else { "" };
        let names = names(file);
        line(format!("{why:8} {size:>10}  {modified:20}  {path} -> {names}{wait}"));
        let members = file.members.iter().flat_map(|members| &members.blobs);
        members.take(MOST_MEMBERS).for_each(|name| line(format!("{:42} {name}", "")));
    }
    let count = plan.files.len();
    let unknown = plan.files.iter().filter(|file| file.size.is_none()).count();
    let bytes: u64 = plan.files.iter().filter_map(|file| file.size).sum();
    let report = &plan.report;
    let known =
        if unknown == 0 { String::new() } else { format!(" and {unknown} of unknown size") };
    line(format!(
        "{}: {count} to fetch, {}{known}; of the others {} unchanged, {} skipped, {} gone, {} \
        deferred, {} failed",
        report.source,
        in_bytes(bytes),
        report.unchanged,
        report.skipped,
        report.gone,
        report.deferred,
        report.failed
    ));
    let mut patterns = String::new();
    for pattern in &plan.patterns {
        writeln!(patterns, "  looks for {}", printable(pattern.as_bytes()))
            .expect("writing to a String does not fail");
    }
    text + &patterns + &details(&report.to_string())
}

/// The last line, over several sources; nothing for one.
fn in_all(plans: &[Plan]) -> Option<String> {
    if plans.len() < 2 {
        return None;
    }
    let files = || plans.iter().flat_map(|plan| &plan.files);
    let bytes = files().filter_map(|file| file.size).fold(0, u64::saturating_add);
    let unknown = files().filter(|file| file.size.is_none()).count();
    let unlisted: Vec<&str> = plans
        .iter()
        .filter(|plan| plan.report.unusable)
        .map(|plan| plan.report.source.as_str())
        .collect();
    let known =
        if unknown == 0 { String::new() } else { format!(" and {unknown} of unknown size") };
    let not = match unlisted.as_slice() {
        [] => String::new(),
        names => format!("; not looked at: {}", names.join(", ")),
    };
    let (count, bytes) = (files().count(), in_bytes(bytes));
    Some(format!("in all: {count} to fetch, {bytes}{known}, of {} sources{not}\n", plans.len()))
}

/// Names of members that are shown of one archive; `--json` has more.
const MOST_MEMBERS: usize = 20;

/// Where a file goes, in words.
fn names(file: &Planned) -> String {
    let blob = file.blob.as_ref().map(ToString::to_string);
    let members = file.members.as_ref().map(|members| {
        let below = printable(members.below.as_bytes());
        match members.count {
            None => format!("its members below {below}"),
            Some(1) => format!("its member below {below}:"),
            Some(count) if count > MOST_MEMBERS as u64 => {
                format!("its {count} members below {below}, the first {MOST_MEMBERS}:")
            }
            Some(count) => format!("its {count} members below {below}:"),
        }
    });
    match (blob, members, &file.nameless) {
        (_, _, Some(why)) => format!("no name, so it fails: {why}"),
        (Some(blob), Some(members), None) => format!("{blob}, and {members}"),
        (blob, members, None) => blob.or(members).unwrap_or_default(),
    }
}

/// What a report tells beside its name and its equation: a plan has words of its own for these.
fn details(report: &str) -> String {
    let told = |line: &&str| line.starts_with("  ") && !line.starts_with("  listed ");
    report.lines().filter(told).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::SourceReport;

    fn plan(source: &str, sizes: &[Option<u64>]) -> Plan {
        let file = |size: &Option<u64>| Planned {
            path: "/a".into(),
            size: *size,
            modified: None,
            why: "new",
            unsettled: false,
            blob: None,
            members: None,
            nameless: None,
        };
        let files = sizes.iter().map(file).collect();
        Plan { report: SourceReport::new(source, "file:///x"), files, patterns: Vec::new() }
    }

    #[test]
    fn the_last_line_sums_all_sources_and_names_those_that_nobody_could_look_at() {
        let mut down = plan("down", &[]);
        down.report.unusable = true;
        let plans = [plan("a", &[Some(1024), None]), plan("b", &[Some(1024)]), down];
        assert_eq!(
            in_all(&plans).as_deref(),
            Some(
                "in all: 3 to fetch, 2.0 KiB and 1 of unknown size, of 3 sources; not looked at: \
                down\n"
            )
        );
        assert_eq!(in_all(&plans[..1]), None);
    }
}
