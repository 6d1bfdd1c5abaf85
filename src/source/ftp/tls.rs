//! Encryption: whom to trust, one set of resumable TLS sessions per login, why a certificate was
//! refused.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::certificate::CertificateFacts;
use super::certificate_reasons;
use super::client_certificate::{CertificateResolver, ClientCertificate};
use super::fault::Broken;
use super::short_keys;
use super::tls_reasons;
use crate::model::{hex, printable};

/// How many TLS sessions of one login can be taken up again by its data connections.
const RESUMABLE: usize = 64;

/// How much of a chain of certificates is kept to be told.
const LONGEST_CHAIN: usize = 8;

/// Whose certificates are believed.
#[derive(Clone)]
pub(crate) enum FtpTrust {
    /// What this machine trusts.
    Platform,
    /// The authorities of a file, and nobody else.
    Authorities(Arc<Authorities>),
    /// The one certificate with this SHA-256.
    Pin([u8; 32]),
}

/// The certificates of a file.
pub(crate) struct Authorities {
    store: Arc<RootCertStore>,
    /// The SHA-256 of each: a server may show one of them itself.
    digests: Vec<[u8; 32]>,
}

impl fmt::Debug for FtpTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FtpTrust::Platform => f.write_str("Platform"),
            FtpTrust::Authorities(all) => write!(f, "Authorities({})", all.digests.len()),
            FtpTrust::Pin(pin) => write!(f, "Pin({})", hex(pin)),
        }
    }
}

/// The certificates of a PEM text; why not, otherwise.
pub(crate) fn authorities(pem: &[u8]) -> Result<FtpTrust, String> {
    let (mut store, mut digests) = (RootCertStore::empty(), Vec::new());
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| format!("holds no readable PEM: {error}"))?;
        digests.push(Sha256::digest(&certificate).into());
        store
            .add(certificate)
            .map_err(|error| format!("holds a certificate that cannot be used: {error}"))?;
    }
    if store.is_empty() {
        return Err("holds no `BEGIN CERTIFICATE`".into());
    }
    Ok(FtpTrust::Authorities(Arc::new(Authorities { store: Arc::new(store), digests })))
}

/// `SHA256:` and 64 hex digits (colons between them are allowed) or base64.
pub fn pin(text: &str) -> Option<FtpTrust> {
    use base64::Engine;
    let digest = text.trim().strip_prefix("SHA256:")?;
    let digits: String = digest.chars().filter(|c| *c != ':').collect();
    let bytes = if digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        (0..32).filter_map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).ok()).collect()
    } else {
        base64::engine::general_purpose::STANDARD_NO_PAD
            .decode(digest.trim_end_matches('='))
            .ok()?
    };
    Some(FtpTrust::Pin(<[u8; 32]>::try_from(bytes).ok()?))
}

/// How TLS is to be spoken.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Whose certificates are believed.
    pub trust: FtpTrust,
    /// Whether TLS 1.3 is left out.
    pub max_version: MaxVersion,
    /// What is shown to a server that wants a certificate of its clients.
    pub client: Option<ClientCertificate>,
}

/// The highest version of TLS that is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MaxVersion {
    /// TLS 1.2.
    V1_2,
    /// TLS 1.3.
    V1_3,
}

