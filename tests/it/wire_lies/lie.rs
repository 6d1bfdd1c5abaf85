//! What a lie on the wire is: what the server is about to send, and what becomes of it.

use std::collections::HashMap;

use blobferry::model::RemotePath;
use blobferry::source::sftp::packet::{PacketEntry, PacketReply, Request};
use blobferry::transfer::settings::{After, Source};
use bytes::Bytes;

use super::scene::WireScene;
use super::sftp::OpenedHere;

/// A way in which a server errs by the bytes that it sends.
#[derive(Clone, Copy, Debug)]
pub struct WireLie {
    /// Its name: unique.
    pub name: &'static str,
    /// What the server does, for people.
    pub what: &'static str,
    /// The safeguard that sees through it, one of `WIRE_SAFEGUARDS`, or `BY_CONSTRUCTION`.
    pub guard: &'static str,
    /// What has to come of it.
    pub met: Met,
    /// Acts on what the server is about to send; whether it did.
    pub act: WireAct,
    /// What the source must be set to for the lie to matter.
    pub setting: fn(&mut Source),
}

/// The guard of lies that no single step sees through: nothing in the program looks at what they
/// change, or all of it rests on what they leave.
pub const BY_CONSTRUCTION: &str = "-";

/// The protocol of a lie.
#[derive(Clone, Copy, Debug)]
pub enum WireAct {
    Sftp(fn(&WireCue<'_>, &mut SftpSaying<'_>) -> bool),
    Ftp(fn(&WireCue<'_>, &mut FtpAnswer) -> bool),
}

/// What has to come of a lie that is played alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// Every file arrives while the server lies, and the second run says ok.
    Arrives,
    /// Every file arrives while the server lies, and the run may say that something is wrong.
    Stored,
    /// What does not arrive is told.
    Told,
    /// A run that met it is never ok.
    NeverOk,
    /// Nothing on the wire shows it: what comes of it is counted apart.
    Unseen,
}

/// What most lies have: no setting of their own.
pub const PLAIN_SFTP: WireLie = WireLie {
    name: "",
    what: "",
    guard: BY_CONSTRUCTION,
    met: Met::Told,
    act: WireAct::Sftp(|_, _| false),
    setting: |_| {},
};

/// The same over FTP.
pub const PLAIN_FTP: WireLie = WireLie { act: WireAct::Ftp(|_, _| false), ..PLAIN_SFTP };

/// Files stay, so that the lie is met in each run.
pub fn keeps(source: &mut Source) {
    source.after = After::Keep;
}

/// Many files are read at once, over one connection.
pub fn crowds(source: &mut Source) {
    (source.connections, source.after) = (1, After::Keep);
}

/// Where a lie stands.
pub struct WireCue<'a> {
    pub scene: &'a WireScene,
    pub lie: &'static WireLie,
}

impl WireCue<'_> {
    /// Whether the lie is about this path: about `/f0` and `/d` always, about others by the seed.
    pub fn hits(&self, path: &RemotePath) -> bool {
        matches!(path.as_bytes(), b"/f0" | b"/d")
            || self.scene.draw(self.lie.name, path.as_bytes()).is_multiple_of(3)
    }

    /// Once for each path and word, while the server lies.
    pub fn once(&self, path: &RemotePath) -> bool {
        self.scene.once(self.lie.name, path)
    }

    /// How often this was asked for this path, this time included.
    pub fn nth(&self, path: &RemotePath) -> u64 {
        self.scene.nth(self.lie.name, path)
    }

    /// Another file that the server holds, of equal size if there is one.
    pub fn other(&self, path: &RemotePath) -> Option<(RemotePath, Bytes)> {
        self.scene.truth().other(path)
    }
}

/// What an SFTP server is about to do or to send.
pub enum SftpSaying<'a> {
    /// These requests are there together: the order in which they are done. They are answered in
    /// the order of questions. What is taken out of the order is done with those that come next.
    Order(&'a [(u32, Request)], &'a mut Vec<usize>),
    /// The answer to one of them.
    Answer(SftpAnswer<'a>),
}

/// When an answer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SftpWhen {
    Now,
    /// After the answers to so many later requests, or when no more come.
    After(u64),
    Never,
    /// Half of it, and the connection ends.
    Cut,
}

/// An answer on its way.
pub struct SftpAnswer<'a> {
    pub id: &'a mut u32,
    pub request: &'a Request,
    /// All requests that were there together.
    pub together: &'a [(u32, Request)],
    /// What the request is about, also by a handle.
    pub path: RemotePath,
    pub reply: &'a mut PacketReply,
    pub when: &'a mut SftpWhen,
    /// Sent behind it.
    pub then: &'a mut Vec<Bytes>,
    /// What is open by which handle.
    pub handles: &'a mut HashMap<Bytes, OpenedHere>,
    /// Handles that were given back, the last one at the end.
    pub returned: &'a [Bytes],
}

