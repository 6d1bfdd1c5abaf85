//! `include`: the files beside the main one that hold sources of their own.

use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use crate::model::printable;
use crate::settings::SettingError;

/// One pattern of the list, and where it stands.
#[derive(Clone, Debug)]
pub struct IncludePattern {
    /// The pattern.
    pub text: String,
    /// Its line in the main file.
    pub line: usize,
}

/// A file that a pattern names.
#[derive(Debug)]
pub(crate) struct IncludedFile {
    /// Its path as messages name it, relative to the main file where it lies below.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// Folders below a `**` that are entered one in another.
const DEPTH: usize = 16;

/// The files that `patterns` of the main file `main` in `folder` name, each once, by path; and the
/// patterns with wildcards that name none.
pub fn files(
    main: &str,
    folder: &Path,
    patterns: &[IncludePattern],
) -> (Vec<Result<IncludedFile, SettingError>>, Vec<String>) {
    let (mut paths, mut files, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    for pattern in patterns {
        let error = |problem: String| SettingError {
            place: format!("{main}:{}", pattern.line),
            key: "include".into(),
            problem: format!("holds `{}`, {problem}", printable(pattern.text.as_bytes())),
            is_outside: false,
        };
        match expand(folder, &pattern.text) {
            Err(problem) => files.push(Err(error(problem))),
            Ok(found) if found.is_empty() && !pattern.text.contains(WILD) => {
                files
                    .push(Err(error("which is not there; paths are relative to this file".into())));
            }
            Ok(found) if found.is_empty() => idle.push(pattern.text.clone()),
            Ok(found) => paths.extend(found.into_iter().map(|path| (path, pattern.line))),
        }
    }
    let own = folder.join(main);
    paths.sort();
    paths.dedup_by(|(one, _), (other, _)| one == other);
    paths.retain(|(path, _)| *path != own);
    files.extend(paths.into_iter().map(|(path, line)| {
        let name = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
        read(&path).map(|text| IncludedFile { name: name.clone(), text }).map_err(|problem| {
            SettingError {
                place: format!("{main}:{line}"),
                key: "include".into(),
                problem: format!("names `{}`, {problem}", printable(name.as_bytes())),
                is_outside: false,
            }
        })
    }));
    (files, idle)
}

fn read(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("which cannot be read: {error}"))?;
    decoded(&bytes).map(str::to_owned).map_err(|problem| format!("which is {problem}"))
}

/// The text of a configuration file, without the mark that editors put before it.
pub fn decoded(bytes: &[u8]) -> Result<&str, &'static str> {
    let bytes = match bytes {
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => {
            return Err("UTF-16; allowed is UTF-8: save it again as UTF-8");
        }
        [0xEF, 0xBB, 0xBF, rest @ ..] => rest,
        all => all,
    };
    std::str::from_utf8(bytes).map_err(|_| "not UTF-8: save it again as UTF-8")
}

const WILD: &[char] = &['*', '?', '[', '{'];

/// The files that `pattern` names, read from `folder`.
fn expand(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let parts: Vec<&str> = pattern.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.is_empty() {
        return Err("which names no file; allowed is one as `partners/*.toml`".into());
    }
    let start = if pattern.starts_with('/') { Path::new("/") } else { folder };
    let mut found = Vec::new();
    below(start, &parts, DEPTH, &mut found)?;
    Ok(found)
}

fn below(
    folder: &Path,
    parts: &[&str],
    depth: usize,
    found: &mut Vec<PathBuf>,
) -> Result<(), String> {
    let Some((part, rest)) = parts.split_first() else { return Ok(()) };
    if *part == "**" {
        // A last `**` is all files.
        below(folder, if rest.is_empty() { &["*"] } else { rest }, depth, found)?;
        for (path, is_folder) in entries(folder, None)? {
            if is_folder && depth > 0 {
                below(&path, parts, depth - 1, found)?;
            }
        }
        return Ok(());
    }
    let here = if part.contains(WILD) {
        entries(folder, Some((part, matcher(part)?)))?
    } else {
        let path = folder.join(part);
        path.exists().then(|| (path.clone(), path.is_dir())).into_iter().collect()
    };
    for (path, is_folder) in here {
        match (rest.is_empty(), is_folder) {
            (true, false) => found.push(path),
            (false, true) => below(&path, rest, depth, found)?,
            _ => {}
        }
    }
    Ok(())
}

fn matcher(part: &str) -> Result<GlobMatcher, String> {
    let glob = GlobBuilder::new(part).literal_separator(true).build();
    glob.map(|glob| glob.compile_matcher())
        .map_err(|error| format!("which is no pattern: {}", error.kind()))
}

/// What lies in `folder`, and whether it is a folder. Hidden files are named by patterns that begin
/// with a dot alone: editors leave such beside the file that they hold open.
fn entries(
    folder: &Path,
    wanted: Option<(&str, GlobMatcher)>,
) -> Result<Vec<(PathBuf, bool)>, String> {
    let listed = match std::fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("and `{}` cannot be read: {error}", folder.display())),
    };
    let mut entries = Vec::new();
    for entry in listed {
        let entry =
            entry.map_err(|error| format!("and `{}` cannot be read: {error}", folder.display()))?;
        let name = entry.file_name();
        let is_hidden = name.as_encoded_bytes().starts_with(b".");
        let fits = match &wanted {
            Some((part, matcher)) => {
                matcher.is_match(Path::new(&name)) && (!is_hidden || part.starts_with('.'))
            }
            None => !is_hidden,
        };
        if fits {
            let path = entry.path();
            entries.push((path.clone(), path.is_dir()));
        }
    }
    entries.sort();
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(patterns: &[&str]) -> (Vec<String>, Vec<String>) {
        let folder = tempfile::tempdir().expect("a folder");
        let below = |name: &str| folder.path().join(name);
        for name in ["ingest.toml", "p/b.toml", "p/a.toml", "p/.#a.toml", "p/deep/c.toml", "p/x.md"]
        {
            std::fs::create_dir_all(below(name).parent().expect("a parent")).expect("it is made");
            std::fs::write(below(name), "").expect("it is written");
        }
        let patterns: Vec<IncludePattern> = patterns
            .iter()
            .map(|text| IncludePattern { text: (*text).to_owned(), line: 3 })
            .collect();
        let (files, idle) = files("ingest.toml", folder.path(), &patterns);
        let told = files.into_iter().map(|file| match file {
            Ok(file) => file.name,
            Err(error) => error.to_string(),
        });
        (told.collect(), idle)
    }

    #[test]
    fn patterns_name_files_in_order_each_once_and_never_the_main_one() {
        let names = |patterns: &[&str]| named(patterns).0;
        assert_eq!(names(&["p/*.toml"]), ["p/a.toml", "p/b.toml"]);
        assert_eq!(names(&["*.toml", "p/a.toml", "./p/[ab].toml"]), ["p/a.toml", "p/b.toml"]);
        assert_eq!(names(&["**/*.toml"]), ["p/a.toml", "p/b.toml", "p/deep/c.toml"]);
        assert_eq!(names(&["p/*/*.toml"]), ["p/deep/c.toml"]);
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error_and_a_pattern_without_files_is_told() {
        let (told, idle) = named(&["p/none.toml", "q/*.toml"]);
        assert_eq!(
            told,
            ["ingest.toml:3: `include` holds `p/none.toml`, which is not there; paths are \
                relative to this file"]
        );
        assert_eq!(idle, ["q/*.toml"]);
    }
}
