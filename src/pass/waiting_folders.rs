//! Bounds what is remembered of files that wait: so many one by one, further ones by their folders,
//! and none that a whole listing does not show any more.

use std::collections::{BTreeMap, HashSet};

use futures_util::{StreamExt, stream};
use time::OffsetDateTime;

use crate::failpoint::safeguard_off;
use crate::ledger::{Ledger, SeenRecord};
use crate::model::failure::Class;
use crate::model::number_of;
use crate::model::{RemoteFile, RemotePath};
use crate::pass::since::{in_seconds, is_late};
use crate::report::{Problem, SourceReport, problem};
use crate::rules::plan::known::{Seen, Unmet};
use crate::transfer::context::Pass;

/// Records that are written at once.
const WRITTEN_AT_ONCE: usize = 64;

/// Whether no more files of this source are remembered one by one.
pub(crate) fn is_full(pass: &Pass) -> bool {
    let remembered = pass.ledger.sightings() + pass.waiting.elsewhere();
    remembered >= pass.run.limits.sightings && !safeguard_off!("sightings-capped")
}

/// A file waits that is not remembered by itself.
pub(crate) fn add(pass: &Pass, path: &RemotePath) {
    pass.waiting.add(path.parent(), &pass.source.root, pass.run.limits.sightings);
}

/// What a folder is remembered by: no file has such a path.
fn sign_of(folder: &RemotePath) -> RemotePath {
    folder.join(b".")
}

/// Notes since when files wait in folders, and tells of those in which they do so for long.
pub(crate) async fn tell(pass: &Pass, report: &mut SourceReport) {
    let folders = pass.waiting.take();
    if pass.ledger.sightings() > 0 {
        end_others(pass, &folders, report).await;
    }
    tell_of(pass, folders, report).await;
}

/// The same for a piece, which does not know what other pieces find.
pub(crate) async fn tell_piece(pass: &Pass, report: &mut SourceReport) {
    tell_of(pass, pass.waiting.take(), report).await;
}

async fn tell_of(pass: &Pass, folders: BTreeMap<RemotePath, u64>, report: &mut SourceReport) {
    let now = OffsetDateTime::now_utc();
    for (folder, files) in &folders {
        let sign = sign_of(folder);
        let earlier = pass.ledger.seen(&sign).filter(|seen| seen.why == Some(Unmet::Folder));
        let since = earlier.as_ref().map_or(now, |earlier| earlier.since);
        if earlier.is_none() {
            let file = RemoteFile { path: sign, size: None, modified: None };
            let seen = Seen { why: Some(Unmet::Folder), ..Seen::new(file, now) };
            note_all(pass, vec![seen], report).await;
        }
        if is_late(&pass.source, since, now) {
            let text = format!(
                "`{folder}`: {} {} there, not remembered one by one, since {}",
                number_of(*files, "file"),
                if *files == 1 { "waits" } else { "wait" },
                in_seconds(since)
            );
            report.add_problem(Problem::new(Class::Late, text));
        }
    }
    if !folders.is_empty() {
        let files: u64 = folders.values().sum();
        report.add_remark(format!(
            "{files} more files wait than are remembered one by one ({}); of them {} folders are \
            remembered",
            pass.run.limits.sightings,
            folders.len()
        ));
    }
}

/// Folders that stand for files, for the pieces of a pass.
pub fn known(ledger: &Ledger) -> Vec<SeenRecord> {
    let folders = ledger.all_seen(|seen| seen.why == Some(Unmet::Folder));
    folders.iter().map(SeenRecord::of).collect()
}

/// In these folders no such file waits any more.
async fn end_others(pass: &Pass, folders: &BTreeMap<RemotePath, u64>, report: &mut SourceReport) {
    let waiting: HashSet<RemotePath> = folders.keys().map(sign_of).collect();
    let over = pass
        .ledger
        .all_seen(|seen| seen.why == Some(Unmet::Folder) && !waiting.contains(&seen.file.path));
    note_all(pass, over.into_iter().map(over_with).collect(), report).await;
}

fn over_with(seen: Seen) -> Seen {
    Seen { why: Some(Unmet::Over), ..seen }
}

/// Which of the files that are remembered a listing shows.
#[derive(Debug, Default)]
pub struct StillShown {
    /// `None`: few are remembered, and nothing is to be forgotten.
    shown: Option<HashSet<[u8; 16]>>,
}

impl StillShown {
    /// For a listing that begins now.
    pub fn watch(pass: &Pass) -> Self {
        let many = pass.ledger.sightings() >= pass.run.limits.sightings / 10;
        let is_whole = pass.source.dates.is_none() && pass.source.patterns.exact().is_none();
        Self { shown: (many && is_whole).then(HashSet::new) }
    }

    /// A file is listed.
    pub fn see(&mut self, pass: &Pass, path: &RemotePath) {
        if let Some(shown) = &mut self.shown
            && pass.ledger.seen(path).is_some()
        {
            shown.insert(Ledger::order(path));
        }
    }

    /// Forgets those that were not, after a listing that was whole.
    pub(crate) async fn forget_others(self, pass: &Pass, report: &mut SourceReport) {
        let Some(shown) = self.shown else { return };
        if !report.problems.is_empty() || report.unparsed_lines > 0 || !pass.missing.is_empty() {
            return;
        }
        let over = pass.ledger.all_seen(|seen| {
            !matches!(seen.why, Some(Unmet::TooMany | Unmet::Folder))
                && !shown.contains(&Ledger::order(&seen.file.path))
        });
        note_all(pass, over.into_iter().map(over_with).collect(), report).await;
    }
}

async fn note_all(pass: &Pass, all: Vec<Seen>, report: &mut SourceReport) {
    let notes = all.into_iter().map(|seen| async move { pass.ledger.note_seen(&seen).await });
    let mut notes = stream::iter(notes).buffer_unordered(WRITTEN_AT_ONCE);
    while let Some(result) = notes.next().await {
        if let Err(error) = result {
            return report.add_problem(problem(&error));
        }
    }
}
