//! The SFTP side of the server: requests answered from the folder, or as the script has it.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{BufMut, Bytes, BytesMut};
use time::OffsetDateTime;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::house::House;
use super::jail::{Jail, wire_name};
use super::lies::{HandleRule, KindRule, PageRule, PastEnd};
use super::script::DemoSftpFault;
use crate::source::sftp::frames::Packets;
use crate::source::sftp::packet::{
    Attributes, FileKind, PacketEntry, PacketReply, Request, VERSION, status,
};

/// What OpenSSH sends in one reply; we say so and keep to it.
const LARGEST_READ: u32 = 261_120;
/// Entries of one READDIR reply, as OpenSSH has it.
const ENTRIES_AT_ONCE: usize = 100;
/// Handles that one visitor may hold.
const MOST_HANDLES: usize = 1024;
/// Requests of one visitor that may wait for their answers.
const MOST_REQUESTS: usize = 1 << 16;
const LIMITS: &[u8] = b"limits@openssh.com";

/// One SFTP channel of one visitor.
pub(super) struct Service {
    house: Arc<House>,
    visitor: u64,
    handles: HashMap<Bytes, Open>,
    next_handle: u32,
}

enum Open {
    File { file: File, real: PathBuf, name: Vec<u8> },
    Directory(ListedFolder),
}

/// A folder that is being listed.
struct ListedFolder {
    left: VecDeque<PacketEntry>,
    all: Vec<PacketEntry>,
    /// Pages that were asked for.
    asked: u32,
    /// How many folders were opened before.
    before: usize,
}

impl ListedFolder {
    /// The answer to the next question for entries.
    fn page(&mut self, rule: PageRule) -> PacketReply {
        self.asked += 1;
        let end = |code| say(code, "no more files");
        let (asked, first) = (self.asked, self.before == 0);
        match rule {
            PageRule::EndInBetween if first && asked == 2 => end(status::EOF),
            PageRule::BreaksOffWith(code) if first && asked == 2 => end(code),
            PageRule::EndInBetween | PageRule::BreaksOffWith(_) if first && asked == 1 => {
                self.next(2)
            }
            PageRule::SamePage(times) if asked > times => end(status::EOF),
            PageRule::SamePage(_) => PacketReply::Names(self.all.clone()),
            PageRule::DotsForEver => {
                PacketReply::Names(dots().into_iter().cycle().take(ENTRIES_AT_ONCE).collect())
            }
            PageRule::EndsWith(code) if self.left.is_empty() => end(code),
            PageRule::EmptyForEver if self.left.is_empty() => PacketReply::Names(Vec::new()),
            PageRule::RoundAndRound if self.left.is_empty() => {
                self.left = self.all.clone().into();
                self.next(ENTRIES_AT_ONCE)
            }
            _ if self.left.is_empty() => end(status::EOF),
            _ => self.next(ENTRIES_AT_ONCE),
        }
    }

    fn next(&mut self, most: usize) -> PacketReply {
        let count = self.left.len().min(most);
        PacketReply::Names(self.left.drain(..count).collect())
    }
}

enum DemoSftpAnswer {
    Reply(PacketReply),
    Silence,
    Cut,
}

/// Answers request by request until the visitor leaves.
///
/// Requests are taken in while an answer is sent: the SSH connection hands on neither requests nor
/// room for answers while its queue of requests is full, so that a server which only sends then
/// waits for ever.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    mut service: Service,
) {
    let (read, mut write) = tokio::io::split(stream);
    let (inbox, mut requests) = mpsc::channel(MOST_REQUESTS);
    let _reader = AbortOnDropHandle::new(tokio::spawn(take_in(read, inbox)));
    while let Some((id, request)) = requests.recv().await {
        let work = tokio::task::spawn_blocking(move || {
            let answer = service.answer(request);
            (service, answer)
        });
        let Ok((returned, answer)) = work.await else { return };
        service = returned;
        let sent = match answer {
            DemoSftpAnswer::Reply(reply) => write.write_all(&reply.encode(id)).await,
            DemoSftpAnswer::Silence => Ok(()),
            DemoSftpAnswer::Cut => return service.house.cut(service.visitor),
        };
        if sent.is_err() || write.flush().await.is_err() {
            return;
        }
    }
}

/// Puts what the visitor asks into `inbox`, until it leaves or asks too much at once.
async fn take_in(read: impl AsyncRead + Unpin, inbox: mpsc::Sender<(u32, Request)>) {
    let mut packets = Packets::new(read, Arc::default());
    while let Ok(Some(body)) = packets.next().await {
        let asked = Request::decode(body).ok();
        if asked.is_none_or(|asked| inbox.try_send(asked).is_err()) {
            return;
        }
    }
}

