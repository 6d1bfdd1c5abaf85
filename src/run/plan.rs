//! What a run would do now, for people who look before they let it.

use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use tokio::sync::Semaphore;

use crate::model::{RemoteFile, number_of};
use crate::report::SourceReport;
use crate::run::local;
use crate::run::name_lookup::{LookedUpNames, ReadArchives, look_up};
use crate::run::planned::{PlannedFiles, PlannedNames};
use crate::run::planned_members;
use crate::transfer::context::{Pass, Run};
use crate::transfer::options::{Options, begin};
use crate::transfer::request::Transfer;
use crate::transfer::settings::{Archives, Source};
use crate::transfer::transfers::Transfers;

/// Sources that are planned at once.
const PLANS: usize = 64;
/// Archives of one source whose directories a plan reads, at most: each costs requests.
const MOST_DIRECTORIES: usize = 100;

/// What a run would do with one source.
#[derive(Debug)]
pub struct Plan {
    /// What is decided already, counted, and what went wrong with the listing.
    pub report: SourceReport,
    /// What would be fetched, in the listing's order.
    pub files: PlannedFiles,
    /// The `include` patterns of the days that are looked at, where folders have dates.
    pub patterns: Vec<String>,
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
        Err(report) => {
            return Plan { report, files: PlannedFiles::none(), patterns: Vec::new() };
        }
    };
    if let Some(report) = crate::pass::destination::moved(&pass) {
        return Plan { report, files: PlannedFiles::none(), patterns: Vec::new() };
    }
    let mut survey = crate::pass::survey::survey(&pass, &again).await;
    crate::pass::gone::settle_plan(&pass, &mut survey.report).await;
    crate::pass::given_names::tell_plan(&mut survey);
    std::mem::take(&mut survey.slips).into_iter().for_each(|slip| survey.report.add_remark(slip));
    let other_names = crate::pass::renamed::told(&pass);
    other_names.into_iter().for_each(|told| survey.report.add_remark(told));
    let mut archives = read_directories(&pass, &survey.transfers).await;
    let planned: Vec<&Transfer> = survey.transfers.iter().chain(survey.unsettled.iter()).collect();
    let mut found = look_up(&pass, &planned, &archives).await;
    found.put_into(&mut archives);
    tell(&mut survey.report, &found);
    pass.pool.close().await;
    let source = pass.source.clone();
    let names_of = Box::new(move |one: &Transfer| names(&source, &archives, &found, &one.file));
    let files = PlannedFiles::new(survey.transfers, survey.unsettled, names_of);
    let dated = pass.source.dates.is_some();
    let patterns = if dated { pass.source.patterns.given().to_vec() } else { Vec::new() };
    Plan { report: survey.report, files, patterns }
}

/// Says which names are not the plain ones, and how many nobody asked for.
fn tell(report: &mut SourceReport, found: &LookedUpNames) {
    found.notes.iter().for_each(|(path, note)| report.add_note(path, note));
    if let Some(first) = found.contested.first() {
        let others = found.contested.len() - 1;
        let others = if others == 0 {
            String::new()
        } else {
            format!(" (and {} more)", number_of(others, "name"))
        };
        report.add_remark(format!(
            "`{first}`{others} is wanted by members of several archives, or by a file and a \
            member: the first that is stored gets it, each other one the name with a suffix"
        ));
    }
    if found.unasked > 0 {
        report.add_remark(format!(
            "the names of {} were not looked for in the store: some may be taken there, and blobs \
             get names apart then",
            number_of(found.unasked, "file")
        ));
    }
}

/// Reads the directories of the first archives. What may still be written has none that counts.
async fn read_directories(pass: &Pass, settled: &Transfers) -> ReadArchives {
    let archives = settled.iter().map(|one| &one.file);
    let archives = archives.filter(|file| planned_members::is_unpacked(&pass.source, file));
    let read = archives
        .take(MOST_DIRECTORIES)
        .map(|file| async move { (file.path.clone(), planned_members::read(pass, file).await) });
    stream::iter(read).buffered(pass.source.connections).collect().await
}

fn names(
    source: &Source,
    archives: &ReadArchives,
    found: &LookedUpNames,
    file: &RemoteFile,
) -> PlannedNames {
    let members = match archives.get(&file.path) {
        Some(read) => Some(read.as_ref().map_err(ToString::to_string)?.0.clone()),
        None if planned_members::is_unpacked(source, file) => {
            Some(planned_members::unread(source, file).map_err(|nameless| nameless.to_string())?)
        }
        None => None,
    };
    let blob = match found.files.get(&file.path) {
        Some(given) => given.clone()?,
        None => source.naming.file(file).map_err(|nameless| nameless.to_string())?,
    };
    let is_stored = members.is_none() || source.archives == Archives::Both;
    Ok((is_stored.then_some(blob), members))
}
