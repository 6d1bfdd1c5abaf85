//! A way through a proxy: SOCKS 5 or HTTP CONNECT, with the server's name resolved at the far end.

use std::fmt;
use std::io;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::model::{Secret, printable};
use crate::settings::{SettingKey, SourceUrl, ValueKind};

/// The setting that names one.
pub(crate) const KEY: SettingKey = SettingKey {
    name: "proxy",
    kind: ValueKind::Secret,
    doc: "Proxy to reach the server through: `socks5://[user:password@]host[:port]` or \
        `http://[user:password@]host[:port]` (CONNECT).",
};

/// The longest answer of an HTTP proxy that is read.
const LONGEST_ANSWER: usize = 16 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Socks5,
    Http,
}

/// A proxy and who we are to it.
#[derive(Clone)]
pub struct Proxy {
    protocol: Protocol,
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    login: Option<(String, Secret)>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} proxy {}:{}", self.protocol, self.host, self.port)
    }
}

/// The proxy refuses our credential, or wants one. Inside an [`io::Error`].
#[derive(Debug, thiserror::Error)]
#[error("the proxy refuses the user or password in `proxy` ({0})")]
pub(crate) struct ProxyRefused(String);

/// Whether it was the proxy's login that failed: trying again would lock an account.
pub(crate) fn is_refusal(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<ProxyRefused>())
}

fn refused(why: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, ProxyRefused(why.into()))
}

impl Proxy {
    /// Reads the setting. The error says what is wrong and never repeats it: it may hold a
    /// password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = SourceUrl::parse(text)?;
        let (protocol, default_port) = match url.scheme.as_str() {
            "socks5" | "socks5h" => (Protocol::Socks5, 1080),
            "http" => (Protocol::Http, 8080),
            _ => {
                return Err(
                    "has a scheme that is not known; allowed are `socks5://` and `http://`".into(),
                );
            }
        };
        if url.host.is_empty() {
            return Err("names no host".into());
        }
        if url.root.as_bytes() != b"/" {
            return Err("has a path; allowed is `socks5://host:port` or `http://host:port`".into());
        }
        let login = url.user.map(|user| (user, url.password.unwrap_or_else(|| Secret::new(""))));
        let fits = |text: &str| !text.is_empty() && text.len() < 256;
        if protocol == Protocol::Socks5
            && login
                .as_ref()
                .is_some_and(|(user, password)| !fits(user) || !fits(password.reveal()))
        {
            return Err(
                "has a user or password that SOCKS cannot carry: each has 1 to 255 bytes".into()
            );
        }
        if login.as_ref().is_some_and(|(user, _)| user.contains(':')) {
            return Err(
                "has a user with a colon in it, which no proxy can tell from the password".into()
            );
        }
        Ok(Self { protocol, host: url.host, port: url.port.unwrap_or(default_port), login })
    }

    /// A connection to `host`, through the proxy. Not bounded in time: the caller is.
    pub async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|error| self.about(error))?;
        stream.set_nodelay(true)?;
        self.tunnel(&mut stream, host, port).await?;
        Ok(stream)
    }

    /// Makes a connection to the proxy one to `host`.
    pub(crate) async fn tunnel(
        &self,
        stream: &mut TcpStream,
        host: &str,
        port: u16,
    ) -> io::Result<()> {
        let through = match self.protocol {
            Protocol::Socks5 => self.socks(stream, host, port).await,
            Protocol::Http => self.http(stream, host, port).await,
        };
        through.map_err(|error| if is_refusal(&error) { error } else { self.about(error) })
    }

    fn about(&self, error: io::Error) -> io::Error {
        io::Error::new(
            error.kind(),
            format!("through the proxy {}:{}: {error}", self.host, self.port),
        )
    }

    async fn socks(&self, stream: &mut TcpStream, host: &str, port: u16) -> io::Result<()> {
        let methods: &[u8] = if self.login.is_some() { &[5, 2, 0, 2] } else { &[5, 1, 0] };
        stream.write_all(methods).await?;
        let [version, method] = read(stream).await?;
        match (version, method, &self.login) {
            (5, 0, _) => {}
            (5, 2, Some((user, password))) => {
                let password = password.reveal();
                let length = |text: &str| u8::try_from(text.len()).map_err(io::Error::other);
                let login = [
                    &[1, length(user)?],
                    user.as_bytes(),
                    &[length(password)?],
                    password.as_bytes(),
                ]
                .concat();
                stream.write_all(&login).await?;
                let [_, status] = read(stream).await?;
                if status != 0 {
                    return Err(refused(format!("SOCKS status {status}")));
                }
            }
            (5, 255, _) => return Err(refused("none of our ways to log in is good enough for it")),
            _ => return Err(io::Error::other("this is no SOCKS 5 proxy")),
        }
        let target = match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => [&[1][..], &address.octets()].concat(),
            Ok(IpAddr::V6(address)) => [&[4][..], &address.octets()].concat(),
            Err(_) => [&[3, u8::try_from(host.len()).map_err(io::Error::other)?], host.as_bytes()]
                .concat(),
        };
        stream.write_all(&[&[5, 1, 0][..], &target, &port.to_be_bytes()].concat()).await?;
        let [_, status, _, kind] = read(stream).await?;
        if status != 0 {
            return Err(io::Error::other(socks_status(status)));
        }
        let length = match kind {
            1 => 4,
            4 => 16,
            3 => usize::from(read::<1>(stream).await?[0]),
            _ => return Err(io::Error::other("its answer cannot be read")),
        };
        let mut bound = vec![0; length + 2];
        stream.read_exact(&mut bound).await.map(drop)
    }

    async fn http(&self, stream: &mut TcpStream, host: &str, port: u16) -> io::Result<()> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        let login = self.login.as_ref().map_or(String::new(), |(user, password)| {
            format!(
                "Proxy-Authorization: Basic {}\r\n",
                STANDARD.encode(format!("{user}:{}", password.reveal()))
            )
        });
        stream
            .write_all(
                format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{login}\r\n")
                    .as_bytes(),
            )
            .await?;
        let mut answer = Vec::new();
        // Byte by byte: what comes after the answer is the server's.
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() >= LONGEST_ANSWER {
                return Err(io::Error::other("its answer does not end"));
            }
            answer.extend(read::<1>(stream).await?);
        }
        let line = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line: String = printable(line).chars().take(100).collect();
        match line.split(' ').nth(1) {
            Some("200") => Ok(()),
            Some("407") => Err(refused(line)),
            _ => Err(io::Error::other(format!("it answers `{line}`"))),
        }
    }
}

async fn read<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

fn socks_status(status: u8) -> String {
    let words = match status {
        1 => "it has a failure of its own",
        2 => "its rules forbid this server",
        3 => "it cannot reach the server's network",
        4 => "it cannot reach the server",
        5 => "the server refuses the connection",
        6 => "the server did not answer it in time",
        _ => "it refuses",
    };
    format!("{words} (SOCKS status {status})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_read_and_mistakes_told_without_the_password() {
        let proxy = Proxy::parse("socks5://me:p%40ss@gate.example").unwrap();
        assert_eq!(
            (proxy.host.as_str(), proxy.port, format!("{proxy:?}").contains("p@ss")),
            ("gate.example", 1080, false)
        );
        assert_eq!(Proxy::parse("http://gate:3128").unwrap().port, 3128);
        for bad in [
            "gate:1080",
            "ftp://u:secret@gate",
            "socks5://",
            "http://gate/path",
            "socks5://me@gate",
            "http://u:secret@@gate",
        ] {
            let error = Proxy::parse(bad).map(drop).expect_err(bad);
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
