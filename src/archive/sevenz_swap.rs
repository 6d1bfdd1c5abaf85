//! The filters of 7z that turn the bytes of each unit of two or four round.

use std::io::{self, Read};

/// So many bytes are turned at once: a multiple of every unit.
const AT_ONCE: u64 = 16 << 10;

/// Turns the bytes of each unit round; what is left of one at the end stays as it is.
pub(super) struct SwapReader<R> {
    input: R,
    unit: usize,
    turned: Vec<u8>,
    taken: usize,
}

impl<R: Read> SwapReader<R> {
    pub fn new(input: R, unit: usize) -> Self {
        Self { input, unit, turned: Vec::new(), taken: 0 }
    }
}

impl<R: Read> Read for SwapReader<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.turned.len() && !into.is_empty() {
            self.turned.clear();
            self.taken = 0;
            (&mut self.input).take(AT_ONCE).read_to_end(&mut self.turned)?;
            self.turned.chunks_exact_mut(self.unit).for_each(<[u8]>::reverse);
        }
        let read = into.len().min(self.turned.len() - self.taken);
        into[..read].copy_from_slice(&self.turned[self.taken..self.taken + read]);
        self.taken += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_turned_and_a_rest_is_not() {
        let turned = |bytes: &[u8], unit| {
            let mut all = Vec::new();
            SwapReader::new(bytes, unit).read_to_end(&mut all).unwrap();
            all
        };
        assert_eq!(turned(b"abcdefg", 2), b"badcfeg");
        assert_eq!(turned(b"abcdefg", 4), b"dcbaefg");
        assert_eq!(turned(b"", 4), b"");
        let large: Vec<u8> = (0..50_003).map(|n: u32| (n % 251) as u8).collect();
        assert_eq!(turned(&turned(&large, 4), 4), large);
    }
}
