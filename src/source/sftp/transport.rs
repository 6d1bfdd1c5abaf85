//! From an address to a logged-in SFTP channel, with every failure told apart.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use russh::client::{self, Handle, Msg};
use russh::{ChannelMsg, ChannelOpenFailure, ChannelStream, Disconnect};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::either::Either;

use super::algorithms::{self, Algorithms};
use super::auth::{self, AuthError, Credentials};
use super::client::{Client, ClientError, SessionTerms};
use super::greeting::Listening;
use super::handshake_reasons::{self, SshCause};
use super::host_key::SftpTrust;
use super::jump_stream::JumpStream;
use crate::model::failure::Class;
use crate::model::{Secret, printable};
use crate::runtime::name_service;
use crate::source::finding::{Finding, Tell, resolved, text_setting};
use crate::source::proxy::{self, Proxy};
use crate::source::sftp::habits::LoginPresence;
use crate::source::sftp::open_error::OpenError;
use crate::source::sftp::watcher::{SftpNotes, SftpWatch, Watcher};

/// Key exchange and login together. Servers that need longer are as good as down (sshd itself gives
/// 120 s).
const LOGIN_TIMEOUT: Duration = Duration::from_secs(20);
const EXPIRED: &str = "the server answered the password neither with yes nor with no, as one does \
    that asks for a new password because this one has expired (RFC 4252 §8)";
/// What the server may send before we take it. It is opened again once half of it is used, so that
/// half of it is what a round trip can carry: as much as is ever asked for ahead.
pub(crate) const WINDOW: u32 = 64 << 20;
/// While nothing comes, the server is asked this often whether it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Where to and as whom.
#[derive(Clone)]
pub struct Target {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How to log in.
    pub credentials: Credentials,
    /// Which host keys to take.
    pub trust: SftpTrust,
    /// Which algorithms to offer.
    pub algorithms: Algorithms,
    /// What starts SFTP, if the server does not offer it by itself.
    pub server_command: Option<String>,
    /// The way to the server, if it is not straight.
    pub proxy: Option<Proxy>,
    /// The host on the way, if there is one.
    pub jump: Option<Arc<dyn Detour>>,
    /// Limit for each address's TCP connection.
    pub connect_timeout: Duration,
    /// How the server is treated.
    pub terms: SessionTerms,
}

/// A login on a host on the way.
pub(crate) type JumpLogin = Arc<Handle<Watcher>>;

/// A connection that a host on the way forwards, with the login that carries it.
pub(crate) type Forwarded = (JumpStream<ChannelStream<Msg>>, JumpLogin);

/// A host on the way, which forwards connections.
pub trait Detour: Send + Sync {
    /// A connection from there to `host` at `port`, with the login that carries it.
    fn connect<'a>(
        &'a self,
        host: &'a str,
        port: u16,
        tell: Tell<'a>,
    ) -> BoxFuture<'a, Result<Forwarded, OpenError>>;

    /// What it must not be quoted with.
    fn secrets(&self) -> Vec<Secret>;
}

/// A login. Dropping it says good-bye without waiting.
pub struct SftpConnection {
    /// The SFTP channel.
    pub client: Client,
    handle: Option<Handle<Watcher>>,
    way: Option<JumpLogin>,
    _presence: LoginPresence,
}

