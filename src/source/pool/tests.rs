//! Logins that are to be had alone, beside those in company: who waits for whom, and never for
//! ever.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::*;
use crate::model::RemotePath;
use crate::source::memory::MemoryServer;

const MOMENT: Duration = Duration::from_millis(10);

fn pool(server: &MemoryServer, connections: usize) -> Arc<Pool> {
    Pool::new(Arc::new(server.clone()), connections)
}

fn login(lease: &PoolLease) -> u64 {
    lease.lent.as_ref().expect("it is lent").login.id
}

fn gone() -> SourceError {
    SourceError::new(Op::Read, "memory://server", Class::Connect, "gone")
}

/// The result of `lend` once it is there; it must not be there in the next `pause`.
async fn only_later(
    lend: impl Future<Output = Result<PoolLease, SourceError>> + Send + 'static,
    pause: Duration,
) -> tokio::task::JoinHandle<PoolLease> {
    let mut task = tokio::spawn(async { lend.await.expect("it is lent") });
    assert!(timeout(pause, &mut task).await.is_err(), "it came too early");
    task
}

async fn soon(task: tokio::task::JoinHandle<PoolLease>) -> PoolLease {
    timeout(MOMENT, task).await.expect("it comes at once").expect("no panic")
}

fn any(pool: &Arc<Pool>) -> impl Future<Output = Result<PoolLease, SourceError>> + Send + 'static {
    let pool = pool.clone();
    async move { pool.lend().await }
}

fn alone(
    pool: &Arc<Pool>,
) -> impl Future<Output = Result<PoolLease, SourceError>> + Send + 'static {
    let pool = pool.clone();
    async move { pool.lend_alone().await }
}

