//! How far back a pass looks: to the last run that left nothing undone.

use time::OffsetDateTime;

use crate::history::records::Records;
use crate::history::source_index::{SourceEntry, SourceIndex};
use crate::model::failure::Class;
use crate::report::{Problem, SourceReport, problem};
use crate::rules::date_folders::LookBack;
use crate::rules::patterns::Patterns;
use crate::state::paths::runs_of_day;
use crate::state::store::StateError;
use crate::transfer::context::{Pass, Run};
use crate::transfer::settings::Source;

/// Days of records that are read where the index of sources is lost.
const RECORDS: u16 = 31;
/// Days that a report tells one by one.
const DAYS_TOLD: usize = 40;

/// How far back a pass over `source` looks that begins now, and the patterns of the days that it
/// looks at, if its folders have dates.
pub(crate) async fn of(
    run: &Run,
    source: &Source,
) -> Result<(LookBack, Option<Patterns>), Problem> {
    if source.dates.is_none() && source.selection.max_age.is_none() {
        return Ok((LookBack::default(), None));
    }
    let now = OffsetDateTime::now_utc();
    let settled = settled(run, source, now).await.map_err(|error| problem(&error))?;
    let Some(dates) = &source.dates else {
        return Ok((LookBack { settled, days: None }, None));
    };
    let local = |at| source.time_zone.local(at);
    let days = dates.days(local(now), settled.map(local));
    let patterns = source.patterns.with_include(&dates.patterns(&days));
    let bad = |error: crate::rules::patterns::BadPattern| {
        Problem::new(Class::Config, format!("`include`: {error}"))
    };
    Ok((LookBack { settled, days: Some(days) }, Some(patterns.map_err(bad)?)))
}

/// When the last run began that left nothing undone at `source`; before any has, when the first one
/// began.
async fn settled(
    run: &Run,
    source: &Source,
    now: OffsetDateTime,
) -> Result<Option<OffsetDateTime>, StateError> {
    let known = run.known_sources.read(&run.state).await?;
    if !known.is_empty() {
        return Ok(known.get(&source.name).and_then(SourceEntry::looks_back_to));
    }
    // Without the index the records of runs say the same.
    let records = Records::new(run.state.clone());
    let mut index = SourceIndex::default();
    let days = source.dates.as_ref().map_or(RECORDS, |dates| dates.catch_up);
    let mut day = Some(now.date());
    for _ in 0..=days {
        let Some(date) = day else { break };
        for name in records.names(&runs_of_day(date)).await?.iter().rev() {
            if let Some(record) = records.read(name).await? {
                index.take_in(&record);
            }
            if index.sources.get(&source.name).is_some_and(|entry| entry.settled.is_some()) {
                break;
            }
        }
        day = date.previous_day();
    }
    Ok(index.sources.get(&source.name).and_then(SourceEntry::looks_back_to))
}

/// Tells the report which days are looked at, and which ones no run has looked at in full.
pub(crate) fn tell(pass: &Pass, report: &mut SourceReport) {
    let Some(looked) = &pass.look_back.days else { return };
    report.days = looked.days().map(|day| day.to_string()).collect();
    if let (true, Some(first), Some(last)) =
        (report.days.len() > DAYS_TOLD, report.days.first(), report.days.last())
    {
        report.days = vec![first.clone(), last.clone()];
    }
    if let Some((first, last)) = looked.missed {
        let text = format!(
            "folders of the days from {first} to {last} were not looked at: earlier runs did not, \
             or left something undone, and `catch_up` reaches no further"
        );
        report.add_problem(Problem { hint: MISSED.into(), ..Problem::new(Class::Late, text) });
    }
}

const MISSED: &str = "raise `catch_up` (up to \"366d\") for one run, or take these folders with a \
                      source of their own";
