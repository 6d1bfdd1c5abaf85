//! Judgements over manifests in memory.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use blobferry::history::arrivals_cache::ArrivalsCache;
use blobferry::model::redactor::Redactor;
use blobferry::model::{BlobName, RemotePath};
use blobferry::pass::expectations::{Telling, judge};
use blobferry::pass::judging::{UnchangedSource, judge_unchanged};
use blobferry::report::ExpectationStanding;
use blobferry::rules::expect::{
    Expectation, ExpectedWhen, LastLook, Severity, Shortfall, WhyUnmet, WindowState,
};
use blobferry::rules::expect_due::{DeadlineTimes, Deadlines, all_days};
use blobferry::rules::expect_files::ExpectedFiles;
use blobferry::rules::time_zone::TimeZone;
use blobferry::source::memory::MemoryServer;
use blobferry::state::paths::{StatePaths, stamp};
use blobferry::state::store::StateStore;
use blobferry::store::contract::Store;
use blobferry::store::memory::MemoryStore;
use blobferry::transfer::settings::Source;
use serde_json::json;
use time::format_description::well_known::Rfc3339;
use time::macros::datetime;
use time::{Date, OffsetDateTime, Weekday};

use super::super::world::{quick, source};

fn daily(name: &str, glob: &str) -> Expectation {
    let deadlines = Deadlines {
        times: DeadlineTimes::at("07:00").expect("a time"),
        days: all_days(),
        except: BTreeSet::new(),
        zone: TimeZone::UTC,
    };
    Expectation {
        name: name.into(),
        files: ExpectedFiles::new(&RemotePath::from("/"), &[glob.to_owned()]).expect("a glob"),
        when: ExpectedWhen::By { deadlines, window: None, grace: Duration::from_secs(1800) },
        min_count: 1,
        max_count: None,
        min_size: 0,
        severity: Severity::Error,
    }
}

/// A source that expects something, and its state.
struct Expecting {
    store: Arc<MemoryStore>,
    source: Source,
}

impl Expecting {
    fn new(expectations: Vec<Expectation>) -> Self {
        let mut source = source("acme", &MemoryServer::new());
        source.expectations = expectations;
        Self { store: Arc::new(MemoryStore::new()), source }
    }

    fn state(&self) -> StateStore {
        StateStore::new(self.store.clone(), Redactor::default(), quick())
    }

    /// The manifest of a run that began at `began`.
    async fn run(&self, began: OffsetDateTime, lines: &[serde_json::Value]) {
        let run = format!("{}-00000000", stamp(began));
        let name = StatePaths::of("acme").manifest(&run);
        let bytes: String = lines.iter().map(|line| format!("{line}\n")).collect();
        self.store.append(&name, bytes.into(), 0).await.expect("it appends");
    }

    async fn judge(&self, now: OffsetDateTime, look: Option<LastLook>) -> Vec<ExpectationStanding> {
        judge(&self.state(), &self.source, now, look, Telling::Alert).await.expect("it judges")
    }

    async fn one(&self, now: OffsetDateTime, look: Option<LastLook>) -> ExpectationStanding {
        self.judge(now, look).await.remove(0)
    }

    fn transitions(&self) -> Vec<String> {
        let names = self.store.names().into_iter();
        names
            .filter_map(|name| Some(name.strip_prefix("_blobferry/acme/expect/")?.to_owned()))
            .filter(|name| name != "open.json")
            .collect()
    }
}

fn ingested(path: &str, stored: OffsetDateTime) -> serde_json::Value {
    json!({ "path": path, "outcome": "ingested", "size": 10,
        "stored": stored.format(&Rfc3339).expect("a time") })
}

fn whole(began: OffsetDateTime) -> Option<LastLook> {
    Some(LastLook { began, whole: true })
}

