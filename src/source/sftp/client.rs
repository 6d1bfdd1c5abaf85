//! An SFTP version 3 client: many requests of many tasks in flight on one stream, each bounded in
//! time.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::frames::Packets;
use super::habits::Habits;
use super::limits::{self, SftpLimits};
use super::packet::{
    self, Attributes, Malformed, OPEN_READ, PacketEntry, PacketReply, Request, status,
};
use super::patience::Patience;
pub use super::refusal::ClientError;
use super::refusal::{meaning, unexpected};
pub(crate) use super::requests::{LastWords, OpenHandle, Ticket};
use super::requests::{PendingRequests, receive_all, send_all};
use crate::failpoint::safeguard_off;
use crate::model::printable;
use crate::source::finding::Finding;
use crate::source::pace::{MinimumRate, PaceMeter};

/// How many of a server's extensions are told of.
const MOST_EXTENSIONS: usize = 32;

fn shown(name: &[u8]) -> String {
    printable(&name[..name.len().min(64)])
}

/// One SFTP connection, shared by its clones. Dropping the last clone ends its tasks and frees the
/// stream.
#[derive(Clone)]
pub struct Client(Arc<SftpInner>);

/// The answer to a question for the next entries of a folder.
pub(super) enum PageAnswer {
    Entries(Vec<PacketEntry>),
    /// There are no more.
    End,
    /// No such file: the word of some servers for the end, of others for a folder that is not
    /// there.
    NoSuchFile(ClientError),
}

/// How a client treats its server.
#[derive(Clone, Debug)]
pub struct SessionTerms {
    /// How long the server may be silent while an answer is due.
    pub stall: Duration,
    /// How much it must send while an answer is due.
    pub rate: MinimumRate,
    /// What is known of it.
    pub learned: Arc<Habits>,
}

impl SessionTerms {
    /// For a server of which nothing is known.
    pub fn new(stall: Duration, rate: MinimumRate) -> Self {
        Self { stall, rate, learned: Arc::default() }
    }
}

struct SftpInner {
    pending: Arc<PendingRequests>,
    terms: SessionTerms,
    extensions: Vec<String>,
    tasks: Vec<AbortHandle>,
}

impl Drop for SftpInner {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Client {
    /// What a client says first.
    pub fn greeting() -> Bytes {
        Request::Init { version: packet::VERSION }.encode(0)
    }

    /// Greets the server on `stream`. Bounded by `terms.stall`.
    pub async fn start<S>(
        mut stream: S,
        terms: SessionTerms,
        last_words: LastWords,
    ) -> Result<Self, ClientError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let begun = Instant::now();
        let greet = async {
            stream.write_all(&Self::greeting()).await?;
            stream.flush().await
        };
        match tokio::time::timeout(terms.stall, greet).await {
            Ok(Ok(())) => Self::greeted(stream, &[], begun, terms, last_words).await,
            Ok(Err(error)) => Err(ClientError::Lost(
                last_words.heard().unwrap_or_else(|| error.to_string()).into(),
            )),
            Err(_) => Err(ClientError::Stalled(terms.stall)),
        }
    }

