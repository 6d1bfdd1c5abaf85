//! One control connection at work: asked one thing at a time or several at once, never for longer
//! than allowed.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::either::Either;

use super::account::Account;
use super::control::{Control, Stream};
use super::fault::{Broken, Reply, Scene};
use super::passive::Door;
use super::tls::{Connector, Handshakes, MaxVersion};
use super::wire::with_path;
use crate::failure::{Class, Failure};
use crate::model::RemotePath;
use crate::source::contract::{Op, SourceError};

/// How long the second reply of several may keep us waiting, as long as nobody knows whether the
/// server reads more than one command at a time.
const DOUBT: Duration = Duration::from_secs(10);

/// A data connection.
#[derive(Debug)]
pub struct Transfer(Stream);

impl AsyncRead for Transfer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

/// What came of a command that opens a data connection.
pub enum Opened {
    /// Data flows.
    Data(Box<Transfer>),
    /// The server refused; the control connection waits for the next command.
    Refused(Reply),
}

/// How far we came on the way to a data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The server named no port yet.
    Asking,
    /// It named one, which was not reached yet.
    Connecting,
    /// As [`Stage::Connecting`], with the command for the transfer sent already.
    ConnectingLate,
    /// The port was reached, or the command for the transfer was answered.
    Reached,
}

/// Where it ended, and why.
type Stuck = (Stage, Broken);

/// A logged-in control connection.
pub struct Client {
    pub(super) control: Control,
    /// Whose connection this is.
    pub account: Arc<Account>,
    /// What the control connection leads to: the server or a proxy.
    peer: SocketAddr,
    pub(super) connector: Option<Connector>,
    /// Whether TLS 1.3 was offered.
    offers_tls_1_3: bool,
    ipv6: bool,
    /// Whether the server told of `MLST`, and has not taken it back.
    pub machine_listings: bool,
    /// The lines of its answer to FEAT.
    pub features: Vec<String>,
    /// False from the first byte of a question to the last of its answer, so that a question
    /// that was given up half-way leaves a mark.
    in_step: bool,
    /// How many bytes of the next data connection are wanted, if not all that the server sends.
    wanted: Option<u64>,
    /// Whether a file was read since a port was last asked for ahead: after one, there usually is
    /// another.
    reading: bool,
    /// The port for the next transfer, asked for with something else.
    ahead: Option<Door>,
}

impl Client {
    /// On a control connection to `peer` that was greeted.
    pub(super) fn new(
        control: Control,
        account: Arc<Account>,
        peer: SocketAddr,
        connector: Option<Connector>,
    ) -> Self {
        // Behind a proxy, nobody knows.
        let ipv6 = account.proxy.is_none() && peer.is_ipv6() && !peer.ip().to_canonical().is_ipv4();
        let offers_tls_1_3 =
            connector.as_ref().is_some_and(|tls| tls.max_version == MaxVersion::V1_3);
        Self {
            control,
            account,
            peer,
            connector,
            offers_tls_1_3,
            ipv6,
            machine_listings: false,
            features: Vec::new(),
            in_step: true,
            wanted: None,
            reading: false,
            ahead: None,
        }
    }

    fn begin(&mut self, scene: Scene<'_>) -> Result<(), SourceError> {
        if !self.in_step {
            return Err(scene.fault(
                Class::Connect,
                "an earlier question on this connection was given up half-way",
            ));
        }
        self.in_step = false;
        self.control.quiet(scene)
    }

    /// A transfer has ended with the server's own word: the connection is free for the next
    /// question.
    pub fn back_in_step(&mut self) {
        self.in_step = true;
    }

    /// Sends one line and reads the reply to it, whatever it says, but 421: that is the end.
    pub async fn command(&mut self, scene: Scene<'_>, line: &[u8]) -> Result<Reply, SourceError> {
        let reply = self.commands(scene, &[line]).await?.pop();
        reply.ok_or_else(|| scene.unanswered())
    }

