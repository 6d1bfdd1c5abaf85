//! Passes in pieces: a queue, workers that take its messages, and what a user sees of it all.

use std::sync::Arc;
use std::time::Duration;

use blobferry::history::record::{RunRecord, Trigger, source_line, waiting_line};
use blobferry::history::records::Records;
use blobferry::history::run_id::run_id;
use blobferry::jobs::cutting::Sizes;
use blobferry::jobs::error::WorkError;
use blobferry::jobs::message::{Message, PieceId, Task};
use blobferry::jobs::outcome::Came;
use blobferry::jobs::run_status;
use blobferry::jobs::sweep::{Swept, sweep};
use blobferry::jobs::work;
use blobferry::ledger::{Ledger, OpenPass, under_way};
use blobferry::source::memory::MemorySourceFault;
use blobferry::state::store::StateStore;
use blobferry::store::memory::queue::MemoryQueue;
use blobferry::store::queue::Queue;
use blobferry::transfer::options::Options;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::crash::Dying;
use super::{World, quick};

/// A world with a queue.
pub struct Office {
    pub world: World,
    pub queue: Arc<MemoryQueue>,
    pub sizes: Sizes,
}

impl Office {
    pub fn new(world: World, files: usize) -> Self {
        Self { world, queue: Arc::default(), sizes: Sizes { files, bytes: 1 << 30 } }
    }

    pub fn options(&self, cancel: CancellationToken) -> Options {
        self.world.options(self.world.store.clone(), cancel)
    }

    /// Asks for a pass, as the timer does. The run's id.
    pub async fn ask(&self) -> String {
        let mut record = RunRecord::new(Trigger::Timer, "", OffsetDateTime::now_utc());
        (record.queued, record.sources) = (vec!["acme".into()], vec![waiting_line("acme")]);
        self.records().put(&record).await.unwrap();
        let message = Message::new(&record.id, "acme", Task::Plan);
        self.queue.send(&message.to_text(), Duration::ZERO).await.unwrap();
        record.id
    }

    fn records(&self) -> Records {
        Records::new(StateStore::new(self.world.store.clone(), Default::default(), quick()))
    }

    /// Does what `message` says.
    pub async fn work(&self, message: &str, cancel: CancellationToken) -> Result<Came, WorkError> {
        let message = Message::parse(message).expect("a message of ours");
        let work = work(
            &message,
            self.world.source.clone(),
            self.options(cancel),
            self.queue.clone(),
            self.sizes,
        );
        let came = tokio::time::timeout(super::PATIENCE, work).await.expect("it ends");
        if let Ok(Came::Closed(report)) = &came {
            let line = source_line(report, &Default::default(), OffsetDateTime::now_utc());
            self.records().tell(&message.run, &[line]).await.expect("it writes");
        }
        came
    }

    /// Takes messages, however long they are to wait, until there are none. What came of each.
    pub async fn drain(&self) -> Vec<Came> {
        let mut came = Vec::new();
        while let Some((message, _)) = self.queue.take() {
            came.push(self.work(&message, CancellationToken::new()).await.expect("it works"));
            assert!(came.len() < 1_000, "it comes to an end: {:?}", came.last());
        }
        came
    }

    pub async fn sweep(&self) -> Swept {
        let queue: Arc<dyn Queue> = self.queue.clone();
        let sources = [self.world.source.clone()];
        sweep(&sources, &sources, &queue, || self.options(CancellationToken::new())).await
    }

    /// What the record of a run tells of the source, in numbers, and that it adds up.
    pub async fn report(&self, run: &str) -> String {
        let record = run_status::get(&self.records(), run)
            .await
            .unwrap()
            .unwrap_or_else(|| panic!("no record of {run}"));
        let line = &record.shown(OffsetDateTime::now_utc())["sources"][0];
        let count = |name: &str| line[name].as_u64().unwrap();
        let parts = ["ingested", "unchanged", "skipped", "gone", "deferred", "failed"];
        assert_eq!(count("listed"), parts.iter().map(|name| count(name)).sum::<u64>(), "{line}");
        let told = parts
            .iter()
            .filter(|name| count(name) > 0)
            .map(|name| format!("{name} {}", count(name)));
        let told = [line["status"].as_str().unwrap().to_owned()].into_iter().chain(told);
        told.collect::<Vec<_>>().join(", ")
    }

