//! The least that a server must send while somebody waits for it: a byte now and then is no
//! progress.

use std::fmt;
use std::time::Duration;

use crate::settings::{Section, SettingError, SettingKey, ValueKind, parse_duration, parse_size};

/// What is asked for when the settings do not say: 1 KiB a second,
const RATE: u64 = 1 << 10;
/// on average over so much time.
const OVER: Duration = Duration::from_secs(300);

/// The setting of every source that has a server.
pub(crate) const KEY: SettingKey = SettingKey {
    name: "minimum_rate",
    kind: ValueKind::Text,
    doc: "The least that the server must send while this program waits for it, on average, as \"1 \
        KiB/s\" (the default, over 5 minutes), \"1 KiB/s over 10m\", or \"off\".",
};

/// A rate, as an average over some time of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinimumRate {
    /// 0 asks for nothing.
    bytes_per_second: u64,
    over: Duration,
}

impl Default for MinimumRate {
    fn default() -> Self {
        Self { bytes_per_second: RATE, over: OVER }
    }
}

impl fmt::Display for MinimumRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bytes_per_second {
            rate if rate.is_multiple_of(1 << 10) => write!(f, "{} KiB/s", rate >> 10),
            rate => write!(f, "{rate} B/s"),
        }
    }
}

impl MinimumRate {
    /// Nothing is asked for.
    pub(crate) const OFF: Self = Self { bytes_per_second: 0, over: OVER };

    /// What `section` asks for.
    pub(crate) fn of(section: &Section) -> Result<Self, SettingError> {
        let Some(text) = section.text("minimum_rate")? else { return Ok(Self::default()) };
        Self::parse(&text).ok_or_else(|| {
            section.error(
                KEY.name,
                format!(
                    "is `{text}`; allowed is a rate as \"1 \
                KiB/s\" or \"1 KiB/s over 10m\", and \"off\""
                ),
            )
        })
    }

    fn parse(text: &str) -> Option<Self> {
        if text == "off" {
            return Some(Self::OFF);
        }
        let (rate, over) = match text.split_once(" over ") {
            Some((rate, over)) => {
                (rate, parse_duration(over.trim()).filter(|over| !over.is_zero())?)
            }
            None => (text, OVER),
        };
        let bytes_per_second =
            parse_size(rate.trim().strip_suffix("/s")?.trim_end()).filter(|rate| *rate > 0)?;
        Some(Self { bytes_per_second, over })
    }
}

/// A server sent less than it must.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("only {bytes} bytes came in {} s of waiting, less than `minimum_rate` = \"{rule}\"",
    waited.as_secs())]
pub struct TooSlow {
    bytes: u64,
    waited: Duration,
    rule: MinimumRate,
}

/// One who waits for a server. Only waiting counts: what is sent while nobody asks for more is
/// nobody's loss. The wait for the first bytes does not count either, since some servers fetch a
/// file from tape before they send any of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PaceMeter {
    rule: MinimumRate,
    waited: Duration,
    bytes: u64,
    begun: bool,
}

impl PaceMeter {
    /// One who begins to wait now.
    pub fn new(rule: MinimumRate) -> Self {
        Self { rule, waited: Duration::ZERO, bytes: 0, begun: false }
    }

    /// So much time was waited, and the server sent so many `bytes` meanwhile, to whomever: a thin
    /// line that many files share is no slow server. A single silence is bounded by
    /// `stall_timeout`, and counts as a fifth of the whole at most.
    pub fn waited(&mut self, time: Duration, bytes: u64) -> Result<(), TooSlow> {
        if self.rule.bytes_per_second == 0 {
            return Ok(());
        }
        if !self.begun {
            self.begun = bytes > 0;
            return Ok(());
        }
        self.bytes += bytes;
        self.waited += time.min(self.rule.over / 5);
        if self.waited < self.rule.over {
            return Ok(());
        }
        let (bytes, waited) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.waited));
        let least = u128::from(self.rule.bytes_per_second) * waited.as_millis() / 1000;
        if u128::from(bytes) < least {
            Err(TooSlow { bytes, waited, rule: self.rule })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends_after(rule: &str, wait: Duration, bytes: u64) -> Option<u32> {
        let mut pace = PaceMeter::new(MinimumRate::parse(rule).expect("the test's rate is good"));
        (1..10_000).find(|_| pace.waited(wait, bytes).is_err())
    }

    #[test]
    fn a_byte_each_three_seconds_ends_after_five_minutes_and_a_slow_line_does_not() {
        let seconds = Duration::from_secs;
        assert_eq!(
            ends_after("1 KiB/s", seconds(3), 1),
            Some(101),
            "the first wait does not count"
        );
        assert_eq!(ends_after("1 KiB/s", seconds(3), 3 * 1023), Some(101));
        assert_eq!(ends_after("1 KiB/s", seconds(3), 3 * 1024), None);
        assert_eq!(ends_after("1 KiB/s over 30s", seconds(3), 1), Some(11));
        assert_eq!(ends_after("off", seconds(3), 1), None);
        assert_eq!(ends_after("1 KiB/s", Duration::ZERO, 1), None, "no wait, no loss");
        assert_eq!(
            ends_after("1 KiB/s", seconds(3600), 1),
            Some(6),
            "long silences are for `stall_timeout` to judge"
        );
    }

    #[test]
    fn rates_as_people_write_them() {
        assert_eq!(MinimumRate::parse("1 KiB/s"), Some(MinimumRate::default()));
        assert_eq!(
            MinimumRate::parse("10 MB/s over 1m")
                .map(|rule| (rule.bytes_per_second, rule.over.as_secs())),
            Some((10_000_000, 60))
        );
        for bad in ["", "0 KiB/s", "1 KiB", "1/s", "fast", "1 KiB/s over 0s", "1 KiB/s over", "Off"]
        {
            assert_eq!(MinimumRate::parse(bad), None, "{bad}");
        }
        let error = PaceMeter::new(MinimumRate::default());
        assert_eq!(error.rule.to_string(), "1 KiB/s");
    }
}