impl Drop for SftpConnection {
    fn drop(&mut self) {
        let (Some(handle), Ok(runtime)) =
            (self.handle.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let way = self.way.take();
        runtime.spawn(async move {
            // A server that does not listen any more is left by dropping the handle.
            drop(
                timeout(
                    Duration::from_secs(5),
                    handle.disconnect(Disconnect::ByApplication, "", ""),
                )
                .await,
            );
            drop(way);
        });
    }
}

/// A login before a channel was opened.
pub(crate) struct LoggedIn {
    /// The login.
    pub handle: Handle<Watcher>,
    watch: SftpWatch,
    way: Option<JumpLogin>,
    presence: LoginPresence,
}

/// Connects, checks the host key, logs in, opens the SFTP channel, and tells of each.
pub(crate) async fn open(target: &Target, tell: Tell<'_>) -> Result<SftpConnection, OpenError> {
    let LoggedIn { handle, watch, way, presence } = logged_in(target, tell).await?;
    let limit = LOGIN_TIMEOUT.min(target.terms.stall);
    match timeout(limit, open_channel(target, &handle, &watch)).await {
        Ok(Ok(client)) => {
            Ok(SftpConnection { client, handle: Some(handle), way, _presence: presence })
        }
        // This login is one of them.
        Ok(Err(error)) => Err(not_served(error, target.terms.learned.inside().saturating_sub(1))),
        Err(_) => Err(OpenError::login(Class::Stalled, too_slow("the SFTP channel", limit))),
    }
}

/// Why a login got no SFTP while so many `others` of the same credential are in: MySecureShell ends
/// the one that is too many with nothing but an exit status.
fn not_served(error: OpenError, others: usize) -> OpenError {
    if error.class != Class::Protocol || others == 0 {
        return error;
    }
    let cause = format!("{}; {others} logins are in, and no more may be", error.cause);
    OpenError::login(Class::Busy, cause)
}

/// Connects, checks the host key, logs in, and tells of each.
pub(crate) async fn logged_in(target: &Target, tell: Tell<'_>) -> Result<LoggedIn, OpenError> {
    let (stream, way) = match &target.jump {
        None => (Either::Left(connect_tcp(target, tell).await?), None),
        Some(jump) => {
            let (stream, way) = jump.connect(&target.host, target.port, &mut *tell).await?;
            (Either::Right(stream), Some(way))
        }
    };
    let watch = SftpWatch::default();
    let start = Instant::now();
    let limit = LOGIN_TIMEOUT.min(target.terms.stall);
    let deadline = start + limit;
    let shaken = timeout_at(deadline, shake_hands(target, stream, &watch)).await;
    // Also, and above all, of a key that was refused.
    watch.findings(start).into_iter().for_each(&mut *tell);
    let mut handle = match shaken {
        Ok(handle) => handle?,
        // One that has said nothing may yet be SSH, and has closed nothing.
        Err(_) if watch.first_words.heard().is_empty() => {
            return Err(OpenError::connect(
                Class::Stalled,
                too_slow("the server's greeting", limit),
            ));
        }
        Err(_) => {
            return Err(watch.no_ssh().unwrap_or_else(|| {
                OpenError::connect(Class::Stalled, too_slow("the key exchange", limit))
            }));
        }
    };
    let start = Instant::now();
    match timeout_at(deadline, auth::log_in(&mut handle, &target.credentials, &mut *tell)).await {
        Ok(Ok(with)) => {
            let user = &target.credentials.user;
            let found =
                Finding::new("login", format!("as `{}`, with {with}", printable(user.as_bytes())))
                    .took(start.elapsed());
            tell(found.setting(text_setting("user", user)))
        }
        Ok(Err(error)) => {
            if matches!(error, AuthError::Ended { .. }) {
                // The reason is known a moment after the end.
                drop(timeout(Duration::from_secs(1), &mut handle).await);
            }
            return Err(login_failure(error, &watch, target.terms.learned.inside()));
        }
        Err(_) => {
            let shows_password = target.credentials.password.is_some();
            return Err(undecided(shows_password, target.terms.learned.inside(), &watch, limit));
        }
    }
    Ok(LoggedIn { handle, watch, way, presence: target.terms.learned.enters() })
}

/// Why a login was not decided in time, while `inside` others are in. russh passes over the one
/// answer to a password that is neither yes nor no.
fn undecided(shows_password: bool, inside: usize, watch: &SftpWatch, limit: Duration) -> OpenError {
    if shows_password && inside == 0 && watch.last_sender.is_server() {
        return OpenError::login(Class::Auth, watch.with_banner(EXPIRED.to_owned()));
    }
    let failure = OpenError::login(Class::Stalled, watch.with_banner(too_slow("the login", limit)));
    // The credential may be on its way to a refusal, so it is not shown again in this run.
    if inside == 0 { failure.not_transient() } else { failure }
}

fn too_slow(what: &str, limit: Duration) -> String {
    format!("{what} took more than {limit:?}")
}

async fn connect_tcp(target: &Target, tell: Tell<'_>) -> Result<TcpStream, OpenError> {
    if let Some(proxy) = &target.proxy {
        return match timeout(target.connect_timeout, proxy.connect(&target.host, target.port)).await
        {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) if proxy::is_refusal(&error) => {
                Err(OpenError::connect(Class::Auth, error))
            }
            Ok(Err(error)) => Err(OpenError::connect(Class::Connect, error)),
            Err(_) => Err(OpenError::connect(
                Class::Connect,
                format!("{proxy:?}: no connection within {:?}", target.connect_timeout),
            )),
        };
    }
    let start = Instant::now();
    let lookup =
        timeout(target.connect_timeout, name_service::addresses(&target.host, target.port));
    let addresses = match lookup.await {
        Ok(Ok(addresses)) => addresses,
        Ok(Err(error)) => return Err(OpenError::connect(Class::Dns, error)),
        Err(_) => return Err(OpenError::connect(Class::Dns, "the name service does not answer")),
    };
    tell(resolved(&addresses, start.elapsed()));
    connect_first(&addresses, target.connect_timeout, tell).await
}

