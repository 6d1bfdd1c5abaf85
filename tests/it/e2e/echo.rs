//! A server that repeats every secret that it was given, in every spelling: nothing that stays
//! holds 8 bytes of it.

use std::collections::HashSet;
use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use blobferry::demo::ftp::script::{DemoFtpFault, DemoFtpScript};
use blobferry::demo::ftp::shared::DemoFtpOptions;

use super::super::insights::ingestion::{Ingestion, Mood};
use super::super::kit::stage::{Stage, ftp_with};
use super::bad_input::old_file;
use super::*;

/// Long, with characters that every encoder writes in another way. No eight bytes of it are words
/// of ours.
const PASSWORD: &str = "zq9!K\u{e9}v&x\"7\\Wm p%41+Jt/3=yR";

/// `%2F` as `%2f`.
fn lower_hex(text: &str) -> String {
    let mut parts = text.split('%');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| format!("{all}%{}{}", part[..2].to_lowercase(), &part[2..]))
}

/// The password in each spelling that a server, a proxy or a library may answer with.
fn spellings() -> Vec<String> {
    let percent = |kept: &str| -> String {
        let one = |byte: u8| match byte {
            _ if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        };
        PASSWORD.bytes().map(one).collect()
    };
    vec![
        PASSWORD.to_owned(),
        percent(""),
        lower_hex(&percent("-_.~")),
        percent("-_.~!$&'()*+,;=:@/"),
        percent("").replace("%20", "+"),
        STANDARD.encode(PASSWORD),
        URL_SAFE_NO_PAD.encode(PASSWORD),
        STANDARD.encode(format!("demo:{PASSWORD}")),
        serde_json::to_string(PASSWORD).unwrap(),
        format!("{PASSWORD:?}"),
        blobferry::model::hex(PASSWORD.as_bytes()),
    ]
}

/// Every eight bytes in a row of each spelling that tell of the password.
fn pieces() -> HashSet<Vec<u8>> {
    // What base64 of the user's name alone shows is no piece of the password.
    let of_user = STANDARD.encode("demo:").into_bytes();
    let windows =
        |text: String| text.into_bytes().windows(8).map(<[u8]>::to_vec).collect::<Vec<_>>();
    spellings()
        .into_iter()
        .flat_map(windows)
        .filter(|window| !window.starts_with(&of_user[..3]))
        .collect()
}

#[track_caller]
fn holds_no_piece(place: &str, bytes: &[u8], pieces: &HashSet<Vec<u8>>) {
    if let Some(at) = bytes.windows(8).position(|window| pieces.contains(window)) {
        let around = &bytes[at.saturating_sub(200)..bytes.len().min(at + 100)];
        panic!("{place} holds a piece of the password:\n{}", String::from_utf8_lossy(around));
    }
}

fn below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() { below(&entry.path(), files) } else { files.push(entry.path()) }
    }
}

fn leaked(text: String) -> &'static str {
    Box::leak(text.into_boxed_str())
}

/// A server whose `step` answers with `said`; the other steps go well, as far as they can.
fn server(step: &str, said: &str) -> Stage<blobferry::demo::ftp::FtpServer> {
    let script = match step {
        "login" => DemoFtpScript {
            replies: vec![("PASS", leaked(format!("530 no login for demo:{said}.\r\n")))],
            ..DemoFtpScript::default()
        },
        "file" => {
            let reply = leaked(format!("550 denied: {said}\r\n"));
            DemoFtpScript {
                files: [(b"a.bin".to_vec(), DemoFtpFault::Refuse(reply))].into(),
                ..DemoFtpScript::default()
            }
        }
        "listing" => {
            let line = format!("?? {said} is no entry ??\r\n").into_bytes();
            DemoFtpScript {
                without: vec!["MLST"],
                extra_lines: vec![line],
                ..DemoFtpScript::default()
            }
        }
        "end" => DemoFtpScript {
            listing_reply: Some(leaked(format!("451 {said}\r\n"))),
            ..DemoFtpScript::default()
        },
        // So long that texts are cut in the middle of it.
        _ => {
            let reply = leaked(format!("550 {}\r\n", format!("{said} ").repeat(40)));
            DemoFtpScript {
                files: [(b"a.bin".to_vec(), DemoFtpFault::Refuse(reply))].into(),
                ..DemoFtpScript::default()
            }
        }
    };
    ftp_with(|options: &mut DemoFtpOptions| {
        options.script = script;
        options.password = blobferry::model::Secret::new(PASSWORD);
    })
}

