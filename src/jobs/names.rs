//! Where the state of a pass in pieces is.

use super::message::PieceId;
use crate::model::BlobName;
use crate::state::paths::StatePaths;

/// The folder of one pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    prefix: String,
}

/// What a blob of the folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
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

impl Folder {
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
    pub fn blob(&self, kind: Kind) -> BlobName {
        let name = match kind {
            Kind::Plan => "plan.json".to_owned(),
            Kind::Piece(id) => format!("piece-{id}.ndjson"),
            Kind::Beat(id) => format!("beat-{id}"),
            Kind::Result(id) => format!("result-{id}.json"),
            Kind::Lease(id) => format!("lease-{id}"),
            Kind::Lines => "lines.jsonl".to_owned(),
        };
        BlobName::new(format!("{}{name}", self.prefix))
            .expect("names of passes and pieces are legal segments")
    }

    /// What the blob `name` is; `None` if it is none of ours.
    pub fn kind(&self, name: &str) -> Option<Kind> {
        let name = name.strip_prefix(&self.prefix)?;
        if name == "plan.json" {
            return Some(Kind::Plan);
        }
        if name == "lines.jsonl" {
            return Some(Kind::Lines);
        }
        let (kind, rest) = name.split_once('-')?;
        let id = |ending: &str| rest.strip_suffix(ending)?.parse().ok();
        match kind {
            "piece" => id(".ndjson").map(Kind::Piece),
            "beat" => id("").map(Kind::Beat),
            "result" => id(".json").map(Kind::Result),
            "lease" => id("").map(Kind::Lease),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_blob_of_a_pass_is_known_by_its_name() {
        let folder = Folder::of("acme", "20261123T100000Z-0a1b2c3d-99").expect("a pass");
        let id = PieceId::first(3).rest();
        for kind in [
            Kind::Plan,
            Kind::Piece(id),
            Kind::Beat(id),
            Kind::Result(id),
            Kind::Lease(id),
            Kind::Lines,
        ] {
            assert_eq!(folder.kind(folder.blob(kind).as_str()), Some(kind));
        }
        assert_eq!(
            folder.blob(Kind::Result(id)).as_str(),
            "_blobferry/acme/work/20261123T100000Z-0a1b2c3d-99/result-00003.1.json"
        );
        assert_eq!(folder.kind("_blobferry/acme/work/other/plan.json"), None);
        for bad in ["", "../x", "a/b", "a.b"] {
            assert_eq!(Folder::of("acme", bad), None, "{bad}");
        }
    }
}
