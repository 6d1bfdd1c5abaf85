//! S23, S24: servers that know old algorithms only, and somebody on the line during the key
//! exchange.

use std::net::SocketAddr;

use blobferry::demo::sftp::Era;
use blobferry::demo::sftp::script::DemoSftpScript;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::e2e::bad_input::old_file;
use super::super::kit::stage::{sftp, sftp_with};
use super::super::kit::trial::Trial;
use super::super::servers::{Sshd, SshdAuth, SshdOptions};

#[test]
fn s23_old_algorithms_only() {
    let stage = sftp_with(|options| options.era = Era::Old);
    let refused = Trial::of(&stage, &stage.lines()).run().is("exit 3: problem [listing_failed]");
    refused.says(&[
        "no common Kex algorithm",
        "the server offers diffie-hellman-group14-sha1, diffie-hellman-group1-sha1",
        "legacy_algorithms = true",
    ]);
    assert_eq!(stage.server.credentials(), 0, "nothing was sent over them");
    Trial::of(&stage, &format!("{}legacy_algorithms = true\n", stage.lines()))
        .run()
        .is("exit 0: listed 3, ingested 3");
    // One that knows sound ones as well is spoken to in those, whatever is allowed.
    let stage = sftp(DemoSftpScript::default());
    Trial::of(&stage, &format!("{}legacy_algorithms = true\n", stage.lines()))
        .run()
        .is("exit 0: listed 3, ingested 3");
}

/// An sshd with nothing but these is refused with its list, and spoken to where that is allowed.
#[track_caller]
fn old_sshd(lines: &'static [&'static str], kind: &str, offer: &str) {
    let Some(sshd) = Sshd::start(SshdOptions { auth: SshdAuth::Key, lines }) else { return };
    old_file(&sshd.root.join("a.txt"), b"old, but well");
    let source = format!(
        "[[source]]\nname = \"acme\"\nstable_for = \"0s\"\nattempts = 2\nstall_timeout = \
         \"10s\"\nconnect_timeout = \"5s\"\nurl = \"sftp://{}@127.0.0.1:{}{}\"\nprivate_key_file = \
         \"{}\"\nhost_key = \"{}\"\n",
        sshd.user,
        sshd.port,
        sshd.base,
        sshd.user_key.display(),
        sshd.host_key_sha256
    );
    let trial = |source: &str| Trial::new(source, "folder = \"store\"").allow(b"old, but well");
    let proof = trial(&source).run().is("exit 3: problem [listing_failed]");
    proof.says(&[
        &format!("no common {kind} algorithm: the server offers {offer}"),
        "legacy_algorithms = true",
    ]);
    trial(&format!("{source}legacy_algorithms = true\n")).run().is("exit 0: listed 1, ingested 1");
}

#[test]
fn s23_an_sshd_with_old_algorithms_only() {
    old_sshd(&["KexAlgorithms diffie-hellman-group14-sha1"], "Kex", "diffie-hellman-group14-sha1");
    old_sshd(&["KexAlgorithms diffie-hellman-group1-sha1"], "Kex", "diffie-hellman-group1-sha1");
    old_sshd(&["Ciphers aes128-cbc"], "Cipher", "aes128-cbc");
    old_sshd(&["Ciphers aes128-ctr", "MACs hmac-sha1"], "Mac", "hmac-sha1");
    old_sshd(&["HostKeyAlgorithms ssh-rsa"], "Key", "ssh-rsa");
}

/// A line on which somebody slips a packet of his own between the server's first packet and the
/// rest.
async fn tampered(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it has an address");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            // Either end may hang up.
            tokio::spawn(async move { drop(slip_in(client, server).await) });
        }
    });
    address
}

/// SSH_MSG_IGNORE without data, in clear text: 12 bytes follow, 6 of them padding.
const IGNORE: [u8; 16] = [0, 0, 0, 12, 6, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

async fn slip_in(client: TcpStream, server: SocketAddr) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let there =
        tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    loop {
        let byte = from_server.read_u8().await?;
        to_client.write_u8(byte).await?;
        if byte == b'\n' {
            break;
        }
    }
    let length = from_server.read_u32().await?;
    let mut packet = vec![0; length as usize];
    from_server.read_exact(&mut packet).await?;
    to_client.write_all(&[&length.to_be_bytes()[..], &packet, &IGNORE].concat()).await?;
    tokio::io::copy(&mut from_server, &mut to_client).await?;
    there.abort();
    Ok(())
}

#[test]
fn s24_a_packet_slipped_into_the_key_exchange() {
    let stage = sftp(DemoSftpScript::default());
    let address = stage.runtime.block_on(tampered(stage.server.address));
    let proof = Trial::of(&stage, &stage.lines_at(address)).run();
    assert_eq!(
        (proof.done.code, proof.source()["ingested"].as_u64()),
        (3, Some(0)),
        "{}",
        proof.brief()
    );
    proof.says(&["Violation detected during strict key exchange"]);
    assert_eq!(stage.server.credentials(), 0, "nobody logs in on such a line");
}
