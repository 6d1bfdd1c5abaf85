//! The catalogue: each way to fail, what is right, the tests that prove it, or why none does;
//! `docs/failure-modes.md` is made from it.

use std::path::Path;

/// `id | what happens | what is right | tests | note`. A test is `file::function`, below `tests/it`
/// unless it begins with `src`; `+` before it means that it needs the real servers or Azurite.
/// Without a test, the note says why.
const TABLE: &str = include_str!("catalogue.txt");

struct Row {
    cells: Vec<&'static str>,
}

impl Row {
    fn id(&self) -> &'static str {
        self.cells[0]
    }

    /// Tests, and whether each needs servers.
    fn tests(&self) -> Vec<(&'static str, bool)> {
        self.cells[3]
            .split_whitespace()
            .map(|test| (test.trim_start_matches('+'), test.starts_with('+')))
            .collect()
    }

    fn result(&self) -> &'static str {
        let tests = self.tests();
        match (tests.is_empty(), tests.iter().all(|(_, servers)| *servers)) {
            (true, _) => "not proven",
            _ if !self.cells[4].is_empty() => "partly proven",
            (_, true) => "proven, with servers",
            _ => "proven",
        }
    }
}

fn rows() -> Vec<Row> {
    let row = |line: &'static str| Row { cells: line.split('|').map(str::trim).collect() };
    // A line that is set in goes on with the row before.
    let table: &str = TABLE.replace("\n    ", " ").leak();
    table.lines().filter(|line| !line.is_empty()).map(row).collect()
}

/// The file that a test's name points to, and the function in it.
fn place(test: &str) -> (String, String) {
    let (file, function) = test.split_once("::").expect("file::function");
    let file =
        if file.starts_with("src/") { format!("{file}.rs") } else { format!("tests/it/{file}.rs") };
    (file, function.to_owned())
}

fn document() -> String {
    let rows = rows();
    let count = |result: &str| rows.iter().filter(|row| row.result() == result).count();
    let mut text = format!(
        "# Servers and networks as they are\n\n{} ways to fail, each with the answer that is \
         right. {} are proven by tests that need nothing, {} more by tests that need real servers \
         or Azurite, {} in part, {} not; the last column says why.\n\nThe tests of \
         `tests/it/modes` run the program itself. Each run against a scripted server checks \
         besides: it ends within its tries times its longest time limit, the waits between, and 5 \
         s (mostly 9.5 s: two tries of 2 s); `listed = ingested + unchanged + skipped + gone + \
         deferred + failed`, nothing partial is in the folder that it stores to (in Azurite: sizes \
         only), no output holds the password, every log line is JSON without control bytes. What \
         rclone makes of the same servers: [matrix.md](matrix.md).\n\nMade from \
         `tests/it/modes/catalogue.txt`; `UPDATE_DOCS=1 cargo test --test it modes::table` writes \
         it anew.\n\n| id | what happens | what is right | test | result |\n\
         |---|---|---|---|---|\n",
        rows.len(),
        count("proven"),
        count("proven, with servers"),
        count("partly proven"),
        count("not proven"),
    );
    for row in &rows {
        let tests: Vec<String> = row
            .tests()
            .iter()
            .map(|(test, servers)| format!("`{test}`{}", if *servers { " (servers)" } else { "" }))
            .collect();
        let note =
            if row.cells[4].is_empty() { String::new() } else { format!(": {}", row.cells[4]) };
        text.push_str(&format!(
            "| {} | {} | {} | {} | {}{note} |\n",
            row.id(),
            row.cells[1],
            row.cells[2],
            tests.join("<br>"),
            row.result()
        ));
    }
    text
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_catalogue_is_complete() {
    let families =
        [('N', 22), ('F', 38), ('S', 54), ('A', 29), ('Z', 22), ('R', 25), ('C', 10), ('X', 16)];
    let all: Vec<String> = families
        .iter()
        .flat_map(|(family, most)| (1..=*most).map(move |n| format!("{family}{n}")))
        .collect();
    assert_eq!(all.len(), 216);
    assert_eq!(rows().iter().map(|row| row.id().to_owned()).collect::<Vec<_>>(), all);
    for row in rows() {
        assert_eq!(row.cells.len(), 5, "{}", row.id());
        assert!(
            !row.tests().is_empty() || !row.cells[4].is_empty(),
            "{}: neither a test nor a reason",
            row.id()
        );
    }
}

/// Whether `text` holds a test of this name: the function, and above it an attribute that makes it
/// a test.
fn holds_test(text: &str, function: &str) -> bool {
    let heads = [format!("fn {function}("), format!("fn {function}<")];
    let Some(at) = heads.iter().find_map(|head| text.find(head.as_str())) else { return false };
    let before = text[..at].trim_end_matches("async ").trim_end();
    let last: Vec<&str> =
        before.lines().rev().take_while(|line| line.trim().starts_with("#[")).collect();
    last.iter().any(|line| line.contains("test]") || line.contains("test("))
}

#[test]
fn every_test_of_the_table_is_one() {
    for row in rows() {
        for (test, _) in row.tests() {
            let (file, function) = place(test);
            let text = std::fs::read_to_string(root().join(&file))
                .unwrap_or_else(|error| panic!("{}: {file}: {error}", row.id()));
            assert!(
                holds_test(&text, &function),
                "{}: there is no test `{function}` in {file}",
                row.id()
            );
        }
    }
    assert!(
        !holds_test("fn helper() {}", "helper") && holds_test("#[test]\nfn it_is() {}", "it_is")
    );
}

/// The text of a test, from its name to the end of its body.
fn body<'a>(text: &'a str, function: &str) -> &'a str {
    let at = text.find(&format!("fn {function}")).expect("it was found before");
    let indent =
        text[..at].rsplit('\n').next().map_or(0, |line| line.len() - line.trim_start().len());
    let end = text[at..]
        .find(&format!("\n{}}}\n", " ".repeat(indent)))
        .map_or(text.len(), |end| at + end);
    &text[at..end]
}

