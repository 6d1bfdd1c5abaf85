//! Staged blocks: those of a usual upload lie where they will be in the whole, so that committing
//! copies nothing.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::trouble::{Trouble, rule};
use crate::runtime::random;
use crate::store::contract::StoreKind;

/// Every so many blocks what is there is brought to the disk, while more is on its way.
const FLUSHED_EVERY: u32 = 4;

/// The uploads of this process. Blocks of dead ones cannot be committed: nobody knows their
/// uploads.
#[derive(Debug, Default)]
pub(crate) struct Uploads(Mutex<HashMap<String, Arc<FolderStaged>>>);

/// The blocks of one upload.
#[derive(Debug)]
pub(crate) struct FolderStaged {
    folder: PathBuf,
    whole: File,
    blocks: Mutex<FolderBlocks>,
}

#[derive(Clone, Debug, Default)]
struct FolderBlocks {
    /// The length of the block that came first, which most have.
    usual: u64,
    by_index: BTreeMap<u32, FolderBlock>,
}

#[derive(Clone, Debug)]
enum FolderBlock {
    /// In the whole, at its index times the usual length.
    InPlace,
    /// In a file of its own, of this length.
    Apart(PathBuf, u64),
}

impl Uploads {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Arc<FolderStaged>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The upload with this id, which begins in a folder below `staged` if it is new.
    pub fn open(&self, staged: &Path, id: &str) -> io::Result<Arc<FolderStaged>> {
        let mut all = self.all();
        if let Some(known) = all.get(id) {
            return Ok(known.clone());
        }
        let folder = staged.join(id);
        // Not all the way up: a folder that `prepare` never made is told as such.
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let whole = OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(folder.join("whole"))?;
        let new = Arc::new(FolderStaged { folder, whole, blocks: Mutex::default() });
        all.insert(id.to_owned(), new.clone());
        Ok(new)
    }

    /// The upload with this id, if anything of it was staged.
    pub fn find(&self, id: &str) -> Option<Arc<FolderStaged>> {
        self.all().get(id).cloned()
    }

    /// Forgets an upload; its files stay.
    pub fn forget(&self, id: &str) {
        self.all().remove(id);
    }
}

impl FolderStaged {
    fn blocks(&self) -> MutexGuard<'_, FolderBlocks> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stages block `index`; it counts once this has gone well.
    pub fn stage(&self, index: u32, bytes: &[u8]) -> io::Result<()> {
        let length = bytes.len() as u64;
        let usual = {
            let mut blocks = self.blocks();
            if blocks.usual == 0 {
                blocks.usual = length;
            }
            blocks.usual
        };
        let block = if length == usual {
            write_at(&self.whole, bytes, u64::from(index) * usual)?;
            if index % FLUSHED_EVERY == FLUSHED_EVERY - 1 {
                self.whole.sync_data()?;
            }
            FolderBlock::InPlace
        } else {
            let path = self.folder.join(random::digits());
            fs::write(&path, bytes)?;
            FolderBlock::Apart(path, length)
        };
        self.blocks().by_index.insert(index, block);
        Ok(())
    }

    /// Makes blocks `0..count` the content of the new file `path`. They stay staged.
    pub fn join(&self, count: u32, path: &Path) -> Result<File, Trouble> {
        let FolderBlocks { usual, by_index } = self.blocks().clone();
        let (mut end, mut in_place, mut places) = (0, true, Vec::new());
        for index in 0..count {
            let block = by_index
                .get(&index)
                .ok_or_else(|| rule(StoreKind::Condition, "a block was never staged"))?;
            let length = match block {
                FolderBlock::InPlace => {
                    in_place &= end == u64::from(index) * usual;
                    usual
                }
                FolderBlock::Apart(_, length) => *length,
            };
            places.push((end, length, block));
            end += length;
        }
        // Another name for the same file, so that a commit that fails can be tried again. Some file
        // systems have no such.
        let linked = in_place && fs::hard_link(self.folder.join("whole"), path).is_ok();
        let mut file = OpenOptions::new()
            .create(!linked)
            .read(true)
            .write(true)
            .truncate(!linked)
            .open(path)?;
        for (index, (start, length, block)) in (0u64..).zip(places) {
            match block {
                FolderBlock::InPlace if linked => {}
                FolderBlock::InPlace => {
                    let mut whole = File::open(self.folder.join("whole"))?;
                    whole.seek(SeekFrom::Start(index * usual))?;
                    file.seek(SeekFrom::Start(start))?;
                    io::copy(&mut whole.take(length), &mut file)?;
                }
                FolderBlock::Apart(block, _) => {
                    file.seek(SeekFrom::Start(start))?;
                    io::copy(&mut File::open(block)?, &mut file)?;
                }
            }
        }
        // Blocks that were staged and are not committed may lie behind.
        file.set_len(end)?;
        Ok(file)
    }
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], position: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, position)
}

#[cfg(windows)]
fn write_at(file: &File, mut bytes: &[u8], mut position: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        // It moves the file's own cursor, which nobody uses.
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, position)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
        position += written as u64;
    }
    Ok(())
}