impl Tls {
    /// The TLS of one login: servers want its data connections to take up the TLS session of
    /// its control connection, so each login has a store of sessions of its own.
    pub(crate) fn connector(
        &self,
        host: &str,
        max_version: MaxVersion,
    ) -> Result<Connector, String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Arc::new(Verifier {
            inner: self.verifier(&provider)?,
            presented: Mutex::default(),
            refusal: Mutex::default(),
        });
        let shown = Arc::new(CertificateResolver::new(self.client.clone()));
        let versions: &[_] = match max_version {
            MaxVersion::V1_2 => &[&rustls::version::TLS12],
            MaxVersion::V1_3 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?;
        let mut config = builder
            .dangerous()
            .with_custom_certificate_verifier(verifier.clone())
            .with_client_cert_resolver(shown.clone());
        config.resumption = Resumption::in_memory_sessions(RESUMABLE);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            format!("`{}` is no name that a certificate can hold", printable(host.as_bytes()))
        })?;
        Ok(Connector {
            config: Arc::new(config),
            name,
            verifier,
            shown,
            max_version,
            handshakes: Arc::default(),
        })
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Believes, String> {
        let (roots, own) = match &self.trust {
            FtpTrust::Pin(pin) => return Ok(Believes::Pin(*pin, provider.clone())),
            FtpTrust::Authorities(all) => (all.store.clone(), all.digests.clone()),
            FtpTrust::Platform => (platform_roots()?, Vec::new()),
        };
        let inner = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Believes::Authorities(inner, own))
    }
}

/// What this machine trusts; read once, since it is a hundred files on some systems.
fn platform_roots() -> Result<Arc<RootCertStore>, String> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(store)
    });
    if roots.is_empty() {
        return Err("this machine has no trusted authorities; set `tls_ca_file`".into());
    }
    Ok(roots.clone())
}

/// Opens the TLS connections of one login.
#[derive(Clone)]
pub(crate) struct Connector {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    verifier: Arc<Verifier>,
    shown: Arc<CertificateResolver>,
    handshakes: Arc<Mutex<Handshakes>>,
    /// The highest version that is offered.
    pub max_version: MaxVersion,
}

/// How the connections of one login were encrypted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Handshakes {
    /// TLS version and cipher suite of the first, the control connection.
    pub first: Option<String>,
    /// Whether the last one after that, a data connection, took up the session of the first.
    pub resumed: Option<bool>,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connector({:?})", self.name)
    }
}

impl Connector {
    /// Why the last certificate was refused, if it was.
    pub fn refusal(&self) -> Option<String> {
        self.verifier.refusal.lock().ok()?.clone()
    }

    /// The chain that the server presented, its own certificate first; empty before the first
    /// handshake.
    pub(crate) fn presented(&self) -> Vec<Vec<u8>> {
        self.verifier.presented.lock().map(|chain| chain.clone()).unwrap_or_default()
    }

    /// How its connections were encrypted so far.
    pub(crate) fn handshakes(&self) -> Handshakes {
        self.handshakes.lock().map(|handshakes| handshakes.clone()).unwrap_or_default()
    }

    fn note(&self, connection: &rustls::ClientConnection) {
        let Ok(mut handshakes) = self.handshakes.lock() else { return };
        if handshakes.first.is_none() {
            let version = connection
                .protocol_version()
                .and_then(|version| version.as_str())
                .unwrap_or("an unknown version of TLS");
            let suite = connection
                .negotiated_cipher_suite()
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or("an unknown cipher suite");
            handshakes.first = Some(format!("{}, {suite}", version.replace("TLSv1_", "TLS 1.")));
        } else {
            handshakes.resumed =
                Some(connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed));
        }
    }
}

