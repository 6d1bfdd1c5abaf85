//! How archives are to be read, as the settings of their source say.

use crate::archive::limits::Limits;
use crate::model::Secret;

/// How the archives of one source are read.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name of the archive file, decoded, without its folders. What has no name inside is called after it.
    pub file_name: String,
    /// Passwords to try on encrypted content, in order.
    pub passwords: Vec<Secret>,
    /// The character set of names that do not tell theirs.
    pub charset: Charset,
    /// Whether zip-based documents count as archives.
    pub unpack_documents: bool,
    /// Archives in archives that are opened, the outermost counted: 1 keeps inner archives as files.
    pub depth: u32,
    /// What one archive may unpack to, all that is nested in it included.
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            file_name: String::new(),
            passwords: Vec::new(),
            charset: Charset::Detect,
            unpack_documents: false,
            depth: 3,
            limits: Limits::default(),
        }
    }
}

/// The character set of names that do not tell theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// Guessed from all names of the archive together.
    Detect,
    /// The first code page of the IBM PC, which the zip format names as its default.
    Cp437,
    /// One that the Encoding Standard names.
    Named(&'static encoding_rs::Encoding),
}
