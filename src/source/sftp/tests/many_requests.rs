//! A server that stops for ever once more requests wait than its queues hold.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::sync::mpsc;

use super::*;
use crate::source::pace::MinimumRate;
use crate::source::sftp::client::{Client, ClientError, SessionTerms};
use crate::source::sftp::frames::Packets;
use crate::source::sftp::packet::{PacketReply, Request};

const READ: u64 = 32 << 10;
const SIZE: u64 = 8 << 20;
const STALL: Duration = Duration::from_secs(20);
/// What each answer takes.
const WORK: Duration = Duration::from_millis(1);

/// Answers one by one; says nothing any more once more than `most` requests wait.
async fn serve(stream: DuplexStream, most: usize) {
    let (read, mut write) = tokio::io::split(stream);
    let (inbox, mut waiting) = mpsc::channel(most);
    let hangs = Arc::new(AtomicBool::new(false));
    let hung = hangs.clone();
    tokio::spawn(async move {
        let mut packets = Packets::new(read, Default::default());
        while let Ok(Some(body)) = packets.next().await {
            let asked = Request::decode(body).expect("the client speaks properly");
            if inbox.try_send(asked).is_err() {
                return hung.store(true, Ordering::Relaxed);
            }
        }
    });
    while let Some((id, request)) = waiting.recv().await {
        tokio::time::sleep(WORK).await;
        if hangs.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        let answer = match request {
            Request::Init { .. } => PacketReply::Version { version: 3, extensions: Vec::new() },
            Request::Open { .. } => PacketReply::Handle(Bytes::from_static(b"h")),
            Request::Read { offset, .. } if offset < SIZE => {
                PacketReply::Data(Bytes::from(vec![7; usize::try_from(READ).expect("it fits")]))
            }
            Request::Read { .. } => {
                PacketReply::Status { code: status::EOF, message: Bytes::new() }
            }
            _ => PacketReply::Status { code: status::OK, message: Bytes::new() },
        };
        if write.write_all(&answer.encode(id)).await.is_err() {
            return;
        }
    }
}

/// A stream to a server that reads no more than the first packet of each message.
struct FirstOfEach(DuplexStream);

impl AsyncRead for FirstOfEach {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for FirstOfEach {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        message: &[u8],
    ) -> Poll<io::Result<usize>> {
        let length = u32::from_be_bytes(message[..4].try_into().expect("a packet begins"));
        let first = &message[..4 + usize::try_from(length).expect("it is short")];
        let written = ready!(Pin::new(&mut self.0).poll_write(cx, first))?;
        assert_eq!(written, first.len(), "there is room");
        Poll::Ready(Ok(message.len()))
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The bytes of a file, read over a login of its own.
async fn read(terms: &SessionTerms, most: usize) -> Result<u64, ClientError> {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    read_over(ours, theirs, terms, most).await
}

async fn read_over(
    ours: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    theirs: DuplexStream,
    terms: &SessionTerms,
    most: usize,
) -> Result<u64, ClientError> {
    let server = tokio::spawn(serve(theirs, most));
    let client = Client::start(ours, terms.clone(), Default::default()).await?;
    let handle = client.open(b"/f").await?;
    let mut reading = SftpReading::new(client, handle, 0, Some(SIZE));
    let mut bytes = 0;
    while let Some(more) = reading.next().await? {
        bytes += more.len() as u64;
    }
    server.abort();
    Ok(bytes)
}

/// Time goes on once all that was sent was taken in.
#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_with_many_requests_is_asked_for_fewer() {
    for (most, stalls) in [(100, 1), (20, 2), (1_000, 0)] {
        let terms = SessionTerms::new(STALL, MinimumRate::default());
        for _ in 0..stalls {
            let error = read(&terms, most).await.expect_err("it hangs");
            assert!(matches!(error, ClientError::Stalled(_)), "{most}: {error}");
        }
        assert_eq!(read(&terms, most).await.expect("it goes on"), SIZE, "{most}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_reads_one_request_of_a_message_gets_each_alone() {
    let terms = SessionTerms::new(STALL, MinimumRate::default());
    let over = || {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        (FirstOfEach(ours), theirs)
    };
    let (ours, theirs) = over();
    let error = read_over(ours, theirs, &terms, 1_000).await.expect_err("it waits for ever");
    assert!(matches!(error, ClientError::Stalled(_)), "{error}");
    let (ours, theirs) = over();
    assert_eq!(read_over(ours, theirs, &terms, 1_000).await.expect("it goes on"), SIZE);
}
