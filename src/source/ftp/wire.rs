//! The control connection as bytes: names that keep theirs, and a line that firewalls do not forget.

use std::time::Duration;

use tokio::net::TcpStream;

/// After so long without a packet, one is sent. The most forgetful firewalls in the field allow a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Firewalls forget connections on which nothing passes, and a control connection is silent as long as its
/// transfer lasts: so the system sends an empty packet now and then. It also notices an end that is gone.
pub fn keep_alive(control: &TcpStream) {
    let probes = socket2::TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE);
    if let Err(error) = socket2::SockRef::from(control).set_tcp_keepalive(&probes) {
        tracing::debug!(%error, "The control connection cannot be kept alive.");
    }
}

/// Names as the library carries them: each byte one character of the same number.
#[derive(Debug)]
pub struct Bytewise;

impl suppaftp::Encoding for Bytewise {
    fn decode(&self, bytes: &[u8]) -> String {
        bytewise(bytes)
    }
    fn encode(&self, text: &str) -> std::io::Result<Vec<u8>> {
        text.chars().map(|c| u8::try_from(u32::from(c)).map_err(|_| std::io::ErrorKind::InvalidInput.into())).collect()
    }
}

/// `bytes` as the library carries them.
pub fn bytewise(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}
