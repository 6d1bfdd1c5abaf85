//! Reads a file at the source once more, only to compare its bytes, within what the source allows a
//! run.

use tokio::sync::mpsc;

use crate::failpoint::safeguard_off;
use crate::model::failure::Class;
use crate::model::{Md5, RemoteFile};
use crate::report::Problem;
use crate::rules::verify::Verdict;
use crate::transfer::context::Pass;
use crate::transfer::download::{FetchError, Fetched, fetch};
use crate::transfer::error::TransferError;

/// Chunks that wait between the source and the sum.
const CHUNKS_AHEAD: usize = 4;

/// What reading once more came to.
#[derive(Debug)]
pub enum Reread {
    /// All of it was read.
    Whole {
        /// The sum of its bytes.
        md5: Md5,
        /// Whether it is as it was described, but for its time, or gone by now.
        verdict: Verdict,
        /// Its description after the reading, if there was one.
        after: Option<RemoteFile>,
    },
    /// It changed, or went away, while it was read.
    Left(Verdict),
    /// The source's allowance for this run is used up.
    TooMuch,
}

/// Reads `file` to its end. The caller has taken its size from the budget, if that is known; else
/// it is taken here.
pub(crate) async fn read(pass: &Pass, file: &RemoteFile) -> Result<Reread, TransferError> {
    let turn =
        pass.run.in_time(pass.large.turn(file.size)).await.ok_or(TransferError::Interrupted)?;
    let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
    let both = async { tokio::join!(fetch(pass, file, sender), sum(pass, file, chunks)) };
    let (fetched, md5) = pass.run.in_time(both).await.ok_or(TransferError::Interrupted)?;
    drop(turn);
    let Some(md5) = md5? else { return Ok(Reread::TooMuch) };
    match fetched {
        Ok(Fetched { verdict: verdict @ (Verdict::Changed | Verdict::Vanished), .. }) => {
            Ok(Reread::Left(verdict))
        }
        Ok(Fetched { verdict, after, .. }) => Ok(Reread::Whole { md5, verdict, after }),
        Err(FetchError::Source(error) | FetchError::Spoilt(error)) => Err(error.into()),
        Err(FetchError::Mismatch(error)) => Err(error.into()),
        Err(FetchError::Unwanted) => Err(TransferError::Defect("reading a file again")),
    }
}

/// Why a file stays that must be read again before it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StaysUnproven {
    /// The source's allowance for this run is used up.
    NoRoom,
    /// Other bytes came.
    Changed,
}

impl StaysUnproven {
    /// What is told of it.
    pub(crate) fn text(self) -> &'static str {
        match self {
            StaysUnproven::NoRoom => {
                "its time does not prove that it rests, and `recheck` left no room to read it \
                again: it stays"
            }
            StaysUnproven::Changed => {
                "it was read twice, and its bytes had changed: it stays for the next run"
            }
        }
    }
}

/// Why the file must stay, if its bytes are not what they were.
pub(crate) async fn why_it_stays(
    pass: &Pass,
    file: &RemoteFile,
    as_read: &Md5,
) -> Result<Option<StaysUnproven>, TransferError> {
    Ok(match read(pass, file).await? {
        Reread::Whole { md5, verdict: Verdict::Whole | Verdict::Touched, .. }
            if md5 == *as_read =>
        {
            None
        }
        // Taken: there is nothing to remove.
        Reread::Whole { verdict: Verdict::Unseen, .. } | Reread::Left(Verdict::Vanished) => None,
        Reread::Whole { .. } | Reread::Left(_) if safeguard_off!("second-reading") => None,
        Reread::TooMuch => Some(StaysUnproven::NoRoom),
        Reread::Whole { .. } | Reread::Left(_) => Some(StaysUnproven::Changed),
    })
}

async fn sum(
    pass: &Pass,
    file: &RemoteFile,
    mut chunks: mpsc::Receiver<bytes::Bytes>,
) -> Result<Option<Md5>, TransferError> {
    let mut hashing = pass.run.hashers.begin();
    while let Some(chunk) = chunks.recv().await {
        if file.size.is_none() && !pass.recheck.take(chunk.len() as u64) {
            return Ok(None);
        }
        hashing.update(Box::new(chunk)).await?;
    }
    Ok(Some(hashing.finish().await?))
}

/// What is told of a file that could not be compared within the allowance.
pub fn unverified() -> Problem {
    Problem::new(
        Class::Unverified,
        "neither its size nor its time tells whether it changed, and `recheck` left no room to \
        read it in this run",
    )
}
