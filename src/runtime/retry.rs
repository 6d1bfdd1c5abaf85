//! The only retry loop: what is tried again, how often, how long it waits.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::model::failure::Failure;
use crate::runtime::random;

/// How stubborn to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Tries in all, at least 1.
    pub attempts: u32,
    /// The longest wait before the second try; doubles from try to try.
    pub first_wait: Duration,
    /// The longest wait before any try, unless the other side asks for more.
    pub max_wait: Duration,
    /// The longest wait that the other side may ask for; what it asks beyond ends the loop.
    pub max_asked: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_wait: Duration::from_millis(500),
            max_wait: Duration::from_secs(30),
            max_asked: Duration::from_secs(120),
        }
    }
}

impl Policy {
    /// How long all waits of one request take together, at most.
    pub(crate) fn longest(&self) -> Duration {
        (1..self.attempts).filter_map(|attempt| self.wait(attempt, None, 1.0)).sum()
    }

    /// How long to wait after try number `attempt` (from 1) failed; `None` to give up.
    /// `jitter` from 0 to 1 spreads waits between nothing and the full wait, so that many
    /// clients do not come back at the same moment.
    pub fn wait(&self, attempt: u32, asked: Option<Duration>, jitter: f64) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let full = self.first_wait.saturating_mul(1 << (attempt - 1).min(16)).min(self.max_wait);
        let spread = full.mul_f64(jitter.clamp(0.0, 1.0));
        match asked {
            Some(asked) if asked > self.max_asked => None,
            Some(asked) => Some(asked + spread.min(Duration::from_secs(1))),
            None => Some(spread),
        }
    }
}

/// Calls `work` with the number of the try, from 1, until it succeeds, fails for good, the policy
/// gives up or `cancel` is cancelled. The last error is what comes back.
pub async fn retry<T, E, F>(
    policy: &Policy,
    cancel: &CancellationToken,
    what: &str,
    mut work: impl FnMut(u32) -> F,
) -> Result<T, E>
where
    E: Failure,
    F: Future<Output = Result<T, E>>,
{
    let mut attempt = 1;
    loop {
        let error = match work(attempt).await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if !error.is_transient() || cancel.is_cancelled() {
            return Err(error);
        }
        let Some(wait) = policy.wait(attempt, error.retry_after(), random::of_wait()) else {
            return Err(error);
        };
        tracing::warn!(attempt, wait_ms = millis(wait), error = %crate::model::chain(&error),
            "Warning: {what} failed and is tried again.");
        tokio::select! {
            biased;
            () = tokio::time::sleep(wait) => attempt += 1,
            () = cancel.cancelled() => return Err(error),
        }
    }
}

fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::Class;

    #[derive(Debug, thiserror::Error, PartialEq)]
    #[error("scripted")]
    struct Scripted {
        transient: bool,
    }
    impl Failure for Scripted {
        fn class(&self) -> Class {
            Class::Internal
        }
        fn is_transient(&self) -> bool {
            self.transient
        }
    }

    fn quick() -> Policy {
        Policy { first_wait: Duration::ZERO, ..Policy::default() }
    }

    #[tokio::test]
    async fn transient_failures_are_tried_until_attempts_run_out() {
        let mut calls = 0;
        let result: Result<(), _> = retry(&quick(), &CancellationToken::new(), "it", |_| {
            calls += 1;
            async { Err(Scripted { transient: true }) }
        })
        .await;
        assert_eq!((result, calls), (Err(Scripted { transient: true }), 5));
    }

    #[tokio::test]
    async fn permanent_failures_are_tried_once() {
        let mut calls = 0;
        let result: Result<(), _> = retry(&quick(), &CancellationToken::new(), "it", |_| {
            calls += 1;
            async { Err(Scripted { transient: false }) }
        })
        .await;
        assert_eq!((result.is_err(), calls), (true, 1));
    }

    #[tokio::test]
    async fn a_cancelled_run_does_not_wait() {
        let cancel = CancellationToken::new();
        cancel.cancel();
        let slow = Policy { first_wait: Duration::from_secs(3600), ..Policy::default() };
        let result: Result<(), _> =
            retry(&slow, &cancel, "it", |_| async { Err(Scripted { transient: true }) }).await;
        assert!(result.is_err());
    }

    #[test]
    fn waits_double_up_to_the_cap_and_honour_what_is_asked() {
        let policy = Policy::default();
        let waits: Vec<_> = (1..=5)
            .map(|attempt| policy.wait(attempt, None, 1.0).map(|wait| wait.as_millis()))
            .collect();
        assert_eq!(waits, [Some(500), Some(1000), Some(2000), Some(4000), None]);
        assert_eq!(policy.wait(1, Some(Duration::from_secs(7)), 0.0), Some(Duration::from_secs(7)));
        assert_eq!(policy.wait(1, Some(Duration::from_secs(3600)), 0.0), None);
    }
}
