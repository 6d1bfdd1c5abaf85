//! One control connection: opened, encrypted, logged in, asked one thing at a time, never for longer than allowed.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use suppaftp::tokio::{AsyncRustlsFtpStream, AsyncRustlsStream, TransferStream};
use suppaftp::{FtpError, Mode, Status};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::account::{Account, Security};
use super::fault::{Reply, Scene};
use super::features;
use super::mlsd;
use super::tls::{Connector, Handshakes, MaxVersion};
use super::wire::{Bytewise, bytewise, keep_alive};
use crate::failure::{Class, Failure};
use crate::model::RemotePath;
use crate::source::contract::{Op, SourceError};
use crate::source::finding::{Tell, resolved};

/// A data connection.
pub type Transfer = TransferStream<AsyncRustlsStream>;

/// How far the library got on its way to a data connection.
#[derive(Debug, Default)]
struct Door {
    /// The server named a port.
    known: AtomicBool,
    /// The port was connected to.
    open: AtomicBool,
    /// Whether little is to be sent ahead.
    narrow: AtomicBool,
}

/// What came of a command that opens a data connection.
pub enum Opened {
    /// Data flows.
    Data(Box<Transfer>),
    /// The server refused; the control connection waits for the next command.
    Refused(Reply),
}

/// A logged-in control connection.
pub struct Client {
    ftp: AsyncRustlsFtpStream,
    /// Whose connection this is.
    pub account: Arc<Account>,
    door: Arc<Door>,
    connector: Option<Connector>,
    /// Whether TLS 1.3 was offered.
    offers_tls_1_3: bool,
    ipv6: bool,
    /// Whether the server told of `MLST`, and has not taken it back.
    pub machine_listings: bool,
    /// Whether it is Pure-FTPd, which lists 10,000 entries unless told otherwise, and says only in its
    /// closing reply that it left out the rest.
    cuts_listings: bool,
    /// The lines of its answer to FEAT.
    pub features: Vec<String>,
    /// False from the first byte of a question to the last of its answer, so that a question
    /// that was given up half-way leaves a mark.
    in_step: bool,
}

impl Client {
    /// Connects and logs in, once, and tells of each.
    pub async fn open(account: Arc<Account>, tell: Tell<'_>) -> Result<Self, SourceError> {
        let mut client = Self::connect(account, tell).await?;
        let start = Instant::now();
        client.log_in().await?;
        tell(features::logged_in(&client.account.user, start.elapsed(), client.connector.as_ref()));
        client.agree().await?;
        Ok(client)
    }

    async fn connect(account: Arc<Account>, tell: Tell<'_>) -> Result<Self, SourceError> {
        let scene = account.scene(Op::Connect);
        let tls = match &account.security {
            Security::Clear => None,
            Security::Explicit(tls) | Security::Implicit(tls) => {
                let versions = if account.wants_tls_1_2.load(Ordering::Relaxed) { MaxVersion::V1_2 } else { tls.max_version };
                Some(tls.connector(&account.host, versions).map_err(|why| scene.fault(Class::Tls, why))?)
            }
        };
        let start = Instant::now();
        let peers = addresses(&account).await?;
        tell(resolved(&peers, start.elapsed()));
        Self::connect_first(account, &peers, tls, tell).await
    }

    /// A connection to the first of `peers` that takes one: the name of a server may have an address that is dead.
    pub(super) async fn connect_first(
        account: Arc<Account>,
        peers: &[SocketAddr],
        tls: Option<Connector>,
        tell: Tell<'_>,
    ) -> Result<Self, SourceError> {
        let scene = account.scene(Op::Connect);
        let mut last = scene.fault(Class::Dns, "the name has no address");
        for &peer in peers {
            let start = Instant::now();
            let ftp = secured(&account, peer, tls.clone()).await;
            features::connected(peer, start.elapsed(), tls.as_ref(), ftp.as_ref().ok().and_then(|ftp| ftp.get_welcome_msg()), tell);
            last = match ftp {
                Ok(ftp) => return Ok(Self::ready(account, ftp, peer, tls).await),
                // A dead address of several is not a dead server.
                Err(FtpError::ConnectionError(error)) => scene.lost(&error),
                Err(error) => return Err(unsecured(scene, error, tls.as_ref())),
            };
        }
        Err(last)
    }

