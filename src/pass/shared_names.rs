//! Files of one listing that have the same plain name: the first by its path has it, whichever is
//! read first, so that a plan can tell and each run does the same.

use std::collections::HashSet;

use crate::pass::found_work::Survey;
use crate::rules::naming::short_hash;
use crate::transfer::request::Transfer;
use crate::transfer::settings::Source;

/// Marks all but the first; where the newest takes the place of the one before, all but the newest.
pub(crate) fn mark(source: &Source, survey: &mut Survey) {
    let naming = &source.naming;
    if !naming.may_meet() {
        return;
    }
    let all = survey.transfers.iter_mut().chain(survey.unsettled.iter_mut());
    let mut by_path: Vec<&mut Transfer> = all.collect();
    by_path.sort_by(|one, other| one.file.path.cmp(&other.file.path));
    if let Some(rule) = source.succession() {
        by_path.sort_by(|one, other| rule.order(&other.file, &one.file));
    }
    let mut taken = HashSet::new();
    for one in by_path {
        // A file that gets no name fails.
        let Ok(name) = naming.file(&one.file) else { continue };
        one.yields = !taken.insert(short_hash(name.as_str().as_bytes()));
    }
}
