//! A queue in memory, for tests: what is sent can be taken out as the Functions host would.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::store::contract::StoreError;
use crate::store::queue::{GivenUp, Queue};

/// A message with the delay that it was sent with.
pub(crate) type MemoryQueueSent = (String, Duration);

/// A queue whose messages wait until somebody takes them; no time passes in it.
#[derive(Debug, Default)]
pub struct MemoryQueue {
    messages: Mutex<VecDeque<MemoryQueueSent>>,
    poison: Mutex<Vec<String>>,
}

impl MemoryQueue {
    /// The oldest message.
    pub fn take(&self) -> Option<MemoryQueueSent> {
        lock(&self.messages).pop_front()
    }

    /// Gives a message up, as the host does.
    pub fn give_up(&self, text: &str) {
        lock(&self.poison).push(text.to_owned());
    }

    /// Messages that were given up and not forgotten.
    pub fn poisoned(&self) -> usize {
        lock(&self.poison).len()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Queue for MemoryQueue {
    fn address(&self) -> &str {
        "memory"
    }

    async fn prepare(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn send(&self, text: &str, delay: Duration) -> Result<(), StoreError> {
        lock(&self.messages).push_back((text.to_owned(), delay));
        Ok(())
    }

    async fn length(&self) -> Result<u64, StoreError> {
        Ok(lock(&self.messages).len() as u64)
    }

    async fn given_up(&self, _hidden: Duration) -> Result<Vec<GivenUp>, StoreError> {
        let told = |(n, text): (usize, &String)| GivenUp {
            text: text.clone(),
            id: n.to_string(),
            receipt: String::new(),
        };
        Ok(lock(&self.poison).iter().enumerate().map(told).collect())
    }

    async fn forget(&self, message: &GivenUp) -> Result<(), StoreError> {
        let mut poison = lock(&self.poison);
        if let Some(at) = poison.iter().position(|text| *text == message.text) {
            poison.remove(at);
        }
        Ok(())
    }
}
