//! Files that were moved at the source, where no description tells their time: a listing of the
//! folder that they were moved to shows whether they are what was read.

use std::collections::{BTreeMap, HashMap, HashSet};

use time::OffsetDateTime;

use crate::failpoint::safeguard_off;
use crate::model::{RemoteFile, RemotePath};
use crate::report::{SourceReport, problem};
use crate::rules::equality;
use crate::rules::plan::known::{History, Times};
use crate::transfer::after_action::{Acted, moved_unread, record, tell};
use crate::transfer::aside::given_back;
use crate::transfer::context::Pass;
use crate::transfer::leaving::Due;
use crate::transfer::listed_again::lines_of;

/// Looks at all that was moved, each folder once.
pub(crate) async fn look_after_all(pass: &Pass, report: &mut SourceReport) {
    let mut folders: BTreeMap<RemotePath, Vec<(Due, RemotePath)>> = BTreeMap::new();
    for (due, to) in pass.leaving.take_moved() {
        folders.entry(to.parent()).or_default().push((due, to));
    }
    if safeguard_off!("look-after-rename") {
        return;
    }
    for (folder, moved) in folders {
        let wanted: HashSet<RemotePath> = moved.iter().map(|(_, to)| to.clone()).collect();
        let lines = lines_of(pass, &folder, &wanted).await;
        for (due, to) in &moved {
            let acted = match &lines {
                // A folder that its server does not list tells nothing.
                Err(error) => unproven(to, &problem(error).message),
                Ok(lines) => look_after(pass, due, to, lines).await,
            };
            tell(report, &due.file.path, acted);
        }
    }
}

fn unproven(to: &RemotePath, why: &str) -> Acted {
    Acted::Stays(format!(
        "it was moved to `{to}`, and nothing tells whether it was still what was read: {why}"
    ))
}

async fn look_after(
    pass: &Pass,
    due: &Due,
    to: &RemotePath,
    lines: &HashMap<RemotePath, RemoteFile>,
) -> Acted {
    // Some partners take away at once what is moved there.
    let Some(line) = lines.get(to) else { return Acted::Done };
    // Where times tell nothing, its bytes were read again before.
    let is_its_time = pass.times() == Times::Unknown || line.modified == due.listed;
    let is_same = is_its_time && equality::sizes(line.size, due.file.size).is_possible();
    if is_same {
        return Acted::Done;
    }
    match given_back(pass, due, to).await {
        Err(error) => Acted::Failed(problem(&error)),
        Ok(false) => Acted::Failed(moved_unread(to)),
        Ok(true) => {
            let looked = Some(OffsetDateTime::now_utc());
            let md5 = Some(due.md5);
            record(pass, due, History { md5, looked, left: false, ..due.known.history.clone() })
                .await
        }
    }
}
