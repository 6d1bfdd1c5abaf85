//! Distance for benchmarks: forwards TCP ports and holds each byte back by half of a round-trip
//! time, in both directions.
//!
//! `delay_proxy LISTEN_IP TO_IP RTT_MS PORT[-PORT],…` listens on the same port numbers as the
//! servers, so that FTP's passive connections are far away as well, and prints `ready`. A
//! connection costs one round trip more, as the TCP handshake over the distance would. Bytes wait
//! with the time that they are due at: what is under way is not limited to one chunk a round trip,
//! but to 16 MiB a direction, as by a large TCP window. There is no loss and no bandwidth limit.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

const WINDOW: usize = 16 << 20;
const CHUNK: usize = 64 << 10;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, to, rtt, ports] = arguments.as_slice() else {
        bail!("usage: delay_proxy LISTEN_IP TO_IP RTT_MS PORT[-PORT],…")
    };
    let (listen, to): (IpAddr, IpAddr) = (listen.parse()?, to.parse()?);
    let half = Duration::from_secs_f64(rtt.parse::<f64>()? / 2000.0);
    for port in parsed(ports)? {
        let listener = TcpListener::bind((listen, port))
            .await
            .with_context(|| format!("listening on {listen}:{port}"))?;
        tokio::spawn(serve(listener, SocketAddr::new(to, port), half));
    }
    writeln!(std::io::stdout(), "ready")?;
    std::future::pending().await
}

fn parsed(ports: &str) -> Result<Vec<u16>> {
    let mut all = Vec::new();
    for range in ports.split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        all.extend(first.parse::<u16>()?..=last.parse()?);
    }
    Ok(all)
}

async fn serve(listener: TcpListener, to: SocketAddr, half: Duration) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(async move {
            tokio::time::sleep(half * 2).await;
            let Ok(server) = TcpStream::connect(to).await else { return };
            if client.set_nodelay(true).and(server.set_nodelay(true)).is_err() {
                return;
            }
            let ((from_client, to_client), (from_server, to_server)) =
                (client.into_split(), server.into_split());
            tokio::join!(carry(from_client, to_server, half), carry(from_server, to_client, half));
        });
    }
}

/// Bytes, when they are due, and their part of the window.
type Waiting = (Instant, Vec<u8>, OwnedSemaphorePermit);

async fn carry(from: impl AsyncRead + Unpin, to: impl AsyncWrite + Unpin, delay: Duration) {
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::join!(take(from, sender, delay), hand_on(to, receiver));
}

async fn take(
    mut from: impl AsyncRead + Unpin,
    sender: mpsc::UnboundedSender<Waiting>,
    delay: Duration,
) {
    let window = Arc::new(Semaphore::new(WINDOW));
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            () = sender.closed() => return,
        };
        // An end is an end for the other side too, half a round trip later.
        let Ok(count @ 1..) = read else { return };
        let room = u32::try_from(count).expect("a chunk is small");
        let Ok(room) = window.clone().acquire_many_owned(room).await else { return };
        if sender.send((Instant::now() + delay, buffer[..count].to_vec(), room)).is_err() {
            return;
        }
    }
}

async fn hand_on(mut to: impl AsyncWrite + Unpin, mut receiver: mpsc::UnboundedReceiver<Waiting>) {
    while let Some((due, bytes, room)) = receiver.recv().await {
        tokio::time::sleep_until(due).await;
        if to.write_all(&bytes).await.is_err() {
            return;
        }
        drop(room);
    }
    // The other side may have gone first.
    drop(to.shutdown().await);
}
