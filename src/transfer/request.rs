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
    /// What was ingested of it before.
    pub known: Option<Known>,
    /// Whether it rests, so that it may be brought over should its bytes turn out to be others.
    pub rests: bool,
}
