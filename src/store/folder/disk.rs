//! Single steps on the disk: what is there, and what is in the way.

use std::fs;
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

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

/// The key of the name that a temporary file is for.
pub(super) fn owner_of(temporary: &str) -> Option<&str> {
    temporary.split_once('.').map(|(key, _)| key).filter(|key| key.len() == 64)
}