    /// Hears the answer of a server that was sent the [`greeting`](Self::greeting) `begun`, and has
    /// said `already` what comes before `stream`. Bounded by `terms.stall`.
    pub(crate) async fn greeted<S>(
        stream: S,
        already: &[u8],
        begun: Instant,
        terms: SessionTerms,
        last_words: LastWords,
    ) -> Result<Self, ClientError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (read, write) = tokio::io::split(stream);
        let received: Arc<AtomicU64> = Arc::default();
        let mut packets = Packets::after(already, read, received.clone());
        let lost = |reason: String| ClientError::Lost(last_words.heard().unwrap_or(reason).into());
        let greeting = match tokio::time::timeout(terms.stall, packets.next()).await {
            Ok(Ok(Some(body))) => body,
            Ok(Ok(None)) => {
                let reason = last_words.closed("the server closed the SFTP channel at once");
                return Err(ClientError::Lost(reason.into()));
            }
            Ok(Err(error)) => return Err(lost(error.to_string())),
            Err(_) => return Err(ClientError::Stalled(terms.stall)),
        };
        let round_trip = begun.elapsed();
        let (version, extensions) = match PacketReply::decode(greeting)? {
            (_, PacketReply::Version { version, extensions }) => (version, extensions),
            _ => return Err(Malformed("it does not begin with its version").into()),
        };
        // Version 2 is version 3 without links, and without words in a status.
        if !(packet::LEAST_VERSION..=packet::VERSION).contains(&version) {
            return Err(ClientError::Version(version));
        }
        let (outbox, letters) = mpsc::unbounded_channel();
        let tells = extensions.iter().any(|(name, _)| name.as_ref() == limits::EXTENSION);
        let limits = if tells { SftpLimits::to_come() } else { SftpLimits::new(round_trip) };
        let pending = Arc::new(PendingRequests::new(outbox, received, limits));
        let tasks = vec![
            tokio::spawn(send_all(
                letters,
                write,
                pending.clone(),
                terms.learned.clone(),
                last_words.clone(),
            ))
            .abort_handle(),
            tokio::spawn(receive_all(packets, pending.clone(), last_words)).abort_handle(),
        ];
        let extensions =
            extensions.iter().take(MOST_EXTENSIONS).map(|(name, _)| shown(name)).collect();
        if tells {
            pending.ask_limits();
        }
        Ok(Self(Arc::new(SftpInner { pending, terms, extensions, tasks })))
    }

    /// What the server said of itself.
    pub(crate) fn features(&self) -> Vec<Finding> {
        let extensions = if self.0.extensions.is_empty() {
            "no extensions".to_owned()
        } else {
            self.0.extensions.join(", ")
        };
        let limits = &self.0.pending.limits;
        let handles = limits.open().map_or_else(
            || "as many open files as we like".to_owned(),
            |limit| format!("{limit} open files at most"),
        );
        let limits = format!("reads of {} KiB, {handles}", limits.read() >> 10);
        let told = [
            Finding::new("features", format!("SFTP version {}; {extensions}", packet::VERSION)),
            Finding::new("limits", limits),
        ];
        told.into_iter().chain(self.learned().findings()).collect()
    }

    /// Whether the connection is gone.
    pub(crate) fn is_lost(&self) -> bool {
        self.0.pending.lost().is_some()
    }

    /// What is known of the server.
    pub(super) fn learned(&self) -> &Arc<Habits> {
        &self.0.terms.learned
    }

    /// How much it must send.
    pub(super) fn rate(&self) -> MinimumRate {
        self.0.terms.rate
    }

    /// Bytes that have arrived so far.
    pub(super) fn received(&self) -> u64 {
        self.0.pending.received()
    }

    /// What it allows, as far as is known by now.
    pub(super) fn limits(&self) -> &SftpLimits {
        &self.0.pending.limits
    }

    /// How many requests have no answer yet.
    pub(super) fn waiting(&self) -> usize {
        self.0.pending.waiting()
    }

    pub(super) fn ask(&self, request: &Request) -> Ticket {
        self.0.pending.ask(request)
    }

    pub(super) async fn answer(&self, ticket: &mut Ticket) -> Result<PacketReply, ClientError> {
        self.0.answer(ticket).await
    }

    /// Waits until nothing that was to be opened before the request `id` can turn out to have the
    /// handle that it was about: see [`PendingRequests::settled`].
    pub(super) async fn settled(&self, id: u32) -> Result<(), ClientError> {
        let patience = self.0.terms.stall / 2;
        match tokio::time::timeout(patience, self.0.pending.settled(id)).await {
            Ok(settled) => settled,
            Err(_) => Err(ClientError::OpensLate(patience)),
        }
    }

    /// A mark of this moment for [`Client::opened_before`].
    pub(super) fn mark(&self) -> u32 {
        self.0.pending.next_number()
    }

    /// Waits until whatever was to be opened before `mark` has its handle. What was read before it
    /// can be believed then: a server may open a file before it reads from another one that it was
    /// asked for earlier, give the one handle to both, and tell so last.
    pub(super) async fn opened_before(&self, mark: u32) -> Result<(), ClientError> {
        let patience = self.0.terms.stall / 2;
        let opened = self.0.pending.opened_before(mark, || safeguard_off!("reads-settled"));
        match tokio::time::timeout(patience, opened).await {
            Ok(Err(error)) if !matches!(error, ClientError::HandleTwice) => {
                Err(ClientError::OpensUnanswered(Box::new(error)))
            }
            Ok(opened) => opened,
            Err(_) => Err(ClientError::OpensLate(patience)),
        }
    }

    async fn call(&self, request: Request) -> Result<PacketReply, ClientError> {
        self.answer(&mut self.ask(&request)).await
    }

    async fn done(&self, request: Request) -> Result<(), ClientError> {
        match self.call(request).await? {
            PacketReply::Status { code: status::OK, .. } => Ok(()),
            reply => Err(unexpected(reply)),
        }
    }

    async fn handle(&self, request: Request) -> Result<OpenHandle, ClientError> {
        let learned = self.learned();
        let mut refused = false;
        let mut place = learned.place().await;
        loop {
            let company = place.company();
            let (code, words) = match self.answer(&mut self.ask(&request)).await? {
                PacketReply::Handle(handle) => {
                    if refused {
                        learned.stands_less();
                    }
                    return Ok(OpenHandle::new(self.0.pending.clone(), handle, place));
                }
                PacketReply::Status { code, message } => (code, message),
                reply => return Err(unexpected(reply)),
            };
            let means = meaning(code);
            let refusal = || unexpected(PacketReply::Status { code, message: words.clone() });
            if !learned.doubts(means, &words) || safeguard_off!("refusals-doubted") {
                return Err(refusal());
            }
            if company == 0 {
                learned.believe(means, &words);
                return Err(refusal());
            }
            // It may be one file too many.
            drop(place);
            refused = true;
            learned.halve(company + 1);
            place = match learned.patience(&words) {
                None => learned.place().await,
                Some(patience) => match tokio::time::timeout(patience, learned.place()).await {
                    Ok(place) => place,
                    Err(_) => {
                        learned.believe(means, &words);
                        return Err(refusal());
                    }
                },
            };
        }
    }

    async fn attributes(&self, request: Request) -> Result<Attributes, ClientError> {
        match self.call(request).await? {
            PacketReply::Attributes(attributes) => Ok(attributes),
            reply => Err(unexpected(reply)),
        }
    }

    /// Opens a file for reading.
    pub async fn open(&self, path: &[u8]) -> Result<OpenHandle, ClientError> {
        self.handle(Request::Open { path: Bytes::copy_from_slice(path), flags: OPEN_READ }).await
    }

    /// Opens a directory for `ask_dir`.
    pub(crate) async fn open_dir(&self, path: &[u8]) -> Result<OpenHandle, ClientError> {
        self.handle(Request::OpenDir { path: Bytes::copy_from_slice(path) }).await
    }

    /// Asks for the next entries of a directory, without waiting for the answers to earlier
    /// questions.
    pub(super) fn ask_dir(&self, directory: &OpenHandle) -> Ticket {
        self.ask(&Request::ReadDir { handle: directory.handle.clone() })
    }

    /// The entries that were asked for, or that there are no more.
    pub(super) async fn entries(&self, ticket: &mut Ticket) -> Result<PageAnswer, ClientError> {
        let reply = self.answer(ticket).await?;
        self.settled(ticket.id).await?;
        match reply {
            PacketReply::Names(entries) => Ok(PageAnswer::Entries(entries)),
            // Servers in the field use all three.
            PacketReply::Status { code: status::EOF | status::OK, .. } => Ok(PageAnswer::End),
            reply => match unexpected(reply) {
                error @ ClientError::Status { code: status::NO_SUCH_FILE, .. } => {
                    Ok(PageAnswer::NoSuchFile(error))
                }
                error => Err(error),
            },
        }
    }

    /// Describes a path; a symbolic link as itself.
    pub async fn lstat(&self, path: &[u8]) -> Result<Attributes, ClientError> {
        self.attributes(Request::Lstat { path: Bytes::copy_from_slice(path) }).await
    }

    /// Describes a path, following symbolic links.
    pub async fn stat(&self, path: &[u8]) -> Result<Attributes, ClientError> {
        self.attributes(Request::Stat { path: Bytes::copy_from_slice(path) }).await
    }

    /// Describes an open file.
    pub async fn fstat(&self, file: &OpenHandle) -> Result<Attributes, ClientError> {
        self.attributes(Request::Fstat { handle: file.handle.clone() }).await
    }

    /// The absolute form of a path; that of `.` is where the login starts. `None` where the server
    /// does not tell.
    pub async fn real_path(&self, path: &[u8]) -> Result<Option<Bytes>, ClientError> {
        match self.call(Request::RealPath { path: Bytes::copy_from_slice(path) }).await? {
            // Of several names the first is meant; some answer with none, or with an empty one.
            PacketReply::Names(entries) => {
                let names = entries.into_iter().map(|entry| entry.name);
                Ok(names.take(1).find(|name| !name.is_empty()))
            }
            PacketReply::Status { .. } => Ok(None),
            reply => Err(unexpected(reply)),
        }
    }

    /// Removes a file.
    pub async fn remove(&self, path: &[u8]) -> Result<(), ClientError> {
        self.done(Request::Remove { path: Bytes::copy_from_slice(path) }).await
    }

    /// Renames; most servers refuse when the target exists.
    pub async fn rename(&self, from: &[u8], to: &[u8]) -> Result<(), ClientError> {
        self.done(Request::Rename {
            from: Bytes::copy_from_slice(from),
            to: Bytes::copy_from_slice(to),
        })
        .await
    }

    /// Makes a directory.
    pub(crate) async fn make_dir(&self, path: &[u8]) -> Result<(), ClientError> {
        self.done(Request::MakeDir { path: Bytes::copy_from_slice(path) }).await
    }
}

