//! `blobferry plan`.

use std::fmt::Write as _;
use std::io::{self, Write};

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use super::console;
use crate::app::configured::Configured;
use crate::app::open::{self, OpenedConfig};
use crate::config::Destination;
use crate::config::text::Environment;
use crate::model::failure::Failure;
use crate::model::number_of;
use crate::model::redactor::Redactor;
use crate::model::{chain, printable};
use crate::report::{Status, in_bytes};
use crate::run::planned::Planned;
use crate::run::{self, Plan};
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
        match open::open(&arguments.configured, environment).await {
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
    drop(telemetry);
    let written = console::data_in_parts(|out| {
        if arguments.json { json(&plans, &redactor, out) } else { text(&plans, &redactor, out) }
    });
    match written {
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

/// As JSON, file by file: all of it may take more memory than the files.
fn json(plans: &[Plan], redactor: &Redactor, out: &mut dyn Write) -> io::Result<()> {
    let plans = plans.iter().map(|plan| PlanJson { plan, redactor });
    let mut serializer = serde_json::Serializer::pretty(&mut *out);
    serializer.collect_seq(plans)?;
    out.write_all(b"\n")
}

/// A plan with its files, of which none is made before it is written.
struct PlanJson<'a> {
    plan: &'a Plan,
    redactor: &'a Redactor,
}

impl Serialize for PlanJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { plan, redactor } = *self;
        let mut others = json!({ "decided": plan.report, "source": plan.report.source });
        if !plan.patterns.is_empty() {
            others["patterns"] = plan.patterns.clone().into();
        }
        let mut map = serializer.serialize_map(None)?;
        if let Value::Object(others) = redactor.json(others) {
            for (name, value) in others {
                map.serialize_entry(&name, &value)?;
            }
        }
        map.serialize_entry("fetch", &FilesJson(self))?;
        map.end()
    }
}

struct FilesJson<'a>(&'a PlanJson<'a>);

impl Serialize for FilesJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let PlanJson { plan, redactor } = self.0;
        serializer.collect_seq(plan.files.iter().map(|file| redactor.json(json!(file))))
    }
}

/// Bytes of a text that are looked through for secrets at once.
const PART: usize = 64 << 10;

fn text(plans: &[Plan], redactor: &Redactor, out: &mut dyn Write) -> io::Result<()> {
    let mut part = String::new();
    for plan in plans {
        for file in plan.files.by_path() {
            add_file(&mut part, &file);
            if part.len() >= PART {
                out.write_all(redactor.text(&std::mem::take(&mut part)).as_bytes())?;
            }
        }
        part += &summary(plan);
    }
    part.extend(in_all(plans));
    out.write_all(redactor.text(&part).as_bytes())
}

fn add_file(text: &mut String, file: &Planned) {
    let Planned { path, size, modified, why, unsettled, .. } = file;
    let size = size.map_or("? B".to_owned(), in_bytes);
    let modified = modified.as_deref().unwrap_or("-");
    let wait = if *unsettled { ", may still be written: is looked at again first" } else { "" };
    let names = names(file);
    let mut line = |line: String| {
        writeln!(text, "{line}").expect("writing to a String does not fail");
    };
    line(format!("{why:8} {size:>10}  {modified:20}  {path} -> {names}{wait}"));
    let members = file.members.iter().flat_map(|members| &members.blobs);
    members.take(MOST_MEMBERS).for_each(|name| line(format!("{:42} {name}", "")));
}

fn summary(plan: &Plan) -> String {
    let (count, unknown, bytes) = sums(std::iter::once(plan));
    let report = &plan.report;
    let mut text = format!(
        "{}: {count} to fetch, {}{}; of the others {} unchanged, {} skipped, {} gone, {} \
        deferred, {} failed\n",
        report.source,
        in_bytes(bytes),
        and_unknown(unknown),
        report.unchanged,
        report.skipped,
        report.gone,
        report.deferred,
        report.failed
    );
    for pattern in &plan.patterns {
        writeln!(text, "  looks for {}", printable(pattern.as_bytes()))
            .expect("writing to a String does not fail");
    }
    text + &details(&report.to_string())
}

/// How many files, how many of them of unknown size, and the bytes of the others.
fn sums<'a>(plans: impl Iterator<Item = &'a Plan>) -> (usize, usize, u64) {
    plans.flat_map(|plan| plan.files.sizes()).fold((0, 0, 0), |(count, unknown, bytes), size| {
        let bytes = u64::saturating_add(bytes, size.unwrap_or(0));
        (count + 1, unknown + usize::from(size.is_none()), bytes)
    })
}

fn and_unknown(unknown: usize) -> String {
    if unknown == 0 { String::new() } else { format!(" and {unknown} of unknown size") }
}

/// The last line, over several sources; nothing for one.
fn in_all(plans: &[Plan]) -> Option<String> {
    if plans.len() < 2 {
        return None;
    }
    let (count, unknown, bytes) = sums(plans.iter());
    let unlisted: Vec<&str> = plans
        .iter()
        .filter(|plan| plan.report.unusable)
        .map(|plan| plan.report.source.as_str())
        .collect();
    let not = match unlisted.as_slice() {
        [] => String::new(),
        names => format!("; not looked at: {}", names.join(", ")),
    };
    let (bytes, unknown) = (in_bytes(bytes), and_unknown(unknown));
    Some(format!(
        "in all: {count} to fetch, {bytes}{unknown}, of {}{not}\n",
        number_of(plans.len(), "source")
    ))
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
    use crate::model::RemoteFile;
    use crate::report::SourceReport;
    use crate::rules::plan::Why;
    use crate::run::planned::PlannedFiles;
    use crate::transfer::request::Transfer;
    use crate::transfer::transfers::Transfers;

    fn plan(source: &str, sizes: &[Option<u64>]) -> Plan {
        let transfer = |size: &Option<u64>| Transfer {
            file: RemoteFile { path: "/a".into(), size: *size, modified: None },
            listed: None,
            why: Why::New,
            known: None,
            rests: true,
            yields: false,
        };
        let (mut settled, unsettled) = (Transfers::default(), Transfers::default());
        settled.extend(sizes.iter().map(transfer));
        let files = PlannedFiles::new(settled, unsettled, Box::new(|_| Ok((None, None))));
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