    async fn ready(account: Arc<Account>, ftp: AsyncRustlsFtpStream, peer: SocketAddr, tls: Option<Connector>) -> Self {
        let door = Arc::new(Door::default());
        let mut ftp = ftp.passive_stream_builder(knock(door.clone(), account.clone()));
        // The address in a PASV reply may be one behind a NAT, or somebody else's.
        ftp.set_passive_nat_workaround(true);
        ftp.set_encoding(Bytewise).await;
        keep_alive(ftp.get_ref().await.deref());
        // Behind a proxy, nobody knows.
        let ipv6 = account.proxy.is_none() && peer.is_ipv6() && !peer.ip().to_canonical().is_ipv4();
        let offers_tls_1_3 = tls.as_ref().is_some_and(|tls| tls.max_version == MaxVersion::V1_3);
        Self {
            ftp,
            account,
            door,
            connector: tls,
            offers_tls_1_3,
            ipv6,
            machine_listings: false,
            cuts_listings: false,
            features: Vec::new(),
            in_step: true,
        }
    }

    async fn log_in(&mut self) -> Result<(), SourceError> {
        let account = self.account.clone();
        let scene = account.scene(Op::Login);
        let (user, password) = (bytewise(account.user.as_bytes()), bytewise(account.password.reveal().as_bytes()));
        match timeout(account.limits.command, self.ftp.login(user, password)).await {
            Err(_) => Err(scene.fault(Class::Stalled, "no answer to the login")),
            Ok(result) => result.map_err(|error| scene.broken(error)),
        }
    }

    /// Learns what the server can do and agrees on binary transfers and names in UTF-8.
    async fn agree(&mut self) -> Result<(), SourceError> {
        let account = self.account.clone();
        let scene = account.scene(Op::Login);
        let features = self.command(scene, b"FEAT").await?;
        if features.code == 211 {
            let lines: Vec<String> = features.body.split(|b| *b == b'\n').map(|line| String::from_utf8_lossy(line).trim().to_owned()).collect();
            let feature = |name: &str| {
                lines.iter().find_map(|line| {
                    line.get(..name.len()).filter(|head| head.eq_ignore_ascii_case(name)).map(|_| line[name.len()..].trim().to_owned())
                })
            };
            if feature("UTF8").is_some() {
                // Whatever it answers: names are bytes to us either way.
                self.command(scene, b"OPTS UTF8 ON").await?;
            }
            // Two commands that nobody else has.
            self.cuts_listings = feature("SPSV").is_some() || feature("ESTA").is_some();
            if let Some(facts) = feature("MLST") {
                self.machine_listings = true;
                if mlsd::lacks_facts(&facts) {
                    self.command(scene, b"OPTS MLST type;size;modify;").await?;
                }
            }
            self.features = features::kept(lines);
        }
        if matches!(account.security, Security::Implicit(_)) {
            // The library asks for this after AUTH only. A server that does not know the words has
            // nothing else to offer: our data connections are encrypted whatever it answers.
            self.command(scene, b"PBSZ 0").await?;
            self.command(scene, b"PROT P").await?;
        }
        let binary = self.command(scene, b"TYPE I").await?;
        if binary.code != 200 {
            return Err(scene.refused(&binary));
        }
        Ok(())
    }

    fn begin(&mut self, scene: Scene<'_>) -> Result<(), SourceError> {
        if !self.in_step {
            return Err(scene.fault(Class::Connect, "an earlier question on this connection was given up half-way"));
        }
        self.in_step = false;
        Ok(())
    }

    /// A transfer has ended with the server's own word: the connection is free for the next question.
    pub fn back_in_step(&mut self) {
        self.in_step = true;
    }

