//! The `[[source.expect]]` tables of a source: which files are expected of it, by when.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use time::{Date, Weekday};

use crate::config::text::RawSection;
use crate::model::printable;
use crate::rules::expect::{Expectation, ExpectedWhen, Severity};
use crate::rules::expect_due::{DeadlineTimes, Deadlines, all_days, date, days};
use crate::rules::expect_files::ExpectedFiles;
use crate::settings::{Section, SettingError, SettingKey, ValueKind};
use crate::transfer::settings::Source;

/// `[[source.expect]]`.
pub(crate) const KEYS: &[SettingKey] = &[
    SettingKey {
        name: "name",
        kind: ValueKind::Text,
        doc: "Name of the expectation: lower-case letters, digits and `-`, unique in its source.",
    },
    SettingKey {
        name: "files",
        kind: ValueKind::List,
        doc: "Globs below the URL's path, with dates as `{yyyyMMdd}`, which tell the day of the \
            deadline. Default: `include`.",
    },
    SettingKey {
        name: "by",
        kind: ValueKind::Text,
        doc: "Time of day by which the files are to be stored, as \"07:00\", on the source's clock \
            (`time_zone`).",
    },
    SettingKey {
        name: "cron",
        kind: ValueKind::Text,
        doc: "Deadlines as a cron expression of five fields on the same clock, instead of `by`.",
    },
    SettingKey {
        name: "max_age",
        kind: ValueKind::Duration,
        doc: "Freshness instead of deadlines: the newest file was stored at most so long ago.",
    },
    SettingKey {
        name: "days",
        kind: ValueKind::List,
        doc: "Days of the week that have deadlines, as \"mon-fri\", \"mon,thu\" or a list, \
            [\"mon\", \"wed-fri\"]. Default: all.",
    },
    SettingKey {
        name: "except",
        kind: ValueKind::List,
        doc: "Days without a deadline, as \"2026-12-25\".",
    },
    SettingKey {
        name: "except_file",
        kind: ValueKind::Text,
        doc: "File of days without a deadline, one a line, `#` begins a comment; relative to this \
            file.",
    },
    SettingKey {
        name: "window",
        kind: ValueKind::Duration,
        doc: "What was stored so long before a deadline counts. Default: since the deadline \
            before, at most \"7d\".",
    },
    SettingKey {
        name: "grace",
        kind: ValueKind::Duration,
        doc: "How long files are late before they are missed. Default \"0s\".",
    },
    SettingKey {
        name: "min_count",
        kind: ValueKind::Integer { min: 0, max: 1_000_000 },
        doc: "Files that are expected, at least. Default 1.",
    },
    SettingKey {
        name: "max_count",
        kind: ValueKind::Integer { min: 0, max: 1_000_000 },
        doc: "Files that are expected, at most. Default: any number.",
    },
    SettingKey {
        name: "min_size",
        kind: ValueKind::Size,
        doc: "Smaller files do not count. Default \"0 B\".",
    },
    SettingKey {
        name: "severity",
        kind: ValueKind::OneOf(&["error", "warn"]),
        doc: "`error`: a missed window makes the run degraded; `warn`: it changes no exit status. \
            Default `error`.",
    },
];

/// Reads the expectations of `source`; `file` is the configuration's name, in its folder.
pub(crate) fn parse(
    (file, folder): (&str, &Path),
    source: &Source,
    tables: Vec<RawSection>,
) -> Result<Vec<Expectation>, SettingError> {
    let (mut all, mut names) = (Vec::new(), BTreeSet::new());
    for raw in tables {
        let label = format!("source.{}.expect", source.name);
        let section = Section::new(file, &label, raw.line, raw.entries, KEYS.to_vec())?;
        let expectation = one(&section, folder, source)?;
        if !names.insert(expectation.name.clone()) {
            return Err(section.error(
                "name",
                format!("is \"{}\", which stands twice in this source", expectation.name),
            ));
        }
        all.push(expectation);
    }
    Ok(all)
}

fn one(section: &Section, folder: &Path, source: &Source) -> Result<Expectation, SettingError> {
    let (min_count, max_count) =
        (section.integer("min_count")?.unwrap_or(1), section.integer("max_count")?);
    if max_count.is_some_and(|most| most < min_count) {
        return Err(section.error("max_count", format!("is less than `min_count`, {min_count}")));
    }
    let files = match section.list("files")? {
        given if given.is_empty() => source.patterns.given().to_vec(),
        given => given,
    };
    let files = ExpectedFiles::new(&source.root, &files)
        .map_err(|problem| section.error("files", problem))?;
    Ok(Expectation {
        name: name(section)?,
        files,
        when: when(section, folder, source)?,
        min_count,
        max_count,
        min_size: section.size("min_size")?.unwrap_or(0),
        severity: match section.one_of("severity")? {
            Some("warn") => Severity::Warn,
            _ => Severity::Error,
        },
    })
}

