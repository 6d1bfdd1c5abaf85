//! Files that are transferred as text: `TYPE A` beside `TYPE I`, and the line ends of the wire.

use bytes::{Bytes, BytesMut};

use super::account::TransferType;
use super::client::FtpClient;
use super::fault::Scene;
use crate::model::RemoteFile;
use crate::source::contract::{Listed, SourceError};
use crate::source::finding::Finding;

impl FtpClient {
    /// Whether files are transferred as text.
    pub(super) fn takes_text(&self) -> bool {
        self.account.transfer_type == TransferType::Ascii
    }

    /// Has the server list in the way in which its listings can be read.
    pub(super) async fn in_listing_type(&mut self, scene: Scene<'_>) -> Result<(), SourceError> {
        let as_text = self.account.learned.ways.as_text();
        let wanted = if as_text { TransferType::Ascii } else { TransferType::Binary };
        self.in_type(scene, wanted).await
    }

    /// Has the server transfer in this way from now on.
    pub(super) async fn in_type(
        &mut self,
        scene: Scene<'_>,
        wanted: TransferType,
    ) -> Result<(), SourceError> {
        if self.transfer_type == wanted {
            return Ok(());
        }
        let line: &[u8] = if wanted == TransferType::Ascii { b"TYPE A" } else { b"TYPE I" };
        let reply = self.command(scene, line).await?;
        if !reply.is_done() {
            return Err(scene.refused(&reply));
        }
        self.transfer_type = wanted;
        Ok(())
    }

    /// What is told of the way in which files are transferred.
    pub(super) fn type_findings(&self) -> Option<Finding> {
        self.takes_text().then(|| {
            Finding::new(
                "transfer type",
                "ASCII: the server converts files to text, lines end in LF; sizes prove nothing, \
                 broken transfers begin anew",
            )
        })
    }
}

/// A file as it is told where sizes say nothing of the bytes that come.
pub(super) fn without_size(file: RemoteFile) -> RemoteFile {
    RemoteFile { size: None, ..file }
}

/// An entry [`without_size`].
pub(super) fn sizeless(listed: Listed) -> Listed {
    match listed {
        Listed::File(file) => Listed::File(without_size(file)),
        Listed::Untold(file) => Listed::Untold(without_size(file)),
        other => other,
    }
}

/// Turns the line ends of the wire (CR LF, RFC 959 §3.1.1.1) into LF. A CR by itself stays.
#[derive(Debug, Default)]
pub(crate) struct TextLines {
    /// Whether a CR is held back until the next byte is known.
    held: bool,
}

impl TextLines {
    /// What `wire` comes to, but for a CR at its end.
    pub fn take(&mut self, wire: &[u8]) -> Bytes {
        let Some(first) = wire.first() else { return Bytes::new() };
        let mut text = BytesMut::with_capacity(wire.len() + 1);
        if std::mem::take(&mut self.held) && *first != b'\n' {
            text.extend_from_slice(b"\r");
        }
        let mut rest = wire;
        while let Some(cr) = rest.iter().position(|byte| *byte == b'\r') {
            text.extend_from_slice(&rest[..cr]);
            rest = &rest[cr + 1..];
            match rest.first() {
                None => self.held = true,
                Some(b'\n') => {}
                Some(_) => text.extend_from_slice(b"\r"),
            }
        }
        text.extend_from_slice(rest);
        text.freeze()
    }

    /// What is left at the end.
    pub fn end(&mut self) -> Bytes {
        if std::mem::take(&mut self.held) { Bytes::from_static(b"\r") } else { Bytes::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_are_converted_wherever_the_chunks_end() {
        let wire = b"a\r\nb\rc\r\r\n\n\r";
        for step in 1..=wire.len() {
            let mut lines = TextLines::default();
            let mut text = Vec::new();
            for chunk in wire.chunks(step) {
                text.extend_from_slice(&lines.take(chunk));
            }
            text.extend_from_slice(&lines.end());
            assert_eq!(text, b"a\nb\rc\r\n\n\r", "in steps of {step}");
        }
    }
}