impl Connector {
    /// Encrypts a connection, the first one or one that takes up its TLS session.
    pub async fn connect(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, Broken> {
        let connector = tokio_rustls::TlsConnector::from(self.config.clone());
        match connector.connect(self.name.clone(), stream).await {
            Ok(stream) => {
                self.note(stream.get_ref().1);
                Ok(stream)
            }
            // Only what TLS itself says is about TLS; a connection that broke meanwhile is just
            // that.
            Err(error) => match error.get_ref().filter(|inner| inner.is::<Error>()) {
                Some(inner) if self.shown.is_missed() => {
                    Err(Broken::Tls(tls_reasons::client_certificate(&inner.to_string())))
                }
                Some(inner) => Err(Broken::Tls(tls_reasons::of(inner))),
                None => Err(Broken::Io(error)),
            },
        }
    }
}

enum Believes {
    /// With the SHA-256 of certificates that are trusted for themselves.
    Authorities(Arc<WebPkiServerVerifier>, Vec<[u8; 32]>),
    Pin([u8; 32], Arc<CryptoProvider>),
}

/// Checks certificates and remembers why one was refused: the library passes on a bare text only.
struct Verifier {
    inner: Believes,
    presented: Mutex<Vec<Vec<u8>>>,
    refusal: Mutex<Option<String>>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found: [u8; 32] = Sha256::digest(certificate).into();
        if let Ok(mut presented) = self.presented.lock() {
            *presented = std::iter::once(certificate)
                .chain(intermediates)
                .take(LONGEST_CHAIN)
                .map(|der| der.to_vec())
                .collect();
        }
        let result = match &self.inner {
            Believes::Authorities(inner, own) => {
                match inner.verify_server_cert(certificate, intermediates, name, ocsp, now) {
                    // `openssl req -x509` makes an authority that servers show as their own.
                    Err(Error::InvalidCertificate(CertificateError::Other(_)))
                        if own.contains(&found) =>
                    {
                        of_itself(certificate, name, now)
                    }
                    judged => judged,
                }
            }
            Believes::Pin(pin, _) if *pin == found => Ok(ServerCertVerified::assertion()),
            Believes::Pin(..) => Err(CertificateError::ApplicationVerificationFailure.into()),
        };
        if let (Err(error), Ok(mut refusal)) = (&result, self.refusal.lock()) {
            *refusal = Some(format!(
                "the certificate {}; its fingerprint is SHA256:{}",
                certificate_reasons::of(error),
                hex(&found)
            ));
        }
        result
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match &self.inner {
            Believes::Authorities(inner, _) => {
                inner.verify_tls12_signature(message, certificate, signed)
            }
            Believes::Pin(_, provider) => verify_tls12_signature(
                message,
                certificate,
                signed,
                &provider.signature_verification_algorithms,
            )
            .or_else(|error| short_keys::judged_again(error, message, certificate, signed)),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match &self.inner {
            Believes::Authorities(inner, _) => {
                inner.verify_tls13_signature(message, certificate, signed)
            }
            Believes::Pin(_, provider) => verify_tls13_signature(
                message,
                certificate,
                signed,
                &provider.signature_verification_algorithms,
            )
            .or_else(|error| short_keys::judged_again(error, message, certificate, signed)),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        match &self.inner {
            Believes::Authorities(inner, _) => inner.supported_verify_schemes(),
            Believes::Pin(_, provider) => {
                provider.signature_verification_algorithms.supported_schemes()
            }
        }
    }
}

/// Judges a certificate that the settings name as trusted: name and dates are all that is left.
fn of_itself(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    verify_server_name(&parsed, name)?;
    let facts = CertificateFacts::of(certificate).ok_or(CertificateError::BadEncoding)?;
    let seconds = |at| UnixTime::since_unix_epoch(Duration::from_secs(at));
    let (not_before, not_after) = (seconds(facts.not_before), seconds(facts.not_after));
    if now < not_before {
        return Err(CertificateError::NotValidYetContext { time: now, not_before }.into());
    }
    if now > not_after {
        return Err(CertificateError::ExpiredContext { time: now, not_after }.into());
    }
    Ok(ServerCertVerified::assertion())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_in_hex_and_in_base64() {
        let half = "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF";
        let hex = &format!("{half}:{half}");
        let with_colons = format!("{:?}", pin(&format!("SHA256:{hex}")).unwrap());
        let plain = format!("{:?}", pin(&format!("SHA256:{}", hex.replace(':', ""))).unwrap());
        let base64 =
            format!("{:?}", pin("SHA256:ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8=").unwrap());
        assert!(with_colons == plain && plain == base64);
        for bad in ["", "SHA256:", "SHA1:00", "SHA256:0011", hex] {
            assert!(pin(bad).is_none(), "{bad}");
        }
    }
}
