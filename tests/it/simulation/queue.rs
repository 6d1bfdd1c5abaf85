//! A queue as storage and the host make it: at least once, late, twice, and given up in the end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use blobferry::store::contract::{StoreError, StoreKind};
use blobferry::store::queue::{GivenUp, Queue};
use tokio::time::Instant;

use super::process::{Process, Sim};

/// A message that failed so often is given up.
const MOST_TRIES: u32 = 5;

#[derive(Debug)]
struct Waiting {
    id: u64,
    text: String,
    from: Instant,
    tries: u32,
}

/// Which delivery of which message it is. As storage has it, a message that was delivered again is
/// no more to be deleted by whoever had it before.
pub type Receipt = (u64, u32);

impl Waiting {
    fn is_of(&self, receipt: Receipt) -> bool {
        (self.id, self.tries) == receipt
    }
}

/// What waits, and what was given up.
#[derive(Debug, Default)]
pub struct Messages {
    waiting: Mutex<Vec<Waiting>>,
    poison: Mutex<Vec<(u64, String)>>,
    next: Mutex<u64>,
}

impl Messages {
    fn add(&self, text: &str, from: Instant) {
        let mut next = self.next.lock().unwrap();
        *next += 1;
        self.waiting.lock().unwrap().push(Waiting {
            id: *next,
            text: text.to_owned(),
            from,
            tries: 0,
        });
    }

    /// One that can be seen now; nobody else gets it for some time. What was tried too often is
    /// given up.
    pub fn take(&self, sim: &Sim) -> Option<(Receipt, String)> {
        let mut waiting = self.waiting.lock().unwrap();
        loop {
            let now = Instant::now();
            let seen: Vec<usize> = waiting
                .iter()
                .enumerate()
                .filter(|(_, one)| one.from <= now)
                .map(|(at, _)| at)
                .collect();
            if seen.is_empty() {
                return None;
            }
            let at = seen[sim.chance.index(seen.len())];
            if waiting[at].tries >= MOST_TRIES {
                let one = waiting.remove(at);
                sim.count("messages given up");
                self.poison.lock().unwrap().push((one.id, one.text));
                continue;
            }
            let one = &mut waiting[at];
            one.tries += 1;
            if one.tries > 1 {
                sim.count("messages that came again");
            }
            one.from = now
                + Duration::from_secs(if sim.is_quiet() { 600 } else { 5 + sim.chance.below(600) });
            return Some(((one.id, one.tries), one.text.clone()));
        }
    }

    /// It is done with; or not, by chance.
    pub fn done(&self, sim: &Sim, receipt: Receipt) {
        if sim.happens(80) {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap();
        let before = waiting.len();
        waiting.retain(|one| !one.is_of(receipt));
        if waiting.len() == before {
            sim.count("messages that others have by now");
        }
    }

    /// It failed, and comes again soon.
    pub fn failed(&self, sim: &Sim, receipt: Receipt) {
        let soon = Instant::now() + Duration::from_secs(sim.chance.below(30));
        self.waiting
            .lock()
            .unwrap()
            .iter_mut()
            .filter(|one| one.is_of(receipt))
            .for_each(|one| one.from = soon);
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.lock().unwrap().is_empty() && self.poison.lock().unwrap().is_empty()
    }
}

/// The queue as one process sees it.
pub struct SimQueue {
    pub sim: Arc<Sim>,
    pub process: Arc<Process>,
    pub messages: Arc<Messages>,
}

impl std::fmt::Debug for SimQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimQueue")
    }
}

impl SimQueue {
    async fn call<T: Send + 'static>(
        &self,
        op: &'static str,
        work: impl FnOnce(&Sim, &Messages) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let (sim, messages) = (self.sim.clone(), self.messages.clone());
        let lost = || {
            StoreError::new(op, "queue", "simulation", StoreKind::Unavailable, "there is no answer")
        };
        self.process.call(&self.sim, op, lost, async move { Ok(work(&sim, &messages)) }).await
    }
}

#[async_trait]
impl Queue for SimQueue {
    fn address(&self) -> &str {
        "simulation"
    }
    async fn prepare(&self) -> Result<(), StoreError> {
        self.call("making the queue", |_, _| ()).await
    }
    async fn send(&self, text: &str, delay: Duration) -> Result<(), StoreError> {
        let text = text.to_owned();
        self.call("sending", move |sim, messages| {
            messages.add(&text, Instant::now() + delay);
            if sim.happens(60) {
                sim.count("messages twice");
                messages
                    .add(&text, Instant::now() + delay + Duration::from_secs(sim.chance.below(60)));
            }
        })
        .await
    }
    async fn length(&self) -> Result<u64, StoreError> {
        self.call("counting messages", |_, messages| messages.waiting.lock().unwrap().len() as u64)
            .await
    }
    async fn given_up(&self, _hidden: Duration) -> Result<Vec<GivenUp>, StoreError> {
        let told = |(id, text): &(u64, String)| GivenUp {
            text: text.clone(),
            id: id.to_string(),
            receipt: String::new(),
        };
        self.call("reading what was given up", move |_, messages| {
            messages.poison.lock().unwrap().iter().map(told).collect()
        })
        .await
    }
    async fn forget(&self, message: &GivenUp) -> Result<(), StoreError> {
        let id = message.id.clone();
        self.call("forgetting", move |_, messages| {
            messages.poison.lock().unwrap().retain(|(other, _)| other.to_string() != id)
        })
        .await
    }
}