impl SftpInner {
    /// Waits for the answer, as long as [`Patience`] has it.
    async fn answer(&self, ticket: &mut Ticket) -> Result<PacketReply, ClientError> {
        let mut patience = Patience::new(
            self.terms.stall,
            Instant::now(),
            self.pending.received(),
            ticket.delivered_before.saturating_add(self.pending.limits.ahead().passed_over()),
        );
        // An answer may come byte by byte.
        let mut pace = PaceMeter::new(self.terms.rate);
        loop {
            let before = self.pending.received();
            match tokio::time::timeout(patience.step(), &mut ticket.answer).await {
                Ok(Ok(body)) => return Ok(PacketReply::decode(body)?.1),
                Ok(Err(_)) => {
                    return Err(self
                        .pending
                        .lost()
                        .unwrap_or_else(|| ClientError::Lost("it was closed".into())));
                }
                Err(_) if patience.is_over(Instant::now(), self.pending.progress()) => {
                    self.terms.learned.requests.stalled_with(self.pending.waiting());
                    if self.pending.joined() {
                        self.terms.learned.sends_them_alone();
                    }
                    return Err(ClientError::Stalled(self.terms.stall));
                }
                Err(_) => {
                    pace.waited(patience.step(), self.pending.received().saturating_sub(before))?
                }
            }
        }
    }
}
