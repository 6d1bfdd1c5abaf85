//! What is looked for by name, and what of that counts. Pure.

use time::OffsetDateTime;

use crate::handler::api::SeenSince;
use crate::history::files_by_name::NamesFound;

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NameSearch<'a> {
    /// A name or a part of one; empty if there is none yet.
    pub name: &'a str,
    /// The source that is searched; all of them without one.
    pub source: Option<&'a str>,
    /// Runs before then do not count.
    pub since: SeenSince,
}

/// What looking for a name came to.
#[derive(Debug)]
pub(crate) struct NamesSeen {
    /// What is told of it since the moment that was asked for.
    pub found: NamesFound,
    /// How many things are told of it by runs before.
    pub earlier: usize,
}

impl NamesSeen {
    /// Of all that was found.
    pub fn of(mut found: NamesFound, search: &NameSearch<'_>, now: OffsetDateTime) -> Self {
        let all = found.hits.len();
        if let Some(from) = search.since.begin(now) {
            found.hits.retain(|hit| hit.began.is_none_or(|began| began >= from));
        }
        Self { earlier: all - found.hits.len(), found }
    }
}
