//! From a command to its data connection, and on to the closing reply.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::either::Either;

use super::client::FtpClient;
use super::control::FtpStream;
use super::fault::{Broken, FEW_PORTS, FtpReply, Scene};
use super::passive::Door;
use super::tls::Connector;
use crate::failpoint::safeguard_off;
use crate::model::failure::{Class, Failure};
use crate::source::contract::SourceError;

/// How long a refusal may take to follow the end of the data connection that it is about.
const REPLY_COMES: Duration = Duration::from_secs(1);
/// So long the reply that announces encrypted data is waited for before encryption begins without
/// it: the server may send none, or send it when the connection is encrypted.
const ANNOUNCED: Duration = Duration::from_secs(1);

/// A data connection.
#[derive(Debug)]
pub(crate) struct FtpTransfer {
    stream: FtpStream,
    beginning: TransferStart,
    /// Whether a byte was read.
    has_data: bool,
}

/// How a transfer began.
#[derive(Debug)]
enum TransferStart {
    /// With the reply that announces data.
    Said,
    /// With data, or with their encryption.
    Unsaid,
    /// With data, and with this reply, which ends the transfer.
    Ended(FtpReply),
}

impl AsyncRead for FtpTransfer {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.has_data |= buf.filled().len() > before;
        polled
    }
}

/// What came of a command that opens a data connection.
pub(crate) enum FtpOpened {
    /// Data flows.
    Data(Box<FtpTransfer>),
    /// The server refused; the control connection waits for the next command.
    Refused(FtpReply),
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

impl FtpClient {
    /// Sends a line that opens a data connection, by `EPSV` or else by `PASV`.
    pub async fn transfer(
        &mut self,
        scene: Scene<'_>,
        line: &[u8],
        offset: u64,
    ) -> Result<FtpOpened, SourceError> {
        self.begin(scene)?;
        let limits = self.account.limits;
        let mut extended = self.extended();
        loop {
            let opening =
                timeout(limits.connect + limits.command, self.opened(line, offset, extended)).await;
            let opened = opening.map_err(|_| {
                self.doubt_passive(extended);
                scene.fault(Class::Stalled, "the server did not begin the transfer in time")
            })?;
            let (stage, error) = match opened {
                Ok(transfer) => {
                    self.account.learned.wants_pasv.store(!extended, Ordering::Relaxed);
                    self.account.learned.ports_open.store(true, Ordering::Relaxed);
                    return Ok(FtpOpened::Data(Box::new(transfer)));
                }
                Err(stuck) => stuck,
            };
            if stage == Stage::Asking && matches!(error, Broken::Io(_)) {
                self.doubt_passive(extended);
            }
            if extended && !self.ipv6 && may_change_door(&error, stage) {
                extended = false;
                continue;
            }
            if matches!(stage, Stage::Asking | Stage::Connecting) {
                // The command that is at stake was not sent.
                self.at_stake.clear();
            }
            return self.not_opened(scene, stage, error);
        }
    }

    /// The connection broke, or nothing came, where no data connection was opened yet: a firewall
    /// between, or the server itself, may not stand this passive command. The next connection asks
    /// by the other one.
    fn doubt_passive(&self, extended: bool) {
        let learned = &self.account.learned;
        if !self.ipv6 && !learned.ports_open.load(Ordering::Relaxed) {
            let (failed, next) = if extended { ("EPSV", "PASV") } else { ("PASV", "EPSV") };
            tracing::debug!(server = %self.account.address, failed, next, "No answer to a passive \
                command: the next connection asks by the other one.");
            learned.wants_pasv.store(extended, Ordering::Relaxed);
        }
    }

