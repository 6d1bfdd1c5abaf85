//! Whether what arrived of a file is the file.

use crate::failpoint::safeguard_off;
use crate::model::failure::Class;
use crate::model::{Md5, RemoteFile};
use crate::report::Problem;
use crate::rules::equality::{self, Equality};
use crate::rules::plan::known::{Seen, Unmet};
use crate::rules::plan::rest::Rest;
use crate::rules::verify::Verdict;
use crate::transfer::context::Pass;
use crate::transfer::download::{Described, Fetched, is_exact};
use crate::transfer::error::TransferError;
use crate::transfer::request::Transfer;
use crate::transfer::reread::{self, Reread};

/// A file that was read to its end, and its bytes.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub md5: Md5,
    pub verdict: Verdict,
    /// Its description after the read; without a time, if that moves at every look.
    pub after: Option<RemoteFile>,
}

/// Whether a file may be taken by its own description though the listing told another size.
pub(super) fn may_be_contested(pass: &Pass, transfer: &Transfer, file: &RemoteFile) -> bool {
    pass.source.stable_for.is_zero() || pass.rest(file, transfer.listed.as_ref()) == Rest::Proven
}

/// Zones differ by quarters of an hour, and none by more than this from another one.
const QUARTER: i64 = 15 * 60;
const FURTHEST_ZONE: i64 = 26 * 3600;

/// Whether the listing told another time of a file in an earlier run as well than the server did
/// when it was asked for it by itself, and has not moved since: it was not written in between.
pub(super) fn is_listed_otherwise(
    pass: &Pass,
    transfer: &Transfer,
    file: &RemoteFile,
    read: &Fetched,
) -> bool {
    let before = |seen: Seen| {
        seen.why == Some(Unmet::Changed) && equality::between(&seen.file, file) == Equality::Same
    };
    read.verdict == Verdict::Touched
        && is_exact(file)
        && *file == transfer.file
        && pass.ledger.seen(&file.path).is_some_and(before)
}

/// Whether a listing tells times in another zone than the server does when it is asked for a file,
/// as on Windows after a change of daylight saving time. Other times may be those of another file.
fn is_of_another_zone(listed: &RemoteFile, told: &RemoteFile) -> bool {
    let (Some(listed), Some(told)) = (listed.modified, told.modified) else { return false };
    let apart = (told.at - listed.at).whole_seconds();
    apart % QUARTER == 0 && apart.abs() <= FURTHEST_ZONE
}

/// What is told of a file whose listing tells another time, run after run, for no known reason.
pub(super) fn listed_otherwise() -> Problem {
    Problem::new(
        Class::Unverified,
        "the listing tells another time of it than the server does when it is asked for the file, \
            in this run as in an earlier one: it may be another file",
    )
}

/// The file as it was described after it was read, where only the size or the time that the listing
/// told was another: some servers list what is not true. Two descriptions that agree win.
pub(super) fn better_told(
    pass: &Pass,
    transfer: &Transfer,
    described: &Described,
    left: &Fetched,
) -> Option<RemoteFile> {
    let after = left.after.as_ref()?;
    if is_listed_otherwise(pass, transfer, &described.file, left) {
        return is_of_another_zone(&described.file, after).then(|| after.clone());
    }
    let of_another_size = left.verdict == Verdict::Changed && !described.contested;
    let same_time =
        equality::times(described.file.modified.as_ref(), after.modified.as_ref()).is_possible();
    (of_another_size && same_time && may_be_contested(pass, transfer, after)).then(|| after.clone())
}

/// Judges what arrived. A file of which only the time moved is read once more: equal bytes are the
/// file, and its time tells nothing. So is one of which nothing tells whether it was still the same
/// when its read went on after a lost connection.
pub(super) async fn settle(
    pass: &Pass,
    transfer: &Transfer,
    file: &RemoteFile,
    fetched: Fetched,
    md5: Md5,
) -> Result<Result<Read, Fetched>, TransferError> {
    match fetched.verdict {
        Verdict::Unseen => {
            return Ok(Ok(Read { md5, verdict: Verdict::Unseen, after: fetched.after }));
        }
        Verdict::Whole if !fetched.patched => {
            return Ok(Ok(Read { md5, verdict: Verdict::Whole, after: fetched.after }));
        }
        Verdict::Changed | Verdict::Vanished => return Ok(Err(fetched)),
        Verdict::Touched if safeguard_off!("touched-reread") => {
            return Ok(Ok(Read { md5, verdict: Verdict::Whole, after: fetched.after }));
        }
        Verdict::Touched if is_listed_otherwise(pass, transfer, file, &fetched) => {
            return Ok(Err(fetched));
        }
        Verdict::Touched | Verdict::Whole => {}
    }
    if file.size.is_some_and(|size| !pass.recheck.take(size)) {
        return Ok(Err(fetched));
    }
    let now = fetched.after.clone().unwrap_or_else(|| file.clone());
    match reread::read(pass, &now).await? {
        Reread::Whole { md5: again, verdict: Verdict::Touched, after } if again == md5 => {
            note_restless(pass).await?;
            Ok(Ok(Read {
                md5,
                verdict: Verdict::Touched,
                after: after.map(|after| RemoteFile { modified: None, ..after }),
            }))
        }
        // It was touched once, and its time stands still now.
        Reread::Whole { md5: again, verdict: Verdict::Unseen, .. } if again == md5 => {
            Ok(Ok(Read { md5, verdict: Verdict::Unseen, after: None }))
        }
        Reread::Whole { md5: again, verdict: Verdict::Whole, after }
            if again == md5 && fetched.patched =>
        {
            Ok(Ok(Read { md5, verdict: Verdict::Whole, after }))
        }
        // Nobody has it but us.
        Reread::Left(Verdict::Vanished) if fetched.verdict == Verdict::Whole => {
            Ok(Ok(Read { md5, verdict: Verdict::Unseen, after: None }))
        }
        _ => Ok(Err(fetched)),
    }
}

/// Counts a file whose time moves at every look. Of a source with several of them, times tell
/// nothing from then on.
pub(crate) async fn note_restless(pass: &Pass) -> Result<(), TransferError> {
    if pass.restless.add() {
        pass.ledger.note_restless().await?;
    }
    Ok(())
}
