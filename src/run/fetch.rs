//! Brings one file's bytes from the source, in order, through lost connections, and proves them whole.

use std::sync::Mutex;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::failure::{Class, Failure};
use crate::model::{Precision, RemoteFile};
use crate::retry::retry;
use crate::run::context::Pass;
use crate::run::watch::Call;
use crate::source::contract::{Op, Session, SourceError};
use crate::verify::{self, Mismatch, Verdict};

/// Why a file did not arrive.
#[derive(Debug)]
pub enum FetchError {
    /// The source failed.
    Source(SourceError),
    /// What arrived is not what was promised.
    Mismatch(Mismatch),
    /// Nobody wants the bytes any more: whoever took them failed and tells why itself.
    Unwanted,
}

/// A connection may break at any byte; only one that brings less than this is a failed try.
const PROGRESS_BYTES: u64 = 1 << 20;

/// Sends the bytes of `file`, as [`describe`]d, over `chunks`. After a lost connection the read goes on where it stopped,
/// if the file is still the same. The verdict is about all bytes sent.
pub async fn fetch(pass: &Pass, file: &RemoteFile, chunks: mpsc::Sender<Bytes>) -> Result<Verdict, FetchError> {
    // How far the fetch has come; outlives a lost connection.
    let progress = Mutex::new(0);
    let call = Call::to_source("fetch", pass, &file.path);
    let fetched = to_the_end(pass, file, &progress, &chunks).await;
    let bytes = *progress.lock().expect("no code panics while it holds this lock");
    match &fetched {
        Ok(_) => call.went_well(bytes),
        Err(FetchError::Source(error)) => call.failed(bytes, error),
        Err(FetchError::Mismatch(error)) => call.failed(bytes, error),
        Err(FetchError::Unwanted) => drop(call),
    }
    fetched
}

async fn to_the_end(pass: &Pass, file: &RemoteFile, progress: &Mutex<u64>, chunks: &mpsc::Sender<Bytes>) -> Result<Verdict, FetchError> {
    let offset = || *progress.lock().expect("no code panics while it holds this lock");
    loop {
        let began = offset();
        let what = "reading a file";
        let result = retry(&pass.source.policy, &pass.run.cancel, what, |_| once(pass, file, progress, chunks)).await;
        return match result {
            Err(Attempt(FetchError::Source(error)))
                if error.is_transient() && !pass.run.cancel.is_cancelled() && offset() >= began + PROGRESS_BYTES =>
            {
                continue;
            }
            Err(Attempt(error)) => Err(error),
            Ok(verdict) => Ok(verdict),
        };
    }
}

async fn once(pass: &Pass, file: &RemoteFile, progress: &Mutex<u64>, chunks: &mpsc::Sender<Bytes>) -> Result<Verdict, Attempt> {
    let mut lease = pass.pool.lend().await.map_err(FetchError::Source)?;
    let arrived = match read(pass, &mut *lease, file, progress, chunks).await {
        Ok(Ok(arrived)) => arrived,
        Ok(Err(verdict)) => {
            lease.give_back();
            return Ok(verdict);
        }
        Err(error) => {
            match &error {
                FetchError::Source(error) if error.keeps_session() => lease.give_back(),
                FetchError::Source(error) => lease.lost(error),
                // The session stands in the middle of a download: it goes, its login may stay.
                FetchError::Unwanted | FetchError::Mismatch(_) => drop(lease),
            }
            return Err(error.into());
        }
    };
    let after = match lease.stat(&file.path).await {
        // A session that is spent (a closing reply that never came) must not cost the bytes that did come.
        Err(error) if !error.keeps_session() => {
            lease.lost(&error);
            stat(pass, file).await.map_err(FetchError::Source)?
        }
        answer => {
            lease.give_back();
            answer.map_err(FetchError::Source)?
        }
    };
    Ok(judged(pass, file, after.as_ref(), arrived)?)
}

