//! What the Functions host does with a queue: it takes messages, calls a handler with each, removes
//! those that went well, brings the others again, and gives up after some tries. Handlers may be
//! killed at any moment.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use blobferry::store::azure::{AzureQueue, QueueSettings, parse_connection_string};
use blobferry::store::queue::{GivenUp, POISON, Queue};
use serde_json::{Value, json};

use super::super::servers::Azurite;
use super::worker::{Worker, until};

/// The host brings a message again that was not dealt with after this time.
const HIDDEN: Duration = Duration::from_secs(8);
/// It tries so often. `host.json` says 3; here handlers are killed much more often than in life.
const TRIES: usize = 12;

/// A host with handlers.
pub struct Pump {
    app: PathBuf,
    settings: Vec<(String, String)>,
    workers: Vec<Mutex<Worker>>,
    stop: Arc<AtomicBool>,
    /// Handlers that died together with their host: nobody starts another one.
    dead: Vec<AtomicBool>,
    /// After this time a message is brought again that was not dealt with.
    pub hidden: Duration,
    /// Messages that were dealt with.
    pub done: AtomicUsize,
    /// Handlers that were killed.
    pub killed: AtomicUsize,
    /// Messages that were given up.
    pub given_up: AtomicUsize,
}

/// A queue of this Azurite.
pub fn queue(azurite: &Azurite, name: &str) -> AzureQueue {
    let secret = blobferry::model::Secret::new(azurite.connection_string());
    let connection = parse_connection_string(&secret).expect("a connection string");
    let service = connection.queue.expect("it names queues");
    AzureQueue::new(&QueueSettings {
        service,
        name: name.to_owned(),
        credential: connection.credential,
        api_version: None,
        trust: Default::default(),
    })
    .expect("a queue")
}

/// The name of a work queue that [`Pump`] can take messages from: to it they are what another
/// queue's host gave up.
pub fn work_queue(base: &str) -> String {
    format!("{base}{POISON}")
}

impl Pump {
    /// With so many handlers, in the app folder `app`.
    pub fn new(app: &Path, settings: &[(&str, &str)], handlers: usize) -> Self {
        let settings: Vec<(String, String)> = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let pump = Self {
            app: app.to_owned(),
            settings,
            workers: Vec::new(),
            stop: Arc::default(),
            dead: (0..handlers).map(|_| AtomicBool::new(false)).collect(),
            hidden: HIDDEN,
            done: AtomicUsize::new(0),
            killed: AtomicUsize::new(0),
            given_up: AtomicUsize::new(0),
        };
        let workers = (0..handlers).map(|_| Mutex::new(pump.start())).collect();
        Self { workers, ..pump }
    }

    fn start(&self) -> Worker {
        let settings: Vec<(&str, &str)> =
            self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let worker = Worker::start(&self.app, &settings);
        worker.ready();
        worker
    }

    /// How many there are.
    pub fn handlers(&self) -> usize {
        self.workers.len()
    }

    /// Calls a function of the first handler.
    pub fn call(&self, function: &str, payload: &str) -> (u16, Value) {
        let port = self.port(0);
        super::worker::post(
            port,
            function,
            "00000000-0000-0000-0000-000000000000",
            payload,
            super::worker::Encoding::Chunked,
        )
    }

    fn port(&self, worker: usize) -> u16 {
        self.workers[worker].lock().expect("no panic while it is held").port
    }

    /// Kills handler `worker` with SIGKILL and starts another in its place.
    pub fn kill(&self, worker: usize) {
        let mut place = self.workers[worker].lock().expect("no panic while it is held");
        place.signal("KILL");
        *place = self.start();
        self.killed.fetch_add(1, Ordering::Relaxed);
    }

    /// Kills handler `worker` and its host with it, for good: what it had in hand stays hidden.
    pub fn die(&self, worker: usize) {
        self.dead[worker].store(true, Ordering::Relaxed);
        self.workers[worker].lock().expect("no panic while it is held").signal("KILL");
    }