/// A connection to the first of `addresses` that takes one: the name of a server may have an
/// address that is dead.
async fn connect_first(
    addresses: &[SocketAddr],
    limit: Duration,
    tell: Tell<'_>,
) -> Result<TcpStream, OpenError> {
    let mut problems = Vec::new();
    for address in addresses {
        let start = Instant::now();
        match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Without it each question waits for the acknowledgement of the one before.
                stream
                    .set_nodelay(true)
                    .map_err(|error| OpenError::connect(Class::Connect, error))?;
                tell(Finding::new("connect", address.to_string()).took(start.elapsed()));
                return Ok(stream);
            }
            Ok(Err(error)) => problems.push(format!("{address}: {error}")),
            Err(_) => problems.push(format!("{address}: no answer within {limit:?}")),
        }
    }
    if problems.is_empty() {
        return Err(OpenError::connect(Class::Dns, "the name has no address"));
    }
    Err(OpenError::connect(Class::Connect, problems.join("; ")))
}

async fn shake_hands(
    target: &Target,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    watch: &SftpWatch,
) -> Result<Handle<Watcher>, OpenError> {
    let watcher = Watcher {
        trust: target.trust.clone(),
        host: target.host.clone(),
        port: target.port,
        watch: watch.clone(),
    };
    let config = client::Config {
        nodelay: true,
        window_size: WINDOW,
        keepalive_interval: Some(KEEP_ALIVE),
        // Some servers answer while they work, some do not: silence counts as `stall_timeout` has
        // it, and never less than a minute.
        keepalive_max: (target.terms.stall.as_secs() / KEEP_ALIVE.as_secs()).max(4) as usize - 1,
        // As OpenSSH's client does.
        gex: client::GexParams::new(2048, 3072, 8192)
            .map_err(|error| OpenError::connect(Class::Internal, error))?,
        preferred: algorithms::offer(target.algorithms, |all| {
            target.trust.preferred(&target.host, target.port, all)
        }),
        ..client::Config::default()
    };
    let stream = Listening::new(
        stream,
        watch.first_words.clone(),
        watch.last_words.clone(),
        watch.last_sender.clone(),
    );
    client::connect_stream(Arc::new(config), stream, watcher)
        .await
        .map_err(|error| handshake_failure(error, watch))
}

async fn open_channel(
    target: &Target,
    handle: &Handle<Watcher>,
    watch: &SftpWatch,
) -> Result<Client, OpenError> {
    let mut channel =
        handle.channel_open_session().await.map_err(|error| channel_failure(error, watch))?;
    let started = match &target.server_command {
        Some(command) => channel.exec(true, command.as_bytes()).await,
        None => channel.request_subsystem(true, "sftp").await,
    };
    started.map_err(|error| channel_failure(error, watch))?;
    // As OpenSSH's client does, not after the answer: that saves a round trip. Who offers no SFTP
    // reads over it.
    let begun = Instant::now();
    channel.data(&Client::greeting()[..]).await.map_err(|error| channel_failure(error, watch))?;
    let mut already = Bytes::new();
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Success) => break,
            // Some serve without saying so, or before they do.
            Some(ChannelMsg::Data { data }) => {
                already = data;
                break;
            }
            Some(ChannelMsg::Failure) => {
                return Err(OpenError::login(Class::Protocol, refused_sftp(target)).not_transient());
            }
            Some(_) => {}
            None => {
                return Err(OpenError::login(
                    Class::Busy,
                    watch.last_words.closed("the server closed the channel"),
                ));
            }
        }
    }
    let (terms, last_words) = (target.terms.clone(), watch.last_words.clone());
    Client::greeted(channel.into_stream(), &already, begun, terms, last_words).await.map_err(
        |error| match error {
            ClientError::Stalled(_) => OpenError::login(Class::Stalled, error),
            _ => OpenError::login(Class::Protocol, error),
        },
    )
}

fn refused_sftp(target: &Target) -> &'static str {
    match target.server_command {
        Some(_) => "the server refuses to run `server_command`",
        None => {
            "the server offers no SFTP to this user; if it runs commands, `server_command = \
                \"/usr/lib/openssh/sftp-server\"` may start it"
        }
    }
}

fn handshake_failure(error: russh::Error, watch: &SftpWatch) -> OpenError {
    if let Some(distrust) = watch.notes().distrust.clone() {
        return OpenError::connect(Class::HostKey, distrust);
    }
    if let Some(no_ssh) = watch.no_ssh() {
        return no_ssh;
    }
    let told = handshake_reasons::of(&error);
    match told.cause {
        // sshd drops connections above MaxStartups in this phase, and so do firewalls that count.
        SshCause::Ended => OpenError::connect(Class::Busy, watch.ended(&told.text)),
        SshCause::Server => OpenError::connect(Class::Protocol, told.text),
        SshCause::Here => OpenError::connect(Class::Internal, told.text),
    }
}

