//! A report as people read it.

use std::collections::BTreeMap;
use std::fmt;

use time::format_description::well_known::Rfc3339;

use super::outcome::{Defer, Problem};
use super::run_report::Report;
use super::source_report::{LeftTo, Members, SourceReport};
use super::status::Status;
use crate::model::number_of;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let well = || self.sources.iter().filter(|source| !is_bad(source));
        let is_told = |source: &&SourceReport| self.sources.len() < MANY || has_news(source);
        let told = well().filter(is_told).count();
        well().filter(is_told).try_for_each(|source| write!(f, "{source}"))?;
        let unchanged = well().count() - told;
        if unchanged > 0 {
            writeln!(
                f,
                "{} {} unchanged",
                counted(unchanged),
                if unchanged == 1 { "source" } else { "sources" }
            )?;
        }
        f.write_str(&self.bad())
    }
}

/// From so many sources on, those without news are told in one line.
const MANY: usize = 10;

/// Whether somebody should look at `source`.
fn is_bad(source: &SourceReport) -> bool {
    source.status() > Status::Interrupted || !source.problems.is_empty()
}

/// Whether anything is to be told of `source` but that it is unchanged.
fn has_news(source: &SourceReport) -> bool {
    source.ingested + source.gone + source.deferred + source.failed + source.unparsed_lines > 0
        || source.left_to.is_some()
        || !source.notes.is_empty()
        || source.status() == Status::Interrupted
}

/// A number for people, as `1,988`.
pub fn counted(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl Report {
    /// What is wrong: the sources that somebody should look at, the problems of the run, its last
    /// line.
    pub fn bad(&self) -> String {
        let sources = self.sources.iter().filter(|source| is_bad(source));
        let mut text: String = sources.map(ToString::to_string).collect();
        let told =
            self.problems.iter().try_for_each(|problem| write_problem(&mut text, "", problem));
        told.and_then(|()| self.write_end(&mut text)).expect("writing to a String does not fail");
        text
    }

    fn write_end(&self, f: &mut impl fmt::Write) -> fmt::Result {
        let seconds = (self.ended - self.started).as_seconds_f64();
        let word = self.status().word();
        let ingested: u64 = self.sources.iter().map(|source| source.ingested).sum();
        let bytes: u64 = self.sources.iter().map(|source| source.bytes).sum();
        writeln!(
            f,
            "run {} {word}: {ingested} ingested, {} in {seconds:.1} s, into {}",
            self.run,
            in_bytes(bytes),
            self.store
        )
    }
}

impl fmt::Display for SourceReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({})", self.source, self.address)?;
        if let Some(other) = &self.left_to {
            writeln!(f, "  left to {other}")?;
            return self
                .problems
                .iter()
                .take(SHOWN)
                .try_for_each(|problem| write_problem(f, "  ", problem));
        }
        if !self.unusable {
            writeln!(
                f,
                "  listed {} = ingested {} + unchanged {} + skipped {} + gone {} + deferred {} + \
                failed {}",
                self.listed,
                self.ingested,
                self.unchanged,
                self.skipped,
                self.gone,
                self.deferred,
                self.failed
            )?;
        }
        if self.ingested > 0 {
            writeln!(f, "  {} from {}", number_of(self.blobs, "blob"), in_bytes(self.bytes))?;
        }
        if self.recovered > 0 {
            writeln!(f, "  recovered {}: stored by runs that did not end", self.recovered)?;
        }
        for unmet in self.expectations.iter().filter(|expected| expected.is_unmet()) {
            writeln!(f, "  expected: {}", unmet.text())?;
        }
        if self.members.archives > 0 {
            let Members { archives, members, stored, identical, skipped, links } = self.members;
            let of_links = if links > 0 {
                format!(" ({})", number_of(links, "symbolic link"))
            } else {
                String::new()
            };
            writeln!(
                f,
                "  {}: members {members} = stored {stored} + identical \
                {identical} + skipped {skipped}{of_links}",
                number_of(archives, "archive")
            )?;
        }
        if self.partly_unpacked > 0 {
            writeln!(
                f,
                "  partly unpacked: {} stored without being unpacked",
                number_of(self.partly_unpacked, "inner archive")
            )?;
        }
        if !self.not_unpacked.is_empty() {
            writeln!(f, "  not unpacked: {}", reasons(&self.not_unpacked))?;
        }
        if self.on_trust > 0 {
            writeln!(
                f,
                "  {} told by size alone (`times = \"none\"`)",
                number_of(self.on_trust, "unchanged file")
            )?;
        }
        if self.kept_by_failure > 0 {
            writeln!(
                f,
                "  not skipped: {} older than `max_age` that earlier runs left undone",
                number_of(self.kept_by_failure, "file")
            )?;
        }
        if let (Some(first), Some(last)) = (self.days.first(), self.days.last()) {
            writeln!(f, "  days: {first} to {last}")?;
        }
        if !self.skipped_by_reason.is_empty() {
            writeln!(f, "  skipped: {}", reasons(&self.skipped_by_reason))?;
        }
        write_some(f, "deferred", &self.deferred_files, self.deferred)?;
        let over = self.deferred_as(Defer::TooMany);
        if over > 0 {
            let files = number_of(over, "file");
            writeln!(f, "  {files} beyond `limits.files`: left to the next run")?;
        }
        write_some(f, "note", &self.notes, self.notes.len() as u64)?;
        for line in self.failures.iter().take(SHOWN) {
            writeln!(
                f,
                "  failed {} [{}]: {}",
                line.path, line.problem.class, line.problem.message
            )?;
            writeln!(f, "    hint: {}", line.problem.hint)?;
        }
        if self.failed > SHOWN as u64 {
            writeln!(f, "  … and {} more failed files", self.failed - SHOWN as u64)?;
        }
        if self.unparsed_lines > 0 {
            writeln!(
                f,
                "  {} listing lines that cannot be parsed, as: {}",
                self.unparsed_lines,
                self.unparsed_samples.join(" | ")
            )?;
        }
        for problem in self.problems.iter().take(SHOWN) {
            write_problem(f, "  ", problem)?;
        }
        Ok(())
    }
}

