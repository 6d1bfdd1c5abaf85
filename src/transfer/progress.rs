//! What a run tells while it goes on, for progress bars and logs.

use crate::model::RemotePath;
use crate::report::{Outcome, SourceReport};

/// Something happened. Every method may be called from many tasks at once and must return at once.
pub trait Progress: Send + Sync {
    /// A source's tree was listed: this much is to be done.
    fn planned(&self, _source: &str, _files: u64, _bytes: u64) {}
    /// Bytes arrived from a source.
    fn fetched(&self, _source: &str, _bytes: u64) {}
    /// A file is done with.
    fn done(&self, _source: &str, _path: &RemotePath, _outcome: &Outcome) {}
    /// The run waits this long for files of a source to settle.
    fn waiting(&self, _source: &str, _files: usize, _seconds: u64) {}
    /// A source is done with.
    fn finished(&self, _report: &SourceReport) {}
}

/// Nobody looks.
pub struct Silent;

impl Progress for Silent {}
