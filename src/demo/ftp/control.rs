//! One control connection: greeting, encryption, login, one command after the other.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::script::DemoFtpCompany;
use super::shared::{DemoFtpShared, Guest, TlsStart};

/// A connection, encrypted or not.
pub(crate) type DemoFtpWire = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// The longest command.
const LINE_LIMIT: u64 = 16 * 1024;
/// How long a connection may ask nothing.
const IDLE: Duration = Duration::from_secs(300);
/// How long encryption may take to begin.
const HANDSHAKE: Duration = Duration::from_secs(15);
/// After so many wrong passwords the connection ends.
const TRIES: u32 = 3;

/// Every command that is known, for the counters.
const VERBS: &[&str] = &[
    "ABOR", "AUTH", "CDUP", "CWD", "DELE", "EPSV", "FEAT", "LIST", "MDTM", "MKD", "MLSD", "MLST",
    "NLST", "NOOP", "OPTS", "PASS", "PASV", "PBSZ", "PROT", "PWD", "QUIT", "REST", "RETR", "RMD",
    "RNFR", "RNTO", "SIZE", "SYST", "TYPE", "USER", "XPWD",
];

/// What a connection knows.
pub(crate) struct DemoFtpControl {
    /// Taken out only while it is being encrypted.
    wire: Option<BufReader<DemoFtpWire>>,
    pub(super) shared: Arc<DemoFtpShared>,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    /// The folder that it stands in.
    pub(super) here: Vec<u8>,
    pub(super) binary: bool,
    /// Where the next read begins.
    pub(super) rest: u64,
    pub(super) renaming: Option<Vec<u8>>,
    pub(super) passive: Option<TcpListener>,
    /// Whether data connections are encrypted.
    pub(super) protect: bool,
    encrypted: bool,
    user: Option<Vec<u8>>,
    logged_in: bool,
    tries: u32,
    /// Whether the last command came with another one.
    pub(super) in_company: bool,
}

/// Whether the connection goes on.
pub(crate) enum Flow {
    Next,
    End,
}

/// Serves one connection to its end; whatever ends it is of interest to the client alone.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    shared: Arc<DemoFtpShared>,
    guest: Guest,
) {
    let arrival = shared.arrivals.fetch_add(1, Ordering::SeqCst) + 1;
    let full = shared.script().full_from.is_some_and(|from| arrival >= from)
        || guest.together > shared.options.max_connections as u64;
    let served = async {
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        let mut control = DemoFtpControl::new(stream, peer, local, shared);
        control.run(full).await
    };
    let ended = served.await;
    tracing::debug!(%peer, clean = ended.is_ok(), "A connection to the demo server ended.");
}

impl DemoFtpControl {
    fn new(
        stream: TcpStream,
        peer: SocketAddr,
        local: SocketAddr,
        shared: Arc<DemoFtpShared>,
    ) -> Self {
        Self {
            wire: Some(BufReader::new(Either::Left(stream))),
            shared,
            peer,
            local,
            here: b"/".to_vec(),
            binary: false,
            rest: 0,
            renaming: None,
            passive: None,
            protect: false,
            encrypted: false,
            user: None,
            logged_in: false,
            tries: 0,
            in_company: false,
        }
    }

    async fn run(&mut self, full: bool) -> io::Result<()> {
        if self.shared.options.tls.as_ref().is_some_and(|tls| tls.start == TlsStart::Implicit) {
            self.encrypt().await?;
        }
        if full {
            return self.say("421 Too many connections, try again later.").await;
        }
        match self.shared.script().greeting.clone() {
            Some(greeting) => self.send(&greeting).await?,
            None => self.say("220 blobferry demo server.").await?,
        }
        let idle = self.shared.script().idle.unwrap_or(IDLE);
        loop {
            let Ok(line) = timeout(idle, self.line()).await else {
                return self.say("421 Timeout.").await;
            };
            let Some(line) = line? else { return Ok(()) };
            let (verb, argument) = match line.iter().position(|b| *b == b' ') {
                Some(blank) => (&line[..blank], &line[blank + 1..]),
                None => (line.as_slice(), &b""[..]),
            };
            let verb = String::from_utf8_lossy(verb).to_ascii_uppercase();
            if let Flow::End = self.answer(&verb, argument).await? {
                return Ok(());
            }
        }
    }