    /// Ends [`Pump::run`].
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Takes messages of the work queue over `base` until it is stopped.
    pub fn run(&self, azurite: &Azurite, base: &str) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads");
        runtime.block_on(async {
            let inner = queue(azurite, base);
            let poison = queue(azurite, &format!("{}{POISON}", work_queue(base)));
            let (waiting, tries) = (Mutex::new(VecDeque::new()), Mutex::new(BTreeMap::new()));
            let client =
                reqwest::Client::builder().pool_max_idle_per_host(0).build().expect("a client");
            let pumps = (0..self.workers.len())
                .map(|worker| self.pump(worker, &inner, &poison, &client, &waiting, &tries));
            futures_util::future::join_all(pumps).await;
        });
    }

    async fn pump(
        &self,
        worker: usize,
        inner: &AzureQueue,
        poison: &AzureQueue,
        client: &reqwest::Client,
        waiting: &Mutex<VecDeque<(GivenUp, tokio::time::Instant)>>,
        tries: &Mutex<BTreeMap<String, usize>>,
    ) {
        let ends =
            || self.stop.load(Ordering::Relaxed) || self.dead[worker].load(Ordering::Relaxed);
        while !ends() {
            let next = waiting.lock().expect("no panic while it is held").pop_front();
            let Some((message, taken)) = next else {
                let messages = inner.given_up(self.hidden).await.unwrap_or_default();
                let now = tokio::time::Instant::now();
                waiting
                    .lock()
                    .expect("no panic while it is held")
                    .extend(messages.into_iter().map(|message| (message, now)));
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            // One that waited here for too long comes again.
            if taken.elapsed() > self.hidden / 2 {
                continue;
            }
            let count = {
                let mut tries = tries.lock().expect("no panic while it is held");
                let count = tries.entry(message.id.clone()).or_default();
                *count += 1;
                *count
            };
            if self.deliver(worker, client, &message.text, count).await {
                inner.forget(&message).await.expect("it is removed");
                self.done.fetch_add(1, Ordering::Relaxed);
            } else if count >= TRIES {
                poison.prepare().await.expect("a queue");
                poison.send(&message.text, Duration::ZERO).await.expect("it is moved");
                inner.forget(&message).await.expect("it is removed");
                self.given_up.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Whether the handler dealt with the message.
    async fn deliver(
        &self,
        worker: usize,
        client: &reqwest::Client,
        text: &str,
        count: usize,
    ) -> bool {
        let twice = Value::from(Value::from(text).to_string());
        let payload = json!({ "Data": { "work": twice },
            "Metadata": { "DequeueCount": count.to_string(),
                "sys": { "MethodName": "IngestQueue" } } });
        let address = format!("http://127.0.0.1:{}/IngestQueue", self.port(worker));
        let request = client
            .post(address)
            .header("content-type", "application/json")
            .body(payload.to_string())
            .timeout(Duration::from_secs(300));
        match request.send().await {
            Ok(answer) => answer.status() == 200,
            // It was killed; another one stands in its place soon.
            Err(_) => false,
        }
    }
}

/// Waits until the run `id` is over, and returns its record.
pub fn over(pump: &Pump, id: &str, limit: Duration) -> Value {
    let end = std::time::Instant::now() + limit;
    loop {
        let record = until("the run's record is told", || {
            let payload = super::status(Some(id));
            let port = pump.port(0);
            let asked = std::panic::catch_unwind(|| {
                super::worker::post(
                    port,
                    "IngestStatus",
                    "-",
                    &payload,
                    super::worker::Encoding::Sized,
                )
            });
            // The handler that is asked may be killed under our hands.
            asked.ok().map(|(_, answer)| super::res(&answer).2)
        });
        if record["status"] != "running" {
            return record;
        }
        assert!(std::time::Instant::now() < end, "it comes to an end: {record:#}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
