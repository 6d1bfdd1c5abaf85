//! FTPS servers that want a certificate of their clients.

use std::path::Path;

use super::e2e::Ferry;
use super::e2e::bad_input::old_file;
use super::served::{percent, percent_all};
use super::servers::{
    Cert, Proftpd, ProftpdMode, ProftpdOptions, Signed, Tls, Vsftpd, VsftpdOptions,
    client_certificate, hand_over,
};

/// The lines of a source of files in `root`, without a certificate.
fn source(url: &str, ca: Option<&Path>, root: &Path) -> String {
    old_file(&root.join("a.txt"), b"one");
    old_file(&root.join("b.txt"), b"two");
    hand_over(root);
    let ca = ca.expect("it speaks TLS").display();
    format!(
        "[destination]\nfolder = \"store\"\n[[source]]\nname = \"acme\"\nattempts = 1\n\
         stable_for = \"0s\"\nurl = \"{url}\"\ntls_ca_file = \"{ca}\"\n"
    )
}

/// With a certificate that the server knows all arrives; with another one or none the reason and
/// the setting are told.
fn check(source: &str) {
    let ferry = Ferry::new(source);
    let wanted = ["client certificate", "tls_client_certificate_file"];
    ferry.ingest().code(3).says(&wanted);
    for signed in [Signed::ByItself, Signed::ByTheCa] {
        let (certificate, key) = client_certificate(&ferry.path(""), signed);
        ferry.configure(&format!(
            "{source}tls_client_certificate_file = \"{}\"\ntls_client_key_file = \"{}\"\n",
            certificate.display(),
            key.display()
        ));
        match signed {
            Signed::ByItself => drop(ferry.ingest().code(3).says(&["certificate"])),
            Signed::ByTheCa => assert_eq!(ferry.ingest().code(0).source()["ingested"], 2),
        }
    }
}

fn url((user, password): (&str, &str), port: u16, path: &str) -> String {
    format!("ftpes://{user}:{}@127.0.0.1:{port}{path}", percent_all(password))
}

#[test]
fn vsftpd_that_wants_a_certificate_gets_the_one_that_is_set() {
    let lines = &["ssl_request_cert=YES", "require_cert=YES", "validate_cert=YES"];
    let options = VsftpdOptions { tls: Tls::Explicit(Cert::Good), lines };
    let Some(server) = Vsftpd::start(options) else { return };
    let url = url((&server.user, &server.password), server.port, &percent(&server.base));
    check(&source(&url, server.ca.as_deref(), &server.root));
}

#[test]
fn proftpd_that_wants_a_certificate_gets_the_one_that_is_set() {
    let lines = &["TLSVerifyClient on"];
    let mode = ProftpdMode::Ftp(Tls::Explicit(Cert::Good));
    let Some(server) = Proftpd::start(ProftpdOptions { mode, lines }) else { return };
    let below = format!("{}/", percent(&server.base));
    let url = url((&server.user, &server.password), server.port, &below);
    check(&source(&url, server.ca.as_deref(), &server.root));
}
