//! Encrypted servers, trusted and not.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use sha2::{Digest, Sha256};

use super::super::tls::{self, MaxVersion, Tls};
use super::*;
use crate::demo::ftp::script::{DemoFtpAnnounces, DemoFtpFault};
use crate::demo::ftp::shared::{ServerTls, TlsStart};
use crate::model::hex;
use crate::source::ftp::tls::FtpTrust;

/// An authority and a certificate of it.
struct Certified {
    authority: String,
    der: Vec<u8>,
    config: Arc<rustls::ServerConfig>,
}

impl Certified {
    fn new(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        // Authorities of one name are taken for each other.
        authority
            .distinguished_name
            .push(rcgen::DnType::CommonName, hex(&Sha256::digest(key.public_key_raw())));
        let authority = CertifiedIssuer::self_signed(authority, key).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &authority).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        Self {
            authority: authority.pem(),
            der: certificate.der().to_vec(),
            config: Arc::new(config),
        }
    }

    fn good() -> Self {
        Self::new("127.0.0.1", |_| {})
    }

    fn trusted(&self) -> FtpTrust {
        tls::authorities(self.authority.as_bytes()).unwrap()
    }

    fn fingerprint(&self) -> String {
        format!("SHA256:{}", hex(&Sha256::digest(&self.der)))
    }
}

async fn world(
    certified: &Certified,
    start: TlsStart,
    script: DemoFtpScript,
    trust: FtpTrust,
    max_version: MaxVersion,
) -> World {
    let tls = ServerTls { config: certified.config.clone(), start };
    let mut world = World::at(script, |options| options.tls = Some(tls)).await;
    let tls = Tls { trust, max_version, client: None };
    let security =
        if start == TlsStart::Explicit { Security::Explicit(tls) } else { Security::Implicit(tls) };
    world.endpoint = endpoint(&world.server, "demo", security);
    world
}

