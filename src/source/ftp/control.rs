//! The control connection: lines out, replies in, one after the other or several on their way at
//! once.

use std::io;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::fault::{Broken, FtpReply, Scene};
use crate::failpoint::safeguard_off;
use crate::model::failure::Class;
use crate::model::printable;
use crate::source::contract::SourceError;

/// The longest reply that is read, in bytes: a greeting or a list of features that never ends must
/// not fill the memory.
const REPLY_LIMIT: usize = 256 * 1024;
/// How much of the connection is read at once, in bytes.
const READ_AT_ONCE: usize = 4096;
/// After a line that may have ended a reply of several lines, so long for another line to come.
const MORE_LINES_COME: Duration = Duration::from_secs(2);
/// The most characters of a line that is no reply that go into a message.
const LINE_CHARS: usize = 100;
/// The byte that begins a command of Telnet. Within a line it is doubled (RFC 959 §4.1.3, RFC 854).
const IAC: u8 = 0xFF;

/// A connection in clear text or encrypted.
pub(crate) type FtpStream = Either<TcpStream, TlsStream<TcpStream>>;

/// The TCP connection below.
pub fn tcp(stream: &FtpStream) -> &TcpStream {
    match stream {
        Either::Left(tcp) => tcp,
        Either::Right(tls) => tls.get_ref().0,
    }
}

/// One control connection. A future of it that is dropped half-way loses no byte of a reply, but
/// leaves questions without their answers: a task that drops one must not ask any more.
#[derive(Debug)]
pub(crate) struct FtpControl {
    stream: FtpStream,
    /// What came and was not read as a reply yet.
    inbox: BytesMut,
    /// Whether the last reply said that a command is done, and nothing else.
    was_done: bool,
}

impl FtpControl {
    /// Over a connection on which nothing was said yet.
    pub fn new(stream: FtpStream) -> Self {
        Self { stream, inbox: BytesMut::new(), was_done: false }
    }

    /// The TCP connection below.
    pub fn tcp(&self) -> &TcpStream {
        tcp(&self.stream)
    }

