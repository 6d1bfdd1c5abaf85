//! Bytes of names as patterns match them.

/// `bytes` as a path.
#[cfg(unix)]
pub(crate) fn as_path(bytes: &[u8]) -> &std::path::Path {
    use std::os::unix::ffi::OsStrExt;
    std::path::Path::new(std::ffi::OsStr::from_bytes(bytes))
}

/// `bytes` as a path.
#[cfg(not(unix))]
pub(crate) fn as_path(bytes: &[u8]) -> std::path::PathBuf {
    // Windows paths are Unicode; a byte that is not takes part in matching as U+FFFD.
    String::from_utf8_lossy(bytes).into_owned().into()
}
