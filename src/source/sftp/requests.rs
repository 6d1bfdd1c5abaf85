//! Where the answers of one channel wait to be fetched by those who asked.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use super::frames::Packets;
use super::habits::{Habits, OpenPlace};
use super::handles::Handles;
use super::limits::{self, SftpLimits};
use super::packet::{self, PacketReply, Request};
use super::refusal::ClientError;
use crate::failpoint::safeguard_off;
use crate::model::printable;

/// How much is kept of what a server's program writes beside the stream.
const MOST_ASIDE: usize = 300;

/// What the transport knows about its own end, told once the SFTP stream has ended.
#[derive(Clone, Debug, Default)]
pub struct LastWords(Arc<Mutex<SaidAtLast>>);

#[derive(Debug, Default)]
struct SaidAtLast {
    words: Option<String>,
    /// The end of what the server's program wrote beside the stream, and how it ended.
    aside: Vec<u8>,
    exit: Option<u32>,
}

impl LastWords {
    /// Keeps `words`, unless there are some.
    pub fn say(&self, words: impl Into<String>) {
        lock(&self.0).words.get_or_insert_with(|| words.into());
    }

    /// What was said.
    pub fn heard(&self) -> Option<String> {
        lock(&self.0).words.clone()
    }

    /// The server's program wrote `text` to its standard error.
    pub(super) fn say_aside(&self, text: &[u8]) {
        let aside = &mut lock(&self.0).aside;
        aside.extend_from_slice(text);
        aside.drain(..aside.len().saturating_sub(MOST_ASIDE));
    }

    /// The server's program ended with this status.
    pub(super) fn exited(&self, status: u32) {
        lock(&self.0).exit = Some(status);
    }

    /// What is told of a stream that the server ended: what was said, or else `otherwise` with what
    /// its program left behind.
    pub(super) fn closed(&self, otherwise: &str) -> String {
        let said = lock(&self.0);
        if let Some(words) = &said.words {
            return words.clone();
        }
        let exit = said.exit.filter(|status| *status != 0);
        let exit = exit.map(|status| format!("; its program ended with status {status}"));
        let aside = said.aside.trim_ascii();
        let aside = (!aside.is_empty()).then(|| format!("; it says `{}`", printable(aside)));
        format!("{otherwise}{}{}", exit.unwrap_or_default(), aside.unwrap_or_default())
    }
}

/// Where answers wait to be fetched by those who asked.
pub struct PendingRequests {
    outbox: mpsc::UnboundedSender<Bytes>,
    received: Arc<AtomicU64>,
    /// Bytes of whole packets.
    delivered: AtomicU64,
    /// Whether several requests went out in one message.
    joined: AtomicBool,
    /// What the server allows, as far as is known by now.
    pub limits: SftpLimits,
    state: Mutex<RequestState>,
    /// A request to open something was answered, or the channel is lost.
    opened: Notify,
}

#[derive(Default)]
struct RequestState {
    last_id: u32,
    waiting: BTreeMap<u32, ReplyWaiter>,
    /// Requests to open something that have no answer yet.
    opens: BTreeSet<u32>,
    /// Whether an answer has overtaken that to an earlier request.
    overtakes: bool,
    handles: Handles,
    lost: Option<ClientError>,
}

enum ReplyWaiter {
    Asker(Subject, oneshot::Sender<Bytes>),
    /// The server's limits, which were asked for then.
    Limits(Instant),
    /// The caller has gone. A handle that comes is to be closed.
    Nobody(Subject),
}

/// What a request is about.
#[derive(Clone, Debug)]
enum Subject {
    Path,
    /// A handle that the server is to give out.
    NewHandle,
    Handle(Bytes),
    /// A handle that the server is to take back.
    OldHandle(Bytes),
}

impl Subject {
    fn of(request: &Request) -> Self {
        match request {
            Request::Open { .. } | Request::OpenDir { .. } => Subject::NewHandle,
            Request::Read { handle, .. }
            | Request::Fstat { handle }
            | Request::ReadDir { handle } => Subject::Handle(handle.clone()),
            Request::Close { handle } => Subject::OldHandle(handle.clone()),
            _ => Subject::Path,
        }
    }
}

impl RequestState {
    fn next_id(&mut self) -> u32 {
        self.last_id = self.last_id.wrapping_add(1);
        self.last_id
    }

    /// The first request that cannot have been done before the request `id`, whose answer is there:
    /// the next one where answers come in the order of questions, else one that is not sent yet.
    fn first_after(&self, id: u32) -> u32 {
        if self.overtakes { self.last_id.wrapping_add(1) } else { id }
    }

    /// Keeps count of the handles that the answer `body` to the request `id` is about. An error
    /// ends the channel.
    fn count(&mut self, id: u32, subject: &Subject, body: &Bytes) -> Result<(), ClientError> {
        match subject {
            Subject::Path => {}
            Subject::NewHandle => {
                // What cannot be decoded is told to the caller.
                if let Ok((_, PacketReply::Handle(handle))) = PacketReply::decode(body.clone())
                    && !self.handles.give(handle, id)
                    && !safeguard_off!("handles-unique")
                {
                    return Err(ClientError::HandleTwice);
                }
            }
            Subject::Handle(handle) => self.handles.answer(handle),
            Subject::OldHandle(handle) => self.handles.close(handle, id),
        }
        self.handles.opened_before(self.opens.first().copied());
        Ok(())
    }
}

