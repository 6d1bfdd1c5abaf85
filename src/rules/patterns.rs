//! Which paths of a source are wanted: globs and exact paths, read from the URL's path.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::model::{RemotePath, printable};
use paths::as_path;
use slips::SlipWatch;

mod paths;
pub mod slips;

/// Compiled patterns, relative to the root of a source.
#[derive(Clone, Debug)]
pub struct Patterns {
    root: RemotePath,
    include: Arc<GlobSet>,
    exclude: Arc<GlobSet>,
    in_progress: Arc<GlobSet>,
    /// The literal beginnings of the include patterns: folders that must be entered.
    anchors: Vec<Vec<u8>>,
    /// Exact paths, when no include pattern is a glob: then nothing needs to be listed.
    exact: Option<Vec<RemotePath>>,
    /// The literal beginnings and endings of the include patterns: what they match begins and ends
    /// so.
    ends: Vec<(Vec<u8>, Vec<u8>)>,
    /// The include patterns as they are written; none: everything is wanted.
    given: Vec<String>,
    /// The exclude patterns that somebody wrote.
    given_exclude: Vec<String>,
    /// What is outside of the listing: where `after = "move:…"` puts files, and what the program
    /// itself writes.
    outside: Vec<RemotePath>,
}

/// Why a pattern is none.
#[derive(Debug, thiserror::Error)]
#[error("the pattern `{}`: {}", printable(.pattern.as_bytes()), printable(.cause.as_bytes()))]
pub struct BadPattern {
    pattern: String,
    cause: String,
}

impl Patterns {
    /// Compiles patterns. No `include` means everything.
    pub fn new(
        root: RemotePath,
        include: &[String],
        exclude: &[String],
        in_progress: &[String],
        outside: Option<RemotePath>,
    ) -> Result<Self, BadPattern> {
        let everything = ["**".to_owned()];
        let given = include.to_vec();
        let include = if include.is_empty() { &everything[..] } else { include };
        let exact = include.iter().map(|pattern| exact_path(pattern)).collect::<Option<Vec<_>>>();
        Ok(Self {
            include: compile(include)?,
            exclude: compile(exclude)?,
            in_progress: compile(in_progress)?,
            anchors: include.iter().map(|pattern| anchor(pattern)).collect(),
            exact: exact.map(|paths| paths.iter().map(|below| root.join(below)).collect()),
            ends: include.iter().map(|pattern| literal_ends(pattern)).collect(),
            root,
            given,
            given_exclude: Vec::new(),
            outside: outside.into_iter().collect(),
        })
    }

    /// The same with other include patterns.
    pub(crate) fn with_include(&self, include: &[String]) -> Result<Self, BadPattern> {
        let new = Self::new(self.root.clone(), include, &[], &[], None)?;
        let (exclude, in_progress) = (self.exclude.clone(), self.in_progress.clone());
        Ok(Self { exclude, in_progress, outside: self.outside.clone(), ..new })
    }

    /// The include patterns as they are written; none: everything is wanted.
    pub fn given(&self) -> &[String] {
        &self.given
    }

    /// Which of the include patterns matches a file, the first of them.
    pub(crate) fn pattern_of(&self, path: &RemotePath) -> Option<usize> {
        self.include.matches(as_path(path.below(&self.root)?)).first().copied()
    }

    /// Leaves folders out of the listing, with all that is below them.
    pub fn leave_out(&mut self, folders: &[RemotePath]) {
        self.outside.extend_from_slice(folders);
    }

    /// The exclude patterns that somebody wrote: they are watched, too.
    #[must_use]
    pub(crate) fn with_given_exclude(self, given_exclude: Vec<String>) -> Self {
        Self { given_exclude, ..self }
    }

    /// A watch over which of the patterns match anything.
    pub(crate) fn watch(&self) -> SlipWatch {
        let mut watch = SlipWatch::default();
        if self.exact.is_none() {
            watch.add("include", &self.given, self.root.as_bytes());
        }
        watch.add("exclude", &self.given_exclude, self.root.as_bytes());
        watch
    }

