//! Progress bars: one a source with its rate and the time that is left, and one for all of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use indicatif::{
    HumanDuration, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};

use crate::config::text::Environment;
use crate::model::RemotePath;
use crate::model::number_of;
use crate::report::{Outcome, SourceReport, in_bytes};
use crate::transfer::progress::Progress;

/// Of more sources than these only the sum is shown.
const MANY: usize = 20;

/// Bars on standard error.
pub(crate) struct Bars {
    all: MultiProgress,
    state: Mutex<BarsState>,
    colours: Colours,
}

/// Whether bars may be coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colours {
    /// They may.
    Yes,
    /// The environment says no: <https://no-color.org>.
    No,
}

impl Colours {
    /// What `environment` says.
    pub fn wanted(environment: &Environment) -> Self {
        if environment.get("NO_COLOR").is_some_and(|value| !value.is_empty()) {
            Self::No
        } else {
            Self::Yes
        }
    }
}

struct BarsState {
    sources: BTreeMap<String, Bar>,
    /// There is one where there are several sources.
    total: Option<ProgressBar>,
}

struct Bar {
    bar: ProgressBar,
    planned: bool,
    files: u64,
    done: u64,
}

impl Bars {
    /// A bar for each of `sources`, which are being listed now.
    pub fn new<'a>(sources: impl Iterator<Item = &'a str>, colours: Colours) -> Self {
        Self::on(ProgressDrawTarget::stderr(), sources, colours)
    }

    fn on<'a>(
        target: ProgressDrawTarget,
        sources: impl Iterator<Item = &'a str>,
        colours: Colours,
    ) -> Self {
        let all = MultiProgress::with_draw_target(target);
        let names: Vec<&str> = sources.collect();
        let bar = |name: &&str| {
            if names.len() > MANY {
                // No terminal is so high, and each bar that moves has a thread.
                let bar = ProgressBar::hidden();
                return ((*name).to_owned(), Bar { bar, planned: false, files: 0, done: 0 });
            }
            let bar = all.add(ProgressBar::new(0));
            bar.set_style(style("{prefix:12} {spinner} {wide_msg}"));
            bar.set_prefix((*name).to_owned());
            bar.set_message("listing");
            bar.enable_steady_tick(Duration::from_millis(120));
            ((*name).to_owned(), Bar { bar, planned: false, files: 0, done: 0 })
        };
        let sources: BTreeMap<String, Bar> = names.iter().map(bar).collect();
        let total = (sources.len() > 1).then(|| {
            let bar = all.add(ProgressBar::new(0));
            bar.set_style(style("{prefix:12} {wide_msg}"));
            bar.set_prefix("in all");
            bar
        });
        Self { all, state: Mutex::new(BarsState { sources, total }), colours }
    }

    /// Writes lines above the bars.
    pub fn above(&self, text: &str) {
        // Without a terminal there is nothing to write above of.
        drop(self.all.println(text.trim_end()));
    }

    fn state(&self) -> MutexGuard<'_, BarsState> {
        self.state.lock().expect("no code panics while it holds this lock")
    }

    fn moving(&self) -> ProgressStyle {
        let bar = match self.colours {
            Colours::Yes => "{bar:14.cyan}",
            Colours::No => "{bar:14}",
        };
        // On a terminal of 80 columns rate and time left are still there; the rest is cut, for a
        // line that wraps jumps.
        style(&format!(
            "{{prefix:12}} [{bar}] {{binary_bytes:>10}} of {{binary_total_bytes:10}} \
            {{binary_bytes_per_sec:>12}} {{time_left:>4}} left  {{wide_msg}}"
        ))
        .with_key("time_left", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            // What cannot be written is not shown.
            out.write_str(&time_left(state)).unwrap_or_default();
        })
    }
}

impl BarsState {
    /// A source has ended; with the last of them the sum ends, too.
    fn ended(&self) {
        self.tell();
        let over = self.sources.values().all(|bar| bar.bar.is_finished());
        if let Some(total) = self.total.as_ref().filter(|_| over) {
            total.set_style(style("{prefix:12} {wide_msg}"));
            total.finish();
        }
    }

