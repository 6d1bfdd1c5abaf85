//! `blobferry run`.

use std::sync::{Arc, Mutex};

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::console;
use super::progress::{Bars, Colours};
use crate::app::configured::Configured;
use crate::app::exporter;
use crate::app::open::{self, OpenedConfig};
use crate::app::unusable::Unusable;
use crate::config::text::Environment;
use crate::history::record::Trigger;
use crate::model::redactor::Redactor;
use crate::report::{Report, Status};
use crate::run;
use crate::runtime::platform::Hosting;
use crate::runtime::signals::Signals;
use crate::telemetry::insights::{Beginning, FLUSH};
use crate::telemetry::lines::LineOut;
use crate::telemetry::{self, Console, Watched};
use crate::transfer::options::Options;
use crate::transfer::progress::{Progress, Silent};

#[derive(Debug, clap::Args)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    configured: Configured,
    /// Fetch files that match this glob again though they are known; may be given several times.
    #[arg(long, value_name = "GLOB")]
    again: Vec<String>,
    /// Take archives again that are in quarantine.
    #[arg(long)]
    retry_quarantined: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Print nothing while all is well; else what is wrong, to standard error. The exit status
    /// tells the same.
    #[arg(long, short)]
    quiet: bool,
    /// Log every file.
    #[arg(long, short)]
    verbose: bool,
}

pub async fn run(arguments: RunArguments, environment: &Environment) -> u8 {
    // From here on, being told to stop leaves a report.
    let signals = Signals::new();
    let colours = Colours::wanted(environment);
    let opened = open::open(&arguments.configured, environment).await;
    let opened = opened.and_then(|opened| {
        open::must_allow_runs(&opened.config)
            .and_then(|()| check_globs(&arguments))
            .and_then(|()| open::must_be_on(&arguments.configured, &opened.config))
            .map(|()| opened)
    });
    match opened {
        Ok(opened) => go(arguments, opened, environment, colours, signals).await,
        Err(unusable) => console::refuse(&unusable),
    }
}

fn check_globs(arguments: &RunArguments) -> Result<(), Unusable> {
    let check = |glob: &String| {
        crate::rules::patterns::Patterns::new(
            "/".into(),
            std::slice::from_ref(glob),
            &[],
            &[],
            None,
        )
        .map(|_| ())
    };
    arguments
        .again
        .iter()
        .try_for_each(check)
        .map_err(|error| Unusable(format!("--again: {error}")))
}

async fn go(
    arguments: RunArguments,
    OpenedConfig { config, store, destinations, redactor }: OpenedConfig,
    environment: &Environment,
    colours: Colours,
    signals: Signals,
) -> u8 {
    let bars = (console::watched() == Watched::Yes
        && !arguments.quiet
        && !arguments.verbose
        && !arguments.json)
        .then(|| {
            let enabled = config.sources.iter().filter(|source| source.enabled);
            Arc::new(Bars::new(enabled.map(|source| source.name.as_str()), colours))
        });
    let level = match (&bars, arguments.quiet, arguments.verbose) {
        (_, _, true) => Console::Verbose,
        (Some(_), ..) | (_, true, _) => Console::Quiet,
        _ => Console::AsSet,
    };
    let above = bars.clone();
    let held = Arc::new(HeldLines::new(arguments.quiet));
    let of_log = held.clone();
    let line_out = move |level: tracing::Level, line: &[u8]| {
        let text = String::from_utf8_lossy(line);
        match &above {
            Some(bars) => bars.above(&text),
            None => of_log.say(level, text.trim_end()),
        }
    };
    let (insights, warnings) = exporter::insights(&config, environment, &redactor);
    let telemetry = telemetry::start_with(
        &config.log,
        level,
        console::watched(),
        LineOut::new(line_out),
        &redactor,
        insights.as_ref(),
    );
    telemetry.warnings.iter().chain(&warnings).for_each(|warning| console::say(warning));
    let cancel = CancellationToken::new();
    let signal = stop_on_signal(signals, cancel.clone());
    let progress: Arc<dyn Progress> = match bars {
        Some(bars) => bars,
        None => Arc::new(Silent),
    };
    // The command does its work itself, wherever it is.
    tracing::info!(place = Hosting::of(environment).told(false), "Where this runs.");
    let id = run::run_id(OffsetDateTime::now_utc());
    let beginning = Beginning {
        name: "blobferry run",
        run: &id,
        trigger: "command",
        invocation: None,
        traceparent: None,
        at: std::time::SystemTime::now(),
    };
    let operation = insights.as_ref().map(|insights| insights.begin(&beginning));
    let options = Options {
        id,
        redactor: redactor.clone(),
        again: arguments.again.clone(),
        retry_quarantined: arguments.retry_quarantined,
        cancel,
        progress,
        destinations,
        ..Options::new(store, open::limits(&config.limits))
    };
    let again_slips = options.again_slips.clone();
    let report = run::recorded(config.sources, options, Trigger::Command).await;
    // The report is the last word.
    telemetry.settle();
    held.end(report.status());
    // A person who asks for files is told that there are none, quiet or not.
    again_slips
        .told()
        .iter()
        .for_each(|slip| console::say(&redactor.text(&format!("note: {slip}"))));
    let form = ReportForm::of(&arguments);
    let code = tell(&report, form, &redactor);
    if let Some(operation) = operation {
        operation.end(report.status().word(), report.status() == Status::Failed);
        // A person who stops us kills us soon after.
        operation.flush(if report.interrupted { FLUSH / 4 } else { FLUSH }).await;
    }
    drop(telemetry);
    signal.lock().expect("no code panics while it holds this lock").unwrap_or(code)
}