    /// Acknowledges what came, since more is awaited. A server that does not set `TCP_NODELAY`
    /// holds back its next small reply until then, which this system would put off for 40 ms.
    fn acknowledge(&self) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Err(error) = self.tcp().set_quickack(true) {
            tracing::trace!(%error, "Replies cannot be acknowledged at once.");
        }
    }

    /// The clear connection, to be encrypted. Whatever came on it after the last reply was not
    /// asked for, and must not be taken for something that was said under encryption.
    pub(crate) fn into_clear(self) -> Result<TcpStream, Broken> {
        match self.stream {
            Either::Left(tcp) if self.inbox.is_empty() => Ok(tcp),
            _ => Err(Broken::Tls(
                "the server, or somebody on the way, said more in clear text than it was asked"
                    .into(),
            )),
        }
    }

    /// What came that nobody asked for, as far as it is here: then no later reply can be told to be
    /// the answer to its question. The last words of a server that goes away are none of it.
    fn stray(&mut self) -> Option<FtpReply> {
        self.drop_repeated();
        let is_stray = self.has_more()
            && !self.inbox.starts_with(b"421")
            && !safeguard_off!("replies-in-step");
        is_stray.then(|| FtpReply::of(&self.inbox[..self.inbox.len().min(READ_AT_ONCE)]))
    }

    /// Takes away replies that say "done" once more after such a one: whichever of them answers the
    /// last command, it is done.
    fn drop_repeated(&mut self) {
        while self.was_done && self.has_more() {
            let Some(end) = self.inbox.iter().position(|b| *b == b'\n') else { return };
            let reply = FtpReply::of(&self.inbox[..=end]);
            if !reply.says_done_alone() {
                return;
            }
            self.drop_reply(&reply);
            self.inbox.advance(end + 1);
        }
    }

    fn drop_reply(&self, reply: &FtpReply) {
        let peer = self.tcp().peer_addr().ok();
        tracing::debug!(
            ?peer,
            reply = reply.text(),
            "The server said twice that a command is done."
        );
    }

    /// Whether more is here than was read as replies.
    pub(super) fn has_more(&mut self) -> bool {
        self.drop_noise();
        if self.inbox.is_empty() {
            self.inbox.reserve(READ_AT_ONCE);
            // An end or an error is met by the next question.
            drop(self.stream.read_buf(&mut self.inbox).now_or_never());
            self.drop_noise();
        }
        !self.inbox.is_empty()
    }

    /// Takes away what may stand before a reply and says nothing: empty lines, and what Telnet
    /// negotiates (IAC, a word, an option; RFC 854).
    fn drop_noise(&mut self) {
        loop {
            let noise = match self.inbox.as_ref() {
                [b'\r', b'\n', ..] => 2,
                [b'\n', ..] => 1,
                [IAC, 0xFB..=0xFE, _, ..] => 3,
                _ => return,
            };
            self.inbox.advance(noise);
        }
    }

    /// An error if there is such a thing.
    pub fn quiet(&mut self, scene: Scene<'_>) -> Result<(), SourceError> {
        let Some(stray) = self.stray() else { return Ok(()) };
        let text = format!(
            "the replies are out of step: the server said, without being asked, {}",
            stray.text()
        );
        Err(scene.fault(Class::Protocol, text).transient(true))
    }

    /// Sends lines, all at once.
    pub async fn send(&mut self, lines: &[impl AsRef<[u8]>]) -> Result<(), Broken> {
        let mut bytes = Vec::new();
        for line in lines {
            write_line(&mut bytes, line.as_ref())?;
        }
        self.stream.write_all(&bytes).await.map_err(Broken::Io)?;
        self.stream.flush().await.map_err(Broken::Io)
    }

    /// The next reply, whatever it says.
    pub async fn reply(&mut self) -> Result<FtpReply, Broken> {
        // Where the next line begins, and where a line ends that may have been the last.
        let (mut read, mut doubtful) = (0, None);
        // How many bytes of text came before the reply, and its last line.
        let (mut chatter, mut text) = (0, BytesMut::new());
        loop {
            if read == 0 {
                self.drop_noise();
            }
            if let Some(end) =
                self.inbox[read..].iter().position(|b| *b == b'\n').map(|at| read + at + 1)
            {
                match place(&self.inbox, read..end)? {
                    LinePlace::Last => return Ok(self.taken(end)),
                    LinePlace::PerhapsLast => doubtful = doubtful.or(Some(end)),
                    LinePlace::Within => {}
                    LinePlace::Before => {
                        text = self.inbox.split_to(end);
                        chatter += end;
                        continue;
                    }
                }
                read = end;
                continue;
            }
            if self.inbox.len() + chatter > REPLY_LIMIT {
                return Err(Broken::TooLong(REPLY_LIMIT));
            }
            self.acknowledge();
            self.inbox.reserve(READ_AT_ONCE);
            let reading = self.stream.read_buf(&mut self.inbox);
            if doubtful.is_none() && chatter == 0 {
                if reading.await.map_err(Broken::Io)? == 0 {
                    return Err(Broken::Io(io::ErrorKind::UnexpectedEof.into()));
                }
                continue;
            }
            if !matches!(timeout(MORE_LINES_COME, reading).await, Ok(Ok(1..))) {
                return doubtful.map(|end| self.taken(end)).ok_or_else(|| nonsense(&text));
            }
        }
    }

    /// The reply that ends there.
    fn taken(&mut self, end: usize) -> FtpReply {
        let reply = FtpReply::of(&self.inbox.split_to(end));
        self.was_done = reply.says_done_alone();
        reply
    }

    /// The next reply that may answer `line`. Where `line` asks for a value, one that says "done"
    /// after another one that did is none: the server said it twice.
    pub async fn answer_to(&mut self, line: &[u8]) -> Result<FtpReply, Broken> {
        loop {
            let was_done = self.was_done && asks_for_a_value(line);
            let reply = self.reply().await?;
            if !(was_done && reply.says_done_alone()) {
                return Ok(reply);
            }
            self.drop_reply(&reply);
        }
    }

    /// Sends a line and reads the reply to it.
    pub async fn ask(&mut self, line: &[u8]) -> Result<FtpReply, Broken> {
        self.send(&[line]).await?;
        self.answer_to(line).await
    }

    /// [`FtpControl::ask`], with any other reply than these an error.
    pub async fn expect(&mut self, line: &[u8], codes: &[u32]) -> Result<FtpReply, Broken> {
        let reply = self.ask(line).await?;
        if codes.contains(&reply.code) { Ok(reply) } else { Err(Broken::Refused(reply)) }
    }
}

