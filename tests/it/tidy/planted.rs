//! The gate can fail: faults that are planted in small trees are found, and a clean tree has none.

use super::gate;
use super::known::Known;
use super::tree::Texts;

const LIB: &str = "//! Root.\npub mod model;\npub mod settings;\npub mod store;\npub mod run;\n";

/// A tree of `src/lib.rs`, empty rooms and these files; a first line is made up where it is
/// missing.
fn texts(files: &[(&str, &str)]) -> Texts {
    let rooms = ["model", "settings", "store", "run"]
        .map(|room| (format!("src/{room}.rs"), "//! A room.\n".to_owned()));
    let mut texts: Texts =
        rooms.into_iter().chain([("src/lib.rs".to_owned(), LIB.to_owned())]).collect();
    for (path, text) in files {
        if let Some(room) = path.strip_suffix("/mod.rs") {
            texts.remove(&format!("{room}.rs"));
        }
        texts.insert(
            (*path).to_owned(),
            if text.starts_with("//! ") {
                (*text).to_owned()
            } else {
                format!("//! A file.\n{text}")
            },
        );
    }
    texts
}

fn faults(files: &[(&str, &str)]) -> Vec<String> {
    gate::faults(&texts(files), super::ORDER, &Known::NOTHING)
}

/// Exactly one fault, which names all of these.
#[track_caller]
fn check(files: &[(&str, &str)], words: &[&str]) {
    let found = faults(files);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(words.iter().all(|word| found[0].contains(word)), "{words:?}: {found:#?}");
}

#[track_caller]
fn clean(files: &[(&str, &str)]) {
    assert_eq!(faults(files), Vec::<String>::new());
}

#[test]
fn a_clean_tree_has_no_fault() {
    clean(&[]);
    clean(&[
        (
            "src/run/mod.rs",
            "mod a;\nmod b;\npub use b::B;\n#[cfg(test)]\nmod tests;\nuse crate::{model, \
            store::{self as kept}};\nfn f() { a::f() }\n",
        ),
        (
            "src/run/a.rs",
            "use super::b::B;\nuse crate::settings as s;\nfn f(_: B) -> s::X \
            { other::run::x(); crate::model::y() }\n",
        ),
        ("src/run/b.rs", "pub struct B;\n"),
        ("src/run/tests.rs", "use super::*;\nuse crate::run::a;\n"),
    ]);
}

#[test]
fn a_circle_of_two_files_is_found() {
    let a = ("src/run/a.rs", "use crate::run::b::B;\npub struct A;\n");
    let b = ("src/run/b.rs", "pub struct B(crate::run::a::A);\n");
    check(
        &[("src/run/mod.rs", "mod a;\nmod b;\n"), a, b],
        &["circle of 2 files", "src/run/a.rs", "src/run/b.rs"],
    );
}

#[test]
fn a_circle_through_super_and_a_nested_group_is_found() {
    let table = ("src/run/mod.rs", "mod a;\nmod b;\nmod deep;\n");
    let a = ("src/run/a.rs", "use super::b;\n");
    let b = ("src/run/b.rs", "use crate::{model, run::{deep::{inner::{self}}}};\n");
    let inner = ("src/run/deep/inner.rs", "fn f() { super::super::a::f() }\n");
    check(
        &[table, a, b, ("src/run/deep/mod.rs", "mod inner;\n"), inner],
        &["circle of 3 files", "src/run/deep/inner.rs"],
    );
}

#[test]
fn a_circle_through_a_name_that_a_table_hands_on_is_found() {
    let table =
        ("src/store/mod.rs", "mod a;\npub mod b;\npub use b::*;\npub use a::A as Renamed;\n");
    let a = ("src/store/a.rs", "use super::b::f;\npub struct A;\n");
    let run = ("src/run.rs", "use crate::store::Renamed;\n");
    clean(&[table, a, ("src/store/b.rs", "pub fn f() {}\n"), run]);
    let b = ("src/store/b.rs", "pub fn f() -> super::Renamed { }\n");
    let found = faults(&[table, a, b, run]);
    let circle = found.iter().filter(|fault| fault.starts_with("circle of 2 files"));
    assert_eq!(circle.count(), 1, "{found:#?}");
    assert!(
        found.iter().any(|fault| fault.contains("src/store/b.rs: imports src/store/mod.rs")),
        "{found:#?}"
    );
}

