//! The house itself: file sizes, opening lines, imports that point one way and in no circle, type
//! names that stand once, no secrets lying about.
//!
//! Whole files are read (`tidy/tokens.rs`); only code that a build without tests leaves out is cut
//! (`tidy/code.rs`). A file imports another where any path in it leads there: in `use`, in nested
//! groups, inline, by `super::`, by a name that a `use` gives.
//!
//! Of a name that a `mod.rs` only hands on (`pub use`), the file that declares the name counts as
//! imported: code depends on that file, and a `mod.rs` with ten `pub use` lines would tie all ten
//! files into one circle. A rule of its own reads the path as it is written: no file below a
//! `mod.rs` imports from that `mod.rs`, whether the name is declared there or handed on.
//! Calls of methods are not seen; somebody has to import their types.
//!
//! What breaks a rule today stands in `tidy/known.rs`, which may only shrink.

use std::path::{Path, PathBuf};

mod code;
mod gate;
mod known;
mod planted;
mod rules;
mod tokens;
pub mod tree;

use tree::{Texts, Tree};

/// Rooms from the bottom up. A room imports only rooms that stand before it.
const ORDER: &[&[&str]] = &[
    &["failpoint"],
    &["model"],
    &["settings"],
    &["rules"],
    &["runtime"],
    &["report"],
    &["archive", "source", "store"],
    &["state", "demo"],
    &["ledger"],
    &["history"],
    &["transfer"],
    &["pass"],
    &["jobs"],
    &["run"],
    &["audit"],
    &["config"],
    &["telemetry"],
    &["app"],
    &["handler"],
    &["cli"],
];

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

/// The files of `src` and `tests`.
pub fn all_sources() -> Texts {
    let files = ["src", "tests"].into_iter().flat_map(|folder| rust_files(&root().join(folder)));
    let name = |path: &Path| {
        let below = path.strip_prefix(root()).expect("below the root");
        let parts: Vec<_> =
            below.components().map(|part| part.as_os_str().to_string_lossy()).collect();
        parts.join("/")
    };
    files.map(|path| (name(&path), read(&path))).collect()
}

#[test]
fn the_house_keeps_its_rules() {
    let texts = all_sources();
    assert!(texts.len() > 400, "{} files are not all", texts.len());
    let faults = gate::faults(&texts, ORDER, &known::Known::TODAY);
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn whole_files_are_read() {
    // These two declare their tests at the top; an import at the very end is still seen.
    for path in ["src/ledger/mod.rs", "src/archive/zip.rs"] {
        let mut texts = all_sources();
        texts.get_mut(path).expect("the file is there").push_str("\nuse crate::cli::Planted;\n");
        let found = rules::upward(&Tree::new(&texts), ORDER);
        assert!(found.contains(&format!("{path}: imports `cli`")), "{found:?}");
    }
}

#[test]
fn no_driver_imports_its_own_table() {
    let texts = all_sources();
    let tree = Tree::new(&texts);
    let mut wrong = Vec::new();
    let mut read = 0;
    for (path, _) in tree.shipped() {
        for (table, items) in
            [("source", ["DRIVERS"].as_slice()), ("archive", &["FORMATS", "recognise"])]
        {
            let own = format!("src/{table}/mod.rs");
            if !path.starts_with(&format!("src/{table}/")) || *path == own {
                continue;
            }
            read += 1;
            let imports = tree.imports(path).into_iter().filter(|import| import.named == own);
            let is_table =
                |item: Option<&String>| item.is_some_and(|item| items.contains(&item.as_str()));
            wrong.extend(imports.filter(|import| is_table(import.path.last())));
        }
    }
    assert!(read > 50 && wrong.is_empty(), "{read} files read: {wrong:?}");
}

/// Something as long as the key of a storage account: 64 bytes in base64.
fn account_key(text: &str) -> Option<&str> {
    let in_key = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
    let ends = text.match_indices("==").map(|(at, _)| &text[..at]);
    let mut runs =
        ends.map(|before| &before[before.rfind(|c| !in_key(c)).map_or(0, |at| at + 1)..]);
    runs.find(|run| run.len() == 86)
}

#[test]
fn fixtures_hold_no_real_secrets() {
    // The key of the storage emulator is public and the same everywhere.
    let public =
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw";
    let made_up = format!(
        "AccountName=contoso;AccountKey={}==;EndpointSuffix=core.windows.net",
        "aB3+".repeat(21) + "x/"
    );
    assert_eq!(account_key(&made_up).map(str::len), Some(86), "such a key is found");
    for (path, text) in all_sources() {
        let text = text.replace(public, "");
        let found = account_key(&text);
        assert_eq!(found, None, "{path}: looks like the key of a storage account");
    }
}
