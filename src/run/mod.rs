//! The only room that joins: sources, archives, store and ledger to a run.

pub mod due;
pub mod local;
pub mod recorded;

use std::sync::Arc;

use futures_util::future::join_all;

use crate::model::RemotePath;
use crate::report::SourceReport;
use crate::transfer::context::{Pass, Run};
use crate::transfer::options::begin;
use crate::transfer::settings::Source;

pub use crate::history::run_id::run_id;
pub use crate::pass::look::left;
pub use crate::pass::steps::misconfigured;
pub use crate::transfer::archive::manifest::{
    MAX_MANIFEST_BYTES, Manifest, ManifestMember, name_of as archive_manifest_name,
};
pub use crate::transfer::options::Options;
pub use local::run;
pub use recorded::recorded;

/// What a run would do with one source.
pub struct Plan {
    /// What is decided already, counted, and what went wrong with the listing.
    pub report: SourceReport,
    /// What would be fetched, in the listing's order.
    pub files: Vec<Planned>,
    /// The `include` patterns of the days that are looked at, where folders have dates.
    pub patterns: Vec<String>,
}

/// A file that would be fetched.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Planned {
    /// Its path.
    #[serde(serialize_with = "as_text")]
    pub path: RemotePath,
    /// Its size, if the source tells.
    pub size: Option<u64>,
    /// When it was last modified, RFC 3339, if the source tells.
    pub modified: Option<String>,
    /// Why: `new`, `changed`, `again`.
    pub why: &'static str,
    /// Whether it must be looked at again first, because it may still be written.
    pub unsettled: bool,
    /// The plain name of its blob; members of an archive go below it.
    pub blob: crate::model::BlobName,
}

fn as_text<S: serde::Serializer>(path: &RemotePath, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(path)
}

/// What a run would do now. Changes nothing, neither at the sources nor in the store.
pub async fn plan(sources: Vec<Source>, options: Options) -> Vec<Plan> {
    let again = options.again.clone();
    let run = Arc::new(begin(options, &sources));
    let plans = sources.into_iter().map(|source| plan_one(run.clone(), source, again.clone()));
    join_all(plans).await
}

async fn plan_one(run: Arc<Run>, source: Source, again: Vec<String>) -> Plan {
    let again = local::patterns_again(&source, &again);
    let pass = match crate::pass::steps::open(run, source).await {
        Ok(pass) => Arc::new(pass),
        Err(report) => return Plan { report, files: Vec::new(), patterns: Vec::new() },
    };
    let mut survey = crate::pass::survey::survey(&pass, &again).await;
    crate::pass::gone::settle_plan(&pass, &mut survey.report).await;
    pass.pool.close().await;
    let settled = survey.transfers.iter().map(|transfer| planned(&pass, transfer, false));
    let files = settled
        .chain(survey.unsettled.iter().map(|transfer| planned(&pass, transfer, true)))
        .collect();
    let dated = pass.source.dates.is_some();
    let patterns = if dated { pass.source.patterns.given().to_vec() } else { Vec::new() };
    Plan { report: survey.report, files, patterns }
}

fn planned(pass: &Pass, transfer: &crate::transfer::request::Transfer, unsettled: bool) -> Planned {
    let path = transfer.file.path.clone();
    Planned {
        blob: pass.source.naming.file(&path),
        size: transfer.file.size,
        modified: transfer.file.modified.and_then(|modified| {
            let at = modified.at.replace_nanosecond(0).unwrap_or(modified.at);
            at.format(&time::format_description::well_known::Rfc3339).ok()
        }),
        why: transfer.why.word(),
        unsettled,
        path,
    }
}
