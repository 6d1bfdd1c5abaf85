//! When cron expressions are due in every time zone: what Python's zoneinfo says, recorded by
//! `scripts/time-zones.py`.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use blobferry::rules::schedule::Schedule;
use blobferry::rules::time_zone::TimeZone;
use sha2::{Digest, Sha256};
use time::{Duration, OffsetDateTime};

const EXPRESSIONS: [&str; 6] =
    ["30 2 * * *", "0 0 * * *", "15,45 1-3 * * *", "30 2,14 * * 0", "*/15 1-3 * * *", "0 * * * *"];
const AROUND: i64 = 12 * 3600;
const SECOND: Duration = Duration::SECOND;

/// A line of the record: the digest of what is due, the zones that it is so in, and where the
/// stretches of time begin that were looked at.
struct Recorded<'a> {
    digest: &'a str,
    zones: Vec<&'a str>,
    begins: Vec<i64>,
}

fn recorded(line: &str) -> Recorded<'_> {
    let (names, begins) = line.split_once(": ").expect("names and times");
    let mut words = names.split(' ');
    Recorded {
        digest: words.next().expect("a digest"),
        zones: words.collect(),
        begins: begins.split(' ').map(|begin| begin.parse().expect("a time")).collect(),
    }
}

/// What is due from `begin` on and before `end`, forward, and backward.
fn due(schedule: &Schedule, begin: OffsetDateTime, end: OffsetDateTime) -> [Vec<i64>; 2] {
    let next = |at: OffsetDateTime| schedule.next_due(at).filter(|at| *at < end);
    let last = |at: OffsetDateTime| schedule.last_due(at - SECOND).filter(|at| *at >= begin);
    let unix = |at: OffsetDateTime| at.unix_timestamp();
    let forward = std::iter::successors(next(begin - SECOND), |at| next(*at)).map(unix).collect();
    let mut backward: Vec<_> = std::iter::successors(last(end), |at| last(*at)).map(unix).collect();
    backward.reverse();
    [forward, backward]
}

/// The text that the script made the digest of, by our own times.
fn lines_of(zone: &str, begins: &[i64]) -> String {
    let zone = TimeZone::parse(zone).expect("it is a zone");
    let schedules = EXPRESSIONS.map(|text| Schedule::cron(text, zone).expect("cron"));
    let at = |unix: i64| OffsetDateTime::from_unix_timestamp(unix).expect("a time");
    let mut text = String::new();
    for begin in begins {
        let end = begin + AROUND;
        for (schedule, expression) in schedules.iter().zip(EXPRESSIONS) {
            let [forward, backward] = due(schedule, at(*begin), at(end));
            assert_eq!(forward, backward, "`{expression}` in {zone}: next and last");
            let times: Vec<String> = forward.iter().map(i64::to_string).collect();
            writeln!(text, "{begin} {end} {expression}: {}", times.join(" ")).expect("it writes");
        }
    }
    text
}

fn digest(text: &str) -> String {
    Sha256::digest(text).iter().take(16).fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("it writes");
        hex
    })
}

#[test]
fn in_every_zone_a_source_is_due_when_python_says() {
    let record = include_str!("data/time-zones.txt");
    let (version, lines) = record.split_once('\n').expect("lines");
    assert_eq!(
        version,
        format!("tzdata {}", chrono_tz::IANA_TZDB_VERSION),
        "scripts/time-zones.py writes the record anew, on a machine with that tzdata"
    );
    let lines: Vec<Recorded<'_>> = lines.lines().map(recorded).collect();
    let names: BTreeSet<&str> = lines.iter().flat_map(|line| line.zones.clone()).collect();
    let known: BTreeSet<&str> = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()).collect();
    assert_eq!(names, known, "the zones of the record are those that the program knows");
    // The first line differs if a single time does.
    assert_ne!(digest(&lines_of("Europe/Berlin", &lines[0].begins)), lines[0].digest);
    let cases: Vec<(&str, &Recorded<'_>)> =
        lines.iter().flat_map(|line| line.zones.iter().map(move |zone| (*zone, line))).collect();
    std::thread::scope(|scope| {
        for part in cases.chunks(cases.len().div_ceil(4)) {
            scope.spawn(move || {
                for (zone, line) in part {
                    let text = lines_of(zone, &line.begins);
                    assert_eq!(
                        digest(&text),
                        line.digest,
                        "{zone}: compare with `scripts/time-zones.py {zone}`:\n{text}"
                    );
                }
            });
        }
    });
}
