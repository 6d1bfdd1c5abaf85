//! Outcomes to report. A file is counted by what became of it, so the equation
//! `listed = ingested + unchanged + skipped + gone + deferred + failed` holds by construction.

mod expectation;
mod facts;
mod line;
mod outcome;
mod proof;
mod run_report;
mod source_report;
mod status;
mod text;

pub use crate::report::outcome::{
    DEFERS_WITH_LINES, Defer, Ingested, MANIFEST_INCOMPLETE, Outcome, Problem, SKIPS_WITH_LINES,
    problem,
};
pub use crate::report::run_report::Report;
pub use crate::report::source_report::{DETAILS, FileLine, LeftTo, Members, SourceReport};

pub use crate::report::expectation::{ExpectationStanding, OpenWindow};
pub(crate) use crate::report::facts::{NamedFacts, Reach};
pub use crate::report::line::{Line, Word};
pub use crate::report::proof::{ArchiveClaim, BlobClaim, Proof};
pub use crate::report::status::{Signs, Status};
pub use crate::report::text::{counted, in_bytes};

#[cfg(test)]
mod tests;
