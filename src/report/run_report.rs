//! What a run did.

use serde::Serialize;
use time::OffsetDateTime;

use crate::model::failure::Class;
use crate::report::outcome::Problem;
use crate::report::source_report::SourceReport;
use crate::report::status::{Signs, Status};

/// The report of a run. In JSON it begins with its `status`.
#[derive(Clone, Debug)]
pub struct Report {
    /// The run's id.
    pub run: String,
    /// When it began.
    pub started: OffsetDateTime,
    /// When it ended.
    pub ended: OffsetDateTime,
    /// Whether it was stopped from outside.
    pub interrupted: bool,
    /// Where blobs went.
    pub store: String,
    /// What went wrong with the run as a whole.
    pub problems: Vec<Problem>,
    /// Its passes, one a source.
    pub sources: Vec<SourceReport>,
}

impl Serialize for Report {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::{Error, SerializeStruct};
        let rfc3339 = |at: OffsetDateTime| {
            at.format(&time::format_description::well_known::Rfc3339).map_err(S::Error::custom)
        };
        let sources: Vec<_> = self
            .sources
            .iter()
            .map(|source| WithStatus { status: source.status(), source })
            .collect();
        let mut report = serializer.serialize_struct("Report", 8)?;
        report.serialize_field("status", &self.status())?;
        report.serialize_field("run", &self.run)?;
        report.serialize_field("started", &rfc3339(self.started)?)?;
        report.serialize_field("ended", &rfc3339(self.ended)?)?;
        report.serialize_field("interrupted", &self.interrupted)?;
        report.serialize_field("store", &self.store)?;
        report.serialize_field("problems", &self.problems)?;
        report.serialize_field("sources", &sources)?;
        report.end()
    }
}

#[derive(Serialize)]
pub(crate) struct WithStatus<'a> {
    status: Status,
    #[serde(flatten)]
    source: &'a SourceReport,
}

impl Report {
    /// How the run ended.
    pub fn status(&self) -> Status {
        let sources: Vec<Status> = self.sources.iter().map(SourceReport::status).collect();
        let wrong = self.problems.iter().any(|problem| problem.class != Class::Interrupted);
        let stopped = self.interrupted || !self.problems.is_empty();
        Status::of_run(&sources, Signs { wrong, stopped, ..Signs::default() })
    }

    /// The exit status that tells the same.
    pub fn exit_code(&self) -> u8 {
        self.status().exit_code()
    }
}
