//! Embedded servers with generated files: for `blobferry demo` and for the tests.

pub mod files;
pub mod ftp;
pub mod sftp;
