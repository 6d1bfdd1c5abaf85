//! The record of a run as it stands before the run does anything: that a run died is told by its
//! record, and that a record is missing means that somebody removed it.

use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;

use crate::model::chain;
use crate::store::contract::StoreError;

type WriteFirst = Box<dyn Fn() -> BoxFuture<'static, Result<(), StoreError>> + Send + Sync>;

/// The first record of a run. By default somebody else has written it.
#[derive(Default)]
pub struct Announcement {
    write: Option<WriteFirst>,
    written: OnceCell<()>,
}

impl Announcement {
    /// What `write` writes.
    pub fn by(
        write: impl Fn() -> BoxFuture<'static, Result<(), StoreError>> + Send + Sync + 'static,
    ) -> Self {
        Self { write: Some(Box::new(write)), written: OnceCell::new() }
    }

    /// The record is there when this returns, unless it cannot be written: then what comes next
    /// will fail, too.
    pub async fn made(&self) {
        let Some(write) = &self.write else { return };
        if let Err(error) = self.written.get_or_try_init(write).await {
            tracing::warn!(
                error = chain(&error),
                "Warning: the record of this run could not be written yet."
            );
        }
    }
}
