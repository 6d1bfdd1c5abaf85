//! Ways into OpenSSH's own server that its own client knows: certificates of users, an agent, a
//! host between, links that are followed.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::e2e::bad_input::old_file;
use super::e2e::{Done, Ferry, wait_for};
use super::servers::{Sshd, SshdAuth, SshdOptions, debian, hand_over, library_path, run, sign};

fn sshd(auth: SshdAuth) -> Option<Sshd> {
    let sshd = Sshd::start(SshdOptions { auth, lines: &[] })?;
    old_file(&sshd.root.join("a.txt"), b"one");
    Some(sshd)
}

/// A source of `sshd` without a credential, with `lines`.
fn source(sshd: &Sshd, lines: &str) -> String {
    format!(
        "[destination]\nfolder = \"store\"\n[[source]]\nname = \"acme\"\nattempts = 1\n\
         stable_for = \"0s\"\nurl = \"sftp://{}@127.0.0.1:{}{}\"\nhost_key = \"{}\"\n{lines}\n",
        sshd.user, sshd.port, sshd.base, sshd.host_key_sha256
    )
}

fn key_line(name: &str, file: &Path) -> String {
    format!("{name} = \"{}\"\n", file.display())
}

#[track_caller]
fn arrives(ferry: &Ferry) {
    ferry.ingest().code(0);
    assert_eq!(std::fs::read(ferry.path("store/acme/a.txt")).expect("it arrived"), b"one");
}

#[track_caller]
fn fails(ferry: &Ferry, texts: &[&str]) -> Done {
    ferry.ingest().code(3).says(texts)
}

#[test]
fn a_server_that_knows_who_signed_the_key_takes_its_certificate() {
    let Some(sshd) = sshd(SshdAuth::Certificate) else { return };
    let key = key_line("private_key_file", &sshd.user_key);
    // As with ssh, the one beside the key is found.
    let ferry = Ferry::new(&source(&sshd, &key));
    arrives(&ferry);
    let shown = ferry.run(&["check"]).code(0);
    assert!(shown.out.contains("with certificate"), "{}", shown.out);
    // By its name, with the key elsewhere.
    let apart = ferry.path("key-of-its-own");
    std::fs::copy(&sshd.user_key, &apart).unwrap();
    let certificate = key_line("certificate_file", &sshd.certificate);
    let apart_line = key_line("private_key_file", &apart);
    arrives(&Ferry::new(&source(&sshd, &format!("{apart_line}{certificate}"))));
    // Without it, the key is not known.
    fails(&Ferry::new(&source(&sshd, &apart_line)), &["the server refuses the key"]);
}

#[test]
fn a_certificate_of_an_rsa_key_is_signed_for_with_sha_2() {
    let Some(sshd) = sshd(SshdAuth::Certificate) else { return };
    let ferry = Ferry::new("");
    let key = ferry.path("rsa");
    let text = key.display().to_string();
    let keygen = debian("usr/bin/ssh-keygen");
    run(&keygen, ["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", &text]);
    sign(&sshd.user_ca, &ferry.path("rsa.pub"), "+1d");
    ferry.configure(&source(&sshd, &key_line("private_key_file", &key)));
    arrives(&ferry);
}

#[test]
fn a_certificate_that_expired_or_is_of_another_key_is_never_sent() {
    let Some(sshd) = sshd(SshdAuth::Certificate) else { return };
    let key = key_line("private_key_file", &sshd.user_key);
    sign(&sshd.user_ca, &sshd.user_key.with_extension("pub"), "-1m");
    fails(&Ferry::new(&source(&sshd, &key)), &["the certificate expired on", "nothing was sent"]);
    let ferry = Ferry::new("");
    let other = ferry.path("other");
    let text = other.display().to_string();
    run(debian("usr/bin/ssh-keygen"), ["-q", "-t", "ed25519", "-N", "", "-f", &text]);
    let certificate = key_line("certificate_file", &sshd.certificate);
    let other = key_line("private_key_file", &other);
    ferry.configure(&source(&sshd, &format!("{other}{certificate}")));
    let done = ferry.ingest();
    let told = format!("{}{}", done.out, done.err);
    assert!(told.contains("is not one of the private key"), "{told}");
}

/// An agent with one key, as long as this lives.
struct Agent {
    process: Child,
    folder: tempfile::TempDir,
}

