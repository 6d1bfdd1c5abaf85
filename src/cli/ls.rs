//! `blobferry ls`.

use std::fmt::Write as _;

use super::open::{self, Opened};
use super::{Configured, NOTHING, console};
use crate::config::text::Environment;
use crate::failure::Failure;
use crate::model::{chain, hex, printable};
use crate::retry::{Policy, retry};
use crate::store::contract::BlobInfo;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    configured: Configured,
    /// Only blobs whose names begin so.
    #[arg(default_value = "")]
    prefix: String,
    /// Also our own state below `_blobferry/`.
    #[arg(long)]
    all: bool,
    /// One JSON object a line, with metadata.
    #[arg(long)]
    json: bool,
}

pub async fn ls(arguments: Arguments, environment: &Environment) -> u8 {
    let Opened { store, redactor, .. } = match open::open(&arguments.configured, environment) {
        Ok(opened) => opened,
        Err(unusable) => return unusable.tell(),
    };
    let once = |_| {
        let (store, prefix) = (store.clone(), arguments.prefix.clone());
        async move {
            let mut blobs = Vec::new();
            store.list(&prefix, &mut |blob| blobs.push(blob)).await.map(|()| blobs)
        }
    };
    let cancel = tokio_util::sync::CancellationToken::new();
    let blobs = match retry(&Policy::default(), &cancel, "listing blobs", once).await {
        Ok(blobs) => blobs,
        Err(error) => {
            console::say(&redactor.text(&format!("error: {}\nhint: {}", chain(&error), error.class().hint())));
            return NOTHING;
        }
    };
    let own = |blob: &&BlobInfo| arguments.all || arguments.prefix.starts_with('_') || !blob.name.starts_with("_blobferry/");
    let line = if arguments.json { json } else { text };
    console::data(&blobs.iter().filter(own).map(line).collect::<String>())
}

fn text(blob: &BlobInfo) -> String {
    let md5 = blob.md5.map_or_else(|| "-".repeat(32), |md5| hex(&md5));
    let mtime = blob.metadata.get("mtime").map_or("-", String::as_str);
    let mut line = String::new();
    writeln!(line, "{:>14} {mtime:30} {md5} {}", blob.size, printable(blob.name.as_bytes())).expect("writing to a String does not fail");
    line
}

fn json(blob: &BlobInfo) -> String {
    let value = serde_json::json!({
        "name": blob.name,
        "size": blob.size,
        "modified": blob.metadata.get("mtime"),
        "md5": blob.md5.map(|md5| hex(&md5)),
        "content_type": blob.content_type,
        "metadata": blob.metadata,
    });
    format!("{value}\n")
}