impl Service {
    pub(super) fn new(house: Arc<House>, visitor: u64) -> Self {
        Self { house, visitor, handles: HashMap::new(), next_handle: 0 }
    }

    fn answer(&mut self, request: Request) -> DemoSftpAnswer {
        if let Request::Read { handle, offset, length } = request {
            return self
                .read(&handle, offset, length)
                .unwrap_or_else(|error| DemoSftpAnswer::Reply(refusal(&error)));
        }
        DemoSftpAnswer::Reply(self.reply(request).unwrap_or_else(|error| refusal(&error)))
    }

    fn reply(&mut self, request: Request) -> io::Result<PacketReply> {
        let jail = &self.house.jail;
        match request {
            Request::Init { .. } => Ok(PacketReply::Version {
                version: VERSION,
                extensions: vec![(Bytes::from_static(LIMITS), Bytes::from_static(b"1"))],
            }),
            Request::Extended { name } if name.as_ref() == LIMITS => Ok(limits()),
            Request::RealPath { path } => Ok(PacketReply::Names(vec![PacketEntry {
                name: Jail::tidy(&path).into(),
                long_name: Bytes::new(),
                attributes: Attributes::default(),
            }])),
            Request::Lstat { path } => {
                let metadata = fs::symlink_metadata(jail.entry(&path)?)?;
                self.describe(last(&path), &metadata)
            }
            Request::Stat { path } => {
                let metadata = fs::metadata(jail.follow(&path)?)?;
                self.describe(last(&path), &metadata)
            }
            Request::Fstat { handle } => match self.handles.get(&handle) {
                Some(Open::File { file, name, .. }) => self.describe(name, &file.metadata()?),
                _ => Err(io::ErrorKind::InvalidInput.into()),
            },
            Request::Open { path, .. } => self.open(&path),
            Request::OpenDir { path } => self.open_dir(&path),
            Request::ReadDir { handle } => match self.handles.get_mut(&handle) {
                Some(Open::Directory(folder)) => Ok(folder.page(self.house.script().lies.pages)),
                _ => Err(io::ErrorKind::InvalidInput.into()),
            },
            Request::Close { handle } => match self.handles.remove(&handle) {
                Some(_) => Ok(say(status::OK, "")),
                None => Err(io::ErrorKind::InvalidInput.into()),
            },
            Request::Remove { path } => {
                fs::remove_file(jail.entry(&path)?).map(|()| say(status::OK, ""))
            }
            Request::MakeDir { path } => {
                fs::create_dir(jail.entry(&path)?).map(|()| say(status::OK, ""))
            }
            Request::Rename { from, to } => {
                let to = jail.entry(&to)?;
                if fs::symlink_metadata(&to).is_ok() {
                    return Ok(say(status::FAILURE, "the target exists"));
                }
                fs::rename(jail.entry(&from)?, to).map(|()| say(status::OK, ""))
            }
            Request::Read { .. } | Request::Extended { .. } | Request::Other { .. } => {
                Ok(say(status::OP_UNSUPPORTED, "not served here"))
            }
        }
    }

    fn open(&mut self, path: &[u8]) -> io::Result<PacketReply> {
        let script = self.house.script();
        let name = last(path);
        let real = self.house.jail.follow(path)?;
        if let Some(DemoSftpFault::OnOpen(hook)) =
            script.happens(name, |fault| matches!(fault, DemoSftpFault::OnOpen(_)))
        {
            hook(&real);
        }
        if let Some(DemoSftpFault::OpenStatus(code)) =
            script.happens(name, |fault| matches!(fault, DemoSftpFault::OpenStatus(_)))
        {
            return Ok(say(code, "as the script has it"));
        }
        let files = self.handles.values().filter(|open| matches!(open, Open::File { .. })).count();
        if let Some((_, code, words)) = script.lies.most_open.filter(|(most, ..)| files >= *most) {
            return Ok(say(code, words));
        }
        let file = File::open(&real)?;
        if file.metadata()?.is_dir() && script.lies.kinds == KindRule::FoldersAsFiles {
            return self.open_dir(path);
        }
        if !file.metadata()?.is_file() {
            return Ok(say(status::FAILURE, "not a file"));
        }
        Ok(self.keep(Open::File { file, real, name: name.to_vec() }))
    }

