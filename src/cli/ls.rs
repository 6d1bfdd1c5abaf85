//! `blobferry ls`.

use std::fmt::Write as _;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use super::open::{self, Opened};
use super::{Configured, NOTHING, console};
use crate::config::text::Environment;
use crate::failure::Failure;
use crate::model::{chain, hex, printable};
use crate::retry::{Policy, retry};
use crate::settings::parse_duration;
use crate::state::paths::is_state;
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
    /// Only blobs of files that were modified since then: 2026-11-01, 2026-11-01T06:00:00Z, or 12h
    /// or 7d ago.
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<OffsetDateTime>,
}

/// A time as people write it: a day (UTC), an instant, or how long ago.
fn since(text: &str) -> Result<OffsetDateTime, String> {
    before(text, OffsetDateTime::now_utc())
}

fn before(text: &str, now: OffsetDateTime) -> Result<OffsetDateTime, String> {
    let day = || {
        time::Date::parse(text, format_description!("[year]-[month]-[day]"))
            .ok()
            .map(|day| day.midnight().assume_utc())
    };
    let ago = || parse_duration(text).and_then(|ago| now.checked_sub(ago.try_into().ok()?));
    let instant = || OffsetDateTime::parse(text, &Rfc3339).ok();
    day().or_else(instant).or_else(ago).ok_or_else(|| {
        "allowed is a day as 2026-11-01, a time as 2026-11-01T06:00:00Z, or how \
            long ago, as 12h or 7d"
            .to_owned()
    })
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
            console::say(&redactor.text(&format!(
                "error: {}\nhint: {}",
                chain(&error),
                error.hint()
            )));
            return NOTHING;
        }
    };
    let wanted = |blob: &&BlobInfo| {
        let own = is_state(&blob.name) && !arguments.all && !arguments.prefix.starts_with('_');
        !own && arguments
            .since
            .is_none_or(|since| modified(blob).is_none_or(|modified| modified >= since))
    };
    let line = if arguments.json { json } else { text };
    console::data(&blobs.iter().filter(wanted).map(line).collect::<String>())
}

/// When the file of a blob was modified, as its metadata tells. A blob of which nobody knows is
/// shown rather than hidden.
fn modified(blob: &BlobInfo) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(blob.metadata.get("mtime")?, &Rfc3339).ok()
}

fn text(blob: &BlobInfo) -> String {
    let md5 = blob.md5.map_or_else(|| "-".repeat(32), |md5| hex(&md5));
    let mtime = blob.metadata.get("mtime").map_or("-", String::as_str);
    let mut line = String::new();
    writeln!(line, "{:>14} {mtime:30} {md5} {}", blob.size, printable(blob.name.as_bytes()))
        .expect("writing to a String does not fail");
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

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn times_are_days_instants_or_how_long_ago() {
        let now = datetime!(2026-11-23 10:00 UTC);
        let at = |text: &str| before(text, now);
        assert_eq!(at("2026-11-01"), Ok(datetime!(2026-11-01 0:00 UTC)));
        assert_eq!(at("2026-11-01T06:00:00+02:00"), Ok(datetime!(2026-11-01 4:00 UTC)));
        assert_eq!(at("12h"), Ok(datetime!(2026-11-22 22:00 UTC)));
        assert_eq!(at("7d"), Ok(datetime!(2026-11-16 10:00 UTC)));
        for bad in ["", "yesterday", "2026-13-01", "2026-11-01T06:00:00", "-1d"] {
            assert!(at(bad).is_err_and(|problem| problem.contains("7d")), "{bad}");
        }
    }
}
