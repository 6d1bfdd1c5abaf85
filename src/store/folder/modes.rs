//! Who may read what the store keeps for itself: its owner, and the owner's group.

use std::fs::{DirBuilder, OpenOptions};

/// What this program keeps of itself is named so.
const STATE: &str = "_blobferry/";

/// Opens files for the content of the blob `name`.
pub(crate) fn files_of(name: &str) -> OpenOptions {
    if name.starts_with(STATE) { private() } else { OpenOptions::new() }
}

/// Makes the folders of the blob `name`, with those above.
pub(crate) fn folders_of(name: &str) -> DirBuilder {
    if name.starts_with(STATE) {
        return private_folders();
    }
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    builder
}

/// Opens files that others than owner and group cannot read.
pub fn private() -> OpenOptions {
    let options = OpenOptions::new();
    #[cfg(unix)]
    let options = {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = options;
        options.mode(0o640);
        options
    };
    options
}

/// Makes folders that others than owner and group cannot enter, with those above.
pub(crate) fn private_folders() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        builder.mode(0o750);
    }
    builder
}