#[tokio::test(start_paused = true)]
async fn a_login_is_alone_until_its_lease_ends_or_its_seclusion() {
    let ways: [fn(PoolLease); 5] = [
        PoolLease::give_back,
        drop,
        PoolLease::discard,
        |lease| lease.lost(&gone()),
        |mut lease| {
            drop(lease.seclusion().expect("it was alone"));
            // It goes on in company.
            std::mem::forget(lease);
        },
    ];
    for end in ways {
        let server = MemoryServer::forking(8);
        let pool = pool(&server, 1);
        let kept = pool.lend_alone().await.expect("it is lent");
        let other = only_later(any(&pool), Duration::from_secs(600)).await;
        let second = only_later(alone(&pool), Duration::from_secs(600)).await;
        end(kept);
        let (other, most) = (soon(other).await, server.tree().most_open);
        // A task that waits in company comes before the next who wants to be alone.
        assert!(!second.is_finished() && most == 1);
        other.give_back();
        second.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn newcomers_are_kept_off_a_login_for_one_who_wants_it_alone_but_not_for_long() {
    let server = MemoryServer::forking(8);
    let pool = pool(&server, 1);
    let long = pool.lend().await.expect("it is lent");
    let seeker = only_later(alone(&pool), MOMENT).await;
    let newcomer = only_later(any(&pool), Duration::from_secs(4)).await;
    sleep(Duration::from_secs(2)).await;
    let newcomer = soon(newcomer).await;
    pool.lend().await.expect("the door stands open").give_back();
    sleep(Duration::from_secs(31)).await;
    let late = only_later(any(&pool), MOMENT).await;
    newcomer.give_back();
    sleep(MOMENT).await;
    assert!(!seeker.is_finished() && !late.is_finished());
    // With the last one on it gone, it is the one's for whom it was kept.
    long.give_back();
    let kept = soon(seeker).await;
    assert!(!late.is_finished());
    kept.give_back();
    soon(late).await.give_back();
    assert_eq!(server.tree().logins, 1);
}

#[tokio::test(start_paused = true)]
async fn of_several_logins_one_is_always_for_the_others() {
    let server = MemoryServer::forking(8);
    let pool = pool(&server, 2);
    let first = pool.lend().await.expect("it is lent");
    let kept = pool.lend_alone().await.expect("there is room for another login");
    let second = pool.lend().await.expect("it is lent");
    assert_eq!((login(&first), login(&second)), (0, 0));
    assert_eq!((login(&kept), server.tree().most_open), (1, 2));
    let waits = only_later(alone(&pool), Duration::from_secs(60)).await;
    pool.lend().await.expect("nobody is in the way").give_back();
    kept.give_back();
    assert_eq!(login(&soon(waits).await), 1);
}

#[tokio::test(start_paused = true)]
async fn where_a_login_carries_one_transfer_it_is_alone_anyway() {
    let pool = pool(&MemoryServer::new(), 3);
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(pool.lend_alone().await.expect("nobody takes turns"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_without_room_for_one_more_is_not_asked_by_one_who_wants_to_be_alone() {
    let server = MemoryServer::forking(8);
    let pool = pool(&server, 4);
    let first = pool.lend().await.expect("it is lent");
    server.tree().login_faults.extend([Class::Busy; 3]);
    // All four places but that of the first login rest, one after another.
    let seeker = only_later(alone(&pool), Duration::from_secs(1)).await;
    first.give_back();
    let kept = soon(seeker).await;
    assert_eq!(
        (login(&kept), server.tree().logins),
        (0, 2),
        "one login that was refused, then it waited"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refused_credential_reaches_all_who_wait() {
    let server = MemoryServer::forking(8);
    let pool = pool(&server, 1);
    let first = pool.lend().await.expect("it is lent");
    let seekers: Vec<_> = (0..3).map(|_| tokio::spawn(alone(&pool))).collect();
    sleep(MOMENT).await;
    server.tree().login_faults.push_back(Class::Auth);
    first.discard();
    for seeker in seekers {
        let error = timeout(MOMENT, seeker)
            .await
            .expect("at once")
            .expect("no panic")
            .err()
            .expect("it is refused");
        assert_eq!(error.class(), Class::Auth);
    }
    assert_eq!(server.tree().logins, 2);
}

/// A session that was thrown away on a connection that was lost must not hold the only place for
/// ever.
#[tokio::test(start_paused = true)]
async fn a_lost_login_that_nobody_is_on_makes_room_for_the_next() {
    for wants_alone in [false, true] {
        let server = MemoryServer::forking(8);
        server.tree().calls_per_login = Some(1);
        let pool = pool(&server, 1);
        let mut lease = pool.lend().await.expect("it is lent");
        lease.stat(&RemotePath::from("/a")).await.expect("one call is answered");
        lease.stat(&RemotePath::from("/a")).await.expect_err("the server has ended it");
        drop(lease);
        let again = async { if wants_alone { pool.lend_alone().await } else { pool.lend().await } };
        let lease = timeout(MOMENT, again).await.expect("at once").expect("it is lent");
        assert_eq!((login(&lease), server.tree().most_open), (1, 1));
    }
}

/// Tasks of both kinds come, hold sessions for a while and end in all ways, while logins fail now
/// and then.
async fn crowd(seed: u64, connections: usize, forks: usize) {
    let server = MemoryServer::forking(forks);
    let pool = pool(&server, connections);
    let on: Arc<Mutex<BTreeMap<u64, usize>>> = Arc::default();
    let mut random = seed;
    let mut next = move |below: u64| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut tasks = JoinSet::new();
    for _ in 0..80 {
        let (pool, on, server) = (pool.clone(), on.clone(), server.clone());
        let (start, hold, wants_alone, end, fault) =
            (next(20_000), next(3_000), next(3) == 0, next(7), next(12) == 0);
        tasks.spawn(async move {
            sleep(Duration::from_millis(start)).await;
            if fault {
                server.tree().login_faults.push_back(Class::Busy);
            }
            // Some who wait go away.
            let patience = Duration::from_millis(if end == 0 { hold } else { 3_600_000 });
            let lend = async {
                loop {
                    match if wants_alone { pool.lend_alone().await } else { pool.lend().await } {
                        Ok(lease) => return lease,
                        Err(error) if error.class() == Class::Busy => {
                            sleep(Duration::from_millis(100)).await
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            };
            let lease = match timeout(patience, lend).await {
                Ok(lease) => lease,
                Err(_) if end == 0 => return,
                Err(_) => panic!("it waits for ever"),
            };
            let id = login(&lease);
            let others = { *on.lock().unwrap().entry(id).and_modify(|n| *n += 1).or_insert(1) - 1 };
            assert!(!wants_alone || others == 0, "{others} others on it");
            for _ in 0..10 {
                sleep(Duration::from_millis(hold / 10)).await;
                let there = on.lock().unwrap()[&id];
                assert!(!wants_alone || there == 1, "somebody came");
            }
            *on.lock().unwrap().get_mut(&id).unwrap() -= 1;
            match end {
                1 => drop(lease),
                2 => lease.discard(),
                3 => lease.lost(&gone()),
                _ => lease.give_back(),
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no task panics");
    }
    let state = pool.state();
    assert!(!state.is_wanted() && !state.owes_others());
    assert!(server.tree().most_open <= connections as u64);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_ever_whatever_the_order() {
    for seed in 0..60 {
        for (connections, forks) in [(1, 2), (1, 8), (2, 3), (4, 2), (3, 64)] {
            crowd(seed, connections, forks).await;
        }
    }
}

/// On the only login: files that come and go beside one that takes an hour, and ten that each want
/// it for 20 s.
#[tokio::test(start_paused = true)]
async fn neither_kind_starves_the_other() {
    let server = MemoryServer::forking(8);
    let pool = pool(&server, 1);
    let long = pool.lend().await.expect("it is lent");
    let seekers: Vec<_> = (0..10).map(|_| tokio::spawn(alone(&pool))).collect();
    let small = |pool: Arc<Pool>, longest: Duration| async move {
        let begun = Instant::now();
        let lease = pool.lend().await.expect("it is lent");
        assert!(begun.elapsed() <= longest, "{:?}", begun.elapsed());
        sleep(Duration::from_millis(100)).await;
        lease.give_back();
    };
    let begun = Instant::now();
    let mut files = 0;
    while begun.elapsed() < Duration::from_secs(3_600) {
        small(pool.clone(), Duration::from_secs(6)).await;
        files += 1;
    }
    assert!(files > 25_000, "{files} files in an hour of 36,000");
    long.give_back();
    let ends = async {
        for seeker in seekers {
            let lease = seeker.await.expect("no panic").expect("it is lent");
            sleep(Duration::from_secs(20)).await;
            lease.give_back();
        }
    };
    let files = async {
        for _ in 0..50 {
            small(pool.clone(), Duration::from_secs(21)).await;
        }
    };
    timeout(Duration::from_secs(600), async { tokio::join!(ends, files) })
        .await
        .expect("all have their turns");
}
