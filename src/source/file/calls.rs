//! Calls of the operating system that may never return: each is waited for so long, then left.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::runtime::few_threads::{FewThreads, panicked};

/// So many calls that never came back are enough: each holds a thread.
const MOST_HUNG: usize = 16;
/// Threads for calls that come back, though as many hang as may: a listing holds one as long as it
/// goes on, and there are as many listings at once as logins.
const WORKING: usize = 32;

/// Why a call came to nothing.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The system's answer.
    Io(io::Error),
    /// It did not answer within this time.
    Hung(Duration),
    /// So many calls hang that no further one is made.
    Hangs(usize),
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Shows that a call goes on, though it takes long.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// Something was done.
    pub fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The calls on one share.
#[derive(Debug)]
pub struct Calls {
    stall: Duration,
    hung: Arc<AtomicUsize>,
    threads: FewThreads,
}

/// A call that nobody waits for any more counts as hung until it returns.
struct Waited {
    left: Arc<AtomicBool>,
    hung: Arc<AtomicUsize>,
}

impl Drop for Waited {
    fn drop(&mut self) {
        if !self.left.swap(true, Ordering::SeqCst) {
            self.hung.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// The thread's side of it.
struct Working(Waited);

impl Drop for Working {
    fn drop(&mut self) {
        // Left before this: it was counted.
        if self.0.left.swap(true, Ordering::SeqCst) {
            self.0.hung.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// A call that is under way on a thread of its own.
pub(crate) struct SystemCall<T> {
    answer: oneshot::Receiver<io::Result<T>>,
    pulse: Pulse,
    stall: Duration,
    _waited: Waited,
}

impl Calls {
    /// A call may be silent for `stall`.
    pub fn new(stall: Duration) -> Self {
        Self { stall, hung: Arc::default(), threads: FewThreads::new(MOST_HUNG + WORKING) }
    }

    /// Begins `work` on a thread.
    pub fn begin<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Pulse) -> io::Result<T> + Send + 'static,
    ) -> Result<SystemCall<T>, CallError> {
        let hung = self.hung.load(Ordering::SeqCst);
        if hung >= MOST_HUNG {
            return Err(CallError::Hangs(hung));
        }
        let left = Arc::new(AtomicBool::new(false));
        let waited = Waited { left: left.clone(), hung: self.hung.clone() };
        let working = Working(Waited { left, hung: self.hung.clone() });
        let pulse = Pulse::default();
        let own = pulse.clone();
        let answer = self.threads.begin(move || {
            let _working = working;
            work(&own)
        })?;
        Ok(SystemCall { answer, pulse, stall: self.stall, _waited: waited })
    }

    /// Does `work` on a thread, and waits for it as long as it may be silent.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Pulse) -> io::Result<T> + Send + 'static,
    ) -> Result<T, CallError> {
        self.begin(work)?.end().await
    }
}

impl<T> SystemCall<T> {
    /// What it comes to.
    pub async fn end(mut self) -> Result<T, CallError> {
        let mut beats = self.pulse.count();
        loop {
            match tokio::time::timeout(self.stall, &mut self.answer).await {
                Ok(Ok(result)) => return result.map_err(CallError::Io),
                Ok(Err(_)) => return Err(CallError::Io(panicked())),
                Err(_) => self.went_on(&mut beats)?,
            }
        }
    }

    /// The next of what it sends over `parts`; `None` when it has ended.
    pub async fn next<P>(
        &self,
        parts: &mut tokio::sync::mpsc::Receiver<P>,
    ) -> Result<Option<P>, CallError> {
        let mut beats = self.pulse.count();
        loop {
            match tokio::time::timeout(self.stall, parts.recv()).await {
                Ok(part) => return Ok(part),
                Err(_) => self.went_on(&mut beats)?,
            }
        }
    }

    fn went_on(&self, beats: &mut u64) -> Result<(), CallError> {
        let before = std::mem::replace(beats, self.pulse.count());
        if before == *beats { Err(CallError::Hung(self.stall)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn a_call_that_never_returns_is_left_and_many_of_them_end_the_asking() {
        let calls = Calls::new(Duration::from_millis(20));
        let (go, wait) = mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        for _ in 0..MOST_HUNG {
            let wait = wait.clone();
            let call = calls.run(move |_| {
                drop(wait.lock().map(|wait| wait.recv()));
                Ok(())
            });
            assert!(matches!(call.await, Err(CallError::Hung(_))));
        }
        let refused = calls.run(|_| Ok(())).await;
        assert!(matches!(refused, Err(CallError::Hangs(MOST_HUNG))), "{refused:?}");
        drop(go);
        while calls.hung.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        calls.run(|_| Ok(())).await.expect("they came back, so it is asked again");
    }

    #[tokio::test]
    async fn a_call_that_goes_on_may_take_long() {
        let calls = Calls::new(Duration::from_millis(100));
        let slow = calls.run(|pulse| {
            for _ in 0..30 {
                std::thread::sleep(Duration::from_millis(10));
                pulse.beat();
            }
            Ok(7)
        });
        assert_eq!(slow.await.expect("it is no hang"), 7);
        assert_eq!(calls.hung.load(Ordering::SeqCst), 0);
    }
}
