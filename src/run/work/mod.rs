//! A pass in pieces of work that may be done by many processes: planned once, named by messages,
//! closed once.
//!
//! ```text
//! _blobferry/<source>/work/<pass>/plan.json         what the survey came to, how many pieces there are
//! _blobferry/<source>/work/<pass>/lines.jsonl       what the survey itself tells the run's manifest
//! _blobferry/<source>/work/<pass>/piece-<n>.ndjson  the files of a piece
//! _blobferry/<source>/work/<pass>/beat-<n>          a worker is at it: when it was last heard of
//! _blobferry/<source>/work/<pass>/result-<n>.json   what became of it, written once
//! _blobferry/<source>/work/<pass>/lease-<n>         whose it is at this moment
//! _blobferry/<source>/slots/<n>                     one lease for each login that the source allows
//! ```
//!
//! A message can be lost, come twice, or come while somebody is at its piece: the blobs say what is
//! true. A piece with a result is done. The leases keep logins within the source's cap, and save
//! work; the conditions of the store keep what is stored right.

pub mod asking;
mod came;
pub mod cutting;
pub mod live;
pub mod message;
pub mod piece;
pub mod standing;
pub mod sweep;

mod closing;
mod desk;
mod error;
mod manifest;
mod names;
mod planning;
mod slots;
mod working;

use std::sync::Arc;

use crate::run::Options;
use crate::run::settings::Source;
use crate::store::queue::Queue;
use cutting::Sizes;
use desk::Desk;
use message::{Message, Task};

pub use came::Came;
pub use error::WorkError;

/// Does what `message` asks for. `source` is a source that it names. An error is worth another try,
/// which the queue gives it.
pub async fn work(
    message: &Message,
    source: Source,
    options: Options,
    queue: Arc<dyn Queue>,
    sizes: Sizes,
) -> Result<Came, WorkError> {
    let desk = Desk::new(options, source, Some(queue), sizes, &message.run);
    match &message.task {
        Task::Plan => planning::plan(&desk).await,
        Task::Piece { pass, piece } => working::work(&desk, pass, *piece).await,
    }
}