#[tokio::test]
async fn a_partner_that_sends_nothing_is_late_at_seven_and_missed_at_half_past_once() {
    let world = Expecting::new(vec![daily("sales", "s_{yyyyMMdd}.csv")]);
    let eve = datetime!(2026-12-01 20:00 UTC);
    assert_eq!(world.one(eve, whole(eve)).await.state, WindowState::Due);
    world
        .run(eve, &[json!({ "path": "/s_20261201.csv", "outcome": "failed", "class": "auth" })])
        .await;
    let late = datetime!(2026-12-02 7:10 UTC);
    let told = world.one(late, whole(late)).await;
    assert_eq!((told.state, told.why), (WindowState::Late, Some(WhyUnmet::NotListed)));
    let missed = datetime!(2026-12-02 7:40 UTC);
    for _ in 0..3 {
        let told = world.one(missed, whole(missed)).await;
        assert_eq!((told.state, told.unmet), (WindowState::Missed, Some(Shortfall::TooFew)));
        assert!(told.degrades() && told.since == Some(datetime!(2026-12-02 7:30 UTC)));
        assert_eq!(told.next.map(|next| next.deadline), Some(datetime!(2026-12-03 7:00 UTC)));
    }
    assert_eq!(
        world.transitions(),
        ["sales/20261202T070000Z.late.json", "sales/20261202T070000Z.missed.json"]
    );
    // It comes after all.
    let came = datetime!(2026-12-02 9:00 UTC);
    world.run(came, &[ingested("/s_20261202.csv", came)]).await;
    let told = world.one(came, whole(came)).await;
    assert_eq!((told.state, told.recovered_at), (WindowState::Missed, Some(came)));
    assert!(!told.degrades() && !told.is_unmet());
    assert!(world.transitions().contains(&"sales/20261202T070000Z.recovered.json".to_owned()));
}

#[tokio::test]
async fn a_file_that_came_early_is_not_missed_a_week_later() {
    let world = Expecting::new(vec![daily("sales", "s_{yyyyMMdd}.csv")]);
    let early = datetime!(2026-11-27 6:00 UTC);
    world.run(early, &[ingested("/s_20261202.csv", early)]).await;
    for day in 2..10 {
        let now = datetime!(2026-12-01 7:40 UTC) + time::Duration::days(day - 1);
        world.one(now, whole(now)).await;
    }
    let told = world.transitions();
    assert!(told.contains(&"sales/20261202T070000Z.met.json".to_owned()), "{told:?}");
    assert!(!told.contains(&"sales/20261202T070000Z.missed.json".to_owned()), "{told:?}");
}

/// All windows stay met, however many days one after the other the file was late.
#[tokio::test]
async fn a_file_that_came_late_does_not_count_for_the_next_window_a_week_later() {
    for late_days in [1, 2, 3, 6] {
        let mut one_a_day = daily("one", "*.csv");
        one_a_day.max_count = Some(1);
        if let ExpectedWhen::By { window, .. } = &mut one_a_day.when {
            *window = Some(Duration::from_secs(24 * 3600));
        }
        let world = Expecting::new(vec![one_a_day]);
        let eve = datetime!(2026-12-01 20:00 UTC);
        world.one(eve, whole(eve)).await;
        for day in 0..20 {
            let deadline = datetime!(2026-12-02 7:00 UTC) + time::Duration::days(day);
            let late = time::Duration::minutes(if day < late_days { 10 } else { -60 });
            let stored = deadline + late;
            world.run(stored, &[ingested(&format!("/{day}.csv"), stored)]).await;
            let now = deadline + time::Duration::minutes(40);
            world.one(now, whole(now)).await;
        }
        let told = world.transitions();
        assert_eq!(told.len(), 20, "{late_days}: {told:?}");
        assert!(told.iter().all(|change| change.ends_with(".met.json")), "{late_days}: {told:?}");
    }
}

