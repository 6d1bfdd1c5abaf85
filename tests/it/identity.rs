//! Managed identity from end to end: the real binary, an identity endpoint as App Service has it,
//! Azurite with tokens.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use time::OffsetDateTime;

use crate::servers::Azurite;

const HEADER: &str = "canary-identity-header";

/// An identity endpoint that answers every request with `status` and, if that is 200, a token.
struct Endpoint {
    url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Endpoint {
    fn start(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/msi/token", listener.local_addr().expect("it listens"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let noted = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let lines = BufReader::new(stream.try_clone().expect("a handle")).lines();
                let head: Vec<String> =
                    lines.map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
                noted.lock().expect("not poisoned").push(head.join("\n"));
                let body = if status.starts_with("200") {
                    token()
                } else {
                    r#"{"error":"no"}"#.to_owned()
                };
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: \
                    {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).expect("it is read");
            }
        });
        Self { url, requests }
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("not poisoned").clone()
    }
}

/// What Azurite reads of a token are its times, issuer and audience, not its signature.
fn token() -> String {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let claims = serde_json::json!({
        "aud": "https://storage.azure.com",
        "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000000/",
        "appid": "client-0001", "oid": "object-0002", "tid": "tenant-0003",
        "iat": now - 60, "nbf": now - 60, "exp": now + 3600,
    });
    let token = [
        part(serde_json::json!({ "alg": "RS256", "typ": "JWT" })),
        part(claims),
        "canarysignature".to_owned(),
    ]
    .join(".");
    serde_json::json!({
        "access_token": token, "expires_on": (now + 3600).to_string(),
        "resource": "https://storage.azure.com", "token_type": "Bearer",
    })
    .to_string()
}

fn run(azurite: &Azurite, endpoint: &str, more: &str) -> Output {
    command(&["run", "-v"], azurite, Some(endpoint), more)
}

fn command(words: &[&str], azurite: &Azurite, endpoint: Option<&str>, more: &str) -> Output {
    command_with(words, azurite, endpoint, more, &[])
}

fn command_with(
    words: &[&str],
    azurite: &Azurite,
    endpoint: Option<&str>,
    more: &str,
    variables: &[(&str, String)],
) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let files = folder.path().join("files");
    std::fs::create_dir(&files).expect("made");
    std::fs::write(files.join("a.txt"), "one").expect("written");
    let config = format!(
        "[destination]\nendpoint = \"{}\"\ncontainer = \"{}\"\n{more}\n[log]\nfiles = \
        false\n[[source]]\nname = \"local\"\nurl = \"file://{}\"\nstable_for = \"0s\"\nattempts = \
        2\n",
        azurite.blob_url(),
        Azurite::container("identity"),
        files.display()
    );
    let path = folder.path().join("ingest.toml");
    std::fs::write(&path, config).expect("written");
    Command::new(env!("CARGO_BIN_EXE_blobferry"))
        .args(words)
        .arg("--config")
        .arg(path)
        .env_remove("AZURE_CLIENT_ID")
        .env_remove("IDENTITY_ENDPOINT")
        .envs(endpoint.map(|endpoint| ("IDENTITY_ENDPOINT", endpoint)))
        .env("IDENTITY_HEADER", HEADER)
        .env("SSL_CERT_FILE", azurite.ca.as_ref().expect("it speaks TLS"))
        .envs(variables.iter().map(|(name, value)| (*name, value.as_str())))
        .output()
        .expect("it runs")
}

fn text(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(
        !text.contains(HEADER) && !text.contains("canarysignature"),
        "a secret was told: {text}"
    );
    text
}

#[test]
fn a_managed_identity_writes_blobs_with_one_token() {
    let Some(azurite) = Azurite::start_with_tokens() else { return };
    let endpoint = Endpoint::start("200 OK");
    let output = run(&azurite, &endpoint.url, "");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("ingested 1"), "{}", text(&output));
    let requests = endpoint.requests();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(
        requests[0].contains("resource=https%3A%2F%2Fstorage.azure.com")
            && requests[0].contains(HEADER),
        "{requests:?}"
    );
    assert!(!requests[0].contains("client_id"), "{requests:?}");
}

#[test]
fn a_user_assigned_identity_is_asked_for_by_its_client_id() {
    let Some(azurite) = Azurite::start_with_tokens() else { return };
    let endpoint = Endpoint::start("200 OK");
    let output = run(&azurite, &endpoint.url, "client_id = \"11111111-2222\"");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(
        endpoint.requests()[0].contains("client_id=11111111-2222"),
        "{:?}",
        endpoint.requests()
    );
}

#[test]
fn an_identity_that_is_not_there_is_told_as_such_and_ends_the_run() {
    let Some(azurite) = Azurite::start_with_tokens() else { return };
    let refusing = Endpoint::start("400 Bad Request");
    let output = run(&azurite, &refusing.url, "");
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("store_auth"), "{}", text(&output));
}

