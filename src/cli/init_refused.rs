//! Why `init` writes nothing.

use std::path::Path;

use crate::cli::exit::UNUSABLE;

/// Why there is no file.
pub(crate) struct InitRefused {
    pub code: u8,
    pub text: String,
}

pub fn unusable(text: impl Into<String>) -> InitRefused {
    InitRefused { code: UNUSABLE, text: text.into() }
}

pub fn exists(path: &Path) -> InitRefused {
    unusable(format!(
        "`{}` is there already and is left alone\nhint: `--force` replaces it, `--config FILE` \
        names another",
        path.display()
    ))
}