#[tokio::test]
async fn a_file_that_comes_days_late_makes_good_every_missed_window_of_the_last_days() {
    let deadlines = Deadlines {
        times: DeadlineTimes::at("07:00").expect("a time"),
        days: vec![Weekday::Monday, Weekday::Thursday],
        except: BTreeSet::new(),
        zone: TimeZone::UTC,
    };
    let when = ExpectedWhen::By { deadlines, window: None, grace: Duration::ZERO };
    let world = Expecting::new(vec![Expectation { when, ..daily("weekly", "w_*.csv") }]);
    // 2026-12-03 is a Thursday.
    let eve = datetime!(2026-12-03 6:00 UTC);
    world.run(eve, &[ingested("/other.csv", eve)]).await;
    for day in [3, 7, 10] {
        let at = datetime!(2026-12-01 8:00 UTC).replace_day(day).expect("a day");
        assert_eq!(world.one(at, whole(at)).await.state, WindowState::Missed);
    }
    let came = datetime!(2026-12-13 14:00 UTC);
    world.run(came, &[ingested("/w_1.csv", came)]).await;
    assert_eq!(world.one(came, whole(came)).await.recovered_at, Some(came));
    let written = world.transitions();
    let made_good: Vec<&str> =
        written.iter().filter_map(|name| name.strip_suffix(".recovered.json")).collect();
    assert_eq!(made_good, ["weekly/20261207T070000Z", "weekly/20261210T070000Z"]);
}

#[tokio::test]
async fn what_came_for_the_first_of_a_month_is_there_on_its_last_day() {
    let mut monthly = daily("month", "m.csv");
    if let ExpectedWhen::By { deadlines, .. } = &mut monthly.when {
        deadlines.times = DeadlineTimes::cron("0 7 1 * *").expect("it is right");
    }
    let world = Expecting::new(vec![monthly]);
    let began = datetime!(2026-12-01 6:00 UTC);
    world.run(began, &[ingested("/m.csv", began)]).await;
    for day in [1, 9, 20, 31] {
        let now = datetime!(2026-12-01 8:00 UTC) + time::Duration::days(day - 1);
        let told = world.one(now, whole(now)).await;
        assert_eq!(
            (told.state, told.deadline),
            (WindowState::Met, Some(datetime!(2026-12-01 7:00 UTC)))
        );
    }
}

#[tokio::test]
async fn it_is_said_why_a_file_is_not_here() {
    let world = Expecting::new(vec![daily("sales", "*.csv")]);
    let eve = datetime!(2026-12-01 20:00 UTC);
    world.one(eve, whole(eve)).await;
    let now = datetime!(2026-12-02 7:10 UTC);
    assert_eq!(world.one(now, whole(eve)).await.why, Some(WhyUnmet::NotLooked));
    let broken = Some(LastLook { began: now, whole: false });
    assert_eq!(world.one(now, broken).await.why, Some(WhyUnmet::ListingFailed));
    let failed = json!({ "path": "/a.csv", "outcome": "failed", "class": "permission" });
    world.run(datetime!(2026-12-02 6:50 UTC), &[failed]).await;
    let class = "permission".to_owned();
    assert_eq!(world.one(now, whole(now)).await.why, Some(WhyUnmet::Failed { class }));
    let waits = json!({ "path": "/a.csv", "outcome": "deferred", "reason": "unsettled" });
    world.run(datetime!(2026-12-02 6:55 UTC), &[waits]).await;
    let reason = "unsettled".to_owned();
    assert_eq!(world.one(now, whole(now)).await.why, Some(WhyUnmet::Deferred { reason }));
}

#[tokio::test]
async fn lines_of_earlier_builds_count_by_the_end_of_their_run() {
    let world = Expecting::new(vec![daily("sales", "*.csv")]);
    let began = datetime!(2026-12-02 6:00 UTC);
    world.run(began, &[json!({ "path": "/a.csv", "outcome": "ingested" })]).await;
    let told = world.one(datetime!(2026-12-02 8:00 UTC), whole(began)).await;
    assert_eq!((told.state, told.approximate), (WindowState::Met, true));
}

