//! The documentation: what it says of settings, failures, commands and files is what the program
//! knows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use blobferry::model::failure::Class;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Pages for people, by their paths.
fn pages() -> Vec<(String, String)> {
    let docs = std::fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| format!("docs/{}", entry.unwrap().file_name().into_string().unwrap()));
    let mut names: Vec<String> = docs
        .filter(|name| name.ends_with(".md"))
        .chain(["README.md".into(), "CONTRIBUTING.md".into()])
        .collect();
    names.sort();
    assert!(names.len() >= 8, "{names:?}");
    names.into_iter().map(|name| (name.clone(), read(&name))).collect()
}

fn blobferry(words: &[&str]) -> String {
    let done =
        Command::new(env!("CARGO_BIN_EXE_blobferry")).args(words).output().expect("it starts");
    assert!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn the_reference_of_settings_is_what_the_program_reads() {
    // `UPDATE_EXPECT=1 cargo test --test it docs::` writes it anew.
    expect_test::expect_file![root().join("docs/configuration.md")]
        .assert_eq(&blobferry(&["schema", "--markdown"]));
}

#[test]
fn every_class_of_failure_has_its_meaning_and_its_cure() {
    let page = read("docs/failures.md");
    let told: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`')).collect();
    let known: Vec<&str> = Class::ALL.iter().map(|class| class.word()).collect();
    assert_eq!(
        told, known,
        "docs/failures.md tells of each class, in the order of src/model/failure.rs"
    );
    let sections: Vec<&str> = page.split("\n## `").skip(1).collect();
    for (class, section) in Class::ALL.iter().zip(sections) {
        assert!(
            section.contains(&format!("> {}\n", class.hint())),
            "{class}: the page and the program say different things"
        );
        let words = section
            .lines()
            .filter(|line| !line.starts_with('>'))
            .flat_map(str::split_whitespace)
            .count();
        assert!(words > 20, "{class}: too few words to help anybody");
    }
}

/// The places in a page that links can name: its headings as GitHub writes them in addresses.
fn places(page: &str) -> BTreeSet<String> {
    let text = page.split("```").step_by(2);
    let headings = text.flat_map(str::lines).filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept = words.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    assert_eq!(
        places("# `a_b` & C-d\n```\n# no heading\n```\n## E\n"),
        ["a_b--c-d", "e"].map(str::to_owned).into()
    );
    let others = ["ARCHITECTURE.md", "SECURITY.md", "tests/it/README.md"];
    let others = others.map(|name| (name.to_owned(), read(name)));
    let mut within = 0;
    for (name, text) in pages().into_iter().chain(others) {
        let folder = Path::new(&name).parent().unwrap().to_owned();
        for (at, _) in text.match_indices("](") {
            let link = text[at + 2..].split([')', ' ']).next().unwrap();
            if link.contains("://") {
                continue;
            }
            let (target, place) = link.split_once('#').unwrap_or((link, ""));
            let file = if target.is_empty() { name.clone().into() } else { folder.join(target) };
            let file = root().join(file);
            assert!(file.exists(), "{name} links to {target}, which is not there");
            if !place.is_empty() {
                let page = std::fs::read_to_string(&file).expect("a page is text");
                assert!(
                    places(&page).contains(place),
                    "{name} links to {link}, and there is no such heading"
                );
                within += 1;
            }
        }
    }
    assert!(within > 10, "{within} links to headings");
}

/// The flags of a help text: whole words, so that `--out` is none where there is `--output`.
fn flags(help: &str) -> BTreeSet<&str> {
    let words = help.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words.filter(|word| word.starts_with("--") && word.len() > 2).collect()
}

/// The numbers that a help text gives as exit statuses.
fn statuses(help: &str) -> BTreeSet<u8> {
    let told = help.split("Exit status: ").skip(1).map(|rest| rest.split("\n\n").next().unwrap());
    let words = told.flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric()));
    words.filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn the_readme_has_the_exit_statuses_that_help_tells_of() {
    let help: Vec<String> =
        ["run", "check", "audit"].iter().map(|word| blobferry(&[word, "--help"])).collect();
    let told: BTreeSet<u8> = help.iter().flat_map(|help| statuses(help)).collect();
    let readme = read("README.md");
    let rows = readme.lines().skip_while(|line| !line.starts_with("| exit status |")).skip(2);
    let cells =
        rows.take_while(|line| line.starts_with('|')).filter_map(|row| row.split('|').nth(1));
    let listed: BTreeSet<u8> =
        cells.flat_map(|cell| cell.split(',')).map(|word| word.trim().parse().unwrap()).collect();
    // The last two come from signals: 128 and the signal's number.
    assert_eq!(listed, told.union(&BTreeSet::from([128 + 2, 128 + 15])).copied().collect());
    assert_eq!(statuses("Exit status: 0 well, 7 not.\n\n  --depth 9"), BTreeSet::from([0, 7]));
}

