//! One folder, listed once more for what it shows of some files.

use std::collections::{HashMap, HashSet};

use crate::model::{RemoteFile, RemotePath};
use crate::runtime::retry::retry;
use crate::source::bounded::ListingBound;
use crate::source::contract::{Listed, SourceError};
use crate::transfer::context::Pass;

/// What a fresh listing of `folder` shows of these files.
pub(crate) async fn lines_of(
    pass: &Pass,
    folder: &RemotePath,
    wanted: &HashSet<RemotePath>,
) -> Result<HashMap<RemotePath, RemoteFile>, SourceError> {
    let once = |attempt| async move {
        let mut lease = pass.pool.lend_for_try(attempt, pass.source.policy.attempts).await?;
        let mut found = HashMap::new();
        let bound = ListingBound::new(pass.run.limits.entries);
        let mut visit = |listed: Listed| {
            bound.count(&listed);
            if let Listed::File(file) = listed
                && wanted.contains(&file.path)
            {
                found.insert(file.path.clone(), pass.without_false_time(file));
            }
        };
        let listing = lease.list(folder, &mut visit);
        let result = bound.hold(pass.pool.address(), folder, listing).await;
        lease.settle(&result);
        result.map(|()| found)
    };
    retry(&pass.source.policy, &pass.run.cancel, "listing a folder again", once).await
}
