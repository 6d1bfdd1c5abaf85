//! The client against servers that break the protocol, byte by byte.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncWriteExt, DuplexStream};

use crate::source::pace::MinimumRate;
use crate::source::sftp::client::{Client, ClientError, SessionTerms};
use crate::source::sftp::frames::Packets;
use crate::source::sftp::packet::{PacketReply, Request, status};
use crate::source::sftp::reading::SftpReading;

/// Greets and opens like a server; what follows is up to `answer`: bytes to send, `None` to hang
/// up.
async fn play(
    stream: DuplexStream,
    pace: Duration,
    version: u32,
    answer: impl Fn(u32, Request) -> Option<Bytes>,
) {
    let (read, mut write) = tokio::io::split(stream);
    let mut packets = Packets::new(read, Default::default());
    while let Ok(Some(body)) = packets.next().await {
        let (id, request) = Request::decode(body).expect("the client speaks properly");
        let bytes = match request {
            Request::Init { .. } => {
                PacketReply::Version { version, extensions: Vec::new() }.encode(0)
            }
            Request::Open { .. } => PacketReply::Handle(Bytes::from_static(b"h")).encode(id),
            request => match answer(id, request) {
                Some(bytes) => bytes,
                None => return,
            },
        };
        for piece in bytes.chunks(8 << 10) {
            tokio::time::sleep(pace).await;
            if write.write_all(piece).await.is_err() {
                return;
            }
        }
    }
}

async fn read(
    pace: Duration,
    answer: impl Fn(u32, Request) -> Option<Bytes> + Send + 'static,
) -> Result<usize, ClientError> {
    read_from(3, pace, answer).await
}

async fn read_from(
    version: u32,
    pace: Duration,
    answer: impl Fn(u32, Request) -> Option<Bytes> + Send + 'static,
) -> Result<usize, ClientError> {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    tokio::spawn(play(theirs, pace, version, answer));
    let client = Client::start(
        ours,
        SessionTerms::new(Duration::from_millis(200), MinimumRate::default()),
        Default::default(),
    )
    .await?;
    let handle = client.open(b"/f").await?;
    let mut reading = SftpReading::new(client, handle, 0, Some(100_000));
    let mut count = 0;
    while let Some(bytes) = reading.next().await? {
        count += bytes.len();
    }
    Ok(count)
}

async fn check(words: &str, answer: impl Fn(u32, Request) -> Option<Bytes> + Send + 'static) {
    let error = read(Duration::ZERO, answer).await.expect_err(words).to_string();
    assert!(error.contains(words), "{error}");
}

/// An ancient server: <https://github.com/hierynomus/sshj/issues/13>.
#[tokio::test]
async fn a_server_of_version_2_has_no_words_in_its_status() {
    let status = |id: u32, code: u32| {
        let body = [&[101][..], &id.to_be_bytes()[..], &code.to_be_bytes()[..]].concat();
        let length = u32::try_from(body.len()).expect("it is short").to_be_bytes();
        Bytes::from([&length[..], &body[..]].concat())
    };
    let answer = move |id: u32, request: Request| match request {
        Request::Read { offset: 0, .. } => {
            Some(PacketReply::Data(Bytes::from_static(b"hello\n")).encode(id))
        }
        Request::Read { .. } => Some(status(id, 1)),
        _ => Some(status(id, 0)),
    };
    assert_eq!(read_from(2, Duration::ZERO, answer).await.expect("it is read"), 6);
    for version in [1, 4] {
        let refused = read_from(version, Duration::ZERO, |_, _| None).await;
        let refused = refused.expect_err("another protocol").to_string();
        assert_eq!(
            refused,
            format!("the server speaks version {version} of SFTP, and this program version 3")
        );
    }
}

#[tokio::test]
async fn broken_answers_are_errors_never_hangs() {
    check("no bytes", |id, _| Some(PacketReply::Data(Bytes::new()).encode(id))).await;
    check("more than were asked", |id, _| {
        Some(PacketReply::Data(vec![0; 40_000].into()).encode(id))
    })
    .await;
    check("does not fit", |id, _| Some(PacketReply::Handle(Bytes::new()).encode(id))).await;
    check("OK where an answer was due", |id, _| {
        Some(PacketReply::Status { code: status::OK, message: Bytes::new() }.encode(id))
    })
    .await;
    check("no answer within", |id, _| {
        Some(PacketReply::Data(Bytes::from_static(b"x")).encode(id + 1_000_000))
    })
    .await;
    check("unknown kind", |id, _| Some([&[0, 0, 0, 5, 77][..], &id.to_be_bytes()].concat().into()))
        .await;
    check("ends inside a number", |id, _| {
        Some([&[0, 0, 0, 6, 103][..], &id.to_be_bytes(), &[0]].concat().into())
    })
    .await;
    check("without an id", |_, _| Some(Bytes::from_static(&[0, 0, 0, 1, 103]))).await;
    check("claims 4294967295 bytes", |_, _| Some(Bytes::from_static(&[0xFF; 8]))).await;
    check("closed the SFTP channel", |_, _| None).await;
    check("no such thing \\x1B (status 4711)", |id, _| {
        Some(PacketReply::Status { code: 4711, message: "no such thing \x1b".into() }.encode(id))
    })
    .await;
}

#[tokio::test]
async fn a_slow_line_is_no_silent_one() {
    let file = |id, request| {
        let Request::Read { offset, length, .. } = request else { return Some(Bytes::new()) };
        let left = 100_000_u64.saturating_sub(offset).min(u64::from(length));
        Some(match left {
            0 => PacketReply::Status { code: status::EOF, message: Bytes::new() }.encode(id),
            left => PacketReply::Data(vec![7; usize::try_from(left).expect("it is small")].into())
                .encode(id),
        })
    };
    // Each reply takes longer than the stall timeout of 200 ms, but bytes keep coming.
    assert_eq!(read(Duration::from_millis(60), file).await.expect("it reads"), 100_000);
}

#[tokio::test]
async fn a_handle_that_comes_back_while_its_former_file_is_being_read_ends_the_channel() {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    // Answers every OPEN by the same handle and every CLOSE, but no READ.
    tokio::spawn(play(theirs, Duration::ZERO, 3, |id, request| match request {
        Request::Close { .. } => {
            Some(PacketReply::Status { code: status::OK, message: Bytes::new() }.encode(id))
        }
        _ => Some(Bytes::new()),
    }));
    let terms = SessionTerms::new(Duration::from_millis(200), MinimumRate::default());
    let client = Client::start(ours, terms, Default::default()).await.expect("it greets");
    drop(client.open(b"/a").await.expect("it opens"));
    let handle = client.open(b"/b").await.expect("a closed handle may be given out again");
    let mut reading = SftpReading::new(client.clone(), handle, 0, Some(1000));
    reading.next().await.expect_err("nothing comes");
    drop(reading);
    let error = client.open(b"/c").await.map(|_| ()).expect_err("the reads of /b are under way");
    assert!(matches!(error, ClientError::HandleTwice), "{error}");
    assert!(client.is_lost());
}
