//! How far ahead of its arrival content is asked for: what is under way is bandwidth × round trip,
//! or the line idles.

use std::time::Duration;

/// The fastest line that is made full use of, in bytes a second.
const RATE: f64 = 256.0 * 1024.0 * 1024.0;
/// Near by, this much of one file keeps server and client busy.
const NEAREST: u64 = 4 << 20;
/// What arrives while its taker waits is in memory, so that there is an end.
const FURTHEST: u64 = 32 << 20;
/// What one connection has asked for at any moment, at least: several files share it.
const CONNECTION: u64 = 8 << 20;

/// Bytes that may be asked for and not yet handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAhead {
    /// Of one file.
    pub file: u64,
    /// Of all files of a connection.
    pub connection: u64,
}

impl ReadAhead {
    /// For a server whose answers take `round_trip`.
    pub fn of(round_trip: Duration) -> Self {
        // A cast of a float saturates.
        let file = ((RATE * round_trip.as_secs_f64()) as u64).clamp(NEAREST, FURTHEST);
        Self { file, connection: file.max(CONNECTION) }
    }

    /// All that can have been asked for before a question, in bytes: with several times as much
    /// arrived after it, the server has passed that question over.
    pub(crate) fn passed_over(self) -> u64 {
        4 * self.connection
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_further_the_server_the_more_is_under_way() {
        let of = |millis| ReadAhead::of(Duration::from_millis(millis));
        assert_eq!((of(0).file, of(0).connection), (4 << 20, 8 << 20));
        assert_eq!(of(10), of(0));
        assert!(of(100).file > 24 << 20 && of(100).file < 27 << 20, "{:?}", of(100));
        assert_eq!(of(100).connection, of(100).file);
        assert_eq!((of(10_000).file, of(10_000).connection), (32 << 20, 32 << 20));
    }
}
