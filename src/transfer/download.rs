//! Brings one file's bytes from the source, in order, through lost connections, and proves them
//! whole.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::failpoint::safeguard_off;
use crate::model::failure::{Class, Failure};
use crate::model::{Precision, RemoteFile};
use crate::rules::equality::{self, Equality};
use crate::rules::verify::{self, Mismatch, Verdict};
use crate::runtime::retry::{Policy, retry};
use crate::source::bounded::ListingBound;
use crate::source::contract::{Op, Session, SourceError};
use crate::source::logins::ExclusiveLogin;
use crate::transfer::context::Pass;
use crate::transfer::events::Call;

/// Why a file did not arrive.
#[derive(Debug)]
pub enum FetchError {
    /// The source failed.
    Source(SourceError),
    /// The source failed, and what it brought of the file before may be another one's.
    Spoilt(SourceError),
    /// What arrived is not what was promised.
    Mismatch(Mismatch),
    /// Nobody wants the bytes any more: the task that took them failed and tells why itself.
    Unwanted,
}

/// A connection may break at any byte; only one that brings less than this is a failed try.
const PROGRESS_BYTES: u64 = 1 << 20;
/// What a file brings beyond the size that was promised shows that it is another one by now: so
/// much of it is read, and no more, as some servers never end.
const MOST_BEYOND: u64 = 1 << 20;
/// How long a session may wait for room for what it brings before it is lent to others who want it.
const NO_ROOM: Duration = Duration::from_secs(10);

/// A file that was read to the end that the server gave it.
#[derive(Debug)]
pub struct Fetched {
    /// What it turned out to be.
    pub verdict: Verdict,
    /// Its description after the read, where the server still gave one.
    pub after: Option<RemoteFile>,
    /// Whether the read was gone on with after a lost connection, and nothing told whether the file
    /// was still the same: what came may be parts of two files.
    pub patched: bool,
}

impl From<Verdict> for Fetched {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, after: None, patched: false }
    }
}

/// Sends the bytes of `file`, as [`describe`]d, over `chunks`. After a lost connection the read
/// goes on where it stopped, if the file is still the same. The verdict is about all bytes sent.
pub(crate) async fn fetch(
    pass: &Pass,
    file: &RemoteFile,
    chunks: mpsc::Sender<Bytes>,
) -> Result<Fetched, FetchError> {
    // How far the fetch has come; outlives a lost connection.
    let progress = Mutex::new(FetchProgress::default());
    let call = Call::to_source("fetch", pass, &file.path);
    let fetched = to_the_end(pass, file, &progress, &chunks).await;
    let FetchProgress { bytes, patched } = *lock(&progress);
    let fetched = fetched.map(|fetched| Fetched { patched, ..fetched });
    match &fetched {
        Ok(_) => call.went_well(bytes),
        Err(FetchError::Source(error) | FetchError::Spoilt(error)) => call.failed(bytes, error),
        Err(FetchError::Mismatch(error)) => call.failed(bytes, error),
        Err(FetchError::Unwanted) => drop(call),
    }
    fetched
}

/// How far a fetch has come.
#[derive(Clone, Copy, Debug, Default)]
struct FetchProgress {
    bytes: u64,
    patched: bool,
}

fn lock(progress: &Mutex<FetchProgress>) -> MutexGuard<'_, FetchProgress> {
    progress.lock().expect("no code panics while it holds this lock")
}

