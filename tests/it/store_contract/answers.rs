//! Answers that no emulator gives: throttling, skewed clocks, proxies, identities over TLS.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use blobferry::model::failure::Failure;
use blobferry::model::{Secret, chain};
use blobferry::store::azure::{AzureSettings, AzureStore, Credential, Timeouts};
use blobferry::store::contract::{Condition, Store, StoreError, StoreKind};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{name, properties};

/// Reads one request, answers, hangs up; returns the request's head.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, text: &str) -> String {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer).await {
            Ok(length @ 1..) => request.extend_from_slice(&buffer[..length]),
            _ => break,
        }
    }
    // The client may hang up first: what it got is what the test looks at.
    let sent = stream.write_all(text.as_bytes()).await.and(stream.shutdown().await);
    drop(sent);
    String::from_utf8_lossy(&request).to_lowercase()
}

fn settings(port: u16, scheme: &str, credential: Credential) -> AzureSettings {
    AzureSettings::new(
        format!("{scheme}://localhost:{port}/acme").parse().expect("a URL"),
        "landing",
        credential,
    )
}

async fn put(store: &AzureStore) -> Result<(), StoreError> {
    store.put(&name("a"), Bytes::new(), &properties(b""), &Condition::IfAbsent).await.map(|_| ())
}

/// One put against one canned answer.
async fn check(status: &str, headers: &str, body: &str) -> StoreError {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let text = format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        answer(stream, &text).await
    });
    let sas = Credential::Sas(Secret::new("sv=2021-06-08&sig=canary"));
    let store = AzureStore::new(settings(port, "http", sas)).expect("a store");
    let error = put(&store).await.expect_err("no success");
    let request = server.await.expect("no panic");
    assert!(
        request.contains("sig=canary") && request.contains("content-md5: 1b2m2y8asgtpgamy7phcfg=="),
        "{request}"
    );
    assert!(!format!("{} {error:?}", chain(&error)).contains("canary"), "{}", chain(&error));
    error
}

fn body(code: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>In \
        words.\nRequestId:1\nTime:2</Message></Error>"
    )
}

#[tokio::test]
async fn a_busy_service_is_left_alone_as_long_as_it_asks() {
    let error =
        check("503 Busy", "retry-after: 7\r\nx-ms-error-code: ServerBusy\r\n", &body("ServerBusy"))
            .await;
    assert_eq!(
        (error.kind, error.retry_after().map(|wait| wait.as_secs())),
        (StoreKind::Unavailable, Some(7))
    );
    assert!(chain(&error).ends_with("ServerBusy (503): In words."), "{}", chain(&error));
    let error = check(
        "409 Conflict",
        "x-ms-error-code: ContainerBeingDeleted\r\n",
        &body("ContainerBeingDeleted"),
    )
    .await;
    assert_eq!(error.kind, StoreKind::Unavailable);
}

#[tokio::test]
async fn a_skewed_clock_is_named() {
    let headers =
        "date: Mon, 01 Jan 2001 00:00:00 GMT\r\nx-ms-error-code: AuthenticationFailed\r\n";
    let error = check("403 Forbidden", headers, &body("AuthenticationFailed")).await;
    assert_eq!(error.kind, StoreKind::Denied);
    assert!(
        chain(&error).contains("clock is") && chain(&error).contains("ahead of"),
        "{}",
        chain(&error)
    );
}

#[tokio::test]
async fn every_refusal_of_an_identity_says_what_to_do() {
    for (status, code, advice) in [
        (
            "403 Forbidden",
            "AuthorizationPermissionMismatch",
            "the role Storage Blob Data Contributor",
        ),
        (
            "401 Unauthorized",
            "InvalidAuthenticationInfo",
            "another audience than https://storage.azure.com",
        ),
        ("403 Forbidden", "AuthorizationFailure", "network rules"),
        ("401 Unauthorized", "NoAuthenticationInformation", "no credential arrived"),
    ] {
        let error = check(status, &format!("x-ms-error-code: {code}\r\n"), &body(code)).await;
        assert_eq!(error.kind, StoreKind::Denied, "{code}");
        assert!(
            chain(&error).contains(code) && chain(&error).contains(advice),
            "{}",
            chain(&error)
        );
    }
}

#[tokio::test]
async fn what_is_not_from_storage_is_no_success_and_no_end() {
    for status in ["200 OK", "302 Found", "404 Not Found", "502 Bad Gateway"] {
        let error = check(
            status,
            "location: http://elsewhere/\r\ncontent-type: text/html\r\n",
            "<html>Hotel WiFi</html>",
        )
        .await;
        assert_eq!(error.kind, StoreKind::Unavailable, "{status}: {}", chain(&error));
        assert!(!chain(&error).contains("Hotel"), "{}", chain(&error));
    }
    let error = check("201 Created", "", "").await;
    assert_eq!(error.kind, StoreKind::Unavailable, "a success without an ETag: {}", chain(&error));
}

#[tokio::test]
async fn another_md5_than_ours_is_corruption() {
    let error =
        check("201 Created", "etag: \"0x1\"\r\ncontent-md5: AAAAAAAAAAAAAAAAAAAAAA==\r\n", "")
            .await;
    assert_eq!(error.kind, StoreKind::Corrupted, "{}", chain(&error));
}