    /// [`Client::command`] for several lines that do not depend on each other: as many replies. All
    /// are on their way at once, unless this server was found to read one at a time.
    pub async fn commands(
        &mut self,
        scene: Scene<'_>,
        lines: &[impl AsRef<[u8]>],
    ) -> Result<Vec<Reply>, SourceError> {
        self.begin(scene)?;
        let together = lines.len() > 1 && !self.account.learned.one_by_one.load(Ordering::Relaxed);
        let replies = if together {
            self.together(scene, lines).await?
        } else {
            self.in_turn(scene, lines).await?
        };
        // One reply too many among these: some of them answer other questions.
        self.control.quiet(scene)?;
        self.in_step = true;
        Ok(replies)
    }

    async fn in_turn(
        &mut self,
        scene: Scene<'_>,
        lines: &[impl AsRef<[u8]>],
    ) -> Result<Vec<Reply>, SourceError> {
        let mut replies = Vec::with_capacity(lines.len());
        for line in lines {
            replies.push(
                answer(scene, self.account.limits.command, self.control.ask(line.as_ref())).await?,
            );
        }
        Ok(replies)
    }

    async fn together(
        &mut self,
        scene: Scene<'_>,
        lines: &[impl AsRef<[u8]>],
    ) -> Result<Vec<Reply>, SourceError> {
        let account = self.account.clone();
        let known = account.learned.takes_many.load(Ordering::Relaxed);
        let patience = account.limits.command;
        let exchange = async {
            let first = async {
                self.control.send(lines).await?;
                self.control.reply().await
            };
            let mut replies = vec![answer(scene, patience, first).await?];
            while replies.len() < lines.len() {
                let patience = if known { patience } else { patience.min(DOUBT) };
                replies.push(answer(scene, patience, self.control.reply()).await?);
            }
            Ok(replies)
        };
        let replies: Result<Vec<Reply>, SourceError> = exchange.await;
        match &replies {
            Ok(_) => account.learned.takes_many.store(true, Ordering::Relaxed),
            // It may be anything; but the next try must not depend on this.
            Err(error) if !known && error.class() != Class::Busy => {
                tracing::debug!(server = %account.address, error = crate::model::chain(error), "Several \
                    commands at once were not answered: from now on they are sent one by one.");
                account.learned.one_by_one.store(true, Ordering::Relaxed);
            }
            Err(_) => {}
        }
        replies
    }

    /// [`Client::commands`]; between two files, the port for the next one is asked for with them.
    pub async fn commands_between_reads(
        &mut self,
        scene: Scene<'_>,
        mut lines: Vec<Vec<u8>>,
    ) -> Result<Vec<Reply>, SourceError> {
        let extended = self.extended();
        let asks = std::mem::take(&mut self.reading)
            && self.hurries()
            && self.ahead.is_none_or(|door| !door.serves(extended));
        if asks {
            lines.push(Door::command(extended).to_vec());
        }
        let mut replies = self.commands(scene, &lines).await?;
        if asks && let Some(reply) = replies.pop() {
            self.ahead = Door::named(reply, extended).ok();
        }
        Ok(replies)
    }

    /// Files are likely to be read next.
    pub fn will_read(&mut self) {
        self.reading = true;
    }

    fn extended(&self) -> bool {
        self.ipv6 || !self.account.learned.wants_pasv.load(Ordering::Relaxed)
    }

    /// Whether the way to data connections is known well enough to do things on it before others
    /// have ended.
    fn hurries(&self) -> bool {
        let learned = &self.account.learned;
        learned.ports_open.load(Ordering::Relaxed) && !learned.one_by_one.load(Ordering::Relaxed)
    }

    /// `verb` with a path, byte for byte.
    pub async fn ask(
        &mut self,
        scene: Scene<'_>,
        verb: &str,
        path: &RemotePath,
    ) -> Result<Reply, SourceError> {
        self.command(scene, &with_path(verb, path)).await
    }

