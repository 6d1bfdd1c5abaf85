//! Files described by the source many at a time, where each question by itself would cost a round
//! trip.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::model::{RemoteFile, RemotePath};
use crate::runtime::parallel::side_by_side;
use crate::source::contract::SourceError;
use crate::transfer::context::Pass;
use crate::transfer::download::{is_exact, stat};
use crate::transfer::request::Transfer;

/// What the source says of a file.
#[derive(Debug)]
pub enum StatAnswer {
    /// As it is now; `None` if it is not there.
    Told(Option<RemoteFile>),
    /// There was no answer to be had.
    Failed(SourceError),
    /// The run is being stopped.
    NotAsked,
    /// Asking ended in a panic.
    Panicked,
}

/// Asks for each of `items` what it is now, some at once.
pub(crate) async fn ask_all<I>(
    pass: &Arc<Pass>,
    items: Vec<I>,
    file: impl Fn(&I) -> &RemoteFile,
    mut each: impl FnMut(I, StatAnswer),
) where
    I: Clone,
{
    let mut items = items.into_iter();
    let batches = std::iter::from_fn(|| {
        let batch: Vec<I> = items.by_ref().take(together(pass)).collect();
        (!batch.is_empty()).then_some(batch)
    });
    let ask = |batch: Vec<I>| {
        let (pass, files) =
            (pass.clone(), batch.iter().map(|item| file(item).clone()).collect::<Vec<_>>());
        async move { ask_batch(&pass, &files).await }
    };
    side_by_side(batches, pass.parallel(), ask, |batch, answers| {
        let answers =
            answers.unwrap_or_else(|| batch.iter().map(|_| StatAnswer::Panicked).collect());
        for (item, answer) in batch.into_iter().zip(answers) {
            each(item, answer);
        }
    })
    .await;
}

/// Never none: nothing would be asked for, and nothing told of that.
fn together(pass: &Pass) -> usize {
    pass.source.endpoint.described_together().max(1)
}

async fn ask_batch(pass: &Pass, files: &[RemoteFile]) -> Vec<StatAnswer> {
    let paths: Vec<RemotePath> = files.iter().map(|file| file.path.clone()).collect();
    let mut told =
        if pass.run.cancel.is_cancelled() { HashMap::new() } else { ask_ahead(pass, &paths).await };
    let mut answers = Vec::with_capacity(files.len());
    for file in files {
        answers.push(match told.remove(&file.path) {
            Some(told) => StatAnswer::Told(Some(told)),
            None => ask_one(pass, file).await,
        });
    }
    answers
}

async fn ask_one(pass: &Pass, file: &RemoteFile) -> StatAnswer {
    if pass.run.cancel.is_cancelled() {
        return StatAnswer::NotAsked;
    }
    match pass.run.in_time(stat(pass, file)).await {
        None => StatAnswer::NotAsked,
        Some(Ok(told)) => StatAnswer::Told(told),
        Some(Err(error)) => StatAnswer::Failed(error),
    }
}

/// What the source tells plainly of several files at once. A question that fails costs nothing:
/// each file is then asked for by itself, as often as it is worth.
async fn ask_ahead(pass: &Pass, paths: &[RemotePath]) -> HashMap<RemotePath, RemoteFile> {
    if paths.len() < 2 {
        return HashMap::new();
    }
    let asking = async {
        let mut lease = pass.pool.lend().await.ok()?;
        let told = lease.stat_ahead(paths).await;
        lease.settle(&told);
        told.ok()
    };
    let told = pass.run.in_time(asking).await.flatten().unwrap_or_default();
    told.into_iter().flatten().map(|file| (file.path.clone(), file)).collect()
}

/// Neighbours of which some were listed coarsely, and are described together before the first of
/// them is read. The last one is read some files later, which is as good as a listing that was
/// exact: a file that has changed by then is found out when it has been read.
#[derive(Debug)]
pub(crate) struct Batch {
    coarse: Vec<RemotePath>,
    told: OnceCell<HashMap<RemotePath, RemoteFile>>,
}

/// Each transfer with its batch, if asking for several at once saves anything.
pub(crate) fn in_batches(
    pass: &Pass,
    transfers: impl IntoIterator<Item = Transfer>,
) -> impl Iterator<Item = (Transfer, Option<Arc<Batch>>)> {
    let (mut transfers, together) = (transfers.into_iter(), together(pass));
    std::iter::from_fn(move || {
        let neighbours: Vec<Transfer> = transfers.by_ref().take(together).collect();
        (!neighbours.is_empty()).then(|| with_batch(neighbours))
    })
    .flatten()
}

fn with_batch(neighbours: Vec<Transfer>) -> impl Iterator<Item = (Transfer, Option<Arc<Batch>>)> {
    let coarse: Vec<RemotePath> = neighbours
        .iter()
        .filter(|one| !is_exact(&one.file))
        .map(|one| one.file.path.clone())
        .collect();
    let batch = (coarse.len() > 1).then(|| Arc::new(Batch { coarse, told: OnceCell::new() }));
    neighbours.into_iter().map(move |one| (one, batch.clone()))
}

impl Batch {
    /// `one` as exactly as its batch tells; as it is, where that tells nothing of it. A task that
    /// comes first asks for all.
    pub async fn describe(&self, pass: &Pass, one: Transfer) -> Transfer {
        if is_exact(&one.file) {
            return one;
        }
        let told = self.told.get_or_init(|| ask_ahead(pass, &self.coarse)).await;
        match told.get(&one.file.path) {
            // Another size is a change, which has an answer of its own.
            Some(told) if one.file.size.is_none() || one.file.size == told.size => {
                Transfer { file: told.clone(), ..one }
            }
            _ => one,
        }
    }
}