/// Why a login failed while so many others of the same credential are `inside`.
fn login_failure(error: AuthError, watch: &SftpWatch, inside: usize) -> OpenError {
    let SftpNotes { about_login: said_no, is_full, is_broken, .. } = *watch.notes();
    match error {
        // The credential is good at this moment, so this is about how many logins there may be.
        AuthError::Refused(_) | AuthError::Ended { after_credential: true } if inside > 0 => {
            let cause = watch.ended(&error.to_string());
            let cause = format!("{cause}; {inside} logins are in, and no more may be");
            OpenError::login(Class::Busy, cause)
        }
        AuthError::Refused(_) => {
            OpenError::login(Class::Auth, watch.with_banner(error.to_string()))
        }
        AuthError::Ended { .. } if is_full => {
            OpenError::login(Class::Busy, watch.ended("the server has no room for this login"))
        }
        AuthError::Ended { .. } if is_broken => {
            OpenError::login(Class::Protocol, watch.ended("the server broke the rules of SSH"))
                .not_transient()
        }
        AuthError::Ended { after_credential: true } if said_no => OpenError::login(
            Class::Auth,
            watch.ended("the server ended the connection over the credential"),
        ),
        // Perhaps refused, perhaps a broken line: not tried again now, so that no account is
        // locked, but by the next run.
        AuthError::Ended { after_credential: true } => OpenError::login(
            Class::Connect,
            watch.ended("the connection ended before the server judged the credential"),
        )
        .not_transient(),
        AuthError::Ended { after_credential: false } => OpenError::login(
            Class::Busy,
            watch.ended("the server closed the connection before the login"),
        ),
        // Nothing was refused: the next run asks the agent again.
        AuthError::Agent(_) => OpenError::login(Class::Connect, error).not_transient(),
        AuthError::Transport(error) => {
            OpenError::login(Class::Connect, handshake_reasons::of(&error).text)
        }
    }
}

fn channel_failure(error: russh::Error, watch: &SftpWatch) -> OpenError {
    match error {
        russh::Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited) => {
            OpenError::login(Class::Protocol, "the server offers no sessions to this user")
                .not_transient()
        }
        russh::Error::ChannelOpenFailure(_) => OpenError::login(Class::Busy, error),
        _ if watch.notes().is_full => {
            OpenError::login(Class::Busy, watch.ended("the server has no room for this login"))
        }
        _ => OpenError::login(
            Class::Connect,
            watch.ended("the server closed the connection after the login"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_several_addresses_a_dead_one_is_passed_over() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let open = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = open.local_addr().unwrap();
        let mut found = Vec::new();
        let mut tell = |finding: Finding| found.push(finding.text);
        let stream = connect_first(&[closed, alive], Duration::from_secs(10), &mut tell)
            .await
            .expect("the second one takes us");
        assert_eq!(stream.peer_addr().unwrap(), alive);
        assert_eq!(found, [alive.to_string()]);
        let error = connect_first(&[closed, closed], Duration::from_secs(10), &mut |_| {})
            .await
            .expect_err("both are dead");
        assert_eq!(error.class, Class::Connect);
        assert_eq!(
            connect_first(&[], Duration::from_secs(10), &mut |_| {})
                .await
                .expect_err("no address")
                .class,
            Class::Dns
        );
    }

    #[tokio::test]
    async fn a_server_that_asks_for_a_new_password_is_told_from_a_silent_one() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};

        let limit = Duration::from_secs(20);
        let watch = SftpWatch::default();
        let told = |shows_password, inside| {
            let error = undecided(shows_password, inside, &watch, limit);
            (error.class, error.transient, error.cause.to_string())
        };
        let silent = (Class::Stalled, Some(false), "the login took more than 20s".to_owned());
        assert_eq!(told(true, 0), silent);
        let (mut server, client) = tokio::io::duplex(64);
        let (words, last) = (watch.first_words.clone(), watch.last_words.clone());
        let mut stream = Listening::new(client, words, last, watch.last_sender.clone());
        server.write_all(b"SSH-2.0-x\r\n").await.unwrap();
        stream.read_exact(&mut [0; 11]).await.unwrap();
        assert_eq!(told(true, 0), (Class::Auth, None, EXPIRED.to_owned()));
        // A key is no password, and one that is in was good a moment ago.
        assert_eq!(told(false, 0), silent);
        assert_eq!(told(true, 1).0, Class::Stalled);
    }
}
