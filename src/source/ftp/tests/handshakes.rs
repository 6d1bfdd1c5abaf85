//! What people are told of handshakes that fail: a row for every failure that rustls knows, and the
//! ones that a server can make happen.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError as Certificate, Error, InvalidMessage as Message,
    OtherError, PeerIncompatible as Peer, PeerMisbehaved,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::tls::{FtpTrust, MaxVersion, Tls};
use super::super::{certificate_reasons, tls_reasons};
use super::*;

/// The names in `pub enum NAME {` of the library's own text.
fn variants(name: &str) -> BTreeSet<String> {
    let lock = include_str!("../../../../Cargo.lock");
    let version = lock
        .split("[[package]]")
        .find(|package| package.contains("\nname = \"rustls\"\n"))
        .and_then(|package| package.split("version = \"").nth(1)?.split('"').next())
        .expect("the lock file names rustls");
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from).unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").expect("there is a home")).join(".cargo")
    });
    let registries = std::fs::read_dir(home.join("registry/src")).expect("crates are unpacked");
    let file = registries
        .flatten()
        .map(|registry| registry.path().join(format!("rustls-{version}/src/error.rs")))
        .find(|file| file.exists())
        .expect("rustls is unpacked");
    let text = std::fs::read_to_string(file).expect("it can be read");
    let body = text.split(&format!("pub enum {name} {{")).nth(1).expect("it is there");
    let (mut depth, mut found) = (0, BTreeSet::new());
    for line in body.lines() {
        let word = line.trim();
        let name: String = word.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
        if depth == 0 && line.starts_with("    ") && word.starts_with(|c: char| c.is_uppercase()) {
            found.insert(name);
        }
        let count = |c: char| word.matches(c).count();
        // Comments and attributes hold brackets of their own.
        if !word.starts_with("//") {
            depth += count('{') + count('(');
            depth = match depth.checked_sub(count('}') + count(')')) {
                Some(depth) => depth,
                None => return found,
            };
        }
    }
    found
}

fn name_of(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}").chars().take_while(|c| c.is_ascii_alphanumeric()).collect()
}

fn names<T: std::fmt::Debug>(values: &[T]) -> BTreeSet<String> {
    values.iter().map(name_of).collect()
}

fn messages() -> Vec<Message> {
    use rustls::InvalidMessage::*;
    vec![
        CertificatePayloadTooLarge,
        HandshakePayloadTooLarge,
        InvalidCcs,
        InvalidContentType,
        InvalidCertificateStatusType,
        InvalidCertRequest,
        InvalidDhParams,
        InvalidEmptyPayload,
        InvalidKeyUpdate,
        InvalidServerName,
        MessageTooLarge,
        MessageTooShort,
        MissingData("x"),
        MissingKeyExchange,
        NoSignatureSchemes,
        TrailingData("x"),
        UnexpectedMessage("x"),
        UnknownProtocolVersion,
        UnsupportedCompression,
        UnsupportedCurveType,
        EmptyTicketValue,
        IllegalEmptyList("x"),
        IllegalEmptyValue,
        DuplicateExtension(1),
        PreSharedKeyIsNotFinalExtension,
        UnknownHelloRetryRequestExtension,
        UnknownCertificateExtension,
    ]
}

fn incompatible() -> Vec<Peer> {
    use rustls::PeerIncompatible::*;
    vec![
        EcPointsExtensionRequired,
        ExtendedMasterSecretExtensionRequired,
        IncorrectCertificateTypeExtension,
        KeyShareExtensionRequired,
        NamedGroupsExtensionRequired,
        NoCertificateRequestSignatureSchemesInCommon,
        NoCipherSuitesInCommon,
        NoEcPointFormatsInCommon,
        NoKxGroupsInCommon,
        NoSignatureSchemesInCommon,
        NullCompressionRequired,
        ServerDoesNotSupportTls12Or13,
        ServerSentHelloRetryRequestWithUnknownExtension,
        ServerTlsVersionIsDisabledByOurConfig,
        SignatureAlgorithmsExtensionRequired,
        SupportedVersionsExtensionRequired,
        Tls12NotOffered,
        Tls12NotOfferedOrEnabled,
        Tls13RequiredForQuic,
        UncompressedEcPointsRequired,
        UnsolicitedCertificateTypeExtension,
        ServerRejectedEncryptedClientHello(None),
    ]
}