/// How the report is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ReportForm {
    /// To people.
    Text,
    /// To programs.
    Json,
    /// To people, if anything is wrong.
    Quiet,
}

impl ReportForm {
    fn of(arguments: &RunArguments) -> Self {
        match (arguments.json, arguments.quiet) {
            (true, _) => Self::Json,
            (false, true) => Self::Quiet,
            (false, false) => Self::Text,
        }
    }
}

fn tell(report: &Report, form: ReportForm, redactor: &Redactor) -> u8 {
    let text = match form {
        ReportForm::Json => {
            let json = serde_json::to_value(report);
            let json = json.expect("a report holds nothing that JSON cannot");
            format!("{:#}\n", redactor.json(json))
        }
        ReportForm::Text => redactor.text(&report.to_string()),
        ReportForm::Quiet => {
            if report.status() > Status::Ok {
                console::say(redactor.text(&report.bad()).trim_end());
            }
            return report.exit_code();
        }
    };
    match console::data(&text) {
        crate::cli::exit::WELL => report.exit_code(),
        failed => failed,
    }
}

/// Warnings of a quiet run, which nobody is told of once all has ended well.
struct HeldLines {
    /// `None`: each line is said at once.
    lines: Option<Mutex<Vec<String>>>,
}

/// So many warnings are kept; the log files have all of them.
const HELD: usize = 1000;

impl HeldLines {
    fn new(quiet: bool) -> Self {
        Self { lines: quiet.then(Mutex::default) }
    }

    fn say(&self, level: tracing::Level, line: &str) {
        match &self.lines {
            Some(lines) if level != tracing::Level::ERROR => {
                let mut lines = lines.lock().expect("no code panics while it holds this lock");
                if lines.len() < HELD {
                    lines.push(line.to_owned());
                }
            }
            _ => console::say(line),
        }
    }

    /// The run has ended with this word.
    fn end(&self, status: Status) {
        let Some(lines) = &self.lines else { return };
        let lines = std::mem::take(&mut *lines.lock().expect("no code panics with this lock"));
        if status > Status::Ok {
            lines.iter().for_each(|line| console::say(line));
        }
    }
}

/// Cancels the run at SIGINT or SIGTERM: no new file is begun, files in hand have a few seconds.
/// The exit status is then the one that shells expect, 128 + the signal's number. A second signal
/// ends at once.
fn stop_on_signal(
    signals: Signals,
    cancel: CancellationToken,
) -> Arc<std::sync::Mutex<Option<u8>>> {
    let code = Arc::new(std::sync::Mutex::new(None));
    let told = code.clone();
    tokio::spawn(async move {
        let number = signals.next().await;
        *told.lock().expect("no code panics while it holds this lock") = Some(128 + number);
        tracing::warn!(
            "Warning: stopping. Files in hand have a few seconds; once more ends at once."
        );
        cancel.cancel();
        let number = signals.next().await;
        std::process::exit(i32::from(128 + number));
    });
    code
}
