//! Lies of SFTP servers about names, kinds, sizes and times.

use blobferry::model::RemotePath;
use blobferry::source::sftp::packet::{Attributes, PacketReply, Request, status};
use bytes::Bytes;

use super::lie::{
    Met, PLAIN_SFTP, SftpAnswer, SftpSaying, WireAct, WireCue, WireLie, crowds, keeps,
};
use super::sftp::{OpenedHere, entry, say};

/// Changes the attributes that are told of a file, in listings and descriptions.
fn told(
    cue: &WireCue<'_>,
    saying: &mut SftpSaying<'_>,
    change: impl Fn(&RemotePath, &mut Attributes),
) -> bool {
    described(cue, saying, &change) || listed(cue, saying, &change)
}

fn described(
    cue: &WireCue<'_>,
    saying: &mut SftpSaying<'_>,
    change: impl Fn(&RemotePath, &mut Attributes),
) -> bool {
    match saying {
        SftpSaying::Answer(SftpAnswer {
            path, reply: PacketReply::Attributes(attributes), ..
        }) if cue.hits(path) && attributes.size.is_some() => {
            change(path, attributes);
            true
        }
        _ => false,
    }
}

fn listed(
    cue: &WireCue<'_>,
    saying: &mut SftpSaying<'_>,
    change: impl Fn(&RemotePath, &mut Attributes),
) -> bool {
    let Some(dir) = saying.entries().map(|(dir, _)| dir.clone()) else { return false };
    saying.each_entry(cue, |entry| {
        if entry.attributes.size.is_some() {
            change(&dir.join(&entry.name), &mut entry.attributes);
        }
    })
}

/// The server refuses these requests about what the lie is about.
pub fn refuses(
    cue: &WireCue<'_>,
    saying: &mut SftpSaying<'_>,
    code: u32,
    about: fn(&Request) -> bool,
) -> bool {
    match saying {
        SftpSaying::Answer(SftpAnswer { request, path, reply, handles, .. })
            if about(request) && cue.hits(path) =>
        {
            if let PacketReply::Handle(handle) = &**reply {
                handles.remove(handle);
            }
            **reply = say(code);
            true
        }
        _ => false,
    }
}

pub fn is_open(request: &Request) -> bool {
    matches!(request, Request::Open { .. })
}

/// Adds an entry to the first page of the root.
fn adds_entry(saying: &mut SftpSaying<'_>, name: &[u8]) -> bool {
    match saying.page() {
        Some((dir, PacketReply::Names(entries), 1)) if dir.as_bytes() == b"/" => {
            let told = Attributes {
                size: Some(9),
                permissions: Some(0o100_644),
                modified: Some(1_704_067_200),
            };
            entries.push(entry(name, told));
            true
        }
        _ => false,
    }
}

