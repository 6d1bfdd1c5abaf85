//! Sources that get into each other's way: that can see the same files where one of them removes,
//! and that may write blobs of the same names.

use std::collections::BTreeSet;

use crate::rules::naming::Layout;
use crate::settings::SettingError;
use crate::transfer::settings::{After, Source};

/// Tells each source that removes files which other one can see them too.
pub fn note(sources: &mut [Source]) {
    let named = |at: usize| -> Option<String> {
        let one = &sources[at];
        if one.after == After::Keep {
            return None;
        }
        let others = sources.iter().enumerate().filter(|(other, _)| *other != at);
        others
            .map(|(_, other)| other)
            .find(|other| meet(one, other))
            .map(|other| other.name.clone())
    };
    let shared: Vec<Option<String>> = (0..sources.len()).map(named).collect();
    for (source, shared) in sources.iter_mut().zip(shared) {
        source.shared_with = shared;
    }
}

/// Whether some path may be wanted by both. Who logs in does not matter: two users may see one
/// tree.
fn meet(one: &Source, other: &Source) -> bool {
    one.endpoint.address() == other.endpoint.address() && one.patterns.may_meet(&other.patterns)
}

/// Refuses two sources whose names may be the same by their layouts: one would find the other's
/// blobs in its place.
pub(crate) fn names_apart(file: &str, sources: &[Source]) -> Result<(), SettingError> {
    let destinations: BTreeSet<_> = sources.iter().map(|source| &source.destination).collect();
    destinations.into_iter().try_for_each(|one| names_apart_in(file, sources, one))
}

/// As [`names_apart`], of the sources whose blobs go to one destination.
fn names_apart_in(
    file: &str,
    sources: &[Source],
    destination: &Option<String>,
) -> Result<(), SettingError> {
    // In this order, all that begin with one stand right behind it.
    let mut begins: Vec<(String, bool, &Source)> = sources
        .iter()
        .filter(|source| source.destination == *destination)
        .map(|source| {
            let (text, whole) = source.naming.beginning();
            (text, whole, source)
        })
        .collect();
    begins.sort_by(|one, other| one.0.cmp(&other.0));
    for (at, (shorter, whole, one)) in begins.iter().enumerate() {
        let behind = begins[at + 1..].iter().take_while(|(text, ..)| text.starts_with(shorter));
        for (longer, other_whole, other) in behind {
            // One name each: they meet if it is the same.
            let apart = *whole && *other_whole && longer != shorter;
            let is_template = |source: &Source| matches!(source.naming.layout, Layout::Template(_));
            // The layouts `path` and `by-type` have always been let share a beginning.
            if apart || !(is_template(one) || is_template(other)) {
                continue;
            }
            let source = if is_template(other) { other } else { one };
            let problem = format!(
                "lets {} and {} write the same names; begin it with `{{source}}/`, or with a \
                 folder of its own",
                one.name, other.name
            );
            let key = format!("source.{}.layout", source.name);
            return Err(SettingError { place: file.to_owned(), key, problem });
        }
    }
    Ok(())
}