    fn not_opened(
        &mut self,
        scene: Scene<'_>,
        stage: Stage,
        error: Broken,
    ) -> Result<FtpOpened, SourceError> {
        match error {
            Broken::Refused(reply) if stage == Stage::Reached => {
                let refused = scene.refused(&reply);
                if refused.class() == Class::Tls && self.offers_tls_1_3 {
                    return Err(self.step_down(refused));
                }
                // Whether the session goes on is the same question as for any other refusal.
                self.in_step = refused.keeps_session();
                Ok(FtpOpened::Refused(reply))
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
    ) -> Result<FtpTransfer, Stuck> {
        let door = match self.ahead.take().filter(|door| door.serves(extended)) {
            Some(door) => door,
            None => {
                let reply =
                    self.control.ask(Door::command(extended)).await.map_err(at(Stage::Asking))?;
                Door::named(reply, extended).map_err(at(Stage::Asking))?
            }
        };
        let (data, beginning) = if offset == 0 && self.hurries() {
            self.enter_at_once(line, door).await?
        } else {
            self.enter(line, offset, door).await?
        };
        let beginning = self.believed(&data, beginning).await?;
        let (stream, beginning) = self.encrypted(data, beginning).await?;
        Ok(FtpTransfer { stream, beginning, has_data: false })
    }

    /// The data connection as it is to be read. Where no reply announced the transfer, one may come
    /// while the connection is encrypted.
    async fn encrypted(
        &mut self,
        data: TcpStream,
        beginning: TransferStart,
    ) -> Result<(FtpStream, TransferStart), Stuck> {
        let Some(tls) = &self.connector else { return Ok((Either::Left(data), beginning)) };
        let handshake = tls.connect(data);
        tokio::pin!(handshake);
        let mut beginning = beginning;
        if matches!(beginning, TransferStart::Unsaid) {
            let answer = self.control.reply();
            tokio::pin!(answer);
            tokio::select! {
                biased;
                stream = &mut handshake => match stream {
                    Ok(stream) => {
                        self.account.learned.encrypts_first.store(true, Ordering::Relaxed);
                        return Ok((Either::Right(stream), beginning));
                    }
                    Err(error) => {
                        // A refusal tells more.
                        if let Ok(reply) = timeout(REPLY_COMES, answer).await {
                            announced(reply)?;
                        }
                        return Err((Stage::Reached, error));
                    }
                },
                reply = &mut answer => beginning = announced(reply)?,
            }
        }
        let stream = handshake.await.map_err(at(Stage::Reached))?;
        Ok((Either::Right(stream), beginning))
    }

    /// The end of a transfer that was not announced is believed if there are data, or if this
    /// server is known to announce none: it may answer an earlier question.
    async fn believed(
        &self,
        data: &TcpStream,
        beginning: TransferStart,
    ) -> Result<TransferStart, Stuck> {
        match beginning {
            TransferStart::Ended(reply)
                if self.connector.is_some()
                    || !(bytes_come(data).await
                        || self.account.learned.begins_unsaid.load(Ordering::Relaxed)) =>
            {
                Err((Stage::Reached, Broken::Refused(reply)))
            }
            beginning => Ok(beginning),
        }
    }

    /// Connects, then asks for the data.
    async fn enter(
        &mut self,
        line: &[u8],
        offset: u64,
        door: Door,
    ) -> Result<(TcpStream, TransferStart), Stuck> {
        let data = door
            .enter(self.peer, &self.account, self.wanted)
            .await
            .map_err(Broken::Io)
            .map_err(at(Stage::Connecting))?;
        if offset > 0 {
            self.control
                .expect(format!("REST {offset}").as_bytes(), RESTARTS)
                .await
                .map_err(at(Stage::Reached))?;
        }
        self.control.send(&[line]).await.map_err(at(Stage::Reached))?;
        let unsaid = self.unsaid();
        let beginning = tokio::select! {
            biased;
            reply = self.control.reply() => begun(reply)?,
            () = unsaid.begins(&data) => TransferStart::Unsaid,
        };
        Ok((data, beginning))
    }

    /// Asks for the data while it connects: one round trip less. If the port cannot be reached
    /// after all, the server waits for us there, and this control connection is lost.
    async fn enter_at_once(
        &mut self,
        line: &[u8],
        door: Door,
    ) -> Result<(TcpStream, TransferStart), Stuck> {
        let account = self.account.clone();
        self.control.send(&[line]).await.map_err(at(Stage::Reached))?;
        let entering = async {
            let entered = door.enter(self.peer, &account, self.wanted).await;
            if let Err(error) = &entered {
                // From now on nothing is taken for granted: something on the way may want to see
                // one thing at a time.
                account.learned.one_by_one.store(true, Ordering::Relaxed);
                // A server that refuses may drop the connection before its reply is here: the
                // reply ends both, and tells more.
                if error.kind() == std::io::ErrorKind::ConnectionReset {
                    tokio::time::sleep(REPLY_COMES).await;
                }
            }
            entered.map_err(Broken::Io).map_err(at(Stage::ConnectingLate))
        };
        let unsaid = self.unsaid();
        let answer = self.control.reply();
        tokio::pin!(entering, answer);
        let judged = |reply: Result<FtpReply, Broken>| {
            if matches!(&reply, Ok(reply) if reply.code == NOT_CONNECTED) {
                // It may be one that does not wait for us.
                account.learned.one_by_one.store(true, Ordering::Relaxed);
            }
            begun(reply)
        };
        tokio::select! {
            biased;
            reply = &mut answer => {
                let beginning = judged(reply)?;
                Ok((entering.await?, beginning))
            }
            data = &mut entering => {
                let data = data?;
                let beginning = tokio::select! {
                    biased;
                    reply = &mut answer => judged(reply)?,
                    () = unsaid.begins(&data) => TransferStart::Unsaid,
                };
                Ok((data, beginning))
            }
        }
    }

    /// When a transfer begins that no reply announces.
    fn unsaid(&self) -> UnsaidStart {
        if self.connector.is_none() {
            UnsaidStart::WithData
        } else if self.account.learned.encrypts_first.load(Ordering::Relaxed) {
            UnsaidStart::After(Duration::ZERO)
        } else {
            UnsaidStart::After(ANNOUNCED)
        }
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
            // It says nothing of the file or folder that was to come.
            (Broken::Refused(reply), Stage::Asking) => refused_port(scene, &reply),
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
    pub(crate) fn step_down(&self, error: SourceError) -> SourceError {
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
    pub async fn closing(&mut self, mut transfer: FtpTransfer) -> Option<Result<FtpReply, Broken>> {
        let closing = async {
            // The server waits for our end of an encrypted connection; one that is gone already is
            // as good.
            drop(transfer.stream.shutdown().await);
            let FtpTransfer { stream, beginning, has_data } = transfer;
            drop(stream);
            let (said, mut reply) = match beginning {
                // A server that announces this transfer all the same has ended another one.
                TransferStart::Ended(_) if self.control.has_more() => {
                    (true, self.control.reply().await?)
                }
                TransferStart::Ended(reply) => (false, reply),
                TransferStart::Said => (true, self.control.reply().await?),
                TransferStart::Unsaid => {
                    let reply = self.control.reply().await?;
                    let said = (100..200).contains(&reply.code);
                    let known = self.account.learned.begins_unsaid.load(Ordering::Relaxed);
                    if !said && self.connector.is_some() && !has_data && !known {
                        // It may be about an earlier transfer.
                        return Err(Broken::Refused(reply));
                    }
                    (said, reply)
                }
            };
            if !said {
                self.account.learned.begins_unsaid.store(true, Ordering::Relaxed);
            }
            // Some tell how far they are, or that they began once more.
            while (100..200).contains(&reply.code) {
                reply = self.control.reply().await?;
            }
            let is_done =
                matches!(reply.code, 200 | 225 | 226 | 250) || safeguard_off!("closing-reply");
            if is_done { Ok(reply) } else { Err(Broken::Refused(reply)) }
        };
        timeout(self.account.limits.finish, closing).await.ok()
    }
}

/// The replies to REST that are no refusal: 350 by the standard.
const RESTARTS: &[u32] = &[350, 200, 250];
/// The replies that begin a transfer.
const BEGINS: &[u32] = &[125, 150];
/// The reply of a server that found nobody at the data port (RFC 959 §4.2).
const NOT_CONNECTED: u32 = 425;

/// What a reply to a command for a transfer begins.
fn begun(reply: Result<FtpReply, Broken>) -> Result<TransferStart, Stuck> {
    let reply = reply.map_err(at(Stage::Reached))?;
    match reply.code {
        code if BEGINS.contains(&code) => Ok(TransferStart::Said),
        226 | 250 => Ok(TransferStart::Ended(reply)),
        _ => Err((Stage::Reached, Broken::Refused(reply))),
    }
}

/// What a reply begins that comes while the data connection is encrypted. One that ends the
/// transfer may be about an earlier one.
fn announced(reply: Result<FtpReply, Broken>) -> Result<TransferStart, Stuck> {
    match begun(reply)? {
        TransferStart::Ended(reply) => Err((Stage::Reached, Broken::Refused(reply))),
        beginning => Ok(beginning),
    }
}

/// When a transfer begins that no reply announces.
#[derive(Clone, Copy, Debug)]
enum UnsaidStart {
    /// With its first byte.
    WithData,
    /// After so long: the server waits for encryption.
    After(Duration),
}

impl UnsaidStart {
    /// Returns when it begins.
    async fn begins(self, data: &TcpStream) {
        match self {
            UnsaidStart::WithData if bytes_come(data).await => {}
            UnsaidStart::WithData => std::future::pending().await,
            UnsaidStart::After(time) => tokio::time::sleep(time).await,
        }
    }
}

/// Whether a byte comes before the connection ends.
async fn bytes_come(data: &TcpStream) -> bool {
    matches!(data.peek(&mut [0]).await, Ok(1))
}

fn at(stage: Stage) -> impl Fn(Broken) -> Stuck {
    move |error| (stage, error)
}

/// What the refusal of the last passive command means.
fn refused_port(scene: Scene<'_>, reply: &FtpReply) -> SourceError {
    let text = reply.text();
    let why = format!("the server opens no port for data: {text}");
    match reply.code {
        _ if reply.dying() => scene.refused(reply),
        500..=504 | 550..=559 if reply.not_understood() || reply.denies() => {
            let why = format!("{why}; this program needs passive mode (EPSV or PASV)");
            scene.fault(Class::Protocol, why).session_survives()
        }
        550..=559 => scene.fault(Class::Busy, format!("{why}; {FEW_PORTS}")).session_survives(),
        _ => scene.refused(reply),
    }
}

/// Whether another passive command may do what this one could not.
fn may_change_door(error: &Broken, stage: Stage) -> bool {
    match (error, stage) {
        // The server named a port that cannot be reached, and waits for the next command.
        (Broken::Io(_), Stage::Connecting) => true,
        // 226 and 250 answer an earlier command.
        (Broken::Refused(reply), Stage::Asking) => {
            !matches!(reply.code, 421 | 226 | 250) && !reply.dying()
        }
        (Broken::Nonsense(_), Stage::Asking) => true,
        _ => false,
    }
}
