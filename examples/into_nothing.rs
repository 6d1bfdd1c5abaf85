//! One run as `blobferry run` does it, into a store that throws the bytes away: for measuring, not
//! for users.
//!
//! `into_nothing ingest.toml` ignores the configured destination, prints the report, the bytes that
//! arrived and its own peak of memory. An example, so that no release carries a way to lose data.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use blobferry::config;
use blobferry::run;
use blobferry::store::discard::DiscardStore;
use blobferry::transfer::options::Options;

/// As the program has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> Result<()> {
    let file = std::env::args().nth(1).context("usage: into_nothing ingest.toml")?;
    let config = config::load(Path::new(&file), &BTreeMap::new(), &BTreeMap::new())?;
    let store = Arc::new(DiscardStore::new());
    let options = Options::new(store.clone(), config.limits.limits(4 << 30));
    let report = run::run(config.sources, options).await;
    let (blobs, bytes) = store.totals();
    let mut out = std::io::stdout().lock();
    write!(
        out,
        "{report}arrived: {blobs} blobs, {bytes} bytes\npeak: {} KiB\n",
        peak_kib().unwrap_or(0)
    )?;
    anyhow::ensure!(report.exit_code() == 0, "the run did not go well");
    Ok(())
}

/// The most memory that this process ever had, as Linux tells it.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}
