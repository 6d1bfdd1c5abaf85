//! From an account to a control connection that is encrypted, logged in and agreed with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::either::Either;

use super::account::{FtpAccount, Presence, Security};
use super::client::FtpClient;
use super::control::FtpControl;
use super::fatal;
use super::fault::{Broken, FtpReply, Scene};
use super::features;
use super::mlsd;
use super::tls::{Connector, MaxVersion};
use super::wire::keep_alive;
use crate::model::failure::{Class, Failure};
use crate::runtime::name_service;
use crate::source::contract::{Op, SourceError};
use crate::source::finding::{Tell, resolved};

/// How often a connection may be lost over commands that a session can do without: each of three
/// twice, but for those that are sent together.
const MOST_LOST: usize = 4;
/// So many greetings after the first one are passed over.
const MOST_GREETINGS: usize = 64;

impl FtpClient {
    /// Connects and logs in, and tells of each. Once, unless the server ends the connection over
    /// a command that a session can do without.
    pub async fn open(account: Arc<FtpAccount>, tell: Tell<'_>) -> Result<Self, SourceError> {
        let mut client = Self::enter_as_user(account.clone(), tell).await?;
        for _ in 0..MOST_LOST {
            match client.agree().await {
                Ok(()) => return Ok(client),
                Err(error) if client.was_lost_over_option(&error) => {}
                Err(error) => return Err(error),
            }
            client = Self::enter_as_user(account.clone(), &mut |_| {}).await?;
        }
        client.agree().await?;
        Ok(client)
    }

    async fn enter_as_user(account: Arc<FtpAccount>, tell: Tell<'_>) -> Result<Self, SourceError> {
        let mut client = Self::connect(account, tell).await?;
        let start = Instant::now();
        client.log_in().await?;
        tell(features::logged_in(&client.account.user, start.elapsed(), client.connector.as_ref()));
        Ok(client)
    }

    async fn connect(account: Arc<FtpAccount>, tell: Tell<'_>) -> Result<Self, SourceError> {
        let scene = account.scene(Op::Connect);
        let tls = match &account.security {
            Security::Clear => None,
            Security::Explicit(tls) | Security::Implicit(tls) => {
                let versions = if account.learned.wants_tls_1_2.load(Ordering::Relaxed) {
                    MaxVersion::V1_2
                } else {
                    tls.max_version
                };
                Some(
                    tls.connector(&account.host, versions)
                        .map_err(|why| scene.fault(Class::Tls, why))?,
                )
            }
        };
        let start = Instant::now();
        let peers = addresses(&account).await?;
        tell(resolved(&peers, start.elapsed()));
        Self::connect_first(account, &peers, tls, tell).await
    }

    /// A connection to the first of `peers` that takes one: the name of a server may have an
    /// address that is dead.
    pub(super) async fn connect_first(
        account: Arc<FtpAccount>,
        peers: &[SocketAddr],
        tls: Option<Connector>,
        tell: Tell<'_>,
    ) -> Result<Self, SourceError> {
        let scene = account.scene(Op::Connect);
        let mut last = scene.fault(Class::Dns, "the name has no address");
        for &peer in peers {
            let start = Instant::now();
            let secured = secured(&account, peer, tls.as_ref()).await;
            let greeting = secured
                .as_ref()
                .ok()
                .map(|(_, greeting)| String::from_utf8_lossy(&greeting.body).into_owned());
            features::connected(peer, start.elapsed(), tls.as_ref(), greeting.as_deref(), tell);
            last = match secured {
                Ok((control, _)) => {
                    keep_alive(control.tcp());
                    return Ok(Self::new(control, account, peer, tls));
                }
                // A dead address of several is not a dead server.
                Err(Broken::Io(error)) => scene.lost(&error),
                Err(error) => return Err(unsecured(scene, error, tls.as_ref())),
            };
        }
        Err(last)
    }

    async fn log_in(&mut self) -> Result<(), SourceError> {
        let account = self.account.clone();
        let scene = account.scene(Op::Login);
        let result = match timeout(account.limits.command, self.credentials(&account)).await {
            Err(_) => Err(scene.fault(Class::Stalled, "no answer to the login")),
            Ok(result) => result.map_err(|error| scene.broken(error)),
        };
        let inside = account.learned.inside.load(Ordering::Relaxed);
        match result {
            Ok(()) => {
                self.presence = Some(Presence::new(account));
                Ok(())
            }
            // The credential is good at this moment, so this is about how many logins there may be.
            Err(error) if error.class() == Class::Auth && inside > 0 => Err(scene.fault(
                Class::Busy,
                format!("{}; {inside} logins are in, and no more may be", cause(&error)),
            )),
            Err(error) => Err(error),
        }
    }