    /// Tells of all sources together: how many files, and how many sources are still being listed,
    /// whose files the time that is left does not know of.
    fn tell(&self) {
        let Some(total) = &self.total else { return };
        let (done, files) = self
            .sources
            .values()
            .fold((0, 0), |(done, files), bar| (done + bar.done, files + bar.files));
        let listing = self.sources.values().filter(|bar| !bar.planned).count();
        let more = if listing == 0 {
            String::new()
        } else {
            format!(", {} still listing", number_of(listing, "source"))
        };
        total.set_message(format!("{done} of {}{more}", number_of(files, "file")));
    }
}

/// How long what is left takes at the rate of now; nobody knows that while nothing moves.
fn time_left(state: &ProgressState) -> String {
    let left = state.len().unwrap_or(0).saturating_sub(state.pos());
    if left > 0 && state.per_sec() < 1.0 {
        return "–".into();
    }
    format!("{:#}", HumanDuration(state.eta()))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are our own").progress_chars("━╸ ")
}

impl Progress for Bars {
    fn planned(&self, source: &str, files: u64, bytes: u64) {
        let moving = self.moving();
        let mut state = self.state();
        let Some(bar) = state.sources.get_mut(source) else { return };
        bar.files = files;
        bar.planned = true;
        bar.bar.set_style(moving.clone());
        bar.bar.set_length(bytes);
        bar.bar.set_message(format!("0 of {}", number_of(files, "file")));
        bar.bar.reset_eta();
        if let Some(total) = &state.total {
            total.set_style(moving);
            total.inc_length(bytes);
        }
        state.tell();
    }

    fn fetched(&self, source: &str, bytes: u64) {
        let state = self.state();
        let bars = state.sources.get(source).map(|bar| &bar.bar).into_iter().chain(&state.total);
        for bar in bars {
            bar.inc(bytes);
            // Of young files, which the plan did not count, and of files that grew: what is fetched
            // is part of all.
            bar.set_length(bar.length().unwrap_or(0).max(bar.position()));
        }
    }

    fn done(&self, source: &str, _path: &RemotePath, _outcome: &Outcome) {
        let mut state = self.state();
        let Some(bar) = state.sources.get_mut(source) else { return };
        bar.done += 1;
        bar.files = bar.files.max(bar.done);
        bar.bar.set_message(format!("{} of {}", bar.done, number_of(bar.files, "file")));
        state.tell();
    }

    fn waiting(&self, source: &str, files: usize, seconds: u64) {
        if let Some(bar) = self.state().sources.get_mut(source) {
            bar.files = bar.files.max(bar.done + files as u64);
            bar.bar.set_message(format!("{files} young files: looking again in {seconds} s"));
        }
    }