fn certificates() -> Vec<Certificate> {
    let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let expected = || ServerName::try_from("ftp.acme.example").expect("a name");
    vec![
        Certificate::BadEncoding,
        Certificate::Expired,
        Certificate::ExpiredContext { time: at(2_000_000_000), not_after: at(1_600_000_000) },
        Certificate::NotValidYet,
        Certificate::NotValidYetContext { time: at(0), not_before: at(1_600_000_000) },
        Certificate::Revoked,
        Certificate::UnhandledCriticalExtension,
        Certificate::UnknownIssuer,
        Certificate::UnknownRevocationStatus,
        Certificate::ExpiredRevocationList,
        Certificate::ExpiredRevocationListContext { time: at(9), next_update: at(1) },
        Certificate::BadSignature,
        Certificate::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: vec![],
            supported_algorithms: vec![],
        },
        Certificate::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id: vec![],
            public_key_algorithm_id: vec![],
        },
        Certificate::NotValidForName,
        Certificate::NotValidForNameContext {
            expected: expected(),
            presented: vec!["other.example".into()],
        },
        Certificate::NotValidForNameContext { expected: expected(), presented: vec![] },
        Certificate::InvalidPurpose,
        Certificate::InvalidPurposeContext {
            required: rustls::ExtendedKeyPurpose::ServerAuth,
            presented: vec![],
        },
        Certificate::InvalidOcspResponse,
        Certificate::ApplicationVerificationFailure,
        Certificate::Other(OtherError(Arc::new(std::fmt::Error))),
    ]
}

fn others() -> Vec<Error> {
    vec![
        Error::InappropriateMessage {
            expect_types: vec![rustls::ContentType::Handshake],
            got_type: rustls::ContentType::ApplicationData,
        },
        Error::InappropriateHandshakeMessage {
            expect_types: vec![rustls::HandshakeType::ServerHello],
            got_type: rustls::HandshakeType::Finished,
        },
        Error::InvalidEncryptedClientHello(rustls::EncryptedClientHelloError::InvalidConfigList),
        Error::NoCertificatesPresented,
        Error::UnsupportedNameType,
        Error::DecryptError,
        Error::EncryptError,
        Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedCipherSuite),
        Error::InvalidCertRevocationList(rustls::CertRevocationListError::ParseError),
        Error::General("x".into()),
        Error::FailedToGetCurrentTime,
        Error::FailedToGetRandomBytes,
        Error::HandshakeNotComplete,
        Error::PeerSentOversizedRecord,
        Error::NoApplicationProtocol,
        Error::BadMaxFragmentSize,
        Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch),
        Error::Other(OtherError(Arc::new(std::fmt::Error))),
    ]
}

#[test]
fn every_failure_that_the_library_knows_is_in_the_table() {
    // One of these holds a type that cannot be made from outside.
    let mut told = names(&messages());
    told.insert("UnsupportedKeyExchangeAlgorithm".into());
    assert_eq!(told, variants("InvalidMessage"));
    assert_eq!(names(&incompatible()), variants("PeerIncompatible"));
    // This one is not made any more.
    let mut told = names(&certificates());
    told.insert("UnsupportedSignatureAlgorithm".into());
    assert_eq!(told, variants("CertificateError"));
    let mut told = names(&others());
    for apart in ["AlertReceived", "InvalidCertificate", "InvalidMessage", "PeerIncompatible"] {
        told.insert(apart.into());
    }
    assert_eq!(told, variants("Error"));
    // All of these are one row: the server breaks the rules.
    assert!(variants("PeerMisbehaved").len() > 50);
}

fn alerts() -> Vec<AlertDescription> {
    (0..=u8::MAX)
        .map(AlertDescription::from)
        .filter(|alert| !matches!(alert, AlertDescription::Unknown(_)))
        .collect()
}

