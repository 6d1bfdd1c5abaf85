//! Certificates for the servers of one test process: a good one, and the ways to be bad.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, date_time_ymd,
};

use super::account::Home;

/// Which certificate a server shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cert {
    /// For `localhost` and `127.0.0.1`, signed by the CA.
    Good,
    /// As the good one, but its time was the year 2020.
    Expired,
    /// Signed by the CA, for `elsewhere.example`.
    WrongHost,
    /// As the good one, but signed by itself.
    SelfSigned,
}

/// Whether an FTP server speaks TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Plain text only.
    Off,
    /// `AUTH TLS`, which the server insists on for logins and data.
    Explicit(Cert),
    /// TLS from the first byte.
    Implicit(Cert),
}

impl Tls {
    /// The certificate, if there is one.
    pub fn cert(self) -> Option<Cert> {
        match self {
            Tls::Off => None,
            Tls::Explicit(cert) | Tls::Implicit(cert) => Some(cert),
        }
    }
}

/// The files that a server's configuration names.
#[derive(Clone, Debug)]
pub struct CertFiles {
    /// Certificate in PEM.
    pub cert: String,
    /// Key in PEM.
    pub key: String,
    /// What a client has to trust: the CA (for [`Cert::SelfSigned`] it does not help).
    pub ca: PathBuf,
}

/// Writes certificate, key and CA into the folder of a server.
pub fn write(home: &Home, cert: Cert) -> CertFiles {
    let (ca, key) = authority();
    let pem = match cert {
        Cert::SelfSigned => params(&["localhost", "127.0.0.1"]).self_signed(key).unwrap().pem(),
        Cert::Good => params(&["localhost", "127.0.0.1"]).signed_by(key, &ca.issuer).unwrap().pem(),
        Cert::WrongHost => params(&["elsewhere.example"]).signed_by(key, &ca.issuer).unwrap().pem(),
        Cert::Expired => {
            let mut params = params(&["localhost", "127.0.0.1"]);
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 12, 31);
            params.signed_by(key, &ca.issuer).unwrap().pem()
        }
    };
    home.write("ca.pem", &ca.pem);
    CertFiles {
        cert: home.write("cert.pem", &pem),
        key: home.write_secret("key.pem", &key.serialize_pem()),
        ca: home.path("ca.pem"),
    }
}

/// A certificate of a client and its key, as files of `folder`: signed by the CA that the servers
/// trust, or by nobody that they know.
pub fn client(folder: &Path, signed: Signed) -> (PathBuf, PathBuf) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "partner");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let certificate = match signed {
        Signed::ByTheCa => params.signed_by(&key, &authority().0.issuer).unwrap(),
        Signed::ByItself => params.self_signed(&key).unwrap(),
    };
    let (file, key_file) = (folder.join("client.pem"), folder.join("client.key"));
    std::fs::write(&file, certificate.pem()).unwrap();
    std::fs::write(&key_file, key.serialize_pem()).unwrap();
    (file, key_file)
}

/// Who signed a client's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// The CA that the servers trust.
    ByTheCa,
    /// Nobody else.
    ByItself,
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// The CA, and the one key of all servers: keys cost time, and nobody asks for their difference.
fn authority() -> &'static (Authority, KeyPair) {
    static AUTHORITY: OnceLock<(Authority, KeyPair)> = OnceLock::new();
    AUTHORITY.get_or_init(|| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, "blobferry test CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        // Old FTP servers are configured with an RSA key.
        let servers = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
        (Authority { pem, issuer: Issuer::new(params, key) }, servers)
    })
}

fn params(names: &[&str]) -> CertificateParams {
    let mut params =
        CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
            .unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, names[0]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    // Clients of some platforms refuse server certificates that live longer than two years or so.
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2046, 1, 1);
    params
}