async fn check_works(
    start: TlsStart,
    script: DemoFtpScript,
    trust: fn(&Certified) -> FtpTrust,
    max_version: MaxVersion,
) {
    let certified = Certified::good();
    let world = world(&certified, start, script, trust(&certified), max_version).await;
    let mut session = world.session().await;
    for _ in 0..3 {
        assert_eq!(list(&mut session, "/").await.unwrap().len(), 3);
        assert_eq!(
            fetch(&mut session, &file("/a.bin", 100_000), 0).await.unwrap(),
            content(100_000)
        );
    }
    assert_eq!(
        fetch(&mut session, &file("/a.bin", 100_000), 70_000).await.unwrap(),
        content(100_000)[70_000..]
    );
    // Nothing but greetings went there for nothing.
    assert_eq!(world.server.counts.most_connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn explicit_and_implicit_with_each_version() {
    for start in [TlsStart::Explicit, TlsStart::Implicit] {
        for version in [MaxVersion::V1_2, MaxVersion::V1_3] {
            check_works(start, DemoFtpScript::default(), Certified::trusted, version).await;
        }
    }
}

#[tokio::test]
async fn a_pinned_certificate_needs_no_authority() {
    for version in [MaxVersion::V1_2, MaxVersion::V1_3] {
        check_works(
            TlsStart::Explicit,
            DemoFtpScript::default(),
            |certified| tls::pin(&certified.fingerprint()).unwrap(),
            version,
        )
        .await;
    }
}

#[tokio::test]
async fn servers_that_agree_to_encryption_by_another_number_than_234() {
    for agreed in ["200 AUTH command ok; starting SSL connection...", "334 Proceed."] {
        let script = DemoFtpScript { auth_reply: Some(agreed), ..DemoFtpScript::default() };
        check_works(TlsStart::Explicit, script, Certified::trusted, MaxVersion::V1_2).await;
    }
}

#[tokio::test]
async fn a_server_that_ends_encrypted_data_rudely() {
    let rude = || DemoFtpScript { rude_tls: 1..u64::MAX, ..DemoFtpScript::default() };
    check_works(TlsStart::Explicit, rude(), Certified::trusted, MaxVersion::V1_3).await;
    check_works(
        TlsStart::Explicit,
        DemoFtpScript { without: vec!["MLST"], ..rude() },
        Certified::trusted,
        MaxVersion::V1_2,
    )
    .await;
    // Without a size, nothing tells a whole file from a cut one.
    let certified = Certified::good();
    let world =
        world(&certified, TlsStart::Explicit, rude(), certified.trusted(), MaxVersion::V1_3).await;
    check_error(
        fetch(&mut world.session().await, &file("/a.bin", None), 0).await,
        Class::Truncated,
        true,
    );
}

#[tokio::test]
async fn an_encrypted_listing_that_is_cut_is_not_whole() {
    for (rude, whole) in [
        // Nobody knows yet that this server gives the sign: it is asked once more.
        (1..2, [false, true]),
        (2..u64::MAX, [true, false]),
        // It never gives it.
        (1..u64::MAX, [true, true]),
    ] {
        let script = DemoFtpScript { rude_tls: rude.clone(), ..DemoFtpScript::default() };
        let certified = Certified::good();
        let trust = certified.trusted();
        let world = world(&certified, TlsStart::Explicit, script, trust, MaxVersion::V1_3).await;
        for is_whole in whole {
            let mut session = world.session().await;
            let listed = list(&mut session, "/").await;
            if is_whole {
                assert_eq!(listed.unwrap().len(), 3, "{rude:?}");
            } else {
                check_error(listed, Class::Truncated, true);
            }
            let told = format!("{:?}", session.describe());
            let never = rude == (1..u64::MAX);
            assert_eq!(told.contains("without TLS's own sign"), never, "{rude:?} {told}");
        }
    }
}

#[tokio::test]
async fn encrypted_data_that_is_cut_or_stalls() {
    for (fault, class) in [
        (DemoFtpFault::FinThen426(60_000), Class::Truncated),
        (DemoFtpFault::Reset(60_000), Class::Truncated),
        (DemoFtpFault::Stall(60_000), Class::Stalled),
    ] {
        let certified = Certified::good();
        let script = DemoFtpScript { every_file: Some(fault), ..DemoFtpScript::default() };
        let world =
            world(&certified, TlsStart::Explicit, script, certified.trusted(), MaxVersion::V1_3)
                .await
                .hasty_if(class == Class::Stalled);
        check_error(
            fetch(&mut world.session().await, &file("/a.bin", 100_000), 0).await,
            class,
            true,
        );
    }
}

async fn check_refused(certified: &Certified, trust: FtpTrust, words: &str) {
    for start in [TlsStart::Explicit, TlsStart::Implicit] {
        let world =
            world(certified, start, DemoFtpScript::default(), trust.clone(), MaxVersion::V1_3)
                .await;
        let text = check_error(Err::<(), _>(world.refused().await), Class::Tls, false);
        assert!(text.contains(words) && text.contains(&certified.fingerprint()), "{text}");
        assert_eq!(world.server.counts.of("PASS"), 0);
    }
}

#[tokio::test]
async fn certificates_that_are_not_good() {
    let good = Certified::good();
    check_refused(&good, Certified::good().trusted(), "not trusted").await;
    check_refused(&good, tls::pin(&Certified::good().fingerprint()).unwrap(), "tls_pin").await;
    let elsewhere = Certified::new("ftp.example.com", |_| {});
    check_refused(&elsewhere, elsewhere.trusted(), "not for `127.0.0.1`").await;
    let expired = Certified::new("127.0.0.1", |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 2, 3);
    });
    check_refused(&expired, expired.trusted(), "expired on 2021-02-03").await;
    let early =
        Certified::new("127.0.0.1", |params| params.not_before = rcgen::date_time_ymd(2400, 1, 1));
    check_refused(&early, early.trusted(), "not valid before 2400-01-01").await;
}

#[tokio::test]
async fn clear_text_is_never_the_way_out() {
    for (verb, reply) in [
        ("AUTH", "502 No TLS here.\r\n"),
        ("AUTH", "431 No TLS here.\r\n"),
        ("PROT", "536 No.\r\n"),
    ] {
        let certified = Certified::good();
        let script = DemoFtpScript { replies: vec![(verb, reply)], ..DemoFtpScript::default() };
        let world =
            world(&certified, TlsStart::Explicit, script, certified.trusted(), MaxVersion::V1_3)
                .await;
        check_error(Err::<(), _>(world.refused().await), Class::Tls, false);
        assert_eq!((world.server.counts.of("USER"), world.server.counts.of("PASS")), (0, 0));
    }
    // A server that knows no TLS, spoken to in both ways.
    let mut world = World::new(DemoFtpScript::default()).await;
    let tls =
        Tls { trust: Certified::good().trusted(), max_version: MaxVersion::V1_3, client: None };
    for security in [Security::Explicit(tls.clone()), Security::Implicit(tls)] {
        world.endpoint = endpoint(&world.server, "demo", security);
        check_error(Err::<(), _>(world.refused().await), Class::Tls, false);
        assert_eq!(world.server.counts.of("USER"), 0);
    }
}

