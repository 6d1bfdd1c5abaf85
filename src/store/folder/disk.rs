//! Single steps on the disk: what is there, what is durable, what is made on the way.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::modes;

pub(super) fn modified(file: &fs::Metadata) -> io::Result<i128> {
    let time = file.modified()?;
    Ok(match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i128::try_from(after.as_nanos()).unwrap_or(i128::MAX),
        Err(before) => -i128::try_from(before.duration().as_nanos()).unwrap_or(i128::MAX),
    })
}

/// The file's metadata; `None` if there is no file there, or something else.
pub(super) fn metadata(path: &Path) -> io::Result<Option<fs::Metadata>> {
    use io::ErrorKind::{InvalidFilename, NotADirectory, NotFound};
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found).filter(fs::Metadata::is_file)),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory | InvalidFilename) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether the target is a folder, or one of its folders is a file.
pub(super) fn clashes(root: &Path, target: &Path) -> bool {
    let above = target.ancestors().skip(1).take_while(|folder| *folder != root);
    target.is_dir() || above.into_iter().any(|folder| folder.exists() && !folder.is_dir())
}

pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        modes::private_folders().create(folder)?;
    }
    let mut file = modes::private().create(true).write(true).truncate(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Does `work` on `path`, and once more in a folder that `builder` makes if there was none.
pub(super) fn with_folder<T>(
    path: &Path,
    builder: &DirBuilder,
    work: impl Fn() -> io::Result<T>,
) -> io::Result<T> {
    match (work(), path.parent()) {
        (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
            make_folders(folder, builder)?;
            work()
        }
        (result, _) => result,
    }
}

/// Makes `folder`. What is in a new folder is durable once its own entry, and those above, are.
pub(super) fn make_folders(folder: &Path, builder: &DirBuilder) -> io::Result<()> {
    let above = folder.ancestors().skip(1).find(|above| above.is_dir());
    builder.create(folder)?;
    let holders = folder.ancestors().skip(1).take_while(|_| cfg!(unix));
    for holder in holders.take_while(|holder| above.is_none_or(|above| holder.starts_with(above))) {
        File::open(holder)?.sync_all()?;
    }
    Ok(())
}

/// The key of the name that a temporary file is for.
pub(super) fn owner_of(temporary: &str) -> Option<&str> {
    temporary.split_once('.').map(|(key, _)| key).filter(|key| key.len() == 64)
}