    /// Blobs of passes that are left.
    pub fn left(&self) -> Vec<String> {
        let names = self.world.store.names().into_iter();
        names.filter(|name| name.starts_with("_blobferry/acme/work/")).collect()
    }
}

pub fn files(count: usize) -> World {
    (0..count)
        .fold(World::new(), |world, n| world.file(&format!("/{n:02}.csv"), format!("content {n}")))
}

fn each_once(office: &Office, count: usize) {
    let mut recorded = office.world.recorded();
    recorded.sort();
    let expected: Vec<String> = (0..count).map(|n| format!("/{n:02}.csv")).collect();
    assert_eq!(recorded, expected, "each is recorded once");
    assert_eq!(office.world.names().len(), count);
    for n in 0..count {
        assert_eq!(office.world.text(&format!("acme/{n:02}.csv")), format!("content {n}"));
    }
}

#[tokio::test]
async fn files_in_pieces_arrive_once_and_one_report_tells_of_all() {
    let office = Office::new(files(25).with(|source| source.connections = 2), 4);
    let run = office.ask().await;
    let came = office.drain().await;
    // One plan, seven pieces, of which the last one closes the pass; the worker whose lane ended
    // first looks after the piece of the other lane once that is over.
    assert_eq!(came.len(), 9, "{came:?}");
    let Came::Closed(report) = &came[7] else { panic!("{came:?}") };
    assert!(matches!(came[8], Came::Over), "{came:?}");
    assert_eq!((report.ingested, report.listed, report.blobs), (25, 25, 25));
    assert_eq!(office.report(&run).await, "ok, ingested 25");
    each_once(&office, 25);
    assert_eq!(office.left(), Vec::<String>::new());
    assert!(office.world.server.tree().most_open <= 2, "never more logins than allowed");
    // The next pass has nothing to do, and needs no piece; so has a run without a queue.
    let run = office.ask().await;
    assert_eq!(
        (office.drain().await.len(), office.report(&run).await),
        (1, "ok, unchanged 25".to_owned())
    );
    assert_eq!(office.world.run().await.brief(), "ok: unchanged 25");
}

#[tokio::test]
async fn a_message_that_comes_twice_does_nothing_twice() {
    let office = Office::new(files(9), 3);
    let run = office.ask().await;
    let mut done = 0;
    while let Some((message, _)) = office.queue.take() {
        for _ in 0..3 {
            office.work(&message, CancellationToken::new()).await.expect("it works");
            done += 1;
        }
        assert!(done < 300, "it comes to an end");
    }
    each_once(&office, 9);
    assert_eq!((office.report(&run).await, office.left()), ("ok, ingested 9".to_owned(), vec![]));
}

#[tokio::test]
async fn a_worker_whose_time_is_over_hands_the_rest_on() {
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let world = files(6).with(|source| source.connections = 1).fault(
        "/02.csv",
        "read",
        MemorySourceFault::Before(Box::new(move |_| stop.cancel())),
    );
    let office = Office::new(world, 100);
    let run = office.ask().await;
    let plan = office.queue.take().expect("the plan").0;
    office.work(&plan, CancellationToken::new()).await.expect("it plans");
    let piece = office.queue.take().expect("a piece").0;
    let came = office.work(&piece, cancel).await.expect("it works");
    assert!(matches!(&came, Came::Done(told) if told.starts_with("piece 00000")), "{came:?}");
    let rest = office.queue.take().expect("the rest").0;
    assert!(
        matches!(
            Message::parse(&rest).unwrap().task,
            Task::Piece { piece: PieceId { number: 0, part: 1 }, .. }
        ),
        "{rest}"
    );
    assert!(office.world.names().len() < 6);
    office.work(&rest, CancellationToken::new()).await.expect("it works");
    each_once(&office, 6);
    assert_eq!((office.report(&run).await, office.left()), ("ok, ingested 6".to_owned(), vec![]));
}