#[test]
fn a_check_tells_whose_the_token_is_and_not_the_token() {
    let Some(azurite) = Azurite::start_with_tokens() else { return };
    let endpoint = Endpoint::start("200 OK");
    let output = command(&["check"], &azurite, Some(&endpoint.url), "");
    let told = text(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let whose = "the system-assigned managed identity: client id client-0001, object id \
        object-0002, tenant tenant-0003; its token is good until";
    assert!(told.contains(whose), "{told}");
}

#[test]
fn an_identity_endpoint_that_is_not_there_or_refuses_says_what_to_do() {
    let Some(azurite) = Azurite::start_with_tokens() else { return };
    let dead = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port");
    let output = command(&["check"], &azurite, Some(&format!("http://{dead}/msi/token")), "");
    let told = text(&output);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(
        told.contains("hint: no identity endpoint answers here") && told.contains("az login"),
        "{told}"
    );
    assert!(!told.contains("did not answer in time"), "one piece of advice: {told}");
    assert!(!told.contains("x0A") && !told.contains("troubleshoot"), "{told}");
    let refusing = Endpoint::start("400 Bad Request");
    let output =
        command(&["check"], &azurite, Some(&refusing.url), "client_id = \"11111111-2222\"");
    let told = text(&output);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(told.contains("is the identity assigned to this app, is `client_id` right?"), "{told}");
    let nowhere = [("PATH", "/nowhere".to_owned())];
    let output = command_with(&["check"], &azurite, None, "identity = \"cli\"", &nowhere);
    let told = text(&output);
    assert!(told.contains("hint: install the Azure CLI and run `az login`"), "{told}");
}

#[test]
fn the_identity_endpoint_is_never_asked_through_a_proxy() {
    let Some(azurite) = Azurite::start_with_tokens() else { return };
    let (endpoint, proxy) = (Endpoint::start("200 OK"), Endpoint::start("502 Bad Gateway"));
    let proxy_url = proxy.url.trim_end_matches("/msi/token").to_owned();
    let variables = [
        ("http_proxy", proxy_url.clone()),
        ("HTTP_PROXY", proxy_url.clone()),
        ("https_proxy", proxy_url),
        ("no_proxy", String::new()),
    ];
    let output = command_with(&["check"], &azurite, Some(&endpoint.url), "", &variables);
    assert!(!endpoint.requests().is_empty(), "{}", text(&output));
    let through = proxy.requests();
    assert!(!through.is_empty(), "storage itself is asked through the proxy: {}", text(&output));
    assert!(
        through.iter().all(|request| !request.contains("msi") && !request.contains(HEADER)),
        "{through:?}"
    );
}

#[test]
fn a_user_assigned_identity_is_named_by_its_object_or_resource_id_too() {
    let Some(azurite) = Azurite::start_with_tokens() else { return };
    let resource = "/subscriptions/s/resourcegroups/r/providers/Microsoft.ManagedIdentity/\
        userAssignedIdentities/ferry";
    for (setting, asked) in [
        ("object_id = \"44444444\"".to_owned(), "object_id=44444444"),
        (
            format!("resource_id = \"{resource}\""),
            "mi_res_id=%2Fsubscriptions%2Fs%2Fresourcegroups%2Fr%2F",
        ),
    ] {
        let endpoint = Endpoint::start("200 OK");
        let output = run(&azurite, &endpoint.url, &setting);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
        assert!(endpoint.requests()[0].contains(asked), "{:?}", endpoint.requests());
    }
}

/// Where applications sign in, over TLS with a certificate of its own; the certificate, and what
/// was posted there. It refuses all of them in the words `refusal`, if there are any.
fn authority(refusal: Option<&'static str>) -> (String, String, Arc<Mutex<Vec<String>>>) {
    let certified =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der())
        .expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions");
    let config = Arc::new(
        config
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .expect("a certificate"),
    );
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("https://localhost:{}", listener.local_addr().expect("it listens").port());
    let posted = Arc::new(Mutex::new(Vec::new()));
    let noted = posted.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut session = rustls::ServerConnection::new(config.clone()).expect("a session");
            let mut tls = rustls::Stream::new(&mut session, &mut stream);
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            let is_whole = |request: &[u8]| {
                let text = String::from_utf8_lossy(request);
                let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
                let length = head.lines().find_map(|line| {
                    line.to_lowercase()
                        .strip_prefix("content-length:")?
                        .trim()
                        .parse::<usize>()
                        .ok()
                });
                body.len() >= length.unwrap_or(0)
            };
            while !is_whole(&request) {
                match std::io::Read::read(&mut tls, &mut buffer) {
                    Ok(length @ 1..) => request.extend_from_slice(&buffer[..length]),
                    // A client that does not trust this hangs up.
                    _ => break,
                }
            }
            if request.is_empty() {
                continue;
            }
            noted
                .lock()
                .expect("not poisoned")
                .push(String::from_utf8_lossy(&request).into_owned());
            let jwt: serde_json::Value = serde_json::from_str(&token()).expect("JSON");
            let token = serde_json::json!({ "token_type": "Bearer", "expires_in": 3600,
                "ext_expires_in": 3600, "access_token": jwt["access_token"] });
            let (status, body) = match refusal {
                None => ("200 OK", token),
                Some(words) => {
                    let body = serde_json::json!({ "error": "invalid_client",
                        "error_codes": [7000215], "error_description": words });
                    ("401 Unauthorized", body)
                }
            };
            let body = body.to_string();
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: \
                {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            drop(tls.write_all(answer.as_bytes()).and(tls.flush()));
            session.send_close_notify();
            drop(rustls::Stream::new(&mut session, &mut stream).flush());
        }
    });
    (url, certified.cert.pem(), posted)
}

