//! SFTP version 3 packets as bytes, for the client that reads servers and for the server that plays
//! one.
//!
//! Names, handles and data are bytes throughout: version 3 knows no character set.
//! Source: draft-ietf-secsh-filexfer-02, and OpenSSH's `PROTOCOL` for extensions.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The version that both sides speak.
pub const VERSION: u32 = 3;
/// The oldest version that is answered for.
pub(crate) const LEAST_VERSION: u32 = 2;

/// What a status reply says. Servers may send any other number.
pub mod status {
    #![expect(missing_docs, reason = "the names are the standard's")]
    pub const OK: u32 = 0;
    pub const EOF: u32 = 1;
    pub const NO_SUCH_FILE: u32 = 2;
    pub const PERMISSION_DENIED: u32 = 3;
    pub const FAILURE: u32 = 4;
    pub(crate) const BAD_MESSAGE: u32 = 5;
    pub(crate) const NO_CONNECTION: u32 = 6;
    pub(crate) const CONNECTION_LOST: u32 = 7;
    pub const OP_UNSUPPORTED: u32 = 8;
}

mod kind {
    pub(crate) const INIT: u8 = 1;
    pub const VERSION: u8 = 2;
    pub const OPEN: u8 = 3;
    pub(crate) const CLOSE: u8 = 4;
    pub const READ: u8 = 5;
    pub(crate) const LSTAT: u8 = 7;
    pub const FSTAT: u8 = 8;
    pub(crate) const OPENDIR: u8 = 11;
    pub const READDIR: u8 = 12;
    pub(crate) const REMOVE: u8 = 13;
    pub(crate) const MKDIR: u8 = 14;
    pub(crate) const REALPATH: u8 = 16;
    pub const STAT: u8 = 17;
    pub(crate) const RENAME: u8 = 18;
    pub(crate) const STATUS: u8 = 101;
    pub(crate) const HANDLE: u8 = 102;
    pub const DATA: u8 = 103;
    pub const NAME: u8 = 104;
    pub(crate) const ATTRS: u8 = 105;
    pub(crate) const EXTENDED: u8 = 200;
    pub(crate) const EXTENDED_REPLY: u8 = 201;
}

/// The most entries of one packet: an entry takes more memory than it has bytes.
const MOST_ENTRIES: usize = 1_000_000;

/// The flag of OPEN that asks for reading.
pub(crate) const OPEN_READ: u32 = 1;

const HAS_SIZE: u32 = 1;
const HAS_OWNER: u32 = 2;
const HAS_PERMISSIONS: u32 = 4;
const HAS_TIMES: u32 = 8;
const HAS_EXTENDED: u32 = 0x8000_0000;

/// Why bytes are no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// What a server tells of a file; what it did not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Bytes.
    pub size: Option<u64>,
    /// Kind and permission bits, as `st_mode`.
    pub permissions: Option<u32>,
    /// Seconds since 1970.
    pub modified: Option<u32>,
}

/// The kind of a directory entry, as its permission bits tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub enum FileKind {
    Regular,
    Directory,
    Symlink,
    Special,
}

impl Attributes {
    /// What the kind bits say; `None` when there are none, or such as no system has.
    pub(crate) fn kind(&self) -> Option<FileKind> {
        match self.permissions? & 0o170_000 {
            0o100_000 => Some(FileKind::Regular),
            0o040_000 => Some(FileKind::Directory),
            0o120_000 => Some(FileKind::Symlink),
            // Pipes, devices, sockets, and the doors of Solaris.
            0o010_000 | 0o020_000 | 0o060_000 | 0o140_000 | 0o150_000 => Some(FileKind::Special),
            _ => None,
        }
    }

    fn encode(&self, out: &mut BytesMut) {
        let flag = |known: bool, flag: u32| if known { flag } else { 0 };
        out.put_u32(
            flag(self.size.is_some(), HAS_SIZE)
                | flag(self.permissions.is_some(), HAS_PERMISSIONS)
                | flag(self.modified.is_some(), HAS_TIMES),
        );
        if let Some(size) = self.size {
            out.put_u64(size);
        }
        if let Some(permissions) = self.permissions {
            out.put_u32(permissions);
        }
        if let Some(modified) = self.modified {
            // Version 3 sends the accessed time before the modified one; nobody here wants it.
            out.put_u32(modified);
            out.put_u32(modified);
        }
    }

    fn decode(from: &mut Bytes) -> Result<Self, Malformed> {
        let flags = number(from)?;
        let mut attributes = Self::default();
        if flags & HAS_SIZE != 0 {
            attributes.size = Some(long(from)?);
        }
        if flags & HAS_OWNER != 0 {
            long(from)?;
        }
        if flags & HAS_PERMISSIONS != 0 {
            attributes.permissions = Some(number(from)?);
        }
        if flags & HAS_TIMES != 0 {
            number(from)?;
            attributes.modified = Some(number(from)?);
        }
        if flags & HAS_EXTENDED != 0 {
            for _ in 0..number(from)? {
                string(from)?;
                string(from)?;
            }
        }
        Ok(attributes)
    }
}

