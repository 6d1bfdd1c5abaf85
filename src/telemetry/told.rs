//! A log file whose disk may be full: told once, and never a reason not to run.

use std::io::{self, Write};
use std::path::PathBuf;

/// Writes lines to a log file. The first that cannot be written is told to all other places that
/// lines go to, and so is how many were lost once lines can be written again.
pub(crate) struct ToldFile<W> {
    file: W,
    path: PathBuf,
    lost: u64,
}

impl<W> ToldFile<W> {
    /// The log file at `path`.
    pub fn new(file: W, path: PathBuf) -> Self {
        Self { file, path, lost: 0 }
    }
}

impl<W: Write> Write for ToldFile<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // A part of a line would be written twice if this said how much was.
        let written = self.file.write_all(line);
        match &written {
            Err(error) => {
                self.lost += 1;
                if self.lost == 1 {
                    tracing::warn!(
                        file = %self.path.display(),
                        %error,
                        "Warning: a log file cannot be written; its lines are lost until it can."
                    );
                }
            }
            Ok(()) if self.lost > 0 => {
                let lines = std::mem::take(&mut self.lost);
                tracing::warn!(
                    file = %self.path.display(),
                    lines,
                    "Warning: lines of a log file were lost, because it could not be written."
                );
            }
            Ok(()) => {}
        }
        written.map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
