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

/// Every deadline of these years, in seconds: in a gap the first instant after it, of two the
/// later.
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
first, last = map(int, sys.argv[2:4])
for time in sys.argv[4:]:
    hour, minute = map(int, time.split(":"))
    day = datetime(first, 1, 1, hour, minute)
    while day.year <= last:
        print(int(instant(day, zone).timestamp()))
        day += timedelta(days=1)
    print()
"#;

fn ours(zone: &str, time: &str, [from, to]: [i32; 2]) -> Vec<i64> {
    let deadlines = Deadlines {
        times: DeadlineTimes::at(time).expect("a time"),
        days: all_days(),
        except: BTreeSet::new(),
        zone: TimeZone::parse(zone).expect("a zone"),
    };
    let eve = time::macros::datetime!(2022-12-30 0:00 UTC);
    let mut at: OffsetDateTime = eve.replace_year(from - 1).expect("a day of each year");
    let mut found = Vec::new();
    while let Some((next, local)) = deadlines.next(at) {
        if local.year() > to {
            break;
        }
        if local.year() >= from {
            found.push(next.unix_timestamp());
            assert_eq!(deadlines.last(next), Some((next, local)), "{zone} {time}");
            let before = next - time::Duration::SECOND;
            assert!(deadlines.last(before).is_some_and(|last| last.0 < next), "{zone} {time}");
        }
        at = next;
    }
    found
}

/// How many deadlines of `years` were compared.
fn compared(zone: &str, years: [i32; 2]) -> usize {
    let span = years.map(|year| year.to_string());
    let mut python = Command::new("python3");
    let output = python.args(["-c", WITNESS, zone]).args(span).args(TIMES).output();
    let output = output.expect("python3 is there");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let told = String::from_utf8_lossy(&output.stdout);
    let mut compared = 0;
    for (time, theirs) in TIMES.into_iter().zip(told.split("\n\n")) {
        let mut theirs: Vec<i64> =
            theirs.lines().map(|line| line.parse().expect("a number")).collect();
        // A day that a zone has left out altogether ends with the day after it.
        theirs.dedup();
        assert_eq!(ours(zone, time, years), theirs, "{zone} {time}");
        compared += theirs.len();
    }
    compared
}

#[test]
fn deadlines_of_ten_zones_over_five_years_are_those_of_zoneinfo() {
    let all: usize = ZONES.into_iter().map(|zone| compared(zone, [2023, 2027])).sum();
    assert!(all > 100_000, "{all}");
}

#[test]
fn deadlines_of_days_that_clocks_left_out_or_began_an_hour_late_are_those_of_zoneinfo() {
    // Apia left out 30 December 2011; in Sao Paulo and Cairo clocks went from midnight to one.
    assert!(compared("Pacific/Apia", [2011, 2012]) > 4_300);
    assert!(compared("America/Sao_Paulo", [2017, 2019]) > 6_500);
    assert!(compared("Africa/Cairo", [2026, 2026]) > 2_100);
}

/// Names that only old systems use, and which are no zones of their own, are among them.
#[test]
#[ignore = "takes minutes; scripts/nightly.sh runs it"]
fn deadlines_of_every_zone_in_three_years_are_those_of_zoneinfo() {
    let list = "import zoneinfo; print('\\n'.join(sorted(zoneinfo.available_timezones())))";
    let output = Command::new("python3").args(["-c", list]).output().expect("python3 is there");
    let names = String::from_utf8(output.stdout).expect("names are text");
    let known = |name: &&str| TimeZone::parse(name).is_ok();
    let zones: Vec<&str> = names.lines().filter(known).collect();
    let all: usize = zones.iter().map(|zone| compared(zone, [2025, 2027])).sum();
    println!("{} zones, {all} deadlines", zones.len());
    assert!(zones.len() > 500 && all > 3_000_000, "{} zones, {all}", zones.len());
}
