//! Patterns with dates in them, and the days that a run looks at. Pure: the clock is a value.

use std::collections::HashSet;

use time::{Date, Duration, PrimitiveDateTime, Time};

use crate::model::printable;
use crate::rules::date_format::{BadDateFormat, DateFormat, DateUnit};

/// Characters that mean something in a glob.
const GLOB_CHARACTERS: &[char] = &['*', '?', '[', ']', '{', '}', '\\'];

/// A text with date placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatePattern(Vec<PatternPart>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum PatternPart {
    Text(String),
    Date(DateFormat),
}

impl DatePattern {
    /// Reads a glob: a group in braces that is no date stays what it is, a list of alternatives.
    /// Groups that resemble a date come back beside it.
    pub fn of_glob(glob: &str) -> Result<(Self, Vec<BadDateFormat>), BadDateFormat> {
        let (mut parts, mut text, mut doubtful) = (Vec::new(), String::new(), Vec::new());
        let mut rest = glob;
        while let Some(first) = rest.chars().next() {
            let length = match first {
                '\\' => rest.chars().take(2).map(char::len_utf8).sum(),
                // In a class a brace is a brace.
                '[' => rest.find(']').map_or(rest.len(), |end| end + 1),
                '{' => match group(rest) {
                    None => 1,
                    Some(inner) => match DateFormat::parse(inner) {
                        Ok(format) => {
                            parts.push(PatternPart::Text(std::mem::take(&mut text)));
                            parts.push(PatternPart::Date(format));
                            rest = &rest[inner.len() + 2..];
                            continue;
                        }
                        Err(error) if error.is_a_date => return Err(error),
                        Err(error) => {
                            doubtful.extend(error.resembles_a_date().then_some(error));
                            inner.len() + 2
                        }
                    },
                },
                _ => first.len_utf8(),
            };
            text.push_str(&rest[..length]);
            rest = &rest[length..];
        }
        parts.push(PatternPart::Text(text));
        Ok((Self(parts), doubtful))
    }

    /// Reads a path in which braces hold dates and nothing else.
    pub fn of_path(path: &str) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), path);
        while let Some(open) = rest.find('{') {
            let inner = group(&rest[open..]).ok_or("holds a `{` without its `}`")?;
            let format = DateFormat::parse(inner).map_err(|error| error.to_string())?;
            parts.push(PatternPart::Text(rest[..open].to_owned()));
            parts.push(PatternPart::Date(format));
            rest = &rest[open + inner.len() + 2..];
        }
        parts.push(PatternPart::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    /// Whether it holds a date.
    pub(crate) fn has_dates(&self) -> bool {
        self.formats().next().is_some()
    }

    fn formats(&self) -> impl Iterator<Item = &DateFormat> {
        self.0.iter().filter_map(|part| match part {
            PatternPart::Date(format) => Some(format),
            PatternPart::Text(_) => None,
        })
    }

    /// The finest part of a date that the text changes with.
    pub(crate) fn finest(&self) -> Option<DateUnit> {
        self.formats().map(DateFormat::changes_with).min()
    }

    /// The text at `local`.
    pub fn at(&self, local: PrimitiveDateTime) -> String {
        let write = |part: &PatternPart| match part {
            PatternPart::Text(text) => text.clone(),
            PatternPart::Date(format) => format.write(local),
        };
        self.0.iter().map(write).collect()
    }

    /// The glob that matches the text at any time.
    pub fn at_any_time(&self) -> String {
        let write = |part: &PatternPart| match part {
            PatternPart::Text(text) => text.clone(),
            PatternPart::Date(format) => format.at_any_time(),
        };
        self.0.iter().map(write).collect()
    }

    /// The folder that the text lies in at all times.
    pub(crate) fn fixed_folder(&self) -> &str {
        match self.0.as_slice() {
            [PatternPart::Text(text)] => text,
            [PatternPart::Text(text), ..] => &text[..text.rfind('/').unwrap_or(0)],
            _ => "",
        }
    }
}

/// What stands between the braces at the beginning of `text`, if no other brace does.
fn group(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('{')?;
    let end = inner.find(['{', '}'])?;
    inner[end..].starts_with('}').then_some(&inner[..end])
}

/// `text` as a glob that matches it alone.
pub fn escaped(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, c| {
        if GLOB_CHARACTERS.contains(&c) {
            escaped.push('\\');
        }
        escaped.push(c);
        escaped
    })
}

