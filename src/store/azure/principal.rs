//! A service principal: an application that signs in with a secret, or with a certificate whose key
//! signs an assertion.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use azure_core::error::{Error, ErrorKind};
use azure_core::http::ClientMethodOptions;
use azure_identity::ClientAssertion;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::model::{Secret, hex};

/// Where applications sign in, unless AZURE_AUTHORITY_HOST names a sovereign cloud's place.
pub(crate) const PUBLIC_AUTHORITY: &str = "https://login.microsoftonline.com";

/// How long an assertion is good for. It is used at once.
const GOOD_FOR: Duration = Duration::from_secs(300);

/// An application and what proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The directory.
    pub tenant: String,
    /// The application's client id.
    pub client_id: String,
    /// What proves it.
    pub proof: PrincipalProof,
    /// Where it signs in: a URL without a path.
    pub authority: String,
}

/// What proves an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrincipalProof {
    /// A secret.
    Secret(Secret),
    /// A certificate and its key.
    Certificate(Certified),
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Certified {
    /// SHA-256 of the certificate, as the header of an assertion names it.
    thumbprint: String,
    key: Arc<dyn SigningKey>,
}

impl fmt::Debug for Certified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certified({}, ***)", self.thumbprint)
    }
}

impl PartialEq for Certified {
    fn eq(&self, other: &Self) -> bool {
        self.thumbprint == other.thumbprint
    }
}

impl Eq for Certified {}

impl Certified {
    /// Reads a certificate and its key, both PEM, in any order. The error names nothing of the key.
    pub(crate) fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let certificate = CertificateDer::pem_slice_iter(pem).next();
        let certificate = certificate
            .and_then(Result::ok)
            .ok_or("holds no certificate; allowed is PEM with the certificate and its key")?;
        let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
            "holds no private key that can be read; allowed is PEM with an RSA key that has no \
            password (`openssl pkcs12 -in x.pfx -nodes` makes it of a PFX)"
        })?;
        let key = any_supported_type(&key)
            .map_err(|_| "holds a private key of a kind that is not known; allowed is RSA")?;
        if key.choose_scheme(&[SignatureScheme::RSA_PSS_SHA256]).is_none() {
            return Err("holds a key that is not RSA; Entra ID takes RSA only".to_owned());
        }
        Ok(Self { thumbprint: URL_SAFE_NO_PAD.encode(Sha256::digest(certificate.as_ref())), key })
    }
}

/// Signs assertions for an application, as "Microsoft identity platform certificate credentials"
/// has them.
#[derive(Debug)]
pub(crate) struct Signer {
    /// The application's client id.
    pub client_id: String,
    /// Where the assertion goes.
    pub audience: String,
    /// What it is signed with.
    pub certified: Certified,
}

impl Signer {
    /// For `principal`, with this certificate.
    pub fn new(principal: &Principal, certified: Certified) -> Self {
        let audience = format!(
            "{}/{}/oauth2/v2.0/token",
            principal.authority.trim_end_matches('/'),
            principal.tenant
        );
        Self { client_id: principal.client_id.clone(), audience, certified }
    }

    /// An assertion that is good from `now` on, in seconds since 1970.
    fn assertion(&self, now: i64) -> Result<String, String> {
        let mut random = [0u8; 16];
        getrandom::fill(&mut random).map_err(|error| error.to_string())?;
        let id = hex(&random);
        let id =
            format!("{}-{}-{}-{}-{}", &id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]);
        let header = json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": self.certified.thumbprint });
        let claims = json!({
            "aud": self.audience, "iss": self.client_id, "sub": self.client_id, "jti": id,
            "nbf": now - 60, "iat": now, "exp": now + GOOD_FOR.as_secs().cast_signed(),
        });
        let signed =
            [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signer = self
            .certified
            .key
            .choose_scheme(&[SignatureScheme::RSA_PSS_SHA256])
            .ok_or("the key is not RSA")?;
        let signature = signer.sign(signed.as_bytes()).map_err(|error| error.to_string())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

#[async_trait::async_trait]
impl ClientAssertion for Signer {
    async fn secret(
        &self,
        _options: Option<ClientMethodOptions<'_>>,
    ) -> azure_core::Result<String> {
        let now = time::OffsetDateTime::now_utc().unix_timestamp();
        self.assertion(now).map_err(|problem| {
            Error::with_message(
                ErrorKind::Credential,
                format!("signing with the certificate: {problem}"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::alg_id;
    use serde_json::Value;
    use x509_cert::der::Decode;

    fn certified(algorithm: &'static rcgen::SignatureAlgorithm) -> (String, Vec<u8>) {
        let key = rcgen::KeyPair::generate_for(algorithm).expect("a key");
        let certificate = rcgen::CertificateParams::new(vec!["app".to_owned()])
            .and_then(|params| params.self_signed(&key))
            .expect("a certificate");
        (format!("{}{}", key.serialize_pem(), certificate.pem()), certificate.der().to_vec())
    }

    #[test]
    fn an_assertion_is_signed_with_the_key_of_the_certificate_that_it_names() {
        let (pem, der) = certified(&rcgen::PKCS_RSA_SHA256);
        let certified = Certified::from_pem(pem.as_bytes()).expect("it is read");
        let signer = Signer {
            client_id: "app-1".into(),
            audience: "https://login.example/t/oauth2/v2.0/token".into(),
            certified,
        };
        let assertion = signer.assertion(1_800_000_000).expect("it is signed");
        let parts: Vec<&str> = assertion.split('.').collect();
        let read = |part: &str| -> Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("JSON")
        };
        let (header, claims) = (read(parts[0]), read(parts[1]));
        assert_eq!(
            (&header["alg"], &header["x5t#S256"]),
            (&json!("PS256"), &json!(URL_SAFE_NO_PAD.encode(Sha256::digest(&der))))
        );
        assert_eq!(
            (&claims["iss"], &claims["sub"], &claims["aud"]),
            (&json!("app-1"), &json!("app-1"), &json!(signer.audience))
        );
        assert!(
            claims["exp"].as_i64() > claims["nbf"].as_i64()
                && claims["jti"].as_str().is_some_and(|id| id.len() == 36)
        );
        // Another program's verifier says that the signature holds.
        let schemes =
            rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms;
        let certificate = x509_cert::Certificate::from_der(&der).expect("a certificate");
        let verifier = schemes.all.iter().find(|scheme| {
            scheme.signature_alg_id() == alg_id::RSA_PSS_SHA256
                && scheme.public_key_alg_id() == alg_id::RSA_ENCRYPTION
        });
        let signature = URL_SAFE_NO_PAD.decode(parts[2]).expect("base64");
        let key = certificate.tbs_certificate().subject_public_key_info();
        let public = key.subject_public_key.raw_bytes();
        let signed = format!("{}.{}", parts[0], parts[1]);
        verifier
            .expect("a verifier")
            .verify_signature(public, signed.as_bytes(), &signature)
            .expect("it holds");
    }

    #[test]
    fn what_is_no_certificate_with_an_rsa_key_is_told_without_the_key() {
        let (ec, _) = certified(&rcgen::PKCS_ECDSA_P256_SHA256);
        let key_alone = ec.split("-----BEGIN CERTIFICATE").next().unwrap_or_default().to_owned();
        for (pem, words) in [
            (ec.as_str(), "not RSA"),
            (key_alone.as_str(), "no certificate"),
            ("", "no certificate"),
            ("-----BEGIN", "no certificate"),
        ] {
            let told = Certified::from_pem(pem.as_bytes()).err().unwrap_or_default();
            assert!(told.contains(words) && !told.contains("MI"), "{told}");
        }
    }
}