#[tokio::test]
async fn losing_what_was_counted_costs_reading_and_alerts_nobody_again() {
    let world = Expecting::new(vec![daily("sales", "*.csv")]);
    let began = datetime!(2026-12-01 6:00 UTC);
    world.run(began, &[ingested("/a.csv", began)]).await;
    let now = datetime!(2026-12-02 8:00 UTC);
    let first = world.one(now, whole(now)).await;
    assert_eq!(first.state, WindowState::Missed);
    assert_eq!(first.last_met, Some(datetime!(2026-12-01 7:00 UTC)));
    let gets = world.store.counts().gets;
    world.one(now, whole(now)).await;
    assert_eq!(world.store.counts().gets, gets + 1, "only what is kept is read");
    let before = world.transitions();
    let open = BlobName::new("_blobferry/acme/expect/open.json").expect("a name");
    world.store.delete(&open).await.expect("it is removed");
    assert_eq!(world.one(now, whole(now)).await, first);
    assert_eq!(world.transitions(), before);
}

/// Counts the alerts that are logged in this thread.
fn counting() -> (Arc<AtomicUsize>, tracing::subscriber::DefaultGuard) {
    struct Alerts(Arc<AtomicUsize>);
    impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Alerts {
        fn on_event(
            &self,
            event: &tracing::Event<'_>,
            _: tracing_subscriber::layer::Context<'_, S>,
        ) {
            struct Is(bool);
            impl tracing::field::Visit for Is {
                fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                    self.0 |= format!("{value:?}").contains("An expected file is missing.");
                }
            }
            let mut is = Is(false);
            event.record(&mut is);
            self.0.fetch_add(usize::from(is.0), Ordering::Relaxed);
        }
    }
    use tracing_subscriber::layer::SubscriberExt;
    let alerts = Arc::new(AtomicUsize::new(0));
    let subscriber = tracing_subscriber::registry().with(Alerts(alerts.clone()));
    (alerts, tracing::subscriber::set_default(subscriber))
}

