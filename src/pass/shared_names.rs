//! Files of one listing that have the same plain name: the first by its path has it, whichever is
//! read first, so that a plan can tell and each run does the same.

use std::collections::HashSet;

use crate::pass::found_work::Survey;
use crate::rules::naming::{Naming, short_hash};
use crate::transfer::request::Transfer;

/// Marks all but the first.
pub(crate) fn mark(naming: &Naming, survey: &mut Survey) {
    if !naming.may_meet() {
        return;
    }
    let all = survey.transfers.iter_mut().chain(&mut survey.unsettled);
    let mut by_path: Vec<&mut Transfer> = all.collect();
    by_path.sort_by(|one, other| one.file.path.cmp(&other.file.path));
    let mut taken = HashSet::new();
    for one in by_path {
        // A file that gets no name fails.
        let Ok(name) = naming.file(&one.file) else { continue };
        one.yields = !taken.insert(short_hash(name.as_str().as_bytes()));
    }
}
