//! Deadlines in the nights when clocks change, against Python's `zoneinfo`.

use std::collections::BTreeSet;
use std::process::Command;

use blobferry::rules::expect_due::{DeadlineTimes, Deadlines, all_days};
use blobferry::rules::time_zone::TimeZone;
use time::OffsetDateTime;

const ZONES: [&str; 10] = [
    "Europe/Berlin",
    "America/New_York",
    "America/St_Johns",
    "America/Santiago",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Africa/Casablanca",
    "Asia/Kathmandu",
    "Asia/Beirut",
];
const TIMES: [&str; 6] = ["00:00", "00:30", "01:45", "02:30", "03:00", "07:00"];

/// Every deadline of five years, in seconds: in a gap the first instant after it, of two the later.
const WITNESS: &str = r#"
import sys
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo
UTC = timezone.utc
def instant(local, zone):
    at = local.replace(tzinfo=zone, fold=1)
    if at.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local:
        return at.astimezone(UTC)
    # A gap: the first second after it, found by halves.
    low = (local - timedelta(days=1)).replace(tzinfo=zone).astimezone(UTC)
    high = (local + timedelta(days=1)).replace(tzinfo=zone).astimezone(UTC)
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) // 2
        middle = middle.replace(microsecond=0)
        if middle.astimezone(zone).replace(tzinfo=None) < local: low = middle
        else: high = middle
    return high
zone = ZoneInfo(sys.argv[1])
for time in sys.argv[2:]:
    hour, minute = map(int, time.split(":"))
    day = datetime(2023, 1, 1, hour, minute)
    while day.year < 2028:
        print(int(instant(day, zone).timestamp()))
        day += timedelta(days=1)
    print()
"#;

fn ours(zone: &str, time: &str) -> Vec<i64> {
    let deadlines = Deadlines {
        times: DeadlineTimes::at(time).expect("a time"),
        days: all_days(),
        except: BTreeSet::new(),
        zone: TimeZone::parse(zone).expect("a zone"),
    };
    let first = time::macros::datetime!(2022-12-30 0:00 UTC);
    let mut at: OffsetDateTime = first;
    let mut found = Vec::new();
    while let Some((next, local)) = deadlines.next(at) {
        if local.year() > 2027 {
            break;
        }
        if local.year() >= 2023 {
            found.push(next.unix_timestamp());
            assert_eq!(deadlines.last(next), Some((next, local)), "{zone} {time}");
            let before = next - time::Duration::SECOND;
            assert!(deadlines.last(before).is_some_and(|last| last.0 < next), "{zone} {time}");
        }
        at = next;
    }
    found
}

#[test]
fn deadlines_of_ten_zones_over_five_years_are_those_of_zoneinfo() {
    let mut compared = 0;
    for zone in ZONES {
        let output = Command::new("python3").args(["-c", WITNESS, zone]).args(TIMES).output();
        let output = output.expect("python3 is there");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let told = String::from_utf8_lossy(&output.stdout);
        for (time, theirs) in TIMES.into_iter().zip(told.split("\n\n")) {
            let mut theirs: Vec<i64> =
                theirs.lines().map(|line| line.parse().expect("a number")).collect();
            // A day that a zone has left out altogether ends with the day after it.
            theirs.dedup();
            assert_eq!(ours(zone, time), theirs, "{zone} {time}");
            compared += theirs.len();
        }
    }
    assert!(compared > 100_000, "{compared}");
}
