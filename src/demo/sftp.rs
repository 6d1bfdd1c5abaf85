//! An SFTP server over a folder: the one that `blobferry demo` shows, and, with a script, the one
//! that tests suffer.

mod house;
pub mod jail;
pub mod lies;
pub mod login;
pub mod script;
pub mod service;

pub use crate::demo::sftp::house::{DemoSftpAccount, LoginRule};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::MethodSet;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{HashAlg, PrivateKey, PublicKey};
use russh::{Preferred, cipher, kex, mac, server};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::demo::sftp::house::{Counters, House, lock};
#[cfg(feature = "testing")]
use crate::demo::sftp::script::DemoSftpScript;
use jail::Jail;
use login::Visitor;

/// Which algorithms the server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Era {
    /// Those that are sound today.
    #[default]
    Today,
    /// Those of servers from before 2014, and nothing else: SHA-1 and CBC, no strict key exchange.
    Old,
}

/// What to serve, where, to whom.
#[derive(Clone, Debug)]
pub struct DemoSftpOptions {
    /// The folder that visitors see as `/`, and never leave.
    pub root: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Who may enter; anybody, with any password, if `None`.
    pub account: Option<DemoSftpAccount>,
    /// A public key that opens the door, as `ssh-ed25519 AAAA…`.
    pub authorized_key: Option<String>,
    /// How to log in.
    pub login: LoginRule,
    /// What the host key is made from: the same seed, the same key. No secret, and fit for play
    /// only.
    pub host_key_seed: [u8; 32],
    /// Which algorithms it speaks.
    pub era: Era,
    /// What goes wrong.
    #[cfg(feature = "testing")]
    pub script: DemoSftpScript,
}

impl DemoSftpOptions {
    /// Serves `root` on a free local port, to anybody, faultlessly.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            bind: (Ipv4Addr::LOCALHOST, 0).into(),
            account: None,
            authorized_key: None,
            login: LoginRule::default(),
            host_key_seed: *b"a key for demonstrations only  .",
            era: Era::Today,
            #[cfg(feature = "testing")]
            script: DemoSftpScript::default(),
        }
    }
}

/// A server that runs until it is dropped; its visitors' connections die with it.
pub struct SftpServer {
    /// Where it listens.
    pub address: SocketAddr,
    /// `SHA256:…` of its host key.
    pub host_key: String,
    house: Arc<House>,
    door: JoinHandle<()>,
}

impl Drop for SftpServer {
    fn drop(&mut self) {
        self.door.abort();
        self.disconnect_all();
    }
}

impl SftpServer {
    /// Starts to serve on the current runtime.
    pub async fn start(options: DemoSftpOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(options.bind).await?;
        let key = PrivateKey::new(
            KeypairData::Ed25519(Ed25519Keypair::from_seed(&options.host_key_seed)),
            "demo",
        )
        .map_err(io::Error::other)?;
        let host_key = key.public_key().fingerprint(HashAlg::Sha256).to_string();
        let authorized_key = options
            .authorized_key
            .map(|key| PublicKey::from_openssh(&key))
            .transpose()
            .map_err(io::Error::other)?;
        let methods = login::methods(options.login, authorized_key.is_some());
        let house = Arc::new(House {
            jail: Jail::new(&options.root)?,
            account: options.account,
            authorized_key,
            login: options.login,
            #[cfg(feature = "testing")]
            script: Mutex::new(Arc::new(options.script)),
            counters: Counters::default(),
            visitors: Mutex::default(),
        });
        let address = listener.local_addr()?;
        let door = tokio::spawn(keep_door(
            listener,
            Arc::new(config(key, methods, options.era)),
            house.clone(),
        ));
        Ok(Self { address, host_key, house, door })
    }

    /// Follows another script from now on.
    #[cfg(feature = "testing")]
    pub fn follow(&self, script: DemoSftpScript) {
        *lock(&self.house.script) = Arc::new(script);
    }

    /// Cuts every connection; new ones are welcome.
    pub fn disconnect_all(&self) {
        let visitors: Vec<u64> = lock(&self.house.visitors).keys().copied().collect();
        for visitor in visitors {
            self.house.cut(visitor);
        }
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.house.counters.connections.load(Ordering::Relaxed)
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        lock(&self.house.visitors).len()
    }

    /// The most connections that were open at once.
    pub fn most_connections(&self) -> usize {
        self.house.counters.most_connections.load(Ordering::Relaxed)
    }

    /// Passwords and keys shown so far, good and bad.
    pub fn credentials(&self) -> usize {
        self.house.counters.credentials.load(Ordering::Relaxed)
    }

    /// Logins that succeeded so far.
    pub fn logins(&self) -> usize {
        self.house.counters.logins.load(Ordering::Relaxed)
    }

    /// Files and directories opened so far.
    pub fn opens(&self) -> usize {
        self.house.counters.opens.load(Ordering::Relaxed)
    }
}

fn preferred(era: Era) -> Preferred {
    let ciphers = vec![
        cipher::AES_128_GCM,
        cipher::AES_256_GCM,
        cipher::CHACHA20_POLY1305,
        cipher::AES_256_CTR,
        cipher::AES_128_CTR,
    ];
    match era {
        Era::Today => Preferred { cipher: ciphers.into(), ..Preferred::DEFAULT },
        Era::Old => Preferred {
            kex: vec![kex::DH_G14_SHA1, kex::DH_G1_SHA1].into(),
            cipher: vec![cipher::AES_128_CBC].into(),
            mac: vec![mac::HMAC_SHA1].into(),
            ..Preferred::DEFAULT
        },
    }
}

fn config(key: PrivateKey, methods: MethodSet, era: Era) -> server::Config {
    server::Config {
        keys: vec![key],
        methods,
        nodelay: true,
        // Enough to make guessing slow, and little enough to be no bother.
        auth_rejection_time: Duration::from_millis(100),
        auth_rejection_time_initial: Some(Duration::ZERO),
        preferred: preferred(era),
        ..server::Config::default()
    }
}

async fn keep_door(listener: TcpListener, config: Arc<server::Config>, house: Arc<House>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let number = house.counters.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(welcome(stream, number, config.clone(), house.clone()));
            }
            // Out of file descriptors, most likely; some will come free.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn welcome(stream: TcpStream, number: u64, config: Arc<server::Config>, house: Arc<House>) {
    // A visitor who leaves early is no concern of the house.
    drop(entertain(stream, number, config, &house).await);
    lock(&house.visitors).remove(&number);
}

async fn entertain(
    stream: TcpStream,
    number: u64,
    config: Arc<server::Config>,
    house: &Arc<House>,
) -> Result<(), russh::Error> {
    let stream = stream.into_std()?;
    let crowded = {
        let mut visitors = lock(&house.visitors);
        visitors.insert(number, stream.try_clone()?);
        house.counters.most_connections.fetch_max(visitors.len(), Ordering::Relaxed);
        house.script().most_connections.is_some_and(|most| visitors.len() > most)
    };
    let mut stream = TcpStream::from_std(stream)?;
    stream.set_nodelay(true)?;
    if crowded {
        stream.write_all(b"Exceeded MaxStartups\r\n").await?;
        return Ok(());
    }
    server::run_stream(config, stream, Visitor::new(house.clone(), number)).await?.await
}