#[tokio::test]
async fn a_service_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let timeouts = Timeouts { read: Duration::from_millis(200), ..Timeouts::default() };
    let sas = Credential::Sas(Secret::new("sig=canary"));
    let store = AzureStore::new(AzureSettings { timeouts, ..settings(port, "http", sas) })
        .expect("a store");
    let (error, held) = tokio::join!(put(&store), listener.accept());
    let error = error.expect_err("no answer");
    assert_eq!(error.kind, StoreKind::Unavailable);
    assert!(
        chain(&error).contains("timed out") && !chain(&error).contains("canary"),
        "{}",
        chain(&error)
    );
    drop(held);
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_log_line_holds_a_signature() {
    let lines = Lines::default();
    let text = || String::from_utf8_lossy(&lines.0.lock().expect("no panic")).into_owned();
    for _ in 0..20 {
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let guard = tracing::subscriber::set_default(subscriber);
        check("503 Busy", "x-ms-error-code: ServerBusy\r\n", &body("ServerBusy")).await;
        drop(guard);
        // A place in the code that another thread reaches first, at the very moment that our
        // subscriber comes, is taken for uninteresting until the next subscriber.
        if text().contains("503") {
            break;
        }
    }
    let text = text();
    assert!(
        text.contains("Asked storage.") && text.contains("/acme/landing/a") && text.contains("503"),
        "{text}"
    );
    assert!(!text.contains("canary"), "{text}");
}

#[derive(Debug)]
struct Identity;

#[async_trait::async_trait]
impl TokenCredential for Identity {
    async fn get_token(
        &self,
        scopes: &[&str],
        _options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        assert_eq!(scopes, ["https://storage.azure.com/.default"]);
        Ok(AccessToken::new(
            "canary".to_owned(),
            time::OffsetDateTime::now_utc() + time::Duration::HOUR,
        ))
    }
}

#[tokio::test]
async fn an_identitys_token_goes_over_https_only() {
    let identity = Credential::Token(Arc::new(Identity));
    let refused =
        AzureStore::new(settings(1, "http", identity.clone())).expect_err("not over http");
    assert!(chain(&refused).contains("https only"), "{}", chain(&refused));

    let certified =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der())
        .expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions");
    let config = config
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .expect("a certificate");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        let stream = tokio_rustls::TlsAcceptor::from(Arc::new(config))
            .accept(stream)
            .await
            .expect("a session");
        answer(
            stream,
            "HTTP/1.1 201 Created\r\netag: \"0x1\"\r\ncontent-length: 0\r\nconnection: \
            close\r\n\r\n",
        )
        .await
    });
    let root = reqwest::Certificate::from_der(certified.cert.der()).expect("a certificate");
    let http = reqwest::Client::builder().tls_certs_merge([root]).build().expect("a client");
    let store =
        AzureStore::new(AzureSettings { http: Some(http), ..settings(port, "https", identity) })
            .expect("a store");
    put(&store).await.expect("it is written");
    assert!(server.await.expect("no panic").contains("authorization: bearer canary"));
}

/// A directory as an account with a hierarchical namespace lists it.
fn directory(name: &str) -> String {
    format!(
        "<Blob><Name>{name}</Name><Properties><Last-Modified>Sun, 29 Nov 2026 08:00:00 GMT\
        </Last-Modified><Etag>0x8DD</Etag><ResourceType>directory</ResourceType><Content-Length>0\
        </Content-Length><BlobType>BlockBlob</BlobType></Properties><Metadata><hdi_isfolder>true\
        </hdi_isfolder></Metadata></Blob>"
    )
}

#[tokio::test]
async fn directories_of_old_passes_are_removed_where_a_listing_shows_them() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let names = ["w/1", "w/1/a", "w/2", "w/9"].map(directory).concat();
    let listed = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ServiceEndpoint=\"x\" \
        ContainerName=\"landing\"><Prefix>w/</Prefix><Blobs>{names}</Blobs><NextMarker />\
        </EnumerationResults>"
    );
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = told.clone();
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut first = [0; 7];
            let read = stream.peek(&mut first).await.unwrap_or(0);
            let (status, body) = match &first[..read] {
                b"GET /ac" => ("200 OK", listed.as_str()),
                _ => ("202 Accepted", ""),
            };
            let text = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/xml\r\ncontent-length: \
                {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let request = answer(&mut stream, &text).await;
            let line = request.lines().next().unwrap_or_default().to_owned();
            seen.lock().expect("no panic").push(line);
        }
    });
    let sas = Credential::Sas(Secret::new("sv=2021-06-08&sig=canary"));
    let store = AzureStore::new(settings(port, "http", sas)).expect("a store");
    // Nothing is asked before a listing has shown a directory: other accounts have none.
    store.remove_empty_directories("w/", "w/3").await.expect("nothing to do");
    assert_eq!(told.lock().expect("no panic").len(), 0);
    let mut blobs = 0;
    store.list("w/", &mut |_| blobs += 1).await.expect("listed");
    assert_eq!(blobs, 0, "a directory is no blob");
    store.remove_empty_directories("w/", "w/3").await.expect("removed");
    server.abort();
    let told = told.lock().expect("no panic");
    let removed: Vec<&str> = told
        .iter()
        .filter_map(|line| line.strip_prefix("delete /acme/landing/")?.split(['?', ' ']).next())
        .collect();
    assert_eq!(removed.len(), 3, "{told:?}");
    assert!(removed[0].ends_with('a'), "what is in a directory goes first: {removed:?}");
    assert!(removed.iter().all(|name| !name.contains('9')), "{removed:?}");
}