    fn open_dir(&mut self, path: &[u8]) -> io::Result<PacketReply> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.house.jail.follow(path)?)? {
            let entry = entry?;
            // A file that goes away while it is listed was never there.
            let Ok(metadata) = fs::symlink_metadata(entry.path()) else { continue };
            let name = wire_name(&entry.file_name());
            let mut attributes = self.attributes(&name, &metadata);
            let listed_later =
                |fault: &DemoSftpFault| matches!(fault, DemoSftpFault::ListedLater(_));
            if let Some(DemoSftpFault::ListedLater(by)) =
                self.house.script().happens(&name, listed_later)
            {
                attributes.modified = attributes.modified.map(|at| at.saturating_add_signed(by));
            }
            let long_name = match self.house.script().lies.kinds {
                KindRule::Told => long_name(&name, &metadata),
                KindRule::NineLetters => Bytes::from(if metadata.is_dir() {
                    "drw-rw-rw   1 root"
                } else {
                    "-rw-rw-rw   1 root"
                }),
                KindRule::Untold | KindRule::FoldersAsFiles => Bytes::copy_from_slice(&name),
            };
            entries.push(PacketEntry { long_name, name: name.into(), attributes });
        }
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        if let Some(more) = self.house.script().entries.get(&Jail::tidy(path)) {
            entries.extend_from_slice(more);
        }
        if self.house.script().lies.entries_twice {
            entries.extend_from_slice(&entries.clone());
        }
        let all: Vec<PacketEntry> = dots().into_iter().chain(entries).collect();
        let before = self.house.counters.folders.fetch_add(1, Ordering::Relaxed);
        Ok(self.keep(Open::Directory(ListedFolder {
            left: all.clone().into(),
            all,
            asked: 0,
            before,
        })))
    }

    fn keep(&mut self, open: Open) -> PacketReply {
        if self.handles.len() >= MOST_HANDLES {
            return say(status::FAILURE, "too many open handles");
        }
        // Four bytes as OpenSSH has them: no text, and no UTF-8 from 128 on.
        let number = match self.house.script().lies.handles {
            HandleRule::Unique => self.next_handle,
            HandleRule::Twice => u32::from(!self.handles.is_empty()),
        };
        let handle = Bytes::copy_from_slice(&number.to_be_bytes());
        self.next_handle += 1;
        self.handles.insert(handle.clone(), open);
        self.house.counters.opens.fetch_add(1, Ordering::Relaxed);
        PacketReply::Handle(handle)
    }

    fn read(&mut self, handle: &Bytes, offset: u64, length: u32) -> io::Result<DemoSftpAnswer> {
        let in_company =
            self.handles.values().filter(|open| matches!(open, Open::File { .. })).count() > 1;
        let Some(Open::File { file, real, name }) = self.handles.get_mut(handle) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let script = self.house.script();
        let mut length = length.min(LARGEST_READ);
        let covers = |at: u64| {
            (offset..=offset.saturating_add(u64::from(length)).saturating_sub(1)).contains(&at)
        };
        if let Some(DemoSftpFault::OnRead(_, hook)) = script
            .happens(name, |fault| matches!(fault, DemoSftpFault::OnRead(at, _) if covers(*at)))
        {
            hook(real);
        }
        let now = |fault: &DemoSftpFault| match fault {
            DemoSftpFault::StatusAt(at, _)
            | DemoSftpFault::DisconnectAt(at)
            | DemoSftpFault::StallAt(at) => covers(*at),
            DemoSftpFault::EofAt(at) => covers(*at) || offset >= *at,
            DemoSftpFault::SilentInCompany => in_company,
            _ => false,
        };
        match script.happens(name, now) {
            Some(DemoSftpFault::StatusAt(_, code)) => {
                return Ok(DemoSftpAnswer::Reply(say(code, "as the script has it")));
            }
            Some(DemoSftpFault::DisconnectAt(_)) => return Ok(DemoSftpAnswer::Cut),
            Some(DemoSftpFault::StallAt(_) | DemoSftpFault::SilentInCompany) => {
                return Ok(DemoSftpAnswer::Silence);
            }
            Some(DemoSftpFault::EofAt(at)) if offset >= at => {
                return Ok(DemoSftpAnswer::Reply(say(status::EOF, "as the script has it")));
            }
            Some(DemoSftpFault::EofAt(at)) => length = u32::try_from(at - offset).unwrap_or(length),
            _ => {}
        }
        if let Some(DemoSftpFault::ShortReads(most)) =
            script.happens(name, |fault| matches!(fault, DemoSftpFault::ShortReads(_)))
        {
            length = length.min(most);
        }
        file.seek(SeekFrom::Start(offset))?;
        let mut data = BytesMut::with_capacity(length as usize).writer();
        let count = io::copy(&mut file.take(u64::from(length)), &mut data)?;
        if count == 0 {
            return Ok(DemoSftpAnswer::Reply(match script.lies.past_end {
                None => say(status::EOF, "end of file"),
                Some(PastEnd::Status(code)) => say(code, "read past the end"),
                Some(PastEnd::Nothing) => PacketReply::Data(Bytes::new()),
            }));
        }
        let mut data = data.into_inner();
        let read = offset..offset + count;
        let arrives =
            |fault: &DemoSftpFault| matches!(fault, DemoSftpFault::FlipAt(at) if read.contains(at));
        if let Some(DemoSftpFault::FlipAt(at)) = script.happens(name, arrives)
            && let Some(byte) = usize::try_from(at - offset).ok().and_then(|at| data.get_mut(at))
        {
            *byte ^= 1;
        }
        self.house.counters.bytes_sent.fetch_add(count, Ordering::Relaxed);
        Ok(DemoSftpAnswer::Reply(PacketReply::Data(data.freeze())))
    }

    fn describe(&self, name: &[u8], metadata: &Metadata) -> io::Result<PacketReply> {
        match self.house.script().happens(name, |fault| matches!(fault, DemoSftpFault::StatDenied))
        {
            Some(_) => Err(io::ErrorKind::PermissionDenied.into()),
            None => Ok(PacketReply::Attributes(self.attributes(name, metadata))),
        }
    }

    fn attributes(&self, name: &[u8], metadata: &Metadata) -> Attributes {
        let script = self.house.script();
        if script.happens(name, |fault| matches!(fault, DemoSftpFault::NoAttributes)).is_some() {
            return Attributes::default();
        }
        let mut size = metadata.len();
        if let Some(DemoSftpFault::LieSize(by)) =
            script.happens(name, |fault| matches!(fault, DemoSftpFault::LieSize(_)))
        {
            size = size.saturating_add_signed(by);
        }
        let modified = metadata.modified().ok().map(|at| OffsetDateTime::from(at).unix_timestamp());
        let permissions = match script.lies.kinds {
            KindRule::Told => Some(permissions(metadata)),
            KindRule::NineLetters => Some(0o666),
            KindRule::Untold => None,
            KindRule::FoldersAsFiles => {
                if metadata.is_dir() {
                    size = 0;
                }
                Some(0o100_644)
            }
        };
        Attributes {
            size: Some(size),
            permissions,
            modified: modified.and_then(|seconds| u32::try_from(seconds).ok()),
        }
    }
}

