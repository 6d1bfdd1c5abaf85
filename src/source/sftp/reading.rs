//! One file read in order, with many requests under way and what each answer left out asked for
//! again.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::client::{Client, ClientError};
use super::packet::{Malformed, PacketReply, Request, status};
use super::refusal::unexpected;
use super::requests::{OpenHandle, Ticket};
use crate::failpoint::safeguard_off;
use crate::source::pace::PaceMeter;

/// Of so many bytes at least each request under way is reckoned to be: smaller chunks shrink the
/// window, they do not swamp the server.
const RECKONED: u64 = 32 << 10;
/// The question at the end: does the server agree that the file ends here?
const PROBE: u32 = 4 << 10;
/// A server that answers short gets smaller questions, but never smaller than this.
const SMALLEST_CHUNK: u32 = 512;
/// Full answers in a row after which larger questions are tried again.
const TRUST_AFTER: u32 = 64;

/// A file being read. Dropping it forgets what is under way and closes the file on the server.
pub struct SftpReading {
    client: Client,
    file: OpenHandle,
    asked: VecDeque<PendingRead>,
    /// What came and is not believed yet.
    arrived: Option<ReadAnswer>,
    under_way: u64,
    window: u64,
    chunk: u32,
    full_answers: u32,
    next: u64,
    end: Option<u64>,
    probing: bool,
    ended: bool,
    /// Whether something else than EOF told the end.
    ended_oddly: bool,
    pace: PaceMeter,
}

struct PendingRead {
    offset: u64,
    length: u32,
    ticket: Ticket,
    /// Its part of the connection's budget; one request per file goes without, so that none
    /// starves.
    _share: Option<OwnedSemaphorePermit>,
}

/// An answer to a read.
struct ReadAnswer {
    id: u32,
    offset: u64,
    length: u32,
    reply: PacketReply,
}

impl SftpReading {
    /// Reads `file` from `offset` on; `size`, if known, is how far it is worth asking.
    pub fn new(client: Client, file: OpenHandle, offset: u64, size: Option<u64>) -> Self {
        let chunk = client.limits().read();
        // Past an unknown end every question is wasted, so that window opens slowly.
        let window =
            if size.is_some() { client.limits().ahead().file } else { 2 * u64::from(chunk) };
        let pace = PaceMeter::new(client.rate());
        let asked = VecDeque::new();
        Self {
            client,
            file,
            asked,
            arrived: None,
            under_way: 0,
            window,
            chunk,
            full_answers: 0,
            next: offset,
            end: size,
            probing: false,
            ended: false,
            ended_oddly: false,
            pace,
        }
    }

