//! Signs requests: with an account's key, or by adding a shared access signature.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{Context, Request};
use time::OffsetDateTime;

use crate::model::Secret;

/// The scheme "Shared Key": an HMAC over method, headers and resource.
/// Source: "Authorize with Shared Key (REST API) - Azure Storage".
pub struct SharedKey {
    account: String,
    key: azure_core::credentials::Secret,
}

impl SharedKey {
    /// Signs for `account` with its base64 `key`.
    pub fn new(account: &str, key: &Secret) -> Self {
        Self {
            account: account.to_owned(),
            key: azure_core::credentials::Secret::new(key.reveal().to_owned()),
        }
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedKey {{ account: {:?} }}", self.account)
    }
}

#[async_trait]
impl Policy for SharedKey {
    async fn send(
        &self,
        ctx: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        request
            .insert_header("x-ms-date", azure_core::time::to_rfc7231(&OffsetDateTime::now_utc()));
        let signature =
            azure_core::hmac::hmac_sha256(&string_to_sign(&self.account, request), &self.key)?;
        request.insert_header("authorization", format!("SharedKey {}:{signature}", self.account));
        next[0].send(ctx, request, &next[1..]).await
    }
}

fn string_to_sign(account: &str, request: &Request) -> String {
    let headers: BTreeMap<String, &str> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str().to_ascii_lowercase(), value.as_str().trim()))
        .collect();
    let header = |name: &str| headers.get(name).copied().unwrap_or_default();
    // An empty body is signed as an empty field since version 2015-02-21.
    let length = request
        .body()
        .len()
        .filter(|length| *length > 0)
        .map(|length| length.to_string())
        .unwrap_or_default();
    let mut text = format!("{}\n", request.method().as_str());
    for field in [
        "content-encoding",
        "content-language",
        "content-length",
        "content-md5",
        "content-type",
        "date",
    ] {
        text.push_str(if field == "content-length" { &length } else { header(field) });
        text.push('\n');
    }
    for field in ["if-modified-since", "if-match", "if-none-match", "if-unmodified-since", "range"]
    {
        text.push_str(header(field));
        text.push('\n');
    }
    for (name, value) in headers.iter().filter(|(name, _)| name.starts_with("x-ms-")) {
        text.push_str(&format!("{name}:{value}\n"));
    }
    text.push_str(&format!("/{account}{}", request.url().path()));
    let mut query: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in request.url().query_pairs() {
        query.entry(name.to_ascii_lowercase()).or_default().push(value.into_owned());
    }
    for (name, mut values) in query {
        values.sort();
        text.push_str(&format!("\n{name}:{}", values.join(",")));
    }
    text
}

/// Adds a shared access signature to each request at the last moment, so that no URL
/// that is kept, logged or shown anywhere else holds it.
pub struct Sas(Secret);

impl Sas {
    /// Of the SAS's query string, without `?`.
    pub fn new(query: &Secret) -> Self {
        Self(query.clone())
    }
}

impl fmt::Debug for Sas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sas(***)")
    }
}

#[async_trait]
impl Policy for Sas {
    async fn send(
        &self,
        ctx: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        let query = match request.url().query().filter(|query| !query.is_empty()) {
            Some(query) => format!("{query}&{}", self.0.reveal()),
            None => self.0.reveal().to_owned(),
        };
        request.url_mut().set_query(Some(&query));
        next[0].send(ctx, request, &next[1..]).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use azure_core::http::Method;

    #[test]
    fn the_string_to_sign_is_the_documented_one() {
        let url = "https://acme.blob.core.windows.net/c/a%2Fb?comp=block&blockid=QQ%3D%3D"
            .parse()
            .expect("a URL");
        let mut request = Request::new(url, Method::Put);
        request.set_body("12345");
        request.insert_header("x-ms-version", "2026-04-06");
        request.insert_header("x-ms-date", "now");
        request.insert_header("content-md5", "MD5");
        request.insert_header("if-none-match", "*");
        let expected = "PUT\n\n\n5\nMD5\n\n\n\n\n*\n\n\nx-ms-date:now\nx-ms-version:2026-04-06\n\
            /acme/c/a%2Fb\nblockid:QQ==\ncomp:block";
        assert_eq!(string_to_sign("acme", &request), expected);
    }
}