#[test]
fn every_command_and_flag_that_a_page_names_exists() {
    assert_eq!(flags("  -o, --output <FILE>, not --"), BTreeSet::from(["--output"]));
    let mut help: BTreeMap<String, String> = BTreeMap::new();
    for (name, text) in pages() {
        for line in text.lines().filter(|line| line.contains("blobferry ")) {
            for (at, _) in line.match_indices("blobferry ") {
                let is_word = at == 0
                    || line[..at].ends_with(['`', '/', ' '])
                        && (line[..at].trim_start().is_empty() || line[..at].ends_with(['`', '/']));
                if !is_word {
                    continue;
                }
                let rest = line[at + "blobferry ".len()..]
                    .split(['`', '#', '|', '>', ';', '&'])
                    .next()
                    .unwrap();
                let mut words = rest.split_whitespace();
                let Some(command) =
                    words.next().filter(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()))
                else {
                    continue;
                };
                let mut told = help
                    .entry(command.to_owned())
                    .or_insert_with(|| blobferry(&[command, "--help"]));
                // A command of several has its flags behind the second word.
                let sub = words.clone().next().unwrap_or_default();
                let is_sub = !sub.is_empty() && sub.bytes().all(|byte| byte.is_ascii_lowercase());
                if is_sub && told.contains("\nCommands:\n") {
                    let both = format!("{command} {sub}");
                    let ask = || blobferry(&[command, sub, "--help"]);
                    told = help.entry(both).or_insert_with(ask);
                }
                for flag in words.filter(|word| word.starts_with("--")) {
                    let flag = flag.split(['=', ',', '.', ')', ']']).next().unwrap();
                    assert!(
                        flags(told).contains(flag),
                        "{name}: `blobferry {command}` knows no {flag}"
                    );
                }
            }
        }
    }
    assert!(help.len() >= 8, "the pages tell of few commands: {:?}", help.keys());
}

#[test]
fn every_configuration_that_a_page_shows_can_be_read() {
    let mut shown = 0;
    for (name, text) in pages() {
        for block in text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()) {
            let with = |part: &str, text: &str| {
                if block.contains(part) { String::new() } else { text.to_owned() }
            };
            let before = with("[destination]", "[destination]\nfolder = \"out\"\n");
            let after = with("[[source]]", "[[source]]\nname = \"x\"\nurl = \"file:///in\"\n");
            // A fingerprint that no server has.
            let whole = format!("{before}{block}\n{after}")
                .replace("SHA256:…", "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU");
            let variables = whole
                .match_indices("env = \"")
                .map(|(at, key)| whole[at + key.len()..].split('"').next().unwrap());
            let mut environment: BTreeMap<String, String> =
                variables.map(|name| (name.to_owned(), "a value".to_owned())).collect();
            environment.extend([(
                "BLOBFERRY_STORAGE".to_owned(),
                "UseDevelopmentStorage=true".to_owned(),
            )]);
            blobferry::config::parse(&name, Path::new(""), &whole, &environment)
                .map_err(|error| format!("{error}\n{whole}"))
                .unwrap();
            shown += 1;
        }
    }
    assert!(shown >= 8, "{shown} configurations");
}

/// CONTRIBUTING.md says that a protocol is one file (or folder), its `mod` line and its row, and a
/// format too. So no other code may know one of them by name; the demo's servers share the codec of
/// packets, and nothing else.
#[test]
fn a_protocol_and_a_format_are_known_by_their_own_files_and_their_row_alone() {
    let mut known = 0;
    for (room, table, names) in [
        ("source", "DRIVERS", ["sftp", "ftp", "file"].as_slice()),
        ("archive", "FORMATS", &["zip", "tar", "compressed", "sevenz"]),
    ] {
        let rows = read(&format!("src/{room}/mod.rs"));
        for name in names {
            assert_eq!(
                rows.lines()
                    .filter(|line| line.trim_end().ends_with(&format!("mod {name};")))
                    .count(),
                1,
                "{name} has its `mod` line"
            );
            assert!(
                rows.split(table).nth(1).is_some_and(|rest| rest.contains(&format!("{name}::"))),
                "{name} has its row in {table}"
            );
            let mut folders = vec![root().join("src")];
            while let Some(folder) = folders.pop() {
                for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                    let below =
                        path.strip_prefix(root().join("src")).unwrap().display().to_string();
                    let is_own = below.starts_with(&format!("{room}/")) || below == *room;
                    if path.is_dir() && !is_own {
                        folders.push(path);
                    } else if path.is_file() && !is_own {
                        let text = std::fs::read_to_string(&path).unwrap();
                        let named = text.matches(&format!("{room}::{name}::")).count();
                        let shared = if below.starts_with("demo/") {
                            text.matches("source::sftp::packet").count()
                                + text.matches("source::sftp::frames").count()
                        } else {
                            0
                        };
                        assert!(named <= shared, "{below} knows {room}::{name}");
                        known += 1;
                    }
                }
            }
        }
    }
    assert!(known > 300, "{known} looks");
}

/// Variables that a platform sets are known by these beginnings.
const OF_PLATFORMS: &[&str] = &[
    "WEBSITE_",
    "FUNCTIONS_",
    "AZURE_",
    "AzureFunctionsJobHost",
    "AzureWebJobsStorage",
    "APPLICATIONINSIGHTS_",
    "INGEST_",
    "CONTAINER_",
    "LEGION_",
    "MANAGED_",
    "KUBERNETES_",
    "DOTNET_",
];

#[test]
fn every_variable_of_a_platform_that_the_program_reads_stands_in_the_table_of_assumptions() {
    let page = read("docs/platform.md");
    let (mut folders, mut seen) = (vec![root().join("src")], 0);
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            for word in text.split('"') {
                let is_name = word.len() > 6
                    && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                if is_name && OF_PLATFORMS.iter().any(|beginning| word.starts_with(beginning)) {
                    assert!(
                        page.contains(&format!("`{word}`")),
                        "docs/platform.md does not tell of {word}, which {} reads",
                        path.display()
                    );
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 20, "{seen} variables");
}
