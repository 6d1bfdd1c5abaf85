//! A server over a tree in memory: SSH with manners of its own, and SFTP whose every answer a test
//! may replace.

use std::sync::atomic::{AtomicUsize, Ordering};

use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{HashAlg, PrivateKey};
use russh::server::{self, Auth, ChannelOpenHandle, Handler, Msg, Session as ServerSession};
use russh::{Channel, ChannelId, Disconnect};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::source::sftp::frames::Packets;
use crate::source::sftp::packet::{PacketReply, Request};

/// A file's or folder's permission bits.
pub(super) const FILE: u32 = 0o100_644;
pub(super) const FOLDER: u32 = 0o040_755;

/// The answer that a test puts in place of the right one, if it does.
pub(super) type Instead = fn(&Request, &Tree) -> Option<Replaced>;

/// What is sent.
pub(super) enum Replaced {
    Reply(PacketReply),
    /// The first time in a session under this name; later an end of file.
    Once(&'static str, PacketReply),
    /// Once something was answered under this name; before, no such file.
    If(&'static str, PacketReply),
    /// A packet of this kind, whose body behind the id is this.
    Raw(u8, Vec<u8>),
    /// A packet of this kind that has no id.
    Bytes(u8, Vec<u8>),
}

/// How a server speaks SSH.
#[derive(Clone, Copy)]
pub(super) struct PeerManners {
    /// Sent on the channel before anything is answered.
    pub early: &'static [u8],
    /// Whether the request for SFTP is answered.
    pub confirms: bool,
    /// Written beside the stream, and then the channel ends.
    pub aside: Option<&'static str>,
    pub banner: Option<&'static str>,
    /// To how many logins at once files are served; the next one is ended with an exit status.
    pub serves: usize,
    /// Whether a password opens the door when so many have been shown before and so many are in.
    pub lets_in: fn(usize, usize) -> Entry,
    pub answer: Instead,
}

/// What becomes of a password.
pub(super) enum Entry {
    In,
    Refused,
    /// The connection ends with these words.
    Ended(Disconnect, &'static str),
}

pub(super) const PLAIN: PeerManners = PeerManners {
    early: b"",
    confirms: true,
    aside: None,
    banner: None,
    serves: usize::MAX,
    lets_in: |_, _| Entry::In,
    answer: |_, _| None,
};

/// Files by their path, with their content; a folder is what lies above one.
pub(super) type Tree = BTreeMap<&'static str, &'static [u8]>;

pub(super) struct Peer {
    pub port: u16,
    pub pin: String,
}

#[derive(Default)]
struct Counts {
    shown: AtomicUsize,
    inside: AtomicUsize,
}

struct Guest {
    manners: PeerManners,
    tree: Arc<Tree>,
    counts: Arc<Counts>,
    channel: Option<Channel<Msg>>,
    ends: Option<(Disconnect, &'static str)>,
    is_in: bool,
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.counts.inside.fetch_sub(usize::from(self.is_in), Ordering::Relaxed);
    }
}

impl Handler for Guest {
    type Error = russh::Error;

    async fn authentication_banner(&mut self) -> Result<Option<String>, russh::Error> {
        Ok(self.manners.banner.map(str::to_owned))
    }

    async fn auth_password(&mut self, _: &str, _: &str) -> Result<Auth, russh::Error> {
        let shown = self.counts.shown.fetch_add(1, Ordering::Relaxed);
        match (self.manners.lets_in)(shown, self.counts.inside.load(Ordering::Relaxed)) {
            Entry::In => {
                self.is_in = true;
                self.counts.inside.fetch_add(1, Ordering::Relaxed);
                Ok(Auth::Accept)
            }
            Entry::Refused => Ok(Auth::reject()),
            Entry::Ended(reason, words) => {
                self.ends = Some((reason, words));
                Ok(Auth::Accept)
            }
        }
    }

    async fn auth_succeeded(&mut self, session: &mut ServerSession) -> Result<(), russh::Error> {
        match self.ends.take() {
            Some((reason, words)) => session.disconnect(reason, words, "en"),
            None => Ok(()),
        }
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut ServerSession,
    ) -> Result<(), russh::Error> {
        self.channel = Some(channel);
        reply.accept().await;
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _: &str,
        session: &mut ServerSession,
    ) -> Result<(), russh::Error> {
        if self.counts.inside.load(Ordering::Relaxed) > self.manners.serves {
            session.channel_success(id)?;
            session.exit_status_request(id, 10)?;
            session.eof(id)?;
            return session.close(id);
        }
        if !self.manners.early.is_empty() {
            session.data(id, self.manners.early.to_vec())?;
        }
        if self.manners.confirms {
            session.channel_success(id)?;
        }
        if let Some(words) = self.manners.aside {
            session.extended_data(id, 1, words.as_bytes().to_vec())?;
            session.exit_status_request(id, 7)?;
            session.eof(id)?;
            return session.close(id);
        }
        let channel = self.channel.take().expect("it was opened");
        let says_version = self.manners.early.is_empty();
        tokio::spawn(serve(
            channel.into_stream(),
            self.tree.clone(),
            self.manners.answer,
            says_version,
        ));
        Ok(())
    }
}

impl Peer {
    pub(super) async fn new(tree: &[(&'static str, &'static [u8])], manners: PeerManners) -> Self {
        let key = KeypairData::Ed25519(Ed25519Keypair::from_seed(&[7; 32]));
        let key = PrivateKey::new(key, "test").expect("a pair makes a key");
        let pin = key.public_key().fingerprint(HashAlg::Sha256).to_string();
        let config = server::Config {
            keys: vec![key],
            auth_rejection_time: Duration::ZERO,
            ..server::Config::default()
        };
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let (tree, counts): (Arc<Tree>, _) =
            (Arc::new(tree.iter().copied().collect()), Arc::<Counts>::default());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tree, counts) = (tree.clone(), counts.clone());
                let guest =
                    Guest { manners, tree, counts, channel: None, ends: None, is_in: false };
                let session = server::run_stream(config.clone(), stream, guest);
                tokio::spawn(async move {
                    if let Ok(session) = session.await {
                        drop(session.await);
                    }
                });
            }
        });
        Self { port, pin }
    }

    pub(super) fn endpoint(&self, path: &str) -> Arc<dyn Endpoint> {
        let settings = [
            ("password", text("secret")),
            ("host_key", text(&self.pin)),
            ("stall_timeout", text("5s")),
        ];
        endpoint(&format!("sftp://me@127.0.0.1:{}{path}", self.port), &settings)
            .expect("the settings are good")
    }

    pub(super) async fn open(&self, path: &str) -> Result<Box<dyn Session>, SourceError> {
        self.endpoint(path).open().await
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    tree: Arc<Tree>,
    instead: Instead,
    says_version: bool,
) {
    let (read, mut write) = tokio::io::split(stream);
    let mut packets = Packets::new(read, Arc::default());
    // Of each handle, what it stands for and how often it was asked about.
    let mut handles: Vec<(String, usize)> = Vec::new();
    let mut done: Vec<&str> = Vec::new();
    while let Ok(Some(body)) = packets.next().await {
        let (id, request) = Request::decode(body).expect("the client speaks properly");
        let right = answer(&request, &tree, &mut handles);
        let bytes = match instead(&request, &tree) {
            None if matches!(request, Request::Init { .. }) && !says_version => continue,
            None => right.encode(id),
            Some(Replaced::Reply(reply)) => reply.encode(id),
            Some(Replaced::Once(name, _)) if done.contains(&name) => say(status::EOF).encode(id),
            Some(Replaced::Once(name, reply)) => {
                done.push(name);
                reply.encode(id)
            }
            Some(Replaced::If(name, reply)) if done.contains(&name) => reply.encode(id),
            Some(Replaced::If(..)) => say(status::NO_SUCH_FILE).encode(id),
            Some(Replaced::Raw(kind, rest)) => {
                framed(&[&[kind][..], &id.to_be_bytes(), &rest].concat())
            }
            Some(Replaced::Bytes(kind, rest)) => framed(&[&[kind][..], &rest].concat()),
        };
        if write.write_all(&bytes).await.is_err() || write.flush().await.is_err() {
            return;
        }
    }
}

