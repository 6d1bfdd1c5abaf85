//! Lists that people keep by hand (in the example, in pages, in tests) are what the program knows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use blobferry::audit::Invariant;
use blobferry::config::schema::schema;
use blobferry::telemetry::insights::names;

use super::tidy::all_sources;
use super::tidy::tree::Tree;

/// All variants of an enum. One that is missing here does not compile.
macro_rules! all_of {
    ($type:ident: $($variant:ident)*) => {{
        let known = |one: $type| match one {
            $($type::$variant => {})*
        };
        [$($type::$variant),*].map(|one| {
            known(one);
            one
        })
    }};
}
pub(crate) use all_of;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

type Settings = BTreeMap<String, BTreeSet<String>>;

/// The settings that an example shows, set or behind a `#`: lines of TOML, not words in a comment.
fn shown(example: &str) -> Settings {
    let (mut found, mut section) = (Settings::new(), String::new());
    for line in example.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if line.starts_with('[') {
            section =
                line.split(['[', ']']).find(|word| !word.is_empty()).unwrap_or_default().to_owned();
            continue;
        }
        let Some((key, _)) = line.split_once(" = ") else { continue };
        let is_bare = key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if is_bare && toml::from_str::<toml::Table>(line).is_ok() {
            found.entry(section.clone()).or_default().insert(key.to_owned());
        }
    }
    found
}

/// The table that may hold any setting of a source: the example shows some.
const DEFAULTS: &str = "defaults";

/// The settings that the program reads, from its schema.
fn known() -> Settings {
    let schema = schema();
    let mut known = Settings::new();
    for (name, section) in schema["properties"].as_object().expect("sections") {
        let section = section.get("items").unwrap_or(section);
        let is_of_tables = section.get("additionalProperties").is_some_and(|one| one.is_object());
        if section.get("properties").is_none() && !is_of_tables {
            // A setting at the top of the file.
            known.entry(String::new()).or_default().insert(name.clone());
            continue;
        }
        if [DEFAULTS, "destinations"].contains(&name.as_str()) {
            continue;
        }
        for (key, setting) in section["properties"].as_object().expect("settings") {
            // Tables in a table, as `[[source.expect]]`.
            let setting = setting.get("items").unwrap_or(setting);
            match setting["properties"].as_object() {
                // A table in a table, as `[source.limits]`.
                Some(inner) => {
                    drop(known.insert(format!("{name}.{key}"), inner.keys().cloned().collect()))
                }
                None => drop(known.entry(name.clone()).or_default().insert(key.clone())),
            }
        }
    }
    known
}

#[test]
fn the_example_shows_every_setting_and_no_other() {
    let example = read("ingest.toml");
    let (some, of_places) = (known()["source"].clone(), known()["destination"].clone());
    let shown = |example: &str| {
        let mut shown = shown(example);
        let named = shown.remove("destinations.finance").unwrap_or_default();
        assert!(!named.is_empty() && named.is_subset(&of_places), "{named:?}");
        let defaults = shown.remove(DEFAULTS).unwrap_or_default();
        assert!(!defaults.is_empty() && defaults.is_subset(&some), "{defaults:?}");
        shown
    };
    assert_eq!(shown(&example), known());
    // The check can fail: for a setting that a comment only speaks of, a longer name, a wrong
    // section.
    for (good, bad) in [
        ("# depth = ", "# the depth = "),
        ("# depth = ", "# max_depth = "),
        ("[dispatch]", "[limits]"),
    ] {
        assert!(example.contains(good));
        assert_ne!(shown(&example.replacen(good, bad, 1)), known(), "{bad}");
    }
}

/// What reads a setting of a section by its name; a helper takes the name as a further argument.
const READERS: [&str; 12] = [
    "text",
    "text_setting",
    "secret",
    "secret_list",
    "integer",
    "size",
    "duration",
    "flag",
    "one_of",
    "list",
    "pairs",
    ",",
];

/// The strings that code which ships hands to one of these.
fn taken_by(takers: &[&str]) -> BTreeSet<String> {
    let texts = all_sources();
    let tree = Tree::new(&texts);
    let strings = tree.shipped().flat_map(|(_, code)| &code.texts);
    let taken = strings.filter(|(taker, _)| takers.contains(&taker.as_str()));
    taken.map(|(_, text)| text.clone()).collect()
}

/// Of these settings, those that no code reads.
fn unread(settings: &Settings) -> Vec<String> {
    let read = taken_by(&READERS);
    settings.values().flatten().filter(|key| !read.contains(*key)).cloned().collect()
}

#[test]
fn every_setting_is_read() {
    let mut settings = known();
    assert!(settings.values().flatten().count() > 70, "{settings:?}");
    assert_eq!(unread(&settings), [] as [String; 0]);
    settings.entry("limits".to_owned()).or_default().insert("patience_of_angels".to_owned());
    assert_eq!(unread(&settings), ["patience_of_angels"]);
}