    /// Sends one line and reads the reply to it, whatever it says, but 421: that is the end.
    pub async fn command(&mut self, scene: Scene<'_>, line: &[u8]) -> Result<Reply, SourceError> {
        self.begin(scene)?;
        // Nothing is expected, so that every reply comes back whole.
        let reply = match timeout(self.account.limits.command, self.ftp.custom_command(bytewise(line), &[])).await {
            Err(_) => return Err(scene.fault(Class::Stalled, "the server did not answer in time")),
            Ok(Ok(response)) | Ok(Err(FtpError::UnexpectedResponse(response))) => Reply::of(response),
            Ok(Err(error)) => return Err(scene.broken(error)),
        };
        if reply.code == 421 {
            return Err(scene.refused(&reply));
        }
        self.in_step = true;
        Ok(reply)
    }

    /// `verb` with a path, byte for byte.
    pub async fn ask(&mut self, scene: Scene<'_>, verb: &str, path: &RemotePath) -> Result<Reply, SourceError> {
        self.command(scene, &with_path(verb, path)).await
    }

    /// Sends a line that opens a data connection, by `EPSV` or else by `PASV`.
    pub async fn transfer(&mut self, scene: Scene<'_>, line: &[u8], offset: u64) -> Result<Opened, SourceError> {
        self.begin(scene)?;
        let mut extended = self.ipv6 || !self.account.wants_pasv.load(Ordering::Relaxed);
        loop {
            let error = match self.attempt(scene, line, offset, extended).await? {
                Ok(transfer) => {
                    self.account.wants_pasv.store(!extended, Ordering::Relaxed);
                    return Ok(Opened::Data(transfer));
                }
                Err(error) => error,
            };
            let reached = self.door.open.load(Ordering::SeqCst);
            if extended && !self.ipv6 && !reached && may_change_door(&error, self.door.known.load(Ordering::SeqCst)) {
                extended = false;
                continue;
            }
            return match error {
                FtpError::UnexpectedResponse(response) if reached => {
                    let reply = Reply::of(response);
                    let refused = scene.refused(&reply);
                    if refused.class() == Class::Tls && self.offers_tls_1_3 {
                        return Err(self.step_down(refused));
                    }
                    // Whether the session goes on is the same question as for any other refusal.
                    self.in_step = scene.refused(&reply).keeps_session();
                    Ok(Opened::Refused(reply))
                }
                error => {
                    let error = self.unopened(scene, error, reached);
                    self.in_step = error.keeps_session();
                    Err(error)
                }
            };
        }
    }

    async fn attempt(&mut self, scene: Scene<'_>, line: &[u8], offset: u64, extended: bool) -> Result<Result<Box<Transfer>, FtpError>, SourceError> {
        self.door.known.store(false, Ordering::SeqCst);
        self.door.open.store(false, Ordering::SeqCst);
        self.ftp.set_mode(if extended { Mode::ExtendedPassive } else { Mode::Passive });
        let limits = self.account.limits;
        let opening = async {
            if offset > 0 {
                let offset = usize::try_from(offset).map_err(|error| FtpError::ConnectionError(std::io::Error::other(error)))?;
                self.ftp.resume_transfer(offset).await?;
            }
            self.ftp.custom_data_command(bytewise(line), &[Status::AboutToSend, Status::AlreadyOpen]).await
        };
        match timeout(limits.connect + limits.command, opening).await {
            Err(_) => Err(scene.fault(Class::Stalled, "the server did not begin the transfer in time")),
            Ok(opened) => Ok(opened.map(|(_, transfer)| Box::new(transfer))),
        }
    }

    fn unopened(&self, scene: Scene<'_>, error: FtpError, reached: bool) -> SourceError {
        match error {
            FtpError::ConnectionError(error) if !reached && self.door.known.load(Ordering::SeqCst) => scene.fault(
                Class::Connect,
                format!("the data port that the server named cannot be reached ({error}); a firewall between may block its passive ports"),
            ),
            FtpError::SecureError(text) => match self.connector.as_ref().and_then(Connector::refusal) {
                Some(refusal) => scene.fault(Class::Tls, refusal),
                None => scene.fault(Class::Tls, format!("encrypting the data connection: {text}")),
            },
            // A crash of proftpd 1.3.8 in its second TLS 1.3 data handshake looks like this.
            FtpError::ConnectionError(error) if reached && self.connector.is_some() => {
                self.step_down(scene.fault(Class::Connect, format!("encrypting the data connection: {error}")))
            }
            error => scene.broken(error),
        }
    }

