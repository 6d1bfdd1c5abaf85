//! Sources that can see the same files where one of them removes: each would take them from the
//! other.

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
