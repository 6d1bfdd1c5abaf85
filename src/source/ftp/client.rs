//! One control connection at work: asked one thing at a time or several at once, never for longer
//! than allowed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::account::{FtpAccount, Presence, TransferType};
use super::control::FtpControl;
use super::fault::{Broken, FtpReply, Scene};
use super::passive::Door;
use super::tls::{Connector, Handshakes, MaxVersion};
use super::wire::with_path;
use crate::model::RemotePath;
use crate::model::failure::{Class, Failure};
use crate::source::contract::{Op, SourceError};

/// How long the second reply of several may keep us waiting, as long as nobody knows whether the
/// server reads more than one command at a time.
const DOUBT: Duration = Duration::from_secs(10);
/// The same where the first reply came at once.
const LEAST_DOUBT: Duration = Duration::from_secs(3);

/// After so long without an answer, a port that waits is connected to.
const RELIEF: Duration = Duration::from_secs(1);

/// A logged-in control connection.
pub(crate) struct FtpClient {
    pub(super) control: FtpControl,
    /// Whose connection this is.
    pub account: Arc<FtpAccount>,
    /// What the control connection leads to: the server or a proxy.
    pub(super) peer: SocketAddr,
    pub(super) connector: Option<Connector>,
    /// Whether TLS 1.3 was offered.
    pub(super) offers_tls_1_3: bool,
    pub(super) ipv6: bool,
    /// Whether the server told of `MLST`, and has not taken it back.
    pub machine_listings: bool,
    /// The lines of its answer to FEAT.
    pub features: Vec<String>,
    /// False from the first byte of a question to the last of its answer, so that a question
    /// that was given up half-way leaves a mark.
    pub(super) in_step: bool,
    /// How many bytes of the next data connection are wanted, if not all that the server sends.
    pub(super) wanted: Option<u64>,
    /// Whether a file was read since a port was last asked for ahead: after one, there usually is
    /// another.
    reading: bool,
    /// The port for the next transfer, asked for with something else.
    pub(super) ahead: Option<Door>,
    /// Where it stands, if paths begin where the login starts or folders are entered one by one.
    pub(super) here: Option<RemotePath>,
    /// How the server was told to transfer files.
    pub(super) transfer_type: TransferType,
    /// That it is logged in.
    pub(super) presence: Option<Presence>,
    /// Commands that the session can do without, of which nobody knows yet whether it survives
    /// them.
    pub(super) at_stake: Vec<&'static [u8]>,
}