/// One entry of a NAME reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketEntry {
    /// The name, one segment if the server is honest.
    pub name: Bytes,
    /// A line as of `ls -l`.
    pub long_name: Bytes,
    /// What the server tells of it.
    pub attributes: Attributes,
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the standard's")]
pub enum Request {
    Init {
        version: u32,
    },
    Open {
        path: Bytes,
        flags: u32,
    },
    Close {
        handle: Bytes,
    },
    Read {
        handle: Bytes,
        offset: u64,
        length: u32,
    },
    Lstat {
        path: Bytes,
    },
    Fstat {
        handle: Bytes,
    },
    OpenDir {
        path: Bytes,
    },
    ReadDir {
        handle: Bytes,
    },
    Remove {
        path: Bytes,
    },
    MakeDir {
        path: Bytes,
    },
    RealPath {
        path: Bytes,
    },
    Stat {
        path: Bytes,
    },
    Rename {
        from: Bytes,
        to: Bytes,
    },
    Extended {
        name: Bytes,
    },
    /// A kind of request that we do not know.
    Other {
        kind: u8,
    },
}

impl Request {
    /// The whole packet, length included. INIT has no id.
    pub fn encode(&self, id: u32) -> Bytes {
        let empty = Attributes::default();
        frame(|out| {
            let mut head = |kind: u8| {
                out.put_u8(kind);
                out.put_u32(id);
            };
            match self {
                Request::Init { version } => {
                    out.put_u8(kind::INIT);
                    out.put_u32(*version);
                }
                Request::Open { path, flags } => {
                    head(kind::OPEN);
                    put_string(out, path);
                    out.put_u32(*flags);
                    empty.encode(out);
                }
                Request::Close { handle } => (head(kind::CLOSE), put_string(out, handle)).1,
                Request::Read { handle, offset, length } => {
                    head(kind::READ);
                    put_string(out, handle);
                    out.put_u64(*offset);
                    out.put_u32(*length);
                }
                Request::Lstat { path } => (head(kind::LSTAT), put_string(out, path)).1,
                Request::Fstat { handle } => (head(kind::FSTAT), put_string(out, handle)).1,
                Request::OpenDir { path } => (head(kind::OPENDIR), put_string(out, path)).1,
                Request::ReadDir { handle } => (head(kind::READDIR), put_string(out, handle)).1,
                Request::Remove { path } => (head(kind::REMOVE), put_string(out, path)).1,
                Request::MakeDir { path } => {
                    head(kind::MKDIR);
                    put_string(out, path);
                    empty.encode(out);
                }
                Request::RealPath { path } => (head(kind::REALPATH), put_string(out, path)).1,
                Request::Stat { path } => (head(kind::STAT), put_string(out, path)).1,
                Request::Rename { from, to } => {
                    head(kind::RENAME);
                    put_string(out, from);
                    put_string(out, to);
                }
                Request::Extended { name } => (head(kind::EXTENDED), put_string(out, name)).1,
                Request::Other { kind } => head(*kind),
            }
        })
    }

    /// A packet's body taken apart, with its id (0 for INIT). What follows the known fields is
    /// ignored.
    pub fn decode(mut body: Bytes) -> Result<(u32, Self), Malformed> {
        let kind = body.try_get_u8().map_err(|_| Malformed("an empty packet"))?;
        let id = number(&mut body)?;
        let from = &mut body;
        let request = match kind {
            kind::INIT => return Ok((0, Request::Init { version: id })),
            kind::OPEN => Request::Open { path: string(from)?, flags: number(from)? },
            kind::CLOSE => Request::Close { handle: string(from)? },
            kind::READ => {
                Request::Read { handle: string(from)?, offset: long(from)?, length: number(from)? }
            }
            kind::LSTAT => Request::Lstat { path: string(from)? },
            kind::FSTAT => Request::Fstat { handle: string(from)? },
            kind::OPENDIR => Request::OpenDir { path: string(from)? },
            kind::READDIR => Request::ReadDir { handle: string(from)? },
            kind::REMOVE => Request::Remove { path: string(from)? },
            kind::MKDIR => Request::MakeDir { path: string(from)? },
            kind::REALPATH => Request::RealPath { path: string(from)? },
            kind::STAT => Request::Stat { path: string(from)? },
            kind::RENAME => Request::Rename { from: string(from)?, to: string(from)? },
            kind::EXTENDED => Request::Extended { name: string(from)? },
            kind => Request::Other { kind },
        };
        Ok((id, request))
    }
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are the standard's")]
pub enum PacketReply {
    Version { version: u32, extensions: Vec<(Bytes, Bytes)> },
    Status { code: u32, message: Bytes },
    Handle(Bytes),
    Data(Bytes),
    Names(Vec<PacketEntry>),
    Attributes(Attributes),
    Extended(Bytes),
}

impl PacketReply {
    /// The whole packet, length included. VERSION has no id.
    pub fn encode(&self, id: u32) -> Bytes {
        frame(|out| {
            let mut head = |kind: u8| {
                out.put_u8(kind);
                out.put_u32(id);
            };
            match self {
                PacketReply::Version { version, extensions } => {
                    out.put_u8(kind::VERSION);
                    out.put_u32(*version);
                    for (name, value) in extensions {
                        put_string(out, name);
                        put_string(out, value);
                    }
                }
                PacketReply::Status { code, message } => {
                    head(kind::STATUS);
                    out.put_u32(*code);
                    put_string(out, message);
                    put_string(out, b"en");
                }
                PacketReply::Handle(handle) => (head(kind::HANDLE), put_string(out, handle)).1,
                PacketReply::Data(data) => (head(kind::DATA), put_string(out, data)).1,
                PacketReply::Names(entries) => {
                    head(kind::NAME);
                    put_count(out, entries.len());
                    for entry in entries {
                        put_string(out, &entry.name);
                        put_string(out, &entry.long_name);
                        entry.attributes.encode(out);
                    }
                }
                PacketReply::Attributes(attributes) => {
                    (head(kind::ATTRS), attributes.encode(out)).1
                }
                PacketReply::Extended(data) => {
                    head(kind::EXTENDED_REPLY);
                    out.put_slice(data);
                }
            }
        })
    }

