//! Settings of a source that say which files are taken: bounds of time and size, rank, days.

use std::time::Duration;

use time::format_description::well_known::Rfc3339;
use time::{Date, OffsetDateTime};

use crate::model::printable;
use crate::rules::date_folders::{DateFolders, DatePattern};
use crate::rules::date_format::DateUnit;
use crate::rules::selection::{FileSelection, Newest, NewestBy, NewestPer};
use crate::rules::time_zone::{Repeated, TimeZone};
use crate::settings::{Section, SettingError};

const DAYS_BACK: u64 = 1;
const CATCH_UP: Duration = Duration::from_secs(31 * SECONDS_OF_DAY);
const SECONDS_OF_DAY: u64 = 86_400;

/// The bounds that a source sets. Dates are meant in `zone`; files rest for `stable_for` before
/// they are taken.
pub(crate) fn selection(
    section: &Section,
    zone: TimeZone,
    stable_for: Duration,
    now: OffsetDateTime,
) -> Result<FileSelection, SettingError> {
    let selection = FileSelection {
        modified_after: moment(section, "modified_after", zone)?,
        modified_before: moment(section, "modified_before", zone)?,
        max_age: section.duration("max_age")?,
        min_size: section.size("min_size")?,
        max_size: section.size("max_size")?,
        newest: newest(section)?,
    };
    if selection.modified_after.is_some_and(|after| after > now) {
        return Err(section.error(
            "modified_after",
            "is in the future, so that nothing would be taken; allowed is a time that has come",
        ));
    }
    if let (Some(after), Some(before)) = (selection.modified_after, selection.modified_before)
        && after >= before
    {
        return Err(section.error(
            "modified_before",
            "is not after `modified_after`, so that nothing would be taken",
        ));
    }
    if let (Some(least), Some(most)) = (selection.min_size, selection.max_size)
        && least > most
    {
        return Err(
            section.error("max_size", "is less than `min_size`, so that nothing would be taken")
        );
    }
    if selection.max_age.is_some_and(|age| age < stable_for) {
        return Err(section.error(
            "max_age",
            "is less than `stable_for`: a file would be too old before it has rested",
        ));
    }
    Ok(selection)
}

fn newest(section: &Section) -> Result<Option<Newest>, SettingError> {
    let by = section.one_of("newest_by")?;
    let per = section.one_of("newest_per")?;
    let Some(files) = section.integer("newest")? else {
        let beside = [("newest_by", by), ("newest_per", per)];
        return match beside.into_iter().find(|(_, word)| word.is_some()) {
            Some((key, _)) => Err(section.error(key, "stands without `newest`")),
            None => Ok(None),
        };
    };
    if section.has("marker") {
        return Err(section.error(
            "newest",
            "stands beside `marker`; allowed is one of both: the newest file may have none yet",
        ));
    }
    Ok(Some(Newest {
        files: usize::try_from(files).unwrap_or(usize::MAX / 4),
        by: if by == Some("name") { NewestBy::Name } else { NewestBy::Modified },
        per: if per == Some("pattern") { NewestPer::Pattern } else { NewestPer::Folder },
    }))
}

/// A day in `zone`, or a time with its offset.
fn moment(
    section: &Section,
    key: &str,
    zone: TimeZone,
) -> Result<Option<OffsetDateTime>, SettingError> {
    let Some(text) = section.text(key)? else { return Ok(None) };
    let format = time::macros::format_description!("[year]-[month]-[day]");
    let day = Date::parse(&text, format).ok();
    let day = day.map(|day| zone.instant(day.midnight(), Repeated::First));
    match day.or_else(|| OffsetDateTime::parse(&text, &Rfc3339).ok()) {
        Some(moment) => Ok(Some(moment)),
        None => Err(section.error(
            key,
            format!(
                "is \"{}\"; allowed is a day as \"2026-01-31\", or a time as \
                 \"2026-01-31T18:00:00+01:00\"",
                printable(text.as_bytes())
            ),
        )),
    }
}

/// The `include` patterns of a source.
pub struct IncludedPatterns {
    /// As globs that match at any time.
    pub globs: Vec<String>,
    /// With dates, if any of them has one.
    pub dates: Option<DateFolders>,
    /// What to write in front of other patterns, if the URL has dates.
    pub prefix: Option<String>,
    /// Groups in braces that may have been meant as dates.
    pub notes: Vec<String>,
}

/// Reads `include` below `dated`, the part of the URL that has dates.
pub(crate) fn included(
    section: &Section,
    dated: Option<&str>,
) -> Result<IncludedPatterns, SettingError> {
    let given = section.list("include")?;
    let (mut patterns, mut notes) = (Vec::new(), Vec::new());
    let globs = match dated {
        None => given,
        Some(prefix) if given.is_empty() => vec![format!("{prefix}/**")],
        Some(prefix) => {
            given.iter().map(|glob| format!("{prefix}/{}", glob.trim_start_matches('/'))).collect()
        }
    };
    for glob in globs {
        let read = DatePattern::of_glob(&glob);
        let (pattern, doubtful) = read.map_err(|error| {
            section.error("include", format!("holds a pattern in which {error}"))
        })?;
        notes.extend(doubtful.iter().map(|group| format!("`include`: {group}")));
        if pattern.finest() == Some(DateUnit::Minute) {
            return Err(section.error(
                if dated.is_some() { "url" } else { "include" },
                "holds a date with minutes (`mm`); the finest part of a folder is the hour",
            ));
        }
        patterns.push(pattern);
    }
    let prefix = dated.and_then(|prefix| Some(DatePattern::of_glob(prefix).ok()?.0.at_any_time()));
    Ok(IncludedPatterns {
        globs: patterns.iter().map(DatePattern::at_any_time).collect(),
        dates: date_folders(section, patterns)?,
        prefix,
        notes,
    })
}

fn date_folders(
    section: &Section,
    include: Vec<DatePattern>,
) -> Result<Option<DateFolders>, SettingError> {
    let days_back = section.integer("days_back")?;
    let catch_up = section.duration("catch_up")?;
    if !include.iter().any(DatePattern::has_dates) {
        let beside = [("days_back", days_back.is_some()), ("catch_up", catch_up.is_some())];
        return match beside.into_iter().find(|(_, is_set)| *is_set) {
            Some((key, _)) => Err(section.error(
                key,
                "stands without a date placeholder in `url` or `include`, as {yyyy-MM-dd}",
            )),
            None => Ok(None),
        };
    }
    let days_back = days_back.unwrap_or(DAYS_BACK);
    let days = catch_up.unwrap_or(CATCH_UP).as_secs() / SECONDS_OF_DAY;
    if catch_up.is_some() && days < days_back {
        return Err(section.error("catch_up", "is less than `days_back`"));
    }
    let count = |days: u64| u16::try_from(days).unwrap_or(u16::MAX);
    let (days_back, catch_up) = (count(days_back), count(days.max(days_back)));
    if catch_up > 366 {
        return Err(section.error("catch_up", "is more than \"366d\""));
    }
    Ok(Some(DateFolders { include, days_back, catch_up }))
}
