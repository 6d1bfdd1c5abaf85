//! What SFTP servers answer: packets by themselves, packets in a stream, and a client that lives by
//! them.

use std::time::Duration;

use blobferry::source::pace::MinimumRate;
use blobferry::source::sftp::client::{Client, ClientError, SessionTerms};
use blobferry::source::sftp::frames::Packets;
use blobferry::source::sftp::packet::{
    Attributes, PacketEntry, PacketReply, Request, peek_id, status,
};
use blobferry::source::sftp::reading::SftpReading;
use bytes::Bytes;
use tokio::io::{AsyncWriteExt, DuplexStream};

use super::taking::Taking;

/// By the first byte: one packet, a stream of them, or answers to a client.
pub fn check(bytes: &[u8]) {
    let mut taking = Taking(bytes);
    match taking.byte() & 3 {
        0 => one(Bytes::copy_from_slice(taking.0)),
        1 => on_this_thread(stream(taking.0)),
        form => on_this_thread(client(taking.0, form == 3)),
    }
}

/// How long the client waits for an answer that does not come.
const STALL: Duration = if cfg!(test) { Duration::from_secs(1) } else { Duration::from_millis(5) };

fn on_this_thread(work: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time();
    // Time stands still while anybody works, so that waiting takes none, on a slow machine neither.
    #[cfg(test)]
    builder.start_paused(true);
    builder.build().expect("a runtime").block_on(work);
}

fn one(body: Bytes) {
    if let Ok((id, reply)) = PacketReply::decode(body.clone()) {
        if let PacketReply::Names(entries) = &reply {
            assert!(
                entries.len() <= body.len() / 12,
                "{} entries in {} bytes",
                entries.len(),
                body.len()
            );
        }
        let again =
            PacketReply::decode(reply.encode(id).slice(4..)).expect("what we write can be read");
        assert_eq!(again, (id, reply));
    }
    if let Ok((id, request)) = Request::decode(body.clone()) {
        let again =
            Request::decode(request.encode(id).slice(4..)).expect("what we write can be read");
        assert_eq!(again, (id, request));
    }
    assert_eq!(peek_id(&body).is_ok(), body.len() >= 5);
}

async fn stream(bytes: &[u8]) {
    let mut packets = Packets::new(bytes, Default::default());
    let mut left = bytes.len();
    loop {
        match packets.next().await {
            Ok(Some(body)) => {
                left = left.checked_sub(4 + body.len()).expect("no more comes out than came in");
                one(body);
            }
            Ok(None) => return assert_eq!(left, 0),
            Err(error) => return super::printable(&error.to_string()),
        }
    }
}

/// Answers each question with the next packet, then hangs up; `fitting` ones bear the id of the
/// question.
async fn play(stream: DuplexStream, bytes: Vec<u8>, fitting: bool) {
    let (read, mut write) = tokio::io::split(stream);
    let mut asked = Packets::new(read, Default::default());
    let mut taking = Taking(&bytes);
    while let Ok(Some(body)) = asked.next().await
        && !taking.is_over()
    {
        let (id, request) = Request::decode(body).expect("the client speaks properly");
        if matches!(request, Request::Close { .. }) {
            continue;
        }
        let mut answer = taking.piece().to_vec();
        if fitting && answer.len() >= 5 && !matches!(request, Request::Init { .. }) {
            answer[1..5].copy_from_slice(&id.to_be_bytes());
        }
        let framed = [&(answer.len() as u32).to_be_bytes()[..], &answer].concat();
        if write.write_all(&framed).await.is_err() {
            return;
        }
    }
}

async fn client(bytes: &[u8], fitting: bool) {
    let (ours, theirs) = tokio::io::duplex(64 << 10);
    let server = tokio::spawn(play(theirs, bytes.to_vec(), fitting));
    if let Err(error) = talk(ours).await {
        super::printable(&error.to_string());
    }
    server.abort();
}

async fn talk(stream: DuplexStream) -> Result<(), ClientError> {
    let client =
        Client::start(stream, SessionTerms::new(STALL, MinimumRate::default()), Default::default())
            .await?;
    let home = client.real_path(b".").await?.unwrap_or_default();
    super::printable(&String::from_utf8_lossy(&home).escape_default().to_string());
    for step in 0..2 {
        if let Err(error) = client.lstat(b"/a").await {
            super::printable(&error.to_string());
        }
        let file = client.open(b"/a").await?;
        let size = client.fstat(&file).await.ok().and_then(|attributes| attributes.size);
        let mut reading = SftpReading::new(client.clone(), file, u64::MAX * step, size);
        let mut most = 1000;
        while let Some(bytes) = reading.next().await? {
            assert!(!bytes.is_empty());
            most -= 1;
            if most == 0 {
                break;
            }
        }
    }
    client.rename(b"/a", b"/b").await
}

/// Every kind of reply, and talks that go well, at first.
pub fn seeds() -> Vec<Vec<u8>> {
    let all =
        Attributes { size: Some(5), permissions: Some(0o100_644), modified: Some(1_700_000_000) };
    let entry = |name: &'static [u8]| PacketEntry {
        name: Bytes::from_static(name),
        long_name: Bytes::from_static(b"-rw"),
        attributes: all.clone(),
    };
    let limits: Vec<u8> = [0u64, 1024, 0, 5].iter().flat_map(|limit| limit.to_be_bytes()).collect();
    let version = |extensions: Vec<(Bytes, Bytes)>| PacketReply::Version { version: 3, extensions };
    let replies = [
        version(vec![]),
        version(vec![
            ("limits@openssh.com".into(), "1".into()),
            ("posix-rename@openssh.com".into(), "1".into()),
        ]),
        PacketReply::Status { code: status::EOF, message: "end \x1b[31m".into() },
        PacketReply::Status { code: status::OK, message: Bytes::new() },
        PacketReply::Handle(Bytes::from_static(b"h\0")),
        PacketReply::Data(Bytes::from_static(b"hello")),
        PacketReply::Names(vec![entry(b"/home")]),
        PacketReply::Names(vec![entry(b"a"), entry(b"..\xff"), entry(b"../b")]),
        PacketReply::Attributes(all.clone()),
        PacketReply::Attributes(Attributes::default()),
        PacketReply::Extended(limits.into()),
    ];
    let body = |reply: &PacketReply| reply.encode(1).slice(4..);
    let pieces = |of: &[usize]| {
        of.iter()
            .flat_map(|at| {
                let body = body(&replies[*at]);
                [&[body.len() as u8][..], &body].concat()
            })
            .collect::<Vec<u8>>()
    };
    let mut seeds: Vec<Vec<u8>> =
        replies.iter().map(|reply| [&[0][..], &body(reply)].concat()).collect();
    seeds.push([vec![1], replies.iter().flat_map(|reply| reply.encode(7)).collect()].concat());
    seeds.push([vec![3], pieces(&[0, 6, 8, 4, 8, 5, 2, 8, 4, 8, 5, 5, 2, 3])].concat());
    seeds.push([vec![3], pieces(&[1, 10, 6, 9, 4, 9, 5, 5, 5, 2])].concat());
    seeds.push([vec![2], pieces(&[0, 6, 8, 4])].concat());
    // Extended attributes, as many as can be claimed.
    let attributes = b"\0\x69\0\0\0\x01\x80\0\0\x03\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\0\
        \xff\xff\xff\xff\0\0\0\x01a\0\0\0\x01b";
    seeds.push(attributes.to_vec());
    seeds
}