    fn finished(&self, report: &SourceReport) {
        let mut state = self.state();
        let Some(bar) = state.sources.get_mut(&report.source) else { return };
        bar.planned = true;
        bar.bar.set_style(style("{prefix:12} {wide_msg}"));
        if let Some(other) = &report.left_to {
            bar.bar.finish_with_message(format!("left to {other}"));
            return state.ended();
        }
        if report.unusable {
            let why = report.problems.first().map_or("no reason is told", |first| &first.message);
            let told = format!("not looked at: {why}");
            // Where there are too many bars to show, the reason stands above the sum.
            if bar.bar.is_hidden() {
                drop(self.all.println(format!("{}: {told}", report.source)));
            }
            bar.bar.finish_with_message(told);
            return state.ended();
        }
        let failed =
            if report.failed == 0 { String::new() } else { format!(", {} failed", report.failed) };
        bar.bar.finish_with_message(format!(
            "{}, {}{failed}",
            number_of(report.ingested, "file"),
            in_bytes(report.bytes)
        ));
        state.ended();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Defer;
    use indicatif::InMemoryTerm;

    fn bars(names: &[&str], colours: Colours) -> (Bars, InMemoryTerm) {
        let term = InMemoryTerm::new(6, 140);
        (
            Bars::on(
                ProgressDrawTarget::term_like(Box::new(term.clone())),
                names.iter().copied(),
                colours,
            ),
            term,
        )
    }

    fn redraw(bars: &Bars) {
        let state = bars.state();
        state.sources.values().map(|bar| &bar.bar).chain(&state.total).for_each(ProgressBar::tick);
    }

    #[test]
    fn sources_and_all_of_them_tell_bytes_files_rate_and_time_left() {
        let (bars, term) = bars(&["acme", "other"], Colours::No);
        bars.planned("acme", 4, 4096);
        bars.fetched("acme", 1024);
        bars.done("acme", &RemotePath::from("/a"), &Outcome::Deferred(Defer::Unsettled));
        redraw(&bars);
        let text = term.contents();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(
            lines[0].starts_with("acme")
                && lines[0].contains("1.00 KiB of 4.00 KiB")
                && lines[0].contains("left  1 of 4 files"),
            "{text}"
        );
        assert!(lines[1].starts_with("other") && lines[1].contains("listing"), "{text}");
        assert!(
            lines[2].starts_with("in all")
                && lines[2].contains("1 of 4 files, 1 source still listing"),
            "{text}"
        );
        let report =
            |name: &str| SourceReport { failed: 1, ..SourceReport::new(name, "file:///x") };
        bars.finished(&report("acme"));
        bars.finished(&report("other"));
        redraw(&bars);
        assert!(
            term.contents().contains("0 files, 0 B, 1 failed") && !term.contents().contains("left"),
            "{}",
            term.contents()
        );
    }

    #[test]
    fn a_narrow_terminal_still_shows_rate_and_time_left() {
        let term = InMemoryTerm::new(6, 80);
        let bars = Bars::on(
            ProgressDrawTarget::term_like(Box::new(term.clone())),
            ["acme"].into_iter(),
            Colours::No,
        );
        bars.planned("acme", 1_234, 400 << 30);
        bars.fetched("acme", 123 << 30);
        redraw(&bars);
        let text = term.contents();
        assert!(
            text.contains("123.00 GiB of 400.00 GiB")
                && text.contains("/s")
                && text.contains("left"),
            "{text}"
        );
    }

    #[test]
    fn young_files_that_no_plan_counted_are_counted_as_they_come() {
        let (bars, term) = bars(&["acme", "other"], Colours::No);
        bars.planned("acme", 0, 0);
        bars.waiting("acme", 2, 9);
        bars.fetched("acme", 2048);
        bars.done("acme", &RemotePath::from("/a"), &Outcome::Unchanged);
        redraw(&bars);
        let text = term.contents();
        assert!(text.contains("2.00 KiB of 2.00 KiB") && text.contains("1 of 2 files"), "{text}");
    }

    #[test]
    fn while_nothing_moves_nobody_knows_the_time_that_is_left() {
        let (bars, term) = bars(&["acme"], Colours::No);
        bars.planned("acme", 4, 4096);
        redraw(&bars);
        assert!(term.contents().contains("– left"), "{}", term.contents());
    }

    #[test]
    fn of_forty_sources_the_sum_is_shown_and_why_one_is_not_there() {
        let names: Vec<String> = (0..40).map(|number| format!("source-{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (bars, term) = bars(&names, Colours::No);
        names[1..].iter().for_each(|name| bars.planned(name, 1, 1024));
        bars.fetched("source-7", 1024);
        bars.done("source-7", &RemotePath::from("/a"), &Outcome::Unchanged);
        let mut report = SourceReport::new("source-0", "ftp://x");
        report.unusable = true;
        let refused = crate::model::failure::Class::Auth;
        report.problems.push(crate::report::Problem::new(refused, "530 no"));
        bars.finished(&report);
        redraw(&bars);
        let text = term.contents();
        assert!(text.contains("source-0: not looked at: 530 no"), "{text}");
        assert!(text.contains("1.00 KiB of 39.00 KiB") && text.contains("1 of 39 files"), "{text}");
    }

    #[test]
    fn one_source_needs_no_sum() {
        let (bars, term) = bars(&["acme"], Colours::Yes);
        bars.planned("acme", 1, 10);
        redraw(&bars);
        assert_eq!(term.contents().lines().count(), 1, "{}", term.contents());
    }
}
