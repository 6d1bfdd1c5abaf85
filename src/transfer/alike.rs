//! Names of one folder that differ in case alone: a server that folds case takes both for one file,
//! and the bytes of the other are never seen. Exact times tell the two apart, where a description
//! after the read confirms them; else equal bytes are doubted.

use std::collections::HashSet;

use time::OffsetDateTime;

use crate::failpoint::safeguard_off;
use crate::ledger::error::LedgerError;
use crate::model::failure::Class;
use crate::model::{Md5, ModifiedTime, RemotePath};
use crate::report::{Problem, SourceReport, problem};
use crate::rules::equality::{self, is_exact, is_plausible};
use crate::rules::plan::known::{History, Known};
use crate::transfer::alike_names::OtherName;
use crate::transfer::context::Pass;
use crate::transfer::error::TransferError;
use crate::transfer::leaving::Due;
use crate::transfer::stored_sum::stored_sum;

/// Why a file must stay at the source: the server may have given the bytes of another file for it,
/// or it is not known yet whether it did.
pub(crate) async fn stays(pass: &Pass, due: &Due) -> Result<Option<&'static str>, TransferError> {
    let path = &due.file.path;
    let Some(other) = pass.alike.other(path) else { return Ok(None) };
    if due.listed.as_ref().is_some_and(tells_apart) {
        return Ok(None);
    }
    // The ledger of a piece tells of nothing that the piece itself recorded.
    let history = History { md5: Some(due.md5), ..due.known.history.clone() };
    pass.alike.note(path.clone(), Known { history, ..due.known.clone() });
    let is_stored = known_of(pass, &other).is_some_and(|known| !known.history.left);
    if !is_stored && !safeguard_off!("alike-told") {
        return Ok(Some(
            "another name of its folder differs from it in case alone, and is not stored yet: it \
            stays",
        ));
    }
    let doubted = are_doubted(pass, path, &other).await?.is_some();
    Ok(doubted.then_some(
        "another name of its folder differs from it in case alone, and the server gives equal \
        bytes for both: it stays",
    ))
}

/// Whether a listed time tells a file from another one of its folder.
fn tells_apart(listed: &ModifiedTime) -> bool {
    is_exact(listed) && is_plausible(listed)
}

/// What is known of a file: by the ledger, or by the plan that a piece was cut from.
fn known_of(pass: &Pass, path: &RemotePath) -> Option<Known> {
    pass.ledger.known(path).or_else(|| pass.alike.known(path))
}

/// The MD5 of a file's bytes, if it was read.
pub(crate) async fn md5_of(pass: &Pass, path: &RemotePath) -> Result<Option<Md5>, LedgerError> {
    let told = || pass.alike.known(path).and_then(|known| known.history.md5);
    Ok(pass.ledger.md5_of(path).await?.or_else(told))
}

/// The other one of the pair that a file belongs to, for a piece of this pass.
pub(crate) async fn other_of(
    pass: &Pass,
    path: &RemotePath,
) -> Result<Option<OtherName>, LedgerError> {
    let Some(other) = pass.alike.other(path) else { return Ok(None) };
    let md5 = pass.ledger.md5_of(&other).await?;
    let known = pass.ledger.known(&other).map(|known| {
        let history = History { md5, ..known.history.clone() };
        Known { history, ..known }
    });
    Ok(Some(OtherName { path: other, known }))
}

/// What to record of a file: one of a pair is read again, until a run that came to its end has
/// compared both. A run that dies first has compared nothing.
#[must_use]
pub(crate) fn uncompared(pass: &Pass, path: &RemotePath, known: Known) -> Known {
    let is_told_apart = known.listed.as_ref().is_some_and(tells_apart);
    if !pass.alike.has(path) || is_told_apart || safeguard_off!("alike-told") {
        return known;
    }
    let looked = known.history.looked.or_else(|| Some(OffsetDateTime::now_utc()));
    Known { history: History { looked, ..known.history.clone() }, ..known }
}

/// Notes that two files are told apart: from now on they are files like others.
async fn settle(pass: &Pass, pair: [&RemotePath; 2]) -> Result<(), LedgerError> {
    for path in pair {
        let Some(known) = pass.ledger.known(path) else { continue };
        let settled = known.clone().relisted(known.listed, OffsetDateTime::now_utc());
        if known.history.looked.is_some() && settled.history.looked.is_none() {
            pass.ledger.ingested(&settled.file(path), &settled, 0, 0).await?;
        }
    }
    Ok(())
}

/// Tells of doubted pairs. The next run reads them again.
pub(crate) async fn tell(pass: &Pass, report: &mut SourceReport) {
    tell_but(pass, report, &HashSet::new()).await;
}

