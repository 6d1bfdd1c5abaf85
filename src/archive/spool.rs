//! Takes archives as they arrive: in memory while small, else in a capped temporary file.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::archive::dictionary_budget::Windows;
use crate::archive::error::UnpackError;
use crate::archive::spool_reader::{BLOCK, SpoolStore, no_room};

pub use crate::archive::spool_reader::{Spool, SpoolPiece, SpoolReader};

/// How much room spools may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolLimits {
    /// Bytes of memory that all spools of the process may hold together.
    pub memory_bytes: u64,
    /// An archive up to this many bytes stays in memory, if there is room.
    pub archive_memory_bytes: u64,
    /// Bytes of temporary files that all spools of the process may hold together.
    pub temp_bytes: u64,
    /// Where temporary files are made; they have no name there and vanish with the process.
    pub folder: PathBuf,
}

/// Hands out room for archives. Clones share one budget.
///
/// No two archives can wait for each other: room is asked for once, while the archive holds no
/// temporary room yet, and all of it at once (its claimed size; the whole cap if it claims none).
/// A reader that holds temporary room and needs more takes what is free now or fails. Memory is
/// waited for only where no temporary file could hold the archive. Requests are served in order;
/// dropping the future gives up the place.
#[derive(Clone, Debug)]
pub struct Spooler(Arc<SpoolShared>);

#[derive(Debug)]
struct SpoolShared {
    limits: SpoolLimits,
    memory: Arc<Semaphore>,
    temp: Arc<Semaphore>,
    windows: Arc<Windows>,
    turns: Arc<Semaphore>,
}

/// Whether to wait for room that others hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpoolRoom {
    /// Wait in turn. For a reader that holds no other spool.
    Wait,
    /// Take what is free now. For an archive within an archive: while its outer one holds room,
    /// waiting could be waiting for someone who waits for us.
    Now,
}

/// The largest dictionary that programs use without being told to.
const USUAL_WINDOW_BYTES: u64 = 64 << 20;
/// Archives that are read at once beyond this only cost memory.
const MOST_TURNS_PER_CORE: usize = 2;
/// Budgets are counted in steps of this many bytes.
const STEP: u64 = 1 << 10;
/// How much an archive without a claim asks for at a time.
const GROWTH: u64 = 1 << 20;
/// What is collected before a blocking thread writes it: beyond the budget, once per writer.
const WRITE_BYTES: usize = 1 << 20;

impl Spooler {
    /// A spooler over `limits`, whose decoders may take as much memory again as archives at rest,
    /// or what any usual archive needs if that is more.
    pub fn new(limits: SpoolLimits) -> Self {
        let windows = Windows::new(limits.memory_bytes.max(USUAL_WINDOW_BYTES));
        Self::with_windows(limits, windows)
    }

    /// A spooler over `limits`; the decoders of the archives that it holds draw on `windows`.
    pub(crate) fn with_windows(limits: SpoolLimits, windows: Arc<Windows>) -> Self {
        let budget = |bytes| Arc::new(Semaphore::new(steps(bytes) as usize));
        let (memory, temp) = (budget(limits.memory_bytes), budget(limits.temp_bytes));
        let turns = Arc::new(Semaphore::new(
            MOST_TURNS_PER_CORE * std::thread::available_parallelism().map_or(1, usize::from),
        ));
        Self(Arc::new(SpoolShared { limits, memory, temp, windows, turns }))
    }

    /// What decoders draw on.
    pub fn windows(&self) -> Arc<Windows> {
        Arc::clone(&self.0.windows)
    }

    /// A turn to read an archive of `bytes`, once fewer than two for each core have one; each holds
    /// buffers beyond the budget. Archives that no memory is to hold need none: a reader that has a
    /// small one does not wait for a large one.
    pub async fn turn(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        if bytes > self.0.limits.archive_memory_bytes {
            return None;
        }
        Arc::clone(&self.0.turns).acquire_owned().await.ok()
    }

    /// A writer for an archive that claims to have `expected` bytes, once there is room for it.
    /// A claim that the caps can never hold is `limit_temp` at once.
    pub async fn writer(
        &self,
        expected: Option<u64>,
        room: SpoolRoom,
    ) -> Result<SpoolWriter, UnpackError> {
        let limits = &self.0.limits;
        let claim = expected.unwrap_or(0);
        let fits_memory = claim <= limits.archive_memory_bytes && claim <= limits.memory_bytes;
        let fits_temp = claim <= limits.temp_bytes;
        if !fits_memory && !fits_temp {
            return Err(no_room(format!(
                "it has {claim} bytes; temporary files may take {} bytes in all",
                limits.temp_bytes
            )));
        }
        let mut writer = SpoolWriter::new(self.clone(), expected, room);
        if fits_memory
            && let Ok(permit) = Arc::clone(&self.0.memory).try_acquire_many_owned(steps(claim))
        {
            writer.permit = Some(permit);
        } else if fits_temp {
            writer.permit = Some(reserve(&self.0.temp, claim, room).await?);
            writer.place = SpoolPlace::File(Arc::new(self.temp_file().await?));
        } else {
            writer.permit = Some(reserve(&self.0.memory, claim, room).await?);
        }
        Ok(writer)
    }

