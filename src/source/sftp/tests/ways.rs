//! Names with their folder, and settings of ways into a server that need no network.

use russh::keys::PrivateKey;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};

use super::*;

#[tokio::test]
async fn entries_that_are_named_by_their_whole_path_are_those_of_the_folder() {
    let named = |name: &'static [u8]| ListedEntry {
        name: Bytes::from_static(name),
        long_name: Bytes::new(),
        attributes: Attributes {
            size: Some(7),
            permissions: Some(0o100_644),
            modified: Some(1_600_000_000),
        },
    };
    let mut script = DemoSftpScript::default();
    script.entries.insert(b"/sub".to_vec(), vec![named(b"/sub/a.bin"), named(b"/else/b.bin")]);
    let world = World::new(script).await;
    std::fs::create_dir(world.folder.path().join("sub")).expect("it is made");
    let mut session = world.session().await;
    let found = listing(&mut *session, "/sub").await.expect("it lists");
    assert!(
        found.iter().any(|listed| matches!(listed, Listed::File(file) if file.path
            == RemotePath::from("/sub/a.bin") && file.size == Some(7))),
        "{found:?}"
    );
    assert_eq!(found.iter().filter(|l| matches!(l, Listed::Unreachable(..))).count(), 1);
}

fn key() -> String {
    let key = PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(&[7; 32])), "test");
    key.expect("a pair makes a key").to_openssh(LineEnding::LF).expect("a text").to_string()
}

#[track_caller]
fn refused(settings: &[(&str, Value)], key: &str, part: &str) {
    let error = endpoint("sftp://me@127.0.0.1/", settings).expect_err("it must not pass");
    let text = error.to_string();
    assert!(text.contains(&format!("{key}`")) && text.contains(part), "{text}");
}

#[test]
fn what_does_not_fit_together_is_refused_with_its_name() {
    let key = || ("private_key", text(&key()));
    refused(&[("password", text("p")), ("certificate", text("x"))], "certificate", "private key");
    refused(&[key(), ("certificate", text("ssh-ed25519 AAAA"))], "certificate", "-cert.pub");
    refused(
        &[key(), ("certificate", text("x")), ("certificate_file", text("y"))],
        "certificate_file",
        "one of the two",
    );
    refused(&[key(), ("jump_password", text("p"))], "jump_password", "without `jump`");
    for (jump, part) in [
        ("bastion", "scheme://"),
        ("ftp://bastion", "sftp://user@host:22"),
        ("sftp://me:secret@bastion", "jump_password"),
    ] {
        refused(&[key(), ("jump", text(jump))], "jump", part);
    }
    let by_password = [("password", text("p")), ("jump", text("sftp://bastion"))];
    refused(&by_password, "jump", "no credential");
    // The key of the source is shown there, too.
    endpoint("sftp://me@127.0.0.1/", &[key(), ("jump", text("sftp://bastion:2222"))])
        .expect("it fits");
}
