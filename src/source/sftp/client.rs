//! An SFTP version 3 client: many requests of many tasks in flight on one stream, each bounded in time.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::frames::Packets;
use super::limits::{self, Limits};
use super::packet::{self, Attributes, Entry, Malformed, OPEN_READ, Reply, Request, status};
use super::patience::Patience;
use crate::model::printable;
use crate::source::finding::Finding;

/// How many of a server's extensions are told of.
const MOST_EXTENSIONS: usize = 32;

fn shown(name: &[u8]) -> String {
    printable(&name[..name.len().min(64)])
}

/// Why a request has no good answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// The server answered with this status.
    #[error("the server says: {message} (status {code})")]
    Status {
        /// One of [`status`], or any other number.
        code: u32,
        /// The server's words, safe to print.
        message: String,
    },
    /// Nothing came for this long.
    #[error("no answer within {0:?}")]
    Stalled(Duration),
    /// The connection is gone, and every request on it.
    #[error("the connection was lost: {0}")]
    Lost(Arc<str>),
    /// The server's answer is not what the protocol allows.
    #[error("the server broke the protocol: {0}")]
    Broken(Malformed),
}

impl From<Malformed> for ClientError {
    fn from(malformed: Malformed) -> Self {
        ClientError::Broken(malformed)
    }
}

/// What the transport knows about its own end, told once the SFTP stream has ended.
#[derive(Clone, Debug, Default)]
pub struct LastWords(Arc<Mutex<Option<String>>>);

impl LastWords {
    /// Keeps `words`, unless there are some.
    pub fn say(&self, words: impl Into<String>) {
        lock(&self.0).get_or_insert_with(|| words.into());
    }

    /// What was said.
    pub fn heard(&self) -> Option<String> {
        lock(&self.0).clone()
    }
}

/// One SFTP connection, shared by its clones. Dropping the last clone ends its tasks and frees the stream.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    desk: Arc<Desk>,
    next_id: AtomicU32,
    stall: Duration,
    extensions: Vec<String>,
    tasks: Vec<AbortHandle>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Where answers wait to be fetched by those who asked.
struct Desk {
    outbox: mpsc::UnboundedSender<Bytes>,
    received: Arc<AtomicU64>,
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: HashMap<u32, Waiter>,
    lost: Option<Arc<str>>,
}

enum Waiter {
    Asker(oneshot::Sender<Bytes>),
    /// The server's limits, which were asked for then.
    Limits(Instant),
    /// Whoever asked for a handle has gone: close it when it comes.
    Nobody,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Ends every request, those to come included. The first reason stays.
    fn fail(&self, reason: &str) {
        let mut state = self.state();
        state.lost.get_or_insert_with(|| reason.into());
        state.waiting.clear();
    }

    /// An answer nobody waits for any more (a dropped read, a CLOSE) is dropped.
    fn deliver(&self, body: Bytes) -> Result<(), Malformed> {
        let id = packet::peek_id(&body)?;
        let mut state = self.state();
        match state.waiting.remove(&id) {
            // Under the lock, so that a ticket that is dropped now finds the answer in its channel.
            Some(Waiter::Asker(asker)) => drop(asker.send(body)),
            Some(Waiter::Nobody) => self.close_handle_in(body),
            Some(Waiter::Limits(asked)) => {
                let told = match Reply::decode(body)?.1 {
                    Reply::Extended(told) => Some(told),
                    _ => None,
                };
                self.limits.learn(told, asked.elapsed());
            }
            None => {}
        }
        Ok(())
    }

    fn close_handle_in(&self, body: Bytes) {
        if let Ok((_, Reply::Handle(handle))) = Reply::decode(body) {
            self.close(handle);
        }
    }

    /// Closes without waiting; the answer's id is known to nobody. Ids from the top never meet those of requests.
    fn close(&self, handle: Bytes) {
        drop(self.outbox.send(Request::Close { handle }.encode(u32::MAX)));
    }
}