#[test]
fn a_server_that_repeats_the_password_in_every_spelling_leaves_no_piece_of_it() {
    let pieces = pieces();
    let steps = ["login", "file", "listing", "end", "long"];
    let mut servers = Vec::new();
    let mut sources = String::new();
    for (n, said) in spellings().iter().enumerate() {
        // Each spelling at two steps, all steps with several spellings.
        for step in [steps[n % steps.len()], steps[(n + 2) % steps.len()]] {
            let stage = server(step, said);
            sources += &format!(
                "[[source]]\nname = \"s{n}-{step}\"\nurl = \"ftp://demo@127.0.0.1:{}/\"\npassword \
                 = {{ env = \"CANARY\" }}\nattempts = 1\nstable_for = \"0s\"\nretry_auth_after = \
                 \"0s\"\n",
                stage.server.address.port()
            );
            servers.push(stage);
        }
    }
    let receiver = Ingestion::start(Mood::Well);
    let log = "[log]\nlevel = \"trace\"\nformat = \"json\"\nrotation = \"never\"\n";
    let ferry = Ferry::new(&format!("[destination]\nfolder = \"store\"\n{log}{sources}"))
        .set("CANARY", PASSWORD)
        .set("APPLICATIONINSIGHTS_CONNECTION_STRING", &receiver.connection());
    old_file(&ferry.path("unrelated"), b"x");
    for words in [
        &["run", "--json"][..],
        &["run", "-v"],
        &["plan", "--json"],
        &["check"],
        &["audit", "--json"],
        &["ls", "--all", "--json"],
    ] {
        let done = ferry.run(words);
        holds_no_piece(&format!("the output of {words:?}"), done.out.as_bytes(), &pieces);
        holds_no_piece(&format!("the errors of {words:?}"), done.err.as_bytes(), &pieces);
    }
    let mut files = Vec::new();
    below(&ferry.path("store"), &mut files);
    below(&ferry.path("log"), &mut files);
    for path in &files {
        holds_no_piece(&path.display().to_string(), &fs::read(path).unwrap(), &pieces);
    }
    for request in receiver.0.requests() {
        holds_no_piece("telemetry", &request.body, &pieces);
    }
    // There was something to listen to.
    let told = |text: &str| {
        files
            .iter()
            .any(|path| fs::read(path).unwrap().windows(text.len()).any(|at| at == text.as_bytes()))
    };
    assert!(
        told("***") && told("denied: ***") && told("no login for demo:***"),
        "the server was heard"
    );
    assert!(!receiver.0.requests().is_empty(), "telemetry was sent");
}

#[test]
fn a_short_password_eats_no_path_and_no_word_of_a_report() {
    let stage = ftp_with(|options: &mut DemoFtpOptions| {
        options.password = blobferry::model::Secret::new("abc");
        let replies = vec![("PASS", "530 me:abc@host, pass=abc. /in/abc.csv\r\n")];
        options.script = DemoFtpScript { replies, ..DemoFtpScript::default() };
    });
    let source = format!(
        "[[source]]\nname = \"abc\"\nurl = \"ftp://demo@127.0.0.1:{}/abc\"\npassword = \
        \"abc\"\nattempts = 1\n",
        stage.server.address.port()
    );
    let ferry = Ferry::new(&format!("[destination]\nfolder = \"store\"\n{source}"));
    let report = ferry.run(&["run", "--json"]).code(3).report();
    let problem = &report["sources"][0]["problems"][0];
    assert!(
        problem["message"].as_str().unwrap().ends_with("530 me:***@host, pass=***. /in/abc.csv"),
        "{problem}"
    );
    assert_eq!(report["sources"][0]["source"], "abc");
}
