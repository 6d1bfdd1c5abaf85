//! Thousands of folders with dates on servers of other projects, whose own logs say which of them
//! were listed; and the days that are meant around midnights.

use std::collections::BTreeSet;
use std::process::Command;

use blobferry::rules::date_folders::{DateFolders, DatePattern};
use blobferry::rules::time_zone::TimeZone;
use time::{Duration, OffsetDateTime};

use super::e2e::Ferry;
use super::e2e::bad_input::old_file;
use super::served::percent_all;
use super::servers::*;

/// Today in UTC, and the days before it.
fn days_ago(today: OffsetDateTime, days: i64) -> String {
    (today - Duration::days(days)).date().to_string()
}

/// Runs over 2,000 folders of days, with the four newest wanted, and expects `listed` to say so.
fn of_two_thousand_four(root: &std::path::Path, source: &str, listed: impl Fn() -> Vec<String>) {
    let today = OffsetDateTime::now_utc();
    for day in 0..2000 {
        old_file(&root.join(days_ago(today, day)).join("f.csv"), b"x");
    }
    hand_over(root);
    let ferry = Ferry::between(
        &format!("{source}include = [\"{{yyyy-MM-dd}}/*.csv\"]\ndays_back = 3\n"),
        "folder = \"out\"",
    );
    for ingested in [4, 0] {
        let before = listed().len();
        let report = ferry.ingest().code(0).source();
        if days_ago(OffsetDateTime::now_utc(), 0) != days_ago(today, 0) {
            println!("a midnight passed: nothing is said of this run");
            return;
        }
        assert_eq!(report["ingested"], ingested, "{report:#}");
        let mut folders = listed().split_off(before);
        folders.sort();
        let mut expected: Vec<String> = (0..4).map(|day| days_ago(today, day)).collect();
        expected.push(leaf(root.to_str().unwrap()));
        expected.sort();
        assert_eq!(folders, expected, "the server's log tells what was listed");
    }
}

/// The last part of a path.
fn leaf(path: &str) -> String {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
}

#[test]
fn of_two_thousand_day_folders_vsftpd_is_asked_for_four() {
    let Some(vsftpd) = Vsftpd::start(VsftpdOptions::default()) else { return };
    let source = format!(
        "url = \"ftp://anonymous:{}@127.0.0.1:{}{}\"\n",
        percent_all(&vsftpd.password),
        vsftpd.port,
        vsftpd.base
    );
    of_two_thousand_four(&vsftpd.root, &source, || {
        // A folder is entered, then listed. Each session has a process of its own.
        let log = vsftpd.daemon.log();
        let mut stands = std::collections::HashMap::new();
        let mut found = Vec::new();
        for line in log.lines().filter(|line| line.contains("FTP command: ")) {
            let session = line.split("[pid ").nth(1).and_then(|rest| rest.split(']').next());
            let command = line.rsplit(", \"").next().unwrap_or_default().trim_end_matches('"');
            match command.split_once(' ').unwrap_or((command, "")) {
                ("CWD", path) => {
                    stands.insert(session, leaf(path));
                }
                ("LIST" | "NLST" | "MLSD", _) => {
                    found.push(stands.get(&session).cloned().unwrap_or_default());
                }
                _ => {}
            }
        }
        found
    });
}

#[test]
fn of_two_thousand_day_folders_openssh_is_asked_for_four() {
    let program = debian("usr/lib/openssh/sftp-server");
    let notes = tempfile::NamedTempFile::new().unwrap();
    // OpenSSH's own program for sessions, since it can write its log where a test reads it.
    std::fs::set_permissions(notes.path(), std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .unwrap();
    let command =
        format!("ForceCommand {} -e -l VERBOSE 2>>{}", program.display(), notes.path().display());
    let lines: &'static [&'static str] = Vec::leak(vec![&*String::leak(command)]);
    let Some(sshd) = Sshd::start(SshdOptions { auth: SshdAuth::Key, lines }) else { return };
    let source = format!(
        "url = \"sftp://{}@127.0.0.1:{}{}\"\nprivate_key_file = \"{}\"\nhost_key = \"{}\"\n",
        sshd.user,
        sshd.port,
        sshd.base,
        sshd.user_key.display(),
        sshd.host_key_sha256
    );
    of_two_thousand_four(&sshd.root, &source, || {
        let log = std::fs::read_to_string(notes.path()).unwrap();
        let opened = log.lines().filter_map(|line| line.trim().strip_prefix("opendir \""));
        opened.map(|rest| leaf(rest.trim_end_matches('"'))).collect()
    });
}

