//! Pools under one cap: those of sources at one server.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::*;
use crate::source::contract::Session;
use crate::source::memory::MemoryServer;

const HOUR: Duration = Duration::from_secs(3600);

fn pools(server: &MemoryServer, count: usize, each: usize, cap: usize) -> Vec<Arc<Pool>> {
    let cap = SharedCap::new(cap);
    let pool = |_| Pool::within(Arc::new(server.clone()), each, Some((cap.clone(), 50)));
    (0..count).map(pool).collect()
}

#[tokio::test(start_paused = true)]
async fn sixty_sources_on_one_server_never_have_more_logins_than_the_cap() {
    for server in [MemoryServer::new(), MemoryServer::forking(4)] {
        let mut work = JoinSet::new();
        for pool in pools(&server, 60, 2, 4) {
            for _ in 0..3 {
                let pool = pool.clone();
                work.spawn(async move {
                    for n in 0..5 {
                        let lease = match n {
                            4 => pool.lend_alone().await,
                            _ => pool.lend().await,
                        };
                        let lease = lease.expect("it is lent");
                        sleep(Duration::from_millis(300)).await;
                        lease.give_back();
                        sleep(Duration::from_millis(100)).await;
                    }
                });
            }
        }
        timeout(HOUR, work.join_all()).await.expect("nobody waits for ever");
        let most = server.tree().most_open;
        let logins = server.tree().logins;
        assert!(most <= 4, "{most} at once");
        assert!(logins >= 60, "each source has its own credential: {logins}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_that_a_source_does_not_use_is_given_up_for_another() {
    for server in [MemoryServer::new(), MemoryServer::forking(4)] {
        let pools = pools(&server, 2, 2, 1);
        pools[0].lend().await.expect("it is lent").give_back();
        assert_eq!(server.tree().open, 1, "it is kept for its next file");
        let began = Instant::now();
        let lease = timeout(HOUR, pools[1].lend()).await.expect("in time").expect("it is lent");
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        assert_eq!(server.tree().most_open, 1);
        drop(lease);
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_source_keeps_no_other_one_waiting_until_it_is_done() {
    for server in [MemoryServer::new(), MemoryServer::forking(4)] {
        let pools = pools(&server, 2, 2, 1);
        // Its login is never idle.
        let busy: Vec<_> = (0..3)
            .map(|_| {
                let pool = pools[0].clone();
                tokio::spawn(async move {
                    loop {
                        let lease = pool.lend().await.expect("it is lent");
                        sleep(Duration::from_millis(500)).await;
                        lease.give_back();
                    }
                })
            })
            .collect();
        sleep(Duration::from_secs(5)).await;
        let lease = timeout(Duration::from_secs(120), pools[1].lend()).await.expect("in time");
        drop(lease.expect("it is lent"));
        assert_eq!(server.tree().most_open, 1);
        busy.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// A server that takes connections and never says a word.
#[derive(Debug)]
struct Silent;

#[async_trait]
impl Endpoint for Silent {
    fn address(&self) -> &str {
        "ftp://silent"
    }

    fn default_connections(&self) -> usize {
        4
    }

    async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
        sleep(Duration::from_secs(2)).await;
        Err(SourceError::new(Op::Login, self.address(), Class::Connect, "no greeting"))
    }
}

#[tokio::test(start_paused = true)]
async fn sources_at_a_silent_server_wait_side_by_side_for_each_of_their_tries() {
    for (pools, sources) in [(1, 15), (15, 1), (5, 3)] {
        let cap = SharedCap::new(4);
        let pool = |_| Pool::within(Arc::new(Silent), 4, Some((cap.clone(), 50)));
        let pools: Vec<_> = (0..pools).map(pool).collect();
        pools.iter().for_each(|pool| pool.become_common());
        // A run begins with so many of them, the others follow.
        let at_once = Arc::new(Semaphore::new(8));
        let mut work = JoinSet::new();
        for n in 0..pools.len() * sources {
            let (pool, at_once) = (pools[n % pools.len()].clone(), at_once.clone());
            work.spawn(async move {
                let _turn = at_once.acquire_owned().await;
                for attempt in 1..=2 {
                    drop(pool.lend_for_try(attempt, 2).await.err().expect("nobody answers"));
                    sleep(Duration::from_millis(50 + 17 * n as u64)).await;
                }
            });
        }
        let began = Instant::now();
        work.join_all().await;
        // Two tries of two seconds each and one for those that follow, and the waits behind them.
        let limit = Duration::from_millis(3 * 2_000 + 4 * 300 + 500);
        assert!(began.elapsed() < limit, "{:?} of {limit:?}", began.elapsed());
    }
}
