//! Packets: as they are written, they are read; junk never panics.

use proptest::prelude::*;

use super::*;

fn entry(name: &'static [u8], attributes: Attributes) -> PacketEntry {
    PacketEntry {
        name: Bytes::from_static(name),
        long_name: Bytes::from_static(b"-rw-r--r--"),
        attributes,
    }
}

fn replies() -> Vec<PacketReply> {
    let all =
        Attributes { size: Some(5 << 30), permissions: Some(0o100_644), modified: Some(u32::MAX) };
    vec![
        PacketReply::Status { code: status::EOF, message: Bytes::from_static(b"End of file") },
        PacketReply::Handle(Bytes::from_static(b"\0\0\0\x80")),
        PacketReply::Data(Bytes::from_static(b"data")),
        PacketReply::Names(vec![
            entry(b"caf\xe9\n", all.clone()),
            entry(b"", Attributes::default()),
        ]),
        PacketReply::Attributes(all),
        PacketReply::Extended(Bytes::from_static(b"12345678")),
    ]
}

fn requests() -> Vec<Request> {
    let path = Bytes::from_static(b"/a/\xff");
    vec![
        Request::Open { path: path.clone(), flags: OPEN_READ },
        Request::Close { handle: path.clone() },
        Request::Read { handle: path.clone(), offset: u64::MAX, length: 7 },
        Request::Lstat { path: path.clone() },
        Request::Fstat { handle: path.clone() },
        Request::OpenDir { path: path.clone() },
        Request::ReadDir { handle: path.clone() },
        Request::Remove { path: path.clone() },
        Request::MakeDir { path: path.clone() },
        Request::RealPath { path: path.clone() },
        Request::Stat { path: path.clone() },
        Request::Rename { from: path.clone(), to: path.clone() },
        Request::Extended { name: path },
        Request::Other { kind: 99 },
    ]
}

#[test]
fn what_is_encoded_is_decoded() {
    for reply in replies() {
        assert_eq!(PacketReply::decode(reply.encode(7).slice(4..)), Ok((7, reply)));
    }
    for request in requests() {
        assert_eq!(Request::decode(request.encode(9).slice(4..)), Ok((9, request)));
    }
}

#[test]
fn cut_packets_are_errors_or_shorter_but_never_a_panic() {
    for packet in replies()
        .iter()
        .map(|reply| reply.encode(1))
        .chain(requests().iter().map(|request| request.encode(1)))
    {
        for end in 4..packet.len() {
            drop(PacketReply::decode(packet.slice(4..end)));
            drop(Request::decode(packet.slice(4..end)));
        }
    }
}

#[test]
fn a_claimed_count_or_length_takes_no_memory() {
    let names = [&[kind::NAME, 0, 0, 0, 1][..], &[0xFF; 4]].concat();
    assert_eq!(
        PacketReply::decode(names.into()),
        Err(Malformed("a packet that ends inside a number"))
    );
    let handle = [&[kind::HANDLE, 0, 0, 0, 1][..], &[0xFF; 4], b"abc"].concat();
    assert_eq!(
        PacketReply::decode(handle.into()),
        Err(Malformed("a text that is longer than its packet"))
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200),
        kind in prop_oneof![Just(2u8), 101u8..106, 1u8..20, 200u8..202]) {
        let body = Bytes::from([&[kind][..], &bytes].concat());
        if let Ok((id, reply)) = PacketReply::decode(body.clone()) {
            prop_assert_eq!(PacketReply::decode(reply.encode(id).slice(4..)), Ok((id, reply)));
        }
        if let Ok((id, request)) = Request::decode(body) {
            prop_assert_eq!(Request::decode(request.encode(id).slice(4..)), Ok((id, request)));
        }
    }
}
