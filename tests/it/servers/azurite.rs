//! Azurite, Microsoft's emulator of Azure Blob and Queue Storage.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::account::{self, Home};
use super::certs::{self, Cert};
use super::daemon::{Daemon, Ready};
use super::{Rights, available, tools};

/// Where Azurite keeps what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// In memory, which it keeps for ten minutes after a removal: for little data.
    Memory,
    /// In a folder that goes with the guard: for large data, no slower.
    Disk,
}

/// A running Azurite with its well-known account.
#[derive(Debug)]
pub struct Azurite {
    /// The port of the blob service on 127.0.0.1.
    pub blob_port: u16,
    /// The port of the queue service on 127.0.0.1.
    pub queue_port: u16,
    /// The CA to trust, where it speaks TLS.
    pub ca: Option<PathBuf>,
    /// The process.
    pub daemon: Daemon,
    _home: Home,
}

/// The account of every Azurite.
pub const ACCOUNT: &str = "devstoreaccount1";
/// Its key: public knowledge, written in Azurite's documentation.
pub const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

impl Azurite {
    /// The one that the tests of this process share; `None` when the test is to be left out.
    /// It keeps its data on disk. Take a container of your own: [`Azurite::container`].
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Azurite>> = OnceLock::new();
        match SHARED.get_or_init(|| Self::start(Persistence::Disk)) {
            Some(azurite) => Some(azurite),
            // Says again for each test that it is left out.
            None => Self::start(Persistence::Disk).map(|azurite| &*Box::leak(Box::new(azurite))),
        }
    }

    /// Starts one for a single test; `None` when the test is to be left out.
    pub fn start(persistence: Persistence) -> Option<Self> {
        Self::launch(persistence, None)
    }

    /// Starts one that speaks TLS and takes bearer tokens beside its key. It reads a token's times,
    /// issuer (`https://sts.windows.net/…/`) and audience (`https://storage.azure.com`), not its
    /// signature.
    pub fn start_with_tokens() -> Option<Self> {
        Self::launch(Persistence::Disk, Some(Cert::Good))
    }

    fn launch(persistence: Persistence, cert: Option<Cert>) -> Option<Self> {
        let (node, script) = (
            tools().join("node/node"),
            tools().join("node/node_modules/azurite/dist/src/azurite.js"),
        );
        if !available("Azurite", &[node.clone(), script.clone()], Rights::Anyone) {
            return None;
        }
        let home = Home::new("azurite");
        let cert = cert.map(|cert| certs::write(&home, cert));
        let (daemon, [blob_port, queue_port, _]) = Daemon::start(
            "Azurite",
            &home.path("log"),
            Ready::AllAccept,
            |[blob, queue, table]| {
                let mut words = vec![node.display().to_string(), script.display().to_string()];
                words.extend(
                    ["--skipApiVersionCheck", "--disableTelemetry", "--silent"].map(str::to_owned),
                );
                for (service, port) in [("blob", blob), ("queue", queue), ("table", table)] {
                    words.extend([
                        format!("--{service}Host"),
                        "127.0.0.1".to_owned(),
                        format!("--{service}Port"),
                        port.to_string(),
                    ]);
                }
                if let Some(cert) = &cert {
                    words.extend(
                        ["--oauth", "basic", "--cert", &cert.cert, "--key", &cert.key]
                            .map(str::to_owned),
                    );
                }
                match persistence {
                    Persistence::Memory => words.push("--inMemoryPersistence".to_owned()),
                    Persistence::Disk => {
                        words.extend(["--location".to_owned(), home.text("jail/files")])
                    }
                }
                words
            },
        );
        Some(Self { blob_port, queue_port, ca: cert.map(|cert| cert.ca), daemon, _home: home })
    }

    /// The connection string of its account.
    pub fn connection_string(&self) -> String {
        let (scheme, blob, queue) = (self.scheme(), self.blob_url(), self.queue_url());
        format!(
            "DefaultEndpointsProtocol={scheme};AccountName={ACCOUNT};AccountKey={KEY};\
            BlobEndpoint={blob};QueueEndpoint={queue};"
        )
    }

    /// `http(s)://127.0.0.1:port/account` of the blob service.
    pub fn blob_url(&self) -> String {
        format!("{}://127.0.0.1:{}/{ACCOUNT}", self.scheme(), self.blob_port)
    }

    /// Where the blob service listens, for a proxy before it.
    pub fn blob_address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.blob_port))
    }

    /// `http(s)://127.0.0.1:port/account` of the queue service.
    pub fn queue_url(&self) -> String {
        format!("{}://127.0.0.1:{}/{ACCOUNT}", self.scheme(), self.queue_port)
    }

    fn scheme(&self) -> &'static str {
        if self.ca.is_some() { "https" } else { "http" }
    }

    /// A name for a container or a queue that nobody else has. It is not created.
    pub fn container(what: &str) -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        format!("{what}-{}-{}", NEXT.fetch_add(1, Ordering::Relaxed), &account::random()[..8])
    }
}