    /// One line, without its end and without Telnet's own bytes; `None` when the client has gone.
    async fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let followed = !self.reader()?.buffer().is_empty();
        self.reader()?.take(LINE_LIMIT).read_until(b'\n', &mut line).await?;
        let more = self.reader()?.buffer().len();
        self.in_company = followed || more > 0;
        if more > 0 {
            self.shared.counts.in_company.fetch_add(1, Ordering::SeqCst);
            match self.shared.script().company {
                DemoFtpCompany::Answered => {}
                DemoFtpCompany::Forgotten => self.reader()?.consume(more),
                DemoFtpCompany::HungUp => return Ok(None),
            }
        }
        if line.pop() != Some(b'\n') {
            return Ok(None);
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(Some(without_telnet(&line)))
    }

    async fn answer(&mut self, verb: &str, argument: &[u8]) -> io::Result<Flow> {
        let Some(verb) = VERBS.iter().copied().find(|known| *known == verb) else {
            return self.next("500 Unknown command.").await;
        };
        self.shared.counts.count(verb);
        let script = self.shared.script();
        if let Some((_, reply)) = script.replies.iter().find(|(scripted, _)| *scripted == verb) {
            if reply.is_empty() {
                return Ok(Flow::End);
            }
            self.send(reply.as_bytes()).await?;
            return Ok(Flow::Next);
        }
        if script.lacks(verb) {
            return self.next("500 Unknown command.").await;
        }
        match verb {
            "QUIT" => {
                self.say("221 Goodbye.").await?;
                Ok(Flow::End)
            }
            "AUTH" => self.auth(argument).await,
            "PBSZ" if self.encrypted => self.next("200 PBSZ=0").await,
            "PROT" if self.encrypted => self.protection(argument).await,
            "FEAT" => self.features().await,
            "SYST" => self.next("215 UNIX Type: L8").await,
            "NOOP" => self.next("200 OK.").await,
            "ABOR" => self.next("226 Nothing to abort.").await,
            "OPTS" if argument.eq_ignore_ascii_case(b"UTF8 ON") && !script.lacks("UTF8") => {
                self.next("200 Names are bytes here.").await
            }
            "OPTS" if argument.len() >= 4 && argument[..4].eq_ignore_ascii_case(b"MLST") => {
                self.next("200 MLST OPTS type;size;modify;").await
            }
            "OPTS" => self.next("501 Option not understood.").await,
            "USER" => self.user(argument).await,
            "PASS" => self.pass(argument).await,
            _ if !self.logged_in => self.next("530 Please log in with USER and PASS.").await,
            _ => self.work(verb, argument).await,
        }
    }

    async fn auth(&mut self, argument: &[u8]) -> io::Result<Flow> {
        let offered =
            self.shared.options.tls.as_ref().is_some_and(|tls| tls.start == TlsStart::Explicit);
        if !offered
            || self.encrypted
            || !(argument.eq_ignore_ascii_case(b"TLS") || argument.eq_ignore_ascii_case(b"TLS-C"))
        {
            return self.next("504 Not available.").await;
        }
        let agreed = self.shared.script().auth_reply.unwrap_or("234 Proceed with negotiation.");
        self.say(agreed).await?;
        // What came in clear text after AUTH was sent by somebody else.
        if !self.reader()?.buffer().is_empty() {
            return Ok(Flow::End);
        }
        self.encrypt().await?;
        Ok(Flow::Next)
    }

    async fn encrypt(&mut self) -> io::Result<()> {
        let Some(tls) = &self.shared.options.tls else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let acceptor = TlsAcceptor::from(tls.config.clone());
        // The reader is empty here: nothing may have come in clear text before the handshake.
        let Some(Either::Left(stream)) = self.wire.take().map(BufReader::into_inner) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let encrypted = timeout(HANDSHAKE, acceptor.accept(stream)).await??;
        self.wire = Some(BufReader::new(Either::Right(Box::new(encrypted))));
        self.encrypted = true;
        Ok(())
    }