    /// The same over these as patterns of `setting`.
    pub(crate) fn watch_as(&self, setting: &'static str) -> SlipWatch {
        let mut watch = SlipWatch::default();
        watch.add(setting, &self.given, self.root.as_bytes());
        watch
    }

    /// `path` as patterns see it.
    pub fn below<'a>(&self, path: &'a RemotePath) -> Option<&'a [u8]> {
        path.below(&self.root)
    }

    /// Whether some path may be wanted by these patterns below `root` and by `other` below
    /// `other_root`, as far as their fixed beginnings and endings tell.
    pub(crate) fn may_meet(
        &self,
        other: &Patterns,
        root: &RemotePath,
        other_root: &RemotePath,
    ) -> bool {
        let whole = |root: &RemotePath, begins: &[u8]| root.join(begins).as_bytes().to_vec();
        self.ends.iter().any(|(begins, ends)| {
            let begins = whole(root, begins);
            other.ends.iter().any(|(other_begins, other_ends)| {
                let other_begins = whole(other_root, other_begins);
                let begin_alike =
                    begins.starts_with(&other_begins) || other_begins.starts_with(&begins);
                begin_alike && (ends.ends_with(other_ends) || other_ends.ends_with(ends))
            })
        })
    }

    /// What to say where none of the files that are listed is wanted: the include patterns, and for
    /// those that hold no folder the form that looks below folders too. `None`: all are wanted.
    pub(crate) fn none_matched(&self) -> Option<String> {
        if self.given.is_empty() {
            return None;
        }
        let shown = |pattern: &String| format!("`{}`", printable(pattern.as_bytes()));
        let given: Vec<String> = self.given.iter().map(shown).collect();
        let flat = |pattern: &&String| !pattern.contains('/') && !pattern.starts_with("**");
        let deep: Vec<String> = self
            .given
            .iter()
            .filter(flat)
            .map(|pattern| format!("`**/{}`", printable(pattern.as_bytes())))
            .collect();
        let hint = if deep.is_empty() {
            String::new()
        } else {
            format!("; files in folders below are matched by {}", deep.join(", "))
        };
        Some(format!("no file matched `include` ({}){hint}", given.join(", ")))
    }

    /// The exact paths that are wanted, if nothing else is.
    pub fn exact(&self) -> Option<&[RemotePath]> {
        self.exact.as_deref()
    }

    /// Whether a file is wanted.
    pub fn wants(&self, path: &RemotePath) -> bool {
        let Some(below) = path.below(&self.root) else { return false };
        self.include.is_match(as_path(below))
            && !self.exclude.is_match(as_path(below))
            && !self.is_outside(path)
    }

    /// Whether a file's name says that it is still being written.
    pub fn in_progress(&self, path: &RemotePath) -> bool {
        path.below(&self.root).is_some_and(|below| self.in_progress.is_match(as_path(below)))
    }

    /// Whether anything below the folder `dir` can be wanted.
    pub(crate) fn enters(&self, dir: &RemotePath) -> bool {
        let Some(below) = dir.below(&self.root) else { return *dir == self.root };
        let leads =
            |anchor: &Vec<u8>| is_at_or_below(anchor, below) || is_at_or_below(below, anchor);
        // A pattern that takes out everything below a folder takes out the folder itself too.
        let probe = [below, b"/x/y"].concat();
        let taken_out = self.exclude.is_match(as_path(&probe))
            && self.exclude.is_match(as_path(&[below, b"/\xff"].concat()));
        self.anchors.iter().any(leads) && !taken_out && !self.is_outside(dir)
    }

    fn is_outside(&self, path: &RemotePath) -> bool {
        self.outside.iter().any(|outside| path == outside || path.below(outside).is_some())
    }
}

