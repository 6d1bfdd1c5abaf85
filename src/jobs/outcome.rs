//! What came of a message.

use crate::report::SourceReport;

/// What came of a message.
#[derive(Debug)]
pub enum Came {
    /// What it asked for is done; in a sentence.
    Done(String),
    /// It cannot be done now, and was put back into the queue; in a sentence.
    Later(String),
    /// The pass is over, with this report.
    Closed(Box<SourceReport>),
    /// The pass was over before.
    Over,
}
