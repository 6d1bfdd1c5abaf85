//! Progress bars: one a source and one line of files in hand.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::model::RemotePath;
use crate::report::{Outcome, SourceReport, in_bytes};
use crate::run::progress::Progress;

/// Bars on standard error.
pub struct Bars {
    all: MultiProgress,
    sources: Mutex<BTreeMap<String, Bar>>,
}

struct Bar {
    bar: ProgressBar,
    files: u64,
    done: u64,
}

impl Bars {
    /// A bar for each of `sources`, which are being listed now.
    pub fn new<'a>(sources: impl Iterator<Item = &'a str>) -> Self {
        let all = MultiProgress::new();
        let bar = |name: &str| {
            let bar = all.add(ProgressBar::new(0));
            bar.set_style(style("{prefix:16} {spinner} {msg}"));
            bar.set_prefix(name.to_owned());
            bar.set_message("listing");
            bar.enable_steady_tick(Duration::from_millis(120));
            (name.to_owned(), Bar { bar, files: 0, done: 0 })
        };
        let sources = Mutex::new(sources.map(bar).collect());
        Self { all, sources }
    }

    /// Writes lines above the bars.
    pub fn above(&self, text: &str) {
        // Without a terminal there is nothing to write above of.
        drop(self.all.println(text.trim_end()));
    }

    fn sources(&self) -> MutexGuard<'_, BTreeMap<String, Bar>> {
        self.sources.lock().expect("no code panics while it holds this lock")
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are our own").progress_chars("━╸ ")
}

impl Progress for Bars {
    fn planned(&self, source: &str, files: u64, bytes: u64) {
        let mut sources = self.sources();
        let Some(bar) = sources.get_mut(source) else { return };
        bar.files = files;
        bar.bar.set_style(style("{prefix:16} [{bar:24}] {binary_bytes:>10} of {binary_total_bytes:10} {binary_bytes_per_sec:>12} {msg}"));
        bar.bar.set_length(bytes);
        bar.bar.set_message(format!("0 of {files} files"));
    }

    fn fetched(&self, source: &str, bytes: u64) {
        if let Some(bar) = self.sources().get(source) {
            bar.bar.inc(bytes);
        }
    }

    fn done(&self, source: &str, _path: &RemotePath, _outcome: &Outcome) {
        let mut sources = self.sources();
        let Some(bar) = sources.get_mut(source) else { return };
        bar.done += 1;
        bar.files = bar.files.max(bar.done);
        bar.bar.set_message(format!("{} of {} files", bar.done, bar.files));
    }

    fn waiting(&self, source: &str, files: usize, seconds: u64) {
        if let Some(bar) = self.sources().get(source) {
            bar.bar.set_message(format!("{files} young files: looking again in {seconds} s"));
        }
    }

    fn finished(&self, report: &SourceReport) {
        if let Some(bar) = self.sources().get(&report.source) {
            bar.bar.set_style(style("{prefix:16} {msg}"));
            bar.bar.finish_with_message(match &report.left_to {
                Some(other) => format!("left to {other}"),
                None => format!("{} files, {}", report.ingested, in_bytes(report.bytes)),
            });
        }
    }
}
