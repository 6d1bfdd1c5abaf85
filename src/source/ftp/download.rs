//! The bytes of one file, up to the server's closing reply.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout};

use super::client::FtpClient;
use super::fault::{Broken, FtpReply, Scene};
use super::text::TextLines;
use super::transfer::FtpTransfer;
use crate::model::RemoteFile;
use crate::model::failure::Class;
use crate::source::contract::{Download, Op, SourceError};
use crate::source::pace::PaceMeter;

/// The most bytes of one chunk.
const CHUNK: usize = 256 * 1024;
/// A chunk of this size is not held back to be filled further.
const ENOUGH: usize = 64 * 1024;
/// The room for what may come behind the size that is known: nothing, mostly.
const REST: usize = 4 * 1024;

/// A transfer that runs. Dropped before its end, it leaves the client out of step: nobody waits
/// for the rest of a large file only to keep a connection.
pub(crate) struct FtpReading<'a> {
    client: &'a mut FtpClient,
    transfer: Option<Box<FtpTransfer>>,
    buffer: BytesMut,
    file: RemoteFile,
    /// Where in the file the next byte stands.
    position: u64,
    /// How many bytes to drop first, when the server cannot begin in the middle.
    skip: u64,
    /// What turns the bytes of the wire into those of the file, where they are text.
    text: Option<TextLines>,
    /// Whether the data ended without TLS saying so.
    cut: bool,
    pace: PaceMeter,
}

impl<'a> FtpReading<'a> {
    /// `transfer` begins at byte `position` of `file`; its first `skip` bytes are not wanted.
    pub fn new(
        client: &'a mut FtpClient,
        transfer: Box<FtpTransfer>,
        file: RemoteFile,
        position: u64,
        skip: u64,
    ) -> Self {
        let pace = PaceMeter::new(client.account.limits.rate);
        let text = client.takes_text().then(TextLines::default);
        Self {
            client,
            transfer: Some(transfer),
            buffer: BytesMut::new(),
            file,
            position,
            skip,
            text,
            cut: false,
            pace,
        }
    }

    /// Bytes as they come, as many as there are up to a chunk; 0 at the end.
    async fn fill(&mut self) -> Result<usize, SourceError> {
        let expected = self.expected();
        let Some(transfer) = &mut self.transfer else { return Ok(0) };
        let account = self.client.account.clone();
        let scene = Scene { op: Op::Read, address: &account.address, path: Some(&self.file.path) };
        if self.buffer.capacity() < ENOUGH {
            self.buffer = BytesMut::with_capacity(expected);
        }
        let at = self.position;
        let is_all = self.file.size == Some(at);
        let patience = if is_all { account.limits.finish } else { account.limits.stall };
        let (begun, before) = (Instant::now(), account.learned.received.load(Ordering::Relaxed));
        match timeout(patience, transfer.read_buf(&mut self.buffer)).await {
            // All bytes are here, and the server leaves the connection open: the closing reply says
            // whether that was all.
            Err(_) if is_all => return Ok(0),
            Err(_) => {
                return Err(scene.fault(
                    Class::Stalled,
                    format!("no byte for {:?}, after {at} bytes", account.limits.stall),
                ));
            }
            Ok(Err(error))
                if error.kind() == std::io::ErrorKind::UnexpectedEof
                    && self.client.is_encrypted() =>
            {
                self.cut = true
            }
            // All bytes are here: whether that was all, the closing reply says.
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionReset && is_all => {}
            Ok(Err(error)) => {
                return Err(scene.fault(
                    Class::Truncated,
                    format!("the data connection broke after {at} bytes: {error}"),
                ));
            }
            Ok(Ok(bytes)) => {
                account.learned.received.fetch_add(bytes as u64, Ordering::Relaxed);
            }
        }
        let bytes = account.learned.received.load(Ordering::Relaxed).saturating_sub(before);
        self.pace
            .waited(begun.elapsed(), bytes)
            .map_err(|slow| scene.fault(Class::Stalled, slow.to_string()))?;
        // Encrypted data comes in pieces of 16 KiB: take along what is there already.
        while !self.buffer.is_empty() && self.buffer.len() < ENOUGH {
            match transfer.read_buf(&mut self.buffer).now_or_never() {
                Some(Ok(more)) if more > 0 => {}
                // An end or an error shows itself again at the next call.
                _ => break,
            }
        }
        Ok(self.buffer.len())
    }

