//! How far back a pass looks: to the last run that left nothing undone.

use time::OffsetDateTime;

use crate::history::source_index;
use crate::model::chain;
use crate::model::failure::Class;
use crate::report::{Problem, SourceReport, problem};
use crate::rules::date_folders::LookBack;
use crate::rules::patterns::Patterns;
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
    let known = run.known_sources.read(&run.state).await?.get(&source.name);
    let by_index = known.and_then(|entry| entry.looks_back_to(now));
    if known.is_some_and(|entry| entry.is_settled(now)) {
        return Ok(by_index);
    }
    // The index was lost, or its entry of this source: another one may have been written since.
    let days = source.dates.as_ref().map_or(RECORDS, |dates| dates.catch_up);
    let mut told = run.known_sources.told().await;
    let by_records = told.looks_back_to(&run.state, &source.name, days, now).await?;
    // The first run of those that left something undone counts.
    Ok([by_index, by_records].into_iter().flatten().min())
}

/// How far back a pass over `source` looks, as its report tells it. Where nothing was known, it
/// looked for that, and later ones need not.
pub(crate) fn reached(source: &Source, look_back: &LookBack) -> Option<OffsetDateTime> {
    let matters = source.dates.is_some() || source.selection.max_age.is_some();
    matters.then(|| look_back.settled.unwrap_or_else(OffsetDateTime::now_utc))
}

/// Notes how far back a pass looks whose files others bring over, so that none of them reads the
/// records as well. What cannot be written costs them that.
pub(crate) async fn note(pass: &Pass) {
    let Some(reached) = reached(&pass.source, &pass.look_back) else { return };
    let (state, name) = (&pass.run.state, &pass.source.name);
    let known = pass.run.known_sources.read(state).await.ok().and_then(|known| known.get(name));
    if known.is_some_and(|entry| entry.is_settled(OffsetDateTime::now_utc())) {
        return;
    }
    let noted = source_index::change(state, |index| index.entry(name).reach(reached)).await;
    if let Err(error) = noted {
        let error = chain(&error);
        tracing::debug!(source = name, error, "How far back to look could not be noted.");
    }
}

/// Tells the report how far back the pass looks, which days are looked at, and which ones no run
/// has looked at in full.
pub(crate) fn tell(pass: &Pass, report: &mut SourceReport) {
    report.looked_back_to = reached(&pass.source, &pass.look_back);
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