fn write_line(bytes: &mut Vec<u8>, line: &[u8]) -> Result<(), Broken> {
    if line.iter().any(|b| matches!(b, b'\r' | b'\n')) {
        // What follows would be a command of its own.
        return Err(Broken::Io(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a command must not contain a line break",
        )));
    }
    for byte in line {
        bytes.push(*byte);
        if *byte == IAC {
            bytes.push(IAC);
        }
    }
    bytes.extend_from_slice(b"\r\n");
    Ok(())
}

/// Whether no server answers `line` by "done": what it asks for stands in the answer.
fn asks_for_a_value(line: &[u8]) -> bool {
    let verb = line.split(|b| *b == b' ').next().unwrap_or_default();
    [&b"SIZE"[..], b"MDTM", b"EPSV", b"PASV"].contains(&verb)
}

/// Where a line stands in its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinePlace {
    /// Text before it, as a wrapper around the server says: other clients skip it.
    Before,
    Within,
    /// The last line, unless a line with the code of the first one follows.
    PerhapsLast,
    Last,
}

/// Where the line at `line` of a reply that begins `reply` stands. glFTPd ends a reply by another
/// code of the same kind (230 by 231). A line with a code of another kind is text as a rule, as a
/// `220 ` in the greeting of the day within a 230. A code without a word ends a reply only where
/// the code begins the reply: within a reply, such a line is text.
fn place(reply: &[u8], line: std::ops::Range<usize>) -> Result<LinePlace, Broken> {
    let first = line.start == 0;
    let line = &reply[line];
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let coded = line.len() >= 3 && line[..3].iter().all(u8::is_ascii_digit);
    match line.get(3) {
        _ if first && !coded && speaks_otherwise(line) => Err(nonsense(line)),
        _ if first && !coded => Ok(LinePlace::Before),
        None if first => Ok(LinePlace::Last),
        Some(b' ') if coded && line[..2] == reply[..2] => Ok(LinePlace::Last),
        Some(b' ') if coded => Ok(LinePlace::PerhapsLast),
        _ => Ok(LinePlace::Within),
    }
}

fn nonsense(line: &[u8]) -> Broken {
    let text: String = printable(line.trim_ascii()).chars().take(LINE_CHARS).collect();
    Broken::Nonsense(match line.starts_with(b"SSH-") {
        true => format!("`{text}`, as a server of SSH: its files are read by sftp://"),
        false => format!("`{text}`"),
    })
}