    async fn credentials(&mut self, account: &FtpAccount) -> Result<(), Broken> {
        let user = [b"USER ", account.user.as_bytes()].concat();
        let password = [b"PASS ", account.password.reveal().as_bytes()].concat();
        let mut reply = first_answer(&mut self.control, &user).await?;
        if !matches!(reply.code, 230 | 232 | 331 | 332) {
            return Err(Broken::Refused(reply));
        }
        if reply.code == 331 {
            reply = self.control.expect(&password, &[202, 230, 232, 332]).await?;
        }
        if reply.code == 332 {
            let Some(name) = &account.account else { return Err(Broken::Refused(reply)) };
            let account = [b"ACCT ", name.reveal().as_bytes()].concat();
            self.control.expect(&account, &[202, 230]).await?;
        }
        Ok(())
    }

    /// Learns what the server can do and agrees on binary transfers and names in UTF-8.
    async fn agree(&mut self) -> Result<(), SourceError> {
        let account = self.account.clone();
        let scene = account.scene(Op::Login);
        let mut lines: Vec<&'static [u8]> = Vec::new();
        if !account.learned.fatal.leaves_out(fatal::FEAT) {
            self.puts_at_stake(fatal::FEAT);
            let features = self.command(scene, fatal::FEAT).await?;
            if features.code == 211 {
                self.nothing_at_stake();
                lines.extend(self.learn(&features));
            }
        }
        if matches!(account.security, Security::Implicit(_)) {
            // A server that does not know the words has nothing else to offer: our data connections
            // are encrypted whatever it answers.
            lines.extend([&b"PBSZ 0"[..], b"PROT P"]);
        }
        lines.push(b"TYPE I");
        // Whatever it says to the others: names are bytes to us either way.
        match self.all_of(scene, &lines).await? {
            Some(binary) if binary.is_done() => {}
            Some(binary) => return Err(scene.refused(&binary)),
            None => return Err(scene.unanswered()),
        }
        for command in &account.login_commands {
            let reply = self.command(scene, command.as_bytes()).await?;
            if reply.code >= 400 {
                let why = format!("`{command}` of `login_commands` is refused: {}", reply.text());
                return Err(scene.fault(Class::Protocol, why).transient(false));
            }
        }
        Ok(())
    }

    /// Sends what is to be agreed on; the reply to the last line.
    async fn all_of(
        &mut self,
        scene: Scene<'_>,
        lines: &[&'static [u8]],
    ) -> Result<Option<FtpReply>, SourceError> {
        let is_option = |line: &[u8]| line.starts_with(b"OPTS");
        let mut last = None;
        if self.account.learned.one_by_one.load(Ordering::Relaxed) {
            for line in lines {
                if is_option(line) {
                    self.puts_at_stake(line);
                }
                let reply = self.command(scene, line).await?;
                // After a refusal the server may go as well.
                if reply.is_done() {
                    self.nothing_at_stake();
                }
                last = Some(reply);
            }
        } else {
            lines.iter().filter(|line| is_option(line)).for_each(|line| self.puts_at_stake(line));
            last = self.commands(scene, lines).await?.pop();
        }
        self.nothing_at_stake();
        Ok(last)
    }

    /// What `features` tells, and what is to be asked for because of it.
    fn learn(&mut self, features: &FtpReply) -> Vec<&'static [u8]> {
        let lines: Vec<String> = features
            .body
            .split(|b| *b == b'\n')
            .map(|line| String::from_utf8_lossy(line).trim().to_owned())
            .collect();
        let feature = |name: &str| {
            lines.iter().find_map(|line| {
                line.get(..name.len())
                    .filter(|head| head.eq_ignore_ascii_case(name))
                    .map(|_| line[name.len()..].trim().to_owned())
            })
        };
        let mut wishes: Vec<&'static [u8]> = Vec::new();
        if feature("UTF8").is_some() {
            wishes.push(b"OPTS UTF8 ON");
        }
        if let Some(facts) = feature("MLST") {
            self.machine_listings = !self.account.learned.ways.lacks_facts();
            if mlsd::lacks_facts(&facts) {
                wishes.push(b"OPTS MLST type;size;modify;");
            }
        }
        self.features = features::kept(lines);
        wishes.retain(|wish| !self.account.learned.fatal.leaves_out(wish));
        wishes
    }
}

/// Why, without what was being done.
fn cause(error: &SourceError) -> String {
    use std::error::Error;
    error.source().map_or_else(|| error.to_string(), crate::model::chain)
}

