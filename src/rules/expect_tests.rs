//! What windows come to.

use std::collections::BTreeSet;

use time::macros::{datetime, time};

use super::*;
use crate::rules::expect_due::{DeadlineTimes, all_days};
use crate::rules::time_zone::TimeZone;

fn expectation(globs: &[&str]) -> Expectation {
    let globs: Vec<String> = globs.iter().map(|glob| (*glob).to_owned()).collect();
    let deadlines = Deadlines {
        times: DeadlineTimes::At(time!(7:00)),
        days: all_days(),
        except: BTreeSet::new(),
        zone: TimeZone::UTC,
    };
    Expectation {
        name: "daily".into(),
        files: ExpectedFiles::new(&RemotePath::from("/out"), &globs).expect("they compile"),
        when: ExpectedWhen::By { deadlines, window: None, grace: Duration::from_secs(1800) },
        min_count: 1,
        max_count: None,
        min_size: 0,
        severity: Severity::Error,
    }
}

fn came(name: &str, stored: OffsetDateTime) -> Arrival {
    Arrival {
        path: RemotePath::from(format!("/out/{name}").as_str()),
        stored,
        size: Some(10),
        modified: None,
        approximate: false,
    }
}

/// The states of the windows of the last three days at `now`, the open one last.
fn check(of: &Expectation, arrivals: &[Arrival], now: OffsetDateTime) -> Vec<WindowVerdict> {
    let ExpectedWhen::By { deadlines, window, grace } = &of.when else { panic!("a deadline") };
    let span = (*window, *grace);
    let mut windows = deadlines.windows(span, now, time::Duration::days(2), 9).all;
    if of.files.is_dated() {
        windows.iter_mut().for_each(|window| window.start -= time::Duration::WEEK);
    }
    let wanted = |window: &ExpectedWindow| {
        let patterns = of.files.at(window.local);
        arrivals.iter().filter(|arrival| patterns.wants(&arrival.path)).cloned().collect()
    };
    judge_windows(of, &windows, wanted, now)
}

fn last_two(of: &Expectation, arrivals: &[Arrival], now: OffsetDateTime) -> [WindowState; 2] {
    let all = check(of, arrivals, now);
    [all[all.len() - 2].state, all[all.len() - 1].state]
}

use WindowState::{Due, Late, Met, Missed};

#[test]
fn a_window_is_due_late_and_missed_as_time_goes_on() {
    let of = expectation(&["*.csv"]);
    let came = [came("a.csv", datetime!(2026-12-01 6:00 UTC))];
    for (now, states) in [
        (datetime!(2026-12-01 7:00 UTC), [Met, Due]),
        (datetime!(2026-12-02 6:59 UTC), [Met, Due]),
        (datetime!(2026-12-02 7:01 UTC), [Late, Due]),
        (datetime!(2026-12-02 7:30 UTC), [Late, Due]),
        (datetime!(2026-12-02 7:31 UTC), [Missed, Due]),
    ] {
        assert_eq!(last_two(&of, &came, now), states, "{now}");
    }
}

#[test]
fn a_file_that_comes_within_the_grace_is_not_taken_for_tomorrows() {
    let of = expectation(&["*.csv"]);
    let late = came("a.csv", datetime!(2026-12-02 7:10 UTC));
    let now = datetime!(2026-12-02 8:00 UTC);
    let all = check(&of, std::slice::from_ref(&late), now);
    assert_eq!(last_two(&of, std::slice::from_ref(&late), now), [Met, Due]);
    assert_eq!(all[all.len() - 2].late_by, Some(time::Duration::minutes(10)));
    // The day after it is missing, though a file came since the deadline before.
    assert_eq!(last_two(&of, &[late], datetime!(2026-12-03 8:00 UTC)), [Missed, Due]);
}