fn framed(body: &[u8]) -> Bytes {
    let length = u32::try_from(body.len()).expect("it is short").to_be_bytes();
    [&length[..], body].concat().into()
}

/// The bytes of a path, without the slash at its end.
pub(super) fn plain(path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    path.trim_end_matches('/').to_owned()
}

pub(super) fn say(code: u32) -> PacketReply {
    PacketReply::Status { code, message: Bytes::new() }
}

pub(super) fn told_as(permissions: u32, size: u64) -> Attributes {
    Attributes { size: Some(size), permissions: Some(permissions), modified: Some(1_600_000_000) }
}

/// What the tree holds at `path`.
pub(super) fn look(tree: &Tree, path: &[u8]) -> Option<Attributes> {
    let path = plain(path);
    let is_above = |file: &&str| file.starts_with(&format!("{path}/"));
    match tree.get(path.as_str()) {
        Some(bytes) => Some(told_as(FILE, bytes.len() as u64)),
        None => tree.keys().any(is_above).then(|| told_as(FOLDER, 0)),
    }
}

/// The entries of a folder.
pub(super) fn entries(tree: &Tree, dir: &str) -> Vec<ListedEntry> {
    let below = format!("{dir}/");
    let mut names: Vec<&str> = tree
        .keys()
        .filter_map(|path| path.strip_prefix(below.as_str())?.split('/').next())
        .collect();
    names.dedup();
    let told = |name: &str| look(tree, format!("{below}{name}").as_bytes()).expect("it is there");
    names.into_iter().map(|name| listed_as(name, told(name))).collect()
}