/// A request that was sent. Dropping it forgets the request.
pub(super) struct Ticket {
    id: u32,
    desk: Arc<Desk>,
    answer: oneshot::Receiver<Bytes>,
    received_before: u64,
    opens: bool,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.desk.state();
        if state.waiting.remove(&self.id).is_some() {
            if self.opens {
                state.waiting.insert(self.id, Waiter::Nobody);
            }
        } else if self.opens
            && let Ok(body) = self.answer.try_recv()
        {
            drop(state);
            self.desk.close_handle_in(body);
        }
    }
}

/// An open file or directory on the server; dropping it closes it there, without waiting.
pub struct OpenHandle {
    desk: Arc<Desk>,
    pub(super) handle: Bytes,
}

impl Drop for OpenHandle {
    fn drop(&mut self) {
        self.desk.close(std::mem::take(&mut self.handle));
    }
}

impl Client {
    /// What a client says first.
    pub fn greeting() -> Bytes {
        Request::Init { version: packet::VERSION }.encode(0)
    }

    /// Greets the server on `stream`. Bounded by `stall`.
    pub async fn start<S>(mut stream: S, stall: Duration, last_words: LastWords) -> Result<Self, ClientError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let begun = Instant::now();
        let greet = async {
            stream.write_all(&Self::greeting()).await?;
            stream.flush().await
        };
        match tokio::time::timeout(stall, greet).await {
            Ok(Ok(())) => Self::greeted(stream, begun, stall, last_words).await,
            Ok(Err(error)) => Err(ClientError::Lost(last_words.heard().unwrap_or_else(|| error.to_string()).into())),
            Err(_) => Err(ClientError::Stalled(stall)),
        }
    }

    /// Hears the answer of a server that was sent the [`greeting`](Self::greeting) `begun`. Bounded by `stall`.
    pub async fn greeted<S>(stream: S, begun: Instant, stall: Duration, last_words: LastWords) -> Result<Self, ClientError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (read, write) = tokio::io::split(stream);
        let received: Arc<AtomicU64> = Arc::default();
        let mut packets = Packets::new(read, received.clone());
        let lost = |reason: String| ClientError::Lost(last_words.heard().unwrap_or(reason).into());
        let greeting = match tokio::time::timeout(stall, packets.next()).await {
            Ok(Ok(Some(body))) => body,
            Ok(Ok(None)) => return Err(lost("the server closed the SFTP channel at once".into())),
            Ok(Err(error)) => return Err(lost(error.to_string())),
            Err(_) => return Err(ClientError::Stalled(stall)),
        };
        let round_trip = begun.elapsed();
        let (version, extensions) = match Reply::decode(greeting)? {
            (_, Reply::Version { version, extensions }) => (version, extensions),
            _ => return Err(Malformed("it does not begin with its version").into()),
        };
        if version != packet::VERSION {
            return Err(Malformed("it does not speak SFTP version 3").into());
        }
        let (outbox, letters) = mpsc::unbounded_channel();
        let tells = extensions.iter().any(|(name, _)| name.as_ref() == limits::EXTENSION);
        let limits = if tells { Limits::to_come() } else { Limits::new(round_trip) };
        let desk = Arc::new(Desk { outbox, received, limits, state: Mutex::default() });
        let tasks = vec![
            tokio::spawn(send_all(letters, write, desk.clone(), last_words.clone())).abort_handle(),
            tokio::spawn(receive_all(packets, desk.clone(), last_words)).abort_handle(),
        ];
        let extensions = extensions.iter().take(MOST_EXTENSIONS).map(|(name, _)| shown(name)).collect();
        let inner = Inner { desk, next_id: AtomicU32::new(1), stall, extensions, tasks };
        if tells {
            inner.ask_limits();
        }
        Ok(Self(Arc::new(inner)))
    }

    /// What the server said of itself.
    pub fn features(&self) -> Vec<Finding> {
        let extensions = if self.0.extensions.is_empty() { "no extensions".to_owned() } else { self.0.extensions.join(", ") };
        let limits = &self.0.desk.limits;
        let handles = limits.open().map_or_else(|| "as many open files as we like".to_owned(), |limit| format!("{limit} open files at most"));
        let limits = format!("reads of {} KiB, {handles}", limits.read() >> 10);
        vec![Finding::new("features", format!("SFTP version {}; {extensions}", packet::VERSION)), Finding::new("limits", limits)]
    }

    /// Whether the connection is gone.
    pub fn is_lost(&self) -> bool {
        self.0.desk.state().lost.is_some()
    }

    /// What it allows, as far as is known by now.
    pub(super) fn limits(&self) -> &Limits {
        &self.0.desk.limits
    }

    pub(super) fn ask(&self, request: &Request) -> Ticket {
        self.0.ask(request)
    }

    pub(super) async fn answer(&self, ticket: &mut Ticket) -> Result<Reply, ClientError> {
        self.0.answer(ticket).await
    }

    async fn call(&self, request: Request) -> Result<Reply, ClientError> {
        self.answer(&mut self.ask(&request)).await
    }

    async fn done(&self, request: Request) -> Result<(), ClientError> {
        match self.call(request).await? {
            Reply::Status { code: status::OK, .. } => Ok(()),
            reply => Err(unexpected(reply)),
        }
    }

    async fn handle(&self, request: Request) -> Result<OpenHandle, ClientError> {
        match self.call(request).await? {
            Reply::Handle(handle) => Ok(OpenHandle { desk: self.0.desk.clone(), handle }),
            reply => Err(unexpected(reply)),
        }
    }

    async fn attributes(&self, request: Request) -> Result<Attributes, ClientError> {
        match self.call(request).await? {
            Reply::Attributes(attributes) => Ok(attributes),
            reply => Err(unexpected(reply)),
        }
    }

    /// Opens a file for reading.
    pub async fn open(&self, path: &[u8]) -> Result<OpenHandle, ClientError> {
        self.handle(Request::Open { path: Bytes::copy_from_slice(path), flags: OPEN_READ }).await
    }

    /// Opens a directory for `ask_dir`.
    pub async fn open_dir(&self, path: &[u8]) -> Result<OpenHandle, ClientError> {
        self.handle(Request::OpenDir { path: Bytes::copy_from_slice(path) }).await
    }

    /// Asks for the next entries of a directory, without waiting for the answers to earlier questions.
    pub(super) fn ask_dir(&self, directory: &OpenHandle) -> Ticket {
        self.ask(&Request::ReadDir { handle: directory.handle.clone() })
    }

    /// The entries that were asked for; `None` once the server says that there are no more.
    pub(super) async fn entries(&self, ticket: &mut Ticket) -> Result<Option<Vec<Entry>>, ClientError> {
        match self.answer(ticket).await? {
            Reply::Names(entries) => Ok(Some(entries)),
            Reply::Status { code: status::EOF, .. } => Ok(None),
            reply => Err(unexpected(reply)),
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

    /// The absolute form of a path; that of `.` is where the login starts.
    pub async fn real_path(&self, path: &[u8]) -> Result<Bytes, ClientError> {
        match self.call(Request::RealPath { path: Bytes::copy_from_slice(path) }).await? {
            Reply::Names(mut entries) if entries.len() == 1 => Ok(entries.remove(0).name),
            reply => Err(unexpected(reply)),
        }
    }

    /// Removes a file.
    pub async fn remove(&self, path: &[u8]) -> Result<(), ClientError> {
        self.done(Request::Remove { path: Bytes::copy_from_slice(path) }).await
    }

    /// Renames; most servers refuse when the target exists.
    pub async fn rename(&self, from: &[u8], to: &[u8]) -> Result<(), ClientError> {
        self.done(Request::Rename { from: Bytes::copy_from_slice(from), to: Bytes::copy_from_slice(to) }).await
    }

    /// Makes a directory.
    pub async fn make_dir(&self, path: &[u8]) -> Result<(), ClientError> {
        self.done(Request::MakeDir { path: Bytes::copy_from_slice(path) }).await
    }
}

impl Inner {
    fn ask_limits(&self) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.desk.state().waiting.insert(id, Waiter::Limits(Instant::now()));
        let request = Request::Extended { name: Bytes::from_static(limits::EXTENSION) };
        drop(self.desk.outbox.send(request.encode(id)));
    }

    fn ask(&self, request: &Request) -> Ticket {
        // The topmost id belongs to CLOSE requests that nobody waits for.
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) & (u32::MAX >> 1);
        let (asker, answer) = oneshot::channel();
        let mut state = self.desk.state();
        if state.lost.is_none() {
            state.waiting.insert(id, Waiter::Asker(asker));
            drop(self.desk.outbox.send(request.encode(id)));
        }
        drop(state);
        Ticket {
            id,
            desk: self.desk.clone(),
            answer,
            received_before: self.desk.received(),
            opens: matches!(request, Request::Open { .. } | Request::OpenDir { .. }),
        }
    }

    /// Waits for the answer, as long as [`Patience`] has it.
    async fn answer(&self, ticket: &mut Ticket) -> Result<Reply, ClientError> {
        let mut patience = Patience::new(
            self.stall,
            Instant::now(),
            self.desk.received(),
            ticket.received_before.saturating_add(self.desk.limits.ahead().passed_over()),
        );
        loop {
            match tokio::time::timeout(patience.step(), &mut ticket.answer).await {
                Ok(Ok(body)) => return Ok(Reply::decode(body)?.1),
                Ok(Err(_)) => {
                    let lost = self.desk.state().lost.clone();
                    return Err(ClientError::Lost(lost.unwrap_or_else(|| "it was closed".into())));
                }
                Err(_) if patience.is_over(Instant::now(), self.desk.received()) => return Err(ClientError::Stalled(self.stall)),
                Err(_) => {}
            }
        }
    }
}