async fn to_the_end(
    pass: &Pass,
    file: &RemoteFile,
    progress: &Mutex<FetchProgress>,
    chunks: &mpsc::Sender<Bytes>,
) -> Result<Fetched, FetchError> {
    let offset = || lock(progress).bytes;
    let Policy { attempts, .. } = pass.source.policy;
    loop {
        let began = offset();
        let welcome = began + PROGRESS_BYTES;
        let lost = AtomicBool::new(false);
        let lost = &lost;
        // A connection that is lost in company says little of the file: its last try is its own.
        // Once it has made progress that try is not the last, and others are welcome.
        let one_try = |attempt: u32| async move {
            let is_last = attempt >= attempts && lost.load(Ordering::Relaxed) && offset() < welcome;
            let company = if is_last { LoginSharing::From(welcome) } else { LoginSharing::Welcome };
            let result = once(pass, file, progress, chunks, company).await;
            if matches!(&result, Err(Attempt(FetchError::Source(error))) if !error.keeps_session())
            {
                lost.store(true, Ordering::Relaxed);
            }
            result
        };
        let result = retry(&pass.source.policy, &pass.run.cancel, "reading a file", one_try).await;
        return match result {
            Err(Attempt(FetchError::Source(error)))
                if error.is_transient()
                    && !pass.run.cancel.is_cancelled()
                    && offset() >= welcome =>
            {
                continue;
            }
            Err(Attempt(error)) => Err(error),
            Ok(fetched) => Ok(fetched),
        };
    }
}

/// Who may be on the login of a try beside it.
#[derive(Clone, Copy, Debug)]
enum LoginSharing {
    /// Anybody.
    Welcome,
    /// Nobody, until so many bytes of the file have arrived.
    From(u64),
}

/// What a session has brought.
enum Brought {
    /// All of the file, so many bytes.
    All(u64),
    /// The file is not worth going on.
    Moot(Fetched),
    /// So many bytes, which are more than were promised; there may be further ones.
    TooMuch(u64),
    /// Less than all: nobody had room for more, and others had use for the session.
    NoRoom,
}

async fn once(
    pass: &Pass,
    file: &RemoteFile,
    progress: &Mutex<FetchProgress>,
    chunks: &mpsc::Sender<Bytes>,
    company: LoginSharing,
) -> Result<Fetched, Attempt> {
    let (mut lease, arrived, _alone) = loop {
        let lent = match company {
            LoginSharing::Welcome => pass.pool.lend().await,
            LoginSharing::From(_) => pass.pool.lend_alone().await,
        };
        let mut lease = lent.map_err(FetchError::Source)?;
        let mut alone = lease.seclusion();
        match read(pass, (&mut *lease, &mut alone), file, progress, chunks, company).await {
            Ok(Brought::All(arrived)) => break (lease, arrived, alone),
            Ok(Brought::Moot(fetched)) => {
                lease.give_back();
                return Ok(fetched);
            }
            // The session stands in the middle of a download.
            Ok(Brought::TooMuch(arrived)) => {
                drop((lease, alone));
                let after = stat(pass, file).await.map_err(FetchError::Source)?;
                let verdict = judged(pass, file, after.as_ref(), arrived)?;
                return Ok(Fetched { verdict, after, patched: false });
            }
            // It stands in the middle of a download, as below.
            Ok(Brought::NoRoom) => drop((lease, alone)),
            Err(error) => {
                match &error {
                    FetchError::Source(error) if error.keeps_session() => lease.give_back(),
                    FetchError::Source(error) | FetchError::Spoilt(error) => lease.lost(error),
                    // The session stands in the middle of a download: it goes, its login may stay.
                    FetchError::Unwanted | FetchError::Mismatch(_) => drop(lease),
                }
                return Err(error.into());
            }
        }
        drop(chunks.reserve().await.map_err(|_| FetchError::Unwanted)?);
    };
    let after = match described_after(pass, &mut *lease, file, arrived).await {
        // A session that is spent (a closing reply that never came) must not cost the bytes that
        // did come.
        Err(error) if error.is_spoiling() && !safeguard_off!("spoilt-anew") => {
            lease.lost(&error);
            return Err(spoilt(error, arrived).into());
        }
        Err(error) if !error.keeps_session() => {
            lease.lost(&error);
            described_anew(pass, file, arrived).await
        }
        answer => {
            lease.give_back();
            answer.map(|after| after.map(|after| pass.without_false_time(after)))
        }
    };
    let after = match after {
        Ok(after) => after,
        // All of it came, and the server gives no description any more: some refuse it once a file
        // was read.
        Err(error)
            if !error.is_transient() && !error.says_folder() && file.size == Some(arrived) =>
        {
            None
        }
        Err(error) => return Err(FetchError::Source(error).into()),
    };
    let verdict = judged(pass, file, after.as_ref(), arrived)?;
    Ok(Fetched { verdict, after, patched: false })
}

