//! SFTP packets cut out of a stream.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::packet;
use crate::model::printable;

/// The most bytes of one packet that we take. OpenSSH's own limit is 256 KiB; a claim of more than
/// this is an attack, or text from something that is no SFTP server.
pub(crate) const MAX_PACKET: usize = 1 << 20;
/// The most bytes of one packet of names. AWS sends all entries of a folder in one, see
/// <https://github.com/libssh2/libssh2/pull/791>. Text is read as a claim of more than this.
const MAX_NAMES: usize = 64 << 20;
/// How long more of a text is waited for, and how much of it is shown.
const TEXT_PATIENCE: Duration = Duration::from_millis(200);
const MOST_TEXT: usize = 300;
/// Buffer space taken for a packet before its bytes have arrived; holds a whole read of OpenSSH.
const READ_AHEAD: usize = 256 << 10;
/// One SSH packet.
const SMALL_READ: usize = 32 << 10;

/// Cuts a stream into packets.
pub struct Packets<R> {
    stream: R,
    buffer: BytesMut,
    received: Arc<AtomicU64>,
}

impl<R: AsyncRead + Unpin> Packets<R> {
    /// Packets of `stream`, from its next byte on; `received` counts bytes as they arrive.
    pub fn new(stream: R, received: Arc<AtomicU64>) -> Self {
        Self::after(&[], stream, received)
    }

    /// Packets of what has come `already`, and then of `stream`.
    pub(crate) fn after(already: &[u8], stream: R, received: Arc<AtomicU64>) -> Self {
        Self { stream, buffer: already.into(), received }
    }

    /// The next packet's body; `None` when the stream ends between two packets.
    /// Not to be called again after an error, nor after its future was dropped.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if !self.fill(4).await? {
            return if self.buffer.is_empty() {
                Ok(None)
            } else {
                Err(text_of(&self.buffer).map_or(io::ErrorKind::UnexpectedEof.into(), invalid))
            };
        }
        let length =
            u32::from_be_bytes([self.buffer[0], self.buffer[1], self.buffer[2], self.buffer[3]])
                as usize;
        if length > MAX_PACKET && !(length <= MAX_NAMES && self.holds_names().await?) {
            return Err(invalid(self.no_packet(length).await));
        }
        if !self.fill(4 + length).await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.advance(4);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// Whether the packet that begins is one of names.
    async fn holds_names(&mut self) -> io::Result<bool> {
        Ok(self.fill(5).await? && packet::holds_names(&self.buffer[4..]))
    }

    /// A login script that prints something breaks SFTP on many servers: show what it said.
    async fn no_packet(&mut self, length: usize) -> String {
        let claim = format!("a packet that claims {length} bytes");
        if text_of(&self.buffer).is_none() {
            return claim;
        }
        // It comes line by line.
        drop(tokio::time::timeout(TEXT_PATIENCE, self.fill(MOST_TEXT)).await);
        text_of(&self.buffer).unwrap_or(claim)
    }

    /// Whether the buffer could be filled up to `wanted` bytes before the stream ended.
    async fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        while self.buffer.len() < wanted {
            if self.buffer.capacity() < wanted || self.buffer.capacity() == self.buffer.len() {
                // A claim above the upper bound gets its space only as its bytes arrive.
                self.buffer.reserve((wanted - self.buffer.len()).clamp(SMALL_READ, READ_AHEAD));
            }
            let count = self.stream.read_buf(&mut self.buffer).await?;
            if count == 0 {
                return Ok(false);
            }
            self.received.fetch_add(count as u64, Ordering::Relaxed);
        }
        Ok(true)
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// What is said of bytes that begin with text, in whatever character set, where a packet belongs.
fn text_of(bytes: &[u8]) -> Option<String> {
    let is_text = |byte: &u8| !byte.is_ascii_control() || byte.is_ascii_whitespace();
    let length = bytes.iter().take_while(|byte| is_text(byte)).count().min(MOST_TEXT);
    let letters = bytes[..length].iter().filter(|byte| byte.is_ascii_graphic()).count();
    // What is cut off within the length of a packet is no text unless all of it is.
    if letters * 2 < length || letters == 0 || length < bytes.len().min(4) {
        return None;
    }
    Some(format!(
        "the server sent text where SFTP should start (does a login script print it?): `{}`",
        printable(&bytes[..length])
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn packets(bytes: &[u8]) -> Result<Vec<Bytes>, String> {
        let mut packets = Packets::new(bytes, Arc::default());
        let mut found = Vec::new();
        while let Some(packet) = packets.next().await.map_err(|error| error.to_string())? {
            found.push(packet);
        }
        Ok(found)
    }

    #[tokio::test]
    async fn a_stream_is_cut_into_packets() {
        assert_eq!(
            packets(b"\0\0\0\x01a\0\0\0\0\0\0\0\x02bc").await,
            Ok(vec!["a".into(), "".into(), "bc".into()])
        );
        assert!(packets(b"\0\0\0\x05a").await.is_err());
        assert_eq!(
            packets(b"\xff\xff\xff\xff\0").await,
            Err("a packet that claims 4294967295 bytes".into())
        );
    }

    #[tokio::test]
    async fn text_where_a_packet_belongs_is_shown() {
        for (text, shown) in [
            (&b"Welcome to acme!\n"[..], "`Welcome to acme!\\x0A`"),
            (b"No\n", "`No\\x0A`"),
            ("\u{dc}berwachter Server\n".as_bytes(), "`\u{dc}berwachter Server\\x0A`"),
            (b"\xdcberwachter Server", "berwachter Server`"),
            // The server goes on to speak SFTP.
            (b"Last login: today\r\n\0\0\0\x05\x02\0\0\0\x03", "`Last login: today\\x0D\\x0A`"),
        ] {
            let error = packets(text).await.expect_err("text is no packet");
            assert!(
                error.contains("text where SFTP should start") && error.contains(shown),
                "{error}"
            );
        }
        for cut in [&b"\0"[..], b"\0\0\x01", b"\xff\xfe"] {
            assert_eq!(packets(cut).await, Err("unexpected end of file".into()));
        }
    }

    #[tokio::test]
    async fn all_names_of_a_large_folder_may_come_in_one_packet() {
        let packet = |kind: u8, length: usize| {
            let claim = u32::try_from(length).expect("it is below 4 GiB").to_be_bytes();
            [&claim[..], &[kind], &vec![0; length - 1]].concat()
        };
        let large = MAX_PACKET + (7 << 20);
        assert_eq!(packets(&packet(104, large)).await.map(|found| found[0].len()), Ok(large));
        for (kind, length) in [(103, large), (104, MAX_NAMES + 1)] {
            let refused = packets(&packet(kind, length)).await.expect_err("it is too long");
            assert_eq!(refused, format!("a packet that claims {length} bytes"));
        }
    }
}
