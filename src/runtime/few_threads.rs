//! Threads for calls that block, no more of them than there are calls at once.
//!
//! The threads of tokio for such calls are more by and by than the calls that are ever under way at
//! once: a thread counts as busy for some time after its answer has been taken, and each keeps
//! memory of its own.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

/// A thread without work ends after this time: many callers may have threads of their own.
const IDLE: Duration = Duration::from_millis(250);

/// What is to be done; it gives back how its answer is told.
type Work = Box<dyn FnOnce() -> AnswerTeller + Send>;
type AnswerTeller = Box<dyn FnOnce() + Send>;

/// Some threads, begun as they are needed. Clones share them; with the last one they end, each
/// with the work that it has.
#[derive(Clone, Debug)]
pub struct FewThreads {
    handle: Arc<ThreadsHandle>,
    most: usize,
}

/// What those have who begin work. Threads have only what is in it.
#[derive(Debug, Default)]
struct ThreadsHandle {
    shared: Arc<ThreadsShared>,
}

impl Drop for ThreadsHandle {
    fn drop(&mut self) {
        self.shared.queue().is_over = true;
        self.shared.more.notify_all();
    }
}

#[derive(Debug, Default)]
struct ThreadsShared {
    queue: Mutex<WorkQueue>,
    more: Condvar,
}

#[derive(Default)]
struct WorkQueue {
    waiting: VecDeque<Work>,
    threads: usize,
    /// Threads that have nothing to do, or only to tell an answer.
    free: usize,
    /// Nobody can begin work any more.
    is_over: bool,
}

impl std::fmt::Debug for WorkQueue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { waiting, threads, free, .. } = self;
        write!(formatter, "{} waiting, {free} of {threads} threads free", waiting.len())
    }
}

impl ThreadsShared {
    fn queue(&self) -> MutexGuard<'_, WorkQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next work of a free thread; `None`: the thread is to end, and is counted no more.
    fn next(&self) -> Option<Work> {
        let mut queue = self.queue();
        loop {
            if let Some(work) = queue.waiting.pop_front() {
                queue.free -= 1;
                return Some(work);
            }
            let mut is_idle = queue.is_over;
            if !is_idle {
                let waited = self.more.wait_timeout(queue, IDLE);
                let (woken, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                (queue, is_idle) = (woken, timeout.timed_out());
            }
            if is_idle && queue.waiting.is_empty() {
                queue.free -= 1;
                queue.threads -= 1;
                return None;
            }
        }
    }

    fn serve(&self) {
        while let Some(work) = self.next() {
            let tell = catch_unwind(AssertUnwindSafe(work));
            // Free before the answer is told: the next call is begun in answer to it.
            self.queue().free += 1;
            // A panic was told by the panic itself; the caller finds that there is no answer.
            if let Ok(tell) = tell {
                tell();
            }
        }
    }
}

impl FewThreads {
    /// At most `most` threads.
    pub fn new(most: usize) -> Self {
        Self { handle: Arc::default(), most: most.max(1) }
    }

    /// Begins `work` on a thread, or as soon as one is free. An answer that never comes is that of
    /// a panic.
    pub fn begin<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<oneshot::Receiver<T>> {
        let (reply, answer) = oneshot::channel();
        let work: Work = Box::new(move || {
            let result = work();
            // The caller may have given up waiting.
            Box::new(move || drop(reply.send(result)))
        });
        let shared = &self.handle.shared;
        let mut queue = shared.queue();
        if queue.waiting.len() >= queue.free && queue.threads < self.most {
            let serving = shared.clone();
            let begun = std::thread::Builder::new().spawn(move || serving.serve());
            match begun {
                Ok(_) => (queue.threads, queue.free) = (queue.threads + 1, queue.free + 1),
                Err(error) if queue.threads == 0 => return Err(error),
                // Those that there are do it later.
                Err(_) => {}
            }
        }
        queue.waiting.push_back(work);
        drop(queue);
        shared.more.notify_one();
        Ok(answer)
    }

    /// Does `work` on a thread, and waits for it.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        self.begin(work)?.await.map_err(|_| panicked())
    }
}

/// What a caller is told whose work ended in a panic.
pub(crate) fn panicked() -> io::Error {
    io::Error::other("the call ended in a panic; the log has its trace")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[tokio::test]
    async fn calls_one_after_the_other_take_one_thread() {
        let threads = FewThreads::new(8);
        for number in 0..2_000 {
            assert_eq!(threads.run(move || number).await.expect("no panic"), number);
        }
        assert_eq!(threads.handle.shared.queue().threads, 1);
    }

    #[tokio::test]
    async fn calls_at_once_have_a_thread_each_up_to_the_most() {
        let threads = FewThreads::new(3);
        let meet = Arc::new(Barrier::new(3));
        // None of three that wait for each other ends unless all have begun.
        let begin = |meet: Arc<Barrier>| threads.begin(move || meet.wait().is_leader());
        let all: Vec<_> = (0..30).map(|_| begin(meet.clone()).expect("begun")).collect();
        for one in all {
            one.await.expect("no panic");
        }
        assert_eq!(threads.handle.shared.queue().threads, 3);
    }

    #[tokio::test]
    async fn threads_end_with_those_who_may_begin_work() {
        let threads = FewThreads::new(3);
        let shared = threads.handle.shared.clone();
        assert_eq!(threads.run(|| 7).await.expect("no panic"), 7);
        let last = threads.begin(|| 8).expect("begun");
        drop(threads);
        assert_eq!(last.await.expect("what was begun is done"), 8);
        while shared.queue().threads > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn a_panic_costs_its_own_call_only() {
        let threads = FewThreads::new(1);
        let failed = threads.run(|| -> u8 { panic!("scripted") }).await;
        assert!(failed.expect_err("a panic").to_string().contains("panic"));
        assert_eq!(threads.run(|| 7).await.expect("the thread lives"), 7);
    }
}