/// Every address of the host, the name service's first choice first.
async fn addresses(account: &FtpAccount) -> Result<Vec<SocketAddr>, SourceError> {
    let scene = account.scene(Op::Connect);
    let (host, port) = account
        .proxy
        .as_ref()
        .map_or((account.host.as_str(), account.port), |proxy| (proxy.host.as_str(), proxy.port));
    match timeout(account.limits.connect, name_service::addresses(host, port)).await {
        Err(_) => Err(scene.fault(Class::Dns, "the name service did not answer in time")),
        Ok(found) => found.map_err(|error| scene.fault(Class::Dns, error.to_string())),
    }
}

fn late(what: &str) -> Broken {
    Broken::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, what))
}

/// A connection that has been greeted, encrypted as the settings want it: never less than that.
/// With its greeting.
async fn secured(
    account: &FtpAccount,
    peer: SocketAddr,
    tls: Option<&Connector>,
) -> Result<(FtpControl, FtpReply), Broken> {
    let limits = account.limits;
    let connecting = async {
        let mut stream = TcpStream::connect(peer).await?;
        stream.set_nodelay(true)?;
        if let Some(proxy) = &account.proxy {
            proxy.tunnel(&mut stream, &account.host, account.port).await?;
        }
        Ok(stream)
    };
    let stream = timeout(limits.connect, connecting)
        .await
        .map_err(|_| late("no connection in time"))?
        .map_err(Broken::Io)?;
    let greeting = async {
        match (tls, &account.security) {
            (Some(tls), Security::Implicit(_)) => {
                greeted(FtpControl::new(Either::Right(tls.connect(stream).await?))).await
            }
            (Some(tls), _) => {
                encrypted(greeted(FtpControl::new(Either::Left(stream))).await?, tls).await
            }
            (None, _) => greeted(FtpControl::new(Either::Left(stream))).await,
        }
    };
    timeout(limits.command, greeting).await.map_err(|_| late("the server did not greet in time"))?
}

async fn greeted(mut control: FtpControl) -> Result<(FtpControl, FtpReply), Broken> {
    let mut greeting = control.reply().await?;
    // `120 Service ready in 1 minutes` comes before the greeting (RFC 959 §5.4).
    while greeting.code == 120 {
        greeting = control.reply().await?;
    }
    if greeting.code == 220 { Ok((control, greeting)) } else { Err(Broken::Refused(greeting)) }
}

/// The reply to the first command after the greeting. Some servers greet by several replies.
async fn first_answer(control: &mut FtpControl, line: &[u8]) -> Result<FtpReply, Broken> {
    let mut reply = control.ask(line).await?;
    for _ in 0..MOST_GREETINGS {
        if reply.code != 220 {
            break;
        }
        reply = control.reply().await?;
    }
    Ok(reply)
}

/// Replies to AUTH that encryption may begin behind: 234 by RFC 4217, 334 by RFC 2228; VxWorks says
/// 200. What counts is whether TLS begins.
const AGREED: [u32; 3] = [234, 334, 200];

/// `AUTH TLS`, and all that has to follow.
async fn encrypted(
    (mut control, greeting): (FtpControl, FtpReply),
    tls: &Connector,
) -> Result<(FtpControl, FtpReply), Broken> {
    let reply = first_answer(&mut control, b"AUTH TLS").await?;
    if !AGREED.contains(&reply.code) {
        // Servers of before RFC 4217 know the same under the name of SSL.
        let knows = reply.is_error() && AGREED.contains(&control.ask(b"AUTH SSL").await?.code);
        if !knows {
            return Err(Broken::Refused(reply));
        }
        tracing::debug!(refused = reply.text(), "The server knows AUTH SSL, not AUTH TLS.");
    }
    let mut control = FtpControl::new(Either::Right(tls.connect(control.into_clear()?).await?));
    // There is only one size that it may be; what counts is the answer to PROT.
    let size = control.ask(b"PBSZ 0").await?;
    if !(size.code == 200 || size.is_error()) {
        return Err(Broken::Refused(size));
    }
    control.expect(b"PROT P", &[200, 225, 226, 250]).await?;
    Ok((control, greeting))
}

fn unsecured(scene: Scene<'_>, error: Broken, tls: Option<&Connector>) -> SourceError {
    match (error, tls) {
        (Broken::Tls(text), Some(tls)) => scene.fault(Class::Tls, tls.refusal().unwrap_or(text)),
        (Broken::Refused(reply), Some(_)) => match reply.code {
            500..=599 | 431 if !reply.says(&["oops"]) => scene.fault(
                Class::Tls,
                format!(
                    "the server refuses TLS ({}), and clear text is not an option",
                    reply.text()
                ),
            ),
            _ => scene.refused(&reply),
        },
        (error, _) => scene.broken(error),
    }
}
