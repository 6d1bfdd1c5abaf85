//! What is logged, where to, and that no secret is in it.

pub mod insights;
pub mod lines;
pub mod redact;
mod told;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use file_rotate::compression::Compression;
use file_rotate::suffix::{AppendTimestamp, FileLimit};
use file_rotate::{ContentLimit, FileRotate, TimeFrequency};
use tracing::Level;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::fmt::writer::MakeWriterExt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::config::LogSettings;
use crate::model::redactor::Redactor;
use crate::telemetry::lines::LogLines;
use insights::Insights;
use lines::LineOut;
use redact::RedactedWriter;
use told::ToldFile;

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Where log lines of the process go.
pub struct Telemetry {
    lines: LogLines,
    /// Flushes log files when it is dropped.
    guards: Vec<WorkerGuard>,
    /// Why a log file could not be opened. Never a reason not to run.
    pub warnings: Vec<String>,
}

impl Telemetry {
    /// Waits until what was logged by now is on the console, unless nobody reads there.
    pub fn settle(&self) {
        self.lines.settle();
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        // What a log file could not take is told on the console.
        self.guards.clear();
        self.settle();
    }
}

/// How the console looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// Warnings and errors only: progress bars or a report are on the terminal.
    Quiet,
    /// As the settings say.
    AsSet,
    /// Everything down to debug.
    Verbose,
}

/// Whether somebody watches the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watched {
    /// It is a terminal.
    Yes,
    /// A program reads it: lines are JSON unless the settings say otherwise.
    No,
}

/// Starts logging for the process. Every line passes `redactor`. Libraries are heard from warnings
/// up. Calling it a second time in a process changes nothing.
pub(crate) fn start(
    settings: &LogSettings,
    console: Console,
    watched: Watched,
    line_out: LineOut,
    redactor: &Redactor,
) -> Telemetry {
    start_with(settings, console, watched, line_out, redactor, None)
}

/// As [`start`]; an export to Application Insights, if there is one, is fed from here on.
pub(crate) fn start_with(
    settings: &LogSettings,
    console: Console,
    watched: Watched,
    line_out: LineOut,
    redactor: &Redactor,
    insights: Option<&Arc<Insights>>,
) -> Telemetry {
    let level = match console {
        Console::Quiet => "warn",
        Console::AsSet => settings.level,
        Console::Verbose => "debug",
    };
    let lines = LogLines::begin(line_out);
    let shown = lines.clone();
    let console_out = RedactedWriter::new(redactor, move |level| shown.line(level));
    let mut layers =
        vec![layer(settings.json.unwrap_or(watched == Watched::No), level, console_out)];
    let mut guards = Vec::new();
    let mut warnings = Vec::new();
    if settings.files != Some(false) {
        for (path, highest) in [(&settings.monitor, Level::TRACE), (&settings.errors, Level::WARN)]
        {
            match open(path, settings) {
                Ok(file) => {
                    let (writer, guard) =
                        tracing_appender::non_blocking(ToldFile::new(file, path.clone()));
                    guards.push(guard);
                    layers.push(layer(
                        settings.json.unwrap_or(false),
                        settings.level,
                        RedactedWriter::new(redactor, move |_| writer.clone())
                            .with_max_level(highest),
                    ));
                }
                Err(error) => warnings.push(format!(
                    "Warning: the log file `{}` could not be opened: {error}",
                    path.display()
                )),
            }
        }
    }
    layers.extend(insights.map(|insights| insights::bridge::layer(insights.clone())));
    // Fails only if a subscriber is there already: then that one stays.
    let started = tracing_subscriber::registry().with(layers).try_init();
    if let Err(error) = started {
        warnings.push(format!("Warning: logging was started before: {error}"));
    }
    Telemetry { lines, guards, warnings }
}

fn layer<W>(json: bool, level: &str, writer: W) -> BoxedLayer
where
    W: for<'a> fmt::MakeWriter<'a> + Send + Sync + 'static,
{
    // The libraries below us log names and addresses that have not passed our escaping. What is
    // told to those who watch a run is no line; the exporter's trouble is told once, by our own
    // words.
    let quiet = format!("{}=off,opentelemetry=off", crate::transfer::events::TARGET);
    let filter = EnvFilter::new(format!(
        "warn,blobferry={level},azure_core=error,azure_storage_blob=error,russh=error,{quiet}"
    ));
    let base = fmt::layer()
        .with_ansi(false)
        .with_target(false)
        .with_span_events(FmtSpan::NONE)
        .with_writer(writer);
    if json {
        base.json().flatten_event(true).with_filter(filter).boxed()
    } else {
        base.with_filter(filter).boxed()
    }
}

/// The log file at `path`: a new one is begun each day or hour, the old one then gets the time into
/// its name.
fn open(path: &Path, settings: &LogSettings) -> io::Result<FileRotate<AppendTimestamp>> {
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Names of files and servers are nobody's business but the owner's and the group's.
    let (mut builder, mut options) = (fs::DirBuilder::new(), fs::OpenOptions::new());
    builder.recursive(true);
    options.create(true).append(true).read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        builder.mode(0o750);
        options.mode(0o640);
    }
    builder.create(folder)?;
    // The library tells nobody when it cannot write, so this asks first.
    options.open(path)?;
    let limit = match settings.rotation {
        "hourly" => ContentLimit::Time(TimeFrequency::Hourly),
        "never" => ContentLimit::None,
        _ => ContentLimit::Time(TimeFrequency::Daily),
    };
    let suffix = AppendTimestamp::default(FileLimit::MaxFiles(settings.keep));
    Ok(FileRotate::new(
        folder.join(path.file_name().unwrap_or_default()),
        suffix,
        limit,
        Compression::None,
        Some(options),
    ))
}
