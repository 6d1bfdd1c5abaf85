//! What is read anew for work that begins, as a configuration whose secrets stand in key vaults.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

/// Reads it. An `Err` is the reason for people.
pub(crate) type ReadAnew<T> = Box<dyn Fn() -> BoxFuture<'static, Result<T, String>> + Send + Sync>;

/// Reads a `T` anew, once in [`AGE`] at most.
pub struct Renewal<T> {
    reread: ReadAnew<T>,
    /// When it was read last. Who holds it reads it.
    read: tokio::sync::Mutex<Instant>,
    latest: Mutex<Option<Arc<T>>>,
}

/// A secret that was changed in a key vault is known so soon. Pieces of one run, and runs that
/// begin together, ask once.
const AGE: Duration = Duration::from_secs(60);

impl<T> Renewal<T> {
    /// By `reread`, of what was read just now.
    pub(crate) fn new(reread: ReadAnew<T>) -> Self {
        Self { reread, read: tokio::sync::Mutex::new(Instant::now()), latest: Mutex::default() }
    }

    /// What was read last; `None`: nothing since the beginning.
    pub(crate) fn latest(&self) -> Option<Arc<T>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads it anew, if that is due. What could not be read stays as it is.
    pub(crate) async fn renew(&self) {
        let mut read = self.read.lock().await;
        if read.elapsed() < AGE {
            return;
        }
        match (self.reread)().await {
            Ok(value) => {
                *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(value));
            }
            Err(error) => tracing::warn!(
                error,
                "Warning: the configuration could not be read anew; work goes on with the one that \
                was read before."
            ),
        }
        *read = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_begins_together_reads_once_and_a_failure_changes_nothing() {
        let times = Arc::new(AtomicU32::new(0));
        let counted = times.clone();
        let renewal = Renewal::new(Box::new(move || {
            let time = counted.fetch_add(1, Ordering::SeqCst) + 1;
            Box::pin(async move { if time == 2 { Err("no vault".to_owned()) } else { Ok(time) } })
        }));
        renewal.renew().await;
        assert_eq!(renewal.latest(), None, "it was read just now");
        for (time, latest) in [(1, 1), (2, 1), (3, 3)] {
            tokio::time::advance(AGE).await;
            tokio::join!(renewal.renew(), renewal.renew(), renewal.renew());
            let read = times.load(Ordering::SeqCst);
            assert_eq!((read, renewal.latest().as_deref()), (time, Some(&latest)));
        }
    }
}
