//! Connecting, logging in, and what is done besides reading.

use std::net::SocketAddr;

use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::*;
use crate::demo::sftp::LoginRule;

fn private_key(seed: u8) -> PrivateKey {
    PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(&[seed; 32])), "test")
        .expect("a pair makes a key")
}

fn key_text(seed: u8) -> Value {
    text(&private_key(seed).to_openssh(LineEnding::LF).expect("it has a text form"))
}

fn authorize(seed: u8) -> Option<String> {
    Some(private_key(seed).public_key().to_openssh().expect("it has a text form"))
}

/// An endpoint of `world` with just these settings and the right host key.
fn with(world: &World, settings: &[(&str, Value)]) -> Arc<dyn Endpoint> {
    let mut all = vec![("host_key", text(&world.server.host_key))];
    all.extend_from_slice(settings);
    endpoint(&format!("sftp://me@{}/", world.server.address), &all).expect("the settings are good")
}

async fn refused(endpoint: &dyn Endpoint) -> (Class, bool, bool, String) {
    told(endpoint.open().await.map(|_| ()).expect_err("it must not open"))
}

#[tokio::test]
async fn a_wrong_password_is_tried_once() {
    for rule in [LoginRule::PasswordOrKey, LoginRule::KeyboardInteractive] {
        let world = World::with(|options| options.login = rule).await;
        let endpoint = with(&world, &[("password", text("wrong"))]);
        let (class, transient, _, text) = refused(&*endpoint).await;
        assert_eq!((class, transient), (Class::Auth, false), "{text}");
        assert!(text.contains("the server refuses the") && !text.contains("wrong"), "{text}");
        assert_eq!((world.server.credentials(), world.server.accepted()), (1, 1), "{rule:?}");
        with(&world, &[("password", text_of_right())]).open().await.expect("the right one opens");
    }
}

fn text_of_right() -> Value {
    text("p@ss:w/rd")
}

#[tokio::test]
async fn keys_open_and_wrong_ones_are_shown_once() {
    let world = World::with(|options| options.authorized_key = authorize(1)).await;
    with(&world, &[("private_key", key_text(1))]).open().await.expect("it opens");
    let before = world.server.credentials();
    // The password would be right, but a refused key ends the attempt: an account may lock after
    // few.
    let endpoint = with(&world, &[("private_key", key_text(2)), ("password", text_of_right())]);
    let (class, transient, _, text) = refused(&*endpoint).await;
    assert_eq!((class, transient), (Class::Auth, false));
    assert!(text.contains("refuses the key; it goes on to accept publickey, password"), "{text}");
    assert!(world.server.credentials() <= before + 1);
}

#[tokio::test]
async fn two_steps_are_taken_in_the_servers_order() {
    let world = World::with(|options| {
        options.login = LoginRule::KeyThenPassword;
        options.authorized_key = authorize(1);
    })
    .await;
    with(&world, &[("private_key", key_text(1)), ("password", text_of_right())])
        .open()
        .await
        .expect("it opens");
    let (class, _, _, text) = refused(&*with(&world, &[("private_key", key_text(1))])).await;
    assert!(class == Class::Auth && text.contains("took the key and now wants password"), "{text}");
    let before = world.server.credentials();
    let (class, _, _, text) = refused(&*with(&world, &[("password", text_of_right())])).await;
    assert!(
        class == Class::Auth
            && text.contains("accepts publickey, but the settings hold a password only"),
        "{text}"
    );
    assert_eq!(world.server.credentials(), before, "nothing was sent");
}

#[tokio::test]
async fn an_unknown_host_key_is_refused_with_what_to_paste_before_anything_is_sent() {
    let world = World::new(DemoSftpScript::default()).await;
    let url = format!("sftp://me:secret@{}/", world.server.address);
    let endpoint_of =
        |settings: &[(&str, Value)]| endpoint(&url, settings).expect("the settings are good");
    let (class, transient, _, text) = refused(&*endpoint_of(&[])).await;
    assert_eq!((class, transient), (Class::HostKey, false));
    assert!(
        text.contains(&format!("set host_key = \"{}\"", world.server.host_key))
            && text.contains("ssh-ed25519"),
        "{text}"
    );
    let other = Value::List(vec![format!("SHA256:{}", "A".repeat(43))]);
    let (class, transient, _, text) = refused(&*endpoint_of(&[("host_key", other)])).await;
    assert_eq!((class, transient), (Class::HostKey, false));
    assert!(
        text.contains("THE SERVER'S KEY IS NOT THE KNOWN ONE") && !text.contains("secret"),
        "{text}"
    );
    assert_eq!(world.server.credentials(), 0);

    let key = PrivateKey::new(
        KeypairData::Ed25519(Ed25519Keypair::from_seed(&DemoSftpOptions::new("").host_key_seed)),
        "",
    )
    .expect("a pair makes a key");
    let line = format!(
        "[127.0.0.1]:{} {}",
        world.server.address.port(),
        key.public_key().to_openssh().expect("it has a text form")
    );
    let file = world.folder.path().join("known_hosts");
    std::fs::write(&file, line).expect("it is writable");
    let known = with(
        &world,
        &[("known_hosts", super::text(&file.to_string_lossy())), ("password", text_of_right())],
    );
    known.open().await.expect("the file knows the server");
}

/// An address where each visitor is told `greeting` and shown out.
async fn porter(greeting: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            if stream.write_all(greeting).await.is_err() {
                return;
            }
        }
    });
    address
}

