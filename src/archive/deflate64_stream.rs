//! A stream of deflate64, which tells its own end.

use std::io::{self, BufRead, Read};

use deflate64::InflaterManaged;

/// The decoder of deflate64. The crate's own reader takes the end of its input for the end of the
/// content.
pub struct Deflate64<R> {
    input: R,
    inflater: Box<InflaterManaged>,
}

impl<R: BufRead> Deflate64<R> {
    /// The stream at which `input` stands.
    pub fn new(input: R) -> Self {
        Self { input, inflater: Box::new(InflaterManaged::new()) }
    }

    /// What it has not read.
    pub fn into_inner(self) -> R {
        self.input
    }
}

impl<R: BufRead> Read for Deflate64<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if into.is_empty() {
            return Ok(0);
        }
        loop {
            let available = self.input.fill_buf()?;
            let is_last = available.is_empty();
            let result = self.inflater.inflate(available, into);
            self.input.consume(result.bytes_consumed);
            if result.data_error {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "invalid deflate64"));
            }
            if result.bytes_written > 0 || self.inflater.finished() {
                return Ok(result.bytes_written);
            }
            if is_last || result.bytes_consumed == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "incomplete deflate64 stream",
                ));
            }
        }
    }
}