/// Many globs that are asked at once which of them match.
#[derive(Clone, Debug)]
pub(crate) struct GlobIndex {
    root: RemotePath,
    globs: Arc<GlobSet>,
}

impl GlobIndex {
    /// Compiles `globs`, which are read from `root` on.
    pub fn new(root: &RemotePath, globs: &[String]) -> Result<Self, BadPattern> {
        Ok(Self { root: root.clone(), globs: compile(globs)? })
    }

    /// The places in the list of those that match `path`.
    pub fn matching(&self, path: &RemotePath) -> Vec<usize> {
        path.below(&self.root).map_or_else(Vec::new, |below| self.globs.matches(as_path(below)))
    }
}

/// Globs on names that lie in no tree: those of archive members.
#[derive(Clone, Debug)]
pub struct NameGlobs(Arc<GlobSet>, Arc<[String]>);

impl NameGlobs {
    /// Compiles `globs`; a name must match one of them.
    pub fn new(globs: &[String]) -> Result<Self, BadPattern> {
        Ok(Self(compile(globs)?, globs.into()))
    }

    /// They, as they are written.
    pub fn given(&self) -> &[String] {
        &self.1
    }

    /// Whether one of them matches `name`.
    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(as_path(name.as_bytes()))
    }
}

/// Whether a file of this name, in whatever folder, may be one that `globs` match: as far as the
/// last parts of the globs tell.
pub(crate) fn may_be_named(globs: &[String], name: &str) -> bool {
    let last = globs.iter().map(|glob| last_part(glob).to_owned()).collect::<Vec<_>>();
    NameGlobs::new(&last).map_or(true, |globs| globs.matches(name))
}

/// The last part of a glob; all of a folder is meant by one that ends so.
pub(crate) fn last_part(glob: &str) -> &str {
    if glob.ends_with('/') { "**" } else { glob.rsplit('/').next().unwrap_or(glob) }
}

