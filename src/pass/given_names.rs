//! Files that an earlier run renamed to remove them (`delete_by = "rename"`), and that are still
//! there: that run died in between, or the server removed nothing. They get their own names back,
//! and the next run decides about them; else they are taken under the names that they have.

use std::sync::Arc;

use crate::failpoint::safeguard_off;
use crate::model::{RemoteFile, RemotePath};
use crate::pass::found_work::{Survey, decided};
use crate::report::{Defer, Outcome, SourceReport};
use crate::rules::plan::Why;
use crate::runtime::retry::retry;
use crate::source::contract::SourceError;
use crate::transfer::context::Pass;
use crate::transfer::removal::{name_back, name_before};
use crate::transfer::request::Transfer;
use crate::transfer::settings::After;

/// The path that a listed file had before an earlier run renamed it, whatever patterns say of the
/// name that it has.
pub(crate) fn before(pass: &Pass, file: &RemoteFile) -> Option<RemotePath> {
    let before = name_before(&file.path)?;
    let is_ours = pass.source.after != After::Keep
        && pass.source.patterns.wants(&before)
        && pass.ledger.known(&before).is_some()
        && pass.ledger.known(&file.path).is_none();
    (is_ours && !safeguard_off!("names-given-back")).then_some(before)
}

/// Gives them their names back.
pub(crate) async fn give_back(pass: &Arc<Pass>, survey: &mut Survey, report: &mut SourceReport) {
    for (file, before) in std::mem::take(&mut survey.renamed) {
        let stopped = pass.run.cancel.is_cancelled();
        let result = if stopped { Ok(true) } else { once_more(pass, &file, &before).await };
        if let Err(error) = &result {
            tracing::warn!(
                source = pass.source.name,
                path = %file.path,
                error = crate::model::chain(error),
                "Warning: a file cannot get its own name back; it is taken under the one it has."
            );
        }
        if !matches!(result, Ok(true)) {
            let (listed, known) = (file.modified, None);
            let (why, rests, yields) = (Why::New, false, false);
            let transfer = Transfer { file, listed, why, known, rests, yields };
            survey.unsettled.push(transfer);
            continue;
        }
        if !stopped {
            let note = format!(
                "an earlier run had renamed it to `{}` to remove it, and did not come to its end; \
                it has its own name again",
                file.path
            );
            report.add_note(&before, &note);
        }
        decided(pass, report, &file, Outcome::Deferred(Defer::Interrupted));
    }
}

/// Tells of them what a run would do.
pub(crate) fn tell_plan(survey: &mut Survey) {
    for (file, before) in std::mem::take(&mut survey.renamed) {
        let note = format!("it gets its own name back, `{before}`");
        survey.report.add_note(&file.path, &note);
        survey.report.add(&file.path, Outcome::Deferred(Defer::Interrupted));
    }
}

async fn once_more(
    pass: &Pass,
    file: &RemoteFile,
    before: &RemotePath,
) -> Result<bool, SourceError> {
    let once = |attempt| async move {
        let mut lease = pass.pool.lend_for_try(attempt, pass.source.policy.attempts).await?;
        let result = name_back(&mut *lease, &file.path, before).await;
        lease.settle(&result);
        result
    };
    retry(&pass.source.policy, &pass.run.cancel, "giving a file its name back", once).await
}