    /// Sends a line that opens a data connection, by `EPSV` or else by `PASV`.
    pub async fn transfer(
        &mut self,
        scene: Scene<'_>,
        line: &[u8],
        offset: u64,
    ) -> Result<Opened, SourceError> {
        self.begin(scene)?;
        let limits = self.account.limits;
        let mut extended = self.extended();
        loop {
            let opening =
                timeout(limits.connect + limits.command, self.opened(line, offset, extended)).await;
            let opened = opening.map_err(|_| {
                scene.fault(Class::Stalled, "the server did not begin the transfer in time")
            })?;
            let (stage, error) = match opened {
                Ok(transfer) => {
                    self.account.learned.wants_pasv.store(!extended, Ordering::Relaxed);
                    self.account.learned.ports_open.store(true, Ordering::Relaxed);
                    return Ok(Opened::Data(Box::new(transfer)));
                }
                Err(stuck) => stuck,
            };
            if extended && !self.ipv6 && may_change_door(&error, stage) {
                extended = false;
                continue;
            }
            return self.not_opened(scene, stage, error);
        }
    }

    fn not_opened(
        &mut self,
        scene: Scene<'_>,
        stage: Stage,
        error: Broken,
    ) -> Result<Opened, SourceError> {
        match error {
            Broken::Refused(reply) if stage == Stage::Reached => {
                let refused = scene.refused(&reply);
                if refused.class() == Class::Tls && self.offers_tls_1_3 {
                    return Err(self.step_down(refused));
                }
                // Whether the session goes on is the same question as for any other refusal.
                self.in_step = refused.keeps_session();
                Ok(Opened::Refused(reply))
            }
            error => {
                let error = self.unopened(scene, error, stage);
                self.in_step = error.keeps_session();
                Err(error)
            }
        }
    }

    async fn opened(
        &mut self,
        line: &[u8],
        offset: u64,
        extended: bool,
    ) -> Result<Transfer, Stuck> {
        let door = match self.ahead.take().filter(|door| door.serves(extended)) {
            Some(door) => door,
            None => {
                let reply =
                    self.control.ask(Door::command(extended)).await.map_err(at(Stage::Asking))?;
                Door::named(reply, extended).map_err(at(Stage::Asking))?
            }
        };
        let data = if offset == 0 && self.hurries() {
            self.enter_at_once(line, door).await?
        } else {
            self.enter(line, offset, door).await?
        };
        Ok(Transfer(match &self.connector {
            Some(tls) => Either::Right(tls.connect(data).await.map_err(at(Stage::Reached))?),
            None => Either::Left(data),
        }))
    }

    /// Connects, then asks for the data.
    async fn enter(&mut self, line: &[u8], offset: u64, door: Door) -> Result<TcpStream, Stuck> {
        let data = door
            .enter(self.peer, &self.account, self.wanted)
            .await
            .map_err(Broken::Io)
            .map_err(at(Stage::Connecting))?;
        if offset > 0 {
            self.control
                .expect(format!("REST {offset}").as_bytes(), &[350])
                .await
                .map_err(at(Stage::Reached))?;
        }
        self.control.expect(line, BEGINS).await.map_err(at(Stage::Reached))?;
        Ok(data)
    }

    /// Asks for the data while it connects: one round trip less. If the port cannot be reached
    /// after all, the server waits for us there, and this control connection is lost.
    async fn enter_at_once(&mut self, line: &[u8], door: Door) -> Result<TcpStream, Stuck> {
        let account = self.account.clone();
        self.control.send(&[line]).await.map_err(at(Stage::Reached))?;
        let entering = async {
            let entered = door.enter(self.peer, &account, self.wanted).await;
            if entered.is_err() {
                // From now on nothing is taken for granted: something on the way may want to see
                // one thing at a time.
                account.learned.one_by_one.store(true, Ordering::Relaxed);
            }
            entered.map_err(Broken::Io).map_err(at(Stage::ConnectingLate))
        };
        let begun = async {
            let reply = self.control.reply().await.map_err(at(Stage::Reached))?;
            if BEGINS.contains(&reply.code) {
                return Ok(());
            }
            if reply.code == NOT_CONNECTED {
                // It may be one that does not wait for us.
                account.learned.one_by_one.store(true, Ordering::Relaxed);
            }
            Err((Stage::Reached, Broken::Refused(reply)))
        };
        tokio::try_join!(entering, begun).map(|(data, ())| data)
    }