    /// The next bytes, never empty; `None` once the server has said that the file ends here,
    /// be that before or after the size that was expected. May be dropped and called again.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        if self.ended {
            return Ok(None);
        }
        let id = match &self.arrived {
            Some(arrived) => arrived.id,
            None => self.arrival().await?,
        };
        self.client.settled(id).await?;
        let ReadAnswer { offset, length, reply, .. } =
            self.arrived.take().expect("it arrived, and nobody else takes it");
        let is_eof = matches!(reply, PacketReply::Status { code: status::EOF, .. });
        self.ended_oddly = !is_eof;
        match reply {
            // Empty data, an error, a refusal: many ways to say that there is nothing behind the
            // end.
            PacketReply::Data(data)
                if data.is_empty()
                    && self.is_past_the_end(offset)
                    && !safeguard_off!("odd-ends") =>
            {
                self.end()
            }
            PacketReply::Status { code, .. }
                if self.is_past_the_end(offset)
                    && !matches!(
                        code,
                        status::EOF | status::NO_CONNECTION | status::CONNECTION_LOST
                    )
                    && !safeguard_off!("odd-ends") =>
            {
                self.end()
            }
            PacketReply::Data(data) => {
                let got = u32::try_from(data.len()).ok();
                let fits =
                    |got: &u32| (1..=length).contains(got) || safeguard_off!("answer-length");
                let got = got.filter(fits);
                let got = got.ok_or(Malformed(
                    "it answered a read with no bytes, or with more than were asked for",
                ))?;
                self.learn(offset, length, got);
                Ok(Some(data))
            }
            PacketReply::Status { code: status::EOF, .. } => self.end(),
            reply => Err(unexpected(reply)),
        }
    }

    /// Waits for the next answer; the number of its question.
    async fn arrival(&mut self) -> Result<u32, ClientError> {
        self.ask_ahead();
        let front = self.asked.front_mut().expect("ask_ahead always leaves a request");
        let (begun, before) = (Instant::now(), self.client.received());
        let reply = self.client.answer(&mut front.ticket).await?;
        let PendingRead { offset, length, ticket, .. } =
            self.asked.pop_front().expect("it was there before the answer");
        let id = ticket.id;
        self.arrived = Some(ReadAnswer { id, offset, length, reply });
        self.under_way -= u64::from(length);
        self.pace.waited(begun.elapsed(), self.client.received().saturating_sub(before))?;
        Ok(id)
    }

    /// Whether something else than the server's EOF told the end.
    pub(crate) fn ended_oddly(&self) -> bool {
        self.ended && self.ended_oddly
    }

    /// Whether all the bytes that were promised have come before `offset`.
    fn is_past_the_end(&self, offset: u64) -> bool {
        self.end.is_some_and(|end| offset >= end)
    }

    fn end(&mut self) -> Result<Option<Bytes>, ClientError> {
        self.ended = true;
        self.asked.clear();
        Ok(None)
    }

    /// Asks for as much as window, budget and the file's end allow, but for one chunk in any case.
    fn ask_ahead(&mut self) {
        let most =
            usize::try_from(self.client.limits().ahead().file / RECKONED).unwrap_or(usize::MAX);
        while self.asked.len() < most {
            let left = self.end.map(|end| end.saturating_sub(self.next));
            let length = match left {
                None => self.chunk,
                Some(0) if self.probing => return,
                Some(0) => PROBE.min(self.chunk),
                Some(left) => u32::try_from(left).unwrap_or(u32::MAX).min(self.chunk),
            };
            let first = self.asked.is_empty();
            if !first && self.client.waiting() >= self.client.learned().requests.most() {
                return;
            }
            let share = self.share(length);
            if !first && (share.is_none() || self.under_way + u64::from(length) > self.window) {
                return;
            }
            self.probing = left == Some(0);
            let asked = self.request(self.next, length, share);
            self.asked.push_back(asked);
            self.next = self.next.saturating_add(u64::from(length));
        }
    }

    fn share(&self, length: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(self.client.limits().budget()).try_acquire_many_owned(length).ok()
    }

    fn request(
        &mut self,
        offset: u64,
        length: u32,
        share: Option<OwnedSemaphorePermit>,
    ) -> PendingRead {
        self.under_way += u64::from(length);
        let ticket =
            self.client.ask(&Request::Read { handle: self.file.handle.clone(), offset, length });
        PendingRead { offset, length, ticket, _share: share }
    }

    /// Draws the consequences of an answer of `got` bytes to a question for `length`.
    fn learn(&mut self, offset: u64, length: u32, got: u32) {
        self.window = (self.window * 2).min(self.client.limits().ahead().file);
        if self.is_past_the_end(offset) {
            // The file has grown. The caller that counts notices; go on as the server does.
            self.probing = false;
            self.next = offset.saturating_add(u64::from(got));
        } else if got < length && !safeguard_off!("short-read") {
            self.full_answers = 0;
            self.chunk = got.max(SMALLEST_CHUNK).min(self.chunk);
            let share = self.share(length - got);
            let missing = self.request(offset.saturating_add(u64::from(got)), length - got, share);
            self.asked.push_front(missing);
        } else {
            self.full_answers += 1;
            if self.full_answers >= TRUST_AFTER && self.chunk < self.client.limits().read() {
                self.full_answers = 0;
                self.chunk = self.chunk.saturating_mul(2).min(self.client.limits().read());
            }
        }
    }
}