fn is_at_or_below(path: &[u8], dir: &[u8]) -> bool {
    dir.is_empty() || path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

const GLOB_CHARACTERS: &[char] = &['*', '?', '[', ']', '{', '}', '\\'];

fn exact_path(pattern: &str) -> Option<Vec<u8>> {
    let below = pattern.trim_start_matches('/');
    (!below.contains(GLOB_CHARACTERS) && !below.ends_with('/') && !below.is_empty())
        .then(|| below.as_bytes().to_vec())
}

/// What stands before the first and after the last character of a pattern that is no literal.
fn literal_ends(pattern: &str) -> (Vec<u8>, Vec<u8>) {
    let below = pattern.trim_start_matches('/');
    let first = below.find(GLOB_CHARACTERS).unwrap_or(below.len());
    // A folder stands for all that is in it.
    let last = if below.ends_with('/') {
        below.len()
    } else {
        below.rfind(GLOB_CHARACTERS).map_or(0, |at| at + 1)
    };
    (below.as_bytes()[..first].to_vec(), below.as_bytes()[last..].to_vec())
}

/// The folder that everything that `pattern` can match lies in.
fn anchor(pattern: &str) -> Vec<u8> {
    let below = pattern.trim_start_matches('/');
    let literal = &below[..below.find(GLOB_CHARACTERS).unwrap_or(below.len())];
    literal.as_bytes()[..literal.rfind('/').unwrap_or(0)].to_vec()
}

/// What was compiled of each list of patterns and is still in use: a list takes up to a hundred
/// kibibytes, and a thousand sources mostly have the same few.
static COMPILED: Mutex<BTreeMap<Vec<String>, Weak<GlobSet>>> = Mutex::new(BTreeMap::new());

fn compile(patterns: &[String]) -> Result<Arc<GlobSet>, BadPattern> {
    let mut compiled = COMPILED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(set) = compiled.get(patterns).and_then(Weak::upgrade) {
        return Ok(set);
    }
    let set = Arc::new(compile_anew(patterns)?);
    compiled.retain(|_, set| set.strong_count() > 0);
    compiled.insert(patterns.to_vec(), Arc::downgrade(&set));
    Ok(set)
}

fn compile_anew(patterns: &[String]) -> Result<GlobSet, BadPattern> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let bad = |cause: globset::Error| BadPattern {
            pattern: pattern.clone(),
            cause: cause.kind().to_string(),
        };
        // `dir/` means everything in it.
        let below = pattern.trim_start_matches('/');
        let below = if below.ends_with('/') { format!("{below}**") } else { below.to_owned() };
        set.add(
            GlobBuilder::new(&below)
                .literal_separator(true)
                .backslash_escape(true)
                .build()
                .map_err(bad)?,
        );
    }
    set.build().map_err(|cause| BadPattern {
        pattern: patterns.join("`, `"),
        cause: cause.kind().to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(include: &[&str], exclude: &[&str]) -> Patterns {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Patterns::new(
            RemotePath::from("/out"),
            &owned(include),
            &owned(exclude),
            &owned(&["**/*.part"]),
            Some(RemotePath::from("/out/done")),
        )
        .expect("they compile")
    }

    #[test]
    fn globs_are_read_from_the_urls_path() {
        let patterns = patterns(&["**/*.zip", "/daily/report.csv"], &["**/tmp/**"]);
        let wants = |path: &str| patterns.wants(&RemotePath::from(path));
        assert!(wants("/out/a.zip") && wants("/out/x/y/a.zip") && wants("/out/daily/report.csv"));
        assert!(
            !wants("/out/report.csv") && !wants("/out/x/tmp/a.zip") && !wants("/elsewhere/a.zip")
        );
        assert!(patterns.exact().is_none());
        assert!(patterns.wants(&RemotePath::new(&b"/out/caf\xe9.zip"[..])));
    }

    #[test]
    fn exact_paths_need_no_listing() {
        let patterns = patterns(&["/daily/report.csv", "b.csv"], &[]);
        assert_eq!(
            patterns.exact(),
            Some(&[RemotePath::from("/out/daily/report.csv"), RemotePath::from("/out/b.csv")][..])
        );
    }

    #[test]
    fn only_folders_that_can_hold_something_wanted_are_entered() {
        let wanted = patterns(&["/a/b/*.csv"], &["**/tmp/**"]);
        let enters = |path: &str| wanted.enters(&RemotePath::from(path));
        assert!(
            enters("/out")
                && enters("/out/a")
                && enters("/out/a/b")
                && !enters("/out/c")
                && !enters("/out/ab")
        );
        let all = patterns(&[], &["**/tmp/**"]);
        assert!(
            all.enters(&RemotePath::from("/out/x")) && !all.enters(&RemotePath::from("/out/x/tmp"))
        );
    }

    #[test]
    fn the_folder_that_files_are_moved_to_is_outside() {
        let all = patterns(&[], &[]);
        assert!(
            !all.enters(&RemotePath::from("/out/done"))
                && !all.wants(&RemotePath::from("/out/done/a.csv"))
        );
    }

    #[test]
    fn fixed_beginnings_and_endings_keep_sources_apart() {
        let root = RemotePath::from("/out");
        let meet = |one: &[&str], other: &[&str]| {
            patterns(one, &[]).may_meet(&patterns(other, &[]), &root, &root)
        };
        assert!(
            meet(&[], &[])
                && meet(&["a/**"], &[])
                && meet(&["**/*.csv"], &["a/*"])
                && meet(&["a/"], &["a/b.csv"])
        );
        assert!(
            !meet(&["a/**"], &["b/**"])
                && !meet(&["**/*.csv"], &["**/*.xml"])
                && !meet(&["orders_*"], &["invoices_*"])
        );
        assert!(meet(&["**/*.csv"], &["**/*_x.csv"]));
    }
}
