//! URLs of sources.

use crate::model::{RemotePath, Secret};

/// The `url` of a source, taken apart.
#[derive(Clone, Debug)]
pub struct SourceUrl {
    /// Lower-case scheme, as `sftp`.
    pub scheme: String,
    /// User, percent-decoded.
    pub user: Option<String>,
    /// Password, percent-decoded.
    pub password: Option<Secret>,
    /// Host name or address (without brackets); empty for `file`.
    pub host: String,
    /// Port, if the URL names one.
    pub port: Option<u16>,
    /// Where listing starts, percent-decoded to bytes; `/` if the URL has no path.
    pub root: RemotePath,
}

impl SourceUrl {
    /// Takes a URL apart. The error text never repeats the URL, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) =
            text.split_once("://").ok_or("has no `scheme://`, as in `sftp://user@host/folder`")?;
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        // A raw `/`, `?` or `#` in a password would silently cut the URL in another place.
        if path.contains('@') && !authority.contains('@') {
            return Err("holds an `@` after a `/`: percent-encode `/` in a password as `%2F`, or \
                put it into `password`"
                .into());
        }
        if rest.contains(['?', '#']) {
            return Err(
                "holds a raw `?` or `#`: percent-encode them as `%3F` and `%23`, or put the \
                password into `password`"
                    .into(),
            );
        }
        let (info, host_port) = match authority.rsplit_once('@') {
            Some((info, host_port)) => (Some(info), host_port),
            None => (None, authority),
        };
        if info.is_some_and(|info| info.contains('@')) {
            return Err(
                "holds two `@`: percent-encode the one in the password as `%40`, or put the \
                password into `password`"
                    .into(),
            );
        }
        let (user, password) = match info.map(|info| {
            info.split_once(':').map_or((info, None), |(user, password)| (user, Some(password)))
        }) {
            Some((user, password)) => {
                (Some(decode_text(user)?), password.map(decode_text).transpose()?.map(Secret::new))
            }
            None => (None, None),
        };
        let (host, port) = split_port(host_port)?;
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            user: user.filter(|user| !user.is_empty()),
            password,
            host,
            port,
            root: RemotePath::new(
                percent_decode(path).ok_or("holds a `%` that no two hex digits follow")?,
            ),
        })
    }
}

pub(crate) fn split_port(text: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("has a `[` without `]`")?;
            (host, after.strip_prefix(':'))
        }
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = port
        .map(|port| {
            port.parse::<u16>()
                .ok()
                .filter(|port| *port > 0)
                .ok_or("has a port that is not a number from 1 to 65535")
        })
        .transpose()?;
    if host.chars().any(|c| c.is_control() || c.is_whitespace() || "/\\<>\"'`".contains(c)) {
        return Err("has a host name with characters that no host name holds".into());
    }
    Ok((host.to_owned(), port))
}

pub(crate) fn decode_text(text: &str) -> Result<String, String> {
    let bytes = percent_decode(text)
        .ok_or("holds a `%` that no two hex digits follow: write a plain `%` as `%25`")?;
    String::from_utf8(bytes).map_err(|_| "holds user info that is not UTF-8".to_owned())
}

/// Undoes `%XX`. `None` if a `%` is not followed by two hex digits.
pub fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: u8| (byte as char).to_digit(16);
        let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
        out.push(u8::try_from(high * 16 + low).expect("two hex digits make a byte"));
    }
    Some(out)
}
