//! Canaries in every place that holds a secret: whatever succeeds or fails, none of them is sung
//! anywhere.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::super::servers::*;
use super::bad_input::old_file;
use super::*;

/// Every way in which a secret might be written.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let escape = |kept: &[u8], upper: bool| {
        let one = |byte: u8| match byte {
            _ if byte.is_ascii_alphanumeric() || kept.contains(&byte) => {
                char::from(byte).to_string()
            }
            _ if upper => format!("%{byte:02X}"),
            _ => format!("%{byte:02x}"),
        };
        secret.bytes().map(one).collect::<String>()
    };
    let hex = super::watch::hex(secret.as_bytes());
    let json = serde_json::to_string(secret).unwrap().trim_matches('"').to_owned();
    let mut all = vec![
        secret.to_owned(),
        hex.to_uppercase(),
        hex,
        json,
        escape(b"", true),
        escape(b"-_.~", true),
        escape(b"-_.~", false),
    ];
    all.extend([
        escape(b"-_.~/", true),
        escape(b"-_.~!$&'()*+,;=:@/", true),
        secret.replace(' ', "+"),
    ]);
    all.extend([
        STANDARD.encode(secret),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
    ]);
    all.into_iter().map(String::into_bytes).collect()
}

/// Where what was written may not hold any of the secrets.
struct Silence {
    forms: Vec<(String, Vec<u8>)>,
}

impl Silence {
    fn about(secrets: &[&str]) -> Self {
        Self {
            forms: secrets
                .iter()
                .flat_map(|secret| {
                    forms(secret).into_iter().map(|form| ((*secret).to_owned(), form))
                })
                .collect(),
        }
    }

    #[track_caller]
    fn holds_in(&self, place: &str, bytes: &[u8]) {
        for (secret, form) in &self.forms {
            let found = bytes.windows(form.len()).position(|window| window == form.as_slice());
            if let Some(at) = found {
                let around = &bytes[at.saturating_sub(200)..bytes.len().min(at + form.len() + 50)];
                panic!("{place} tells `{secret}`:\n{}", String::from_utf8_lossy(around));
            }
        }
    }

    /// In everything that the program wrote in its folder: logs, blobs, state.
    #[track_caller]
    fn holds_below(&self, folder: &Path, given: &[&str]) {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if given.contains(&name.as_str()) {
                continue;
            }
            self.holds_in("a file's name", name.as_bytes());
            if entry.path().is_dir() {
                self.holds_below(&entry.path(), &[]);
            } else {
                self.holds_in(&name, &fs::read(entry.path()).unwrap());
            }
        }
    }
}

/// Runs every command on a configuration, and listens. Returns what was said, to see that something
/// was.
#[track_caller]
fn listen(silence: &Silence, ferry: &Ferry, words: &[&[&str]]) -> usize {
    let mut said = 0;
    for words in words {
        let done = ferry.run(words);
        assert!(done.code <= 3, "{words:?}: {}", done.err);
        let what = format!("`{}` (exit {})", words.join(" "), done.code);
        silence.holds_in(&format!("the output of {what}"), done.out.as_bytes());
        silence.holds_in(&format!("the errors of {what}"), done.err.as_bytes());
        said += done.out.len() + done.err.len();
    }
    silence.holds_below(&ferry.path(""), &["ingest.toml", "in", "key.pem"]);
    said
}

const COMMANDS: &[&[&str]] = &[
    &["run", "--verbose"],
    &["run", "--json"],
    &["run", "--quiet"],
    &["plan"],
    &["plan", "--json"],
    &["ls"],
    &["ls", "--json", "--all"],
];

fn log(format: &str) -> String {
    format!("[log]\nlevel = \"trace\"\nformat = \"{format}\"\nrotation = \"never\"\n")
}

/// Everything in a container, with all that the storage tells of it.
const DUMP: &str = r#"
import sys
from azure.storage.blob import BlobServiceClient
service = BlobServiceClient.from_connection_string(sys.argv[1], api_version="2025-11-05")
container = service.get_container_client(sys.argv[2])
for item in container.list_blobs(include=["metadata"]):
    if item.name.startswith("_blobferry/"):
        sys.stdout.buffer.write(container.download_blob(item.name).readall())
    print(item.name, item.metadata, item.content_settings, flush=True)
"#;

