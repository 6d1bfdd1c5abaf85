//! The way to the service: one HTTP transport, no retries, signed and logged requests.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use azure_core::credentials::TokenCredential;
use azure_core::http::headers::HeaderName;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{ClientOptions, Context, Request, RetryOptions, Transport, Url};
use azure_storage_blob::{BlobContainerClient, BlobContainerClientOptions};
use base64::Engine;

use super::settings::{AzureSettings, Credential, Timeouts, TrustedRoots};
use super::shared_key::{Sas, SharedKey};
use crate::model::{BoxError, Md5, printable};

/// An HTTP client for storage. Clones share one pool of connections: hand it to every store and
/// queue.
pub fn transport(timeouts: Timeouts, trust: &TrustedRoots) -> Result<reqwest::Client, BoxError> {
    Ok(builder(timeouts, trust).build()?)
}

/// What every client is made from. Proxies are those of the environment (HTTPS_PROXY, NO_PROXY).
pub(super) fn builder(timeouts: Timeouts, trust: &TrustedRoots) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder()
        .connect_timeout(timeouts.connect)
        .read_timeout(timeouts.read)
        .pool_idle_timeout(Duration::from_secs(60))
        // A redirect is never storage's: it would carry our data and credential elsewhere.
        .redirect(reqwest::redirect::Policy::none())
        // Bytes are checked and counted as they are stored, and each call is one try on the wire.
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .http1_only()
        .retry(reqwest::retry::never());
    if trust.0.is_empty() { builder } else { builder.tls_certs_merge(trust.0.iter().cloned()) }
}

/// The SDK's client for the container of `settings`.
pub(super) fn container(
    settings: &AzureSettings,
    clock: &StorageClock,
) -> Result<BlobContainerClient, BoxError> {
    let mut url = settings.service.clone();
    let path = format!("{}/{}", url.path().trim_end_matches('/'), settings.container);
    url.set_path(&path);
    url.set_query(None);
    let (signing, token) = signing(&settings.credential, &url)?;
    let http = match &settings.http {
        Some(http) => http.clone(),
        None => transport(settings.timeouts, &settings.trust)?,
    };
    let mut options = BlobContainerClientOptions {
        client_options: ClientOptions {
            per_call_policies: vec![Arc::new(Log), Arc::new(clock.clone()), Arc::new(ContentMd5)],
            per_try_policies: signing.into_iter().collect(),
            // Ours is the only retry loop.
            retry: RetryOptions::none(),
            transport: Some(Transport::new(Arc::new(http))),
            ..ClientOptions::default()
        },
        ..BlobContainerClientOptions::default()
    };
    if let Some(version) = &settings.api_version {
        options.version = version.clone();
    }
    Ok(BlobContainerClient::new(url, token, Some(options))?)
}

pub(super) type Signing = (Option<Arc<dyn Policy>>, Option<Arc<dyn TokenCredential>>);

/// How requests to `url` are signed.
pub(super) fn signing(credential: &Credential, url: &Url) -> Result<Signing, BoxError> {
    match credential {
        Credential::SharedKey { account, key } => {
            Ok((Some(Arc::new(SharedKey::new(account, key))), None))
        }
        Credential::Sas(query) => Ok((Some(Arc::new(Sas::new(query))), None)),
        Credential::Token(_) if url.scheme() != "https" => {
            Err("an identity's token goes over https only".into())
        }
        Credential::Token(token) => Ok((None, Some(token.clone()))),
    }
}

/// The MD5 that a whole write must arrive with: the SDK has no option for it on Put Blob.
#[derive(Clone, Debug)]
pub(super) struct Transactional(pub Md5);

struct ContentMd5;

impl fmt::Debug for ContentMd5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentMd5")
    }
}

#[async_trait]
impl Policy for ContentMd5 {
    async fn send(
        &self,
        ctx: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        if let Some(Transactional(md5)) = ctx.value::<Transactional>() {
            request.insert_header(
                "content-md5",
                base64::engine::general_purpose::STANDARD.encode(md5),
            );
        }
        next[0].send(ctx, request, &next[1..]).await
    }
}

/// How far this machine's clock is ahead of the service's, by its last answer.
#[derive(Clone, Debug, Default)]
pub(super) struct StorageClock(Arc<Mutex<Option<time::Duration>>>);

impl StorageClock {
    /// `None` before the first answer.
    pub fn ahead(&self) -> Option<time::Duration> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Policy for StorageClock {
    async fn send(
        &self,
        ctx: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        let result = next[0].send(ctx, request, &next[1..]).await;
        if let Ok(response) = &result
            && let Some(theirs) =
                response.headers().get_optional_str(&HeaderName::from_static("date"))
            && let Ok(theirs) = azure_core::time::parse_rfc7231(theirs)
        {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(time::OffsetDateTime::now_utc() - theirs);
        }
        result
    }
}

/// One debug line a request, before anything secret is added to it.
#[derive(Debug)]
pub(super) struct Log;

#[async_trait]
impl Policy for Log {
    async fn send(
        &self,
        ctx: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        let method = request.method();
        let path = printable(request.url().path().as_bytes());
        let start = Instant::now();
        let result = next[0].send(ctx, request, &next[1..]).await;
        let ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        match &result {
            Ok(response) => {
                tracing::debug!(method = %method.as_str(), path,
                    status = u16::from(response.status()), ms,
                    "Asked storage.");
            }
            // The error itself is told by a caller that handles it, without the URL that it may
            // hold.
            Err(_) => {
                tracing::debug!(method = %method.as_str(), path, ms,
                    "Asked storage without an answer.")
            }
        }
        result
    }
}
