//! The report of a pass, as it is written beside the ledger.

use crate::failpoint::failpoint;
use crate::report::{SourceReport, Status};
use crate::state::paths::StatePaths;
use crate::store::contract::{Condition, StoreError};
use crate::transfer::context::Run;
use crate::transfer::settings::Source;

/// A pass's report as it is kept.
#[derive(serde::Serialize)]
struct StoredReport<'a> {
    run: &'a str,
    #[serde(with = "time::serde::rfc3339")]
    started: time::OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    ended: time::OffsetDateTime,
    status: Status,
    #[serde(flatten)]
    report: &'a SourceReport,
}

/// Writes a pass's report, beside the ledger. The report names its blob from then on. False:
/// `condition` does not hold.
pub(crate) async fn write_report(
    run: &Run,
    source: &Source,
    report: &mut SourceReport,
    started: time::OffsetDateTime,
    condition: &Condition,
) -> Result<bool, StoreError> {
    let name = StatePaths::of(&source.name).report(&run.id);
    let ended = time::OffsetDateTime::now_utc();
    report.report = Some(name.as_str().to_owned());
    report.facts.recorded = run.announcement.is_some();
    let stored = StoredReport { run: &run.id, started, ended, status: report.status(), report };
    failpoint!(
        "before-report",
        StoreError::new(
            "writing",
            name.as_str(),
            "failpoint",
            crate::store::contract::StoreKind::Rejected,
            "failpoint"
        )
    );
    let written = run.state.put_named_json(&name, &stored, condition, "writing a report").await;
    if written.is_err() {
        report.report = None;
    }
    report.report_sha256 = written?;
    Ok(report.report_sha256.is_some())
}