#[test]
fn runs_that_succeed_are_silent() {
    let Some(sshd) = Sshd::start(SshdOptions { auth: SshdAuth::Password, lines: &[] }) else {
        return;
    };
    let vsftpd = Vsftpd::start(VsftpdOptions { tls: Tls::Explicit(Cert::Good), lines: &[] })
        .expect("it is there where sshd is");
    let azurite = Azurite::shared().expect("it is there where sshd is");
    for root in [&sshd.root, &vsftpd.root] {
        old_file(&root.join("daily/a.txt"), b"a");
        old_file(&root.join("broken.zip"), b"PK\x03\x04 no zip at all");
    }
    let password = sshd.password.clone().expect("it takes passwords");
    let connection = azurite.connection_string();
    let key = connection
        .split("AccountKey=")
        .nth(1)
        .and_then(|rest| rest.split(';').next())
        .unwrap()
        .to_owned();
    let silence = Silence::about(&[&password, &vsftpd.password, &key]);
    for format in ["text", "json"] {
        let container = Azurite::container("silent");
        let source = format!(
            "[[source]]\nname = \"one\"\nurl = \"sftp://{}:{}@127.0.0.1:{}{}\"\nhost_key = \
            \"{}\"\n",
            sshd.user,
            super::super::served::percent_all(&password),
            sshd.port,
            sshd.base,
            sshd.host_key_sha256
        );
        let other = format!(
            "[[source]]\nname = \"two\"\nurl = \"ftpes://{}@127.0.0.1:{}{}\"\npassword = {{ env = \
            \"CANARY\" }}\ntls_ca_file = \"{}\"\n",
            vsftpd.user,
            vsftpd.port,
            vsftpd.base,
            vsftpd.ca.as_ref().unwrap().display()
        );
        let ferry = Ferry::new(&format!(
            "[destination]\n{}{}{source}{other}",
            azure(azurite, &container),
            log(format)
        ));
        let ferry = ferry.set("CANARY", &vsftpd.password);
        let said = listen(&silence, &ferry, COMMANDS);
        let logged = fs::metadata(ferry.path("log/monitor.log")).unwrap().len();
        assert!(
            said > 2_000 && logged > 2_000,
            "there was something to listen to: {said}, {logged}"
        );
        let dump = python(&["-c", DUMP, &connection, &container]);
        assert!(
            dump.status.success() && dump.stdout.len() > 1_000,
            "{}",
            String::from_utf8_lossy(&dump.stderr)
        );
        silence.holds_in("the container", &dump.stdout);
    }
}

const PASSWORD: &str = "Canary p@ss:w/rd#%41?+&=\u{e9}";
/// By Info-ZIP: `zip -X -P` and [`PASSWORD`].
const ZIPPED: &str = "\
    504b03040a000900000083182258ac64e3c5230000001700000005000000612e74787470b1b64cb9dcbd\
    d7bc77688589c5e8e9b65984ae02c7571b319e420c8daa1ff87d1518504b0708ac64e3c5230000001700\
    0000504b01021e030a000900000083182258ac64e3c52300000017000000050000000000000001000000\
    a48100000000612e747874504b0506000000000100010033000000560000000000";