fn dots() -> [PacketEntry; 2] {
    let directory = Attributes { permissions: Some(0o040_755), ..Attributes::default() };
    [".", ".."].map(|name| PacketEntry {
        name: name.into(),
        long_name: Bytes::new(),
        attributes: directory.clone(),
    })
}

fn limits() -> PacketReply {
    let mut limits = BytesMut::new();
    // The largest packet, read, write, and the most handles.
    for limit in [256 << 10, u64::from(LARGEST_READ), u64::from(LARGEST_READ), MOST_HANDLES as u64]
    {
        limits.put_u64(limit);
    }
    PacketReply::Extended(limits.freeze())
}

fn last(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

fn say(code: u32, message: &'static str) -> PacketReply {
    PacketReply::Status { code, message: Bytes::from_static(message.as_bytes()) }
}

fn refusal(error: &io::Error) -> PacketReply {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            say(status::NO_SUCH_FILE, "No such file")
        }
        io::ErrorKind::PermissionDenied => say(status::PERMISSION_DENIED, "Permission denied"),
        _ => PacketReply::Status { code: status::FAILURE, message: error.to_string().into() },
    }
}

fn long_name(name: &[u8], metadata: &Metadata) -> Bytes {
    let kind =
        Attributes { permissions: Some(permissions(metadata)), ..Attributes::default() }.kind();
    let kind = match kind {
        Some(FileKind::Directory) => 'd',
        Some(FileKind::Symlink) => 'l',
        Some(FileKind::Special) => 'p',
        _ => '-',
    };
    let mut line =
        format!("{kind}rw-r--r--    1 demo     demo     {:>12} ", metadata.len()).into_bytes();
    line.extend_from_slice(name);
    line.into()
}

#[cfg(unix)]
fn permissions(metadata: &Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::mode(metadata)
}

#[cfg(not(unix))]
fn permissions(metadata: &Metadata) -> u32 {
    let kind = metadata.file_type();
    if kind.is_dir() {
        0o040_755
    } else if kind.is_symlink() {
        0o120_777
    } else {
        0o100_644
    }
}