impl fmt::Display for LeftTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.run {
            Some(run) => write!(f, "run {run}")?,
            None => f.write_str("another run")?,
        }
        if let Some(host) = &self.host {
            write!(f, " on {host}")?;
        }
        f.write_str(", which is at it")?;
        match self.since.and_then(|since| since.format(&Rfc3339).ok()) {
            Some(since) => write!(f, " since {since}"),
            None => Ok(()),
        }
    }
}

const SHOWN: usize = 20;

fn write_some(f: &mut fmt::Formatter<'_>, word: &str, lines: &[String], total: u64) -> fmt::Result {
    for line in lines.iter().take(SHOWN) {
        writeln!(f, "  {word}: {line}")?;
    }
    if total > SHOWN as u64 {
        writeln!(f, "  … and {} more {word}", total - SHOWN as u64)?;
    }
    Ok(())
}

fn write_problem(f: &mut impl fmt::Write, indent: &str, problem: &Problem) -> fmt::Result {
    writeln!(f, "{indent}problem [{}]: {}", problem.class, problem.message)?;
    writeln!(f, "{indent}  hint: {}", problem.hint)
}

fn reasons(counts: &BTreeMap<std::borrow::Cow<'static, str>, u64>) -> String {
    counts.iter().map(|(reason, count)| format!("{reason} {count}")).collect::<Vec<_>>().join(", ")
}

/// Bytes for people, as `5.0 MiB`.
pub fn in_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in UNITS {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_parted() {
        let told = [0, 999, 1_000, 1_988, 1_234_567].map(counted);
        assert_eq!(told, ["0", "999", "1,000", "1,988", "1,234,567"]);
    }
}
