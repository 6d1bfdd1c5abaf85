//! Several runs want one source: one does the work, the others say so and leave it, and a dead one
//! is in nobody's way.

use std::time::Duration;

use blobferry::model::BlobName;
use blobferry::report::Status;
use blobferry::run::run;
use blobferry::store::contract::{Leased, Store, StoreKind};
use blobferry::store::holder::{Holder, Life, Process};
use blobferry::store::memory::{MemoryFault, MemoryOp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{World, assert_equations};

fn lock() -> BlobName {
    BlobName::new("_blobferry/acme/lock").unwrap()
}

/// Another run's lease on the source.
async fn held(world: &World, holder: &Holder) -> Leased {
    let leased = world.store.lease(&lock(), holder).await.unwrap();
    assert!(matches!(leased, Leased::Held(_)), "{leased:?}");
    leased
}

/// A holder of which this machine cannot tell whether it lives.
fn elsewhere() -> Holder {
    let process = Process { id: 7, began: Some(7), space: Some("another machine".into()) };
    Holder { host: "laptop".into(), process, ..Holder::new("20260101T000000Z-00000000") }
}

fn killed() -> Holder {
    let process = Process { began: Some(1), ..Process::this() };
    Holder { process, ..Holder::new("20260101T000000Z-00000000") }
}

#[tokio::test]
async fn of_two_runs_at_once_one_does_the_work_and_the_other_says_who() {
    let world =
        (0..20).fold(World::new(), |world, n| world.file(&format!("/{n}"), format!("content {n}")));
    let one = || {
        run(
            vec![world.source.clone()],
            world.options(world.store.clone(), CancellationToken::new()),
        )
    };
    let (first, second) = tokio::join!(one(), one());
    let (worked, left) =
        if first.sources[0].ingested > 0 { (first, second) } else { (second, first) };
    assert_equations(&worked);
    assert_equations(&left);
    assert_eq!(
        (worked.sources[0].ingested, worked.sources[0].left_to.is_none(), worked.exit_code()),
        (20, true, 0)
    );
    let other = left.sources[0].left_to.as_ref().expect("it is left");
    assert_eq!(
        (left.sources[0].status(), left.status(), left.exit_code(), left.sources[0].listed),
        (Status::Left, Status::Ok, 0, 0)
    );
    assert_eq!((other.run.as_ref(), other.since.is_some()), (Some(&worked.run), true));
    assert!(left.to_string().contains(&format!("left to run {}", worked.run)), "{left}");
    assert_eq!(world.names().len(), 20);
    // The lease was given back: nobody waits, and nothing is left to do.
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.requests.leases, ran.requests.releases),
        ("ok: unchanged 20", 0, 0)
    );
}

