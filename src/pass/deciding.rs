//! What is decided once all of a listing is there: markers, times that moved, what was told too
//! coarsely.

use std::sync::Arc;

use time::OffsetDateTime;

use crate::model::{ModifiedTime, RemoteFile};
use crate::pass::found_work::{Again, Decided, Survey};
use crate::rules::equality::{self, Equality};
use crate::rules::plan::known::Seen;
use crate::rules::plan::markers::MarkerTimes;
use crate::rules::plan::rest::{Clock, TimeTold};
use crate::rules::plan::shift::{self, Shift};
use crate::rules::plan::{
    Decision, Rules, Skip, Why, decide, decide_finally, is_vouched_for, settled,
};
use crate::rules::selection::{Selected, SelectionClock};
use crate::transfer::batch_stat::ask_all;
use crate::transfer::context::Pass;
use crate::transfer::settings::After;

/// Decides about what all of the listing had to be there for.
pub(super) async fn decide_held(
    pass: &Arc<Pass>,
    files: Vec<RemoteFile>,
    newest: Option<OffsetDateTime>,
    again: &Again,
    survey: &mut Survey,
) {
    let marker = pass.source.marker.as_deref();
    let is_marker = |file: &&RemoteFile| {
        marker.is_some_and(|marker| file.path.as_bytes().ends_with(marker.as_bytes()))
    };
    let markers: MarkerTimes =
        files.iter().filter(is_marker).map(|file| (file.path.clone(), file.modified)).collect();
    let clock = Clock { here: survey.began.0, newest };
    let patterns = &pass.source.patterns;
    let rules = Rules {
        wanted: &|path| patterns.wants(path),
        in_progress: &|path| patterns.in_progress(path),
        again: &|path| again.as_ref().is_some_and(|again| again.wants(path)),
        skipped_by_time_or_size: &|file, seen| left_out_by(pass, file, seen, clock.here),
        marker,
        markers: &markers,
        stable_for: pass.source.stable_for,
        clock,
        times: pass.times(),
        removes: pass.source.after != After::Keep,
    };
    let (mut ask, mut open) = (Vec::new(), Vec::new());
    for file in files {
        survey.names = survey.names.saturating_sub(file.path.as_bytes().len() as u64);
        let known = pass.ledger.known(&file.path);
        let seen = pass.ledger.seen(&file.path);
        match decide(&file, known.as_ref(), seen.as_ref(), &rules) {
            Decision::AskTime => ask.push(file),
            Decision::Wait => open.push((file.modified, file)),
            decision => {
                let rests = settled(&file, seen.as_ref(), &rules, how_told(&file));
                if decision == Decision::Unchanged {
                    survey.stood_still.see(&file, clock.here);
                }
                tell_old_marker(&file, &decision, &rules, survey);
                survey.take(pass, Decided { file, listed: None, known, rests }, decision);
            }
        }
        pass.lines.make_room().await;
    }
    // Of files whose listed time is too coarse to decide by, the exact one is asked for.
    ask_all(
        pass,
        ask,
        |file| file,
        |listed, answer| open.extend(survey.answered(pass, listed, answer)),
    )
    .await;
    decide_open(pass, open, &rules, survey);
}

/// Notes that a marker was left by an earlier file of its name: such a file rests as one without.
fn tell_old_marker(file: &RemoteFile, decision: &Decision, rules: &Rules<'_>, survey: &mut Survey) {
    let is_taken = matches!(decision, Decision::Ingest(_) | Decision::LookAgain(_));
    if rules.marker.is_some() && is_taken && !is_vouched_for(file, rules) {
        let note = "its marker is older than it is, and says nothing of it: `stable_for` decides";
        survey.report.add_note(&file.path, note);
    }
}

/// Decides about files whose time moved, or had to be asked for: if all of the listing moved as a
/// zone does, they did not change.
fn decide_open(
    pass: &Pass,
    open: Vec<(Option<ModifiedTime>, RemoteFile)>,
    rules: &Rules<'_>,
    survey: &mut Survey,
) {
    let mut shift = Shift::beside(&survey.stood_still);
    for (_, file) in &open {
        if let Some(known) = pass.ledger.known(&file.path)
            && equality::sizes(known.size, file.size) == Equality::Same
            && known.equality(file, rules.times) != Equality::Same
        {
            shift.add(&known, file, rules.clock.here);
        }
    }
    let quarters = shift.quarters();
    for (listed, file) in open {
        let known = pass.ledger.known(&file.path);
        let seen = pass.ledger.seen(&file.path);
        let told = if listed.is_some_and(|listed| equality::is_exact(&listed)) {
            TimeTold::Exactly
        } else {
            TimeTold::InSomeZone
        };
        let shifted = known.as_ref().is_some_and(|known| {
            quarters.is_some()
                && shift::moved(known, &file) == quarters
                && shift::is_old(&file, rules.clock.here)
        });
        let decision = match decide_finally(&file, known.as_ref(), seen.as_ref(), rules, told) {
            Decision::Recheck
            | Decision::Ingest(Why::Changed)
            | Decision::LookAgain(Why::Changed)
                if shifted =>
            {
                Decision::Unchanged
            }
            decision => decision,
        };
        if let (Decision::Unchanged, Some(known)) = (&decision, &known) {
            // An exact time that moved with the zone stands beside the one that made the version.
            let listed =
                file.modified.filter(|modified| shifted && equality::is_exact(modified)).or(listed);
            let known = known.clone().relisted(listed, rules.clock.here);
            survey.relisted.push((file.clone(), known));
        }
        let rests = settled(&file, seen.as_ref(), rules, told);
        survey.take(pass, Decided { file, listed, known, rests }, decision);
    }
}

/// Why a file is left out by its time or size, if it is.
pub(super) fn left_out_by(
    pass: &Pass,
    file: &RemoteFile,
    seen: Option<&Seen>,
    now: OffsetDateTime,
) -> Option<Skip> {
    let clock = SelectionClock { now, settled: pass.look_back.settled };
    match pass.source.selection.of(file, seen.is_some(), clock) {
        Selected::No(skip) => Some(skip),
        Selected::Yes | Selected::Kept => None,
    }
}

/// How a listed file's time was told.
pub(super) fn how_told(file: &RemoteFile) -> TimeTold {
    if file.modified.as_ref().is_some_and(equality::is_exact) {
        TimeTold::Exactly
    } else {
        TimeTold::InSomeZone
    }
}