fn name(section: &Section) -> Result<String, SettingError> {
    let allowed = "allowed are up to 63 lower-case letters, digits and `-`";
    let Some(name) = section.text("name")? else {
        return Err(section.error("name", format!("is missing; {allowed}")));
    };
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.len() <= 63 && name.chars().all(legal) {
        return Ok(name);
    }
    let shown = printable(name.as_bytes());
    Err(section.error("name", format!("is \"{shown}\"; {allowed}")))
}

fn when(section: &Section, folder: &Path, source: &Source) -> Result<ExpectedWhen, SettingError> {
    const KINDS: [&str; 3] = ["by", "cron", "max_age"];
    let given: Vec<&str> = KINDS.into_iter().filter(|key| section.has(key)).collect();
    let [kind] = given[..] else {
        let (key, found) = match given.get(1) {
            Some(second) => (*second, format!("stands beside `{}`", given[0])),
            None => ("by", "is missing".to_owned()),
        };
        let allowed = "allowed is one of `by`, `cron` and `max_age`";
        return Err(section.error(key, format!("{found}; {allowed}")));
    };
    if kind == "max_age" {
        for key in ["days", "except", "except_file", "window", "grace"] {
            if section.has(key) {
                return Err(section.error(key, "stands beside `max_age`, which has no deadline"));
            }
        }
        let age = section.duration("max_age")?.unwrap_or_default();
        return Ok(ExpectedWhen::MaxAge(age));
    }
    let deadlines = Deadlines {
        times: times(section, kind)?,
        days: days_of_week(section)?,
        except: except(section, folder)?,
        zone: source.time_zone,
    };
    let grace = section.duration("grace")?.unwrap_or_default();
    grace_ends_before_the_next(section, &deadlines, grace)?;
    Ok(ExpectedWhen::By { deadlines, window: section.duration("window")?, grace })
}

fn days_of_week(section: &Section) -> Result<Vec<Weekday>, SettingError> {
    const ALLOWED: &str = "allowed is \"mon-fri\", \"mon,thu\" or a list, [\"mon\", \"wed-fri\"]";
    let texts = section.list("days")?;
    match texts.as_slice() {
        [] if section.has("days") => Err(section.error("days", format!("is empty; {ALLOWED}"))),
        [] => Ok(all_days()),
        texts => days(texts).map_err(|text| {
            let shown = printable(text.as_bytes());
            section.error("days", format!("is \"{shown}\"; {ALLOWED}"))
        }),
    }
}

fn times(section: &Section, kind: &str) -> Result<DeadlineTimes, SettingError> {
    if kind == "cron" {
        let text = section.text("cron")?.unwrap_or_default();
        return DeadlineTimes::cron(&text).map_err(|problem| section.error("cron", problem));
    }
    let text = section.text("by")?.unwrap_or_default();
    DeadlineTimes::at(&text).ok_or_else(|| {
        let shown = printable(text.as_bytes());
        section.error("by", format!("is \"{shown}\"; allowed is a time of day as \"07:00\""))
    })
}

/// Two windows that are late at once could not be told apart.
fn grace_ends_before_the_next(
    section: &Section,
    deadlines: &Deadlines,
    grace: Duration,
) -> Result<(), SettingError> {
    // Any year has what matters: the shortest span between two deadlines of some weeks.
    let mut at = time::macros::datetime!(2026-01-05 0:00 UTC);
    let mut shortest = None::<time::Duration>;
    let mut before = None;
    for _ in 0..200 {
        let Some((next, _)) = deadlines.next(at) else { break };
        if let Some(before) = before {
            let span = next - before;
            shortest = Some(shortest.map_or(span, |shortest| shortest.min(span)));
        }
        (before, at) = (Some(next), next);
    }
    if before.is_none() {
        return Err(section.error("days", "leaves no deadline"));
    }
    match shortest {
        Some(shortest) if grace >= shortest => Err(section.error(
            "grace",
            format!(
                "reaches to the next deadline, which comes after {} minutes",
                shortest.whole_minutes()
            ),
        )),
        _ => Ok(()),
    }
}

fn except(section: &Section, folder: &Path) -> Result<BTreeSet<Date>, SettingError> {
    let mut found = BTreeSet::new();
    let wrong = |key: &str, text: &str| {
        let shown = printable(text.as_bytes());
        section.error(key, format!("holds \"{shown}\"; allowed are days as \"2026-12-25\""))
    };
    for text in section.list("except")? {
        found.insert(date(&text).ok_or_else(|| wrong("except", &text))?);
    }
    if let Some(path) = section.text("except_file")? {
        let text = std::fs::read_to_string(folder.join(&path)).map_err(|error| {
            let shown = printable(path.as_bytes());
            let problem = format!("names `{shown}`, which cannot be read: {error}");
            section.error_outside("except_file", problem)
        })?;
        for line in text.lines() {
            let day = line.split('#').next().unwrap_or_default().trim();
            if !day.is_empty() {
                found.insert(date(day).ok_or_else(|| SettingError {
                    is_outside: true,
                    ..wrong("except_file", day)
                })?);
            }
        }
    }
    Ok(found)
}
