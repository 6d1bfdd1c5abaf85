//! Lies of SFTP servers about reads and packets, and those that nothing on the wire shows.

use blobferry::source::sftp::packet::{PacketReply, Request, status};
use bytes::Bytes;

use super::lie::{
    BY_CONSTRUCTION, Met, PLAIN_SFTP, SftpAnswer, SftpSaying, SftpWhen, WireAct, WireLie,
};
use super::sftp::{attributes, say};

/// A packet that claims to be the answer to the question of this number.
fn claims(id: u32, data: &'static [u8]) -> Bytes {
    PacketReply::Data(Bytes::from_static(data)).encode(id)
}

/// Of reads and packets.
pub const READS: &[WireLie] = &[
    WireLie {
        name: "short-reads",
        what: "a read brings 100 bytes at most",
        guard: "short-read",
        met: Met::Arrives,
        act: WireAct::Sftp(|cue, saying| match saying.data(cue) {
            Some((_, _, _, PacketReply::Data(data))) if data.len() > 100 => {
                data.truncate(100);
                true
            }
            _ => false,
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "end-too-early",
        what: "the end of a file is told before its last bytes",
        guard: "verify",
        met: Met::NeverOk,
        act: WireAct::Sftp(|cue, saying| match saying.data(cue) {
            Some((_, 0, _, PacketReply::Data(data))) if data.len() > 20 => {
                data.truncate(20);
                true
            }
            Some((_, offset, _, reply @ PacketReply::Data(_))) if offset > 0 => {
                *reply = say(status::EOF);
                true
            }
            _ => false,
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "more-than-asked",
        what: "a read brings more bytes than were asked for",
        guard: "answer-length",
        met: Met::NeverOk,
        act: WireAct::Sftp(|cue, saying| match saying.data(cue) {
            Some((_, _, length, PacketReply::Data(data))) => {
                let more = vec![b'x'; length as usize + 1 - data.len()];
                *data = [&data[..], &more].concat().into();
                true
            }
            _ => false,
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "nothing-before-the-end",
        what: "a read before the end brings no bytes",
        guard: "answer-length",
        met: Met::NeverOk,
        act: WireAct::Sftp(|cue, saying| match saying.data(cue) {
            Some((_, _, _, PacketReply::Data(data))) => {
                data.clear();
                true
            }
            _ => false,
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "nothing-behind-the-end",
        what: "a read behind the end brings no bytes, and no end",
        guard: "odd-ends",
        met: Met::Arrives,
        act: WireAct::Sftp(|cue, saying| match saying.data(cue) {
            Some((_, _, _, reply @ PacketReply::Status { .. })) => {
                *reply = PacketReply::Data(Bytes::new());
                true
            }
            _ => false,
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "failure-behind-the-end",
        what: "a read behind the end fails",
        guard: "odd-ends",
        met: Met::Arrives,
        act: WireAct::Sftp(|cue, saying| match saying.data(cue) {
            Some((_, _, _, reply @ PacketReply::Status { .. })) => {
                *reply = say(status::FAILURE);
                true
            }
            _ => false,
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "read-fails",
        what: "reads fail",
        guard: "failures-told",
        met: Met::NeverOk,
        act: WireAct::Sftp(|cue, saying| match saying.data(cue) {
            Some((_, _, _, reply)) => {
                *reply = say(status::FAILURE);
                true
            }
            None => false,
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "answers-nobody",
        what: "answers come to questions that nobody asked",
        met: Met::Arrives,
        act: WireAct::Sftp(|cue, saying| match saying {
            SftpSaying::Answer(SftpAnswer { id, path, then, .. }) if cue.hits(path) => {
                then.push(claims(id.wrapping_add(4_000), b"to nobody"));
                true
            }
            _ => false,
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "answers-twice",
        what: "a second answer to each question says something else",
        met: Met::Arrives,
        act: WireAct::Sftp(|cue, saying| match saying {
            SftpSaying::Answer(SftpAnswer { id, path, then, .. }) if cue.hits(path) => {
                then.push(claims(**id, b"something else"));
                true
            }
            _ => false,
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "wrong-ids",
        what: "answers about a file have numbers that nobody asked",
        met: Met::NeverOk,
        act: WireAct::Sftp(|cue, saying| match saying {
            SftpSaying::Answer(SftpAnswer { id, path, .. })
                if cue.hits(path) && path.as_bytes() != b"/d" =>
            {
                **id = id.wrapping_add(4_000);
                true
            }
            _ => false,
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "wrong-kind",
        what: "a read is answered with a handle",
        met: Met::NeverOk,
        act: WireAct::Sftp(|cue, saying| match saying.data(cue) {
            Some((_, _, _, reply)) => {
                *reply = PacketReply::Handle(Bytes::from_static(b"h1"));
                true
            }
            None => false,
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "out-of-order",
        what: "answers about a file come after those to later questions",
        met: Met::Arrives,
        act: WireAct::Sftp(|cue, saying| match saying {
            SftpSaying::Answer(SftpAnswer { path, when, .. }) if cue.hits(path) => {
                **when = SftpWhen::After(2);
                true
            }
            _ => false,
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "silent",
        what: "reads of a file are never answered",
        guard: "failures-told",
        met: Met::NeverOk,
        act: WireAct::Sftp(|cue, saying| match saying {
            SftpSaying::Answer(SftpAnswer {
                request: Request::Read { .. }, path, when, ..
            }) if cue.hits(path) => {
                **when = SftpWhen::Never;
                true
            }
            _ => false,
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "cut",
        what: "the connection ends in the middle of an answer, once for each file",
        met: Met::Arrives,
        act: WireAct::Sftp(|cue, saying| match saying {
            SftpSaying::Answer(SftpAnswer {
                request: Request::Read { .. }, path, when, ..
            }) if cue.hits(path) && cue.once(path) => {
                **when = SftpWhen::Cut;
                true
            }
            _ => false,
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "too-long-a-packet",
        what: "behind each answer to a read comes a packet that claims two gibibytes",
        met: Met::Told,
        act: WireAct::Sftp(|cue, saying| match saying {
            SftpSaying::Answer(SftpAnswer {
                request: Request::Read { .. }, path, then, ..
            }) if cue.hits(path) => {
                then.push(Bytes::from_static(&[0x7F, 0xFF, 0xFF, 0xFF, 103]));
                true
            }
            _ => false,
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "another-files-bytes",
        what: "reads of a file bring the bytes of another one of its size",
        guard: BY_CONSTRUCTION,
        met: Met::Unseen,
        act: WireAct::Sftp(|cue, saying| {
            let Some((path, offset, _, PacketReply::Data(data))) = saying.data(cue) else {
                return false;
            };
            let other = cue.other(path).map(|(_, bytes)| bytes);
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            let Some(bytes) = other.filter(|bytes| bytes.len() >= from + data.len()) else {
                return false;
            };
            *data = bytes.slice(from..from + data.len());
            true
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "one-bit-wrong",
        what: "a byte arrives as another one",
        met: Met::Unseen,
        act: WireAct::Sftp(|cue, saying| match saying.data(cue) {
            Some((_, _, _, PacketReply::Data(data))) if !data.is_empty() => {
                let mut bytes = data.to_vec();
                bytes[0] ^= 1;
                *data = bytes.into();
                true
            }
            _ => false,
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "hidden-for-ever",
        what: "a listing leaves out a file, and says that it is whole",
        met: Met::Unseen,
        act: WireAct::Sftp(|cue, saying| {
            let Some((dir, entries)) = saying.entries() else { return false };
            let dir = dir.clone();
            let before = entries.len();
            entries.retain(|entry| {
                attributes(cue.scene, &dir.join(&entry.name)).is_none_or(|told| told.size.is_none())
                    || !cue.hits(&dir.join(&entry.name))
            });
            entries.len() < before
        }),
        ..PLAIN_SFTP
    },
];