/// Sends what is left of the file. Returns how many bytes have arrived in all, or why it is not worth going on.
async fn read(
    pass: &Pass,
    session: &mut dyn Session,
    file: &RemoteFile,
    progress: &Mutex<u64>,
    chunks: &mpsc::Sender<Bytes>,
) -> Result<Result<u64, Verdict>, FetchError> {
    let mut offset = *progress.lock().expect("no code panics while it holds this lock");
    if offset > 0 {
        let now = session.stat(&file.path).await.map_err(FetchError::Source)?;
        match now {
            None => return Ok(Err(Verdict::Vanished)),
            Some(now) if !now.unchanged_since(file) => return Ok(Err(Verdict::Changed)),
            Some(_) => {}
        }
    }
    let mut download = session.read(file, offset).await.map_err(FetchError::Source)?;
    while let Some(chunk) = download.next().await.map_err(FetchError::Source)? {
        offset += chunk.len() as u64;
        pass.run.progress.fetched(&pass.source.name, chunk.len() as u64);
        chunks.send(chunk).await.map_err(|_| FetchError::Unwanted)?;
        *progress.lock().expect("no code panics while it holds this lock") = offset;
    }
    Ok(Ok(offset))
}

fn judged(pass: &Pass, file: &RemoteFile, after: Option<&RemoteFile>, arrived: u64) -> Result<Verdict, FetchError> {
    match verify::source(file, after, arrived) {
        Ok(verdict) => Ok(verdict),
        // The server said that it was done before it was: the rest is asked for like after a lost connection.
        Err(Mismatch::Size { promised, arrived }) if arrived < promised => {
            let cause = format!("the server ended the file after {arrived} of {promised} bytes");
            Err(FetchError::Source(SourceError::new(Op::Read, pass.pool.address(), Class::Truncated, cause).at(&file.path).session_survives()))
        }
        Err(mismatch) => Err(FetchError::Mismatch(mismatch)),
    }
}

/// The file as exactly as the source can tell, asking it only where the listing was coarse;
/// or the verdict that there is nothing to read any more.
pub async fn describe(pass: &Pass, listed: &RemoteFile) -> Result<Result<RemoteFile, Verdict>, SourceError> {
    if is_exact(listed) {
        return Ok(Ok(listed.clone()));
    }
    let Some(now) = stat(pass, listed).await? else { return Ok(Err(Verdict::Vanished)) };
    // A listing's coarse time has no zone that we know, so only its size is compared with an exact answer.
    if now.size.is_some() && listed.size.is_some() && now.size != listed.size {
        return Ok(Err(Verdict::Changed));
    }
    Ok(Ok(RemoteFile { size: now.size.or(listed.size), modified: now.modified.or(listed.modified), path: now.path }))
}

/// Whether a listing told all that there is to be known of a file.
pub fn is_exact(listed: &RemoteFile) -> bool {
    listed.size.is_some() && listed.modified.is_some_and(|modified| modified.precision <= Precision::Second)
}

/// The file as it is now.
pub async fn stat(pass: &Pass, file: &RemoteFile) -> Result<Option<RemoteFile>, SourceError> {
    let once = |_| async {
        let mut lease = pass.pool.lend().await?;
        let result = lease.stat(&file.path).await;
        lease.settle(&result);
        result
    };
    retry(&pass.source.policy, &pass.run.cancel, "describing a file", once).await
}

/// A fetch error as the retry loop sees it.
#[derive(Debug)]
struct Attempt(FetchError);

impl From<FetchError> for Attempt {
    fn from(error: FetchError) -> Self {
        Self(error)
    }
}

impl std::fmt::Display for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            FetchError::Source(error) => error.fmt(f),
            FetchError::Mismatch(error) => error.fmt(f),
            FetchError::Unwanted => f.write_str("the bytes are not wanted any more"),
        }
    }
}

impl std::error::Error for Attempt {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            FetchError::Source(error) => error.source(),
            _ => None,
        }
    }
}

impl Failure for Attempt {
    fn class(&self) -> Class {
        match &self.0 {
            FetchError::Source(error) => error.class(),
            FetchError::Mismatch(error) => error.class(),
            FetchError::Unwanted => Class::Internal,
        }
    }
    fn is_transient(&self) -> bool {
        matches!(&self.0, FetchError::Source(error) if error.is_transient())
    }
    fn retry_after(&self) -> Option<std::time::Duration> {
        match &self.0 {
            FetchError::Source(error) => error.retry_after(),
            _ => None,
        }
    }
}
