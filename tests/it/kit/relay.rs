//! A line between client and server that is cut, reset, frozen, slow or far, at the byte that a
//! test names.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// What the line does. Bytes are counted on their way from the server to the client, per
/// connection.
#[derive(Clone, Copy, Debug)]
pub enum Line {
    /// It carries.
    Good,
    /// Both ends are closed after so many bytes.
    Cut(u64),
    /// Both ends are reset after so many bytes.
    Reset(u64),
    /// Nothing passes any more after so many bytes, and nobody is told.
    Freeze(u64),
    /// Every byte takes this long, one way, however many are on their way.
    Latency(Duration),
    /// So many bytes at once, and a pause between.
    Drip(usize, Duration),
}

/// A relay before a server. It ends when it is dropped.
pub struct Relay {
    pub address: SocketAddr,
    connections: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// The first connections get the lines of `script`, in turn; all later ones the last of them.
    pub async fn start(target: SocketAddr, script: Vec<Line>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let connections = Arc::new(AtomicU64::new(0));
        let counter = connections.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = counter.fetch_add(1, Ordering::SeqCst);
                let at = usize::try_from(number).unwrap_or(usize::MAX).min(script.len() - 1);
                tokio::spawn(carry(client, target, script[at]));
            }
        });
        Self { address, connections, task }
    }

    /// Connections so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn carry(client: TcpStream, target: SocketAddr, line: Line) {
    let Ok(server) = TcpStream::connect(target).await else { return };
    client.set_nodelay(true).and(server.set_nodelay(true)).expect("these are sockets");
    if matches!(line, Line::Reset(_)) {
        client.set_zero_linger().expect("it is a socket");
    }
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    let there = tokio::spawn(pass(
        from_client,
        to_server,
        if let Line::Latency(_) = line { line } else { Line::Good },
    ));
    let back = tokio::spawn(pass(from_server, to_client, line));
    match back.await.expect("it does not panic") {
        // The line is up, and dead: both ends go on waiting.
        End::Frozen => {
            let _held = there;
            std::future::pending::<()>().await;
        }
        End::Closed => {
            there.abort();
            // Whatever it was: the halves go, and with them the sockets.
            drop(there.await);
        }
    }
}

enum End {
    Closed,
    Frozen,
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, line: Line) -> End {
    if let Line::Latency(delay) = line {
        return far(from, to, delay).await;
    }
    let limit = match line {
        Line::Cut(at) | Line::Reset(at) | Line::Freeze(at) => Some(at),
        _ => None,
    };
    let (mut buffer, mut passed) = (vec![0; 16 << 10], 0_u64);
    loop {
        let room = if let Line::Drip(bytes, _) = line { bytes } else { buffer.len() };
        let room =
            limit.map_or(room, |limit| usize::try_from(limit - passed).unwrap_or(room).min(room));
        if room == 0 {
            return match line {
                Line::Freeze(_) => {
                    std::mem::forget((from, to));
                    End::Frozen
                }
                _ => End::Closed,
            };
        }
        let Ok(read @ 1..) = from.read(&mut buffer[..room]).await else { return End::Closed };
        if let Line::Drip(_, pause) = line {
            sleep(pause).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return End::Closed;
        }
        passed += read as u64;
    }
}

/// Bytes that are on their way do not wait for each other.
async fn far(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) -> End {
    let (sender, mut arriving) =
        tokio::sync::mpsc::channel::<(tokio::time::Instant, Vec<u8>)>(4096);
    let reading = tokio::spawn(async move {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            if sender
                .send((tokio::time::Instant::now() + delay, buffer[..read].to_vec()))
                .await
                .is_err()
            {
                return;
            }
        }
    });
    while let Some((at, bytes)) = arriving.recv().await {
        tokio::time::sleep_until(at).await;
        if to.write_all(&bytes).await.is_err() {
            break;
        }
    }
    reading.abort();
    End::Closed
}