#[test]
fn the_table_of_handshakes_is_what_people_are_told() {
    let mut page = String::from(
        "# Handshakes that fail\n\nWhat people are told when an encrypted connection does not come \
         about: a row for each failure that the libraries below know. Made by the tests of the \
         sources (`UPDATE_EXPECT=1 cargo test --lib handshakes`); the settings that mend them \
         stand in [configuration.md](configuration.md).\n",
    );
    let mut table = |title: &str, rows: Vec<(String, String)>| {
        page.push_str(&format!("\n## {title}\n\n| failure | what is told |\n|---|---|\n"));
        for (name, text) in rows {
            page.push_str(&format!("| `{name}` | {} |\n", text.replace('|', "\\|")));
        }
    };
    let of = |error: Error| tls_reasons::of(&error);
    let row = |name: String, error: Error| (name, of(error));
    table(
        "TLS: the server's certificate",
        certificates()
            .into_iter()
            .map(|problem| {
                let told = certificate_reasons::of(&Error::InvalidCertificate(problem.clone()));
                (name_of(&problem), format!("the certificate {told}"))
            })
            .collect(),
    );
    table(
        "TLS: the server's last word (alerts)",
        alerts().into_iter().map(|a| row(name_of(&a), Error::AlertReceived(a))).collect(),
    );
    table(
        "TLS: the server and this program have nothing in common",
        incompatible().into_iter().map(|p| row(name_of(&p), Error::PeerIncompatible(p))).collect(),
    );
    table(
        "TLS: messages that cannot be read",
        messages().into_iter().map(|m| row(name_of(&m), Error::InvalidMessage(m))).collect(),
    );
    table("TLS: all others", others().into_iter().map(|e| row(name_of(&e), e)).collect());
    table("SSH", crate::source::sftp::handshake_table::rows());
    expect_test::expect_file!["../../../../docs/handshakes.md"].assert_eq(&page);
}

/// A server that answers whatever comes first on an encrypted connection with `bytes`.
async fn answering(bytes: &'static [u8]) -> FtpEndpoint {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut hello = [0; 1024];
            if stream.read(&mut hello).await.is_ok() {
                drop(stream.write_all(bytes).await);
            }
        }
    });
    let tls = Tls { trust: FtpTrust::Platform, max_version: MaxVersion::V1_3, client: None };
    let account = FtpAccount {
        host: address.ip().to_string(),
        port: address.port(),
        address: format!("ftps://{address}"),
        user: "demo".into(),
        password: Secret::new("demo"),
        security: Security::Implicit(tls),
        account: None,
        login_commands: Vec::new(),
        home: false,
        transfer_type: TransferType::Binary,
        proxy: None,
        limits: FtpLimits { command: Duration::from_secs(5), ..HASTY },
        learned: Learned::default(),
    };
    FtpEndpoint { account: Arc::new(account) }
}

/// A server's hello in TLS 1.0, with a cipher suite of its time.
const TLS_1_0: &[u8] = b"\x16\x03\x01\x00\x2a\x02\x00\x00\x26\x03\x01\
    \x01\x02\x03\x04\x05\x06\x07\x08\x01\x02\x03\x04\x05\x06\x07\x08\
    \x01\x02\x03\x04\x05\x06\x07\x08\x01\x02\x03\x04\x05\x06\x07\x08\x00\x00\x2f\x00";

#[tokio::test]
async fn servers_with_another_tls_than_ours_are_told_with_what_mends_it() {
    for (bytes, parts) in [
        (TLS_1_0, &["older versions alone", "allow TLS 1.2"][..]),
        (b"\x15\x03\x01\x00\x02\x02\x46", &["older versions alone", "allow TLS 1.2"]),
        (b"\x15\x03\x03\x00\x02\x02\x28", &["suites with RSA, DHE or CBC"]),
        (b"\x15\x03\x03\x00\x02\x02\x74", &["client certificate", "`tls_client_certificate_file`"]),
        (b"\x15\x03\x03\x00\x02\x02\x30", &["refuses the client certificate"]),
        (b"\x15\x03\x03\x00\x02\x02\x70", &["host name in `url`"]),
        (b"220 FTP server ready\r\n", &["does the server speak TLS on this port?"]),
    ] {
        let endpoint = answering(bytes).await;
        let refused = soon(endpoint.open()).await.map(|_| ());
        let text = check_error(refused, Class::Tls, false);
        for part in parts {
            assert!(text.contains(part), "{bytes:?}: {text}");
        }
    }
}
