//! Key vaults behind a proxy: whoever connects to any `NAME.vault.azure.net` by it reaches this
//! one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::json;

/// What the vaults hold: the answer to each `NAME[/VERSION]`.
#[derive(Clone, Debug)]
pub enum Kept {
    /// A secret of this value.
    Value(String),
    /// This status and body.
    Refused(u16, String),
}

/// The vaults. Whoever has no token for key vaults is told what to ask one for.
#[derive(Clone)]
pub struct Vaults {
    /// `http://127.0.0.1:PORT`, for HTTPS_PROXY.
    pub proxy: String,
    /// The authority of their certificates, PEM.
    pub ca: String,
    kept: Arc<Mutex<BTreeMap<String, Kept>>>,
    asked: Arc<Mutex<Vec<String>>>,
    audience: Arc<Mutex<String>>,
}

/// The audience of tokens for the vaults.
pub const AUDIENCE: &str = "https://vault.azure.net";

impl Vaults {
    /// Opens them.
    pub fn open() -> Self {
        let certified = rcgen::generate_simple_self_signed(vec!["*.vault.azure.net".to_owned()])
            .expect("a certificate");
        let key = rustls::pki_types::PrivateKeyDer::try_from(certified.signing_key.serialize_der())
            .expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .expect("a certificate");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let vaults = Self {
            proxy: format!("http://{}", listener.local_addr().expect("it listens")),
            ca: certified.cert.pem(),
            kept: Arc::default(),
            asked: Arc::default(),
            audience: Arc::new(Mutex::new(AUDIENCE.to_owned())),
        };
        let (inside, config) = (vaults.clone(), Arc::new(config));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (inside, config) = (inside.clone(), config.clone());
                // Whoever hangs up early is no concern of the vaults.
                std::thread::spawn(move || drop(inside.serve(stream, config)));
            }
        });
        vaults
    }

    /// What `name` holds from now on.
    pub fn keep(&self, name: &str, value: &str) {
        self.set(name, Kept::Value(value.to_owned()));
    }

    /// What `name` answers from now on.
    pub fn set(&self, name: &str, kept: Kept) {
        self.kept.lock().expect("not poisoned").insert(name.to_owned(), kept);
    }

    /// The vaults ask for tokens for this audience from now on.
    pub fn claim(&self, audience: &str) {
        audience.clone_into(&mut self.audience.lock().expect("not poisoned"));
    }

    /// What was asked with a token, as `HOST NAME[/VERSION]`.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("not poisoned").clone()
    }

    fn serve(
        &self,
        stream: std::io::Result<TcpStream>,
        config: Arc<rustls::ServerConfig>,
    ) -> std::io::Result<()> {
        let mut stream = stream?;
        let connect = head(&mut stream)?;
        let host = connect.split_whitespace().nth(1).unwrap_or_default().to_owned();
        if !connect.starts_with("CONNECT ") || !host.ends_with(".vault.azure.net:443") {
            return stream.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n");
        }
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        let session = rustls::ServerConnection::new(config).map_err(std::io::Error::other)?;
        let mut tls = rustls::StreamOwned::new(session, stream);
        loop {
            let request = head(&mut tls)?;
            if request.is_empty() {
                return Ok(());
            }
            let (status, more, body) = self.answer(&host, &request);
            let length = body.len();
            write!(
                tls,
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{more}content-length: \
                {length}\r\n\r\n{body}"
            )?;
            tls.flush()?;
        }
    }

    fn answer(&self, host: &str, request: &str) -> (u16, String, String) {
        let target = request.split_whitespace().nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        assert!(query.contains("api-version="), "{request}");
        let header = |name: &str| {
            request.lines().find_map(|line| {
                line.to_lowercase().starts_with(name).then(|| line[name.len()..].trim().to_owned())
            })
        };
        if header("authorization:").is_none_or(|token| !token.contains("token-for-vaults")) {
            let audience = self.audience.lock().expect("not poisoned").clone();
            let challenge = format!(
                "WWW-Authenticate: Bearer authorization=\"https://login.microsoftonline.com/t\", \
                resource=\"{audience}\"\r\n"
            );
            let body = json!({ "error": { "code": "Unauthorized",
                "message": "AKV10000: Request is missing a Bearer or PoP token." } });
            return (401, challenge, body.to_string());
        }
        let name = path.trim_start_matches("/secrets/").trim_end_matches('/');
        let host = host.trim_end_matches(":443");
        self.asked.lock().expect("not poisoned").push(format!("{host} {name}"));
        match self.kept.lock().expect("not poisoned").get(name) {
            Some(Kept::Value(value)) => {
                let id = format!("https://{host}/secrets/{name}");
                (200, String::new(), json!({ "value": value, "id": id }).to_string())
            }
            Some(Kept::Refused(status, body)) => (*status, String::new(), body.clone()),
            None => {
                let body = json!({ "error": { "code": "SecretNotFound", "message": format!(
                    "A secret with (name/id) {name} was not found in this key vault."
                ) } });
                (404, String::new(), body.to_string())
            }
        }
    }
}

/// The head of a request; empty at the end of the stream.
fn head(stream: &mut impl Read) -> std::io::Result<String> {
    // Byte by byte: what follows is another layer's.
    let mut reader = BufReader::with_capacity(1, stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(String::new());
        }
    }
    Ok(head)
}

/// An identity endpoint as App Service has it, which gives tokens for key vaults alone; its
/// address.
pub fn identity_endpoint() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/msi/token", listener.local_addr().expect("it listens"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let request = head(&mut stream).unwrap_or_default();
            let of_vaults = request.contains("resource=https%3A%2F%2Fvault.azure.net");
            let body = json!({ "access_token": "token-for-vaults", "expires_on": "4102444800",
                "resource": AUDIENCE, "token_type": "Bearer" });
            let (status, body) = match of_vaults {
                true => ("200 OK", body.to_string()),
                false => ("400 Bad Request", json!({ "error": "no such resource" }).to_string()),
            };
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: \
                {length}\r\nconnection: close\r\n\r\n{body}"
            );
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    url
}