    /// After trouble with an encrypted data connection: some servers cannot take up TLS 1.3 sessions there. The next
    /// login offers TLS 1.2 at most, unless this one did so already.
    pub fn step_down(&self, error: SourceError) -> SourceError {
        if !self.offers_tls_1_3 || !matches!(error.class(), Class::Tls | Class::Connect) {
            return error;
        }
        if !self.account.wants_tls_1_2.swap(true, Ordering::Relaxed) {
            let text = crate::model::chain(&error);
            tracing::warn!(server = %self.account.address, error = text, "Data connections in TLS 1.3 fail here: trying TLS 1.2. `tls_max_version = \"1.2\"` spares the attempt.");
        }
        error.transient(true)
    }

    /// Reads the closing reply, in `Limits::finish`; `None` when none came.
    pub async fn closing(&mut self, transfer: Transfer) -> Option<Result<(), FtpError>> {
        timeout(self.account.limits.finish, transfer.finish()).await.ok()
    }

    /// [`Client::closing`] of a listing: what the server says of its completeness, if it is one that does.
    pub async fn closing_of_listing(&mut self, transfer: Transfer) -> Option<Result<Option<Reply>, FtpError>> {
        if !self.cuts_listings {
            return self.closing(transfer).await.map(|closed| closed.map(|()| None));
        }
        timeout(self.account.limits.finish, self.closing_words(transfer)).await.ok()
    }

    /// The library throws the text of a closing reply away, but hands out that of every other one. So another
    /// command is sent, the closing reply is read as the reply to that, and the last one as the closing reply.
    async fn closing_words(&mut self, mut transfer: Transfer) -> Result<Option<Reply>, FtpError> {
        // The server waits for our end of an encrypted connection; one that is gone already is as good.
        drop(transfer.shutdown().await);
        let response = match self.ftp.custom_command("NOOP", &[]).await {
            Ok(response) | Err(FtpError::UnexpectedResponse(response)) => response,
            Err(error) => return Err(error),
        };
        match transfer.finish().await {
            Ok(()) | Err(FtpError::UnexpectedResponse(_)) => {}
            Err(error) => return Err(error),
        }
        if matches!(response.status, Status::ClosingDataConnection | Status::RequestedFileActionOk) {
            Ok(Some(Reply::of(response)))
        } else {
            Err(FtpError::UnexpectedResponse(response))
        }
    }

    /// Whether the next data connections are of which only the beginning may be wanted.
    pub fn narrow(&self, narrow: bool) {
        self.door.narrow.store(narrow, Ordering::SeqCst);
    }

    /// How its connections are encrypted, if they are.
    pub fn handshakes(&self) -> Option<Handshakes> {
        self.connector.as_ref().map(Connector::handshakes)
    }

    /// Whether data connections are encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.connector.is_some()
    }

    /// Says good-bye if the connection still listens.
    pub async fn quit(mut self) {
        if self.in_step {
            let scene = Scene { op: Op::Connect, address: "", path: None };
            let farewell = timeout(Duration::from_secs(2), self.command(scene, b"QUIT")).await;
            tracing::trace!(answered = farewell.is_ok_and(|reply| reply.is_ok()), "Said good-bye.");
        }
    }
}

/// Whether another passive command may do what this one could not.
fn may_change_door(error: &FtpError, known: bool) -> bool {
    match error {
        // The server named a port that cannot be reached, and waits for the next command.
        FtpError::ConnectionError(_) => known,
        FtpError::UnexpectedResponse(response) => {
            !known && response.status != Status::NotAvailable && !response.body.windows(4).any(|w| w == b"OOPS")
        }
        FtpError::BadResponse => !known,
        _ => false,
    }
}

/// `verb /path` as bytes.
pub fn with_path(verb: &str, path: &RemotePath) -> Vec<u8> {
    [verb.as_bytes(), b" ", path.as_bytes()].concat()
}