    /// How much room is worth having for what comes next: many small files are held at once, each
    /// with all of its buffer.
    fn expected(&self) -> usize {
        match self.file.size {
            Some(size) if size >= self.position => {
                usize::try_from(size - self.position).unwrap_or(CHUNK).clamp(REST, CHUNK)
            }
            _ => CHUNK,
        }
    }

    /// Asks the server whether that was all.
    async fn finish(&mut self) -> Result<(), SourceError> {
        let Some(transfer) = self.transfer.take() else { return Ok(()) };
        let account = self.client.account.clone();
        let scene = Scene { op: Op::Read, address: &account.address, path: Some(&self.file.path) };
        let whole = self.file.size == Some(self.position);
        let at = self.position;
        match self.client.closing(*transfer).await {
            Some(Ok(_)) => {
                self.client.back_in_step();
                // Without TLS's own end and without a size, anybody on the way may have cut the
                // data.
                if self.cut && self.file.size.is_none() {
                    return Err(scene.fault(
                        Class::Truncated,
                        format!(
                            "the encrypted data ended \
                        after {at} bytes without a sign that it was whole"
                        ),
                    ));
                }
                Ok(())
            }
            // 421 tells of the connection, not of the transfer: it may be found idle meanwhile.
            Some(Err(Broken::Refused(reply))) if !(whole && reply.code == 421) => {
                Err(self.client.step_down(unfinished(scene, &reply, at)))
            }
            None | Some(Err(_)) if whole => {
                tracing::warn!(server = %account.address, path = %self.file.path, bytes = at, "All \
                    bytes came, the closing reply did not.");
                Ok(())
            }
            None => Err(scene.fault(Class::Stalled, format!("no closing reply after {at} bytes"))),
            Some(Err(error)) if at == 0 && self.client.is_encrypted() => {
                Err(self.client.step_down(scene.fault(Class::Connect, crate::model::chain(&error))))
            }
            Some(Err(error)) => Err(scene.fault(
                Class::Truncated,
                format!("the connection ended after {at} bytes: {}", crate::model::chain(&error)),
            )),
        }
    }
}

fn unfinished(scene: Scene<'_>, reply: &FtpReply, at: u64) -> SourceError {
    match reply.code {
        521 | 522 | 533..=536 => scene.refused(reply),
        _ if reply.wants_session_resumed() => scene.refused(reply),
        _ => scene.fault(Class::Truncated, format!("after {at} bytes: {}", reply.text())),
    }
}

#[async_trait]
impl Download for FtpReading<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        loop {
            if self.fill().await? == 0 {
                self.finish().await?;
                let rest = self.text.take().map(|mut text| text.end()).unwrap_or_default();
                return Ok(Some(rest).filter(|rest| !rest.is_empty() && self.skip == 0));
            }
            let mut bytes = self.buffer.split().freeze();
            self.position += bytes.len() as u64;
            if let Some(text) = &mut self.text {
                bytes = text.take(&bytes);
            }
            let dropped = self.skip.min(bytes.len() as u64);
            self.skip -= dropped;
            bytes = bytes
                .slice(usize::try_from(dropped).expect("it is at most the length of a chunk")..);
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
    }

    /// The data connection is closed; what the server says to that does not matter, only that it
    /// says so.
    async fn stop(mut self: Box<Self>) -> Result<(), SourceError> {
        let Some(transfer) = self.transfer.take() else { return Ok(()) };
        let account = self.client.account.clone();
        let scene = Scene { op: Op::Read, address: &account.address, path: Some(&self.file.path) };
        match self.client.closing(*transfer).await {
            Some(Ok(_) | Err(Broken::Refused(_))) => {
                self.client.back_in_step();
                Ok(())
            }
            Some(Err(error)) => Err(scene.fault(
                Class::Truncated,
                format!("the connection ended: {}", crate::model::chain(&error)),
            )),
            None => {
                Err(scene.fault(Class::Stalled, "no reply after the data connection was closed"))
            }
        }
    }
}
