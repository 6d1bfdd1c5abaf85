//! Figures and versions that pages repeat are those of the measurements and of the manifest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The words of a page with one blank between them, so that no line break hides one.
fn words(page: &str) -> String {
    page.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The sections of docs/benchmarks.md by the names of their rows.
fn rows(page: &str) -> BTreeMap<&str, &str> {
    let sections = page.split("\n## ").skip(1);
    let named = |section: &'_ str| -> Option<(usize, usize)> {
        let begin = section.find("\n`")? + 2;
        Some((begin, begin + section[begin..].find("`:")?))
    };
    sections
        .filter_map(|section| {
            let (begin, end) = named(section)?;
            Some((&section[begin..end], section))
        })
        .collect()
}

/// What a section tells of a contestant: its line's cells.
fn line<'t>(section: &'t str, contestant: &str) -> Vec<&'t str> {
    let head = format!("| {contestant} | ");
    let line = section.lines().find(|line| line.starts_with(&head));
    let line = line.unwrap_or_else(|| panic!("{contestant} is not in {section}"));
    line.split('|').map(str::trim).collect()
}

/// Wall time of blobferry as a part of that of a contestant, and the contestant's peak in MiB.
fn wall_and_peak<'t>(section: &'t str, contestant: &str) -> (&'t str, &'t str) {
    let cells = line(section, contestant);
    (cells[3], cells[6])
}

/// What the README says of other tools, with the figures of docs/benchmarks.md.
fn told_of_others(page: &str) -> [String; 2] {
    let rows = rows(page);
    let (sftp, ftp) = (rows["sftp-small"], rows["ftp-small"]);
    let (wall, peak) = wall_and_peak(sftp, "rclone");
    let (_, ours) = wall_and_peak(sftp, "blobferry");
    let (both, _) = wall_and_peak(sftp, "lftp+azcopy");
    let (both_by_ftp, _) = wall_and_peak(ftp, "lftp+azcopy");
    [
        format!(
            "2,000 small files by SFTP take {wall} of its time, {ours} MiB of memory beside {peak}."
        ),
        format!("The same 2,000 files take {both} of their time by SFTP, {both_by_ftp} by FTP."),
    ]
}

#[test]
fn the_readme_tells_the_figures_of_the_benchmarks() {
    let readme = words(&read("README.md"));
    for told in told_of_others(&read("docs/benchmarks.md")) {
        assert!(readme.contains(&told), "README.md does not say: {told}");
    }
    let page = "\n## A\n\n`sftp-small`: 2 files.\n\n| blobferry | 1 | | 1 | | 40 | 1% |\n\
                | rclone | 2 | 0.50 | 1 | 1 | 90 | 1% |\n\
                | lftp+azcopy | 4 | 0.25 | 1 | 1 | 9 | 1% |\n\
                \n## B\n\n`ftp-small`: 2 files.\n\n| lftp+azcopy | 4 | 0.75 | 1 | 1 | 9 | 1% |\n";
    let told = told_of_others(page);
    assert!(
        told[0].contains(" 0.50 ") && told[0].contains("40 MiB") && told[0].contains("beside 90")
    );
    assert!(told[1].contains("take 0.25 of") && told[1].contains(", 0.75 by"));
}

/// Rows that missed a target, with what part of the others' time they took.
fn missed(page: &str) -> BTreeMap<&str, Vec<f64>> {
    let verdicts = |section: &str| -> Vec<f64> {
        let lines = section.lines().filter(|line| line.contains("**missed**"));
        lines.filter_map(|line| line.split("**").nth(1)?.parse().ok()).collect()
    };
    let all = rows(page).into_iter().filter(|(_, section)| section.contains("**missed**"));
    all.map(|(name, section)| (name, verdicts(section))).collect()
}

/// What docs/speed.md explains: the rows of each point, and the figures of its first words.
fn explained(page: &str) -> Vec<(BTreeSet<&str>, Vec<f64>)> {
    let points = page.lines().filter_map(|line| line.strip_prefix("- **`"));
    let heads = points.filter_map(|rest| rest.split("**").next());
    heads
        .map(|head| {
            let names = head.split('`').step_by(2).filter(|name| name.contains('-')).collect();
            let figures = head.split(" instead of ").next().unwrap_or_default();
            let figures = figures.split(|c: char| !(c.is_ascii_digit() || c == '.'));
            let figures = figures.filter(|word| word.contains('.') && word.len() > 1);
            (names, figures.filter_map(|word| word.parse().ok()).collect())
        })
        .collect()
}

#[test]
fn every_target_of_speed_that_is_missed_is_explained_and_no_other() {
    let (page, speed) = (read("docs/benchmarks.md"), read("docs/speed.md"));
    let (missed, explained) = (missed(&page), explained(&speed));
    let named: BTreeSet<&str> =
        explained.iter().flat_map(|(names, _)| names.iter().copied()).collect();
    assert_eq!(named, missed.keys().copied().collect(), "docs/speed.md, and what was missed");
    for (names, figures) in &explained {
        let (Some(least), Some(most)) =
            (figures.iter().copied().reduce(f64::min), figures.iter().copied().reduce(f64::max))
        else {
            continue;
        };
        for verdict in names.iter().flat_map(|name| &missed[name]) {
            assert!(
                (least - 0.1..=most + 0.1).contains(verdict),
                "docs/speed.md says {figures:?} of {names:?}, docs/benchmarks.md {verdict}"
            );
        }
    }
}

#[test]
fn versions_that_pages_name_are_those_of_the_manifest() {
    let rust = format!("[Rust](https://rustup.rs) {} or later", env!("CARGO_PKG_RUST_VERSION"));
    assert!(words(&read("README.md")).contains(&rust), "README.md does not say: {rust}");
    // Crates in the place of others, as `russh` 0.65.
    let (page, manifest) = (read("ARCHITECTURE.md"), read("Cargo.toml"));
    let rows = page.lines().skip_while(|line| !line.starts_with("| drawn up with |")).skip(2);
    let mut seen = 0;
    for row in rows.take_while(|line| line.starts_with('|')) {
        let used = row.split('|').nth(2).expect("a row has three cells").trim();
        let Some((name, version)) = used.trim_start_matches('`').split_once("` ") else { continue };
        let version = version.split_whitespace().next().unwrap_or_default();
        if version.starts_with(|c: char| c.is_ascii_digit()) {
            let line = manifest.lines().find(|line| line.starts_with(&format!("{name} = ")));
            let line = line.unwrap_or_else(|| panic!("Cargo.toml has no {name}"));
            let is_it =
                ["\"", "\"="].iter().any(|sign| line.contains(&format!("{sign}{version}.")));
            assert!(is_it, "ARCHITECTURE.md says {name} {version}, Cargo.toml {line}");
            seen += 1;
        }
    }
    assert_eq!(seen, 2, "crates with a version in ARCHITECTURE.md");
}
