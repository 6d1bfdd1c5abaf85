//! What a survey came to: what is decided, what is to be done.

use time::OffsetDateTime;
use tokio::time::Instant;

use crate::ledger::Ledger;
use crate::model::failure::Class;
use crate::model::{ModifiedTime, RemoteFile, RemotePath};
use crate::pass::file_log;
use crate::pass::late::Unmarked;
use crate::pass::share::ShareSeen;
use crate::pass::waiting_folders::StillShown;
use crate::report::{Defer, Outcome, Problem, SourceReport, problem};
use crate::rules::equality::Equality;
use crate::rules::patterns::Patterns;
use crate::rules::plan::known::{Known, Seen, Times};
use crate::rules::plan::shift::StoodStill;
use crate::rules::plan::{Decision, Skip, Why};
use crate::rules::selection::{Selected, SelectionClock};
use crate::transfer::after_action;
use crate::transfer::batch_stat::StatAnswer;
use crate::transfer::context::Pass;
use crate::transfer::missing::Absent;
use crate::transfer::request::Transfer;
use crate::transfer::reread::unverified;
use crate::transfer::settings::After;
use crate::transfer::transfers::Transfers;

/// A source's plan.
pub struct Survey {
    /// To be brought over now.
    pub transfers: Transfers,
    /// To be looked at again before they are brought over.
    pub unsettled: Transfers,
    /// In the store already, but still to be deleted or moved at the source.
    pub after: Vec<(RemotePath, Known)>,
    /// Observations for the ledger: known files whose listed time looks different now.
    pub relisted: Vec<(RemoteFile, Known)>,
    /// To be read and compared, as far as the source allows a run.
    pub rechecks: Vec<Transfer>,
    /// Files that an earlier run renamed to remove them, and the paths that they had.
    pub renamed: Vec<(RemoteFile, RemotePath)>,
    /// Which files that earlier runs did not take are listed still.
    pub still_shown: StillShown,
    /// Known files whose times did not move.
    pub stood_still: StoodStill,
    /// Files that wait for their markers.
    pub unmarked: Unmarked,
    /// Stored files that the source refused to let go a short time ago.
    pub refused: u64,
    /// Everything that is decided already, counted; problems of the listing.
    pub report: SourceReport,
    /// When the listing began, by our clock and by the steady one.
    pub began: (OffsetDateTime, Instant),
    /// Which share it is.
    pub share: ShareSeen,
    /// Bytes of the names of files that are to be done something about.
    pub names: u64,
    /// Patterns that match nothing, of which a run does not tell.
    pub slips: Vec<String>,
}

/// Paths that the user asks for again though they are known.
pub type Again = Option<Patterns>;

/// A file that is decided about.
pub(crate) struct Decided {
    pub(super) file: RemoteFile,
    /// The time that the listing showed, if the file's own is another by now.
    pub listed: Option<ModifiedTime>,
    pub(super) known: Option<Known>,
    /// Whether it may be read now.
    pub rests: bool,
}

impl Survey {
    /// Of a run that was told to stop while the source was being listed.
    pub fn stopped(pass: &Pass) -> Self {
        drop(pass.missing.take());
        let mut report = SourceReport::new(&pass.source.name, pass.pool.address());
        report.problems.push(stopped_while_listing());
        let began = (OffsetDateTime::now_utc(), Instant::now());
        Self::new(report, began)
    }

    pub(super) fn new(report: SourceReport, began: (OffsetDateTime, Instant)) -> Self {
        Self {
            stood_still: StoodStill::default(),
            transfers: Transfers::default(),
            unsettled: Transfers::default(),
            after: Vec::new(),
            relisted: Vec::new(),
            rechecks: Vec::new(),
            renamed: Vec::new(),
            still_shown: StillShown::default(),
            unmarked: Unmarked::default(),
            refused: 0,
            report,
            began,
            share: ShareSeen::default(),
            names: 0,
            slips: Vec::new(),
        }
    }

    /// Whether there is anything to do at the source or in the ledger.
    pub(crate) fn has_work(&self, pass: &Pass) -> bool {
        self.held() > 0
            || !pass.missing.is_empty()
            || !self.after.is_empty()
            || !self.relisted.is_empty()
            || self.report.recovered > 0
            // Since when files wait beyond a limit is written down.
            || self.report.deferred_as(Defer::TooMany) > 0
    }

    /// Counts a file that only its history keeps from being too old.
    pub(crate) fn count_kept(
        &mut self,
        pass: &Pass,
        file: &RemoteFile,
        known: Option<&Known>,
        seen: Option<&Seen>,
    ) {
        let clock = SelectionClock { now: self.began.0, settled: pass.look_back.settled };
        let is_kept = pass.source.selection.max_age.is_some()
            && known.is_none()
            && pass.source.patterns.wants(&file.path)
            && pass.source.selection.of(file, seen.is_some(), clock) == Selected::Kept;
        self.report.kept_by_failure += u64::from(is_kept);
    }

    /// Whether names of more files may be kept: long ones take memory as files do.
    pub(crate) fn has_room(&self, pass: &Pass) -> bool {
        self.names <= pass.run.limits.memory / 2
    }

    /// How many files are to be done something about.
    pub fn held(&self) -> usize {
        self.transfers.len() + self.unsettled.len() + self.rechecks.len() + self.renamed.len()
    }

