//! Work with threads of its own. So its lines can be told from others', it never delays the answer
//! to a ping, and it can be ended for good at its deadline, whatever it is in the middle of.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::console::{Ids, this_thread_is_of};
use super::host::Deadline;
use crate::run::record::Status;
use crate::telemetry::insights::Operation;

/// Whose work it is, and when it must end.
pub struct Own {
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
    /// What Application Insights sees of it.
    pub operation: Option<Arc<Operation>>,
}

impl Own {
    /// What `work` comes to, or how it ended before it came to anything.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, (Status, String)> {
        let ids = self.ids.clone();
        let tied = self.operation.as_ref().map(|operation| operation.threads());
        let of_this_work = move || {
            this_thread_is_of(&ids);
            tied.iter().for_each(|tied| tied());
        };
        let mut threads = tokio::runtime::Builder::new_multi_thread();
        let runtime = match threads.enable_all().on_thread_start(of_this_work).build() {
            Ok(runtime) => runtime,
            Err(error) => return Err((Status::Failed, format!("no threads for the run: {error}"))),
        };
        let task = runtime.spawn(work);
        let end = self.watch_over(task).await;
        runtime.shutdown_background();
        end
    }

    async fn watch_over<T>(&self, mut task: JoinHandle<T>) -> Result<T, (Status, String)> {
        tokio::select! {
            ended = &mut task => return of(ended),
            () = until(self.begun, self.deadline.stop) => {
                tracing::warn!(run_id = self.ids.run, invocation = self.ids.invocation, "Warning: \
                    functionTimeout is near: files in hand are finished, no other is begun.");
                self.stop.cancel();
            }
            () = self.stop.cancelled() => {}
        }
        let cut = |why: &str| {
            Err((
                Status::Interrupted,
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

fn of<T>(ended: Result<T, JoinError>) -> Result<T, (Status, String)> {
    ended.map_err(|_| {
        (Status::Failed, "a defect of blobferry ended the run; the log has its trace".into())
    })
}