impl FtpClient {
    /// On a control connection to `peer` that was greeted.
    pub(super) fn new(
        control: FtpControl,
        account: Arc<FtpAccount>,
        peer: SocketAddr,
        connector: Option<Connector>,
    ) -> Self {
        // Behind a proxy, nobody knows.
        let ipv6 = account.proxy.is_none() && peer.is_ipv6() && !peer.ip().to_canonical().is_ipv4();
        let offers_tls_1_3 =
            connector.as_ref().is_some_and(|tls| tls.max_version == MaxVersion::V1_3);
        let here = account.home.then(|| RemotePath::from("/~"));
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
            here,
            transfer_type: TransferType::Binary,
            presence: None,
            at_stake: Vec::new(),
        }
    }

    pub(super) fn begin(&mut self, scene: Scene<'_>) -> Result<(), SourceError> {
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
    pub(crate) fn back_in_step(&mut self) {
        self.in_step = true;
    }

    /// Sends one line and reads the reply to it, whatever it says, but 421: that is the end.
    pub async fn command(
        &mut self,
        scene: Scene<'_>,
        line: &[u8],
    ) -> Result<FtpReply, SourceError> {
        let reply = self.commands(scene, &[line]).await?.pop();
        reply.ok_or_else(|| scene.unanswered())
    }

    /// [`FtpClient::command`] for several lines that do not depend on each other: as many replies.
    /// All are on their way at once, unless this server was found to read one at a time.
    pub async fn commands(
        &mut self,
        scene: Scene<'_>,
        lines: &[impl AsRef<[u8]>],
    ) -> Result<Vec<FtpReply>, SourceError> {
        self.begin(scene)?;
        let replies = match self.ahead.filter(|_| !self.answers_before_data()) {
            None => self.answered(scene, lines).await?,
            Some(door) => {
                let account = self.account.clone();
                let relieving = relieve(door, self.peer, account.clone());
                let (replies, relieved) = {
                    let asking = self.answered(scene, lines);
                    tokio::pin!(asking, relieving);
                    tokio::select! {
                        biased;
                        replies = &mut asking => (replies?, false),
                        // The connection is held until the answers are there.
                        _stream = &mut relieving => (asking.await?, true),
                    }
                };
                let learned = &account.learned;
                if relieved {
                    self.ahead = None;
                    learned.waits_for_data.store(true, Ordering::Relaxed);
                } else {
                    learned.answers_before_data.store(true, Ordering::Relaxed);
                }
                replies
            }
        };
        // One reply too many among these: some of them answer other questions.
        self.control.quiet(scene)?;
        self.in_step = true;
        Ok(replies)
    }

    fn answers_before_data(&self) -> bool {
        self.account.learned.answers_before_data.load(Ordering::Relaxed)
    }

    async fn answered(
        &mut self,
        scene: Scene<'_>,
        lines: &[impl AsRef<[u8]>],
    ) -> Result<Vec<FtpReply>, SourceError> {
        if lines.len() > 1 && !self.account.learned.one_by_one.load(Ordering::Relaxed) {
            self.together(scene, lines).await
        } else {
            self.in_turn(scene, lines).await
        }
    }

    async fn in_turn(
        &mut self,
        scene: Scene<'_>,
        lines: &[impl AsRef<[u8]>],
    ) -> Result<Vec<FtpReply>, SourceError> {
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
    ) -> Result<Vec<FtpReply>, SourceError> {
        let account = self.account.clone();
        let known = account.learned.takes_many.load(Ordering::Relaxed);
        let patience = account.limits.command;
        let exchange = async {
            let first = async {
                self.control.send(lines).await?;
                self.control.answer_to(lines[0].as_ref()).await
            };
            let asked = Instant::now();
            let mut replies = vec![answer(scene, patience, first).await?];
            let doubt = doubt(asked.elapsed());
            for line in &lines[1..] {
                let patience = if known { patience } else { patience.min(doubt) };
                let reply = self.control.answer_to(line.as_ref());
                replies.push(answer(scene, patience, reply).await?);
            }
            Ok(replies)
        };
        let replies: Result<Vec<FtpReply>, SourceError> = exchange.await;
        match &replies {
            Ok(_) => account.learned.takes_many.store(true, Ordering::Relaxed),
            // It may be anything; but the next try must not depend on this.
            Err(error) if !known && error.class() != Class::Busy => {
                tracing::debug!(server = %account.address, error = crate::model::chain(error),
                    "Several commands at once were not answered: from now on they are sent one by \
                        one.");
                account.learned.one_by_one.store(true, Ordering::Relaxed);
            }
            Err(_) => {}
        }
        replies
    }

    /// Whether this server was found to read one command at a time.
    pub(super) fn is_asked_one_by_one(&self) -> bool {
        self.account.learned.one_by_one.load(Ordering::Relaxed)
    }

    /// Whether `error` ended the connection and showed that: then a new one is worth a try.
    pub(super) fn lost_over_company(&self, error: &SourceError) -> bool {
        self.is_asked_one_by_one() && !error.keeps_session()
    }

    /// [`FtpClient::commands`]; between two files, the port for the next one is asked for with
    /// them.
    pub(crate) async fn commands_between_reads(
        &mut self,
        scene: Scene<'_>,
        mut lines: Vec<Vec<u8>>,
    ) -> Result<Vec<FtpReply>, SourceError> {
        let extended = self.extended();
        let asks = std::mem::take(&mut self.reading)
            && self.hurries()
            && !self.account.learned.waits_for_data.load(Ordering::Relaxed)
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
    pub(crate) fn will_read(&mut self) {
        self.reading = true;
    }

    pub(super) fn extended(&self) -> bool {
        self.ipv6 || !self.account.learned.wants_pasv.load(Ordering::Relaxed)
    }

    /// Whether the way to data connections is known well enough to do things on it before others
    /// have ended.
    pub(super) fn hurries(&self) -> bool {
        let learned = &self.account.learned;
        learned.ports_open.load(Ordering::Relaxed) && !learned.one_by_one.load(Ordering::Relaxed)
    }

    /// `verb` with a path, byte for byte.
    pub async fn ask(
        &mut self,
        scene: Scene<'_>,
        verb: &str,
        path: &RemotePath,
    ) -> Result<FtpReply, SourceError> {
        self.command(scene, &self.line(verb, path)).await
    }

    /// `verb` with a path as the server is to be told it.
    pub fn line(&self, verb: &str, path: &RemotePath) -> Vec<u8> {
        match &self.here {
            Some(here) if is_home(here) == is_home(path) => {
                [verb.as_bytes(), b" ", &steps(here, path).join(&b'/')].concat()
            }
            _ => with_path(verb, path),
        }
    }

    /// The session stands in `dir` now.
    pub fn entered(&mut self, dir: &RemotePath) {
        if self.here.is_some() {
            self.here = Some(dir.clone());
        }
    }

    /// How many bytes of the next data connections are wanted; `None` is all.
    pub fn want(&mut self, bytes: Option<u64>) {
        self.wanted = bytes;
    }

    /// How its connections are encrypted, if they are.
    pub(crate) fn handshakes(&self) -> Option<Handshakes> {
        self.connector.as_ref().map(Connector::handshakes)
    }

    /// Whether data connections are encrypted.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.connector.is_some()
    }

    /// Says good-bye if the connection still listens.
    pub(crate) async fn quit(mut self) {
        if self.in_step {
            let scene = Scene { op: Op::Connect, address: "", path: None };
            let farewell = timeout(Duration::from_secs(2), self.command(scene, b"QUIT")).await;
            tracing::trace!(answered = farewell.is_ok_and(|reply| reply.is_ok()), "Said good-bye.");
        }
    }
}