/// Nobody reads that a test needs nothing when it returns early without its server.
#[test]
fn every_test_that_needs_servers_is_marked() {
    let starts = [
        "served::sshd",
        "served::vsftpd",
        "served::pure_ftpd",
        "served::proftpd",
        "Sshd::start",
        "Vsftpd::start",
        "Azurite::s",
    ];
    let mut marked = 0;
    for row in rows() {
        for (test, servers) in row.tests() {
            let (file, function) = place(test);
            let text = std::fs::read_to_string(root().join(&file))
                .expect("every test of the table is one");
            let needs = starts.iter().any(|start| body(&text, &function).contains(start));
            assert!(
                servers || !needs,
                "{}: `{test}` starts a server, but is not marked with `+`",
                row.id()
            );
            marked += usize::from(servers && needs);
        }
    }
    assert!(marked > 5, "the check sees nothing: {marked}");
}

/// A test that bears a number of the catalogue stands in its row.
#[test]
fn every_numbered_test_stands_in_the_table() {
    for file in [
        "azure",
        "config",
        "ftp",
        "ftp_names",
        "legacy",
        "lies",
        "network",
        "runtime",
        "security",
        "sftp",
        "sftp_trees",
    ] {
        let text = std::fs::read_to_string(root().join(format!("tests/it/modes/{file}.rs")))
            .expect("it is there");
        let tests = text
            .split("#[test]\nfn ")
            .skip(1)
            .filter_map(|rest| rest.split_once('('))
            .map(|(name, _)| name);
        for test in tests {
            let id: String = test.chars().take_while(|c| *c != '_').collect();
            let number: u32 =
                id[1..].parse().unwrap_or_else(|_| panic!("`{test}` bears no number"));
            let id = format!("{}{number}", id[..1].to_uppercase());
            let row = rows()
                .into_iter()
                .find(|row| row.id() == id)
                .unwrap_or_else(|| panic!("`{test}`: no such mode"));
            assert!(
                row.tests().iter().any(|(name, _)| *name == format!("modes/{file}::{test}")),
                "`{test}` is missing in the row {id}"
            );
        }
    }
}

#[test]
fn the_document_is_current() {
    let path = root().join("docs/failure-modes.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().expect("it has one")).expect("it can be made");
        std::fs::write(&path, document()).expect("it can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == document(),
        "docs/failure-modes.md is not current: UPDATE_DOCS=1 cargo test --test it modes::table"
    );
    let rows = rows();
    let proven = rows
        .iter()
        .filter(|row| ["proven", "proven, with servers"].contains(&row.result()))
        .count();
    let told = format!(
        "| {} ways to fail | [the table](failure-modes.md): {proven} are proven by tests",
        rows.len()
    );
    let page = std::fs::read_to_string(root().join("docs/verification.md")).expect("it is there");
    assert!(page.contains(&told), "docs/verification.md has other numbers than `{told}`");
}
