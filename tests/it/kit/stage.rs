//! A misbehaving server with files of known content, ready for trials.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use blobferry::demo::ftp::FtpServer;
use blobferry::demo::ftp::script::DemoFtpScript as FtpScript;
use blobferry::demo::ftp::shared::DemoFtpOptions as FtpOptions;
use blobferry::demo::sftp::DemoSftpAccount;
use blobferry::demo::sftp::script::DemoSftpScript as SftpScript;
use blobferry::demo::sftp::{DemoSftpOptions as SftpOptions, SftpServer};
use blobferry::model::Secret;
use tokio::runtime::Runtime;

use super::super::e2e::bad_input::old_file;
use super::super::served::percent_all;

/// The password of every scripted server: one that must never be seen anywhere else.
pub const CANARY: &str = "C@nary/s0ng:#%41 bird";

/// A server, its folder, and the runtime that it lives on.
pub struct Stage<S> {
    // First the server, then its runtime.
    pub server: S,
    pub root: tempfile::TempDir,
    pub runtime: Runtime,
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

pub fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

/// `a.bin` of 300,000 bytes, `b.txt`, `sub/c.txt`, all long settled.
fn folder() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a folder");
    old_file(&root.path().join("a.bin"), &content(300_000));
    old_file(&root.path().join("b.txt"), b"bravo");
    old_file(&root.path().join("sub/c.txt"), b"charlie");
    root
}

/// An FTP server of this script.
pub fn ftp(script: FtpScript) -> Stage<FtpServer> {
    ftp_with(|options| options.script = script)
}

/// An FTP server with other options.
pub fn ftp_with(change: impl FnOnce(&mut FtpOptions)) -> Stage<FtpServer> {
    let (root, runtime) = (folder(), runtime());
    let mut options = FtpOptions { password: Secret::new(CANARY), ..FtpOptions::new(root.path()) };
    change(&mut options);
    let server = runtime.block_on(FtpServer::start(options)).expect("it starts");
    Stage { server, root, runtime }
}

/// An SFTP server of this script.
pub fn sftp(script: SftpScript) -> Stage<SftpServer> {
    sftp_with(|options| options.script = script)
}

/// An SFTP server with other options.
pub fn sftp_with(change: impl FnOnce(&mut SftpOptions)) -> Stage<SftpServer> {
    let (root, runtime) = (folder(), runtime());
    let mut options = SftpOptions::new(root.path());
    options.account = Some(DemoSftpAccount { user: "demo".into(), password: Secret::new(CANARY) });
    change(&mut options);
    let server = runtime.block_on(SftpServer::start(options)).expect("it starts");
    Stage { server, root, runtime }
}

impl<S> Stage<S> {
    /// Adds a file, or gives one new content.
    pub fn file(self, name: impl AsRef<Path>, content: &[u8]) -> Self {
        old_file(&self.root.path().join(name), content);
        self
    }

    /// What every file below the root holds, by its path there.
    pub fn files(&self) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.root.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("it is a folder") {
                let entry = entry.expect("it can be read");
                let kind = entry.file_type().expect("it has a kind");
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file() {
                    found.insert(entry.path(), std::fs::read(entry.path()).unwrap_or_default());
                }
            }
        }
        found
    }
}

impl Stage<FtpServer> {
    /// The lines that reach it.
    pub fn lines(&self) -> String {
        ftp_lines(self.server.address)
    }
}

/// The lines that reach the stage's account at another address, as that of a relay.
pub fn ftp_lines(address: SocketAddr) -> String {
    format!("url = \"ftp://demo:{}@{address}/\"\n", percent_all(CANARY))
}

impl Stage<SftpServer> {
    /// The lines that reach it.
    pub fn lines(&self) -> String {
        self.lines_at(self.server.address)
    }

    /// The lines that reach its account at another address, as that of a relay.
    pub fn lines_at(&self, address: SocketAddr) -> String {
        format!(
            "url = \"sftp://demo:{}@{address}/\"\nhost_key = \"{}\"\n",
            percent_all(CANARY),
            self.server.host_key
        )
    }
}
