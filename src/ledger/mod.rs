//! What was ingested: an own record per source, kept in the store, written only after the commit.
//!
//! ```text
//! _blobferry/<source>/ledger/head.json            which of them count; replaced with If-Match only
//! _blobferry/<source>/ledger/index-…              the snapshot as a run reads it: 32 bytes a file
//! _blobferry/<source>/ledger/shard-…-….ndjson     its records in full, by the hash of the path
//! _blobferry/<source>/ledger/journal-….ndjson     what came since, appended at a known place
//! ```
//!
//! Everything goes through the store contract, so the ledger is as durable as the blobs it speaks
//! of. Losing it costs work, not data: the next run finds every blob under its name, equal, and
//! records it again.

mod blob_place;
pub mod blobs;
mod cache;
pub mod compact;
pub mod error;
mod head;
mod index;
mod journal;
pub mod journal_files;
mod journal_write;
mod key;
mod load;
mod loaded;
mod moved;
mod opened;
mod overview;
mod packed;
mod pass;
mod reach;
mod rebuild;
mod record;
pub mod scan;
mod snapshot;
mod sums;
#[cfg(test)]
mod tests;
mod untold;

pub use blob_place::BlobPlace;
pub use cache::LedgerCache;
pub use compact::Tuning;
pub use head::{Head, OpenPass, moved};
pub(crate) use moved::moved_from;
pub use opened::{Ledger, close_pass, under_way};
pub use overview::{Overview, each_file, head_name, overview};
pub use rebuild::{Originals, Rebuilt, described, rebuild};
pub use record::{Recorded, SeenRecord};
pub use scan::{Looked, journals, look_through};