/// An error after so many bytes of a file: what came is not kept where it may be another file's.
fn spoilt(error: SourceError, arrived: u64) -> FetchError {
    if arrived > 0 && error.is_spoiling() && !safeguard_off!("spoilt-anew") {
        FetchError::Spoilt(error)
    } else {
        FetchError::Source(error)
    }
}

/// The description of a file that was read. What has no bytes and is no file any more may be a
/// folder that the server lists as a file: then it can be listed.
async fn described_after(
    pass: &Pass,
    session: &mut dyn Session,
    file: &RemoteFile,
    arrived: u64,
) -> Result<Option<RemoteFile>, SourceError> {
    let after = session.stat(&file.path).await?;
    if after.is_some() || arrived > 0 || safeguard_off!("folder-listed") {
        return Ok(after);
    }
    let (bound, mut tells) = (ListingBound::new(pass.run.limits.entries), false);
    let mut visit = |listed| {
        tells = true;
        bound.count(&listed);
    };
    let listing = session.list(&file.path, &mut visit);
    let listed = bound.hold(pass.pool.address(), &file.path, listing).await;
    let is_folder = || SourceError::is_folder(Op::Read, pass.pool.address(), &file.path);
    match listed {
        Ok(()) => Err(is_folder()),
        // Only of a folder there is something to tell, whatever the listing broke off by.
        Err(error) if tells && !error.keeps_session() => Err(is_folder().session_ends()),
        Err(_) if tells => Err(is_folder()),
        Err(error) if !error.keeps_session() => Err(error),
        Err(_) => Ok(None),
    }
}

/// The same by another session, where the one that read the file is spent.
async fn described_anew(
    pass: &Pass,
    file: &RemoteFile,
    arrived: u64,
) -> Result<Option<RemoteFile>, SourceError> {
    let once = |attempt| async move {
        let mut lease = pass.pool.lend_for_try(attempt, pass.source.policy.attempts).await?;
        let result = described_after(pass, &mut *lease, file, arrived).await;
        lease.settle(&result);
        result
    };
    let told = retry(&pass.source.policy, &pass.run.cancel, "describing a file", once).await?;
    Ok(told.map(|file| pass.without_false_time(file)))
}

/// Sends what is left of the file.
async fn read(
    pass: &Pass,
    (session, alone): (&mut dyn Session, &mut Option<ExclusiveLogin>),
    file: &RemoteFile,
    progress: &Mutex<FetchProgress>,
    chunks: &mpsc::Sender<Bytes>,
    company: LoginSharing,
) -> Result<Brought, FetchError> {
    let mut offset = lock(progress).bytes;
    if offset > 0 {
        let now = session.stat(&file.path).await.map_err(FetchError::Source)?;
        match now {
            None => return Ok(Brought::Moot(Verdict::Vanished.into())),
            Some(now) if !equality::between(file, &now).is_possible() => {
                let fetched = Fetched { after: Some(now), ..Verdict::Changed.into() };
                return Ok(Brought::Moot(fetched));
            }
            Some(now) => {
                lock(progress).patched |= equality::between(file, &now) != Equality::Same;
            }
        }
    }
    let mut download = session.read(file, offset).await.map_err(|error| spoilt(error, offset))?;
    while let Some(chunk) = download.next().await.map_err(|error| spoilt(error, offset))? {
        let Some(room) = room(pass, chunks).await? else { return Ok(Brought::NoRoom) };
        offset += chunk.len() as u64;
        let most = file.size.map(|size| size.saturating_add(MOST_BEYOND));
        if most.is_some_and(|most| offset > most) && !safeguard_off!("bytes-end") {
            return Ok(Brought::TooMuch(offset));
        }
        pass.run.progress.fetched(&pass.source.name, chunk.len() as u64);
        room.send(chunk);
        lock(progress).bytes = offset;
        if matches!(company, LoginSharing::From(welcome) if offset >= welcome) {
            drop(alone.take());
        }
    }
    Ok(Brought::All(offset))
}