#[test]
fn a_missed_window_stays_missed_and_says_when_the_file_came_after_all() {
    let of = expectation(&["s_{yyyyMMdd}.csv"]);
    let arrival = came("s_20261202.csv", datetime!(2026-12-02 9:00 UTC));
    let all = check(&of, std::slice::from_ref(&arrival), datetime!(2026-12-02 10:00 UTC));
    let verdict = &all[all.len() - 2];
    assert_eq!((verdict.state, verdict.recovered_at), (Missed, Some(arrival.stored)));
    assert_eq!(all.last().map(|open| open.state), Some(Due), "its day is another");
}

#[test]
fn a_file_that_comes_early_counts_for_the_day_that_its_name_tells() {
    let of = expectation(&["s_{yyyyMMdd}.csv"]);
    let early = came("s_20261203.csv", datetime!(2026-12-02 6:00 UTC));
    assert_eq!(last_two(&of, &[early], datetime!(2026-12-02 8:00 UTC)), [Missed, Met]);
}

#[test]
fn what_is_too_small_or_too_much_is_told() {
    let small = Expectation { min_size: 11, ..expectation(&["*.csv"]) };
    let now = datetime!(2026-12-02 8:00 UTC);
    let at = datetime!(2026-12-02 6:00 UTC);
    let unmet = |of: &Expectation, arrivals: &[Arrival]| {
        let all = check(of, arrivals, now);
        let verdict = &all[all.len() - 2];
        (verdict.state, verdict.unmet, verdict.count)
    };
    assert_eq!(unmet(&small, &[came("a.csv", at)]), (Missed, Some(Shortfall::TooSmall), 0));
    assert_eq!(unmet(&small, &[]), (Missed, Some(Shortfall::TooFew), 0));
    let one = Expectation { max_count: Some(1), ..expectation(&["*.csv"]) };
    let two = [came("a.csv", at), came("b.csv", at)];
    assert_eq!(unmet(&one, &two), (Missed, Some(Shortfall::TooMany), 2));
    assert_eq!(unmet(&one, &two[..1]), (Met, None, 1));
    let two_wanted = Expectation { min_count: 2, ..expectation(&["*.csv"]) };
    assert_eq!(unmet(&two_wanted, &two[..1]), (Missed, Some(Shortfall::TooFew), 1));
    assert_eq!(unmet(&two_wanted, &two), (Met, None, 2));
}

#[test]
fn the_newest_file_is_fresh_or_stale() {
    let of = expectation(&["*.csv"]);
    let day = Duration::from_secs(86_400);
    let arrivals = [came("a.csv", datetime!(2026-12-01 6:00 UTC))];
    let (verdict, since) = judge_age(&of, day, &arrivals, datetime!(2026-12-02 6:00 UTC));
    assert_eq!((verdict.state, since), (Met, None));
    let (verdict, since) = judge_age(&of, day, &arrivals, datetime!(2026-12-02 6:01 UTC));
    assert_eq!((verdict.state, verdict.unmet), (Missed, Some(Shortfall::Stale)));
    assert_eq!(since, Some(datetime!(2026-12-02 6:00 UTC)));
    assert_eq!(judge_age(&of, day, &[], datetime!(2026-12-02 6:01 UTC)).1, None);
}

#[test]
fn it_is_said_whose_fault_it_is() {
    let deadline = datetime!(2026-12-02 7:00 UTC);
    let look = |minute, whole| {
        Some(LastLook { began: deadline.replace_minute(minute).expect("a minute"), whole })
    };
    assert_eq!(why(None, look(5, true), deadline), WhyUnmet::NotListed);
    assert_eq!(why(None, look(5, false), deadline), WhyUnmet::ListingFailed);
    let before = Some(LastLook { began: datetime!(2026-12-02 6:55 UTC), whole: true });
    assert_eq!(why(None, before, deadline), WhyUnmet::NotLooked);
    assert_eq!(why(None, None, deadline), WhyUnmet::NotLooked);
    let failed = Hindrance::Failed("auth".into());
    assert_eq!(why(Some(&failed), look(5, true), deadline).word(), "failed");
    let waits = Hindrance::Deferred("unsettled".into());
    assert_eq!(why(Some(&waits), None, deadline).word(), "deferred");
}