    /// A packet's body taken apart, with its id (0 for VERSION). `Data` shares the body's memory.
    pub fn decode(mut body: Bytes) -> Result<(u32, Self), Malformed> {
        let kind = body.try_get_u8().map_err(|_| Malformed("an empty packet"))?;
        let id = number(&mut body)?;
        let from = &mut body;
        let reply = match kind {
            kind::VERSION => {
                let mut extensions = Vec::new();
                // What cannot be read of them is not used: the version is there.
                while let (Ok(name), Ok(value)) = (string(from), string(from)) {
                    extensions.push((name, value));
                }
                return Ok((0, PacketReply::Version { version: id, extensions }));
            }
            // Some old servers leave out the message.
            kind::STATUS => PacketReply::Status {
                code: number(from)?,
                message: string(from).unwrap_or_default(),
            },
            kind::HANDLE => PacketReply::Handle(string(from)?),
            kind::DATA => PacketReply::Data(string(from)?),
            kind::NAME => {
                // The count is a claim: the list grows only as entries are found.
                let mut entries = Vec::new();
                for _ in 0..number(from)? {
                    if entries.len() == MOST_ENTRIES {
                        return Err(Malformed("a packet of too many names"));
                    }
                    entries.push(PacketEntry {
                        name: string(from)?,
                        long_name: string(from)?,
                        attributes: Attributes::decode(from)?,
                    });
                }
                PacketReply::Names(entries)
            }
            kind::ATTRS => PacketReply::Attributes(Attributes::decode(from)?),
            kind::EXTENDED_REPLY => PacketReply::Extended(from.split_off(0)),
            _ => return Err(Malformed("a reply of an unknown kind")),
        };
        Ok((id, reply))
    }
}

/// Whether a packet's body begins as one of names does.
pub(crate) fn holds_names(body: &[u8]) -> bool {
    body.first() == Some(&kind::NAME)
}

/// The id of a packet's body, without decoding the rest.
pub fn peek_id(body: &[u8]) -> Result<u32, Malformed> {
    let id: [u8; 4] = body
        .get(1..5)
        .and_then(|id| id.try_into().ok())
        .ok_or(Malformed("a packet without an id"))?;
    Ok(u32::from_be_bytes(id))
}

fn frame(fill: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::with_capacity(64);
    out.put_u32(0);
    fill(&mut out);
    let length = u32::try_from(out.len() - 4).expect("packets that we make are far below 4 GiB");
    out[..4].copy_from_slice(&length.to_be_bytes());
    out.freeze()
}

fn put_count(out: &mut BytesMut, count: usize) {
    out.put_u32(u32::try_from(count).expect("what we put into a packet is far below 4 GiB"));
}

fn put_string(out: &mut BytesMut, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.put_slice(bytes);
}

fn number(from: &mut Bytes) -> Result<u32, Malformed> {
    from.try_get_u32().map_err(|_| Malformed("a packet that ends inside a number"))
}

fn long(from: &mut Bytes) -> Result<u64, Malformed> {
    from.try_get_u64().map_err(|_| Malformed("a packet that ends inside a number"))
}

fn string(from: &mut Bytes) -> Result<Bytes, Malformed> {
    let length =
        usize::try_from(number(from)?).map_err(|_| Malformed("a text longer than memory"))?;
    if length > from.len() {
        return Err(Malformed("a text that is longer than its packet"));
    }
    Ok(from.split_to(length))
}

#[cfg(test)]
mod tests;
