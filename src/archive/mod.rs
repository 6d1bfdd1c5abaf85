//! Archives: the table of formats.

mod at_rest;
pub mod contract;
pub mod error;
pub mod limits;
pub mod names;
mod nested;
pub mod options;
pub mod spool;
pub mod unpack;
pub mod zip;
mod zip_directory;
mod zip_fields;
mod zip_partial;
#[cfg(test)]
mod zip_tests;

use contract::Format;

/// Every format that is read, in the order in which they are asked.
pub const FORMATS: &[&dyn Format] = &[&zip::Zip];

/// The format that a file called `name` that begins with `head` (up to [`contract::HEAD_BYTES`]) may have, if
/// it may be an archive: [`contract::Format::nature`] tells, once all of it is there.
pub fn recognise(head: &[u8], name: &str) -> Option<&'static dyn Format> {
    FORMATS.iter().copied().find(|format| format.recognises(head, name))
}
