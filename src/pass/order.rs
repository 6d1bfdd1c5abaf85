//! In which order the files of a source are brought over.

use crate::transfer::request::Transfer;
use crate::transfer::settings::{FileOrder, Source};

/// Puts `transfers` into the order that `source` asks for.
pub fn sort(source: &Source, transfers: &mut [Transfer]) {
    match source.order {
        None => {}
        Some(FileOrder::Name) => {
            transfers.sort_by(|one, other| one.file.path.cmp(&other.file.path))
        }
        Some(FileOrder::Modified) => transfers.sort_by_cached_key(|one| {
            // Those without a time come last.
            let modified = one.file.modified.map(|modified| modified.at);
            (modified.is_none(), modified, one.file.path.clone())
        }),
    }
}