/// Works on messages, with the options as `with` has them, until the process dies at a call of
/// `dying`, which is one of its stores. The message that it died with; `None` if it did not.
pub fn dies(
    office: &Office,
    dying: &Arc<Dying>,
    with: impl Fn(Options) -> Options,
) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let died = runtime.block_on(async {
        while let Some((text, _)) = office.queue.take() {
            let message = Message::parse(&text).unwrap();
            let options = with(office.options(CancellationToken::new()));
            let (source, queue) = (office.world.source.clone(), office.queue.clone());
            let work = work(&message, source, options, queue, office.sizes);
            tokio::select! {
                biased;
                () = dying.death() => return Some(text),
                came = work => drop(came.expect("it works")),
            }
        }
        None
    });
    runtime.shutdown_background();
    died
}

#[tokio::test]
async fn workers_that_are_killed_at_any_call_lose_nothing_and_double_nothing() {
    for effect in [true, false] {
        for at in 1.. {
            let office = Office::new(files(5).with(|source| source.connections = 1), 2);
            let run = office.ask().await;
            let expected = (0..5)
                .map(|n| (format!("acme/{n:02}.csv"), vec![format!("content {n}").into()]))
                .collect();
            let dying = Arc::new(Dying::new(&office.world, at, effect, &expected));
            let with = |options| Options { store: dying.clone(), ..options };
            let died = std::thread::scope(|scope| {
                scope.spawn(|| dies(&office, &dying, with)).join().unwrap()
            });
            let Some(message) = died else {
                assert!(at > 50, "a pass has many steps");
                break;
            };
            // The host brings the message again.
            office.queue.send(&message, Duration::ZERO).await.unwrap();
            office.drain().await;
            // A pass that was not told to be over is closed by the next tick.
            office.sweep().await;
            each_once(&office, 5);
            assert_eq!(
                office.report(&run).await,
                "ok, ingested 5",
                "death at call {at} (effect: {effect})"
            );
            let open =
                under_way(office.world.store.clone(), "acme", quick(), CancellationToken::new())
                    .await
                    .unwrap();
            assert_eq!(open, None, "death at call {at} (effect: {effect})");
            assert_eq!(
                office.world.run().await.brief(),
                "ok: unchanged 5",
                "death at call {at} (effect: {effect})"
            );
        }
    }
}

#[tokio::test]
async fn files_of_a_piece_that_is_given_up_fail_and_come_later() {
    let office = Office::new(files(6).with(|source| source.connections = 1), 3);
    let run = office.ask().await;
    let plan = office.queue.take().expect("the plan").0;
    office.work(&plan, CancellationToken::new()).await.expect("it plans");
    let piece = office.queue.take().expect("a piece").0;
    office.queue.give_up(&piece);
    let swept = office.sweep().await;
    assert_eq!(
        (swept.given_up, swept.problems.len(), office.queue.poisoned()),
        (1, 0, 0),
        "{swept:?}"
    );
    // The next piece of its lane is not held up.
    office.drain().await;
    assert_eq!(
        (office.report(&run).await, office.left()),
        ("degraded, ingested 3, failed 3".to_owned(), vec![])
    );
    let run = office.ask().await;
    office.drain().await;
    assert_eq!(office.report(&run).await, "ok, ingested 3, unchanged 3");
    each_once(&office, 6);
}

#[tokio::test]
async fn a_message_of_somebody_else_stays_in_the_poison_queue() {
    let office = Office::new(files(1), 3);
    office.queue.give_up("{\"order\": 17}");
    let swept = office.sweep().await;
    let left = (swept.given_up, swept.problems.len(), office.queue.poisoned());
    assert_eq!(left, (0, 0, 1), "{swept:?}");
}

#[tokio::test]
async fn a_plan_that_is_given_up_ends_its_run() {
    let office = Office::new(files(1), 3);
    let run = office.ask().await;
    let plan = office.queue.take().expect("the plan").0;
    office.queue.give_up(&plan);
    office.queue.give_up("dance");
    let swept = office.sweep().await;
    // What is none of ours stays.
    assert_eq!((swept.given_up, swept.closed), (1, vec![run.clone()]));
    assert_eq!(office.report(&run).await, "failed");
    office.ask().await;
    office.drain().await;
    each_once(&office, 1);
}

