//! Layouts as templates: from a file and what a source's settings say of names to a blob's name.
//!
//! `read` makes a [`Template`] of the settings' texts and refuses what could not hold; `template`
//! fills it in. A value that a file has not fails that file: it never goes elsewhere.

mod read;
mod template;
#[cfg(test)]
mod tests;

pub use read::{BadLayout, LayoutSettings};
pub use template::{MemberName, NameError, Template};
