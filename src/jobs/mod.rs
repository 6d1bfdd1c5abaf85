//! A pass in pieces of work that may be done by many processes: planned once, named by messages,
//! closed once.
//!
//! ```text
//! _blobferry/<source>/work/<pass>/plan.json         what the survey came to, how many pieces
//! _blobferry/<source>/work/<pass>/lines.jsonl       the survey's own lines of the run's manifest
//! _blobferry/<source>/work/<pass>/piece-<n>.ndjson  the files of a piece
//! _blobferry/<source>/work/<pass>/beat-<n>          a worker is at it: when it was last heard of
//! _blobferry/<source>/work/<pass>/result-<n>.json   what became of it, written once
//! _blobferry/<source>/work/<pass>/lease-<n>         whose it is at this moment
//! _blobferry/<source>/slots/<n>                     a lease for each login that the source allows
//! ```
//!
//! A message can be lost, come twice, or come while somebody is at its piece: the blobs say what is
//! true. A piece with a result is done. The leases keep logins within the source's cap, and save
//! work; the conditions of the store keep what is stored right.

pub mod cutting;
pub mod enqueue;
pub mod error;
pub mod finalize;
pub mod heartbeat;
pub mod manifest;
pub mod message;
pub mod names;
pub mod outcome;
pub(crate) mod pass_store;
pub mod piece;
pub mod piece_job;
pub mod piece_report;
pub mod planning;
pub mod progress;
pub mod run_status;
pub mod slots;
pub mod status;
pub mod sweep;
mod twin_folders;
pub mod working;

use std::sync::Arc;

use crate::jobs::pass_store::PassStore;
use crate::store::queue::Queue;
use crate::transfer::options::Options;
use crate::transfer::settings::Source;
use cutting::Sizes;
use message::{Message, Task};

pub use error::WorkError;
pub use outcome::Came;

/// Does what `message` asks for. `source` is a source that it names. An error is worth another try,
/// which the queue gives it.
pub async fn work(
    message: &Message,
    source: Source,
    options: Options,
    queue: Arc<dyn Queue>,
    sizes: Sizes,
) -> Result<Came, WorkError> {
    let pass_store = PassStore::new(options, source, Some(queue), sizes, &message.run);
    match &message.task {
        Task::Plan => planning::plan(&pass_store).await,
        Task::Piece { pass, piece } => working::work(&pass_store, pass, *piece).await,
    }
}
