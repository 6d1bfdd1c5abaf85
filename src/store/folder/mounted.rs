//! Whether the destination is the folder that earlier runs wrote to: a mount point without its
//! mount is an empty folder, and what is written there is gone after the next mount.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::Digest;

use super::paths::OWN;
use crate::model::hex;

/// What to do where it is not.
pub(crate) const HINT: &str = "mount the destination's file system, then run again";

/// The note on the destination `root` in the folder `memory`.
fn note(root: &Path, memory: &Path) -> PathBuf {
    let hash = sha2::Sha256::digest(root.as_os_str().as_encoded_bytes());
    memory.join("destinations").join(hex(&hash[..16]))
}

/// What speaks against a destination: it was known on this machine and holds nothing of ours any
/// more.
pub fn missing(root: &Path, memory: &Path) -> Option<String> {
    let known = note(root, memory);
    (known.exists() && !root.join(OWN).is_dir()).then(|| {
        format!(
            "`{}` is not the folder that earlier runs wrote to: `{OWN}` is missing in it. Mount \
            what belongs there; if it was emptied on purpose, remove `{}`",
            root.display(),
            known.display()
        )
    })
}

/// Notes a destination that can be unmounted: one that is on another file system than the system
/// itself.
pub fn remember(root: &Path, memory: &Path) -> io::Result<()> {
    let note = note(root, memory);
    if !can_be_unmounted(root)? || note.exists() {
        return Ok(());
    }
    if let Some(folder) = note.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(note, root.as_os_str().as_encoded_bytes())
}

#[cfg(unix)]
fn can_be_unmounted(root: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata(root)?.dev() != fs::metadata("/")?.dev())
}

/// There a drive that is gone is a path that is not there.
#[cfg(not(unix))]
fn can_be_unmounted(_root: &Path) -> io::Result<bool> {
    Ok(false)
}