/// Room for one more chunk; `None` when there is none for long and somebody waits for a session.
/// Who has room for what it reads and waits for a session could otherwise wait for one who has a
/// session and waits for room.
async fn room<'a>(
    pass: &Pass,
    chunks: &'a mpsc::Sender<Bytes>,
) -> Result<Option<mpsc::Permit<'a, Bytes>>, FetchError> {
    loop {
        match tokio::time::timeout(NO_ROOM, chunks.reserve()).await {
            Ok(room) => return room.map(Some).map_err(|_| FetchError::Unwanted),
            Err(_) if pass.pool.is_wanted() => return Ok(None),
            Err(_) => {}
        }
    }
}

fn judged(
    pass: &Pass,
    file: &RemoteFile,
    after: Option<&RemoteFile>,
    arrived: u64,
) -> Result<Verdict, FetchError> {
    match verify::source(file, after, arrived) {
        Ok(verdict) => Ok(verdict),
        // The server said that it was done before it was: the rest is asked for like after a lost
        // connection.
        Err(Mismatch::Size { promised, arrived }) if arrived < promised => {
            let cause = format!("the server ended the file after {arrived} of {promised} bytes");
            Err(FetchError::Source(
                SourceError::new(Op::Read, pass.pool.address(), Class::Truncated, cause)
                    .at(&file.path)
                    .session_survives(),
            ))
        }
        Err(mismatch) => Err(FetchError::Mismatch(mismatch)),
    }
}

/// A file as it is to be read.
#[derive(Clone, Debug)]
pub struct Described {
    /// As exactly as the source can tell.
    pub file: RemoteFile,
    /// Whether the listing tells another size than the source does when it is asked for the file by
    /// itself.
    pub contested: bool,
}

/// The file as exactly as the source can tell, asking it only where the listing was coarse;
/// or the verdict that there is nothing to read any more.
pub(crate) async fn describe(
    pass: &Pass,
    listed: &RemoteFile,
) -> Result<Result<Described, Verdict>, SourceError> {
    if is_exact(listed) {
        return Ok(Ok(Described { file: listed.clone(), contested: false }));
    }
    let Some(now) = stat(pass, listed).await? else { return Ok(Err(Verdict::Vanished)) };
    // A listing's coarse time has no zone that we know, so only its size is compared with an exact
    // answer.
    let contested = !equality::sizes(listed.size, now.size).is_possible();
    let file = RemoteFile {
        size: now.size.or(listed.size),
        modified: now.modified.or(listed.modified),
        path: now.path,
    };
    Ok(Ok(Described { file, contested }))
}

/// Whether a listing told all that there is to be known of a file.
pub(crate) fn is_exact(listed: &RemoteFile) -> bool {
    listed.size.is_some()
        && listed.modified.is_some_and(|modified| modified.precision <= Precision::Second)
}

/// The file as it is now.
pub(crate) async fn stat(
    pass: &Pass,
    file: &RemoteFile,
) -> Result<Option<RemoteFile>, SourceError> {
    let once = |attempt| async move {
        let mut lease = pass.pool.lend_for_try(attempt, pass.source.policy.attempts).await?;
        let result = lease.stat(&file.path).await;
        lease.settle(&result);
        result
    };
    let told = retry(&pass.source.policy, &pass.run.cancel, "describing a file", once).await?;
    Ok(told.map(|file| pass.without_false_time(file)))
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
            FetchError::Source(error) | FetchError::Spoilt(error) => error.fmt(f),
            FetchError::Mismatch(error) => error.fmt(f),
            FetchError::Unwanted => f.write_str("the bytes are not wanted any more"),
        }
    }
}

impl std::error::Error for Attempt {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            FetchError::Source(error) | FetchError::Spoilt(error) => error.source(),
            _ => None,
        }
    }
}

impl Failure for Attempt {
    fn class(&self) -> Class {
        match &self.0 {
            FetchError::Source(error) | FetchError::Spoilt(error) => error.class(),
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
