//! Memory for what decoders must hold of what they have unpacked: drawn before it is taken,
//! whatever an archive claims.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::archive::error::UnpackError;
use crate::model::failure::Class;

/// Windows up to this size are not counted: buffers are as large.
const SMALL_BYTES: u64 = 256 << 10;
/// How long those wait who hold a window already, since they may be what the others wait for.
const HOLDER_WAITS: Duration = Duration::from_secs(10);

/// The memory that all decoders of a run share for their windows, dictionaries and models.
#[derive(Debug)]
pub struct Windows {
    total: u64,
    /// The most, where one decoder alone needs more than `total`.
    most: u64,
    drawn: Mutex<DictionaryDrawn>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct DictionaryDrawn {
    now: u64,
    most: u64,
}

/// Memory for one decoder, free again when it is dropped.
#[derive(Debug)]
pub struct Window {
    windows: Arc<Windows>,
    bytes: u64,
}

impl Windows {
    /// Room for `total` bytes.
    pub fn new(total: u64) -> Arc<Self> {
        Self::with_large(total, total)
    }

    /// Room for `total` bytes, and for `most` where one decoder alone needs more than `total`: the
    /// others then wait.
    pub(crate) fn with_large(total: u64, most: u64) -> Arc<Self> {
        Arc::new(Self {
            total,
            most: most.max(total),
            drawn: Mutex::default(),
            freed: Condvar::new(),
        })
    }

    fn drawn(&self) -> MutexGuard<'_, DictionaryDrawn> {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most bytes that were drawn at one time.
    #[cfg(test)]
    pub fn most_drawn(&self) -> u64 {
        self.drawn().most
    }

