//! Which SSH algorithms we offer, in which order.

use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{Preferred, cipher, kex, mac};

/// How far back in time we go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithms {
    /// What is sound today.
    Modern,
    /// Also what servers of the years before 2014 need: SHA-1, CBC.
    Legacy,
}

/// AES-GCM is a third faster than ChaCha20 on every machine with AES instructions.
const CIPHERS: &[cipher::Name] = &[
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_CTR,
    cipher::AES_192_CTR,
    cipher::AES_128_CTR,
];
const OLD_CIPHERS: &[cipher::Name] =
    &[cipher::AES_256_CBC, cipher::AES_192_CBC, cipher::AES_128_CBC];
const MACS: &[mac::Name] =
    &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM, mac::HMAC_SHA256, mac::HMAC_SHA512];
const OLD_MACS: &[mac::Name] = &[mac::HMAC_SHA1_ETM, mac::HMAC_SHA1];
const EXCHANGES: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    // Servers in FIPS mode have no Curve25519.
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    kex::DH_GEX_SHA256,
    kex::DH_G16_SHA512,
    kex::DH_G18_SHA512,
    kex::DH_G14_SHA256,
];
const OLD_EXCHANGES: &[kex::Name] = &[kex::DH_G14_SHA1, kex::DH_GEX_SHA1, kex::DH_G1_SHA1];
/// No algorithms but markers: extension info, and the counter to the Terrapin attack.
const MARKERS: &[kex::Name] =
    &[kex::EXTENSION_SUPPORT_AS_CLIENT, kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT];

/// Everything that we offer; `order_keys` puts those host key algorithms first that we can compare.
pub(crate) fn offer(
    algorithms: Algorithms,
    order_keys: impl FnOnce(&[Algorithm]) -> Vec<Algorithm>,
) -> Preferred {
    let mut keys = vec![
        Algorithm::Ed25519,
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
        Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
    ];
    let (mut ciphers, mut macs, mut exchanges) =
        (CIPHERS.to_vec(), MACS.to_vec(), EXCHANGES.to_vec());
    if algorithms == Algorithms::Legacy {
        keys.push(Algorithm::Rsa { hash: None });
        ciphers.extend(OLD_CIPHERS);
        macs.extend(OLD_MACS);
        exchanges.extend(OLD_EXCHANGES);
    }
    exchanges.extend(MARKERS);
    Preferred {
        kex: exchanges.into(),
        key: order_keys(&keys).into(),
        cipher: ciphers.into(),
        mac: macs.into(),
        ..Preferred::DEFAULT
    }
}

/// Whether `names` holds something that [`Algorithms::Legacy`] would have added.
pub(crate) fn any_legacy(names: &[String]) -> bool {
    let old = OLD_CIPHERS
        .iter()
        .map(AsRef::as_ref)
        .chain(OLD_MACS.iter().map(AsRef::as_ref))
        .chain(OLD_EXCHANGES.iter().map(AsRef::as_ref));
    old.chain(["ssh-rsa"]).any(|old: &str| names.iter().any(|name| name == old))
}