#[tokio::test]
async fn two_that_judge_at_once_alert_once() {
    let (alerts, _in_this_thread) = counting();
    let world = Expecting::new(vec![daily("sales", "*.csv")]);
    let eve = datetime!(2026-12-01 20:00 UTC);
    world.one(eve, whole(eve)).await;
    let now = datetime!(2026-12-02 8:00 UTC);
    let all = (0..8).map(|_| world.one(now, whole(now)));
    let told = futures_util::future::join_all(all).await;
    assert!(told.iter().all(|told| told.state == WindowState::Missed));
    assert_eq!(alerts.load(Ordering::Relaxed), 1);
    // Whoever was killed between the transition and the alert has alerted nobody; the judgement
    // itself still says so.
    assert!(world.one(now, whole(now)).await.degrades());
    assert_eq!(alerts.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_look_at_another_time_writes_nothing() {
    let world = Expecting::new(vec![daily("sales", "*.csv")]);
    let began = datetime!(2026-11-30 6:00 UTC);
    world.run(began, &[ingested("/a.csv", began)]).await;
    let names = world.store.names();
    for (day, state) in [(30, WindowState::Met), (1, WindowState::Missed)] {
        let now = match day {
            30 => datetime!(2026-11-30 8:00 UTC),
            _ => datetime!(2026-12-01 8:00 UTC),
        };
        let told = judge(&world.state(), &world.source, now, whole(now), Telling::Silent).await;
        assert_eq!(told.expect("it judges")[0].state, state);
    }
    assert_eq!(world.store.names(), names);
}

#[tokio::test]
async fn a_source_without_news_is_judged_without_reading_and_nobody_is_alerted_by_what_is_old() {
    let (alerts, _in_this_thread) = counting();
    let december = |day: u8, hour: u8, minute: u8| {
        let day = Date::from_calendar_date(2026, time::Month::December, day).expect("a day");
        day.with_hms(hour, minute, 0).expect("a time").assume_utc()
    };
    // The file comes at 6:50 by a run elsewhere, which counts it, or is killed before that.
    for (is_counted, brought) in [(true, false), (false, false), (false, true)] {
        let world = Expecting::new(vec![daily("sales", "s_{yyyyMMdd}.csv")]);
        let eve = december(1, 20, 0);
        world.run(eve, &[ingested("/s_20261201.csv", eve)]).await;
        world.one(eve, whole(eve)).await;
        let cache = ArrivalsCache::keeping();
        let requests = || world.store.counts().requests();
        let unchanged = async |now: OffsetDateTime, brought: Option<&str>| {
            let before = requests();
            let known = UnchangedSource { cache: &cache, look: whole(now), brought };
            let told = judge_unchanged(&world.state(), &world.source, now, known).await;
            (told.expect("it judges").remove(0), requests() - before)
        };
        for (minute, cost) in [(38, 1), (39, 0), (40, 0)] {
            let (told, asked) = unchanged(december(2, 6, minute), None).await;
            assert_eq!((told.state, asked), (WindowState::Due, cost), "6:{minute}");
        }
        let came = december(2, 6, 50);
        world.run(came, &[ingested("/s_20261202.csv", came)]).await;
        if is_counted {
            world.one(came, whole(came)).await;
        }
        let run = format!("{}-00000000", stamp(came));
        let (told, _) = unchanged(december(2, 6, 55), brought.then_some(run.as_str())).await;
        let knows = if brought { WindowState::Met } else { WindowState::Due };
        assert_eq!(told.state, knows, "what another run counted is read when it matters");
        let (told, _) = unchanged(december(2, 7, 10), None).await;
        assert_eq!((told.state, told.late_by), (WindowState::Met, None));
        assert!(world.transitions().iter().all(|name| name.ends_with(".met.json")));
        for (minute, cost) in [(11, 1), (12, 0)] {
            let (told, asked) = unchanged(december(2, 7, minute), Some(&run)).await;
            assert_eq!((told.state, asked), (WindowState::Met, cost), "7:{minute}");
        }
        assert_eq!(alerts.load(Ordering::Relaxed), 0);
        // The next day nothing comes.
        let (told, _) = unchanged(december(3, 7, 10), Some(&run)).await;
        assert_eq!((told.state, told.why), (WindowState::Late, Some(WhyUnmet::NotListed)));
    }
}

/// Two hundred expectations over a year of hourly manifests: each judgement in two seconds.
#[tokio::test]
async fn two_hundred_expectations_over_a_year_of_manifests_are_judged_in_time() {
    let all = (0..200).map(|n| daily(&format!("feed-{n}"), &format!("f{n}_{{yyyyMMdd}}.csv")));
    let world = Expecting::new(all.collect());
    let mut day: Date = time::macros::date!(2025 - 12 - 03);
    while day <= time::macros::date!(2026 - 12 - 02) {
        for hour in 0..24 {
            let at = day.with_hms(hour, 0, 0).expect("an hour").assume_utc();
            let lines: Vec<_> = (0..10)
                .map(|n| {
                    let feed = usize::from(hour) * 10 + n;
                    let date = stamp(at)[..8].to_owned();
                    ingested(&format!("/f{feed}_{date}.csv"), at)
                })
                .collect();
            world.run(at, &lines).await;
        }
        day = day.next_day().expect("a day");
    }
    let now = datetime!(2026-12-02 23:30 UTC);
    for what in ["without what was counted", "with it"] {
        let begun = Instant::now();
        let told = world.judge(now, whole(now)).await;
        let took = begun.elapsed();
        println!("200 expectations, 8,760 manifests, {what}: {} ms", took.as_millis());
        assert_eq!(told.len(), 200);
        assert!(told.iter().any(|told| told.state == WindowState::Met));
        assert!(told.iter().any(|told| told.state == WindowState::Missed));
        // A debug build on a busy machine takes some times as long.
        let bound = if cfg!(debug_assertions) { 8 } else { 2 };
        assert!(took < Duration::from_secs(bound), "{what}: {took:?}");
    }
}