    /// Draws `bytes` once they are free, at the latest at `end`. Blocking. More than there is at
    /// all is `limit_archive` at once.
    pub(super) fn draw(
        self: &Arc<Self>,
        bytes: u64,
        end: Instant,
    ) -> Result<Option<Window>, UnpackError> {
        if bytes <= SMALL_BYTES {
            return Ok(None);
        }
        if bytes > self.most {
            return Err(limit(format!(
                "it claims that unpacking it takes a window of {bytes} bytes; a decoder may have \
                {} bytes, by `memory` in [limits]",
                self.most
            )));
        }
        let room = if bytes > self.total { self.most } else { self.total };
        let mut drawn = self.drawn();
        while room.saturating_sub(drawn.now) < bytes {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(limit(format!(
                    "it needs a window of {bytes} bytes, and other archives hold the memory for it"
                )));
            }
            drawn = self.freed.wait_timeout(drawn, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drawn.now += bytes;
        drawn.most = drawn.most.max(drawn.now);
        Ok(Some(Window { windows: Arc::clone(self), bytes }))
    }
}

/// When who holds a window already gives up waiting for another.
pub(super) fn holder_waits_until() -> Instant {
    Instant::now() + HOLDER_WAITS
}

impl Drop for Window {
    fn drop(&mut self) {
        self.windows.drawn().now -= self.bytes;
        self.windows.freed.notify_all();
    }
}

fn limit(why: String) -> UnpackError {
    UnpackError::new(Class::LimitArchive, why)
}

/// Draws memory for a decoder's window.
pub(crate) type Draw<'a> = dyn Fn(u64) -> Result<Option<Window>, UnpackError> + 'a;

/// What a decoder of bzip2 takes, at its highest setting.
pub(super) const BZIP2_BYTES: u64 = 4 << 20;

/// The limit, in KiB, for an xz decoder that has drawn `window`: that, and a little for the decoder
/// itself.
pub(super) fn xz_limit_kib(window: u64) -> u32 {
    u32::try_from(window >> 10).unwrap_or(u32::MAX).saturating_add(1024)
}

/// What the first block of an xz stream that begins with `head` needs of what it unpacked; `None`
/// if that cannot be told.
pub(super) fn of_xz(head: &[u8]) -> Option<u64> {
    const STREAM_HEADER_BYTES: usize = 12;
    const LZMA2: u64 = 0x21;
    let header = head.get(STREAM_HEADER_BYTES..)?;
    let flags = *header.get(1)?;
    let mut rest = header.get(2..(usize::from(*header.first()?) + 1) * 4)?;
    for told in [0x40, 0x80] {
        if flags & told != 0 {
            number(&mut rest)?;
        }
    }
    for _ in 0..=flags & 3 {
        let (filter, length) = (number(&mut rest)?, usize::try_from(number(&mut rest)?).ok()?);
        let (properties, after) = rest.split_at_checked(length)?;
        if filter == LZMA2 {
            return of_lzma2(*properties.first()?);
        }
        rest = after;
    }
    None
}

/// The dictionary that a byte of LZMA2's settings tells.
pub(super) fn of_lzma2(setting: u8) -> Option<u64> {
    match setting {
        40 => Some(u64::from(u32::MAX)),
        bits @ 0..40 => Some((2 | u64::from(bits & 1)) << (bits / 2 + 11)),
        _ => None,
    }
}

/// A number of xz: seven bits a byte, the least first.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for place in 0..9 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Whether the zstd frame that begins with `head` needs a dictionary.
pub(super) fn needs_dictionary(head: &[u8]) -> bool {
    let Some([descriptor, rest @ ..]) = head.strip_prefix(b"\x28\xB5\x2F\xFD") else {
        return false;
    };
    let after = if descriptor & 0x20 != 0 { 0 } else { 1 };
    let bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
    rest.get(after..after + bytes).is_some_and(|number| number.iter().any(|byte| *byte != 0))
}

/// The window of a zstd frame that begins with `head`; `None` if that cannot be told.
pub(super) fn of_zstd(head: &[u8]) -> Option<u64> {
    let rest = head.strip_prefix(b"\x28\xB5\x2F\xFD")?;
    let (descriptor, rest) = rest.split_first()?;
    let is_single_segment = descriptor & 0x20 != 0;
    if !is_single_segment {
        let window = u32::from(*rest.first()?);
        let base = 1u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    // The window is the content, whose size follows the number of the dictionary.
    let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size = rest.get(dictionary_bytes..)?;
    let little = |bytes: usize| {
        size.get(..bytes)
            .map(|size| size.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte)))
    };
    match descriptor >> 6 {
        0 => little(1),
        1 => little(2).map(|size| size + 256),
        2 => little(4),
        _ => little(8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::Failure;

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn windows_wait_for_each_other_and_never_exceed_the_total() {
        let windows = Windows::new(10 << 20);
        std::thread::scope(|scope| {
            for turn in 0..8 {
                let windows = &windows;
                scope.spawn(move || {
                    for _ in 0..20 {
                        drop(
                            windows
                                .draw((3 + turn % 3) << 20, later())
                                .expect("its turn comes")
                                .expect("it is counted"),
                        );
                    }
                });
            }
        });
        let most = windows.most_drawn();
        assert!((3 << 20..=10 << 20).contains(&most), "{most}");
        assert_eq!(windows.drawn().now, 0);
    }

    #[test]
    fn what_can_never_be_had_is_refused_at_once() {
        let windows = Windows::new(10 << 20);
        let error = windows.draw((10 << 20) + 1, later()).expect_err("there is less");
        assert_eq!(error.class(), Class::LimitArchive);
        assert!(windows.draw(SMALL_BYTES, later()).expect("small ones are free").is_none());
        let all = windows.draw(10 << 20, later()).expect("it is all free");
        assert_eq!(
            windows.draw(1 << 20, Instant::now()).expect_err("nothing is left").class(),
            Class::LimitArchive
        );
        drop(all);
        assert!(windows.draw(1 << 20, Instant::now()).is_ok());
    }

    #[test]
    fn a_large_window_is_drawn_beside_little_else() {
        let windows = Windows::with_large(10 << 20, 30 << 20);
        let large = windows.draw(28 << 20, later()).expect("it fits").expect("it is counted");
        assert_eq!(
            windows.draw(1 << 20, Instant::now()).expect_err("all is taken").class(),
            Class::LimitArchive
        );
        drop(large);
        let small = windows.draw(5 << 20, later()).expect("it fits");
        assert!(windows.draw(28 << 20, Instant::now()).is_err(), "not beside so much");
        assert!(windows.draw(25 << 20, Instant::now()).is_ok(), "beside so much");
        drop(small);
        assert!(windows.draw((30 << 20) + 1, later()).is_err());
    }

    #[test]
    fn windows_are_told_by_headers() {
        assert_eq!(of_lzma2(0), Some(4 << 10));
        assert_eq!(of_lzma2(24), Some(16 << 20));
        assert_eq!(of_lzma2(37), Some(3 << 29));
        assert_eq!(of_lzma2(41), None);
        assert_eq!(of_zstd(b"\x28\xB5\x2F\xFD\x00\x88"), Some(128 << 20));
        assert_eq!(of_zstd(b"\x28\xB5\x2F\xFD\x20\x09"), Some(9));
        assert_eq!(of_zstd(b"\x28\xB5\x2F\xFD\xA0\0\0\0\x40"), Some(1 << 30));
        assert_eq!(of_zstd(b"\x28\xB5\x2F"), None);
        // The header of `xz -9` of a short text, as far as its filters.
        assert_eq!(
            of_xz(b"\xFD7zXZ\0\0\x04\xE6\xD6\xB4\x46\x02\0\x21\x01\x1C\0\0\0\x10\xCF\x58\xCC"),
            Some(64 << 20)
        );
        assert_eq!(of_xz(b"\xFD7zXZ\0\0\x04\xE6\xD6\xB4\x46"), None);
    }
}
