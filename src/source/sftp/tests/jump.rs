//! A host on the way whose connections bring more than anybody reads.

use std::sync::atomic::{AtomicUsize, Ordering};

use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{HashAlg, PrivateKey};
use russh::server::{self, Auth, ChannelOpenHandle, Handler, Msg, Session as ServerSession};
use russh::{Channel, ChannelStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::source::sftp::jump::JumpHost;
use crate::source::sftp::settings;
use crate::source::sftp::transport::Detour;

/// Forwards every connection to the test.
struct Forwarder(mpsc::UnboundedSender<ChannelStream<Msg>>);

impl Handler for Forwarder {
    type Error = russh::Error;

    async fn auth_password(&mut self, _: &str, _: &str) -> Result<Auth, russh::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut ServerSession,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        drop(self.0.send(channel.into_stream()));
        Ok(())
    }
}

/// A host on the way, and what is connected to it.
async fn host() -> (JumpHost, mpsc::UnboundedReceiver<ChannelStream<Msg>>) {
    let key = KeypairData::Ed25519(Ed25519Keypair::from_seed(&[7; 32]));
    let key = PrivateKey::new(key, "test").expect("a pair makes a key");
    let pin = key.public_key().fingerprint(HashAlg::Sha256).to_string();
    let config = Arc::new(server::Config { keys: vec![key], ..server::Config::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    let (sender, connections) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let session = server::run_stream(config.clone(), stream, Forwarder(sender.clone()));
            tokio::spawn(async move {
                if let Ok(session) = session.await {
                    drop(session.await);
                }
            });
        }
    });
    let url = format!("sftp://me@127.0.0.1:{port}/");
    let section = section(&[("password", text("secret")), ("host_key", text(&pin))])
        .expect("the settings are known");
    let url = SourceUrl::parse(&url).expect("it is a URL");
    (JumpHost::new(settings::target(&section, &url).expect("it is whole")), connections)
}

/// Sends `bytes` bytes to `stream`, and counts those that are on their way in `sent`.
async fn flood(mut stream: impl tokio::io::AsyncWrite + Unpin, bytes: usize, sent: &AtomicUsize) {
    for _ in 0..bytes / PIECE {
        stream.write_all(&[7; PIECE]).await.expect("the connection lives");
        sent.fetch_add(PIECE, Ordering::Relaxed);
    }
}

const PIECE: usize = 32 << 10;

#[tokio::test]
async fn a_download_through_a_host_between_goes_on_while_requests_are_written() {
    const BROUGHT: usize = 32 << 20;
    const ASKED: usize = 4 << 20;
    let (host, mut connections) = host().await;
    let (mut near, _login) =
        host.connect("behind", 22, &mut |_| {}).await.expect("it is connected");
    let (mut read, write) = tokio::io::split(connections.recv().await.expect("it was forwarded"));
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    tokio::spawn(async move { flood(write, BROUGHT, &counted).await });
    let taken = tokio::spawn(async move {
        let mut taken = vec![0; ASKED];
        read.read_exact(&mut taken).await.map(|_| taken)
    });
    // More than the queue of the channel holds.
    while sent.load(Ordering::Relaxed) < 200 * PIECE {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let asking = async {
        near.write_all(&vec![1; ASKED]).await.expect("the connection lives");
        near.flush().await.expect("the connection lives");
        taken.await.expect("it ends").expect("all of it came")
    };
    let asked = tokio::time::timeout(Duration::from_secs(60), asking).await;
    assert_eq!(asked.expect("requests are taken while nobody reads"), vec![1; ASKED]);
    let mut brought = vec![0; BROUGHT];
    let reading = tokio::time::timeout(Duration::from_secs(60), near.read_exact(&mut brought));
    reading.await.expect("it goes on").expect("all of it came");
    assert!(brought.iter().all(|byte| *byte == 7));
}
