//! Log lines pass the redactor, one by one.

use std::io::{self, Write};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::model::redactor::Redactor;

/// A writer of log lines around another, which `make` opens for a line's level. Each line comes in
/// one piece.
pub(crate) struct RedactedWriter<F> {
    make: F,
    redactor: Redactor,
}

impl<'a, F, W> MakeWriter<'a> for RedactedWriter<F>
where
    F: Fn(Level) -> W,
    W: Write,
{
    type Writer = Redacted<W>;
    fn make_writer(&'a self) -> Self::Writer {
        self.for_level(Level::INFO)
    }
    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        self.for_level(*metadata.level())
    }
}

impl<F> RedactedWriter<F> {
    /// Around what `make` opens.
    pub fn new<W: Write>(redactor: &Redactor, make: F) -> Self
    where
        F: Fn(Level) -> W,
    {
        Self { make, redactor: redactor.clone() }
    }

    fn for_level<W: Write>(&self, level: Level) -> Redacted<W>
    where
        F: Fn(Level) -> W,
    {
        Redacted { inner: (self.make)(level), redactor: self.redactor.clone(), line: Vec::new() }
    }
}

/// Collects a line, and hands it on clean when it is dropped.
pub(crate) struct Redacted<W: Write> {
    inner: W,
    redactor: Redactor,
    line: Vec<u8>,
}

impl<W: Write> Write for Redacted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Drop for Redacted<W> {
    fn drop(&mut self) {
        // A console that is gone or a full disk must not stop the work; there is nowhere left to
        // tell.
        drop(self.inner.write_all(&self.redactor.bytes(&self.line)));
    }
}
