//! Names of one folder that differ in case alone: a server that folds case takes both for one file,
//! and the bytes of the other are never seen. Exact times tell the two apart; where there are none,
//! equal bytes of files that are listed with different times are doubted.

use time::OffsetDateTime;

use crate::failpoint::left_out;
use crate::ledger::error::LedgerError;
use crate::model::failure::Class;
use crate::model::{ModifiedTime, RemotePath};
use crate::report::{Problem, SourceReport, problem};
use crate::rules::equality::{self, Equality, is_exact};
use crate::rules::plan::known::{History, Known};
use crate::transfer::context::Pass;
use crate::transfer::leaving::Due;

/// Why a file must stay at the source: the server may have given the bytes of another file for it,
/// or it is not known yet whether it did.
pub(crate) async fn stays(pass: &Pass, due: &Due) -> Result<Option<&'static str>, LedgerError> {
    let path = &due.file.path;
    let Some(other) = pass.alike.other(path) else { return Ok(None) };
    if due.listed.as_ref().is_some_and(is_exact) {
        return Ok(None);
    }
    let is_stored = pass.ledger.known(&other).is_some_and(|known| !known.history.left);
    if !is_stored && !left_out!("alike-told") {
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

/// Tells of doubted pairs. The next run reads them again.
pub(crate) async fn tell(pass: &Pass, report: &mut SourceReport) {
    for (one, other) in pass.alike.all() {
        let doubted = match are_doubted(pass, &one, &other).await {
            Ok(doubted) => doubted,
            Err(error) => return report.add_problem(problem(&error)),
        };
        let Some(known) = doubted else { continue };
        let text = format!(
            "`{one}` and `{other}` are listed with different times, and equal bytes come for both: \
            the server may take the two names for one file, so that the other never arrives"
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

/// What is known of two files, if nothing but the listing tells them apart.
async fn are_doubted(
    pass: &Pass,
    one: &RemotePath,
    other: &RemotePath,
) -> Result<Option<[Known; 2]>, LedgerError> {
    let (Some(a), Some(b)) = (pass.ledger.known(one), pass.ledger.known(other)) else {
        return Ok(None);
    };
    if !look_alike(&a, &b) || left_out!("alike-told") {
        return Ok(None);
    }
    let sums = (pass.ledger.md5_of(one).await?, pass.ledger.md5_of(other).await?);
    Ok((sums.0.is_some() && sums.0 == sums.1).then_some([a, b]))
}

fn look_alike(a: &Known, b: &Known) -> bool {
    let times = |a: Option<&ModifiedTime>, b: Option<&ModifiedTime>| equality::times(a, b);
    let both_exact =
        a.modified.as_ref().is_some_and(is_exact) && b.modified.as_ref().is_some_and(is_exact);
    let told_apart =
        both_exact && times(a.modified.as_ref(), b.modified.as_ref()) == Equality::Different;
    a.size.is_some_and(|size| size > 0)
        && a.size == b.size
        && !told_apart
        && listed_apart(a.listed.as_ref(), b.listed.as_ref())
}

/// Whether listings, which know one zone only, show two times.
fn listed_apart(a: Option<&ModifiedTime>, b: Option<&ModifiedTime>) -> bool {
    a.is_some_and(|a| b.is_some_and(|b| !a.agrees_with(b)))
}
