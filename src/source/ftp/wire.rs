//! A control connection that firewalls do not forget.

use std::time::Duration;

use tokio::net::TcpStream;

/// After so long without a packet, one is sent. The most forgetful firewalls in the field allow a
/// minute.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Firewalls forget connections on which nothing passes, and a control connection is silent as long
/// as its transfer lasts: so the system sends an empty packet now and then. It also notices an end
/// that is gone.
pub fn keep_alive(control: &TcpStream) {
    let probes = socket2::TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE);
    if let Err(error) = socket2::SockRef::from(control).set_tcp_keepalive(&probes) {
        tracing::debug!(%error, "The control connection cannot be kept alive.");
    }
}