/// Whether a line is the first word of another protocol.
fn speaks_otherwise(line: &[u8]) -> bool {
    [&b"SSH-"[..], b"HTTP/", b"* OK", b"+OK", b"RFB "].iter().any(|word| line.starts_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// What [`FtpControl::reply`] makes of these bytes, which come in pieces of `step`, up to the
    /// first error.
    async fn replies(bytes: &[u8], step: usize) -> Vec<Result<(u32, String), String>> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let stream = TcpStream::connect(listener.local_addr().expect("it is bound"))
            .await
            .expect("it listens");
        let (mut server, _) = listener.accept().await.expect("somebody connects");
        let bytes = bytes.to_vec();
        let sending = tokio::spawn(async move {
            for piece in bytes.chunks(step) {
                if server.write_all(piece).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
        let mut control = FtpControl::new(Either::Left(stream));
        let mut all = Vec::new();
        loop {
            match control.reply().await {
                Ok(reply) => all.push(Ok((reply.code, reply.text()))),
                Err(error) => {
                    all.push(Err(error.to_string()));
                    break;
                }
            }
        }
        sending.abort();
        all
    }

    async fn check(bytes: &[u8], expected: &[(u32, &str)], end: &str) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(code, text)| Ok((*code, (*text).to_owned())))
            .chain([Err(end.to_owned())])
            .collect();
        assert_eq!(replies(bytes, 1).await, expected);
        assert_eq!(replies(bytes, bytes.len()).await, expected);
    }

    #[tokio::test]
    async fn replies_of_one_line_and_of_many() {
        let closed = "unexpected end of file";
        check(b"220 hi\r\n331 who\n", &[(220, "220 hi"), (331, "331 who")], closed).await;
        check(
            b"230-a\r\n b\r\n231 no\r\n200 x\r\n",
            &[(231, "230-a / b / 231 no"), (200, "200 x")],
            closed,
        )
        .await;
        check(
            b"211-Features:\r\n MDTM\r\n211\r\n211-x\r\n211 End\r\n",
            &[(211, "211-Features: / MDTM / 211 / 211-x / 211 End")],
            closed,
        )
        .await;
        check(b"230\r\n226 x\r\n22", &[(230, "230"), (226, "226 x")], closed).await;
        check(b"226-half\r\n", &[], closed).await;
        // Telnet's questions and empty lines are none.
        check(
            b"\xff\xfd\x01\xff\xfb\x03\r\n220 hi\r\n\r\n331 who\r\n",
            &[(220, "220 hi"), (331, "331 who")],
            closed,
        )
        .await;
    }

    #[tokio::test]
    async fn a_line_with_a_code_of_another_kind_is_text_within_a_reply() {
        let welcome = b"230-Welcome\r\n220 Main Street\r\n230-\r\n230 in\r\n200 x\r\n";
        let expected = [(230, "230-Welcome / 220 Main Street / 230- / 230 in"), (200, "200 x")];
        let all = replies(welcome, welcome.len()).await;
        let told: Vec<_> =
            all.iter().flatten().map(|(code, text)| (*code, text.as_str())).collect();
        assert_eq!(told, expected);
        // Where nothing follows, that was the end.
        check(b"226-a\r\n250 done\r\n", &[(250, "226-a / 250 done")], "unexpected end of file")
            .await;
    }

    #[tokio::test]
    async fn text_before_a_reply_is_skipped() {
        check(
            b"Warning: low disk\r\nsee the log\r\n220 hi\r\nWarning\r\n331 who\r\n",
            &[(220, "220 hi"), (331, "331 who")],
            "unexpected end of file",
        )
        .await;
    }

    #[tokio::test]
    async fn what_is_no_reply_ends_the_connection() {
        let nonsense =
            |line: &str| format!("the server sent a reply that the protocol does not know: {line}");
        check(b"220 hi\r\nhello\r\n", &[(220, "220 hi")], &nonsense("`hello`")).await;
        check(b"\xff\xf1220 hi\r\n", &[], &nonsense(r"`\xFF\xF1220 hi`")).await;
        let ssh = "`SSH-2.0-x`, as a server of SSH: its files are read by sftp://";
        check(b"SSH-2.0-x\r\n220 hi\r\n", &[], &nonsense(ssh)).await;
        check(b"2x0 hi\r\n", &[], &nonsense("`2x0 hi`")).await;
    }

    #[tokio::test]
    async fn a_reply_that_never_ends_is_not_kept() {
        for endless in
            [b"220-hi\r\n".repeat(40_000), [b"220 ".to_vec(), vec![b'x'; 300_000]].concat()]
        {
            let all = replies(&endless, 1 << 14).await;
            assert_eq!(all, [Err("the server sent a reply larger than 262144 bytes".to_owned())]);
        }
    }

    #[test]
    fn a_line_is_one_line_and_carries_every_byte() {
        let mut bytes = Vec::new();
        write_line(&mut bytes, b"SIZE /a\xFFb").expect("it has no line break");
        assert_eq!(bytes, b"SIZE /a\xFF\xFFb\r\n");
        for bad in [&b"SIZE a\nDELE b"[..], b"SIZE a\r"] {
            assert!(write_line(&mut Vec::new(), bad).is_err());
        }
    }
}