/// How long the next reply may take when the first of several took `first`: a server that has read
/// all of them answers the next one about as fast.
fn doubt(first: Duration) -> Duration {
    DOUBT.min(LEAST_DOUBT.max(first * 10))
}

/// Reads one reply to a question, whatever it says, but 421: that is the end.
async fn answer(
    scene: Scene<'_>,
    patience: Duration,
    reply: impl Future<Output = Result<FtpReply, Broken>>,
) -> Result<FtpReply, SourceError> {
    match timeout(patience, reply).await {
        Err(_) => Err(scene.fault(Class::Stalled, "the server did not answer in time")),
        Ok(Err(error)) => Err(scene.broken(error)),
        Ok(Ok(reply)) if reply.code == 421 => Err(scene.refused(&reply)),
        Ok(Ok(reply)) => Ok(reply),
    }
}

/// Connects to a port that the server opened, if it does not answer otherwise: Twisted reads no
/// command before somebody has, and after ten seconds gives them all up.
async fn relieve(
    door: Door,
    peer: SocketAddr,
    account: Arc<FtpAccount>,
) -> std::io::Result<TcpStream> {
    tokio::time::sleep(RELIEF).await;
    door.enter(peer, &account, None).await
}

/// Whether `path` begins where the login starts.
pub(super) fn is_home(path: &RemotePath) -> bool {
    path.as_bytes().starts_with(b"/~")
}

/// The steps from the folder `here` to `path`; `.` if it is the same.
pub(super) fn steps(here: &RemotePath, path: &RemotePath) -> Vec<Vec<u8>> {
    let segments = |path: &RemotePath| -> Vec<Vec<u8>> {
        let segments = path.as_bytes().split(|b| *b == b'/').skip(1);
        segments.filter(|segment| !segment.is_empty()).map(<[u8]>::to_vec).collect()
    };
    let (from, to) = (segments(here), segments(path));
    let common = from.iter().zip(&to).take_while(|(from, to)| from == to).count();
    let mut steps = vec![b"..".to_vec(); from.len() - common];
    steps.extend_from_slice(&to[common..]);
    if steps.is_empty() { vec![b".".to_vec()] } else { steps }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_reads_one_command_at_a_time_is_known_by_how_fast_it_was() {
        let seconds = Duration::from_secs;
        for (first, patience) in [(0, 3), (500, 5), (4000, 10)] {
            assert_eq!(doubt(Duration::from_millis(first)), seconds(patience));
        }
    }
}
