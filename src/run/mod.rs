//! The only room that joins: sources, archives, store and ledger to a run.

pub mod due;
pub mod local;
pub mod planned_members;
pub mod recorded;
pub mod state_move;

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream;
use tokio::sync::Semaphore;

use crate::model::{BlobName, RemotePath};
use crate::report::SourceReport;
use crate::rules::layout::NameError;
use crate::transfer::context::{Pass, Run};
use crate::transfer::options::begin;
use crate::transfer::request::Transfer;
use crate::transfer::settings::{Archives, Source};

pub use crate::history::run_id::run_id;
pub use crate::pass::look::left;
pub use crate::transfer::archive::manifest::{
    MAX_MANIFEST_BYTES, Manifest, ManifestMember, name_of as archive_manifest_name,
};
pub use crate::transfer::options::Options;
pub use local::run;
pub(crate) use planned_members::PlannedMembers;
pub use recorded::recorded;

/// Sources that are planned at once.
const PLANS: usize = 64;

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
    /// The plain name of its blob. `None`: it is an archive, of which only members are stored, or
    /// it gets no name.
    pub blob: Option<BlobName>,
    /// Where its members go, if it is an archive by its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<PlannedMembers>,
    /// Why it gets none, so that it will fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nameless: Option<String>,
}

fn as_text<S: serde::Serializer>(path: &RemotePath, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(path)
}

/// What a run would do now. Changes nothing, neither at the sources nor in the store.
pub async fn plan(sources: Vec<Source>, options: Options) -> Vec<Plan> {
    let again = options.again.clone();
    let run = Arc::new(begin(options, &sources));
    let looks = Semaphore::new(PLANS);
    let enabled = sources.into_iter().filter(|source| source.enabled);
    let plans = enabled.map(|source| {
        let (run, again, looks) = (run.clone(), again.clone(), &looks);
        async move {
            let _place = looks.acquire().await;
            plan_one(run, source, again).await
        }
    });
    join_all(plans).await
}

async fn plan_one(run: Arc<Run>, source: Source, again: Vec<String>) -> Plan {
    let again = local::patterns_again(&source, &again);
    let pass = match crate::pass::steps::open(run.toward(&source), source).await {
        Ok(pass) => Arc::new(pass),
        Err(report) => return Plan { report, files: Vec::new(), patterns: Vec::new() },
    };
    let mut survey = crate::pass::survey::survey(&pass, &again).await;
    crate::pass::gone::settle_plan(&pass, &mut survey.report).await;
    crate::pass::given_names::tell_plan(&mut survey);
    std::mem::take(&mut survey.slips).into_iter().for_each(|slip| survey.report.add_remark(slip));
    let other_names = crate::pass::renamed::told(&pass);
    other_names.into_iter().for_each(|told| survey.report.add_remark(told));
    let mut files: Vec<Planned> = Vec::new();
    for (transfers, unsettled) in [(survey.transfers, false), (survey.unsettled, true)] {
        files.extend(planned_all(&pass, &transfers, unsettled).await);
    }
    pass.pool.close().await;
    let dated = pass.source.dates.is_some();
    let patterns = if dated { pass.source.patterns.given().to_vec() } else { Vec::new() };
    Plan { report: survey.report, files, patterns }
}

/// Archives of one source whose directories a plan reads, at most: each costs requests.
const MOST_DIRECTORIES: usize = 100;

async fn planned_all(pass: &Pass, transfers: &[Transfer], unsettled: bool) -> Vec<Planned> {
    let mut left = MOST_DIRECTORIES;
    let planned = transfers.iter().map(|transfer| {
        let file = &transfer.file;
        let is_archive = planned_members::is_unpacked(pass, file);
        // What may still be written has no directory that counts.
        let reads = is_archive && !unsettled && left > 0;
        left -= usize::from(reads);
        async move {
            let members = match (is_archive, reads) {
                (true, true) => planned_members::read(pass, file).await.map(Some),
                (true, false) => planned_members::unread(pass, file).map(Some),
                (false, _) => Ok(None),
            };
            planned(pass, transfer, unsettled, members)
        }
    });
    stream::iter(planned).buffered(pass.source.connections).collect().await
}

fn planned(
    pass: &Pass,
    transfer: &Transfer,
    unsettled: bool,
    members: Result<Option<PlannedMembers>, NameError>,
) -> Planned {
    let path = transfer.file.path.clone();
    let named = members.and_then(|members| Ok((pass.source.naming.file(&transfer.file)?, members)));
    let nameless = named.as_ref().err().map(NameError::to_string);
    let (blob, members) = named.map_or((None, None), |(blob, members)| (Some(blob), members));
    let is_stored = members.is_none() || pass.source.archives == Archives::Both;
    Planned {
        blob: blob.filter(|_| is_stored),
        members,
        nameless,
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