#[test]
fn a_circle_through_an_alias_and_a_module_with_a_body_is_found() {
    let a = ("src/run/a.rs", "use crate::run as all;\nfn f() { all::b::g() }\npub fn h() {}\n");
    let b =
        ("src/run/b.rs", "mod own {\n    pub fn g() { super::super::a::h() }\n}\npub fn g() {}\n");
    let found = faults(&[("src/run/mod.rs", "mod a;\nmod b;\n"), a, b]);
    assert!(found.iter().any(|fault| fault.starts_with("circle of 2 files")), "{found:#?}");
}

#[test]
fn a_file_that_imports_its_own_table_is_found() {
    let a = ("src/run/a.rs", "use super::X;\n");
    check(
        &[("src/run/mod.rs", "mod a;\npub struct X;\n"), a],
        &["src/run/a.rs: imports src/run/mod.rs"],
    );
    let b = ("src/run/deep/b.rs", "fn f() { super::super::begin() }\n");
    let deep = ("src/run/deep.rs", "mod b;\n");
    check(
        &[("src/run/mod.rs", "mod deep;\nfn begin() {}\n"), deep, b],
        &["src/run/deep/b.rs: imports src/run/mod.rs"],
    );
    check(&[("src/run.rs", "mod a;\npub struct X;\n"), a], &["src/run/a.rs: imports src/run.rs"]);
}

#[test]
fn a_type_name_in_two_files_is_found() {
    let run = ("src/run.rs", "pub(crate) enum Entry {}\n");
    check(&[("src/model/mod.rs", "pub struct Entry;\n"), run], &["`Entry`", "2 files"]);
    check(
        &[("src/model/mod.rs", "mod x {\n    type Entry = u8;\n}\n"), run],
        &["`Entry`", "2 files"],
    );
    // What a trait calls a type is no name of the house; what tests declare is theirs.
    clean(&[
        (
            "src/model/mod.rs",
            "impl X for Y {\n    type Entry = u8;\n}\n#[cfg(test)]\nstruct Entry;\n",
        ),
        run,
    ]);
}

#[test]
fn an_import_from_a_room_above_is_found_wherever_it_stands() {
    let tests = ("src/model/tests.rs", "use crate::run::x;\n");
    let words = ["src/model/mod.rs", "imports `run`"];
    check(&[("src/model/mod.rs", "#[cfg(test)]\nmod tests;\nuse crate::run::X;\n"), tests], &words);
    check(&[("src/model/mod.rs", "fn f() { let x = <crate::run::X as Y>::new(); }\n")], &words);
    check(
        &[("src/settings/mod.rs", "use crate::{model, run::{X}};\n")],
        &["src/settings/mod.rs", "imports `run`"],
    );
}

#[test]
fn an_import_below_inline_tests_is_found() {
    let tests =
        "#[cfg(test)]\nmod tests {\n    const BRACE: &str = \"}\";\n    use crate::run::x;\n}\n";
    clean(&[("src/model/mod.rs", tests)]);
    check(
        &[("src/model/mod.rs", &format!("{tests}use crate::run::X;\n"))],
        &["src/model/mod.rs", "imports `run`"],
    );
    check(
        &[("src/model/mod.rs", "#[cfg(not(test))]\nuse crate::run::X;\n")],
        &["src/model/mod.rs", "imports `run`"],
    );
    check(
        &[("src/model/mod.rs", "#[cfg(any(test, unix))]\nuse crate::run::X;\n")],
        &["src/model/mod.rs", "imports `run`"],
    );
    clean(&[("src/model/mod.rs", "#[cfg(all(unix, test))]\nuse crate::run::{X, Y};\nfn f() {}\n")]);
    check(
        &[("src/model/mod.rs", "#[cfg(test)]\nuse crate::run::{X, Y};\nuse crate::store::Z;\n")],
        &["imports `store`"],
    );
    check(
        &[("src/model/mod.rs", "#[cfg(test)]\nfn f() -> [u8; 4] { g() }\nuse crate::store::Z;\n")],
        &["imports `store`"],
    );
}

