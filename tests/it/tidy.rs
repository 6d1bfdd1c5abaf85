//! The house itself: file sizes, opening lines, imports that point one way, no secrets lying about.

use std::path::{Path, PathBuf};

const MOST_LINES: usize = 500;

/// Rooms from the bottom up. A room imports only rooms that stand before it.
const ORDER: &[&[&str]] = &[
    &["failpoint"],
    &["failure"],
    &["model"],
    &["settings"],
    &["checksum", "plan", "naming", "patterns", "retry", "schedule", "signals", "verify"],
    &["report"],
    &["archive", "source", "store"],
    &["state", "demo"],
    &["ledger"],
    &["run"],
    &["audit"],
    &["config"],
    &["telemetry"],
    &["handler"],
    &["cli"],
];

/// `failure` needs nothing of `model`; `model` shows causes, so it needs nothing of `failure` either.
fn floor(room: &str) -> Option<usize> {
    ORDER.iter().position(|rooms| rooms.contains(&room))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder is there") {
            let path = entry.expect("it can be read").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("source files are UTF-8")
}

fn all_sources() -> Vec<(PathBuf, String)> {
    let folders = [root().join("src"), root().join("tests")];
    let files = folders.iter().flat_map(|folder| rust_files(folder));
    files.map(|path| (path.strip_prefix(root()).expect("below the root").to_owned(), read(&path))).collect()
}

/// The room that a file of `src` belongs to, and the code of it that ships.
fn room(path: &Path) -> Option<String> {
    let below = path.strip_prefix("src").ok()?;
    let first = below.components().next()?.as_os_str().to_str()?;
    Some(first.trim_end_matches(".rs").to_owned())
}

/// The code of a file that ships; files of tests ship nothing.
fn shipped<'a>(path: &Path, text: &'a str) -> &'a str {
    let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let of_tests = path.components().any(|part| part.as_os_str() == "tests") || name == "tests" || name.ends_with("_tests");
    if of_tests { "" } else { text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text) }
}

#[test]
fn every_file_fits_in_the_head() {
    let long: Vec<_> = all_sources().into_iter().filter(|(_, text)| text.lines().count() > MOST_LINES).map(|(path, _)| path).collect();
    assert!(long.is_empty(), "more than {MOST_LINES} lines: {long:?}");
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let mute: Vec<_> = all_sources().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(path, _)| path).collect();
    assert!(mute.is_empty(), "no `//!` line at the top: {mute:?}");
}

#[test]
fn imports_point_one_way() {
    let mut wrong = Vec::new();
    for (path, text) in all_sources() {
        let Some(room) = room(&path).filter(|room| room != "lib" && room != "main") else { continue };
        let own = floor(&room).unwrap_or_else(|| panic!("{}: the room `{room}` has no place in ORDER", path.display()));
        for imported in imported_rooms(shipped(&path, &text)) {
            let other = floor(&imported).unwrap_or_else(|| panic!("{}: imports `{imported}`, which has no place in ORDER", path.display()));
            if imported != room && other >= own {
                wrong.push(format!("{}: `{room}` imports `{imported}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn imported_rooms(text: &str) -> Vec<String> {
    let after = text.match_indices("crate::").map(|(at, _)| &text[at + "crate::".len()..]);
    let word = |rest: &str| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    after.map(word).filter(|room| !room.is_empty()).collect()
}

#[test]
fn no_driver_imports_its_own_table() {
    let mut wrong = Vec::new();
    for (path, text) in all_sources() {
        for (table, items) in [("source", ["DRIVERS"].as_slice()), ("archive", &["FORMATS", "recognise"])] {
            let inside = path.starts_with(Path::new("src").join(table)) && path != Path::new("src").join(table).join("mod.rs");
            let imports = items.iter().any(|item| shipped(&path, &text).contains(&format!("crate::{table}::{item}")));
            if inside && imports {
                wrong.push(path.clone());
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// Something as long as the key of a storage account: 64 bytes in base64.
fn account_key(text: &str) -> Option<&str> {
    let in_key = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
    let ends = text.match_indices("==").map(|(at, _)| &text[..at]);
    let mut runs = ends.map(|before| &before[before.rfind(|c| !in_key(c)).map_or(0, |at| at + 1)..]);
    runs.find(|run| run.len() == 86)
}

#[test]
fn fixtures_hold_no_real_secrets() {
    // The key of the storage emulator is public and the same everywhere.
    let public = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw";
    let made_up = format!("AccountName=contoso;AccountKey={}==;EndpointSuffix=core.windows.net", "aB3+".repeat(21) + "x/");
    assert_eq!(account_key(&made_up).map(str::len), Some(86), "such a key is found");
    for (path, text) in all_sources() {
        let text = text.replace(public, "");
        let found = account_key(&text);
        assert_eq!(found, None, "{}: looks like the key of a storage account", path.display());
    }
}

#[test]
fn every_setting_stands_in_the_example() {
    let example = read(&root().join("ingest.toml"));
    let schema = blobferry::config::schema::schema();
    for section in ["destination", "limits", "log", "telemetry"] {
        let properties = schema["properties"][section]["properties"].as_object().expect("a table of settings");
        for key in properties.keys() {
            assert!(example.contains(&format!("{key} = ")), "ingest.toml says nothing of `{section}.{key}`");
        }
    }
    let properties = schema["properties"]["source"]["items"]["properties"].as_object().expect("a table of settings");
    for key in properties.keys() {
        assert!(example.contains(&format!("{key} = ")), "ingest.toml says nothing of `source.{key}`");
    }
}
