//! Where the state of a pass in pieces is.

use super::message::PieceId;
use crate::model::BlobName;
use crate::state::paths::StatePaths;

/// The folder of one pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFolder {
    prefix: String,
}

/// What a blob of the folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// The plan.
    Plan,
    /// A piece's files.
    Piece(PieceId),
    /// That a worker is at a piece.
    Beat(PieceId),
    /// What became of a piece.
    Result(PieceId),
    /// The lease of a piece.
    Lease(PieceId),
    /// What the survey itself has to say for the run's manifest.
    Lines,
}

/// What all passes of `source` are below.
pub fn passes(source: &str) -> String {
    StatePaths::of(source).passes_folder()
}

/// The lease of one login.
pub fn slot(source: &str, number: usize) -> BlobName {
    StatePaths::of(source).slot(number)
}

impl JobFolder {
    /// Of the pass `pass` over `source`; `None` if that can be no name of a pass.
    pub fn of(source: &str, pass: &str) -> Option<Self> {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let good = (1..=100).contains(&pass.len()) && pass.chars().all(legal);
        good.then(|| Self { prefix: format!("{}{pass}/", passes(source)) })
    }

    /// What names of its blobs begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The name of the blob that is `kind`.
    pub(crate) fn blob(&self, kind: JobKind) -> BlobName {
        let name = match kind {
            JobKind::Plan => "plan.json".to_owned(),
            JobKind::Piece(id) => format!("piece-{id}.ndjson"),
            JobKind::Beat(id) => format!("beat-{id}"),
            JobKind::Result(id) => format!("result-{id}.json"),
            JobKind::Lease(id) => format!("lease-{id}"),
            JobKind::Lines => "lines.jsonl".to_owned(),
        };
        BlobName::new(format!("{}{name}", self.prefix))
            .expect("names of passes and pieces are legal segments")
    }

    /// What the blob `name` is; `None` if it is none of ours.
    pub(crate) fn kind(&self, name: &str) -> Option<JobKind> {
        let name = name.strip_prefix(&self.prefix)?;
        if name == "plan.json" {
            return Some(JobKind::Plan);
        }
        if name == "lines.jsonl" {
            return Some(JobKind::Lines);
        }
        let (kind, rest) = name.split_once('-')?;
        let id = |ending: &str| rest.strip_suffix(ending)?.parse().ok();
        match kind {
            "piece" => id(".ndjson").map(JobKind::Piece),
            "beat" => id("").map(JobKind::Beat),
            "result" => id(".json").map(JobKind::Result),
            "lease" => id("").map(JobKind::Lease),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_blob_of_a_pass_is_known_by_its_name() {
        let folder = JobFolder::of("acme", "20261123T100000Z-0a1b2c3d-99").expect("a pass");
        let id = PieceId::first(3).rest();
        for kind in [
            JobKind::Plan,
            JobKind::Piece(id),
            JobKind::Beat(id),
            JobKind::Result(id),
            JobKind::Lease(id),
            JobKind::Lines,
        ] {
            assert_eq!(folder.kind(folder.blob(kind).as_str()), Some(kind));
        }
        assert_eq!(
            folder.blob(JobKind::Result(id)).as_str(),
            "_blobferry/acme/work/20261123T100000Z-0a1b2c3d-99/result-00003.1.json"
        );
        assert_eq!(folder.kind("_blobferry/acme/work/other/plan.json"), None);
        for bad in ["", "../x", "a/b", "a.b"] {
            assert_eq!(JobFolder::of("acme", bad), None, "{bad}");
        }
    }
}
