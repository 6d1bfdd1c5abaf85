//! An SFTP server over the truth of a scene: SSH by russh, packets by hand, so that every byte of
//! them can be a lie.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use blobferry::model::RemotePath;
use blobferry::source::sftp::packet::{
    Attributes, PacketEntry, PacketReply, Request, VERSION, status,
};
use bytes::Bytes;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{HashAlg, PrivateKey};
use russh::server::{self, Auth, ChannelOpenHandle, Handler, Msg, Session};
use russh::{Channel, ChannelId};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::lie::{SftpAnswer, SftpSaying, SftpWhen};
use super::scene::WireScene;

/// Entries of one page.
const ENTRIES_AT_ONCE: usize = 4;
/// What one read brings at most.
const LARGEST_READ: usize = 32 << 10;
/// How long requests are gathered that are done in an order of the server's own.
const TOGETHER: Duration = Duration::from_millis(3);
/// How long a server holds an answer back for the answers to later requests.
const HELD: Duration = Duration::from_millis(60);

/// What is open.
#[derive(Clone, Debug)]
pub enum OpenedHere {
    File(RemotePath, Bytes),
    Folder { path: RemotePath, left: VecDeque<PacketEntry>, all: Vec<PacketEntry>, asked: u64 },
}

impl OpenedHere {
    pub fn path(&self) -> RemotePath {
        match self {
            OpenedHere::File(path, _) | OpenedHere::Folder { path, .. } => path.clone(),
        }
    }

    /// How often entries were asked for.
    pub fn asked(&self) -> u64 {
        match self {
            OpenedHere::File(..) => 0,
            OpenedHere::Folder { asked, .. } => *asked,
        }
    }
}

/// A server on this port; the fingerprint of its key.
pub fn start(listener: TcpListener, scene: Arc<WireScene>) -> String {
    let key = Ed25519Keypair::from_seed(&[7; 32]);
    let key = PrivateKey::new(KeypairData::Ed25519(key), "lies").unwrap();
    let print = key.public_key().fingerprint(HashAlg::Sha256).to_string();
    let config = server::Config { keys: vec![key], nodelay: true, ..server::Config::default() };
    let config = Arc::new(config);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream.set_nodelay(true));
            let visitor = Visitor { scene: scene.clone(), channels: HashMap::new() };
            let config = config.clone();
            tokio::spawn(async move {
                if let Ok(session) = server::run_stream(config, stream, visitor).await {
                    drop(session.await);
                }
            });
        }
    });
    print
}

struct Visitor {
    scene: Arc<WireScene>,
    channels: HashMap<ChannelId, Channel<Msg>>,
}

impl Handler for Visitor {
    type Error = russh::Error;

    async fn auth_password(&mut self, _: &str, _: &str) -> Result<Auth, russh::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        self.channels.insert(channel.id(), channel);
        reply.accept().await;
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _: &str,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_success(id)?;
        if let Some(channel) = self.channels.remove(&id) {
            tokio::spawn(serve(channel.into_stream(), self.scene.clone()));
        }
        Ok(())
    }
}

/// Packets as they come, until the client goes.
async fn read_all(mut read: impl AsyncRead + Unpin, packets: mpsc::UnboundedSender<Bytes>) {
    while let Ok(length) = read.read_u32().await {
        let mut body = vec![0; length as usize];
        if read.read_exact(&mut body).await.is_err() || packets.send(body.into()).is_err() {
            return;
        }
    }
}