/// The folders of a source that have dates in their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DateFolders {
    /// The `include` patterns, with those that hold no date.
    pub include: Vec<DatePattern>,
    /// Days before today that every run looks at.
    pub days_back: u16,
    /// Days before today that a run looks at, at most, to make up for runs that were missed.
    pub catch_up: u16,
}

/// How far back a pass looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookBack {
    /// When the last run began that left nothing undone; before any has, when the first one began.
    pub settled: Option<time::OffsetDateTime>,
    /// The days whose folders are looked at, where folders have dates.
    pub days: Option<LookedDays>,
}

/// The days that a run looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookedDays {
    /// From this day on.
    pub first: Date,
    /// To this time of today.
    pub now: PrimitiveDateTime,
    /// The first and the last of the days that no run has looked at in full, and that are too long
    /// ago to be made up for.
    pub missed: Option<(Date, Date)>,
}

impl DateFolders {
    /// The days to look at when clocks of the source's zone show `now`; `settled` is what they
    /// showed when the last run began that left nothing undone.
    pub fn days(&self, now: PrimitiveDateTime, settled: Option<PrimitiveDateTime>) -> LookedDays {
        let today = now.date();
        let back = |from: Date, days: u16| from.saturating_sub(Duration::days(days.into()));
        let last = settled.map_or(today, |settled| settled.date().min(today));
        let earliest = back(today, self.catch_up.max(self.days_back));
        let first = back(last, self.days_back).max(earliest);
        let missed =
            (last < earliest).then(|| earliest.previous_day().map(|until| (last, until))).flatten();
        LookedDays { first, now, missed }
    }

    /// The patterns of these days, each once.
    pub fn patterns(&self, looked: &LookedDays) -> Vec<String> {
        let mut known = HashSet::new();
        let mut found = Vec::new();
        for pattern in &self.include {
            let moments = match pattern.finest() {
                None => vec![looked.now],
                Some(DateUnit::Minute | DateUnit::Hour) => looked.hours(),
                Some(_) => looked.days().map(Date::midnight).collect(),
            };
            for moment in moments {
                let text = pattern.at(moment);
                if known.insert(text.clone()) {
                    found.push(text);
                }
            }
        }
        found
    }
}

impl LookedDays {
    /// Each of the days.
    pub fn days(&self) -> impl Iterator<Item = Date> + use<> {
        let last = self.now.date();
        std::iter::successors(Some(self.first), |day| day.next_day())
            .take_while(move |day| *day <= last)
    }

    fn hours(&self) -> Vec<PrimitiveDateTime> {
        let now = self.now;
        let of_day = |day: Date| {
            let hour = |hour| Some(day.with_time(Time::from_hms(hour, 0, 0).ok()?));
            (0..24).filter_map(hour).collect::<Vec<_>>()
        };
        self.days().flat_map(of_day).filter(|hour| *hour <= now).collect()
    }
}

/// The part of a URL's path from the first folder on that has a date in its name: the URL without
/// it, and it as a glob. `None` beside a URL without dates.
pub(crate) fn split_url(url: &str) -> Result<(String, Option<String>), String> {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let path = url[authority..].find('/').map_or(url.len(), |at| authority + at);
    if url[authority..path].match_indices('{').any(|(at, _)| {
        group(&url[authority + at..]).is_some_and(|inner| DateFormat::parse(inner).is_ok())
    }) {
        return Err("has a date placeholder before its path; allowed are dates in folders".into());
    }
    let Some(brace) = url[path..].find('{').map(|at| path + at) else {
        return Ok((url.to_owned(), None));
    };
    let folder = url[..brace].rfind('/').unwrap_or(path);
    let dated = DatePattern::of_path(&url[folder + 1..]).map_err(|problem| {
        format!("{problem}; a brace in a folder's name is written `%7B` or `%7D`")
    })?;
    let mut glob = String::new();
    for part in &dated.0 {
        match part {
            PatternPart::Date(format) => glob.push_str(&format!("{{{}}}", format.text())),
            PatternPart::Text(text) => {
                let bytes = crate::settings::percent_decode(text)
                    .ok_or("holds a `%` that no two hex digits follow")?;
                let text = String::from_utf8(bytes).map_err(|error| {
                    let shown = printable(error.as_bytes());
                    format!("has a folder `{shown}` beside a date, which is not UTF-8")
                })?;
                glob.push_str(&escaped(&text));
            }
        }
    }
    let base = if folder == path { &url[..=folder] } else { &url[..folder] };
    Ok((base.to_owned(), Some(glob.trim_end_matches('/').to_owned())))
}

#[cfg(test)]
#[path = "date_folders_tests.rs"]
mod tests;
