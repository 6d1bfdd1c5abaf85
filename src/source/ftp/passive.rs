//! The way to a data connection: which port the server opened, and a connection to it.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use super::account::FtpAccount;
use super::fault::{Broken, FtpReply};

/// The smallest receive buffer of a data connection for a part of a file, in bytes: several
/// packets.
const LEAST_BUFFER: u32 = 8 << 10;
/// And the largest.
const MOST_BUFFER: u32 = 32 << 10;
/// A port that was opened ahead is used within this time: nobody knows how long servers and
/// firewalls keep it.
const FRESH: Duration = Duration::from_secs(10);

/// A port that the server has opened for the next data connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Door {
    port: u16,
    extended: bool,
    since: Instant,
}

impl Door {
    /// The command that asks for one.
    pub fn command(extended: bool) -> &'static [u8] {
        if extended { b"EPSV" } else { b"PASV" }
    }

    /// What the reply to [`Door::command`] names.
    pub fn named(reply: FtpReply, extended: bool) -> Result<Self, Broken> {
        let (code, port) =
            if extended { (229, epsv_port(&reply.body)) } else { (227, pasv_port(&reply.body)) };
        match port {
            Some(port) if reply.code == code => Ok(Self { port, extended, since: Instant::now() }),
            _ => Err(Broken::Refused(reply)),
        }
    }

    /// Whether it may still be used where `extended` ones are wanted.
    pub fn serves(&self, extended: bool) -> bool {
        self.extended == extended && self.since.elapsed() < FRESH
    }

    /// A connection to it. The address in a reply to PASV may be one behind a NAT, or somebody
    /// else's: it is always the server's that is connected to. If only `wanted` bytes are, little
    /// more is sent ahead of us.
    pub async fn enter(
        &self,
        server: SocketAddr,
        account: &FtpAccount,
        wanted: Option<u64>,
    ) -> io::Result<TcpStream> {
        let connecting = async {
            match &account.proxy {
                // The proxy is the one who knows the server's address.
                Some(proxy) => proxy.connect(&account.host, self.port).await,
                None => {
                    connect(SocketAddr::new(server.ip(), self.port), wanted.map(buffer_for)).await
                }
            }
        };
        let late = || io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
        timeout(account.limits.connect, connecting).await.unwrap_or_else(|_| Err(late()))
    }
}

/// The receive buffer for a part of `wanted` bytes. A server sends a file to its end: what it has
/// sent ahead of us when enough has come, at most about twice this, is thrown away.
fn buffer_for(wanted: u64) -> u32 {
    u32::try_from(wanted).unwrap_or(u32::MAX).clamp(LEAST_BUFFER, MOST_BUFFER)
}

async fn connect(address: SocketAddr, buffer: Option<u32>) -> io::Result<TcpStream> {
    let Some(buffer) = buffer else { return TcpStream::connect(address).await };
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_recv_buffer_size(buffer)?;
    socket.connect(address).await
}

/// The port in `229 text (|||port|)` (RFC 2428 §3); any character may stand for the bar.
fn epsv_port(reply: &[u8]) -> Option<u16> {
    let inside = reply.split(|b| *b == b'(').nth(1)?;
    let (bar, rest) = inside.split_first()?;
    let rest = rest.strip_prefix(&[*bar, *bar])?;
    let digits = rest.split(|b| b == bar).next()?;
    nonzero(digits)
}

/// The port in `227 text (h1,h2,h3,h4,p1,p2)`; some servers leave the brackets out (RFC 1123
/// §4.1.2.6).
fn pasv_port(reply: &[u8]) -> Option<u16> {
    // `( 127, 0, 0, 1, 136,65)` is sent, too.
    let after = |at: usize| at > 0 && matches!(reply[at - 1], b',' | b'(' | b' ');
    let text: Vec<u8> = (4..reply.len())
        .filter(|at| reply[*at] != b' ' || !after(*at))
        .map(|at| reply[at])
        .collect();
    let within = |byte: u8| byte.is_ascii_digit() || byte == b',';
    let numbers = |bytes: &[u8]| -> Option<[u8; 6]> {
        let end = bytes.iter().position(|b| !within(*b)).unwrap_or(bytes.len());
        let numbers: Option<Vec<u8>> = bytes[..end].split(|b| *b == b',').map(byte).collect();
        numbers?.try_into().ok()
    };
    let starts = (0..text.len())
        .filter(|at| text[*at].is_ascii_digit() && (*at == 0 || !within(text[at - 1])));
    let [.., high, low] = starts.map(|at| &text[at..]).find_map(numbers)?;
    Some(u16::from_be_bytes([high, low])).filter(|port| *port != 0)
}

fn byte(digits: &[u8]) -> Option<u8> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn nonzero(digits: &[u8]) -> Option<u16> {
    let plain = digits.iter().all(u8::is_ascii_digit);
    plain
        .then(|| std::str::from_utf8(digits).ok()?.parse().ok())
        .flatten()
        .filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ports_are_found_in_every_dialect() {
        for (reply, port) in [
            ("229 Entering Extended Passive Mode (|||6446|)\r\n", Some(6446)),
            ("229 ok (!!!21!)", Some(21)),
            ("229 ok (|||0|)", None),
            ("229 ok (|||65536|)", None),
            ("229 ok (|||+44|)", None),
            ("229 ok (||6446|)", None),
            ("229 ok |||6446|", None),
            ("229 ok (", None),
        ] {
            assert_eq!(epsv_port(reply.as_bytes()), port, "{reply}");
        }
        for (reply, port) in [
            ("227 Entering Passive Mode (213,229,112,130,216,4)\r\n", Some(216 * 256 + 4)),
            ("227 Entering Passive Mode( 127, 0, 0, 1, 136,65).", Some(136 * 256 + 65)),
            ("227 at 10, 0,  0,1, 1,2", Some(258)),
            ("227 Entering Passive Mode. 10,0,0,1,4,5\r\n", Some(4 * 256 + 5)),
            ("227 =10,0,0,1,4,5", Some(4 * 256 + 5)),
            ("227 Entering Passive Mode (10,0,0,1,0,0)", None),
            ("227 Entering Passive Mode (10,0,0,1,256,5)", None),
            ("227 Entering Passive Mode (10,0,0,1,4)", None),
            ("227 Entering Passive Mode (10,0,0,1,4,5,6)", None),
            ("227", None),
        ] {
            assert_eq!(pasv_port(reply.as_bytes()), port, "{reply}");
        }
    }

    #[test]
    fn the_buffer_of_a_part_is_no_larger_than_it_needs_to_be() {
        for (wanted, buffer) in
            [(0, 8 << 10), (9_000, 9_000), (200 << 10, 32 << 10), (u64::MAX, 32 << 10)]
        {
            assert_eq!(buffer_for(wanted), buffer, "{wanted}");
        }
    }

    proptest! {
        #[test]
        fn no_reply_breaks_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..80),
            text in "22[79] \
            [(|0-9,)]{0,40}") {
            for reply in [bytes.as_slice(), text.as_bytes()] {
                for extended in [true, false] {
                    let found = Door::named(FtpReply::of(reply), extended);
                    if let Ok(door) = found {
                        prop_assert!(door.port != 0 && door.serves(extended));
                    }
                }
            }
        }
    }
}
