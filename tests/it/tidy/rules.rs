//! The rules of the house, each as what it finds in a tree of files.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::{Texts, Tree, folder_of, parent};

pub const MOST_LINES: usize = 500;
pub const WIDEST: usize = 100;

pub type Circle = BTreeSet<String>;

pub fn too_long(texts: &Texts) -> Vec<String> {
    texts
        .iter()
        .filter(|(_, text)| text.lines().count() > MOST_LINES)
        .map(|(path, _)| path.clone())
        .collect()
}

pub fn mute(texts: &Texts) -> Vec<String> {
    texts
        .iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(path, _)| path.clone())
        .collect()
}

/// How many lines are wider than they should be.
pub fn wide_lines(texts: &Texts) -> usize {
    texts
        .values()
        .flat_map(|text| text.lines())
        .filter(|line| line.chars().count() > WIDEST)
        .count()
}

/// The room that a file of `src` belongs to; `lib.rs` and `main.rs` are in none.
fn room(path: &str) -> Option<&str> {
    let first = path.strip_prefix("src/")?.split('/').next()?;
    Some(first.trim_end_matches(".rs")).filter(|room| *room != "lib" && *room != "main")
}

/// Imports that do not run down `order`, whose rooms stand from the bottom up, as `file: room`.
pub fn upward(tree: &Tree, order: &[&[&str]]) -> BTreeSet<String> {
    let floor = |room: &str| order.iter().position(|rooms| rooms.contains(&room));
    let mut wrong = BTreeSet::new();
    for (path, _) in tree.shipped() {
        let Some(own) = room(path) else { continue };
        let Some(own_floor) = floor(own) else {
            wrong.insert(format!("{path}: the room `{own}` has no place in ORDER"));
            continue;
        };
        for import in tree.imports(path) {
            let rooms = [room(&import.named), room(&import.declared)];
            for other in rooms.into_iter().flatten().filter(|other| *other != own) {
                if floor(other).is_none_or(|floor| floor >= own_floor) {
                    wrong.insert(format!("{path}: imports `{other}`"));
                }
            }
        }
    }
    wrong
}

/// Files that can reach each other by imports: strongly connected components of two files and more.
pub fn circles(tree: &Tree) -> Vec<Circle> {
    let links: BTreeMap<&String, BTreeSet<String>> = tree
        .shipped()
        .map(|(path, _)| {
            (
                path,
                tree.imports(path)
                    .into_iter()
                    .map(|import| import.declared)
                    .filter(|to| to != path)
                    .collect(),
            )
        })
        .collect();
    let reached: BTreeMap<&String, BTreeSet<&String>> =
        links.keys().map(|path| (*path, reach(path, &links))).collect();
    let mut found: BTreeSet<Circle> = BTreeSet::new();
    for (path, to) in reached.iter().filter(|(path, to)| to.contains(*path)) {
        let circle: Circle = to
            .iter()
            .filter(|other| reached.get(*other).is_some_and(|back| back.contains(path)))
            .map(|other| (*other).clone())
            .collect();
        found.insert(circle);
    }
    found.into_iter().collect()
}

fn reach<'t>(
    from: &'t String,
    links: &'t BTreeMap<&String, BTreeSet<String>>,
) -> BTreeSet<&'t String> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(at) = next.pop() {
        next.extend(links.get(at).into_iter().flatten().filter(|to| reached.insert(*to)));
    }
    reached
}

/// Names of types that stand in two files and more, and in how many.
pub fn double_types(tree: &Tree) -> BTreeMap<String, usize> {
    let mut files: BTreeMap<String, usize> = BTreeMap::new();
    for name in tree.shipped().flat_map(|(_, code)| &code.types) {
        *files.entry(name.clone()).or_default() += 1;
    }
    files.retain(|_, count| *count > 1);
    files
}

/// Files that import the `mod.rs` of a folder that they stand in, or the `x.rs` beside their `x/`.
pub fn own_tables(tree: &Tree) -> BTreeSet<String> {
    let mut wrong = BTreeSet::new();
    for (path, _) in tree.shipped() {
        let tables = tree.imports(path).into_iter().map(|import| import.named);
        let is_above = |table: &String| {
            table != path
                && table != "src/lib.rs"
                && format!("{}/", parent(path)).starts_with(&format!("{}/", folder_of(table)))
        };
        wrong.extend(tables.filter(is_above).map(|table| format!("{path}: imports {table}")));
    }
    wrong
}
