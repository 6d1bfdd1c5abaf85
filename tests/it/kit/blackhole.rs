//! A port that nobody answers at: not refused, not accepted, as behind a firewall that drops.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

/// A listener whose queue is full, so that the system drops whatever else knocks.
pub struct Blackhole {
    pub address: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl Blackhole {
    /// Fills the queue; `None` where the system takes more than it was told to.
    pub async fn open() -> Option<Self> {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let listener = socket.listen(1).expect("it listens");
        let address = listener.local_addr().expect("it has an address");
        let mut queued = Vec::new();
        for _ in 0..64 {
            match timeout(Duration::from_millis(500), TcpStream::connect(address)).await {
                Ok(Ok(stream)) => queued.push(stream),
                Ok(Err(_)) => return None,
                Err(_) => return Some(Self { address, _listener: listener, _queued: queued }),
            }
        }
        None
    }
}
