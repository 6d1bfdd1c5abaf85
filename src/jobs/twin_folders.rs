//! Folders under two spellings in a pass that is done in pieces. A piece knows its own files
//! alone: the plan carries the pairs, the lines of the pieces tell the sums, and closing the pass
//! compares them.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::ledger::error::LedgerError;
use crate::model::{RemotePath, hex};
use crate::report::{Line, SourceReport, Word};
use crate::rules::naming::escaped_for_metadata;
use crate::settings::percent_decode;
use crate::transfer::alike;
use crate::transfer::context::Pass;

/// Two folders that were listed with the same files, as a plan carries them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TwinFolders {
    /// Their paths, percent-escaped as in the metadata of blobs.
    folders: [String; 2],
    /// Each file, in one folder and in the other one.
    twins: Vec<[TwinFile; 2]>,
}

/// What is known of a file of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct TwinFile {
    /// Percent-escaped as in the metadata of blobs.
    path: String,
    /// The MD5 of its bytes, 32 hex digits; `None`: it was not read yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    md5: Option<String>,
    /// Whether it is not at the source any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    left: bool,
}

/// The folders of a plan while the lines of its pieces are heard.
pub(crate) struct TwinsHeard {
    pairs: Vec<TwinFolders>,
    /// The pair, the twin and the side of each path.
    places: HashMap<String, (usize, usize, usize)>,
}

impl TwinFolders {
    /// Those of a pass of which a file is among those `of_pieces`, with what the ledger knows now.
    pub(crate) async fn of(
        pass: &Pass,
        of_pieces: &HashSet<RemotePath>,
    ) -> Result<Vec<Self>, LedgerError> {
        let mut all = Vec::new();
        for pair in pass.alike_folders.all() {
            let Some(paths) = pair.twins_among(of_pieces) else { continue };
            let mut twins = Vec::with_capacity(paths.len());
            for [one, other] in &paths {
                twins.push([TwinFile::of(pass, one).await?, TwinFile::of(pass, other).await?]);
            }
            let folders = [&pair.one, &pair.other].map(|dir| escaped_for_metadata(dir.as_bytes()));
            all.push(Self { folders, twins });
        }
        Ok(all)
    }

    fn are_one(&self) -> bool {
        self.twins.iter().all(|[one, other]| match (&one.md5, &other.md5) {
            (Some(a), Some(b)) => a == b,
            // It went when the other one was taken away, before anybody read it.
            (Some(_), None) => other.left,
            (None, Some(_)) => one.left,
            (None, None) => false,
        })
    }
}

impl TwinFile {
    async fn of(pass: &Pass, path: &RemotePath) -> Result<Self, LedgerError> {
        let md5 = alike::md5_of(pass, path).await?.map(|md5| hex(&md5));
        Ok(Self { path: escaped_for_metadata(path.as_bytes()), md5, left: false })
    }
}

impl TwinsHeard {
    /// Before any line.
    pub(crate) fn new(pairs: &[TwinFolders]) -> Self {
        let mut places = HashMap::new();
        for (pair, folders) in pairs.iter().enumerate() {
            for (number, twin) in folders.twins.iter().enumerate() {
                for (side, file) in twin.iter().enumerate() {
                    places.insert(file.path.clone(), (pair, number, side));
                }
            }
        }
        Self { pairs: pairs.to_vec(), places }
    }

    /// Lines of a piece: what they tell is newer than what the plan knew.
    pub(crate) fn hear(&mut self, lines: &[u8]) {
        if self.pairs.is_empty() {
            return;
        }
        for line in lines.split(|byte| *byte == b'\n') {
            let Ok(line) = Line::parse(line) else { continue };
            let Some((pair, twin, side)) = self.places.get(&line.path) else { continue };
            let file = &mut self.pairs[*pair].twins[*twin][*side];
            match line.outcome {
                // The line of an archive that was unpacked has no sum of it.
                Word::Ingested => file.md5 = line.blob.and_then(|blob| blob.md5),
                Word::Gone => file.left = true,
                Word::Skipped | Word::Deferred | Word::Failed => {}
            }
        }
    }

    /// Tells of each pair of folders that no file tells apart.
    pub(crate) fn tell(&self, report: &mut SourceReport) {
        for pair in self.pairs.iter().filter(|pair| pair.are_one()) {
            let path = |text: &String| RemotePath::new(percent_decode(text).unwrap_or_default());
            let [one, other] = pair.folders.each_ref().map(path);
            report.add_problem(alike::one_folder(&one, &other));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, md5: Option<&str>) -> TwinFile {
        TwinFile { path: path.to_owned(), md5: md5.map(str::to_owned), left: false }
    }

    fn told(twins: Vec<[TwinFile; 2]>, lines: &str) -> bool {
        let folders = ["/A%20b".to_owned(), "/a%20b".to_owned()];
        let mut heard = TwinsHeard::new(&[TwinFolders { folders, twins }]);
        heard.hear(lines.as_bytes());
        let mut report = SourceReport::default();
        heard.tell(&mut report);
        let text = "`/A b` and `/a b` are listed with the same files";
        assert!(report.problems.iter().all(|problem| problem.message.starts_with(text)));
        !report.problems.is_empty()
    }

    fn ingested(path: &str, md5: &str) -> String {
        let blob = format!(r#"{{"name":"x","size":1,"md5":"{md5}"}}"#);
        format!("{{\"path\":\"{path}\",\"outcome\":\"ingested\",\"blob\":{blob}}}\n")
    }

    fn gone(path: &str) -> String {
        format!("{{\"path\":\"{path}\",\"outcome\":\"gone\"}}\n")
    }

    #[test]
    fn folders_of_equal_bytes_are_told_and_those_of_one_other_byte_are_not() {
        let twins = || {
            let unread = [file("/A%20b/1", None), file("/a%20b/1", None)];
            vec![unread, [file("/A%20b/2", Some("22")), file("/a%20b/2", Some("22"))]]
        };
        let lines = |md5| ingested("/A%20b/1", "11") + &ingested("/a%20b/1", md5);
        assert!(told(twins(), &lines("11")));
        assert!(!told(twins(), &lines("12")));
        assert!(!told(twins(), &ingested("/A%20b/1", "11")), "the other one may be another file");
        assert!(!told(twins(), ""));
        let changed = lines("11") + &ingested("/a%20b/2", "23");
        assert!(!told(twins(), &changed), "what is read is newer than what the plan knew");
        let unpacked = lines("11") + "{\"path\":\"/a%20b/2\",\"outcome\":\"ingested\"}\n";
        assert!(!told(twins(), &unpacked), "no line tells what is in an archive");
    }

    #[test]
    fn a_file_that_leaves_with_its_twin_is_the_same_file() {
        let twins = || vec![[file("/A%20b/1", None), file("/a%20b/1", None)]];
        assert!(told(twins(), &(ingested("/A%20b/1", "11") + &gone("/a%20b/1"))));
        assert!(!told(twins(), &(gone("/A%20b/1") + &gone("/a%20b/1"))));
    }
}