impl SftpSaying<'_> {
    /// Entries of a page of a folder that the lie is about.
    pub fn entries(&mut self) -> Option<(&RemotePath, &mut Vec<PacketEntry>)> {
        match self {
            SftpSaying::Answer(SftpAnswer {
                request: Request::ReadDir { .. },
                path,
                reply: PacketReply::Names(entries),
                ..
            }) => Some((path, entries)),
            _ => None,
        }
    }

    /// The answer to a question for entries, whatever it is, and which question it was.
    pub fn page(&mut self) -> Option<(&RemotePath, &mut PacketReply, u64)> {
        match self {
            SftpSaying::Answer(SftpAnswer {
                request: Request::ReadDir { handle },
                path,
                reply,
                handles,
                ..
            }) => {
                let asked = handles.get(handle).map_or(0, OpenedHere::asked);
                Some((path, reply, asked))
            }
            _ => None,
        }
    }

    /// Changes entries that tell of what the lie is about.
    pub fn each_entry(&mut self, cue: &WireCue<'_>, change: impl Fn(&mut PacketEntry)) -> bool {
        let Some((dir, entries)) = self.entries() else { return false };
        let mut acted = false;
        for entry in entries {
            let is_dot = matches!(entry.name.as_ref(), b"." | b"..");
            if !is_dot && cue.hits(&dir.join(&entry.name)) {
                change(entry);
                acted = true;
            }
        }
        acted
    }

    /// The answer to a read of a file that the lie is about: path, offset, asked for, answer.
    pub fn data(&mut self, cue: &WireCue<'_>) -> Option<(&RemotePath, u64, u32, &mut PacketReply)> {
        match self {
            SftpSaying::Answer(SftpAnswer {
                request: Request::Read { offset, length, .. },
                path,
                reply,
                ..
            }) if cue.hits(path) => Some((path, *offset, *length, reply)),
            _ => None,
        }
    }
}

/// How a data connection ends.
#[derive(Clone, Debug)]
pub enum DataEnd {
    Closed,
    Reset,
    /// These bytes again and again, as long as somebody takes them.
    Endless(Vec<u8>),
    /// These blocks, each with the number of those before it, as long as somebody takes them.
    Growing(fn(u64) -> Vec<u8>),
    /// Never: it stays open, and silent.
    Open,
}

/// What an FTP server is about to send.
#[derive(Debug)]
pub struct FtpAnswer {
    pub verb: String,
    pub argument: Vec<u8>,
    /// What the command is about.
    pub path: RemotePath,
    /// Where a transfer is to begin.
    pub offset: u64,
    /// The reply, with all its lines; of a transfer the one before the data.
    pub reply: Vec<u8>,
    /// What is sent over a data connection.
    pub data: Option<Vec<u8>>,
    pub end: DataEnd,
    /// The reply behind the data.
    pub closing: Vec<u8>,
    /// Sent over and over behind the reply.
    pub endless: Option<Vec<u8>>,
    /// The control connection ends.
    pub hangs_up: bool,
    /// Nothing is said any more.
    pub silent: bool,
}

impl FtpAnswer {
    /// Whether it is a listing with data.
    pub fn is_listing(&self) -> bool {
        matches!(self.verb.as_str(), "MLSD" | "LIST") && self.data.is_some()
    }

    /// Whether it brings a file that the lie is about.
    pub fn brings(&self, cue: &WireCue<'_>) -> bool {
        self.verb == "RETR" && self.data.is_some() && cue.hits(&self.path)
    }

    /// Changes the lines of a listing that tell of what the lie is about; what is left empty goes.
    pub fn each_line(&mut self, cue: &WireCue<'_>, change: impl Fn(&mut Vec<u8>)) -> bool {
        if !self.is_listing() {
            return false;
        }
        let (dir, data) = (self.path.clone(), self.data.take().unwrap_or_default());
        let (mut text, mut acted) = (Vec::new(), false);
        for line in data.split_inclusive(|byte| *byte == b'\n') {
            let mut line = line.strip_suffix(b"\r\n").unwrap_or(line).to_vec();
            let name = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default().to_vec();
            if name != b"." && cue.hits(&dir.join(&name)) {
                change(&mut line);
                acted = true;
            }
            if !line.is_empty() {
                text.extend([line.as_slice(), b"\r\n"].concat());
            }
        }
        self.data = Some(text);
        acted
    }

    /// Puts a line behind those of a listing.
    pub fn adds_line(&mut self, line: &str) -> bool {
        let is_listing = self.is_listing();
        if let Some(data) = self.data.as_mut().filter(|_| is_listing) {
            data.extend_from_slice(line.as_bytes());
            data.extend_from_slice(b"\r\n");
        }
        is_listing
    }

    /// Answers otherwise, without data.
    pub fn says(&mut self, reply: &str) -> bool {
        self.reply = format!("{reply}\r\n").into_bytes();
        self.data = None;
        true
    }
}
