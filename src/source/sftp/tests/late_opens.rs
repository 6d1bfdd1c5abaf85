//! A server that gives one handle twice and tells so late: the bytes of one file must not come
//! under the name of another, and servers that answer in order must not be waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::model::failure::{Class, Failure};
use crate::source::contract::Op;
use crate::source::pace::MinimumRate;
use crate::source::sftp::client::{Client, ClientError, SessionTerms};
use crate::source::sftp::frames::Packets;
use crate::source::sftp::login::fail;
use crate::source::sftp::packet::{PacketReply, Request, status};
use crate::source::sftp::reading::SftpReading;

const STALL: Duration = Duration::from_millis(600);

/// What the server does with the second file that it is to open.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Second {
    /// It gets the first one's handle, and that is told so much later.
    SameHandle(Duration),
    /// It gets a handle of its own, and that is told so much later.
    OwnHandle(Duration),
    /// Nothing is ever told.
    Nothing,
    /// The connection ends.
    End,
}

/// A server on which reads of the handle `h` give `first`, or `other` once the second file was
/// opened under that handle. Tells `opened` of that.
async fn serve(stream: DuplexStream, second: Second, opened: Arc<Notify>) {
    let (read, write) = tokio::io::split(stream);
    let write = Arc::new(tokio::sync::Mutex::new(write));
    let swapped = AtomicBool::new(false);
    let mut packets = Packets::new(read, Default::default());
    while let Ok(Some(body)) = packets.next().await {
        let (id, request) = Request::decode(body).expect("the client speaks properly");
        let handle = |name: &'static [u8]| PacketReply::Handle(Bytes::from_static(name)).encode(id);
        let (bytes, late) = match request {
            Request::Init { .. } => (
                PacketReply::Version { version: 3, extensions: Vec::new() }.encode(0),
                Duration::ZERO,
            ),
            Request::Open { path, .. } if path.as_ref() == b"/first" => {
                (handle(b"h"), Duration::ZERO)
            }
            Request::Open { .. } => {
                opened.notify_one();
                match second {
                    Second::SameHandle(late) => {
                        swapped.store(true, Ordering::SeqCst);
                        (handle(b"h"), late)
                    }
                    Second::OwnHandle(late) => (handle(b"i"), late),
                    Second::Nothing => continue,
                    Second::End => return,
                }
            }
            Request::Read { offset: 0, .. } => {
                let is_other = swapped.load(Ordering::SeqCst);
                let data = Bytes::from_static(if is_other { b"other" } else { b"first" });
                (PacketReply::Data(data).encode(id), Duration::ZERO)
            }
            Request::Read { .. } => (
                PacketReply::Status { code: status::EOF, message: Bytes::new() }.encode(id),
                Duration::ZERO,
            ),
            _ => (
                PacketReply::Status { code: status::OK, message: Bytes::new() }.encode(id),
                Duration::ZERO,
            ),
        };
        let write = write.clone();
        let answering = async move {
            tokio::time::sleep(late).await;
            let answered = write.lock().await.write_all(&bytes).await;
            assert!(answered.is_ok() || !late.is_zero(), "the client listens");
        };
        if late.is_zero() {
            answering.await;
        } else {
            tokio::spawn(answering);
        }
    }
}

async fn greeted(second: Second) -> (Client, Arc<Notify>) {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let opened = Arc::new(Notify::new());
    tokio::spawn(serve(theirs, second, opened.clone()));
    let terms = SessionTerms::new(STALL, MinimumRate::default());
    (Client::start(ours, terms, Default::default()).await.expect("it greets"), opened)
}

/// What a read of the first file comes to while the second is to be opened.
async fn first_read(second: Second) -> Result<Vec<u8>, ClientError> {
    let (client, opened) = greeted(second).await;
    let handle = client.open(b"/first").await.expect("it opens");
    let opening = tokio::spawn({
        let client = client.clone();
        async move { client.open(b"/second").await.map(drop) }
    });
    opened.notified().await;
    let mut reading = SftpReading::new(client, handle, 0, Some(5));
    let mut bytes = Vec::new();
    while let Some(more) = reading.next().await? {
        bytes.extend_from_slice(&more);
    }
    opening.abort();
    Ok(bytes)
}

#[tokio::test]
async fn a_handle_told_late_to_be_another_files_brings_no_bytes() {
    let error = first_read(Second::SameHandle(Duration::from_millis(100)))
        .await
        .expect_err("the bytes are the other file's");
    assert!(matches!(error, ClientError::HandleTwice), "{error}");
}

#[tokio::test]
async fn a_late_answer_with_a_handle_of_its_own_costs_nothing_but_time() {
    let read = first_read(Second::OwnHandle(Duration::from_millis(100))).await;
    assert_eq!(read.expect("it reads"), b"first");
}

#[tokio::test]
async fn an_answer_that_never_comes_leaves_the_file_unproven() {
    let error = first_read(Second::Nothing).await.expect_err("nobody knows whose bytes these are");
    assert!(matches!(error, ClientError::OpensLate(_)), "{error}");
}

#[tokio::test]
async fn where_answers_come_in_order_nobody_waits() {
    let (client, opened) = greeted(Second::Nothing).await;
    let handle = client.open(b"/first").await.expect("it opens");
    let mut reading = SftpReading::new(client.clone(), handle, 0, Some(5));
    let begun = Instant::now();
    let mut next = Box::pin(reading.next());
    // The read is on its way before the second file is asked for.
    assert!((&mut next).now_or_never().is_none());
    let opening = tokio::spawn(async move { client.open(b"/second").await.map(drop) });
    opened.notified().await;
    assert_eq!(next.await.expect("it reads").as_deref(), Some(&b"first"[..]));
    assert!(begun.elapsed() < STALL / 3, "{:?}", begun.elapsed());
    opening.abort();
}

#[tokio::test]
async fn a_connection_that_ends_before_a_file_is_open_leaves_what_was_read_unproven() {
    let (client, opened) = greeted(Second::End).await;
    let opening = tokio::spawn({
        let client = client.clone();
        async move { client.open(b"/second").await.map(drop) }
    });
    opened.notified().await;
    let error = client.opened_before(client.mark()).await.expect_err("it may have had any handle");
    assert!(matches!(error, ClientError::OpensUnanswered(_)), "{error}");
    let error = fail(Op::Stat, "sftp://a", error);
    assert!(error.is_spoiling() && error.class() == Class::Connect, "{error}");
    assert!(opening.await.expect("no panic").is_err());
}