#[tokio::test]
async fn a_refused_pbsz_is_no_refusal_to_encrypt() {
    let certified = Certified::good();
    let script =
        DemoFtpScript { replies: vec![("PBSZ", "500 What?\r\n")], ..DemoFtpScript::default() };
    let world =
        world(&certified, TlsStart::Explicit, script, certified.trusted(), MaxVersion::V1_3).await;
    let mut session = world.session().await;
    assert_eq!(fetch(&mut session, &file("/a.bin", 100_000), 0).await.unwrap().len(), 100_000);
}

#[tokio::test]
async fn a_full_server_is_not_one_that_refuses_tls() {
    for greeting in ["421 Too many connections\r\n", "500 OOPS: vsf_sysutil_fork\r\n"] {
        let certified = Certified::good();
        let script = DemoFtpScript { greeting: Some(greeting.into()), ..DemoFtpScript::default() };
        let world =
            world(&certified, TlsStart::Explicit, script, certified.trusted(), MaxVersion::V1_3)
                .await;
        check_error(Err::<(), _>(world.refused().await), Class::Busy, true);
    }
}

/// Somebody on the way adds a line behind the reply to AUTH, to be believed after the handshake.
#[tokio::test]
async fn what_comes_in_clear_text_before_the_handshake_is_never_believed() {
    let certified = Certified::good();
    let acceptor = tokio_rustls::TlsAcceptor::from(certified.config.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.get_mut().write_all(b"220 hi\r\n").await.unwrap();
        stream.read_line(&mut line).await.unwrap();
        stream
            .get_mut()
            .write_all(b"234 go\r\n230 injected\r\n230 injected\r\n230 injected\r\n")
            .await
            .unwrap();
        let mut stream = BufReader::new(acceptor.accept(stream.into_inner()).await?);
        // The handshake may as well have failed; if it did not, the password is refused.
        for reply in ["200 ok\r\n", "200 ok\r\n", "331 pw\r\n", "530 no\r\n"] {
            stream.read_line(&mut line).await?;
            stream.get_mut().write_all(reply.as_bytes()).await?;
        }
        std::io::Result::Ok(())
    });
    let mut world = World::new(DemoFtpScript::default()).await;
    world.server.address = address;
    let tls = Tls { trust: certified.trusted(), max_version: MaxVersion::V1_3, client: None };
    world.endpoint = endpoint(&world.server, "demo", Security::Explicit(tls));
    let class = world.refused().await.class();
    assert!(matches!(class, Class::Auth | Class::Tls), "{class}");
    server.abort();
}

#[tokio::test]
async fn a_server_that_shows_the_authority_of_tls_ca_file_itself() {
    let key = KeyPair::generate().unwrap();
    let own = |name: &str| {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.self_signed(&key).unwrap()
    };
    for (name, refusal) in [("127.0.0.1", None), ("else.example", Some("not for `127.0.0.1`"))] {
        let certificate = own(name);
        let mut certified = Certified::good();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        certified.config = Arc::new(config);
        certified.der = certificate.der().to_vec();
        let trust = tls::authorities(certificate.pem().as_bytes()).unwrap();
        match refusal {
            Some(part) => check_refused(&certified, trust, part).await,
            None => {
                let script = DemoFtpScript::default();
                let max = MaxVersion::V1_3;
                let world = world(&certified, TlsStart::Explicit, script, trust, max).await;
                let mut session = world.session().await;
                assert_eq!(list(&mut session, "/").await.unwrap().len(), 3);
            }
        }
    }
}

/// Some begin without a word, some say 150 when the connection is encrypted.
#[tokio::test]
async fn encrypted_data_that_no_reply_announces_are_read() {
    for announces in [DemoFtpAnnounces::Never, DemoFtpAnnounces::Late] {
        for version in [MaxVersion::V1_2, MaxVersion::V1_3] {
            let script = DemoFtpScript { announces, ..DemoFtpScript::default() };
            check_works(TlsStart::Explicit, script, Certified::trusted, version).await;
        }
    }
}

#[tokio::test]
async fn a_refusal_that_is_late_is_one_all_the_same() {
    let certified = Certified::good();
    let script = DemoFtpScript {
        announces: DemoFtpAnnounces::Never,
        files: [(b"a.bin".to_vec(), DemoFtpFault::RefuseLate("550 No such file.\r\n"))].into(),
        ..DemoFtpScript::default()
    };
    let world =
        world(&certified, TlsStart::Explicit, script, certified.trusted(), MaxVersion::V1_3).await;
    let mut session = world.session().await;
    let refused = fetch(&mut session, &file("/a.bin", 100_000), 0).await;
    check_error(refused, Class::NotFound, false);
    assert_eq!(fetch(&mut session, &file("/sub/b.txt", 5), 0).await.unwrap(), b"hello");
}