impl PendingRequests {
    /// Requests go into `outbox`; `received` counts the bytes that arrive.
    pub(crate) fn new(
        outbox: mpsc::UnboundedSender<Bytes>,
        received: Arc<AtomicU64>,
        limits: SftpLimits,
    ) -> Self {
        let (state, opened) = (Mutex::default(), Notify::new());
        let (delivered, joined) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { outbox, received, delivered, joined, limits, state, opened }
    }

    fn state(&self) -> MutexGuard<'_, RequestState> {
        lock(&self.state)
    }

    /// Bytes received so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Bytes received so far, and those of them that were whole packets.
    pub(super) fn progress(&self) -> (u64, u64) {
        (self.received(), self.delivered.load(Ordering::Relaxed))
    }

    /// Whether several requests went out in one message.
    pub(super) fn joined(&self) -> bool {
        self.joined.load(Ordering::Relaxed)
    }

    /// How many requests have no answer yet.
    pub fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    /// Why the channel is gone, if it is.
    pub fn lost(&self) -> Option<ClientError> {
        self.state().lost.clone()
    }

    /// Ends every request, those to come included. The first reason stays.
    fn fail(&self, reason: ClientError) {
        let mut state = self.state();
        state.lost.get_or_insert(reason);
        state.waiting.clear();
        drop(state);
        self.opened.notify_waiters();
    }

    /// Waits until it is certain that what the request `id` was about was not given to another file
    /// meanwhile: what was to be opened before has its handle. Costs no request, and no time where
    /// answers come in the order of questions.
    pub async fn settled(&self, id: u32) -> Result<(), ClientError> {
        let bound = {
            let state = self.state();
            if let Some(lost) = &state.lost {
                return Err(lost.clone());
            }
            state.first_after(id)
        };
        self.opened_before(bound, || safeguard_off!("opens-settled")).await
    }

    /// The number of the next request.
    pub(crate) fn next_number(&self) -> u32 {
        self.state().last_id.wrapping_add(1)
    }

    /// Waits until whatever was to be opened by a request before the number `bound` has its handle,
    /// and is certain that none of these was given out twice. `skips` is asked last.
    pub(crate) async fn opened_before(
        &self,
        bound: u32,
        skips: impl Fn() -> bool,
    ) -> Result<(), ClientError> {
        loop {
            let opened = self.opened.notified();
            tokio::pin!(opened);
            opened.as_mut().enable();
            {
                let state = self.state();
                let is_open = state.opens.first().is_none_or(|first| *first >= bound);
                match &state.lost {
                    Some(lost) if !is_open || matches!(lost, ClientError::HandleTwice) => {
                        if skips() {
                            return Ok(());
                        }
                        return Err(lost.clone());
                    }
                    _ if is_open || skips() => return Ok(()),
                    _ => {}
                }
            }
            opened.await;
        }
    }

    /// An answer nobody waits for any more (a dropped read, a CLOSE) is dropped.
    fn deliver(&self, body: Bytes) -> Result<(), ClientError> {
        let id = packet::peek_id(&body)?;
        self.delivered.fetch_add(body.len() as u64, Ordering::Relaxed);
        let mut state = self.state();
        let Some(waiter) = state.waiting.remove(&id) else { return Ok(()) };
        state.overtakes |= state.waiting.first_key_value().is_some_and(|(first, _)| *first < id);
        let opens = state.opens.remove(&id);
        match &waiter {
            ReplyWaiter::Asker(subject, _) | ReplyWaiter::Nobody(subject) => {
                if let Err(error) = state.count(id, subject, &body) {
                    // The caller finds the reason.
                    state.lost.get_or_insert(error.clone());
                    return Err(error);
                }
            }
            ReplyWaiter::Limits(_) => {}
        }
        if opens {
            self.opened.notify_waiters();
        }
        match waiter {
            // Under the lock, so that a ticket that is dropped now finds the answer in its channel.
            ReplyWaiter::Asker(_, asker) => drop(asker.send(body)),
            ReplyWaiter::Nobody(Subject::NewHandle) => {
                drop(state);
                self.close_handle_in(body);
            }
            ReplyWaiter::Nobody(_) => {}
            ReplyWaiter::Limits(asked) => {
                // Whatever else is answered tells nothing.
                let told = match PacketReply::decode(body) {
                    Ok((_, PacketReply::Extended(told))) => Some(told),
                    _ => None,
                };
                self.limits.learn(told, asked.elapsed());
            }
        }
        Ok(())
    }

    fn close_handle_in(&self, body: Bytes) {
        if let Ok((_, PacketReply::Handle(handle))) = PacketReply::decode(body) {
            self.close(handle);
        }
    }

    /// Closes without waiting.
    fn close(&self, handle: Bytes) {
        let mut state = self.state();
        let id = state.next_id();
        if state.lost.is_none() {
            state.waiting.insert(id, ReplyWaiter::Nobody(Subject::OldHandle(handle.clone())));
            drop(self.outbox.send(Request::Close { handle }.encode(id)));
        }
    }

    /// Asks the server for its limits; nobody waits for them.
    pub(crate) fn ask_limits(&self) {
        let mut state = self.state();
        let id = state.next_id();
        state.waiting.insert(id, ReplyWaiter::Limits(Instant::now()));
        let request = Request::Extended { name: Bytes::from_static(limits::EXTENSION) };
        drop(self.outbox.send(request.encode(id)));
    }

    /// Sends a request.
    pub fn ask(self: &Arc<Self>, request: &Request) -> Ticket {
        let (asker, answer) = oneshot::channel();
        let subject = Subject::of(request);
        let mut state = self.state();
        let id = state.next_id();
        if state.lost.is_none() {
            match &subject {
                Subject::Handle(handle) => state.handles.ask(handle),
                Subject::NewHandle => drop(state.opens.insert(id)),
                Subject::Path | Subject::OldHandle(_) => {}
            }
            state.waiting.insert(id, ReplyWaiter::Asker(subject, asker));
            drop(self.outbox.send(request.encode(id)));
        }
        drop(state);
        Ticket {
            id,
            pending: self.clone(),
            answer,
            delivered_before: self.progress().1,
            opens: matches!(request, Request::Open { .. } | Request::OpenDir { .. }),
        }
    }
}

