//! What goes over a control connection: commands with paths, and what keeps firewalls from
//! forgetting the connection.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::model::RemotePath;

/// After so long without a packet, one is sent. The most forgetful firewalls in the field allow a
/// minute.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Firewalls forget connections on which nothing passes, and a control connection is silent as long
/// as its transfer lasts: so the system sends an empty packet now and then. It also notices an end
/// that is gone.
pub(crate) fn keep_alive(control: &TcpStream) {
    let probes = socket2::TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE);
    if let Err(error) = socket2::SockRef::from(control).set_tcp_keepalive(&probes) {
        tracing::debug!(%error, "The control connection cannot be kept alive.");
    }
}

/// `verb /path` as bytes.
pub(crate) fn with_path(verb: &str, path: &RemotePath) -> Vec<u8> {
    [verb.as_bytes(), b" ", path.as_bytes()].concat()
}