#[tokio::test]
async fn a_source_that_is_under_way_in_pieces_is_left_alone_by_every_other_run() {
    let office = Office::new(files(6), 3);
    let first = office.ask().await;
    let plan = office.queue.take().expect("the plan").0;
    office.work(&plan, CancellationToken::new()).await.expect("it plans");
    let second = office.ask().await;
    let ran = office.world.run().await;
    assert_eq!(
        (ran.source().left_to.as_ref().and_then(|left| left.run.clone()), ran.reads),
        (Some(first.clone()), 0)
    );
    // The second plan comes before the pieces are done.
    let waiting: Vec<String> =
        std::iter::from_fn(|| office.queue.take()).map(|(message, _)| message).collect();
    for message in waiting.iter().rev() {
        office.queue.send(message, Duration::ZERO).await.unwrap();
    }
    office.drain().await;
    assert_eq!(
        (office.report(&first).await, office.report(&second).await),
        ("ok, ingested 6".to_owned(), "left".to_owned())
    );
    each_once(&office, 6);
}

#[tokio::test]
async fn what_dead_workers_left_is_ended_and_taken_again() {
    for with_queue in [true, false] {
        let office = Office::new(files(2), 3);
        let ledger = Ledger::open(
            office.world.store.clone(),
            "acme",
            "old",
            quick(),
            CancellationToken::new(),
        )
        .await
        .unwrap();
        let since = OffsetDateTime::now_utc() - time::Duration::hours(30);
        let old = OpenPass {
            id: "20260101T000000Z-00000000-11".into(),
            run: "20260101T000000Z-00000000".into(),
            since,
        };
        let journals = ledger.make_journals(1).await.unwrap();
        assert_eq!(ledger.open_pass(&old, journals).await.unwrap(), None);
        drop(ledger);
        if with_queue {
            assert_eq!(office.sweep().await.closed, [old.run]);
            office.ask().await;
            office.drain().await;
        } else {
            assert_eq!(office.world.run().await.brief(), "ok: ingested 2");
        }
        each_once(&office, 2);
    }
}

#[tokio::test]
async fn what_is_left_of_a_plan_that_was_cut_short_is_removed_a_day_later() {
    let office = Office::new(files(1), 3);
    let yesterday = run_id(OffsetDateTime::now_utc() - time::Duration::hours(30));
    let today = run_id(OffsetDateTime::now_utc());
    let names =
        [&yesterday, &today].map(|run| format!("_blobferry/acme/work/{run}-00/piece-00000.ndjson"));
    for name in &names {
        office.world.foreign(name, b"left").await;
    }
    office.ask().await;
    office.drain().await;
    assert_eq!(office.left(), [names[1].clone()], "somebody may be writing the newer one");
}

#[tokio::test]
async fn a_piece_waits_for_logins_that_others_have() {
    let office = Office::new(files(2).with(|source| source.connections = 1), 3);
    office.ask().await;
    let plan = office.queue.take().expect("the plan").0;
    office.work(&plan, CancellationToken::new()).await.expect("it plans");
    let piece = office.queue.take().expect("a piece").0;
    let slot = blobferry::model::BlobName::new("_blobferry/acme/slots/00").unwrap();
    use blobferry::store::contract::{Leased, Store};
    let other = office
        .world
        .store
        .lease(&slot, &blobferry::store::holder::Holder::new("other"))
        .await
        .unwrap();
    let came = office.work(&piece, CancellationToken::new()).await.expect("it waits");
    assert!(
        matches!(&came, Came::Later(told) if told.contains("the logins of the source are taken")),
        "{came:?}"
    );
    let Leased::Held(lease) = other else { panic!("it is free") };
    lease.release().await.unwrap();
    let (again, delay) = office.queue.take().expect("it was put back");
    assert!(delay >= Duration::from_secs(10));
    office.work(&again, CancellationToken::new()).await.expect("it works");
    each_once(&office, 2);
}
