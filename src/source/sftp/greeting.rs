//! What a server says before it speaks SSH: text that is passed over, as RFC 4253 §4.2 has it.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::requests::LastWords;

/// Lines before the version that are passed over, and how long each may be: as OpenSSH does it.
const MOST_LINES: usize = 1024;
const LONGEST_LINE: usize = 8 << 10;
/// How much of a server's first words is kept for messages.
const FIRST_WORDS: usize = 255;

/// The first words of a server: its version and what follows, or else whatever it says.
#[derive(Clone, Debug, Default)]
pub struct FirstWords(Arc<Mutex<Vec<u8>>>);

impl FirstWords {
    fn words(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, new: &[u8]) {
        let mut words = self.words();
        let room = FIRST_WORDS - words.len();
        words.extend_from_slice(&new[..new.len().min(room)]);
    }

    /// What was heard so far.
    pub fn heard(&self) -> Vec<u8> {
        self.words().clone()
    }
}

/// Whether the server was the last to send something, as seen from below the encryption.
#[derive(Clone, Debug, Default)]
pub struct LastSender(Arc<AtomicBool>);

impl LastSender {
    /// Whether it was the server.
    pub fn is_server(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// What the server sent last was understood and needs no answer.
    pub fn settled(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// A connection of which nothing is read before the server's version, and whose first words are
/// kept: russh forgets what is no SSH greeting, and takes less text than servers send.
pub(crate) struct Listening<S> {
    stream: S,
    words: FirstWords,
    last_words: LastWords,
    last_sender: LastSender,
    /// What came and was not handed on yet.
    pending: Vec<u8>,
    lines: usize,
    /// Whether everything is handed on as it comes.
    passes: bool,
}

impl<S> Listening<S> {
    /// On `stream`, of which nothing was read.
    pub fn new(
        stream: S,
        words: FirstWords,
        last_words: LastWords,
        last_sender: LastSender,
    ) -> Self {
        let pending = Vec::new();
        Self { stream, words, last_words, last_sender, pending, lines: 0, passes: false }
    }

    /// Drops whole lines of text before the version.
    fn sift(&mut self) {
        while !self.pending.starts_with(b"SSH-") {
            let Some(end) = self.pending.iter().position(|b| *b == b'\n') else {
                self.passes |= self.pending.len() > LONGEST_LINE;
                return;
            };
            self.lines += 1;
            if self.lines > MOST_LINES {
                self.passes = true;
                return;
            }
            self.pending.drain(..=end);
        }
        self.passes = true;
        let mut words = self.words.words();
        words.clear();
        words.extend_from_slice(&self.pending[..self.pending.len().min(FIRST_WORDS)]);
    }
}

impl<S: AsyncRead + Unpin> Listening<S> {
    fn poll_stream(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        if let Err(error) = &read {
            self.last_words.say(error.to_string());
        }
        let new = &buf.filled()[before..];
        if !new.is_empty() {
            self.last_sender.0.store(true, Ordering::Relaxed);
        }
        self.words.hear(new);
        Poll::Ready(read)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Listening<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while !this.passes {
            let mut space = [0; 2048];
            let mut part = ReadBuf::new(&mut space);
            ready!(this.poll_stream(cx, &mut part))?;
            if part.filled().is_empty() {
                // The end: what there is may say why.
                this.passes = true;
            } else {
                this.pending.extend_from_slice(part.filled());
                this.sift();
            }
        }
        if this.pending.is_empty() {
            return this.poll_stream(cx, buf);
        }
        let length = this.pending.len().min(buf.remaining());
        buf.put_slice(&this.pending[..length]);
        this.pending.drain(..length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Listening<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        self.last_sender.settled();
        Poll::Ready(written)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// What is handed on of `sent`, and what is kept of it.
    async fn heard(sent: &[u8], step: usize) -> (Vec<u8>, Vec<u8>) {
        let (mut server, client) = tokio::io::duplex(64);
        let words = FirstWords::default();
        let mut listening =
            Listening::new(client, words.clone(), LastWords::default(), LastSender::default());
        let sent = sent.to_vec();
        let sending = tokio::spawn(async move {
            for piece in sent.chunks(step) {
                if server.write_all(piece).await.is_err() {
                    return;
                }
            }
        });
        let mut read = Vec::new();
        listening.read_to_end(&mut read).await.unwrap();
        sending.await.unwrap();
        (read, words.heard())
    }

    #[tokio::test]
    async fn text_before_the_version_is_passed_over_as_openssh_does_it() {
        let version = b"SSH-2.0-x\r\n\0\0\x01\x02".to_vec();
        for text in [
            Vec::new(),
            [vec![b'x'; 300], b"\r\n".to_vec()].concat(),
            b"*** Authorised use only ***\r\n".repeat(1000),
            [vec![b'y'; LONGEST_LINE - 2], b"\n".to_vec()].concat(),
        ] {
            for step in [1, 7, 4096] {
                let (read, words) = heard(&[text.clone(), version.clone()].concat(), step).await;
                assert_eq!(read, version, "after {} bytes of text", text.len());
                assert!(words.starts_with(b"SSH-2.0-x"));
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_ssh_is_kept_for_the_message_and_held_in_bounds() {
        let (read, words) = heard(b"220 FTP\r\nnot at all", 3).await;
        assert_eq!((read, words), (b"not at all".to_vec(), b"220 FTP\r\nnot at all".to_vec()));
        let endless = vec![b'z'; 3 * LONGEST_LINE];
        assert_eq!(heard(&endless, 1000).await.0, endless);
        let lines = b"line\n".repeat(MOST_LINES + 10);
        assert_eq!(heard(&lines, 1000).await.0, b"line\n".repeat(10));
    }

    #[tokio::test]
    async fn who_sent_last_is_known() {
        let (mut server, client) = tokio::io::duplex(64);
        let last = LastSender::default();
        let (words, last_words) = (FirstWords::default(), LastWords::default());
        let mut listening = Listening::new(client, words, last_words, last.clone());
        assert!(!last.is_server());
        for _ in 0..2 {
            server.write_all(b"SSH-2.0-x\r\n").await.unwrap();
            listening.read_exact(&mut [0; 11]).await.unwrap();
            assert!(last.is_server());
            listening.write_all(b"question").await.unwrap();
            assert!(!last.is_server());
        }
    }
}
