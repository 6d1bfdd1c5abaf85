//! MD5 of contents that come in blocks, computed on blocking threads, those of several contents
//! side by side.

mod lanes;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use md5::Digest;
use tokio::sync::oneshot;

use crate::model::Md5;
use lanes::{BLOCK, LANES, Words};

/// How many bytes of each content are taken before somebody new may join.
const STRIDE: usize = 64 << 10;

/// Content up to this many bytes is hashed where it is: handing it to another thread would cost
/// more.
pub(crate) const ALONE: usize = 64 << 10;

/// The bytes of a block of content, kept until they have been hashed.
pub(crate) type ChecksumKept = Box<dyn AsRef<[u8]> + Send>;

/// An MD5 that grows with its content.
#[derive(Clone, Debug)]
struct Sum {
    words: Words,
    size: u64,
    /// What came after the last whole block.
    rest: [u8; BLOCK],
}

impl Default for Sum {
    fn default() -> Self {
        Self { words: lanes::BEGIN, size: 0, rest: [0; BLOCK] }
    }
}

impl Sum {
    fn rest(&self) -> usize {
        (self.size % BLOCK as u64) as usize
    }

    /// Takes of `bytes` what fills the block that was begun: their number.
    fn fill(&mut self, bytes: &[u8]) -> usize {
        let begun = self.rest();
        if begun == 0 {
            return 0;
        }
        let taken = bytes.len().min(BLOCK - begun);
        self.rest[begun..begun + taken].copy_from_slice(&bytes[..taken]);
        self.size += taken as u64;
        if self.rest() == 0 {
            lanes::advance(std::slice::from_mut(&mut self.words), &[&self.rest]);
        }
        taken
    }

    fn finish(&self) -> Md5 {
        lanes::finish(self.words, &self.rest[..self.rest()], self.size)
    }
}

/// One block of one content.
struct ChecksumJob {
    sum: Sum,
    bytes: ChecksumKept,
    /// How many of the bytes have been taken.
    at: usize,
    done: oneshot::Sender<Sum>,
}

impl ChecksumJob {
    fn whole_blocks(&self) -> &[u8] {
        let left = &(*self.bytes).as_ref()[self.at..];
        &left[..left.len() / BLOCK * BLOCK]
    }

    /// `taken` bytes, whole blocks, have gone into `words`.
    fn went_on(&mut self, words: Words, taken: usize) {
        self.sum.words = words;
        self.sum.size += taken as u64;
        self.at += taken;
    }

    fn end(mut self) {
        let left = &(*self.bytes).as_ref()[self.at..];
        self.sum.rest[..left.len()].copy_from_slice(left);
        self.sum.size += left.len() as u64;
        // The room of the bytes is free before anybody goes on.
        drop(self.bytes);
        // The caller may have gone.
        drop(self.done.send(self.sum));
    }
}

#[derive(Default)]
struct ChecksumQueue {
    waiting: VecDeque<ChecksumJob>,
    workers: usize,
}

/// Those who hash, for all contents of a run: one thread, which takes four at once; another where
/// more than that wait, up to one for each core; none when there is nothing to do.
#[derive(Clone, Default)]
pub struct Hashers(Arc<Mutex<ChecksumQueue>>);

impl Hashers {
    fn queue(&self) -> MutexGuard<'_, ChecksumQueue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The beginning of a content.
    pub fn begin(&self) -> Hashing {
        Hashing { hashers: self.clone(), last: Last::Known(Sum::default()) }
    }

    /// The MD5 of a content that is there as a whole. Needs the runtime of tokio.
    pub async fn whole(&self, bytes: &Bytes) -> Result<Md5, Gone> {
        if bytes.len() <= ALONE {
            return Ok(md5::Md5::digest(bytes).into());
        }
        let mut hashing = self.begin();
        hashing.update(Box::new(bytes.clone())).await?;
        hashing.finish().await
    }

    fn ask(&self, mut sum: Sum, bytes: ChecksumKept) -> oneshot::Receiver<Sum> {
        let (done, answer) = oneshot::channel();
        let at = sum.fill((*bytes).as_ref());
        let mut queue = self.queue();
        queue.waiting.push_back(ChecksumJob { sum, bytes, at, done });
        let most = std::thread::available_parallelism().map_or(1, usize::from);
        if queue.workers == 0 || (queue.waiting.len() > LANES && queue.workers < most) {
            queue.workers += 1;
            let worker = Worker(self.clone());
            tokio::task::spawn_blocking(move || worker.work());
        }
        answer
    }
}

/// One thread at work.
struct Worker(Hashers);

impl Worker {
    fn work(self) {
        let mut jobs: Vec<ChecksumJob> = Vec::with_capacity(LANES);
        while self.joined(&mut jobs) {
            stride(&mut jobs);
            for at in (0..jobs.len()).rev() {
                if jobs[at].whole_blocks().is_empty() {
                    jobs.swap_remove(at).end();
                }
            }
        }
    }