/// The same but for pairs of which a file is among `others`: pieces of the pass tell of them.
pub(crate) async fn tell_but(pass: &Pass, report: &mut SourceReport, others: &HashSet<RemotePath>) {
    let ours =
        |(one, other): &(RemotePath, RemotePath)| !others.contains(one) && !others.contains(other);
    if let Err(error) = tell_folders(pass, report, others).await {
        report.add_problem(problem(&error));
    }
    for (one, other) in pass.alike.all().into_iter().filter(ours) {
        let doubted = match are_doubted(pass, &one, &other).await {
            Ok(doubted) => doubted,
            Err(error) => return report.add_problem(problem(&error)),
        };
        let Some(known) = doubted else {
            let both = [&one, &other];
            if both.iter().all(|path| known_of(pass, path).is_some())
                && let Err(error) = settle(pass, both).await
            {
                return report.add_problem(problem(&error));
            }
            continue;
        };
        let text = format!(
            "`{one}` and `{other}`: equal bytes come for both, or both were not read yet, and no \
            exact time told after the read tells the two apart: the server may take the two names \
            for one file, so that the other never arrives"
        );
        report.add_problem(Problem::new(Class::Unreachable, text));
        for (path, known) in [&one, &other].into_iter().zip(known) {
            let looked = Some(OffsetDateTime::now_utc());
            let history = History { looked, ..known.history.clone() };
            let known = Known { history, ..known };
            if let Err(error) = pass.ledger.ingested(&known.file(path), &known, 0, 0).await {
                return report.add_problem(problem(&error));
            }
        }
    }
}

/// Tells of folders that hold the same files with the same bytes under two spellings.
async fn tell_folders(
    pass: &Pass,
    report: &mut SourceReport,
    others: &HashSet<RemotePath>,
) -> Result<(), LedgerError> {
    for pair in pass.alike_folders.all() {
        let Some(twins) = pair.twins().filter(|_| pair.twins_among(others).is_none()) else {
            continue;
        };
        let mut all_equal = true;
        for [one, other] in &twins {
            all_equal &= match (md5_of(pass, one).await?, md5_of(pass, other).await?) {
                (Some(one), Some(other)) => one == other,
                // It went when the other one was taken away, before anybody read it.
                (Some(_), None) => has_left(pass, one),
                (None, Some(_)) => has_left(pass, other),
                (None, None) => false,
            };
        }
        if all_equal {
            report.add_problem(one_folder(&pair.one, &pair.other));
        }
    }
    Ok(())
}

/// Two folders that no file tells apart.
pub(crate) fn one_folder(one: &RemotePath, other: &RemotePath) -> Problem {
    let text = format!(
        "`{one}` and `{other}` are listed with the same files, and equal bytes come for each, or \
        each leaves with its twin: the server may take the two names for one folder, so that the \
        files of the other never arrive; leave one of them out with `exclude`"
    );
    Problem::new(Class::Unreachable, text)
}

fn has_left(pass: &Pass, path: &RemotePath) -> bool {
    known_of(pass, path).is_some_and(|known| known.history.left)
}

/// What is known of two files, if nothing but the listing tells them apart.
async fn are_doubted(
    pass: &Pass,
    one: &RemotePath,
    other: &RemotePath,
) -> Result<Option<[Known; 2]>, TransferError> {
    let (Some(a), Some(b)) = (known_of(pass, one), known_of(pass, other)) else {
        return Ok(None);
    };
    let is_confirmed = [one, other].iter().all(|path| !pass.alike.is_unseen(path));
    if !look_alike(&a, &b, is_confirmed) || safeguard_off!("alike-told") {
        return Ok(None);
    }
    let sums = (sum_of(pass, one, &a).await?, sum_of(pass, other, &b).await?);
    let differ = sums.0.is_some() && sums.1.is_some() && sums.0 != sums.1;
    Ok((!differ).then_some([a, b]))
}

/// The MD5 of what is stored of a file. Where a killed run stored it, its blob alone tells.
async fn sum_of(
    pass: &Pass,
    path: &RemotePath,
    known: &Known,
) -> Result<Option<Md5>, TransferError> {
    match md5_of(pass, path).await? {
        Some(md5) => Ok(Some(md5)),
        None => stored_sum(pass, known, path).await,
    }
}

/// Whether nothing exact tells two files apart. Equal times of copies do, unless listings show two;
/// two times do if both files were described after they were read (`is_confirmed`).
fn look_alike(a: &Known, b: &Known, is_confirmed: bool) -> bool {
    let is_empty = a.size == Some(0) && b.size == Some(0);
    let both = a.modified.as_ref().zip(b.modified.as_ref());
    let both = both.filter(|(a, b)| is_exact(a) && is_exact(b));
    let differ = is_confirmed && both.is_some_and(|(a, b)| !a.agrees_with(b));
    let are_copies = both.is_some_and(|(a, b)| is_plausible(a) && is_plausible(b))
        && !listed_apart(a.listed.as_ref(), b.listed.as_ref());
    equality::sizes(a.size, b.size).is_possible() && !is_empty && !differ && !are_copies
}

/// Whether listings, which know one zone only, show two times.
fn listed_apart(a: Option<&ModifiedTime>, b: Option<&ModifiedTime>) -> bool {
    a.is_some_and(|a| b.is_some_and(|b| !a.agrees_with(b)))
}