/// The error that an answer stands for.
pub(super) fn unexpected(reply: Reply) -> ClientError {
    match reply {
        Reply::Status { code: status::OK, .. } => Malformed("it says OK where an answer was due").into(),
        Reply::Status { code, message } if message.is_empty() => ClientError::Status { code, message: words(code).into() },
        Reply::Status { code, message } => ClientError::Status { code, message: printable(&message[..message.len().min(300)]) },
        _ => Malformed("its answer does not fit the question").into(),
    }
}

fn words(code: u32) -> &'static str {
    match code {
        status::EOF => "end of file",
        status::NO_SUCH_FILE => "no such file",
        status::PERMISSION_DENIED => "permission denied",
        status::FAILURE => "failure",
        status::OP_UNSUPPORTED => "operation unsupported",
        _ => "nothing more",
    }
}

async fn send_all(mut letters: mpsc::UnboundedReceiver<Bytes>, mut write: impl AsyncWrite + Unpin, desk: Arc<Desk>, last_words: LastWords) {
    let mut batch = Vec::new();
    while let Some(letter) = letters.recv().await {
        batch.clear();
        batch.extend_from_slice(&letter);
        // What is waiting goes out in one SSH packet.
        while batch.len() < 16 << 10
            && let Ok(letter) = letters.try_recv()
        {
            batch.extend_from_slice(&letter);
        }
        let sent = match write.write_all(&batch).await {
            Ok(()) => write.flush().await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            return desk.fail(&last_words.heard().unwrap_or_else(|| error.to_string()));
        }
    }
}

async fn receive_all(mut packets: Packets<impl AsyncRead + Unpin>, desk: Arc<Desk>, last_words: LastWords) {
    let reason = loop {
        match packets.next().await {
            Ok(Some(body)) => {
                if let Err(malformed) = desk.deliver(body) {
                    break malformed.to_string();
                }
            }
            Ok(None) => break last_words.heard().unwrap_or_else(|| "the server closed the SFTP channel".into()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => break error.to_string(),
            Err(error) => break last_words.heard().unwrap_or_else(|| error.to_string()),
        }
    };
    desk.fail(&reason);
}

/// No lock here is held while anything can panic, so a poisoned one is still sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
impl Client {
    /// How many requests have no answer yet.
    pub(super) fn waiting(&self) -> usize {
        self.0.desk.state().waiting.len()
    }
}
