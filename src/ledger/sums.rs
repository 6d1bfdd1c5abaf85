//! MD5 of the bytes of files that the snapshot knows: the index leaves them out, the shards tell
//! them.

use std::collections::HashMap;

use tokio::sync::Mutex;

use crate::ledger::blobs::LedgerBlobs;
use crate::ledger::error::LedgerError;
use crate::ledger::head::{Head, Piece};
use crate::ledger::key::{Key, key};
use crate::ledger::record::{Check, Record, scan};
use crate::ledger::snapshot::prefix;
use crate::model::Md5;

/// The shard that was asked for last, and the head that it was read by. Who asks in the order of
/// keys reads each once.
#[derive(Debug, Default)]
pub struct Sums(Mutex<ShardRead>);

#[derive(Debug, Default)]
struct ShardRead {
    folds: u64,
    head: Option<Head>,
    shard: String,
    sums: HashMap<Key, Md5>,
}

impl Sums {
    /// What the snapshot's shard tells of the file with this key, after the `folds`th snapshot.
    pub async fn of(
        &self,
        shelf: &LedgerBlobs,
        key: &Key,
        folds: u64,
    ) -> Result<Option<Md5>, LedgerError> {
        let mut read = self.0.lock().await;
        if read.folds != folds {
            *read = ShardRead { folds, ..ShardRead::default() };
        }
        match read.find(shelf, key).await {
            // Another writer has folded meanwhile.
            Err(error) if error.is_missing() => {
                *read = ShardRead { folds, ..ShardRead::default() };
                read.find(shelf, key).await
            }
            found => found,
        }
    }
}

impl ShardRead {
    async fn find(&mut self, shelf: &LedgerBlobs, key: &Key) -> Result<Option<Md5>, LedgerError> {
        if self.head.is_none() {
            self.head = shelf.head().await?.map(|(head, _)| head);
        }
        let Some(head) = &self.head else { return Ok(None) };
        let Some(piece) = shard_of(head, key) else { return Ok(None) };
        if self.shard != piece.name {
            self.sums = read(shelf, piece).await?;
            self.shard.clone_from(&piece.name);
        }
        Ok(self.sums.get(key).copied())
    }
}

/// The shard that holds what is known by `key`.
fn shard_of<'a>(head: &'a Head, key: &Key) -> Option<&'a Piece> {
    let at = (prefix(key) * head.shards.len() as u64) >> 32;
    head.shards.get(usize::try_from(at).ok()?)?.as_ref()
}

async fn read(shelf: &LedgerBlobs, piece: &Piece) -> Result<HashMap<Key, Md5>, LedgerError> {
    let bytes = shelf.piece(piece).await?;
    let mut sums = HashMap::new();
    let scanned = scan(&piece.name, &bytes, Check::WherePresent, |_, record| {
        let Record::File(file) = &record else { return };
        if let Some((path, known)) = file.known()
            && let Some(md5) = known.history.md5
        {
            sums.insert(key(&path), md5);
        }
    });
    scanned.map_err(|bad| shelf.bad(bad))?;
    Ok(sums)
}
