//! How busy servers are treated: half as many logins, a rest, then one more at a time; dead ones
//! are given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use blobferry::demo::ftp::script::DemoFtpScript;
use blobferry::model::failure::Class;
use blobferry::run::run;
use blobferry::runtime::retry::Policy;
use blobferry::source::contract::{Endpoint, Op, Session, SourceError};
use blobferry::source::memory::MemoryServer;
use blobferry::source::pool::Pool;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::e2e::bad_input::old_file;
use super::super::kit::stage::ftp;
use super::super::kit::trial::Trial;
use super::super::servers::{Sshd, SshdAuth, SshdOptions};
use super::super::world::{self, World};

/// A server with room for so many logins; one more fails in this way.
#[derive(Debug)]
struct Narrow {
    server: MemoryServer,
    room: AtomicUsize,
    class: Class,
    refused: AtomicUsize,
}

#[async_trait]
impl Endpoint for Narrow {
    fn address(&self) -> &str {
        self.server.address()
    }

    fn default_connections(&self) -> usize {
        self.server.default_connections()
    }

    async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if self.server.tree().open >= self.room.load(Ordering::SeqCst) as u64 {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(SourceError::new(Op::Login, self.address(), self.class, "no room"));
        }
        self.server.open().await
    }
}

/// 421, 530 too many, MaxStartups and refused connections all come to one of these two.
#[tokio::test(start_paused = true)]
async fn a_server_without_room_has_a_rest_and_is_then_asked_for_one_more_at_a_time() {
    for class in [Class::Busy, Class::Connect] {
        let endpoint = Arc::new(Narrow {
            server: MemoryServer::new(),
            room: AtomicUsize::new(1),
            class,
            refused: AtomicUsize::new(0),
        });
        let pool = Pool::new(endpoint.clone(), 8);
        let first = pool.lend().await.expect("there is room for one");
        let (gave, mut got) = mpsc::unbounded_channel();
        for _ in 0..7 {
            let (pool, gave) = (pool.clone(), gave.clone());
            tokio::spawn(
                async move { gave.send((Instant::now(), pool.lend().await)).map_err(drop) },
            );
        }
        let refused = || endpoint.refused.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert!((1..=7).contains(&refused()), "one crowd: {}", refused());
        let crowd = refused();
        // Ten minutes without room: it is asked ever more rarely.
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(
            (crowd + 3..=crowd + 16).contains(&refused()),
            "asked now and then: {} after {crowd}",
            refused()
        );
        assert!(got.try_recv().is_err(), "nobody has failed or was let in");
        // With room for all they come in, not at once.
        endpoint.room.store(8, Ordering::SeqCst);
        let (begun, before) = (Instant::now(), refused());
        let mut leases = Vec::new();
        for _ in 0..7 {
            let (_, lease) = got.recv().await.expect("somebody is let in");
            leases.push((Instant::now(), lease.expect("there is room")));
        }
        let (early, late) = (leases[0].0 - begun, leases[6].0 - begun);
        assert!(
            early <= Duration::from_secs(130) && late >= early + Duration::from_secs(20),
            "{early:?} to {late:?}"
        );
        assert_eq!(
            (refused(), endpoint.server.tree().open),
            (before, 8),
            "all places are in use again"
        );
        drop((first, leases));
    }
}

/// The n-th login costs the file that wanted it no try: those that are there do the work.
#[test]
fn a_530_for_too_many_is_no_refused_password() {
    let stage = ftp(DemoFtpScript { full_logins_from: Some(2), ..DemoFtpScript::default() });
    for n in 0..30 {
        old_file(&stage.root.path().join(format!("{n:02}.txt")), format!("number {n}").as_bytes());
    }
    let lines = format!("{}connections = 6\n", stage.lines());
    Trial::of(&stage, &lines)
        .run()
        .is("exit 0: listed 33, ingested 33")
        .logs(&["takes no more logins now"]);
    let asked = stage.server.counts.of("PASS");
    assert!(asked <= 7, "one crowd of logins, then none: {asked}");
    // Full from the first: busy, not auth, so that the next run tries again.
    let stage = ftp(DemoFtpScript { full_logins_from: Some(1), ..DemoFtpScript::default() });
    let trial = Trial::of(&stage, &stage.lines());
    trial.run().is("exit 3: problem [busy]");
    let asked = stage.server.counts.of("PASS");
    trial.run().is("exit 3: problem [busy]");
    assert!(stage.server.counts.of("PASS") > asked);
}

#[test]
fn an_sshd_that_takes_one_at_a_time() {
    let lines = &["MaxSessions 1", "MaxStartups 1:100:1"];
    let Some(sshd) = Sshd::start(SshdOptions { auth: SshdAuth::Key, lines }) else { return };
    let mut trial = Trial::new(
        &format!(
            "[[source]]\nname = \"acme\"\nstable_for = \"0s\"\nattempts = 3\nstall_timeout = \
             \"10s\"\nconnect_timeout = \"5s\"\nconnections = 6\nurl = \
             \"sftp://{}@127.0.0.1:{}{}\"\nprivate_key_file = \"{}\"\nhost_key = \"{}\"\n",
            sshd.user,
            sshd.port,
            sshd.base,
            sshd.user_key.display(),
            sshd.host_key_sha256
        ),
        "folder = \"store\"",
    );
    for n in 0..200 {
        let content = format!("number {n}").repeat(100);
        old_file(&sshd.root.join(format!("d{}/{n}.txt", n % 10)), content.as_bytes());
        trial = trial.allow(content.as_bytes());
    }
    trial.run().is("exit 0: listed 200, ingested 200");
}

/// A server that dies is asked for a minute or so, not once for each of a thousand files, and holds
/// up nobody.
#[tokio::test(start_paused = true)]
async fn a_server_that_stays_dead_is_given_up_and_others_go_on() {
    let names: Vec<String> = (0..200).map(|n| format!("f{n}")).collect();
    let wanted: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = World::new().with(|source| source.connections = 4).patterns(&wanted, &[], None);
    let world = world.with(|source| {
        source.policy = Policy {
            max_wait: Duration::from_secs(10),
            first_wait: Duration::from_secs(4),
            ..Policy::default()
        }
    });
    world.server.tree().login_faults.extend([Class::Connect; 5_000]);
    let other = MemoryServer::new();
    other.put("/x", "other", world::LONG_AGO);
    let sources = vec![world.source.clone(), world::source("other", &other)];
    let begun = Instant::now();
    let report = run(sources, world.options(world.store.clone(), CancellationToken::new())).await;
    world::assert_equations(&report);
    let tried = world.server.tree().logins;
    assert!((10..=100).contains(&tried), "200 files of five tries each: {tried} logins");
    assert!(begun.elapsed() < Duration::from_secs(600), "{:?}", begun.elapsed());
    assert_eq!(
        (report.sources[0].ingested, report.sources[1].ingested, report.exit_code()),
        (0, 1, 1)
    );
    let text = report.to_string();
    assert!(text.contains("given up for this run after"), "{text}");
}