#[test]
fn passwords_of_archives_open_them_and_are_not_told() {
    let zipped: Vec<u8> = (0..ZIPPED.len() / 2)
        .map(|at| u8::from_str_radix(&ZIPPED[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let wrong = "Canary of no use: wr0ng/p+ss=w&rd";
    let silence = Silence::about(&[PASSWORD, wrong]);
    let settings = [
        format!("archive_passwords = [\"{wrong}\", {{ env = \"CANARY\" }}]"),
        format!("archive_password = \"{PASSWORD}\""),
        format!("archive_passwords = [\"{wrong}\"]"),
    ];
    for (at, setting) in settings.iter().enumerate() {
        for format in ["text", "json"] {
            let ferry = Ferry::new("");
            old_file(&ferry.path("in/encrypted.zip"), &zipped);
            let source = format!(
                "[[source]]\nname = \"one\"\nurl = \"file://{}\"\n{setting}\n",
                ferry.path("in").display()
            );
            fs::write(
                ferry.path("ingest.toml"),
                format!("[destination]\nfolder = \"out\"\n{}{source}", log(format)),
            )
            .unwrap();
            let ferry = ferry.set("CANARY", PASSWORD);
            assert!(listen(&silence, &ferry, COMMANDS) > 1_000);
            let blob = fs::read(ferry.path("out/one/encrypted.zip!/a.txt")).ok();
            let expected = (at < 2).then(|| b"content under a canary\n".to_vec());
            assert_eq!(blob, expected, "{setting}");
            if at == 2 {
                assert!(
                    fs::read_to_string(ferry.path("log/monitor.log"))
                        .unwrap()
                        .contains("archive_encrypted")
                );
            }
        }
    }
}

const KEY: &str = "Q2FuYXJ5IGtleSB0aGF0IG5vYm9keSBtYXkgZXZlciBoZWFyIHNpbmdpbmc=";
const SIGNATURE: &str = "Y2FuYXJ5K3NpZ25hdHVyZS9vZithK3Nhcw==";

#[test]
fn refused_credentials_are_not_told() {
    let Some(sshd) = Sshd::start(SshdOptions { auth: SshdAuth::Password, lines: &[] }) else {
        return;
    };
    let vsftpd = Vsftpd::start(VsftpdOptions::default()).expect("it is there where sshd is");
    let proftpd = Proftpd::start(ProftpdOptions::default()).expect("it is there where sshd is");
    let azurite = Azurite::shared().expect("it is there where sshd is");
    let silence = Silence::about(&[PASSWORD, KEY, SIGNATURE]);
    let escaped = super::super::served::percent_all(PASSWORD);
    let sources = [
        format!(
            "url = \"sftp://u:{escaped}@127.0.0.1:{}/\"\nhost_key = \"{}\"",
            sshd.port, sshd.host_key_sha256
        ),
        format!("url = \"sftp://u@127.0.0.1:{}/\"\npassword = \"{PASSWORD}\"", sshd.port),
        format!("url = \"ftp://u:{escaped}@127.0.0.1:{}/\"", vsftpd.port),
        format!("url = \"ftp://{escaped}:{escaped}@127.0.0.1:{}/\"", proftpd.port),
        format!("url = \"ftpes://u:{escaped}@127.0.0.1:{}/\"", proftpd.port),
        format!("url = \"ftp://u:{escaped}@no-such-host.invalid/\""),
    ];
    let named = |(n, source): (usize, &String)| {
        format!("[[source]]\nname = \"s{n}\"\nattempts = 1\n{source}\n")
    };
    let all: String = sources.iter().enumerate().map(named).collect();
    let ferry = Ferry::new(&format!("[destination]\nfolder = \"out\"\n{}{all}", log("text")));
    // The user name is no secret, but the fourth source says the password in its place.
    listen(&silence, &ferry, COMMANDS);
    let destinations = [
        format!(
            "connection_string = \
            \"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={KEY};\
            BlobEndpoint={};\"",
            azurite.blob_url()
        ),
        format!(
            "endpoint = \"{}\"\nsas = \
            \"?sv=2021-06-08&ss=b&srt=sco&sp=rwdlac&se=2040-01-01T00:00:00Z&sig={SIGNATURE}\"",
            azurite.blob_url()
        ),
        format!(
            "connection_string = \
            \"BlobEndpoint={};SharedAccessSignature=sv=2021-06-08&sp=r&sig={SIGNATURE}\"",
            azurite.blob_url()
        ),
    ];
    for destination in destinations {
        let ferry = Ferry::new(&format!(
            "[destination]\ncontainer = \"landing\"\n{destination}\n{}[[source]]\nname = \
            \"a\"\nurl = \"file:///etc/apt\"\n",
            log("text")
        ));
        listen(&silence, &ferry, COMMANDS);
    }
}

#[test]
fn configurations_that_cannot_be_used_are_told_without_their_secrets() {
    let silence = Silence::about(&[PASSWORD, KEY, SIGNATURE]);
    let folder = "[destination]\nfolder = \"out\"\n";
    let acme = "[[source]]\nname = \"acme\"\n";
    let escaped = super::super::served::percent_all(PASSWORD);
    let string = format!("DefaultEndpointsProtocol=https;AccountName=a;AccountKey={KEY}");
    let wrong = [
        format!("{folder}{acme}url = \"ftp://u@h/\"\npassword = \"{PASSWORD}\n"),
        format!("{folder}{acme}url = \"ftp://u@h/\"\npassword = {PASSWORD}\n"),
        format!("{folder}{acme}url = \"ftp://u@h/\"\npassword = [\"{PASSWORD}\"]\n"),
        format!("{folder}{acme}url = \"ftp://u@h/\"\npasword = \"{PASSWORD}\"\n"),
        format!(
            "{folder}{acme}url = \"ftp://u@h/\"\npassword = {{ environment = \"{PASSWORD}\" }}\n"
        ),
        format!("{folder}{acme}url = \"ftp://u@h/\"\narchive_passwords = [\"{PASSWORD}\", 3]\n"),
        format!(
            "{folder}{acme}url = \"ftp://u@h/\"\narchive_passwords = [\"{PASSWORD}\", {{ env = \
            \"NOT_SET\" }}]\n"
        ),
        format!("{folder}{acme}url = \"ftp://u@h/\"\narchive_passwords = [\"{PASSWORD}\", \"\"]\n"),
        format!("{folder}{acme}url = \"ftp://u@h/\"\narchive_password = [\"{PASSWORD}\"]\n"),
        format!(
            "{folder}{acme}url = \"ftp://u@h/\"\narchive_password = \"{PASSWORD}\"\narchive_names \
            = \"klingon\"\n"
        ),
        format!("{folder}{acme}url = \"ftp://u:{PASSWORD}@h/\"\n"),
        format!("{folder}{acme}url = \"ftp://u:{escaped}%ZZ@h/\"\n"),
        format!("{folder}{acme}url = \"ftp://u:{escaped}@h:99999/\"\n"),
        format!("{folder}{acme}url = \"ftp//u:{escaped}@h\"\n"),
        format!("{folder}{acme}url = \"http://u:{escaped}@h\"\n"),
        format!(
            "{folder}{acme}url = \"sftp://u:{escaped}@h/\"\npassword = \"{PASSWORD}\"\nhost_key = \
            \"nonsense\"\n"
        ),
        format!("{folder}{acme}url = \"sftp://u@h/\"\nprivate_key = \"{KEY}\"\n"),
        format!(
            "{folder}{acme}url = \"sftp://u@h/\"\nprivate_key = \"-----BEGIN OPENSSH PRIVATE \
            KEY-----\\n{KEY}\\n-----END OPENSSH PRIVATE KEY-----\\n\"\n"
        ),
        format!(
            "{folder}{acme}url = \"sftp://u@h/\"\nprivate_key_file = \"key.pem\"\npassphrase = \
            \"{PASSWORD}\"\n"
        ),
        format!(
            "[destination]\ncontainer = \"landing\"\nconnection_string = \
            \"{string}%%%\"\n{acme}url = \"file:///etc/apt\"\n"
        ),
        format!(
            "[destination]\ncontainer = \"landing\"\nconnection_string = \"{}\"\n{acme}url = \
            \"file:///etc/apt\"\n",
            string.replace('=', ":")
        ),
        format!(
            "[destination]\ncontainer = \"landing\"\nconection_string = \"{string}\"\n{acme}url = \
            \"file:///etc/apt\"\n"
        ),
        format!(
            "[destination]\ncontainer = \"landing\"\naccount = \"{string}\"\nsas = \
            \"sig={SIGNATURE}\"\n{acme}url = \"file:///etc/apt\"\n"
        ),
        format!(
            "[destination]\ncontainer = \"landing\"\nendpoint = \"no url?sig={SIGNATURE}\"\nsas = \
            \"sig={SIGNATURE}\"\n{acme}url = \"file:///etc/apt\"\n"
        ),
    ];
    for configuration in &wrong {
        let ferry = Ferry::new(configuration);
        fs::write(
            ferry.path("key.pem"),
            format!("-----BEGIN PRIVATE KEY-----\n{KEY}\n-----END PRIVATE KEY-----\n"),
        )
        .unwrap();
        // What one source names and cannot be had fails that source alone.
        let is_of_source =
            ["NOT_SET", "private_key_file"].iter().any(|of| configuration.contains(of));
        for words in [&["run"][..], &["plan"], &["ls"]] {
            let done = ferry.run(words);
            let what = format!("{words:?} of\n{configuration}\n{}{}", done.out, done.err);
            assert!(is_of_source || (done.code == 2 && done.out.is_empty()), "{what}");
            assert!(!is_of_source || done.code == 3 || words != ["run"], "{what}");
            for told in [&done.out, &done.err] {
                silence.holds_in(&format!("the words of\n{configuration}"), told.as_bytes());
            }
        }
        silence.holds_below(&ferry.path(""), &["ingest.toml", "key.pem"]);
    }
    let good = format!("{folder}{acme}url = \"ftp://u@h/\"\n");
    let ferry = Ferry::new(&good).set("BLOBFERRY__SOURCE__OTHER__PASSWORD", PASSWORD);
    silence.holds_in(
        "an override of nothing",
        ferry.run(&["run"]).code(2).says(&["BLOBFERRY__SOURCE__OTHER__PASSWORD"]).err.as_bytes(),
    );
}