    async fn temp_file(&self) -> Result<File, UnpackError> {
        let folder = self.0.limits.folder.clone();
        let shown = folder.display().to_string();
        blocking(move || tempfile::tempfile_in(folder))
            .await
            .map_err(|error| no_room(format!("no temporary file in `{shown}`: {error}")))
    }
}

/// The most steps that one acquire can ask for.
const MOST_STEPS: u32 = u32::MAX >> 4;

fn steps(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(STEP)).unwrap_or(MOST_STEPS).min(MOST_STEPS)
}

async fn reserve(
    budget: &Arc<Semaphore>,
    bytes: u64,
    room: SpoolRoom,
) -> Result<OwnedSemaphorePermit, UnpackError> {
    let budget = Arc::clone(budget);
    match room {
        SpoolRoom::Wait => budget.acquire_many_owned(steps(bytes)).await.map_err(no_room),
        SpoolRoom::Now => budget
            .try_acquire_many_owned(steps(bytes))
            .map_err(|_| no_room("other archives hold the room now")),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Takes an archive as it arrives. Dropping it gives back all that it holds; so must be done
/// after a `write` that failed or was dropped halfway.
#[derive(Debug)]
pub struct SpoolWriter {
    spooler: Spooler,
    claims_size: bool,
    room: SpoolRoom,
    place: SpoolPlace,
    /// Full blocks in memory, or what is to be written next.
    blocks: Vec<Bytes>,
    block: BytesMut,
    size: u64,
    /// Room for `size`, in memory or in temporary files, after `place`.
    permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum SpoolPlace {
    Memory,
    File(Arc<File>),
}

impl SpoolWriter {
    fn new(spooler: Spooler, expected: Option<u64>, room: SpoolRoom) -> Self {
        let (blocks, block) = (Vec::new(), BytesMut::new());
        Self {
            spooler,
            claims_size: expected.is_some(),
            room,
            place: SpoolPlace::Memory,
            blocks,
            block,
            size: 0,
            permit: None,
        }
    }

    /// How many bytes were written.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends `chunk`. `limit_temp` if neither memory nor temporary space can hold it.
    pub async fn write(&mut self, chunk: Bytes) -> Result<(), UnpackError> {
        let size = self.size.saturating_add(chunk.len() as u64);
        self.make_room(size).await?;
        self.size = size;
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            if self.block.capacity() == 0 {
                self.block = BytesMut::with_capacity(BLOCK);
            }
            let (now, later) = rest.split_at(rest.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(now);
            rest = later;
            if self.block.len() == BLOCK {
                self.blocks.push(std::mem::take(&mut self.block).freeze());
                if matches!(self.place, SpoolPlace::File(_))
                    && self.blocks.len() * BLOCK >= WRITE_BYTES
                {
                    self.flush().await?;
                }
            }
        }
        Ok(())
    }

    /// Ends the archive. What was reserved and not needed is given back.
    pub async fn finish(mut self) -> Result<Spool, UnpackError> {
        if !self.block.is_empty() {
            // A copy of the right size: a block that is nearly empty would hold uncounted memory.
            self.blocks.push(Bytes::copy_from_slice(&self.block));
        }
        self.flush().await?;
        if let Some(permit) = &mut self.permit {
            drop(permit.split(permit.num_permits().saturating_sub(steps(self.size) as usize)));
        }
        let store = match self.place {
            SpoolPlace::Memory => SpoolStore::Memory(self.blocks),
            SpoolPlace::File(file) => SpoolStore::File(file),
        };
        Ok(Spool::new(store, self.size, self.permit))
    }

    async fn make_room(&mut self, size: u64) -> Result<(), UnpackError> {
        let held = self.permit.as_ref().map_or(0, |permit| permit.num_permits() as u64) * STEP;
        if size <= held {
            return Ok(());
        }
        let limits = &self.spooler.0.limits;
        let in_memory = matches!(self.place, SpoolPlace::Memory);
        if in_memory
            && size <= limits.archive_memory_bytes
            && self.grow(&self.spooler.0.memory.clone(), size - held)
        {
            return Ok(());
        }
        if in_memory {
            return self.move_to_file(size).await;
        }
        if self.grow(&self.spooler.0.temp.clone(), size - held) {
            return Ok(());
        }
        Err(no_room(format!("it grew to more than {held} bytes and there is no more room now")))
    }

    /// Takes `bytes` more if they are free now; a good deal more if that is free, too.
    fn grow(&mut self, budget: &Arc<Semaphore>, bytes: u64) -> bool {
        let wishes = [steps(bytes.max(GROWTH)), steps(bytes)];
        let Some(more) = wishes
            .into_iter()
            .find_map(|wish| Arc::clone(budget).try_acquire_many_owned(wish).ok())
        else {
            return false;
        };
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
        true
    }

    async fn move_to_file(&mut self, size: u64) -> Result<(), UnpackError> {
        let cap = self.spooler.0.limits.temp_bytes;
        if size > cap {
            return Err(no_room(format!(
                "it has {size} bytes or more; temporary files may take {cap} bytes in all"
            )));
        }
        // Without a claim nobody knows what it will take, and asking for more while holding some is
        // how two archives come to wait for each other: so it takes all there is, and `finish`
        // gives back the rest.
        let claim = if self.claims_size || self.room == SpoolRoom::Now { size } else { cap };
        let permit = reserve(&self.spooler.0.temp, claim, self.room).await?;
        self.place = SpoolPlace::File(Arc::new(self.spooler.temp_file().await?));
        self.flush().await?;
        self.permit = Some(permit);
        Ok(())
    }

    /// Writes full blocks to the file, if there is one.
    async fn flush(&mut self) -> Result<(), UnpackError> {
        let SpoolPlace::File(file) = &self.place else { return Ok(()) };
        if self.blocks.is_empty() {
            return Ok(());
        }
        let (file, blocks) = (Arc::clone(file), std::mem::take(&mut self.blocks));
        let written =
            blocking(move || blocks.iter().try_for_each(|block| (&*file).write_all(block))).await;
        written.map_err(|error| no_room(format!("writing a temporary file: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::{Class, Failure};
    use std::io::{Read, Seek, SeekFrom};
    use std::time::Duration;

    fn spooler(memory_bytes: u64, archive_memory_bytes: u64, temp_bytes: u64) -> Spooler {
        Spooler::new(SpoolLimits {
            memory_bytes,
            archive_memory_bytes,
            temp_bytes,
            folder: std::env::temp_dir(),
        })
    }

    fn bytes(length: usize) -> Vec<u8> {
        (0..length).map(|i| (i * 7 + i / 251) as u8).collect()
    }

    async fn spool(
        spooler: &Spooler,
        expected: Option<u64>,
        content: &[u8],
    ) -> Result<Spool, UnpackError> {
        let mut writer = spooler.writer(expected, SpoolRoom::Wait).await?;
        for chunk in content.chunks(70_001) {
            writer.write(Bytes::copy_from_slice(chunk)).await?;
        }
        writer.finish().await
    }

    fn check(spool: &Spool, content: &[u8]) {
        assert_eq!(spool.size(), content.len() as u64);
        let mut all = Vec::new();
        spool.reader().read_to_end(&mut all).unwrap();
        assert!(all == content);
        let mut reader = spool.reader();
        for start in [0, 1, 65_535, 65_536, content.len() / 2, content.len().saturating_sub(3)] {
            let start = start.min(content.len());
            reader.seek(SeekFrom::Start(start as u64)).unwrap();
            let mut part = Vec::new();
            reader.clone().take(9_000).read_to_end(&mut part).unwrap();
            assert!(part == content[start..(start + 9_000).min(content.len())]);
        }
        assert_eq!(reader.seek(SeekFrom::End(5)).unwrap(), content.len() as u64 + 5);
        assert_eq!(reader.read(&mut [0; 4]).unwrap(), 0);
    }

    fn free(spooler: &Spooler) -> (usize, usize) {
        (spooler.0.memory.available_permits(), spooler.0.temp.available_permits())
    }

    #[tokio::test]
    async fn what_was_written_is_read_from_memory_and_from_file() {
        let spooler = spooler(8 << 20, 1 << 20, 16 << 20);
        for length in [0, 1, 65_536, 1_000_000, 3_000_001] {
            let content = bytes(length);
            for expected in [None, Some(length as u64), Some(10), Some(5 << 20)] {
                let spool = spool(&spooler, expected, &content).await.unwrap();
                check(&spool, &content);
                let held = (length as u64).div_ceil(STEP) as usize;
                let (memory, temp) = free(&spooler);
                assert_eq!((8 << 10) - memory + (16 << 10) - temp, held, "{length} {expected:?}");
                let reader = spool.reader();
                drop(spool);
                assert_eq!(free(&spooler), (memory, temp));
                drop(reader);
                assert_eq!(free(&spooler), (8 << 10, 16 << 10));
            }
        }
    }

    #[tokio::test]
    async fn a_claim_that_can_never_fit_fails_at_once() {
        let spooler = spooler(1 << 20, 1 << 20, 4 << 20);
        let error = spooler.writer(Some((4 << 20) + 1), SpoolRoom::Wait).await.unwrap_err();
        assert_eq!(error.class(), Class::LimitTemp);
        let error = spool(&spooler, None, &bytes(5 << 20)).await.unwrap_err();
        assert_eq!(error.class(), Class::LimitTemp);
        assert_eq!(free(&spooler), (1 << 10, 4 << 10));
    }

    #[tokio::test]
    async fn whoever_claimed_too_little_takes_only_what_is_free() {
        let spooler = spooler(0, 0, 4 << 20);
        let other = spool(&spooler, Some(3 << 20), &bytes(3 << 20)).await.unwrap();
        let error = spool(&spooler, Some(10), &bytes(2 << 20)).await.unwrap_err();
        assert_eq!(error.class(), Class::LimitTemp);
        drop(other);
        assert!(spool(&spooler, Some(10), &bytes(2 << 20)).await.is_ok());
    }

    #[tokio::test]
    async fn an_inner_archive_never_waits() {
        let spooler = spooler(0, 0, 1 << 20);
        let outer = spool(&spooler, Some(1 << 20), &bytes(1 << 20)).await.unwrap();
        let error = spooler.writer(Some(1), SpoolRoom::Now).await.unwrap_err();
        assert_eq!(error.class(), Class::LimitTemp);
        drop(outer);
        assert!(spooler.writer(Some(1), SpoolRoom::Now).await.is_ok());
    }

    #[tokio::test]
    async fn giving_up_the_wait_gives_up_the_place() {
        let spooler = spooler(0, 0, 1 << 20);
        let first = spooler.writer(Some(1 << 20), SpoolRoom::Wait).await.unwrap();
        let waits = tokio::time::timeout(
            Duration::from_millis(20),
            spooler.writer(Some(1 << 20), SpoolRoom::Wait),
        )
        .await;
        assert!(waits.is_err());
        drop(first);
        assert!(spooler.writer(Some(1 << 20), SpoolRoom::Wait).await.is_ok());
    }

    #[tokio::test]
    async fn many_archives_share_a_small_budget_without_deadlock() {
        let spooler = spooler(256 << 10, 128 << 10, 1 << 20);
        let content = Arc::new(bytes(700_000));
        let tasks = (0..24u64).map(|i| {
            let (spooler, content) = (spooler.clone(), Arc::clone(&content));
            tokio::spawn(async move {
                let part = &content[..(i as usize % 7 + 1) * 100_000];
                let expected = (i % 3 != 0).then_some(part.len() as u64);
                let spool = spool(&spooler, expected, part).await.unwrap();
                check(&spool, part);
            })
        });
        let all =
            tokio::time::timeout(Duration::from_secs(30), futures_util::future::join_all(tasks))
                .await
                .unwrap();
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(free(&spooler), (256, 1024));
    }

    #[tokio::test]
    async fn small_archives_take_turns_and_wait_for_no_large_one() {
        let spooler = spooler(8 << 20, 1 << 20, 16 << 20);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut turns = Vec::new();
        for _ in 0..MOST_TURNS_PER_CORE * cores {
            turns.push(spooler.turn(1 << 20).await.expect("nobody closes this"));
        }
        let soon = Duration::from_millis(20);
        assert!(
            tokio::time::timeout(soon, spooler.clone().turn(1)).await.is_err(),
            "all turns are taken"
        );
        assert!(
            tokio::time::timeout(soon, spooler.turn((1 << 20) + 1)).await.unwrap().is_none(),
            "a large one needs none"
        );
        turns.pop();
        assert!(
            tokio::time::timeout(soon, spooler.turn(1)).await.unwrap().is_some(),
            "one is free again"
        );
    }

    #[tokio::test]
    async fn a_folder_that_is_not_there_is_a_lack_of_room() {
        let limits = SpoolLimits {
            memory_bytes: 0,
            archive_memory_bytes: 0,
            temp_bytes: 1 << 20,
            folder: "/no/such/folder".into(),
        };
        let error = Spooler::new(limits).writer(Some(1), SpoolRoom::Wait).await.unwrap_err();
        assert_eq!(error.class(), Class::LimitTemp);
    }
}
