//! SFTP packets cut out of a stream.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::model::printable;

/// The most bytes of one packet that we take. OpenSSH's own limit is 256 KiB; a claim of more than
/// this is an attack, or text from something that is no SFTP server.
pub(crate) const MAX_PACKET: usize = 1 << 20;
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
        Self { stream, buffer: BytesMut::new(), received }
    }

    /// The next packet's body; `None` when the stream ends between two packets.
    /// Not to be called again after an error, nor after its future was dropped.
    pub async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if !self.fill(4).await? {
            return if self.buffer.is_empty() {
                Ok(None)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
        let length =
            u32::from_be_bytes([self.buffer[0], self.buffer[1], self.buffer[2], self.buffer[3]])
                as usize;
        if length > MAX_PACKET {
            return Err(io::Error::new(io::ErrorKind::InvalidData, self.no_packet(length)));
        }
        if !self.fill(4 + length).await? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.advance(4);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }

    /// A login script that prints something breaks SFTP on many servers: show what it said.
    fn no_packet(&self, length: usize) -> String {
        let start = &self.buffer[..self.buffer.len().min(120)];
        if start.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
            return format!(
                "the server sent text where SFTP should start (does a login script print it?): \
                `{}`",
                printable(start)
            );
        }
        format!("a packet that claims {length} bytes")
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
        let greeting = packets(b"Welcome to acme!\n").await.expect_err("text is no packet");
        assert!(greeting.contains("`Welcome to acme!\\x0A`"), "{greeting}");
    }
}
