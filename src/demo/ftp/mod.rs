//! An FTP server over a tree of files, with scripted faults.
//!
//! Without a script it is a server for people to try things on: confined to its folder, byte-exact
//! in names, good enough for `curl`, `lftp` and browsers' heirs. With one it plays the servers
//! that one meets in the field. No FTP library is involved, so that both can be exact.

mod commands;
mod control;
mod data;
mod lines;
pub mod script;
pub mod shared;
mod tree;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::demo::ftp::shared::DemoFtpShared;
use shared::Guest;

pub use crate::demo::ftp::shared::{DemoFtpCounts, DemoFtpOptions};
pub use shared::{ServerTls, TlsStart};

pub use crate::demo::ftp::script::{DemoFtpCompany, DemoFtpFault, DemoFtpHook, DemoFtpScript};
pub use script::{DeadPorts, ListFormat};

use crate::demo::ftp::tree::DemoFtpTree;

/// A running server. It stops when it is dropped, with all its connections.
#[derive(Debug)]
pub struct FtpServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it has seen so far.
    pub counts: Arc<DemoFtpCounts>,
    task: JoinHandle<()>,
}

impl FtpServer {
    /// Binds the address and serves from a task of the current runtime.
    pub async fn start(options: DemoFtpOptions) -> io::Result<Self> {
        let tree = DemoFtpTree::new(&options.root)?;
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let counts = Arc::new(DemoFtpCounts::default());
        let shared = Arc::new(DemoFtpShared {
            options,
            tree,
            counts: counts.clone(),
            arrivals: AtomicU64::new(0),
            welcomes: AtomicU64::new(0),
            ends: AtomicU64::new(0),
            played: Mutex::default(),
        });
        Ok(Self { address, counts, task: tokio::spawn(accept(listener, shared)) })
    }
}

impl Drop for FtpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The set of connections lives in this task, so that it ends them when it ends.
async fn accept(listener: TcpListener, shared: Arc<DemoFtpShared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(control::serve(stream, peer, shared.clone(),
                        Guest::arrive(&shared.counts)));
                }
                // Out of file handles, perhaps: that may pass.
                Err(error) => {
                    tracing::warn!(%error, "The demo server could not accept a connection.");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

#[cfg(test)]
mod tests;