/// A request that was sent. Dropping it forgets the request.
pub struct Ticket {
    /// Its number on the channel: later requests have higher ones.
    pub id: u32,
    pending: Arc<PendingRequests>,
    /// The answer, when it has come.
    pub answer: oneshot::Receiver<Bytes>,
    /// Bytes of whole packets that had come when it was sent.
    pub delivered_before: u64,
    opens: bool,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.pending.state();
        if let Some(waiter) = state.waiting.remove(&self.id) {
            match waiter {
                ReplyWaiter::Asker(Subject::Path, _) => {}
                // Its answer has to be counted.
                ReplyWaiter::Asker(subject, _) => {
                    drop(state.waiting.insert(self.id, ReplyWaiter::Nobody(subject)))
                }
                other => drop(state.waiting.insert(self.id, other)),
            }
        } else if self.opens
            && let Ok(body) = self.answer.try_recv()
        {
            drop(state);
            self.pending.close_handle_in(body);
        }
    }
}

/// An open file or directory on the server; dropping it closes it there, without waiting.
pub struct OpenHandle {
    pending: Arc<PendingRequests>,
    /// What the server calls it.
    pub handle: Bytes,
    _place: OpenPlace,
}

impl OpenHandle {
    /// The handle that the server gave out to `pending`, for which there is a place.
    pub(crate) fn new(pending: Arc<PendingRequests>, handle: Bytes, place: OpenPlace) -> Self {
        Self { pending, handle, _place: place }
    }
}

impl Drop for OpenHandle {
    fn drop(&mut self) {
        self.pending.close(std::mem::take(&mut self.handle));
    }
}

/// Writes the requests of `pending` to the server.
pub(crate) async fn send_all(
    mut letters: mpsc::UnboundedReceiver<Bytes>,
    mut write: impl AsyncWrite + Unpin,
    pending: Arc<PendingRequests>,
    learned: Arc<Habits>,
    last_words: LastWords,
) {
    let mut batch = Vec::new();
    while let Some(letter) = letters.recv().await {
        batch.clear();
        batch.extend_from_slice(&letter);
        // What is waiting goes out in one message.
        while batch.len() < 16 << 10
            && !learned.wants_them_alone()
            && let Ok(letter) = letters.try_recv()
        {
            batch.extend_from_slice(&letter);
            pending.joined.store(true, Ordering::Relaxed);
        }
        let sent = match write.write_all(&batch).await {
            Ok(()) => write.flush().await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            return pending.fail(ClientError::Lost(
                last_words.heard().unwrap_or_else(|| error.to_string()).into(),
            ));
        }
    }
}

/// Hands what the server answers to those of `pending` who asked.
pub(crate) async fn receive_all(
    mut packets: Packets<impl AsyncRead + Unpin>,
    pending: Arc<PendingRequests>,
    last_words: LastWords,
) {
    let reason = loop {
        match packets.next().await {
            Ok(Some(body)) => match pending.deliver(body) {
                Ok(()) => continue,
                Err(ClientError::Broken(malformed)) => break malformed.to_string(),
                Err(error) => return pending.fail(error),
            },
            Ok(None) => break last_words.closed("the server closed the SFTP channel"),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => break error.to_string(),
            Err(error) => break last_words.heard().unwrap_or_else(|| error.to_string()),
        }
    };
    pending.fail(ClientError::Lost(reason.into()));
}

/// No lock here is held while anything can panic, so a poisoned one is still sound.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
