//! A file that is to be brought over, with what is known of it.

use crate::model::{ModifiedTime, RemoteFile};
use crate::rules::plan::Why;
use crate::rules::plan::known::Known;

/// A file that is to be brought over.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// The file, as exactly as it was needed to decide about it.
    pub file: RemoteFile,
    /// Its modified time as the listing showed it.
    pub listed: Option<ModifiedTime>,
    /// Why.
    pub why: Why,
    /// What was ingested of it before. Most files are new, and a million of them are in memory.
    pub known: Option<Box<Known>>,
    /// Whether it rests, so that it may be brought over should its bytes turn out to be others.
    pub rests: bool,
    /// Whether another file of its listing has the same plain name and comes first, so that this
    /// one gets a name apart.
    pub yields: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With its path, a file that is to be brought over takes some 150 bytes.
    #[test]
    fn a_new_file_takes_little_memory() {
        assert!(size_of::<Transfer>() <= 96, "{}", size_of::<Transfer>());
    }
}