impl Agent {
    fn start(key: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("agent");
        let process = Command::new(debian("usr/bin/ssh-agent"))
            .args(["-D".as_ref(), "-a".as_ref(), socket.as_os_str()])
            .env("LD_LIBRARY_PATH", library_path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ssh-agent is installed with the servers");
        wait_for("the agent", || socket.exists());
        if let Some(key) = key {
            let added = Command::new(debian("usr/bin/ssh-add"))
                .args(["-q".as_ref(), key.as_os_str()])
                .env("LD_LIBRARY_PATH", library_path())
                .env("SSH_AUTH_SOCK", &socket)
                .status()
                .expect("ssh-add is installed with the servers");
            assert!(added.success());
        }
        Self { process, folder }
    }

    fn socket(&self) -> String {
        self.folder.path().join("agent").display().to_string()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
    }
}

#[test]
fn keys_that_an_agent_holds_log_in() {
    let Some(sshd) = sshd(SshdAuth::Key) else { return };
    let agent = Agent::start(Some(&sshd.user_key));
    let with = |agent: &Agent| {
        Ferry::new(&source(&sshd, "agent = true")).set("SSH_AUTH_SOCK", &agent.socket())
    };
    arrives(&with(&agent));
    let empty = Agent::start(None);
    fails(&with(&empty), &["the agent holds no key", "ssh-add"]);
    // Nothing was refused, so that it is not left alone for hours once the agent has the key.
    let ferry = with(&empty);
    fails(&ferry, &["the agent holds no key"]);
    fails(&ferry, &["the agent holds no key"]);
    drop(empty);
}

#[test]
fn a_host_between_carries_all_logins_by_one_of_its_own() {
    let Some(behind) = sshd(SshdAuth::Key) else { return };
    let Some(between) = sshd(SshdAuth::Key) else { return };
    for n in 0..40 {
        old_file(&behind.root.join(format!("more/{n}.txt")), b"more");
    }
    for name in ["large/1.bin", "large/2.bin"] {
        old_file(&behind.root.join(name), &vec![7; 12 << 20]);
    }
    let key = key_line("private_key_file", &behind.user_key);
    let jump = format!(
        "{key}connections = 2\njump = \"sftp://{}@127.0.0.1:{}\"\n{}",
        between.user,
        between.port,
        key_line("jump_private_key_file", &between.user_key)
    );
    let pinned = format!("{jump}jump_host_key = \"{}\"\n", between.host_key_sha256);
    let ferry = Ferry::new(&source(&behind, &pinned));
    arrives(&ferry);
    assert_eq!(between.daemon.log().matches("Accepted publickey").count(), 1);
    // Its key is asked for as any other.
    let ferry = Ferry::new(&source(&behind, &jump));
    let line = format!("jump_host_key = \"{}\"", between.host_key_sha256);
    fails(&ferry, &["jump_host_key = "]);
    let shown = ferry.run(&["check"]);
    assert!(shown.out.contains(&line), "{}", shown.out);
}

#[test]
fn a_host_between_that_forwards_nothing_says_so() {
    let Some(behind) = sshd(SshdAuth::Key) else { return };
    let closed = SshdOptions { auth: SshdAuth::Key, lines: &["AllowTcpForwarding no"] };
    let between = Sshd::start(closed).expect("the other one started");
    let lines = format!(
        "{}jump = \"sftp://{}@127.0.0.1:{}\"\njump_host_key = \"{}\"\n{}",
        key_line("private_key_file", &behind.user_key),
        between.user,
        between.port,
        between.host_key_sha256,
        key_line("jump_private_key_file", &between.user_key)
    );
    fails(&Ferry::new(&source(&behind, &lines)), &["does not forward", "AllowTcpForwarding"]);
}

#[test]
fn links_are_followed_below_the_folder_and_never_in_circles() {
    let Some(sshd) = sshd(SshdAuth::Key) else { return };
    let root = &sshd.root;
    old_file(&root.join("in/real/b.txt"), b"two");
    old_file(&root.join("outside/secret.txt"), b"none of ours");
    for (target, link) in [
        ("real", "in/folder"),
        ("real/b.txt", "in/file.txt"),
        (".", "in/self"),
        ("..", "in/real/up"),
        ("../outside", "in/out"),
        ("/", "in/everything"),
        ("../outside/secret.txt", "in/out.txt"),
        ("nowhere", "in/dangling"),
    ] {
        std::os::unix::fs::symlink(target, root.join(link)).unwrap();
    }
    hand_over(root);
    let mut sshd_at = source(&sshd, &key_line("private_key_file", &sshd.user_key));
    sshd_at = sshd_at.replace(&format!("{}\"", sshd.base), &format!("{}/in\"", sshd.base));
    let skipping = Ferry::new(&sshd_at);
    assert_eq!(skipping.ingest().code(0).source()["ingested"], 1);
    let lines = "links = \"follow\"\nafter = \"delete\"\nexclude = [\"real/**\"]\n";
    let ferry = Ferry::new(&format!("{sshd_at}{lines}"));
    let done = ferry.run(&["run", "--json"]);
    let names = |folder: &str| {
        let mut names: Vec<String> = std::fs::read_dir(ferry.path(folder))
            .expect("it is there")
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names("store/acme"), ["file.txt", "folder"], "{}", done.out);
    assert_eq!(names("store/acme/folder"), ["b.txt"]);
    assert!(done.out.contains("it leads out of the folder"), "{}", done.out);
    assert!(done.out.contains("a folder that it stands in"), "{}", done.out);
    // What the links lead to is as it was; the link to the file is what was listed, and has gone.
    assert_eq!(std::fs::read(root.join("in/real/b.txt")).unwrap(), b"two");
    assert!(root.join("in/file.txt").symlink_metadata().is_err(), "{}", done.out);
    assert!(root.join("outside/secret.txt").exists());
    assert!(done.out.contains("what links lead to stays as it is"), "{}", done.out);
}