/// Of names, kinds, sizes and times.
pub const WORDS: &[WireLie] = &[
    WireLie {
        name: "kind-untold",
        what: "nothing tells what an entry is",
        guard: "kind-tried",
        met: Met::Arrives,
        act: WireAct::Sftp(|_, saying| match saying {
            SftpSaying::Answer(SftpAnswer { reply: PacketReply::Attributes(told), .. }) => {
                told.permissions = None;
                true
            }
            saying => saying.entries().is_some_and(|(_, entries)| {
                for entry in entries {
                    entry.attributes.permissions = None;
                    entry.long_name = entry.name.clone();
                }
                true
            }),
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "folder-as-file",
        what: "a folder is listed as an empty file, and can be opened as one",
        guard: "folder-not-file",
        met: Met::NeverOk,
        act: WireAct::Sftp(|_, saying| {
            let empty = Attributes {
                size: Some(0),
                permissions: Some(0o100_644),
                modified: Some(1_704_067_200),
            };
            let folder = |told: &Attributes| told.permissions == Some(0o040_755);
            match saying {
                SftpSaying::Answer(SftpAnswer { reply: PacketReply::Attributes(told), .. })
                    if folder(told) =>
                {
                    *told = empty;
                    true
                }
                SftpSaying::Answer(SftpAnswer {
                    request: Request::Open { .. },
                    path,
                    reply,
                    handles,
                    ..
                }) if matches!(**reply, PacketReply::Status { code: status::FAILURE, .. }) => {
                    let handle = Bytes::from(format!("folder {path}"));
                    let (path, left) = (path.clone(), Default::default());
                    let opened = OpenedHere::Folder { path, left, all: Vec::new(), asked: 0 };
                    handles.insert(handle.clone(), opened);
                    **reply = PacketReply::Handle(handle);
                    true
                }
                saying => saying.entries().is_some_and(|(_, entries)| {
                    let mut acted = false;
                    for told in entries.iter_mut().filter(|one| folder(&one.attributes)) {
                        told.attributes = empty.clone();
                        acted = true;
                    }
                    acted
                }),
            }
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "listed-empty",
        what: "listings tell 0 bytes, descriptions tell the truth",
        guard: "look-after-read",
        met: Met::Arrives,
        act: WireAct::Sftp(|cue, saying| listed(cue, saying, |_, told| told.size = Some(0))),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "told-larger",
        what: "a file is told to be larger than what comes",
        guard: "verify",
        met: Met::NeverOk,
        act: WireAct::Sftp(|cue, saying| {
            told(cue, saying, |_, told| told.size = told.size.map(|size| size + 7))
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "told-smaller",
        what: "a file is told to be smaller than what comes",
        guard: "verify",
        met: Met::NeverOk,
        act: WireAct::Sftp(|cue, saying| {
            told(cue, saying, |_, told| told.size = told.size.map(|size| size.saturating_sub(7)))
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "time-moves",
        what: "a file has another time whenever it is asked for",
        guard: "touched-reread",
        met: Met::Arrives,
        act: WireAct::Sftp(|cue, saying| {
            described(cue, saying, |path, told| {
                let later = u32::try_from(cue.nth(path)).unwrap_or(0) * 60;
                told.modified = told.modified.map(|at| at + later);
            })
        }),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "no-times",
        what: "nothing tells a time",
        met: Met::Told,
        act: WireAct::Sftp(|cue, saying| told(cue, saying, |_, told| told.modified = None)),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "name-with-a-path",
        what: "a name leads out of its folder",
        guard: "unreachable-told",
        met: Met::NeverOk,
        act: WireAct::Sftp(|_, saying| adds_entry(saying, b"../../etc/passwd")),
        setting: keeps,
    },
    WireLie {
        name: "name-with-nul",
        what: "a name holds a NUL byte",
        guard: "unreachable-told",
        met: Met::NeverOk,
        act: WireAct::Sftp(|_, saying| adds_entry(saying, b"f\0x")),
        setting: keeps,
    },
    WireLie {
        name: "no-name",
        what: "an entry has no name",
        guard: "unparsed-told",
        met: Met::NeverOk,
        act: WireAct::Sftp(|_, saying| adds_entry(saying, b"")),
        setting: keeps,
    },
    WireLie {
        name: "name-that-is-none",
        what: "a name is listed that no request takes",
        guard: "gone-by-listing",
        met: Met::Told,
        act: WireAct::Sftp(|_, saying| adds_entry(saying, b"f?.csv")),
        setting: keeps,
    },
    WireLie {
        name: "open-finds-nothing",
        what: "a file that is listed and described is not there when it is to be opened",
        guard: "gone-by-listing",
        met: Met::Told,
        act: WireAct::Sftp(|cue, saying| refuses(cue, saying, status::NO_SUCH_FILE, is_open)),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "open-denied",
        what: "a file that is listed may not be read",
        guard: "failures-told",
        met: Met::NeverOk,
        act: WireAct::Sftp(|cue, saying| refuses(cue, saying, status::PERMISSION_DENIED, is_open)),
        ..PLAIN_SFTP
    },
    WireLie {
        name: "gone-once-read",
        what: "a file is not there any more once it was opened",
        met: Met::Arrives,
        act: WireAct::Sftp(|cue, saying| match saying {
            SftpSaying::Answer(SftpAnswer { request, path, .. })
                if is_open(request) && cue.hits(path) =>
            {
                cue.scene.truth().files.remove(path);
                true
            }
            _ => false,
        }),
        setting: crowds,
        ..PLAIN_SFTP
    },
];
