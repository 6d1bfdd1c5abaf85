//! `blobferry run`.

use std::sync::Arc;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::configured::Configured;
use super::console;
use super::open::{self, Opened, Unusable};
use super::progress::{Bars, Colours};
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
pub struct Arguments {
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
    /// No progress bars, and log lines from warnings up only.
    #[arg(long, short)]
    quiet: bool,
    /// Log every file.
    #[arg(long, short)]
    verbose: bool,
}

pub async fn run(arguments: Arguments, environment: &Environment) -> u8 {
    // From here on, being told to stop leaves a report.
    let signals = Signals::new();
    let colours = Colours::wanted(environment);
    let opened = open::open(&arguments.configured, environment);
    let opened = opened.and_then(|opened| {
        open::must_allow_runs(&opened.config)
            .and_then(|()| check_globs(&arguments))
            .map(|()| opened)
    });
    match opened {
        Ok(opened) => go(arguments, opened, environment, colours, signals).await,
        Err(unusable) => unusable.tell(),
    }
}

fn check_globs(arguments: &Arguments) -> Result<(), Unusable> {
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
    arguments: Arguments,
    Opened { config, store, redactor }: Opened,
    environment: &Environment,
    colours: Colours,
    signals: Signals,
) -> u8 {
    let bars = (console::watched() == Watched::Yes
        && !arguments.quiet
        && !arguments.verbose
        && !arguments.json)
        .then(|| {
            Arc::new(Bars::new(config.sources.iter().map(|source| source.name.as_str()), colours))
        });
    let level = match (&bars, arguments.quiet, arguments.verbose) {
        (_, _, true) => Console::Verbose,
        (Some(_), ..) | (_, true, _) => Console::Quiet,
        _ => Console::AsSet,
    };
    let above = bars.clone();
    let line_out = move |_: tracing::Level, line: &[u8]| {
        let text = String::from_utf8_lossy(line);
        match &above {
            Some(bars) => bars.above(&text),
            None => console::say(text.trim_end()),
        }
    };
    let (insights, warnings) = open::insights(&config, environment, &redactor);
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
        again: arguments.again,
        retry_quarantined: arguments.retry_quarantined,
        cancel,
        progress,
        ..Options::new(store, open::limits(&config.limits))
    };
    let report = run::recorded(config.sources, options, Trigger::Command).await;
    // The report is the last word.
    telemetry.settle();
    let code = tell(&report, arguments.json, &redactor);
    if let Some(operation) = operation {
        operation.end(report.status().word(), report.status() == Status::Failed);
        // Whoever stops us kills us soon after.
        operation.flush(if report.interrupted { FLUSH / 4 } else { FLUSH }).await;
    }
    drop(telemetry);
    signal.lock().expect("no code panics while it holds this lock").unwrap_or(code)
}

fn tell(report: &Report, json: bool, redactor: &Redactor) -> u8 {
    let text = if json {
        format!(
            "{:#}\n",
            redactor.json(
                serde_json::to_value(report).expect("a report holds nothing that JSON cannot")
            )
        )
    } else {
        redactor.text(&report.to_string())
    };
    match console::data(&text) {
        crate::cli::exit::WELL => report.exit_code(),
        failed => failed,
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