#[test]
fn the_reference_has_every_section() {
    let page = read("docs/configuration.md");
    let heads: BTreeSet<&str> =
        quoted(&page, "[").into_iter().map(|head| head.trim_matches(['[', ']'])).collect();
    let known = known();
    let tables = known.keys().map(String::as_str).filter(|name| !name.is_empty());
    assert_eq!(heads, tables.chain([DEFAULTS, "destinations.NAME"]).collect());
    assert!(page.contains("\n## `include`\n"));
    let top = known.get("").into_iter().flatten().filter(|key| *key != "include");
    let of_tables = known.iter().filter(|(name, _)| !name.is_empty()).flat_map(|(_, keys)| keys);
    for key in of_tables.chain(top) {
        assert!(
            page.contains(&format!("\n| `{key}` | ")),
            "docs/configuration.md says nothing of `{key}`"
        );
    }
}

#[test]
fn tests_ask_for_every_failpoint() {
    let points: BTreeSet<String> =
        blobferry::failpoint::POINTS.iter().map(|point| (*point).to_owned()).collect();
    assert_eq!(taken_by(&["failpoint!"]), points, "`failpoint!` in the code, and `POINTS`");
}

/// Words in backticks that begin so.
fn quoted<'t>(text: &'t str, prefix: &str) -> BTreeSet<&'t str> {
    let words = text.split('`').skip(1).step_by(2);
    words.filter(|word| word.starts_with(prefix)).collect()
}

#[test]
fn measurements_have_the_same_names_in_code_list_and_page() {
    let all: BTreeSet<&str> = names::ALL.iter().copied().collect();
    let constants = taken_by(&["="]);
    let names = constants.iter().map(String::as_str).filter(|text| text.starts_with("ingest_"));
    assert_eq!(names.collect::<BTreeSet<_>>(), all, "names in the code, and `names::ALL`");
    assert_eq!(
        quoted(&read("docs/operations.md"), "ingest_"),
        all,
        "docs/operations.md, and `names::ALL`"
    );
}

/// The first cells of the table below the line that begins so.
fn first_cells<'t>(page: &'t str, head: &str) -> Vec<&'t str> {
    let rows = page.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.filter_map(|row| row.split('|').nth(1)).map(str::trim).collect()
}

#[test]
fn the_page_explains_every_invariant_of_an_audit() {
    let known =
        all_of!(Invariant: I1 I3 I4 I5 I6 I8 I9 Manifest Witness Ledger).map(Invariant::word);
    let page = read("docs/operations.md");
    let cells = first_cells(&page, "| invariant |").join(" ");
    assert_eq!(quoted(&cells, ""), BTreeSet::from(known));
}

/// The words in backticks of each row of the table that begins so: of its first cell, of the rest.
fn quoted_rows<'t>(page: &'t str, head: &str) -> Vec<(BTreeSet<&'t str>, BTreeSet<&'t str>)> {
    let rows = page.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let rows = rows.take_while(|line| line.starts_with("| "));
    rows.map(|row| {
        let (first, rest) = row[2..].split_once(" | ").expect("a row has two cells");
        (quoted(first, ""), quoted(rest, ""))
    })
    .collect()
}

#[test]
fn the_map_of_rooms_names_files_that_are_there() {
    let page = read("ARCHITECTURE.md");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut seen, mut rooms) = (0, BTreeSet::new());
    for (first, rest) in quoted_rows(&page, "| room | purpose |") {
        let room = *first.iter().next().expect("a row names its room");
        assert!(root.join(room).exists(), "there is no room `{room}`");
        rooms.insert(room.trim_end_matches(['/']).to_owned());
        for name in rest.iter().filter(|name| name.ends_with(".rs") || name.ends_with('/')) {
            // Files of a folder stand behind its name.
            let folders = rest.iter().filter(|name| name.ends_with('/')).copied().chain([""]);
            let is_there = folders
                .map(|folder| root.join(room).join(folder).join(name))
                .any(|path| path.exists());
            assert!(is_there || root.join(name).exists(), "`{room}` has no `{name}`");
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen} names");
    let there = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name());
    let there = there.map(|name| name.into_string().expect("names are text"));
    let there: BTreeSet<String> =
        there.filter(|name| !["lib.rs", "main.rs"].contains(&name.as_str())).collect();
    assert_eq!(rooms, there, "the rooms of ARCHITECTURE.md, and src/");
}

#[test]
fn the_page_of_the_tests_names_every_file_and_folder_of_them() {
    let page = read("tests/it/README.md");
    let rows = quoted_rows(&page, "| where | what it tries |");
    let told: BTreeSet<String> = rows
        .into_iter()
        .flat_map(|(first, _)| first.into_iter().map(|name| name.trim_end_matches('/').to_owned()))
        .collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it");
    let there: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !["README.md", "main.rs"].contains(&name.as_str()))
        .collect();
    assert_eq!(told, there, "the table of tests/it/README.md, and what is beside it");
}

#[test]
fn the_index_lists_every_page() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let names = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let pages: BTreeSet<String> =
        names.filter(|name| name.ends_with(".md") && name != "README.md").collect();
    let index = read("docs/README.md");
    let link = |cell: &str| cell.split(['(', ')']).nth(1).unwrap_or_default().to_owned();
    assert_eq!(
        first_cells(&index, "| page |").into_iter().map(link).collect::<BTreeSet<_>>(),
        pages
    );
}