const TENANT: &str = "11111111-2222-3333-4444-555555555555";

#[test]
fn a_service_principal_signs_in_with_a_secret_or_a_certificate_at_an_authority_that_ca_file_trusts()
{
    let Some(azurite) = Azurite::start_with_tokens() else { return };
    let (url, ca, posted) = authority(None);
    let folder = tempfile::tempdir().expect("a folder");
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, ca).expect("written");
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("a key");
    let certificate = rcgen::CertificateParams::new(vec!["app".to_owned()])
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    let app = folder.path().join("app.pem");
    std::fs::write(&app, format!("{}{}", certificate.pem(), key.serialize_pem())).expect("written");
    let common = format!(
        "identity = \"service-principal\"\ntenant = \"{TENANT}\"\nclient_id = \"app-1\"\nca_file = \
        \"{}\"\n",
        ca_file.display()
    );
    let authority = [("AZURE_AUTHORITY_HOST", url.clone()), ("no_proxy", "*".to_owned())];
    for (proof, sent) in [
        ("client_secret = \"p455-canary-secret\"".to_owned(), "client_secret=p455-canary-secret"),
        (
            format!("client_certificate_file = \"{}\"", app.display()),
            "client_assertion_type=urn%3Aietf",
        ),
    ] {
        posted.lock().expect("not poisoned").clear();
        let output =
            command_with(&["run", "-v"], &azurite, None, &format!("{common}{proof}"), &authority);
        let told = text(&output);
        assert_eq!(output.status.code(), Some(0), "{told}");
        assert!(!told.contains("p455-canary"), "{told}");
        let posted = posted.lock().expect("not poisoned").clone();
        assert!(
            posted.len() == 1
                && posted[0].contains(sent)
                && posted[0].contains(TENANT)
                && posted[0].contains("client_id=app-1"),
            "{posted:?}"
        );
    }
    // Without that authority, whoever opens TLS on the way is told as that, and is not asked again
    // and again.
    let untrusted =
        common.lines().filter(|line| !line.starts_with("ca_file")).collect::<Vec<_>>().join("\n");
    let output = command_with(
        &["check"],
        &azurite,
        None,
        &format!("{untrusted}\nclient_secret = \"p455-canary-secret\""),
        &authority,
    );
    let told = text(&output);
    assert_eq!(output.status.code(), Some(3), "{told}");
    assert!(
        told.contains("FAIL  identity: [tls]")
            && told.contains("destination.ca_file")
            && told.contains("SSL_CERT_FILE"),
        "{told}"
    );
}

#[test]
fn a_directory_that_does_not_answer_or_refuses_is_told_as_that_and_not_as_a_managed_identity() {
    let Some(azurite) = Azurite::start_with_tokens() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let check = |authority: String, ca: &str| {
        let ca_file = folder.path().join("ca.pem");
        std::fs::write(&ca_file, ca).expect("written");
        let settings = format!(
            "identity = \"service-principal\"\ntenant = \"{TENANT}\"\nclient_id = \
            \"app-1\"\nclient_secret = \"p455-canary-secret\"\nca_file = \"{}\"\n",
            ca_file.display()
        );
        let variables = [("AZURE_AUTHORITY_HOST", authority), ("no_proxy", "*".to_owned())];
        let output = command_with(&["check"], &azurite, None, &settings, &variables);
        let told = text(&output);
        assert_eq!(output.status.code(), Some(3), "{told}");
        assert!(!told.contains("p455-canary") && !told.contains("identity endpoint"), "{told}");
        told
    };
    // With and without what JSON has to escape.
    let plain = "AADSTS7000215: Invalid secret.";
    for words in [plain, "AADSTS7000215: Invalid secret.\r\nTrace ID: 1"] {
        let (url, ca, _) = authority(Some(words));
        let told = check(url, &ca);
        assert!(told.contains(plain), "{told}");
        assert!(told.contains("hint: the directory does not sign us in"), "{told}");
    }
    let (_, ca, _) = authority(None);
    let dead = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a free port");
    let told = check(format!("https://localhost:{}", dead.port()), &ca);
    assert!(told.contains("hint: the place to sign in does not answer"), "{told}");
}