/// Instants around each midnight of these spans, in seconds, with the date that clocks show.
const WITNESS: &str = r#"
import sys
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo
zone = ZoneInfo(sys.argv[1])
at = int(datetime.fromisoformat(sys.argv[2]).replace(tzinfo=timezone.utc).timestamp())
date = lambda at: datetime.fromtimestamp(at, zone).date()
for hour in range(24 * int(sys.argv[3])):
    at += 3600
    if date(at) != date(at - 3600):
        low, high = at - 3600, at
        while high - low > 1:
            middle = (low + high) // 2
            if date(middle) == date(low): low = middle
            else: high = middle
        for moment in (low, high):
            print(moment, date(moment), datetime.fromtimestamp(moment, zone).hour)
"#;

/// For each second before and at a midnight: the days that are looked at are those of the zone.
fn midnights(zone: &str, first: &str, days: u32) -> usize {
    let mut python = Command::new("python3");
    let output = python.args(["-c", WITNESS, zone, first, &days.to_string()]).output();
    let output = output.expect("python3 is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let zone = TimeZone::parse(zone).unwrap();
    let pattern = |glob: &str| DatePattern::of_glob(glob).expect("it is right").0;
    let daily =
        DateFolders { include: vec![pattern("{yyyy-MM-dd}/*")], days_back: 0, catch_up: 31 };
    let hourly = DateFolders { include: vec![pattern("{yyyy-MM-dd-HH}")], ..daily.clone() };
    let mut before: Option<(OffsetDateTime, String)> = None;
    let mut shown: Vec<(OffsetDateTime, String)> = Vec::new();
    for line in text.lines() {
        let [at, date, hour] = *line.split(' ').collect::<Vec<_>>() else { panic!("{line}") };
        let at = OffsetDateTime::from_unix_timestamp(at.parse().unwrap()).unwrap();
        let now = zone.local(at);
        let today = daily.days(now, None);
        assert_eq!(daily.patterns(&today), [format!("{date}/*")], "{at}");
        let hours = hourly.patterns(&hourly.days(now, None));
        assert_eq!(hours.last(), Some(&format!("{date}-{hour:0>2}")), "{at}");
        // After a run right before the midnight the day that ended is looked at once more.
        if let Some((last, day)) = &before {
            let looked = daily.days(now, Some(zone.local(*last)));
            let patterns = daily.patterns(&looked);
            assert_eq!(patterns.first(), Some(&format!("{day}/*")), "{at}");
            assert_eq!(patterns.last(), Some(&format!("{date}/*")), "{at}");
        }
        before = Some((at, date.to_owned()));
        // After four days without a run each day that clocks have shown since then is looked at.
        shown.push((at, format!("{date}/*")));
        if let Some(since) = shown.len().checked_sub(9) {
            let looked = daily.days(now, Some(zone.local(shown[since].0)));
            let patterns = daily.patterns(&looked);
            assert!(shown[since..].iter().all(|(_, day)| patterns.contains(day)), "{patterns:?}");
            assert!(looked.missed.is_none() && patterns.len() <= 7, "{at}: {patterns:?}");
        }
    }
    let told: BTreeSet<&str> = text.lines().map(|line| &line[..line.len() - 3]).collect();
    told.len()
}

#[test]
fn at_midnight_in_apia_and_berlin_the_day_of_their_clocks_is_meant() {
    // Apia left out 30 December 2011 altogether, and changed its clocks until 2021.
    assert!(midnights("Pacific/Apia", "2011-12-20", 20) >= 36);
    assert!(midnights("Pacific/Apia", "2020-09-20", 210) >= 400);
    // Berlin: both nights of a year in which clocks change.
    assert!(midnights("Europe/Berlin", "2026-01-01", 365) >= 728);
    // Where a midnight itself is left out or comes twice.
    assert!(midnights("America/Havana", "2026-01-01", 365) >= 728);
    assert!(midnights("America/Sao_Paulo", "2018-01-01", 365) >= 728);
    assert!(midnights("Africa/Cairo", "2026-01-01", 365) >= 728);
}
