//! The configuration: a whole file, or one URL in it. Its owner wrote it, its secrets may be
//! anywhere in it.

use std::collections::BTreeMap;
use std::path::Path;

use blobferry::settings::SourceUrl;
use blobferry::source::proxy::Proxy;

use super::taking::Taking;

/// Stands for a password wherever the bytes have a `\x01`.
const CANARY: &str = "Hunter2-Zq7x";

/// With an odd first byte, a URL, a proxy and other settings of one source; else the whole file.
pub fn check(bytes: &[u8]) {
    let mut taking = Taking(bytes);
    let form = taking.byte();
    let Ok(text) = std::str::from_utf8(taking.0) else { return };
    // The settings can name files, which are read: not those that never end.
    if ["/dev", "/proc", "/sys", "/run"].iter().any(|folder| text.contains(folder)) {
        return;
    }
    match form & 1 {
        0 => parse(text, ""),
        _ => {
            let text = text.replace('\x01', CANARY);
            let (url, rest) = text.split_once('\n').unwrap_or((&text, ""));
            url_alone(url);
            let quoted = toml_text(url);
            // Where the password stands is where it must not be told from; elsewhere it is none.
            let secret = if is_password(url) { CANARY } else { "" };
            parse(
                &format!(
                    "[destination]\nfolder = \"out\"\n[[source]]\nname = \"x\"\nurl = {quoted}\n{}",
                    rest.replace(CANARY, "")
                ),
                secret,
            );
            parse(
                &format!(
                    "[destination]\nfolder = \"out\"\n[[source]]\nname = \"x\"\nurl = \
                    \"ftp://h\"\nproxy = {quoted}\n"
                ),
                secret,
            );
        }
    }
}

fn toml_text(text: &str) -> String {
    let escaped: String = text.chars().map(|c| format!("\\U{:08X}", u32::from(c))).collect();
    format!("\"{escaped}\"")
}

fn is_password(url: &str) -> bool {
    let stands_once = url.matches(CANARY).count() == 1;
    stands_once
        && url.split_once("://").is_some_and(|(_, rest)| rest.starts_with(&format!("u:{CANARY}@")))
}

fn url_alone(text: &str) {
    match SourceUrl::parse(text) {
        Ok(url) => {
            assert!(
                !url.host.chars().any(|c| c.is_control() || c.is_whitespace() || c == '/'),
                "{:?}",
                url.host
            );
            assert!(url.port != Some(0) && url.root.as_bytes().starts_with(b"/"));
        }
        Err(error) => told(&error, CANARY),
    }
    if let Err(error) = Proxy::parse(text) {
        told(&error, CANARY);
    }
}

fn parse(text: &str, secret: &str) {
    let environment = BTreeMap::from([
        ("PASSWORD".to_owned(), CANARY.to_owned()),
        ("BLOBFERRY__LOG__LEVEL".to_owned(), "debug".to_owned()),
    ]);
    match blobferry::config::parse("ingest.toml", Path::new("/nowhere"), text, &environment) {
        Ok(config) => {
            assert!(!config.sources.is_empty());
            assert!(
                secret.is_empty() || !format!("{config:?}").contains(secret),
                "a password in the configuration's `Debug`"
            );
        }
        Err(error) => told(&error.to_string(), secret),
    }
}

fn told(error: &str, secret: &str) {
    super::printable(error);
    assert!(secret.is_empty() || !error.contains(secret), "a password in {error:?}");
}

/// Files and URLs of each kind.
pub fn seeds() -> Vec<Vec<u8>> {
    const URLS: &[&str] = &[
        "sftp://u:\x01@sftp.acme.example:2222/out/%41%ff\npassword = \"x\"\nhost_key = \
        \"SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU\"\n",
        "ftp://u:\x01@[::1]:21/daily\ntls = \"explicit\"\narchives = \"both\"\ninclude = \
        [\"**/*.zip\"]\n",
        "ftpes://u:\x01@h\nstall_timeout = \"5m\"\nafter = \"move\"\nmove_to = \"/done\"\n",
        "socks5://u:\x01@gate:1080",
        "http://u:\x01@gate",
        "file:///in\nstable_for = \"1h 30m\"\narchive_names = \"cp932\"\nexclude = [\"[\"]\n",
        "ftp://u:\x01@h:99999/a?b#c",
        "ftp://\x01",
    ];
    let example = include_bytes!("../../../ingest.toml");
    let mut seeds: Vec<Vec<u8>> =
        URLS.iter().map(|url| [b"\x01", url.as_bytes()].concat()).collect();
    seeds.push([b"\0", &example[..]].concat());
    seeds.push(
        b"\0[destination]\naccount = \"contoso\"\ncontainer = \"in\"\n[limits]\nmemory = \
        \"64 MiB\"\narchive_ratio = 300\n[[source]]\nname = \"a\"\nurl = \"ftp://u@h/x\"\npassword \
        = { env = \"PASSWORD\" }\n"
            .to_vec(),
    );
    seeds.push(
        b"\0[destination]\nsas = 1\nconnection_string = { env = \"\" }\n[source]\n[[source]]\nurl \
            = [{ env = \"PASSWORD\" }, 1979-05-27, 0xFF]\n\x1b"
            .to_vec(),
    );
    seeds
}