#[tokio::test]
async fn what_is_no_server_is_told_apart() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port")
        .local_addr()
        .expect("it is bound");
    let cases = [
        (
            porter(b"Exceeded MaxStartups\r\n").await.to_string(),
            Class::Busy,
            true,
            "`Exceeded MaxStartups`",
        ),
        (porter(b"").await.to_string(), Class::Busy, true, "before it said anything"),
        (porter(b"SSH-2.0-x\r\n").await.to_string(), Class::Busy, true, "127.0.0.1"),
        (
            porter(b"220 ftp.acme ready\r\n").await.to_string(),
            Class::Protocol,
            false,
            "`220 ftp.acme ready`",
        ),
        (closed.to_string(), Class::Connect, true, "refused"),
        ("no-such-host.invalid:22".to_owned(), Class::Dns, true, "no-such-host.invalid"),
    ];
    for (address, expected, retry, words) in cases {
        let endpoint =
            endpoint(&format!("sftp://me:secret@{address}/"), &[("connect_timeout", text("5s"))])
                .expect("the settings are good");
        let (class, transient, _, text) = refused(&*endpoint).await;
        assert_eq!((class, transient), (expected, retry), "{text}");
        assert!(text.contains(words) && !text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn a_full_server_is_busy() {
    let mut script = DemoSftpScript::default();
    script.most_connections = Some(1);
    let world = World::new(script).await;
    let _first = world.endpoint(&[]).open().await.expect("the first has room");
    let (class, transient, _, text) = refused(&*world.endpoint(&[])).await;
    assert_eq!((class, transient), (Class::Busy, true), "{text}");
}

#[test]
fn settings_that_cannot_work_are_refused_with_what_is_allowed() {
    for (url, settings, words) in [
        ("sftp://host/", &[("password", "x")][..], "`source.acme.user` is missing"),
        ("sftp://me@host/", &[], "`password`, `private_key`, `private_key_file` or `agent`"),
        ("sftp://me@host/", &[("user", "me"), ("password", "x")], "the URL names a user"),
        ("sftp://me:x@host/", &[("password", "x")], "the URL holds a password"),
        ("sftp://me:x@host/", &[("passphrase", "x")], "no private key"),
        ("sftp://me:x@host/", &[("host_key", "SHA256:short")], "43 characters"),
        ("sftp://me:x@host/", &[("stall_timeout", "0s")], "above 0"),
        ("sftp://me@host/", &[("private_key", "ssh-ed25519 AAAA")], "public key"),
        ("sftp://me@host/", &[("private_key_file", "/no/such/file")], "cannot be read"),
        ("sftp://me:x@/", &[], "names no host"),
    ] {
        let settings: Vec<(&str, Value)> =
            settings.iter().map(|(key, value)| (*key, text(value))).collect();
        let error = endpoint(url, &settings).map(|_| ()).expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
    }
    let v6 = endpoint("sftp://me:x@[::1]:2222/", &[]).expect("the settings are good");
    assert_eq!(v6.address(), "sftp://[::1]:2222");
}

#[tokio::test]
async fn files_are_removed_and_renamed_but_never_replaced() {
    let world = World::new(DemoSftpScript::default()).await;
    let (a, b) = (world.file("a", 10), world.file("b", 20));
    let mut session = world.session().await;
    let path = |text: &str| RemotePath::from(text);
    let (class, transient, survives, text) =
        told(session.rename(&path("/a"), &path("/b")).await.expect_err("b is there"));
    assert_eq!((class, transient, survives), (Class::AfterAction, false, true), "{text}");
    session.rename(&path("/a"), &path("/done/2026/a")).await.expect("the folders are made");
    session.rename(&path("/b"), &path("/done/2026/b")).await.expect("the folders are there");
    let read = |name: &str| std::fs::read(world.folder.path().join(name)).expect("it is there");
    assert!(read("done/2026/a") == a && read("done/2026/b") == b);
    session.remove(&path("/done/2026/a")).await.expect("it goes");
    session.remove(&path("/done/2026/a")).await.expect("gone is gone");
    assert!(!world.folder.path().join("done/2026/a").exists());
    let (class, _, survives, _) =
        told(session.rename(&path("/none"), &path("/x")).await.expect_err("there is none"));
    assert_eq!((class, survives), (Class::NotFound, true));
}

#[tokio::test]
async fn a_tilde_is_where_the_login_starts() {
    let world = World::new(DemoSftpScript::default()).await;
    std::fs::create_dir(world.folder.path().join("in")).expect("a folder");
    let bytes = world.file("in/f", 10);
    let settings = [("password", text_of_right()), ("host_key", text(&world.server.host_key))];
    let endpoint = endpoint(&format!("sftp://me@{}/~/in", world.server.address), &settings)
        .expect("the settings are good");
    let mut session = endpoint.open().await.expect("it opens");
    let listed = listing(&mut *session, "/~/in").await.expect("it lists");
    let [Listed::File(file)] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!(file.path, RemotePath::from("/~/in/f"));
    assert_eq!(fetch(&mut *session, file, 0).await.expect("it reads"), bytes);
}

#[tokio::test]
async fn a_server_that_is_no_sftp_server_is_quoted() {
    let (ours, mut theirs) = tokio::io::duplex(4096);
    tokio::spawn(async move {
        theirs.write_all(b"Welcome to acme, all use is logged.\n").await.expect("it is read");
        // Kept open: the client must not wait for more.
        std::future::pending::<()>().await;
    });
    let started = crate::source::sftp::client::Client::start(
        ours,
        super::super::client::SessionTerms::new(Duration::from_secs(2), Default::default()),
        Default::default(),
    )
    .await;
    let error = started.map(|_| ()).expect_err("it is no SFTP").to_string();
    assert!(error.contains("login script") && error.contains("Welcome to acme"), "{error}");
}