    async fn protection(&mut self, argument: &[u8]) -> io::Result<Flow> {
        match argument.to_ascii_uppercase().as_slice() {
            b"P" => {
                self.protect = true;
                self.next("200 Data is private.").await
            }
            b"C" => self.next("534 Data in clear text is not allowed.").await,
            _ => self.next("504 Not known.").await,
        }
    }

    async fn features(&mut self) -> io::Result<Flow> {
        let script = self.shared.script();
        let mut text = String::from("211-Features:\r\n");
        for (what, line) in [
            ("EPSV", "EPSV"),
            ("MDTM", "MDTM"),
            ("MLST", "MLST type*;size*;modify*;"),
            ("PASV", "PASV"),
            ("REST", "REST STREAM"),
            ("SIZE", "SIZE"),
            ("UTF8", "UTF8"),
        ] {
            if !script.lacks(what) {
                text.push_str(&format!(" {line}\r\n"));
            }
        }
        if self.shared.options.tls.is_some() {
            text.push_str(" AUTH TLS\r\n PBSZ\r\n PROT\r\n");
        }
        text.push_str("211 End\r\n");
        self.send(text.as_bytes()).await?;
        Ok(Flow::Next)
    }

    async fn user(&mut self, argument: &[u8]) -> io::Result<Flow> {
        if self.shared.options.tls.is_some() && !self.encrypted {
            return self.next("530 Log in over TLS.").await;
        }
        self.user = Some(argument.to_vec());
        self.logged_in = false;
        self.next("331 Please say the password.").await
    }

    async fn pass(&mut self, argument: &[u8]) -> io::Result<Flow> {
        let Some(user) = self.user.take() else { return self.next("503 USER first.").await };
        let options = &self.shared.options;
        let right =
            user == options.user.as_bytes() && argument == options.password.reveal().as_bytes();
        if right {
            let welcome = self.shared.welcomes.fetch_add(1, Ordering::SeqCst) + 1;
            if self.shared.script().full_logins_from.is_some_and(|from| welcome >= from) {
                self.say(
                    "530 Sorry, the maximum number of clients for this user is already connected.",
                )
                .await?;
                return Ok(Flow::End);
            }
            self.logged_in = true;
            self.shared.counts.logins.fetch_add(1, Ordering::SeqCst);
            return self.next("230 Welcome.").await;
        }
        self.shared.counts.refused_logins.fetch_add(1, Ordering::SeqCst);
        self.tries += 1;
        self.say("530 Login incorrect.").await?;
        Ok(if self.tries < TRIES { Flow::Next } else { Flow::End })
    }

    /// Sends one line.
    pub(super) async fn say(&mut self, line: &str) -> io::Result<()> {
        self.send(format!("{line}\r\n").as_bytes()).await
    }

    /// Sends one line; the next command may come.
    pub(super) async fn next(&mut self, line: &str) -> io::Result<Flow> {
        self.say(line).await.map(|()| Flow::Next)
    }

    /// Sends these bytes.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let wire = self.reader()?.get_mut();
        wire.write_all(bytes).await?;
        wire.flush().await
    }

    /// Waits until the client has gone.
    pub(super) async fn gone(&mut self) {
        let mut ignored = [0; 512];
        let Ok(reader) = self.reader() else { return };
        while matches!(reader.read(&mut ignored).await, Ok(read) if read > 0) {}
    }

    fn reader(&mut self) -> io::Result<&mut BufReader<DemoFtpWire>> {
        self.wire.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// Telnet doubles a byte 0xFF that means itself, and puts one before its own commands.
fn without_telnet(line: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(line.len());
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek()) {
            (0xFF, Some(0xFF)) => plain.extend(bytes.next()),
            // Interrupt and synchronise, as some clients send before ABOR.
            (0xFF, Some(0xF1..=0xFE)) => drop(bytes.next()),
            _ => plain.push(byte),
        }
    }
    plain
}
