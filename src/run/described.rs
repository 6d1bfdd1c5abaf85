//! Files whose listing was coarse, described more exactly by the source: a batch of neighbours at a time, since each
//! question by itself costs a round trip.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::model::{RemoteFile, RemotePath};
use crate::run::context::Pass;
use crate::run::fetch::is_exact;
use crate::run::transfer::Transfer;

/// Files of one batch. The last of them is read so many files after it was described, which is as good as a listing
/// that was exact: a file that has changed by then is found out when it has been read.
const BATCH: usize = 16;

/// Neighbours of which some were listed coarsely.
#[derive(Debug)]
pub struct Batch {
    coarse: Vec<RemotePath>,
    told: OnceCell<HashMap<RemotePath, RemoteFile>>,
}

/// Each transfer with its batch, if asking for several at once saves anything.
pub fn in_batches(transfers: Vec<Transfer>) -> impl Iterator<Item = (Transfer, Option<Arc<Batch>>)> {
    let mut transfers = transfers.into_iter();
    std::iter::from_fn(move || {
        let neighbours: Vec<Transfer> = transfers.by_ref().take(BATCH).collect();
        (!neighbours.is_empty()).then(|| with_batch(neighbours))
    })
    .flatten()
}

fn with_batch(neighbours: Vec<Transfer>) -> impl Iterator<Item = (Transfer, Option<Arc<Batch>>)> {
    let coarse: Vec<RemotePath> = neighbours.iter().filter(|one| !is_exact(&one.file)).map(|one| one.file.path.clone()).collect();
    let batch = (coarse.len() > 1).then(|| Arc::new(Batch { coarse, told: OnceCell::new() }));
    neighbours.into_iter().map(move |one| (one, batch.clone()))
}

impl Batch {
    /// `one` as exactly as its batch tells; as it is, where that tells nothing of it. Whoever comes first asks for all.
    pub async fn describe(&self, pass: &Pass, one: Transfer) -> Transfer {
        if is_exact(&one.file) {
            return one;
        }
        let told = self.told.get_or_init(|| self.ask(pass)).await;
        match told.get(&one.file.path) {
            // Another size is a change, which has an answer of its own.
            Some(told) if one.file.size.is_none() || one.file.size == told.size => Transfer { file: told.clone(), ..one },
            _ => one,
        }
    }

    /// A question that fails costs nothing: each file is then asked for by itself, as often as it is worth.
    async fn ask(&self, pass: &Pass) -> HashMap<RemotePath, RemoteFile> {
        let asking = async {
            let mut lease = pass.pool.lend().await.ok()?;
            let told = lease.stat_ahead(&self.coarse).await;
            lease.settle(&told);
            told.ok()
        };
        let told = pass.run.in_time(asking).await.flatten().unwrap_or_default();
        told.into_iter().flatten().map(|file| (file.path.clone(), file)).collect()
    }
}