/// Every address of the host, the name service's first choice first.
async fn addresses(account: &Account) -> Result<Vec<SocketAddr>, SourceError> {
    let scene = account.scene(Op::Connect);
    let (host, port) = account.proxy.as_ref().map_or((account.host.as_str(), account.port), |proxy| (proxy.host.as_str(), proxy.port));
    match timeout(account.limits.connect, tokio::net::lookup_host((host, port))).await {
        Err(_) => Err(scene.fault(Class::Dns, "the name service did not answer in time")),
        Ok(Err(error)) => Err(scene.fault(Class::Dns, error.to_string())),
        Ok(Ok(addresses)) => Ok(addresses.collect()),
    }
}

fn late(what: &str) -> FtpError {
    FtpError::ConnectionError(std::io::Error::new(std::io::ErrorKind::TimedOut, what))
}

/// A connection that has been greeted, encrypted as the settings want it: never less than that.
async fn secured(account: &Account, peer: SocketAddr, tls: Option<Connector>) -> Result<AsyncRustlsFtpStream, FtpError> {
    let limits = account.limits;
    if let (Some(tls), Security::Implicit(_)) = (&tls, &account.security) {
        let tls = tls.clone().through(account.proxy.as_ref().map(|proxy| (proxy.clone(), account.host.clone(), account.port)));
        let opening = AsyncRustlsFtpStream::connect_secure_implicit(peer, tls, &account.host);
        return timeout(limits.connect + limits.command, opening).await.map_err(|_| late("no connection and greeting in time"))?;
    }
    let connecting = async {
        let mut stream = TcpStream::connect(peer).await?;
        stream.set_nodelay(true)?;
        if let Some(proxy) = &account.proxy {
            proxy.tunnel(&mut stream, &account.host, account.port).await?;
        }
        Ok(stream)
    };
    let stream = timeout(limits.connect, connecting).await.map_err(|_| late("no connection in time"))?.map_err(FtpError::ConnectionError)?;
    let greeting = async {
        let ftp = AsyncRustlsFtpStream::connect_with_stream(stream).await?;
        match tls {
            Some(tls) => ftp.into_secure(tls, &account.host).await,
            None => Ok(ftp),
        }
    };
    timeout(limits.command, greeting).await.map_err(|_| late("the server did not greet in time"))?
}

fn unsecured(scene: Scene<'_>, error: FtpError, tls: Option<&Connector>) -> SourceError {
    match (error, tls) {
        (FtpError::SecureError(text), Some(tls)) => {
            let cause = tls.refusal().unwrap_or_else(|| format!("{text}; does the server speak TLS on this port?"));
            scene.fault(Class::Tls, cause)
        }
        (FtpError::UnexpectedResponse(response), Some(_)) => {
            let reply = Reply::of(response);
            match reply.code {
                500..=599 | 431 if !reply.says(&["oops"]) => {
                    scene.fault(Class::Tls, format!("the server refuses TLS ({}), and clear text is not an option", reply.text()))
                }
                _ => scene.refused(&reply),
            }
        }
        (error, _) => scene.broken(error),
    }
}

type Knock = std::pin::Pin<Box<dyn Future<Output = Result<TcpStream, FtpError>> + Send + Sync>>;

/// Connects to a data port, and notes how far it came.
fn knock(door: Arc<Door>, account: Arc<Account>) -> impl Fn(SocketAddr) -> Knock + Send + Sync + 'static {
    move |address| {
        let (door, account) = (door.clone(), account.clone());
        Box::pin(async move {
            door.known.store(true, Ordering::SeqCst);
            let connecting = async {
                match &account.proxy {
                    // The library takes the proxy for the server; only the port is the server's.
                    Some(proxy) => proxy.connect(&account.host, address.port()).await,
                    None => connect(address, door.narrow.load(Ordering::SeqCst)).await,
                }
            };
            let stream =
                timeout(account.limits.connect, connecting).await.map_err(|_| late("no connection in time"))?.map_err(FtpError::ConnectionError)?;
            door.open.store(true, Ordering::SeqCst);
            Ok(stream)
        })
    }
}

/// What the server may send ahead of us on a narrow data connection, in bytes: it is thrown away when enough has come.
const NARROW_BYTES: u32 = 32 << 10;

async fn connect(address: SocketAddr, narrow: bool) -> std::io::Result<TcpStream> {
    if !narrow {
        return TcpStream::connect(address).await;
    }
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_recv_buffer_size(NARROW_BYTES)?;
    socket.connect(address).await
}