/// One channel.
async fn serve(stream: impl AsyncRead + AsyncWrite + Send + 'static, scene: Arc<WireScene>) {
    let (read, mut write) = tokio::io::split(stream);
    let (sender, mut packets) = mpsc::unbounded_channel();
    tokio::spawn(read_all(read, sender));
    let mut service = SftpHere { scene, handles: HashMap::new(), returned: Vec::new(), next: 0 };
    // What is held back, and after how many further answers it is sent.
    let mut held: Vec<(u64, Bytes)> = Vec::new();
    // What was asked for and is done after what is asked for next.
    let mut later: Vec<(u32, Request)> = Vec::new();
    loop {
        let waits = !held.is_empty() || !later.is_empty();
        let wait = if waits { HELD } else { Duration::from_secs(3_600) };
        let first = match timeout(wait, packets.recv()).await {
            Ok(Some(first)) => vec![first],
            Ok(None) => return,
            Err(_) => Vec::new(),
        };
        let mut bytes = Vec::new();
        let mut cut = false;
        if first.is_empty() && later.is_empty() {
            held.drain(..).for_each(|(_, held)| bytes.extend_from_slice(&held));
        } else {
            let alone = first.is_empty();
            if service.scene.is_lying() {
                sleep(TOGETHER).await;
            }
            let rest = std::iter::from_fn(|| packets.try_recv().ok());
            let requests: Option<Vec<_>> =
                first.into_iter().chain(rest).map(|body| Request::decode(body).ok()).collect();
            let Some(requests) = requests else { return };
            let requests = std::mem::take(&mut later).into_iter().chain(requests).collect();
            for (answer, when) in service.answer(requests, (!alone).then_some(&mut later)) {
                held.iter_mut().for_each(|(left, _)| *left = left.saturating_sub(1));
                match when {
                    SftpWhen::Now => bytes.extend_from_slice(&answer),
                    SftpWhen::After(answers) => held.push((answers, answer)),
                    SftpWhen::Never => {}
                    SftpWhen::Cut => {
                        bytes.extend_from_slice(&answer[..answer.len() / 2]);
                        cut = true;
                        break;
                    }
                }
                held.extract_if(.., |(left, _)| *left == 0)
                    .for_each(|(_, due)| bytes.extend_from_slice(&due));
            }
        }
        let sent = write.write_all(&bytes).await;
        if sent.is_err() || write.flush().await.is_err() || cut {
            drop(write.shutdown().await);
            return;
        }
    }
}

struct SftpHere {
    scene: Arc<WireScene>,
    handles: HashMap<Bytes, OpenedHere>,
    returned: Vec<Bytes>,
    next: u32,
}

pub fn say(code: u32) -> PacketReply {
    PacketReply::Status { code, message: Bytes::from_static(b"so the server says") }
}

impl SftpHere {
    /// Does all that is asked, in the order that the lies give, and answers in the order of
    /// questions. What that order leaves out is put into `later`.
    fn answer(
        &mut self,
        requests: Vec<(u32, Request)>,
        later: Option<&mut Vec<(u32, Request)>>,
    ) -> Vec<(Bytes, SftpWhen)> {
        let scene = self.scene.clone();
        let whole: Vec<usize> = (0..requests.len()).collect();
        let mut order = whole.clone();
        scene.say_sftp(&mut SftpSaying::Order(&requests, &mut order));
        match later {
            Some(later) => later.extend(
                whole.iter().filter(|at| !order.contains(at)).map(|at| requests[*at].clone()),
            ),
            None => order.extend(whole.iter().filter(|at| !order.contains(at)).collect::<Vec<_>>()),
        }
        let requests = &requests;
        let mut answers: Vec<(Bytes, SftpWhen)> =
            vec![(Bytes::new(), SftpWhen::Never); requests.len()];
        for at in order {
            let (id, request) = &requests[at];
            if !scene.asked(|| format!("{id} {request:?}")) {
                answers[at].1 = SftpWhen::Cut;
                continue;
            }
            let path = self.path_of(request);
            let mut reply = self.reply(request);
            let (mut id, mut when, mut then) = (*id, SftpWhen::Now, Vec::new());
            scene.say_sftp(&mut SftpSaying::Answer(SftpAnswer {
                id: &mut id,
                request,
                together: requests,
                path,
                reply: &mut reply,
                when: &mut when,
                then: &mut then,
                handles: &mut self.handles,
                returned: &self.returned,
            }));
            then.insert(0, reply.encode(id));
            answers[at] = (then.concat().into(), when);
        }
        answers
    }

    fn path_of(&self, request: &Request) -> RemotePath {
        match request {
            Request::Open { path, .. }
            | Request::OpenDir { path }
            | Request::Lstat { path }
            | Request::Stat { path }
            | Request::Remove { path } => RemotePath::new(path.as_ref()),
            Request::Read { handle, .. }
            | Request::ReadDir { handle }
            | Request::Fstat { handle }
            | Request::Close { handle } => {
                self.handles.get(handle).map_or_else(|| RemotePath::from("/"), OpenedHere::path)
            }
            _ => RemotePath::from("/"),
        }
    }

