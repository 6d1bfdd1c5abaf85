//! What a queue of messages is: it hands each on at least once, in no order that anybody relies on.
//!
//! Messages are taken out by the Functions host, which calls us with each; here they are only put
//! in, and those that the host gave up are looked after. Nothing in here retries: `retry` does.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use super::contract::StoreError;

/// The longest text of a message, in bytes: Azure allows 64 KiB.
pub(crate) const MAX_MESSAGE_BYTES: usize = 64 << 10;
/// What the host adds to a queue's name for the messages that it gave up.
pub const POISON: &str = "-poison";

/// A message that the host gave up: the caller that worked on it failed, or was killed, as often as
/// the host allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// Its text.
    pub text: String,
    /// How the queue knows it.
    pub id: String,
    /// What it takes to remove it.
    pub receipt: String,
}

/// A queue, and the one beside it with what the host gave up.
#[async_trait]
pub trait Queue: Send + Sync + fmt::Debug {
    /// Where it is, for logs; never a secret.
    fn address(&self) -> &str;

    /// Makes sure that the queue is there. Safe to call from many processes at once.
    async fn prepare(&self) -> Result<(), StoreError>;

    /// Puts a message in, for nobody to see before `delay` has passed (whole seconds, at most 7
    /// days).
    async fn send(&self, text: &str, delay: Duration) -> Result<(), StoreError>;

    /// How many messages it holds, those that are hidden or in hand included: no fewer than there
    /// are.
    async fn length(&self) -> Result<u64, StoreError>;

    /// Some messages that were given up, at most 32; nobody else gets them for `hidden`. None if
    /// there is no such queue.
    async fn given_up(&self, hidden: Duration) -> Result<Vec<GivenUp>, StoreError>;

    /// Removes a message that was given up; `Ok` also when it was gone, or another one got it
    /// since.
    async fn forget(&self, message: &GivenUp) -> Result<(), StoreError>;
}