#[test]
fn comments_and_strings_import_nothing() {
    clean(&[(
        "src/model/mod.rs",
        "// crate::run::a\n/* use crate::run::b; */\nconst X: &str = \"crate::run::c\";\n/// \
        [`crate::run`]\nfn f() {}\n",
    )]);
    clean(&[(
        "src/model/mod.rs",
        "const X: &str = r#\"\" crate::run::c \"#;\npub(in crate::run) fn f() {}\n",
    )]);
}

#[test]
fn a_room_without_a_place_is_found() {
    let lib = (
        "src/lib.rs",
        "//! Root.\npub mod model;\npub mod settings;\npub mod store;\npub mod run;\npub mod \
        attic;\n",
    );
    check(&[lib, ("src/attic.rs", "")], &["`attic` has no place"]);
    check(&[("src/attic.rs", "")], &["src/attic.rs", "no `mod` leads"]);
}

#[test]
fn long_files_and_mute_files_are_found() {
    let long = "//! Long.\n".to_owned() + &"\n".repeat(500);
    check(&[("src/model/mod.rs", &long)], &["src/model/mod.rs", "500 lines"]);
    check(&[("tests/it/a.rs", &long)], &["tests/it/a.rs", "500 lines"]);
    let mut mute = texts(&[]);
    mute.insert("src/model/mod.rs".to_owned(), "fn f() {}\n".to_owned());
    let found = gate::faults(&mute, super::ORDER, &Known::NOTHING);
    assert!(found.len() == 1 && found[0].contains("src/model/mod.rs: no `//! `"), "{found:?}");
}

#[test]
fn a_wide_line_is_found() {
    let wide = format!("// {}\n", "ü".repeat(98));
    check(&[("tests/it/a.rs", &wide)], &["1 lines are wider than 100, where 0 were"]);
    clean(&[("tests/it/a.rs", &wide.replacen('ü', "", 1))]);
}

#[test]
fn lists_may_only_shrink() {
    let known = Known {
        circles: &[&["src/run/a.rs", "src/run/b.rs", "src/run/c.rs"]],
        double_types: &[("Entry", 3)],
        own_tables: &["src/run/a.rs: imports src/run/mod.rs"],
        upward: &[("src/model/mod.rs: imports `run`", "made up")],
        long_files: &["src/run/long.rs"],
        wide_lines: 1000,
    };
    let found = gate::faults(&texts(&[]), super::ORDER, &known);
    assert!(
        found.len() == 6 && found.iter().all(|fault| fault.contains("shrink the list")),
        "{found:#?}"
    );
    let smaller = [
        ("src/run/mod.rs", "mod a;\nmod b;\nmod c;\npub struct X;\n"),
        ("src/run/a.rs", "use super::{X, b};\nstruct Entry;\n"),
        ("src/run/b.rs", "use super::a;\nstruct Entry;\n"),
        ("src/run/c.rs", "struct Entry;\n"),
        ("src/model/mod.rs", "use crate::run::X;\n"),
    ];
    let known = Known { wide_lines: 0, long_files: &[], ..known };
    let found = gate::faults(&texts(&smaller), super::ORDER, &known);
    assert!(found.len() == 1 && found[0].contains("came apart, shrink the list"), "{found:#?}");
    let known = Known { circles: &[&["src/run/a.rs", "src/run/b.rs"]], ..known };
    assert_eq!(gate::faults(&texts(&smaller), super::ORDER, &known), Vec::<String>::new());
    // A known circle takes nobody in.
    let mut grown = smaller;
    grown[2].1 = "use super::{a, c};\nstruct Entry;\n";
    grown[3].1 = "use super::b;\nstruct Entry;\n";
    let found = gate::faults(&texts(&grown), super::ORDER, &known);
    assert!(
        found.len() == 1
            && found[0].contains("circle of 3 files")
            && found[0].contains("src/run/c.rs"),
        "{found:#?}"
    );
}
