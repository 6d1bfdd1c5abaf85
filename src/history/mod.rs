//! What earlier runs left in the state: records of runs, the index of sources.

pub mod announcement;
pub mod arrivals;
pub mod arrivals_cache;
#[cfg(test)]
mod clocks_tests;
pub mod files_by_name;
pub mod known_sources;
pub mod manifest_lines;
pub mod name_index;
mod name_scan;
pub mod name_segment;
pub mod name_words;
#[cfg(test)]
mod names_tests;
pub mod record;
pub mod records;
pub mod run_id;
pub mod source_days;
pub mod source_index;
pub mod standing;
