//! Work by the queue, end to end: real handlers, a real SFTP server, Azurite for blobs and
//! messages.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use blobferry::ledger::each_file;
use blobferry::runtime::retry::Policy;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::super::e2e;
use super::super::served::{self, Served};
use super::super::servers::{Azurite, Persistence, SshdAuth};
use super::pump::{Pump, over, work_queue};
use super::{ingest, res, timer};

/// A server with files, a container, a queue, and handlers.
struct Site {
    served: Served,
    azurite: Azurite,
    container: String,
    base: String,
    app: tempfile::TempDir,
}

/// The most sessions that the server had at once.
#[derive(Clone, Copy, Debug, Default)]
struct Sessions {
    /// At any moment that was looked at.
    seen: usize,
    /// For 150 ms or more: one whose client was killed takes a moment to go.
    lasting: usize,
}

impl Sessions {
    /// The server was used, and never by more than `most` at once.
    fn assert_at_most(self, most: usize) {
        assert!(self.seen >= 1 && self.lasting <= most, "{self:?}");
    }
}

impl Site {
    /// `None` where the servers are not there and need not be.
    fn new(files: usize, connections: usize, piece_files: usize) -> Option<Self> {
        let served = served::sshd(SshdAuth::Key)?;
        let azurite = Azurite::start(Persistence::Disk)?;
        for n in 0..files {
            let folder = served.root.join(format!("d{:02}", n % 20));
            std::fs::create_dir_all(&folder).expect("a folder");
            let path = folder.join(format!("{n:05}.csv"));
            std::fs::write(&path, format!("{n};").repeat(n % 97 + 1)).expect("written");
            let file = std::fs::File::options().append(true).open(&path).expect("a file");
            file.set_modified(
                std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000),
            )
            .expect("a time");
        }
        super::super::servers::hand_over(&served.root);
        let (container, base) = (Azurite::container("queue"), Azurite::container("work"));
        let app = tempfile::tempdir().expect("a folder");
        let config = format!(
            "[destination]\n{}[dispatch]\nmode = \"queue\"\npiece_files = \
            {piece_files}\n[[source]]\nname = \"acme\"\nconnections = {connections}\n{}",
            e2e::azure(&azurite, &container),
            served.toml
        );
        std::fs::write(app.path().join("ingest.toml"), config).expect("written");
        std::fs::copy(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("host.json"),
            app.path().join("host.json"),
        )
        .expect("copied");
        Some(Self { served, azurite, container, base, app })
    }

    fn pump(&self, handlers: usize) -> Pump {
        let (storage, queue) = (self.azurite.connection_string(), work_queue(&self.base));
        Pump::new(
            self.app.path(),
            &[("AzureWebJobsStorage", &storage), ("INGEST_QUEUE", &queue)],
            handlers,
        )
    }

    /// Asks for a run, kills handlers at random `kills` times while it goes on, and returns its
    /// record with the time that it took and the most sessions that the server saw at once.
    fn run(&self, pump: &Pump, kills: usize) -> (Value, Duration, Sessions) {
        let (begun, watching) = (Instant::now(), Arc::new(AtomicBool::new(true)));
        let sessions = Mutex::new(Sessions::default());
        let mut record = Value::Null;
        std::thread::scope(|scope| {
            scope.spawn(|| pump.run(&self.azurite, &self.base));
            scope.spawn(|| self.count_sessions(&watching, &sessions));
            let (status, headers, body) = res(&pump.call("IngestHttp", &ingest(&[])).1);
            assert_eq!((status, &body["joined"]), (202, &false.into()), "{body:#}");
            let id = body["id"].as_str().expect("an id").to_owned();
            assert!(
                headers["Location"].as_str().is_some_and(|location| location.ends_with(&id)),
                "{headers}"
            );
            // Whoever asks again is told of the same run.
            let (status, _, again) = res(&pump.call("IngestHttp", &ingest(&["acme"])).1);
            assert_eq!(
                (status, &again["joined"], &again["id"]),
                (202, &true.into(), &body["id"]),
                "{again:#}"
            );
            let mut seed = 0x9E37_79B9_7F4A_7C15u64;
            for _ in 0..kills {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                std::thread::sleep(Duration::from_millis(200 + (seed >> 33) % 1_500));
                // The first one is asked how it goes.
                pump.kill(1 + (seed >> 20) as usize % (pump.handlers() - 1));
            }
            record = over(pump, &id, Duration::from_secs(600));
            watching.store(false, Ordering::Relaxed);
            pump.stop();
        });
        (record, begun.elapsed(), sessions.into_inner().expect("no panic"))
    }

    fn count_sessions(&self, watching: &AtomicBool, sessions: &Mutex<Sessions>) {
        let mut last = [0; 4];
        while watching.load(Ordering::Relaxed) {
            last.rotate_left(1);
            last[3] = self.served.daemon().map_or(0, super::super::servers::Daemon::sessions);
            let mut sessions = sessions.lock().expect("no panic");
            sessions.seen = sessions.seen.max(last[3]);
            sessions.lasting = sessions.lasting.max(*last.iter().min().expect("four"));
            drop(sessions);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Every file is there once and equal, by another program; the ledger speaks of each once.
    fn assert_all_there(&self, files: usize) {
        let mut audit = super::worker::command(self.app.path());
        let audited = audit.args(["audit", "--json"]).output().expect("it runs");
        let told = String::from_utf8_lossy(&audited.stdout);
        assert!(audited.status.success(), "{told}\n{}", String::from_utf8_lossy(&audited.stderr));
        e2e::verify(&self.azurite, &self.container, &self.served.root, &self.served.base, &[]);
        let store = Arc::new(e2e::look(&self.azurite, &self.container));
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut paths = Vec::new();
        let visit = &mut |path: blobferry::model::RemotePath, _| paths.push(path);
        runtime
            .block_on(each_file(store, "acme", Policy::default(), CancellationToken::new(), visit))
            .expect("the ledger is read");
        assert_eq!(paths.len(), files, "each file is recorded once");
        paths.sort();
        paths.dedup();
        assert_eq!(paths.len(), files);
    }
}

fn assert_report(record: &Value, files: u64) {
    let source = &record["sources"][0];
    let count =
        |name: &str| source[name].as_u64().unwrap_or_else(|| panic!("{name} in {record:#}"));
    let sum: u64 = ["ingested", "unchanged", "skipped", "gone", "deferred", "failed"]
        .iter()
        .map(|name| count(name))
        .sum();
    assert_eq!((count("listed"), count("ingested"), sum), (files, files, files), "{record:#}");
    assert_eq!(
        (&record["status"], record["ended"].is_string()),
        (&"ok".into(), true),
        "{record:#}"
    );
}

#[test]
fn three_handlers_killed_at_random_bring_every_file_once() {
    let Some(site) = Site::new(300, 2, 25) else { return };
    let pump = site.pump(3);
    let (record, _, sessions) = site.run(&pump, 6);
    assert_report(&record, 300);
    site.assert_all_there(300);
    sessions.assert_at_most(2);
    assert_eq!(pump.given_up.load(Ordering::Relaxed), 0);
    // The next tick finds nothing to do, and says so.
    let pump = site.pump(1);
    let (status, answer) = pump.call("IngestTimer", &timer());
    let told = answer["Logs"][0].as_str().expect("a summary");
    assert!(
        status == 200 && told.contains("goes over acme through the queue"),
        "{status} {answer}"
    );
    let id = told.split(' ').nth(1).expect("an id").to_owned();
    let record = std::thread::scope(|scope| {
        scope.spawn(|| pump.run(&site.azurite, &site.base));
        let record = over(&pump, &id, Duration::from_secs(120));
        pump.stop();
        record
    });
    assert_eq!(
        (&record["status"], &record["sources"][0]["unchanged"], &record["sources"][0]["listed"]),
        (&"ok".into(), &300.into(), &300.into())
    );
}

/// `scripts/eight-handlers.sh` runs it and prints what it tells.
#[test]
#[ignore = "takes minutes; scripts/eight-handlers.sh runs it"]
fn eight_handlers_killed_at_random_bring_five_thousand_files_once() {
    const FILES: usize = 5_000;
    let mut took = Vec::new();
    for (handlers, kills) in [(1, 0), (8, 0), (8, 40)] {
        let site = Site::new(FILES, 4, 100).expect("the servers are there");
        let pump = site.pump(handlers);
        let (record, time, sessions) = site.run(&pump, kills);
        assert_report(&record, FILES as u64);
        site.assert_all_there(FILES);
        sessions.assert_at_most(4);
        let (done, given_up) =
            (pump.done.load(Ordering::Relaxed), pump.given_up.load(Ordering::Relaxed));
        println!(
            "{handlers} handlers, {kills} kills: {FILES} files in {:.1} s, {:.0} files/s, at most \
            {} sessions, {done} messages, {given_up} given up",
            time.as_secs_f64(),
            FILES as f64 / time.as_secs_f64(),
            sessions.lasting
        );
        took.push(time.as_secs_f64());
    }
    println!("eight against one: {:.2} times as fast", took[0] / took[1]);
}
