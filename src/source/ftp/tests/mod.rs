//! The endpoint against our own server: whatever a server does, complete data or the right class,
//! and soon.

mod better;
mod corpus;
mod dialects;
mod encryption;
mod faults;
mod handshakes;
mod logging_in;
#[cfg(unix)]
mod names;
mod odd;
mod quirks;
mod scripted;
mod text;
mod together;
mod witness;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::account::{FtpAccount, FtpLimits, Learned, Security, TransferType};
use super::driver::FtpEndpoint;
use crate::demo::ftp::FtpServer;
use crate::demo::ftp::script::DemoFtpScript;
use crate::demo::ftp::shared::DemoFtpOptions;
use crate::model::failure::{Class, Failure};
use crate::model::{RemoteFile, RemotePath, Secret, chain};
use crate::source::contract::{Endpoint, Listed, Session, SourceError};
use crate::source::pace::MinimumRate;

/// Longer than anything takes that is not meant to take for ever.
const NEVER: Duration = Duration::from_secs(60);

/// What a server gets that answers, however busy the machine is.
const PATIENT: FtpLimits = FtpLimits {
    connect: Duration::from_secs(20),
    command: Duration::from_secs(20),
    stall: Duration::from_secs(20),
    finish: Duration::from_secs(20),
    rate: MinimumRate::OFF,
};

/// What a server gets that is meant to let us wait.
const HASTY: FtpLimits = FtpLimits {
    connect: Duration::from_secs(1),
    command: Duration::from_secs(1),
    stall: Duration::from_millis(400),
    finish: Duration::from_millis(400),
    rate: MinimumRate::OFF,
};

struct World {
    root: tempfile::TempDir,
    server: FtpServer,
    endpoint: FtpEndpoint,
}

fn content(size: usize) -> Vec<u8> {
    (0..size as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn endpoint(server: &FtpServer, password: &str, security: Security) -> FtpEndpoint {
    let account = FtpAccount {
        host: server.address.ip().to_string(),
        port: server.address.port(),
        address: format!("ftp://{}", server.address),
        user: "demo".into(),
        password: Secret::new(password),
        security,
        account: None,
        login_commands: Vec::new(),
        home: false,
        transfer_type: TransferType::Binary,
        proxy: None,
        limits: PATIENT,
        learned: Learned::default(),
    };
    FtpEndpoint { account: Arc::new(account) }
}

impl World {
    /// A server with `a.bin` of 100,000 bytes, `empty`, and `sub/b.txt`.
    async fn new(script: DemoFtpScript) -> Self {
        Self::at(script, |_| {}).await
    }

    async fn at(script: DemoFtpScript, change: impl FnOnce(&mut DemoFtpOptions)) -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("a.bin"), content(100_000)).unwrap();
        std::fs::write(root.path().join("empty"), b"").unwrap();
        std::fs::create_dir(root.path().join("sub")).unwrap();
        std::fs::write(root.path().join("sub/b.txt"), b"hello").unwrap();
        let mut options = DemoFtpOptions { script, ..DemoFtpOptions::new(root.path()) };
        change(&mut options);
        let server = FtpServer::start(options).await.unwrap();
        let endpoint = endpoint(&server, "demo", Security::Clear);
        Self { root, server, endpoint }
    }

    /// The same, with no patience for what the server leaves out.
    fn hasty(mut self) -> Self {
        Arc::get_mut(&mut self.endpoint.account).expect("nobody else has it").limits = HASTY;
        self
    }

    fn hasty_if(self, waits: bool) -> Self {
        if waits { self.hasty() } else { self }
    }

    fn path(&self) -> &Path {
        self.root.path()
    }

    async fn session(&self) -> Box<dyn Session> {
        self.endpoint.open().await.unwrap()
    }

    async fn refused(&self) -> SourceError {
        match soon(self.endpoint.open()).await {
            Ok(_) => panic!("it let us in"),
            Err(error) => error,
        }
    }

    /// The logins that the server saw, good and bad.
    fn logins(&self) -> (u64, u64) {
        (
            self.server.counts.logins.load(Ordering::SeqCst),
            self.server.counts.refused_logins.load(Ordering::SeqCst),
        )
    }
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(NEVER, work).await.expect("it hangs")
}

async fn list(session: &mut Box<dyn Session>, dir: &str) -> Result<Vec<Listed>, SourceError> {
    let mut found = Vec::new();
    soon(session.list(&RemotePath::from(dir), &mut |listed| found.push(listed))).await?;
    Ok(found)
}

/// What a folder holds, one line an entry.
async fn shown(session: &mut Box<dyn Session>, dir: &str) -> Vec<String> {
    let show = |listed: Listed| match listed {
        Listed::File(file) => {
            format!("{} {} {:?}", file.path, file.size.unwrap(), file.modified.map(|m| m.precision))
        }
        other => format!("{other:?}"),
    };
    list(session, dir).await.unwrap().into_iter().map(show).collect()
}

fn file(path: &str, size: impl Into<Option<u64>>) -> RemoteFile {
    RemoteFile { path: RemotePath::from(path), size: size.into(), modified: None }
}

async fn fetch(
    session: &mut Box<dyn Session>,
    file: &RemoteFile,
    offset: u64,
) -> Result<Vec<u8>, SourceError> {
    soon(async {
        let mut bytes = Vec::new();
        let mut download = session.read(file, offset).await?;
        while let Some(chunk) = download.next().await? {
            assert!(!chunk.is_empty());
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    })
    .await
}

#[track_caller]
fn check_error<T: std::fmt::Debug>(
    result: Result<T, SourceError>,
    class: Class,
    transient: bool,
) -> String {
    let error = result.map(|_| ()).expect_err("it should have failed");
    let text = chain(&error);
    assert_eq!((error.class(), error.is_transient()), (class, transient), "{text}");
    text
}
