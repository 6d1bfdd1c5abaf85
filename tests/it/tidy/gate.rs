//! All rules over one tree: a fault is new, or the list of known faults is longer than it must be.

use std::collections::{BTreeMap, BTreeSet};

use super::known::Known;
use super::rules::{self, Circle, MOST_LINES, WIDEST};
use super::tree::{Texts, Tree};

/// So far the number of wide lines may fall before the gate asks for the new one: otherwise changes
/// that are made side by side would all have to touch that one number.
const SLACK: usize = 50;

/// What is wrong with a tree, a sentence each.
pub fn faults(texts: &Texts, order: &[&[&str]], known: &Known) -> Vec<String> {
    let tree = Tree::new(texts);
    let mut found: Vec<String> = vec![];
    let too_long = rules::too_long(texts).into_iter().collect();
    found.extend(listed(&format!("more than {MOST_LINES} lines"), known.long_files, &too_long));
    found.extend(
        rules::mute(texts).into_iter().map(|path| format!("{path}: no `//! ` line at the top")),
    );
    found.extend(
        tree.orphans().into_iter().map(|path| format!("{path}: no `mod` leads to this file")),
    );
    let upward: Vec<&str> = known.upward.iter().map(|(import, _)| *import).collect();
    found.extend(listed(
        "import from a room that is not below",
        &upward,
        &rules::upward(&tree, order),
    ));
    found.extend(listed("import of its own table", known.own_tables, &rules::own_tables(&tree)));
    found.extend(circles(known.circles, &rules::circles(&tree)));
    found.extend(double_types(known.double_types, &rules::double_types(&tree)));
    found.extend(wide_lines(known.wide_lines, rules::wide_lines(texts)));
    found
}

fn listed(what: &str, known: &[&str], found: &BTreeSet<String>) -> Vec<String> {
    let new = found
        .iter()
        .filter(|one| !known.contains(&one.as_str()))
        .map(|one| format!("{what}: {one}"));
    let gone = known.iter().filter(|one| !found.contains(**one));
    new.chain(gone.map(|one| format!("{what}: `{one}` is gone: shrink the list"))).collect()
}

fn circles(known: &[&[&str]], found: &[Circle]) -> Vec<String> {
    let known: Vec<Circle> =
        known.iter().map(|files| files.iter().map(|file| (*file).to_owned()).collect()).collect();
    let mut faults = vec![];
    for circle in found.iter().filter(|circle| !known.iter().any(|known| circle.is_subset(known))) {
        let grown = known.iter().find(|known| known.intersection(circle).count() > 1);
        let new: BTreeSet<&String> =
            circle.iter().filter(|file| grown.is_none_or(|known| !known.contains(*file))).collect();
        faults.push(format!("circle of {} files; what is new: {new:#?}", circle.len()));
    }
    for known in known.iter().filter(|known| !found.contains(known)) {
        let left: Vec<&Circle> = found.iter().filter(|circle| circle.is_subset(known)).collect();
        let is_replaced =
            left.is_empty() && found.iter().any(|circle| known.intersection(circle).count() > 1);
        if !is_replaced {
            faults.push(format!(
                "the circle {known:#?} came apart, shrink the list; what is left of it: {left:#?}"
            ));
        }
    }
    faults
}

fn double_types(known: &[(&str, usize)], found: &BTreeMap<String, usize>) -> Vec<String> {
    let known: BTreeMap<&str, usize> = known.iter().copied().collect();
    let new = found
        .iter()
        .filter(|(name, count)| known.get(name.as_str()).is_none_or(|known| known < count));
    let new = new.map(|(name, count)| {
        format!("the type name `{name}` stands in {count} files; find one that is not taken")
    });
    let fewer = known.iter().filter_map(|(name, known)| {
        let count = found.get(*name).copied().unwrap_or(1);
        (count < *known).then(|| {
            format!(
                "the type name `{name}` stands in {count} files, not in {known}: shrink the list"
            )
        })
    });
    new.chain(fewer).collect()
}

fn wide_lines(known: usize, found: usize) -> Option<String> {
    if found > known {
        return Some(format!("{found} lines are wider than {WIDEST}, where {known} were"));
    }
    (found + SLACK < known)
        .then(|| format!("{found} lines are wider than {WIDEST}, not {known}: shrink the list"))
}