    /// Takes those who wait into free lanes; whether there is anything to do. If not, this thread
    /// is counted out.
    fn joined(&self, jobs: &mut Vec<ChecksumJob>) -> bool {
        let mut queue = self.0.queue();
        while jobs.len() < LANES
            && let Some(job) = queue.waiting.pop_front()
        {
            jobs.push(job);
        }
        if jobs.is_empty() {
            queue.workers -= 1;
        }
        !jobs.is_empty()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut queue = self.0.queue();
            queue.workers -= 1;
            // Nobody may be left to answer them.
            queue.waiting.clear();
        }
    }
}

/// Takes as much of each as there is of the shortest, at most [`STRIDE`].
fn stride(jobs: &mut [ChecksumJob]) {
    let taken = jobs.iter().map(|job| job.whole_blocks().len()).min().unwrap_or(0).min(STRIDE);
    let mut words: Vec<Words> = jobs.iter().map(|job| job.sum.words).collect();
    let contents: Vec<&[u8]> = jobs.iter().map(|job| &job.whole_blocks()[..taken]).collect();
    lanes::advance(&mut words, &contents);
    for (job, words) in jobs.iter_mut().zip(words) {
        job.went_on(words, taken);
    }
}

/// The MD5 of one content, one block behind its stream.
pub struct Hashing {
    hashers: Hashers,
    last: Last,
}

enum Last {
    Known(Sum),
    Asked(oneshot::Receiver<Sum>),
}

/// The thread that hashed is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl Hashing {
    /// Goes on with `bytes` as soon as those before have been hashed, and does not wait for that of
    /// these. Needs the runtime of tokio.
    pub async fn update(&mut self, bytes: ChecksumKept) -> Result<(), Gone> {
        let sum = self.sum().await?;
        self.last = Last::Asked(self.hashers.ask(sum, bytes));
        Ok(())
    }

    async fn sum(&mut self) -> Result<Sum, Gone> {
        match &mut self.last {
            Last::Known(sum) => Ok(sum.clone()),
            Last::Asked(answer) => answer.await.map_err(|_| Gone),
        }
    }

    /// The MD5 of all that came.
    pub async fn finish(mut self) -> Result<Md5, Gone> {
        Ok(self.sum().await?.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(seed: usize, bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| (at.wrapping_mul(2_654_435_761) >> 7) as u8 ^ seed as u8).collect()
    }

    async fn hashed(hashers: &Hashers, content: &[u8], block: usize) -> Md5 {
        let mut hashing = hashers.begin();
        for block in content.chunks(block) {
            hashing.update(Box::new(block.to_vec())).await.unwrap();
        }
        hashing.finish().await.unwrap()
    }

    /// A thread says its last word before it is counted out.
    async fn nobody_left(hashers: &Hashers) {
        while hashers.queue().workers > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn contents_of_any_size_in_blocks_of_any_size() {
        let hashers = Hashers::default();
        for bytes in
            [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 1_000, STRIDE, STRIDE + 1, 3 * STRIDE + 100]
        {
            let content = content(bytes, bytes);
            let wanted: Md5 = md5::Md5::digest(&content).into();
            for block in [1, 7, 63, 64, 65, 1_000, STRIDE, usize::MAX] {
                if content.len() / block < 5_000 {
                    assert_eq!(
                        hashed(&hashers, &content, block).await,
                        wanted,
                        "{bytes} bytes in blocks of {block}"
                    );
                }
            }
        }
        nobody_left(&hashers).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_contents_at_once_each_come_to_their_own() {
        let hashers = Hashers::default();
        let tasks = (0..40).map(|seed| {
            let hashers = hashers.clone();
            tokio::spawn(async move {
                let content = content(seed, 1 + seed * 9_973);
                (
                    hashed(&hashers, &content, 1 + seed * 613).await,
                    <Md5>::from(md5::Md5::digest(&content)),
                )
            })
        });
        for (seed, task) in tasks.collect::<Vec<_>>().into_iter().enumerate() {
            let (found, wanted) = task.await.unwrap();
            assert_eq!(found, wanted, "{seed}");
        }
    }

    #[tokio::test]
    async fn the_memory_of_a_block_is_free_when_its_sum_is_known() {
        let block: Arc<[u8]> = content(1, 10_000).into();
        let mut hashing = Hashers::default().begin();
        hashing.update(Box::new(block.clone())).await.unwrap();
        hashing.finish().await.unwrap();
        assert_eq!(Arc::strong_count(&block), 1);
    }

    #[tokio::test]
    async fn a_thread_that_fails_keeps_nobody_waiting() {
        let hashers = Hashers::default();
        let (done, answer) = oneshot::channel();
        let beyond_its_end = 1;
        hashers.queue().waiting.push_back(ChecksumJob {
            sum: Sum::default(),
            bytes: Box::new([]),
            at: beyond_its_end,
            done,
        });
        let mut other = hashers.begin();
        other.update(Box::new(vec![0; 100])).await.unwrap();
        assert!(answer.await.is_err());
        assert_eq!(other.finish().await, Err(Gone), "it was in hand, too");
        nobody_left(&hashers).await;
        assert_eq!(
            hashed(&hashers, b"abc", 3).await,
            <Md5>::from(md5::Md5::digest(b"abc")),
            "the next one is served"
        );
    }
}
