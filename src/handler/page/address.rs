//! The addresses of the pages. Pure.

use super::frame::Frame;
use crate::handler::api::KEYS;
use crate::handler::envelope::HttpCall;

/// A text for a query.
pub fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// A text for a path; a slash stays one where `slashes` says so.
fn segment(text: &str, slashes: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            b'/' if !slashes.is_empty() => out.push_str(slashes),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The page at `below` the overview's address, with `pairs` in its query.
pub fn below(prefix: &str, query: &str, below: &str, pairs: &[(&str, &str)]) -> String {
    let mut address = format!("{prefix}/ingest/status{below}{query}");
    for (name, value) in pairs {
        address.push(if address.contains('?') { '&' } else { '?' });
        address.push_str(&format!("{name}={}", encoded(value)));
    }
    address
}

/// The page at `path` below the overview, with what links carry on.
pub fn page(frame: &Frame<'_>, path: &str, pairs: &[(&str, &str)]) -> String {
    below(frame.prefix, frame.query, path, pairs)
}

/// The overview.
pub fn home(frame: &Frame<'_>) -> String {
    page(frame, "", &[])
}

/// Where a source's page is, below the overview.
pub fn source_path(name: &str) -> String {
    format!("/sources/{}", segment(name, ""))
}

/// Where a run's page is, below the overview.
pub(crate) fn run_path(id: &str) -> String {
    format!("/runs/{}", segment(id, ""))
}

/// Where a file's page is, below the overview.
pub(crate) fn file_path(source: &str, path: &str) -> String {
    let sign = if path.starts_with('/') { "" } else { "/" };
    format!("/files/{}{sign}{}", segment(source, ""), segment(path, "/"))
}

/// The page of a source.
pub fn source(frame: &Frame<'_>, name: &str) -> String {
    page(frame, &source_path(name), &[])
}

/// The page of a file.
pub fn file(frame: &Frame<'_>, source: &str, path: &str) -> String {
    page(frame, &file_path(source, path), &[])
}

/// The page of a month, as `2026-11`.
pub fn month(frame: &Frame<'_>, month: &str) -> String {
    page(frame, &format!("/months/{month}"), &[])
}

/// What links of the pages carry on of the caller's query: how the host took its key. Encoded.
pub(super) fn carried(call: &HttpCall) -> String {
    let keys =
        call.query.iter().filter(|(name, _)| KEYS.contains(&name.to_ascii_lowercase().as_str()));
    let pairs: Vec<String> =
        keys.map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

/// Scheme and host that the caller asked by.
pub(super) fn origin(url: &str) -> String {
    url::Url::parse(url).map_or_else(|_| String::new(), |url| url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_whatever_its_name_holds() {
        assert_eq!(file_path("acme", "/out/50% ö?.csv"), "/files/acme/out/50%25%20%C3%B6%3F.csv");
        assert_eq!(file_path("a/b", "x"), "/files/a%2Fb/x");
        assert_eq!(
            below("/api", "?code=k", "/files", &[("q", "a&b")]),
            "/api/ingest/status/files?code=k&q=a%26b"
        );
    }
}
