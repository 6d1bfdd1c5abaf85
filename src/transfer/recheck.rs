//! A file of which neither size nor time tells whether it changed: its bytes do.

use time::OffsetDateTime;
use tokio::time::Instant;

use crate::model::failure::{Class, Failure};
use crate::model::{Md5, RemoteFile, Version};
use crate::report::{Defer, Outcome, problem};
use crate::rules::equality::is_exact;
use crate::rules::plan::known::{History, Known, Seen};
use crate::rules::plan::rest::Rest;
use crate::rules::plan::{Why, as_before};
use crate::rules::verify::Verdict;
use crate::transfer::after_action::{self, Acted};
use crate::transfer::alike;
use crate::transfer::context::Pass;
use crate::transfer::download;
use crate::transfer::error::TransferError;
use crate::transfer::leaving::{Due, is_doubted};
use crate::transfer::permits::Admission;
use crate::transfer::request::Transfer;
use crate::transfer::reread::{self, Reread, unverified};
use crate::transfer::settling::note_restless;
use crate::transfer::stored_sum::stored_sum;
use crate::transfer::transfer::transfer;

/// Brings a file over; one that is to be rechecked is read and compared first. Whatever happens is
/// an outcome.
pub(crate) async fn transfer_or_recheck(
    pass: &Pass,
    one: &Transfer,
    admission: Admission<'_>,
) -> Outcome {
    let Some(known) = one.known.as_ref().filter(|_| one.why == Why::Recheck) else {
        return transfer(pass, one, None, admission).await;
    };
    match compare(pass, one, known, admission).await {
        Ok(Compared::Outcome(outcome)) => outcome,
        Ok(Compared::Taken(why, mark)) => match pass.admission().await {
            Some(admission) => {
                transfer(pass, &Transfer { why, ..one.clone() }, mark, admission).await
            }
            None => Outcome::Deferred(Defer::Interrupted),
        },
        Err(TransferError::Source(error)) if error.class() == Class::NotFound => {
            Outcome::Deferred(Defer::Unreachable)
        }
        Err(_) if pass.run.cancel.is_cancelled() => Outcome::Deferred(Defer::Interrupted),
        Err(error) => Outcome::Failed(problem(&error)),
    }
}

/// The sighting of a file that is another one by now and may still be written. It rests from the
/// first look that saw it as it is, or runs that come often would never find that it does.
fn resting(pass: &Pass, file: RemoteFile) -> Seen {
    let now = OffsetDateTime::now_utc();
    let earlier = pass.ledger.seen(&file.path);
    let as_it_is = earlier
        .filter(|earlier| earlier.why.is_none() && as_before(&earlier.file, &file, pass.times()));
    Seen::new(file, as_it_is.map_or(now, |earlier| earlier.at))
}

enum Compared {
    /// It came to this.
    Outcome(Outcome),
    /// It is to be taken, for this reason and with this mark.
    Taken(Why, Option<Md5>),
}

async fn compare(
    pass: &Pass,
    one: &Transfer,
    known: &Known,
    admission: Admission<'_>,
) -> Result<Compared, TransferError> {
    // Nothing of it goes to the store: it is read at its place, and others have the slot.
    let place = admission.reads_only();
    let gone = Ok(Compared::Outcome(Outcome::Deferred(Defer::Unreachable)));
    let described = pass
        .run
        .in_time(download::stat(pass, &one.file))
        .await
        .ok_or(TransferError::Interrupted)??;
    let Some(described) = described else { return gone };
    let file = RemoteFile {
        size: described.size.or(one.file.size),
        modified: described.modified.or(one.file.modified),
        ..described
    };
    let Some(witness) = stored_sum(pass, known, &file.path).await? else {
        // Nobody knows the sum of what is stored: the blob is met at the commit.
        return Ok(Compared::Taken(Why::Again, None));
    };
    let read = reread::read(pass, &file).await?;
    drop(place);
    match read {
        Reread::TooMuch => Ok(Compared::Outcome(Outcome::Failed(unverified()))),
        Reread::Left(Verdict::Vanished) => gone,
        Reread::Left(_) => Ok(Compared::Outcome(Outcome::Deferred(Defer::Changed))),
        Reread::Whole { md5, .. } if md5 != witness => Ok(others(pass, one, known, (md5, file))),
        Reread::Whole { md5, verdict, after } => {
            if verdict == Verdict::Touched {
                note_restless(pass).await?;
            }
            let known = equal(one, known, &file, verdict, md5);
            let noted = alike::uncompared(pass, &file.path, known.clone());
            pass.ledger.ingested(&file, &noted, 0, 0).await?;
            Ok(Compared::Outcome(leave(pass, one, known, md5, after).await?))
        }
    }
}

/// What becomes of a file whose bytes are others than those that are stored, with this MD5.
fn others(pass: &Pass, one: &Transfer, known: &Known, (md5, file): (Md5, RemoteFile)) -> Compared {
    if one.rests {
        let mark = (Version::of(&file) == known.version).then_some(md5);
        return Compared::Taken(Why::Changed, mark);
    }
    pass.missing.resting(resting(pass, file));
    Compared::Outcome(Outcome::Deferred(Defer::Unsettled))
}

/// What is known of a file whose bytes turned out to be those that are stored.
fn equal(one: &Transfer, known: &Known, file: &RemoteFile, verdict: Verdict, md5: Md5) -> Known {
    let moves = verdict == Verdict::Touched;
    // The version keeps the time that made it; that of this look stands beside it.
    let exact = file.modified.filter(|modified| is_exact(modified) && !moves);
    let next = Known { listed: exact.or(one.listed).or(known.listed), ..known.clone() }
        .read_at(OffsetDateTime::now_utc(), Some(md5));
    Known {
        history: History { left: verdict == Verdict::Unseen, moves, ..next.history.clone() },
        ..next
    }
}

/// It is unchanged, and may be one that is to leave the source.
async fn leave(
    pass: &Pass,
    one: &Transfer,
    known: Known,
    md5: Md5,
    after: Option<RemoteFile>,
) -> Result<Outcome, TransferError> {
    let Some(after) = after else { return Ok(Outcome::Unchanged) };
    let file = if known.history.moves { RemoteFile { modified: None, ..after } } else { after };
    let rest =
        if file.modified.is_some() { pass.rest(&file, one.listed.as_ref()) } else { Rest::Nothing };
    let left = after_action::members_left(pass, known.version).await?;
    let doubted = is_doubted(one.known.as_deref());
    let due = Due {
        file,
        listed: one.listed,
        known,
        md5,
        read: Instant::now(),
        rest,
        doubted,
        is_of_share: pass.is_share(),
    };
    match after_action::act_or_wait(pass, due, left).await {
        Acted::Done | Acted::Stays(_) => {}
        Acted::Failed(problem) => pass.leaving.failed(&one.file.path, problem),
    }
    Ok(Outcome::Unchanged)
}
