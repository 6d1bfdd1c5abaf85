//! Signatures of RSA keys that are shorter than the TLS library takes, for pinned certificates.

use rsa::pkcs8::DecodePublicKey;
use rsa::signature::Verifier;
use rsa::traits::PublicKeyParts;
use rsa::{RsaPublicKey, pkcs1v15, pss};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use sha2::{Sha256, Sha384, Sha512};

/// Shorter ones prove nothing; longer ones are the library's.
const BITS: std::ops::Range<usize> = 1024..2048;

/// Judges again a signature that the library refused. A person who pins a certificate has judged
/// its key by himself; its owner still has to prove that it is his.
pub(crate) fn judged_again(
    refused: Error,
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    let info = parsed.subject_public_key_info();
    let key = RsaPublicKey::from_public_key_der(&info).ok();
    let Some(key) = key.filter(|key| BITS.contains(&(key.size() * 8))) else {
        return Err(refused);
    };
    if verifies(key, message, signed) {
        Ok(HandshakeSignatureValid::assertion())
    } else {
        Err(CertificateError::BadSignature.into())
    }
}

fn verifies(key: RsaPublicKey, message: &[u8], signed: &DigitallySignedStruct) -> bool {
    let signature = signed.signature();
    let pss = || pss::Signature::try_from(signature).ok();
    let plain = || pkcs1v15::Signature::try_from(signature).ok();
    let verified =
        match signed.scheme {
            SignatureScheme::RSA_PSS_SHA256 => {
                pss().map(|pss| pss::VerifyingKey::<Sha256>::new(key).verify(message, &pss))
            }
            SignatureScheme::RSA_PSS_SHA384 => {
                pss().map(|pss| pss::VerifyingKey::<Sha384>::new(key).verify(message, &pss))
            }
            SignatureScheme::RSA_PSS_SHA512 => {
                pss().map(|pss| pss::VerifyingKey::<Sha512>::new(key).verify(message, &pss))
            }
            SignatureScheme::RSA_PKCS1_SHA256 => plain()
                .map(|plain| pkcs1v15::VerifyingKey::<Sha256>::new(key).verify(message, &plain)),
            SignatureScheme::RSA_PKCS1_SHA384 => plain()
                .map(|plain| pkcs1v15::VerifyingKey::<Sha384>::new(key).verify(message, &plain)),
            SignatureScheme::RSA_PKCS1_SHA512 => plain()
                .map(|plain| pkcs1v15::VerifyingKey::<Sha512>::new(key).verify(message, &plain)),
            _ => None,
        };
    verified.is_some_and(|verified| verified.is_ok())
}