    pub(super) fn take(&mut self, pass: &Pass, decided_file: Decided, decision: Decision) {
        let Decided { file, listed, known, rests } = decided_file;
        let is_held =
            matches!(decision, Decision::Ingest(_) | Decision::LookAgain(_) | Decision::Recheck);
        self.names += if is_held { file.path.as_bytes().len() as u64 } else { 0 };
        let transfer = |file: RemoteFile, why, known: Option<Known>| Transfer {
            listed: listed.or(file.modified),
            file,
            why,
            known: known.map(Box::new),
            rests,
            yields: false,
        };
        match decision {
            // What does not fit into memory waits for the next run, which finds these done.
            _ if is_held && (self.held() >= pass.run.limits.files || !self.has_room(pass)) => {
                decided(pass, &mut self.report, &file, Outcome::Deferred(Defer::TooMany));
            }
            Decision::Ingest(why) => self.transfers.push(transfer(file, why, known)),
            Decision::LookAgain(why) => self.unsettled.push(transfer(file, why, known)),
            Decision::Recheck => self.rechecks.push(transfer(file, Why::Recheck, known)),
            Decision::Skip(skip) => {
                if skip == Skip::NoMarker {
                    self.unmarked.add(&file);
                }
                decided(pass, &mut self.report, &file, Outcome::Skipped(skip));
            }
            Decision::Unchanged | Decision::AskTime | Decision::Wait => {
                self.report.on_trust +=
                    u64::from(known.as_ref().is_some_and(|known| is_on_trust(pass, known, &file)));
                match known.filter(|_| pass.source.after != After::Keep) {
                    Some(known) if after_action::was_refused(&known, self.began.0) => {
                        self.refused += 1
                    }
                    Some(known) if after_action::is_proven(pass, &known) => {
                        self.after.push((file.path.clone(), known))
                    }
                    // Nothing leaves the source that was not read, or may be another by now.
                    Some(known) if self.held() < pass.run.limits.files => {
                        return self.rechecks.push(transfer(file, Why::Recheck, Some(known)));
                    }
                    _ => {}
                }
                self.report.add(&file.path, Outcome::Unchanged);
            }
        }
    }

    /// What the source said of a file whose exact time had to be asked for, if it is to be decided
    /// about now.
    pub(crate) fn answered(
        &mut self,
        pass: &Pass,
        listed: RemoteFile,
        answer: StatAnswer,
    ) -> Option<(Option<ModifiedTime>, RemoteFile)> {
        let outcome = match answer {
            // What even the exact answer leaves out, the listing may have told.
            StatAnswer::Told(Some(exact)) => {
                let exact = RemoteFile {
                    size: exact.size.or(listed.size),
                    modified: exact.modified.or(listed.modified),
                    ..exact
                };
                return Some((listed.modified, exact));
            }
            StatAnswer::Told(None) => {
                pass.missing.add(Absent::File(listed, None));
                return None;
            }
            StatAnswer::Failed(error) => Outcome::Failed(problem(&error)),
            StatAnswer::NotAsked => Outcome::Deferred(Defer::Interrupted),
            StatAnswer::Panicked => Outcome::Failed(Problem::new(
                Class::Internal,
                "asking for its time ended in a panic",
            )),
        };
        decided(pass, &mut self.report, &listed, outcome);
        None
    }

    /// Of the files that must be read to be compared, those whose last look is the oldest, as many
    /// as the source allows.
    pub(crate) async fn choose_rechecks(&mut self, pass: &Pass) {
        let mut rechecks = std::mem::take(&mut self.rechecks);
        rechecks.sort_by_key(|one| one.known.as_ref().and_then(|known| known.history.looked));
        let (mut chosen, mut waiting) = (Vec::new(), self.refused);
        for one in rechecks {
            if pass.recheck.take(one.file.size.unwrap_or(0)) {
                chosen.push(one);
            } else if pass.source.after != After::Keep && is_same(pass, &one) {
                waiting += 1;
                self.report.add(&one.file.path, Outcome::Unchanged);
            } else {
                decided(pass, &mut self.report, &one.file, Outcome::Failed(unverified()));
            }
        }
        chosen.sort_by_cached_key(|one| Ledger::order(&one.file.path));
        for one in &mut chosen {
            let Some(known) = &mut one.known else { continue };
            match pass.ledger.md5_of(&one.file.path).await {
                Ok(md5) => known.history.md5 = md5,
                Err(error) => self.report.problems.push(problem(&error)),
            }
        }
        self.transfers.extend(chosen);
        if waiting > 0 {
            let text = format!(
                "{waiting} stored files are still at the source: it refused to let them go, or \
                `recheck` left no room to read them again"
            );
            self.report.problems.push(Problem::new(Class::AfterAction, text));
        }
    }
}

/// Whether nothing but its removal asks for a file to be read.
pub(crate) fn is_same(pass: &Pass, one: &Transfer) -> bool {
    one.known.as_ref().is_some_and(|known| {
        !known.history.left && known.equality(&one.file, pass.times()) == Equality::Same
    })
}

/// Whether a file is unchanged only because its time is not looked at.
pub(crate) fn is_on_trust(pass: &Pass, known: &Known, file: &RemoteFile) -> bool {
    pass.times() == Times::None && known.equality(file, Times::Trust) != Equality::Same
}

/// Counts what was decided about a file that is not to be fetched, and notes it for the manifest.
pub(crate) fn decided(pass: &Pass, report: &mut SourceReport, file: &RemoteFile, outcome: Outcome) {
    file_log::note(pass, file, None, &outcome);
    report.add(&file.path, outcome);
}

pub(super) fn stopped_while_listing() -> Problem {
    Problem::new(Class::Interrupted, "the run was stopped while the source was being listed")
}
