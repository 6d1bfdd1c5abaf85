//! Work with threads of its own. So its lines can be told from others', it never delays the answer
//! to a ping, and it can be ended for good at its deadline, whatever it is in the middle of.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::console::{Ids, this_thread_is_of};
use super::host::Deadline;
use crate::history::record::RunStatus;
use crate::telemetry::insights::Operation;

/// Leases of work that was cut are given back within this time.
const GIVEN_BACK: Duration = Duration::from_secs(2);

/// Whose work it is, and when it must end.
pub(crate) struct IsolatedRuntime {
    /// Whose lines its threads write.
    pub ids: Arc<Ids>,
    /// When its invocation began.
    pub begun: Instant,
    /// How long it may take.
    pub deadline: Deadline,
    /// Stops it: what is in hand is finished.
    pub stop: CancellationToken,
    /// Ends it: nothing is finished.
    pub end: CancellationToken,
    /// Those who keep its leases.
    pub leases: TaskTracker,
    /// What Application Insights sees of it.
    pub operation: Option<Arc<Operation>>,
}

impl IsolatedRuntime {
    /// What `work` comes to, or how it ended before it came to anything.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, (RunStatus, String)> {
        let ids = self.ids.clone();
        let tied = self.operation.as_ref().map(|operation| operation.threads());
        let of_this_work = move || {
            this_thread_is_of(&ids);
            tied.iter().for_each(|tied| tied());
        };
        let mut threads = tokio::runtime::Builder::new_multi_thread();
        let runtime = match threads.enable_all().on_thread_start(of_this_work).build() {
            Ok(runtime) => runtime,
            Err(error) => {
                return Err((RunStatus::Failed, format!("no threads for the run: {error}")));
            }
        };
        let mut task = runtime.spawn(work);
        let end = self.watch_over(&mut task).await;
        if !task.is_finished() {
            self.give_back(task).await;
        }
        runtime.shutdown_background();
        end
    }

    /// Ends `task`, and waits a little for its leases to be given back: a client that takes the
    /// source up next, this process first of all, need not wait until they lapse.
    async fn give_back<T>(&self, task: JoinHandle<T>) {
        task.abort();
        let most = if self.end.is_cancelled() { GIVEN_BACK / 2 } else { GIVEN_BACK };
        self.leases.close();
        let given_back = async {
            // It has dropped what it had when it has ended.
            drop(task.await);
            self.leases.wait().await;
        };
        let most = self.deadline.before_answer(self.begun.elapsed(), most);
        if tokio::time::timeout(most, given_back).await.is_err() {
            tracing::debug!(
                run_id = self.ids.run,
                invocation = self.ids.invocation,
                "Leases of work that was cut were not given back in time; they lapse."
            );
        }
    }

    async fn watch_over<T>(&self, task: &mut JoinHandle<T>) -> Result<T, (RunStatus, String)> {
        tokio::select! {
            ended = &mut *task => return of(ended),
            () = until(self.begun, self.deadline.stop) => {
                tracing::warn!(run_id = self.ids.run, invocation = self.ids.invocation, "Warning: \
                    functionTimeout is near: files in hand are finished, no other is begun.");
                self.stop.cancel();
            }
            () = self.stop.cancelled() => {}
        }
        let cut = |why: &str| {
            Err((
                RunStatus::Interrupted,
                format!("{why} before the files in hand were done; the next run takes them again"),
            ))
        };
        tokio::select! {
            ended = task => of(ended),
            () = until(self.begun, self.deadline.answer) => cut("functionTimeout came"),
            () = self.end.cancelled() => cut("the process was told to end"),
        }
    }
}

async fn until(begun: Instant, at: Option<Duration>) {
    match at {
        Some(at) => tokio::time::sleep_until(begun + at).await,
        None => std::future::pending().await,
    }
}

fn of<T>(ended: Result<T, JoinError>) -> Result<T, (RunStatus, String)> {
    ended.map_err(|_| {
        (RunStatus::Failed, "a defect of blobferry ended the run; the log has its trace".into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pass::lease::LeaseGuard;
    use crate::store::contract::{Lease, StoreError};
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A lease that takes a moment to be given back, as one over the network does.
    #[derive(Debug)]
    struct Slow(Arc<AtomicBool>);

    #[async_trait::async_trait]
    impl Lease for Slow {
        async fn renew(&self) -> Result<(), StoreError> {
            Ok(())
        }

        async fn release(self: Box<Self>) -> Result<(), StoreError> {
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.0.store(true, Ordering::Relaxed);
            Ok(())
        }
    }

    #[tokio::test]
    async fn work_that_is_cut_at_its_deadline_gives_its_lease_back_before_the_answer() {
        let given_back = Arc::new(AtomicBool::new(false));
        let leases = TaskTracker::new();
        let at = |milliseconds| Some(Duration::from_millis(milliseconds));
        let own = IsolatedRuntime {
            ids: Arc::new(Ids { run: "r".into(), invocation: "i".into() }),
            begun: Instant::now(),
            deadline: Deadline { stop: at(50), answer: at(10_000) },
            stop: CancellationToken::new(),
            end: CancellationToken::new(),
            leases: leases.clone(),
            operation: None,
        };
        let end = own.end.clone();
        let lease = Box::new(Slow(given_back.clone()));
        let work = async move {
            let held = LeaseGuard::keep(&leases, lease, "a source".into(), Duration::ZERO);
            end.cancel();
            std::future::pending::<()>().await;
            drop(held);
        };
        let ended = own.run(work).await;
        assert!(matches!(ended, Err((RunStatus::Interrupted, _))), "{ended:?}");
        assert!(given_back.load(Ordering::Relaxed), "whoever comes next finds the source free");
    }
}
