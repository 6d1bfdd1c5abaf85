//! The program's own folders inside a source on this machine: what is written there must not come
//! back as files.

use std::path::{Path, PathBuf};

use crate::model::RemotePath;
use crate::transfer::settings::Source;

/// Leaves the folders `own` out of the sources that they lie in.
pub fn leave_out(sources: &mut [Source], own: &[PathBuf]) {
    let own: Vec<PathBuf> = own.iter().map(|path| real(path)).collect();
    for source in sources {
        let Some(root) = source.endpoint.local(&source.root) else { continue };
        let root = real(&root);
        // A folder that is the source itself, or above it, is nobody's to leave out.
        let below = own
            .iter()
            .filter_map(|path| path.strip_prefix(&root).ok())
            .filter(|below| !below.as_os_str().is_empty());
        let mut folders: Vec<RemotePath> = below.map(|below| remote(&source.root, below)).collect();
        folders.sort();
        folders.dedup();
        source.patterns.leave_out(&folders);
        source.own_folders = folders;
    }
}

fn remote(root: &RemotePath, below: &Path) -> RemotePath {
    below.iter().fold(root.clone(), |path, part| path.join(part.as_encoded_bytes()))
}

/// The path without links and dots, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let found = path
        .ancestors()
        .find_map(|there| std::fs::canonicalize(there).ok().map(|real| (there, real)));
    let Some((there, real)) = found else { return path };
    match path.strip_prefix(there) {
        Ok(rest) if !rest.as_os_str().is_empty() => real.join(rest),
        _ => real,
    }
}