    fn unopened(&self, scene: Scene<'_>, error: Broken, stage: Stage) -> SourceError {
        match (error, stage) {
            (Broken::Io(error), Stage::Connecting | Stage::ConnectingLate) => scene.fault(
                Class::Connect,
                format!(
                    "the data port that the server named cannot be reached ({error}); a \
                    firewall between may block its passive ports"
                ),
            ),
            (Broken::Tls(text), _) => match self.connector.as_ref().and_then(Connector::refusal) {
                Some(refusal) => scene.fault(Class::Tls, refusal),
                None => scene.fault(Class::Tls, format!("encrypting the data connection: {text}")),
            },
            // A crash of proftpd 1.3.8 in its second TLS 1.3 data handshake looks like this.
            (Broken::Io(error), Stage::Reached) if self.connector.is_some() => {
                self.step_down(scene.fault(
                    Class::Connect,
                    format!(
                        "encrypting the data \
                    connection: {error}"
                    ),
                ))
            }
            (error, _) => scene.broken(error),
        }
    }

    /// After trouble with an encrypted data connection: some servers cannot take up TLS 1.3
    /// sessions there. The next login offers TLS 1.2 at most, unless this one did so already.
    pub fn step_down(&self, error: SourceError) -> SourceError {
        if !self.offers_tls_1_3 || !matches!(error.class(), Class::Tls | Class::Connect) {
            return error;
        }
        if !self.account.learned.wants_tls_1_2.swap(true, Ordering::Relaxed) {
            let text = crate::model::chain(&error);
            tracing::warn!(server = %self.account.address, error = text, "Data connections in TLS \
                1.3 fail here: trying TLS 1.2. `tls_max_version = \"1.2\"` spares the attempt.");
        }
        error.transient(true)
    }

    /// Closes a data connection and reads the closing reply, in `Limits::finish`; `None` when none
    /// came.
    pub async fn closing(&mut self, mut transfer: Transfer) -> Option<Result<Reply, Broken>> {
        let closing = async {
            // The server waits for our end of an encrypted connection; one that is gone already is
            // as good.
            drop(transfer.0.shutdown().await);
            drop(transfer);
            let reply = self.control.reply().await?;
            if matches!(reply.code, 226 | 250) { Ok(reply) } else { Err(Broken::Refused(reply)) }
        };
        timeout(self.account.limits.finish, closing).await.ok()
    }

    /// How many bytes of the next data connections are wanted; `None` is all.
    pub fn want(&mut self, bytes: Option<u64>) {
        self.wanted = bytes;
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

/// The replies that begin a transfer.
const BEGINS: &[u32] = &[125, 150];
/// The reply of a server that found nobody at the data port (RFC 959 §4.2).
const NOT_CONNECTED: u32 = 425;

fn at(stage: Stage) -> impl Fn(Broken) -> Stuck {
    move |error| (stage, error)
}

/// Reads one reply to a question, whatever it says, but 421: that is the end.
async fn answer(
    scene: Scene<'_>,
    patience: Duration,
    reply: impl Future<Output = Result<Reply, Broken>>,
) -> Result<Reply, SourceError> {
    match timeout(patience, reply).await {
        Err(_) => Err(scene.fault(Class::Stalled, "the server did not answer in time")),
        Ok(Err(error)) => Err(scene.broken(error)),
        Ok(Ok(reply)) if reply.code == 421 => Err(scene.refused(&reply)),
        Ok(Ok(reply)) => Ok(reply),
    }
}

/// Whether another passive command may do what this one could not.
fn may_change_door(error: &Broken, stage: Stage) -> bool {
    match (error, stage) {
        // The server named a port that cannot be reached, and waits for the next command.
        (Broken::Io(_), Stage::Connecting) => true,
        (Broken::Refused(reply), Stage::Asking) => reply.code != 421 && !reply.dying(),
        (Broken::Nonsense, Stage::Asking) => true,
        _ => false,
    }
}