pub(super) fn listed_as(name: &str, attributes: Attributes) -> ListedEntry {
    let letter = if attributes.permissions == Some(FOLDER) { 'd' } else { '-' };
    let line = format!("{letter}rw-r--r-- 1 u g 0 Jan 1 2024 {name}");
    ListedEntry { name: name.to_owned().into(), long_name: line.into(), attributes }
}

fn answer(request: &Request, tree: &Tree, handles: &mut Vec<(String, usize)>) -> PacketReply {
    let no_such_file = || say(status::NO_SUCH_FILE);
    let mut open = |path: &[u8]| {
        handles.push((plain(path), 0));
        PacketReply::Handle(handles.len().to_string().into())
    };
    match request {
        Request::Init { .. } => PacketReply::Version { version: 3, extensions: Vec::new() },
        Request::RealPath { path } => {
            let home = if path.as_ref() == b"." { "/home" } else { &plain(path) };
            PacketReply::Names(vec![listed_as(home, Attributes::default())])
        }
        Request::Stat { path } | Request::Lstat { path } => {
            look(tree, path).map_or_else(no_such_file, PacketReply::Attributes)
        }
        Request::Open { path, .. } | Request::OpenDir { path } => match look(tree, path) {
            Some(_) => open(path),
            None => no_such_file(),
        },
        Request::ReadDir { handle } => {
            let Some((dir, asked)) = opened(handles, handle) else { return say(status::FAILURE) };
            *asked += 1;
            match asked {
                1 => PacketReply::Names(entries(tree, dir)),
                _ => say(status::EOF),
            }
        }
        Request::Read { handle, offset, .. } => {
            let Some((path, _)) = opened(handles, handle) else { return say(status::FAILURE) };
            let bytes = tree.get(path.as_str()).copied().unwrap_or_default();
            match usize::try_from(*offset).ok().and_then(|offset| bytes.get(offset..)) {
                Some(rest) if !rest.is_empty() => PacketReply::Data(Bytes::from_static(rest)),
                _ => say(status::EOF),
            }
        }
        _ => say(status::OK),
    }
}

fn opened<'a>(
    handles: &'a mut [(String, usize)],
    handle: &[u8],
) -> Option<&'a mut (String, usize)> {
    let number: usize = std::str::from_utf8(handle).ok()?.parse().ok()?;
    handles.get_mut(number.checked_sub(1)?)
}