#[tokio::test]
async fn a_source_that_is_left_is_neither_read_nor_written_to() {
    let world = World::new().file("/a", "one");
    let _lease = held(&world, &Holder::new("20260101T000000Z-00000000")).await;
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.reads, ran.requests.puts, ran.requests.appends),
        ("ok: left", 0, 0, 0)
    );
    assert_eq!(world.store.names(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_may_be_dead_is_waited_for_until_its_lease_lapses() {
    let world = World::new().file("/a", "one");
    let lease = held(&world, &elsewhere()).await;
    // Killed: nobody gives it back, nobody renews it.
    std::mem::forget(lease);
    let begun = Instant::now();
    let report = run(
        vec![world.source.clone()],
        world.options(world.store.clone(), CancellationToken::new()),
    )
    .await;
    assert_eq!((report.sources[0].ingested, report.exit_code()), (1, 0));
    let waited = begun.elapsed();
    assert!((Duration::from_secs(55)..Duration::from_secs(70)).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_lives_elsewhere_keeps_its_source() {
    let world = World::new().file("/a", "one");
    let Leased::Held(lease) = held(&world, &elsewhere()).await else { unreachable!() };
    let renewing = async {
        loop {
            tokio::time::sleep(Duration::from_secs(20)).await;
            lease.renew().await.unwrap();
        }
    };
    let begun = Instant::now();
    let report = tokio::select! {
        report = run(vec![world.source.clone()],
            world.options(world.store.clone(), CancellationToken::new())) => report,
        () = renewing => unreachable!(),
    };
    let left = report.sources[0].left_to.clone().expect("it is left");
    assert_eq!(
        (left.host.as_deref(), report.exit_code(), world.names().len()),
        (Some("laptop"), 0, 0)
    );
    let waited = begun.elapsed();
    assert!((Duration::from_secs(60)..Duration::from_secs(75)).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_can_be_stopped() {
    let world = World::new().file("/a", "one");
    let _lease = held(&world, &elsewhere()).await;
    let (cancel, begun) = (CancellationToken::new(), Instant::now());
    let stop = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        cancel.cancel();
    };
    let (report, ()) = tokio::join!(
        run(vec![world.source.clone()], world.options(world.store.clone(), cancel.clone())),
        stop
    );
    assert!(
        report.interrupted
            && report.sources[0].left_to.is_some()
            && begun.elapsed() < Duration::from_secs(10),
        "{report}"
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_holder_that_was_killed_on_this_machine_is_in_nobodys_way() {
    assert_eq!(killed().life(), Life::Dead);
    let world = World::new().file("/a", "one");
    std::mem::forget(held(&world, &killed()).await);
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.requests.leases), ("ok: ingested 1", 2));
}

#[tokio::test]
async fn the_lease_of_one_that_lives_is_not_ended_in_the_name_of_a_dead_one() {
    let world = World::new();
    let lease = held(&world, &elsewhere()).await;
    let other = Holder { run: "20260101T000000Z-11111111".into(), ..killed() };
    world.store.end_lease(&lock(), &other).await.unwrap();
    let taken = world.store.lease(&lock(), &other).await.unwrap();
    let Leased::Taken(by) = &taken else { panic!("{taken:?}") };
    assert_eq!(by.by.as_ref().map(|by| &by.run), Some(&elsewhere().run));
    drop(lease);
    assert!(matches!(world.store.lease(&lock(), &other).await.unwrap(), Leased::Held(_)));
}

/// The lease is lost in mid-run and another run begins: both finish, and nothing is there twice.
#[tokio::test(start_paused = true)]
async fn a_lease_that_is_lost_costs_work_only() {
    let world =
        (0..6).fold(World::new(), |world, n| world.file(&format!("/{n}"), format!("content {n}")));
    // The first transfer takes long enough for a renewal, which is told that the lease is
    // another's.
    world.store.fault(MemoryOp::Put, 1, MemoryFault::Delay(Duration::from_secs(50)));
    world.store.fault(MemoryOp::Renew, 1, MemoryFault::Refused(StoreKind::Condition));
    let one = || {
        run(
            vec![world.source.clone()],
            world.options(world.store.clone(), CancellationToken::new()),
        )
    };
    let later = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        one().await
    };
    let (first, second) = tokio::join!(one(), later);
    for report in [&first, &second] {
        assert_equations(report);
        assert_eq!(
            (report.exit_code(), report.sources[0].left_to.is_none()),
            (0, true),
            "{report}"
        );
    }
    assert!(
        first.sources[0].notes.iter().any(|note| note.contains("its lease was lost on the way")),
        "{first}"
    );
    assert_eq!(second.sources[0].notes, Vec::<String>::new());
    let names: Vec<String> = (0..6).map(|n| format!("acme/{n}")).collect();
    assert_eq!(world.names(), names);
    assert_eq!(world.run().await.brief(), "ok: unchanged 6");
}

#[tokio::test(start_paused = true)]
async fn renewals_that_fail_for_a_while_are_made_up_for() {
    let world = World::new().file("/a", "one");
    world.store.fault(MemoryOp::Put, 1, MemoryFault::Delay(Duration::from_secs(300)));
    for nth in [1, 2, 5, 6] {
        world.store.fault(MemoryOp::Renew, nth, MemoryFault::Refused(StoreKind::Unavailable));
    }
    let working = run(
        vec![world.source.clone()],
        world.options(world.store.clone(), CancellationToken::new()),
    );
    let other = async {
        tokio::time::sleep(Duration::from_secs(200)).await;
        run(
            vec![world.source.clone()],
            world.options(world.store.clone(), CancellationToken::new()),
        )
        .await
    };
    let (working, other) = tokio::join!(working, other);
    assert_eq!((working.sources[0].ingested, &working.sources[0].notes), (1, &Vec::new()));
    assert!(other.sources[0].left_to.is_some(), "{other}");
    assert!(world.store.counts().renewals >= 14, "{:?}", world.store.counts());
}

#[tokio::test(start_paused = true)]
async fn renewals_that_fail_for_a_minute_lose_the_lease() {
    let world = World::new().file("/a", "one");
    world.store.fault(MemoryOp::Put, 1, MemoryFault::Delay(Duration::from_secs(300)));
    (1..=3).for_each(|nth| {
        world.store.fault(MemoryOp::Renew, nth, MemoryFault::Refused(StoreKind::Unavailable))
    });
    let report = run(
        vec![world.source.clone()],
        world.options(world.store.clone(), CancellationToken::new()),
    )
    .await;
    assert_eq!(
        (report.sources[0].ingested, report.exit_code(), world.store.counts().renewals),
        (1, 0, 3)
    );
    assert!(report.sources[0].notes.iter().any(|note| note.contains("lease was lost")), "{report}");
}

#[tokio::test]
async fn a_credential_without_the_right_to_leases_brings_files_all_the_same() {
    let world = World::new().file("/a", "one");
    world.store.fault(MemoryOp::Lease, 1, MemoryFault::Refused(StoreKind::Denied));
    let ran = world.run().await;
    assert_eq!((ran.brief().as_str(), ran.requests.releases), ("ok: ingested 1", 0));
    assert!(
        ran.source()
            .notes
            .iter()
            .any(|note| note.contains("without a lease") && note.contains("_blobferry/")),
        "{ran}"
    );
}

#[tokio::test]
async fn a_lease_whose_answer_was_lost_is_taken_again() {
    let world = World::new().file("/a", "one");
    world.store.fault(MemoryOp::Lease, 1, MemoryFault::LostReply);
    let ran = world.run().await;
    assert_eq!(
        (ran.brief().as_str(), ran.requests.leases, ran.requests.releases),
        ("ok: ingested 1", 2, 1)
    );
}

#[tokio::test]
async fn a_plan_takes_no_lease_and_waits_for_none() {
    let world = World::new().file("/a", "one");
    let _lease = held(&world, &elsewhere()).await;
    let plans = blobferry::run::plan(
        vec![world.source.clone()],
        world.options(world.store.clone(), CancellationToken::new()),
    )
    .await;
    assert_eq!((plans[0].files.len(), world.store.counts().leases), (1, 1));
}

#[tokio::test]
async fn a_run_that_is_dropped_gives_its_lease_back() {
    let world = World::new().file("/a", "one");
    world.store.fault(MemoryOp::Put, 1, MemoryFault::Delay(Duration::from_secs(3_600)));
    let dropped = run(
        vec![world.source.clone()],
        world.options(world.store.clone(), CancellationToken::new()),
    );
    let has_begun = async {
        while world.store.counts().puts == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = dropped => unreachable!("its put takes an hour"),
        () = has_begun => {}
    }
    let report = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let report = run(
                vec![world.source.clone()],
                world.options(world.store.clone(), CancellationToken::new()),
            )
            .await;
            if report.sources[0].left_to.is_none() {
                return report;
            }
        }
    });
    assert_eq!(report.await.expect("the lease comes back").sources[0].ingested, 1);
}
