//! `blobferry ls --arrived`: what was stored since a moment, as manifests tell it.

use serde_json::json as object;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::history::manifest_lines::{self, StoredLine};
use crate::model::number_of;
use crate::model::printable;
use crate::report::in_bytes;
use crate::settings::percent_decode;
use crate::state::store::{StateError, StateStore};

/// Files whose commits were confirmed since then, oldest first. One that the manifests tell twice
/// (by the run that brought it and by the one that told of it after a crash) is one file.
pub async fn files(
    state: &StateStore,
    sources: &[String],
    since: OffsetDateTime,
) -> Result<Vec<ArrivedLine>, StateError> {
    let mut all = Vec::new();
    for source in sources {
        let lines = manifest_lines::stored_since(state, source, since).await?;
        all.extend(lines.into_iter().map(|line| ArrivedLine { source: source.clone(), line }));
    }
    all.sort_by_key(|one| one.line.stored);
    Ok(all)
}

/// A file that arrived.
pub(crate) struct ArrivedLine {
    source: String,
    line: StoredLine,
}

impl ArrivedLine {
    /// The blob, or the archive's path with the number of its members.
    fn name(&self) -> String {
        let line = &self.line.line;
        let path = percent_decode(&line.path).unwrap_or_else(|| line.path.clone().into_bytes());
        match (&line.blob, &line.archive) {
            (Some(blob), _) => printable(blob.name.as_bytes()),
            (None, Some(archive)) => {
                let members = number_of(archive.members, "member");
                format!("{} {} ({members})", self.source, printable(&path))
            }
            (None, None) => format!("{} {}", self.source, printable(&path)),
        }
    }

    /// Whether the blob's name begins so.
    pub fn begins(&self, prefix: &str) -> bool {
        let blob = self.line.line.blob.as_ref();
        prefix.is_empty() || blob.is_some_and(|blob| blob.name.starts_with(prefix))
    }

    fn size(&self) -> u64 {
        let line = &self.line.line;
        line.size.or(line.bytes).unwrap_or(0)
    }

    fn stored(&self) -> String {
        let about = if self.line.approximate { "~" } else { "" };
        format!("{}{about}", self.line.stored.format(&Rfc3339).unwrap_or_default())
    }

    fn text(&self) -> String {
        let line = &self.line.line;
        let md5 = line.blob.as_ref().and_then(|blob| blob.md5.as_deref()).unwrap_or("-");
        let modified = line.modified.as_deref().unwrap_or("-");
        let (size, stored, name) = (self.size(), self.stored(), self.name());
        format!("{size:>14} {modified:30} {stored:21} {md5:32} {name}\n")
    }

    fn json(&self) -> String {
        let line = &self.line.line;
        let blob = line.blob.as_ref();
        let value = object!({
            "name": blob.map(|blob| &blob.name),
            "size": self.size(),
            "modified": line.modified,
            "arrived": self.line.stored.format(&Rfc3339).ok(),
            "approximate": self.line.approximate,
            "md5": blob.and_then(|blob| blob.md5.as_ref()),
            "source": self.source,
            "path": line.path,
            "members": line.archive.as_ref().map(|archive| archive.members),
            "run": line.recovered.as_ref().unwrap_or(&self.line.run),
        });
        format!("{value}\n")
    }
}

/// The heads of the columns.
pub fn header() -> String {
    let (size, modified, stored) = ("BYTES", "MODIFIED", "STORED");
    format!("{size:>14} {modified:30} {stored:21} {:32} NAME", "MD5")
}

/// A line for each.
pub fn text(lines: &[ArrivedLine]) -> String {
    lines.iter().map(ArrivedLine::text).collect()
}

/// A JSON object a line for each.
pub fn json(lines: &[ArrivedLine]) -> String {
    lines.iter().map(ArrivedLine::json).collect()
}

/// How many files and bytes they are.
pub fn sum(lines: &[ArrivedLine]) -> String {
    let bytes: u64 = lines.iter().map(ArrivedLine::size).sum();
    let sum = match lines.len() {
        0 => "nothing arrived".to_owned(),
        1 => format!("1 file, {}", in_bytes(bytes)),
        count => format!("{count} files, {}", in_bytes(bytes)),
    };
    if lines.iter().any(|line| line.line.approximate) {
        return sum + "; times with ~ are those of runs, as earlier releases told no others";
    }
    sum
}
