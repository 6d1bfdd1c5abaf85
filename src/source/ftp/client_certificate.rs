//! The certificate that a server may want of its clients.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// A certificate with its key.
#[derive(Clone)]
pub(crate) struct ClientCertificate(Arc<CertifiedKey>);

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate")
    }
}

impl ClientCertificate {
    /// Of two PEM texts; what is wrong with them, otherwise.
    pub fn read(certificate: &str, key: &str) -> Result<Self, String> {
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(certificate.as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|error| format!("goes with a certificate that is no PEM: {error}"))?;
        if chain.is_empty() {
            return Err("goes with a text that holds no `BEGIN CERTIFICATE`".into());
        }
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| format!("holds no private key that can be read: {error}"))?;
        let key = any_supported_type(&key)
            .map_err(|error| format!("holds a private key that cannot be used: {error}"))?;
        let pair = CertifiedKey::new(chain, key);
        match pair.keys_match() {
            Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
                Err("is not the key of the client certificate".into())
            }
            _ => Ok(Self(Arc::new(pair))),
        }
    }
}

/// Shows the certificate, if there is one, and remembers whether the server asked for it.
#[derive(Debug, Default)]
pub(crate) struct CertificateResolver {
    certificate: Option<ClientCertificate>,
    asked: AtomicBool,
}

impl CertificateResolver {
    /// What is shown to a server that asks.
    pub fn new(certificate: Option<ClientCertificate>) -> Self {
        Self { certificate, asked: AtomicBool::new(false) }
    }

    /// Whether the server asked in vain.
    pub(crate) fn is_missed(&self) -> bool {
        self.certificate.is_none() && self.asked.load(Ordering::Relaxed)
    }
}

impl ResolvesClientCert for CertificateResolver {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.certificate.as_ref().map(|certificate| certificate.0.clone())
    }

    fn has_certs(&self) -> bool {
        // Otherwise nobody would tell that the server asked.
        true
    }
}
