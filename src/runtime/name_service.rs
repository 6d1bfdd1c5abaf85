//! Addresses of a host by its name.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Every address of `host` at `port`, the name service's first choice first. `localhost` is this
/// machine where the name service does not know it, as in a container without /etc/hosts (RFC 6761,
/// 6.3).
pub(crate) async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    match tokio::net::lookup_host((host, port)).await {
        Ok(found) => Ok(found.collect()),
        Err(_) if is_this_machine(host) => Ok(loopback(port)),
        Err(error) => Err(error),
    }
}

fn is_this_machine(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

fn loopback(port: u16) -> Vec<SocketAddr> {
    let both = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
    both.map(|address| SocketAddr::new(address, port)).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn localhost_is_this_machine_whatever_the_name_service_says() {
        // No name service knows the second one.
        for host in ["localhost", "blobferry.localhost", "BLOBFERRY.LOCALHOST."] {
            let found = addresses(host, 21).await.expect("addresses");
            assert!(!found.is_empty() && found.iter().all(|at| at.ip().is_loopback()), "{host}");
        }
        assert!(addresses("blobferry.invalid", 21).await.is_err());
    }
}