    fn reply(&mut self, request: &Request) -> PacketReply {
        match request {
            Request::Init { .. } => {
                PacketReply::Version { version: VERSION, extensions: Vec::new() }
            }
            Request::Lstat { path } | Request::Stat { path } => {
                match attributes(&self.scene, &RemotePath::new(path.as_ref())) {
                    Some(attributes) => PacketReply::Attributes(attributes),
                    None => say(status::NO_SUCH_FILE),
                }
            }
            Request::Open { path, .. } => {
                let path = RemotePath::new(path.as_ref());
                let held = self.scene.truth().files.get(&path).cloned();
                match held {
                    Some(held) => self.keep(OpenedHere::File(path, held.bytes)),
                    None if self.scene.truth().folders().contains(&path) => say(status::FAILURE),
                    None => say(status::NO_SUCH_FILE),
                }
            }
            Request::OpenDir { path } => match folder(&self.scene, &RemotePath::new(path.as_ref()))
            {
                Some(opened) => self.keep(opened),
                None => say(status::NO_SUCH_FILE),
            },
            Request::ReadDir { handle } => match self.handles.get_mut(handle) {
                Some(OpenedHere::Folder { left, asked, .. }) => {
                    *asked += 1;
                    let count = left.len().min(ENTRIES_AT_ONCE);
                    if count == 0 {
                        return say(status::EOF);
                    }
                    PacketReply::Names(left.drain(..count).collect())
                }
                _ => say(status::FAILURE),
            },
            Request::Read { handle, offset, length } => match self.handles.get(handle) {
                Some(OpenedHere::File(_, bytes)) => {
                    let from = usize::try_from(*offset).unwrap_or(usize::MAX).min(bytes.len());
                    let most = (*length as usize).min(LARGEST_READ).min(bytes.len() - from);
                    match most {
                        0 => say(status::EOF),
                        most => PacketReply::Data(bytes.slice(from..from + most)),
                    }
                }
                _ => say(status::FAILURE),
            },
            Request::Close { handle } => match self.handles.remove(handle) {
                Some(_) => {
                    self.returned.push(handle.clone());
                    say(status::OK)
                }
                None => say(status::FAILURE),
            },
            Request::Remove { path } => {
                let there = self.scene.removes(&RemotePath::new(path.as_ref()));
                say(if there { status::OK } else { status::NO_SUCH_FILE })
            }
            _ => say(status::OP_UNSUPPORTED),
        }
    }

    fn keep(&mut self, opened: OpenedHere) -> PacketReply {
        self.next += 1;
        let handle = Bytes::from(format!("h{}", self.next));
        self.handles.insert(handle.clone(), opened);
        PacketReply::Handle(handle)
    }
}

/// What there is to tell of a path.
pub fn attributes(scene: &WireScene, path: &RemotePath) -> Option<Attributes> {
    let truth = scene.truth();
    let file = truth.files.get(path).map(|held| Attributes {
        size: Some(held.bytes.len() as u64),
        permissions: Some(0o100_644),
        modified: Some(held.modified),
    });
    let folder = || Attributes { permissions: Some(0o040_755), ..Attributes::default() };
    file.or_else(|| truth.folders().contains(path).then(folder))
}

/// The folder of this path, if there is one.
fn folder(scene: &WireScene, path: &RemotePath) -> Option<OpenedHere> {
    let inside: Vec<RemotePath> = {
        let truth = scene.truth();
        let folders = truth.folders();
        folders.contains(path).then(|| {
            let all = truth.files.keys().chain(&folders);
            all.filter(|one| one.as_bytes() != b"/" && one.parent() == *path).cloned().collect()
        })?
    };
    let all: Vec<PacketEntry> = inside
        .iter()
        .filter_map(|one| Some((one, attributes(scene, one)?)))
        .map(|(one, attributes)| entry(one.file_name(), attributes))
        .collect();
    Some(OpenedHere::Folder { path: path.clone(), left: all.clone().into(), all, asked: 0 })
}

/// A line of a page.
pub fn entry(name: &[u8], attributes: Attributes) -> PacketEntry {
    let kind = if attributes.permissions == Some(0o040_755) { "d" } else { "-" };
    let long_name = Bytes::from(format!("{kind}rw-r--r--    1 u g 1 Jan 1 2024 x"));
    PacketEntry { name: Bytes::copy_from_slice(name), long_name, attributes }
}
