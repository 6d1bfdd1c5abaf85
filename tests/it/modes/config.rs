//! C1 to C10: configurations that cannot be right.

use std::sync::Arc;

use blobferry::demo::ftp::script::{DemoFtpFault, DemoFtpHook, DemoFtpScript};

use super::super::e2e::Ferry;
use super::super::kit::stage::{CANARY, ftp};
use super::super::kit::trial::Trial;

const GOOD: &str = "[destination]\nfolder = \"store\"\n[[source]]\nname = \"acme\"\nurl = \
    \"ftp://demo@127.0.0.1:1/\"\npassword = \"x\"\n";

/// `plan` and `run` refuse it with these words, and with no secret.
#[track_caller]
fn refused(configuration: impl AsRef<[u8]>, words: &[&str]) {
    let ferry = Ferry::new("");
    std::fs::write(ferry.path("ingest.toml"), configuration).unwrap();
    for command in [&["run", "--json"][..], &["plan"]] {
        let done = ferry.run(command).code(2);
        for word in words {
            assert!(done.err.contains(word), "no `{word}` in {}", done.err);
        }
        assert!(
            !done.err.contains(CANARY) && !done.out.contains(CANARY) && !done.err.contains("s0ng"),
            "{}",
            done.err
        );
        assert!(!done.err.bytes().any(|byte| byte < 0x20 && byte != b'\n'), "{:?}", done.err);
    }
}

fn with(line: &str) -> String {
    format!("{GOOD}{line}\n")
}

#[test]
fn c01_broken_toml_is_told_by_line_and_column() {
    refused("[destination\nfolder = \"x\"\n", &["ingest.toml:1"]);
    refused(
        format!("[destination]\nfolder = \"store\"\n[[source]]\nurl = \"{CANARY}\n"),
        &["ingest.toml:4"],
    );
    refused("", &["ingest.toml"]);
}

#[test]
fn c02_typos_are_answered_with_what_was_meant() {
    refused(with("pasword = \"C@nary/s0ng:#%41 bird\""), &["pasword", "password"]);
    refused(with("stable_fro = \"1s\""), &["stable_for"]);
    refused(format!("[destinaton]\nfolder = \"x\"\n{GOOD}"), &["destination"]);
}

#[test]
fn c03_passwords_of_any_characters_in_urls() {
    let stage = ftp(DemoFtpScript::default());
    // Percent-encoded in the URL.
    Trial::of(&stage, &stage.lines()).run().is("exit 0: listed 3, ingested 3");
    // As it is, in a field of its own.
    let address = stage.server.address;
    Trial::of(&stage, &format!("url = \"ftp://demo@{address}/\"\npassword = \"{CANARY}\"\n"))
        .run()
        .is("exit 0: listed 3, ingested 3");
    // As it is, in the URL: nobody can tell where it ends.
    refused(GOOD.replace("ftp://demo@", "ftp://demo:C@nary/s0ng:#%41 bird@"), &["source.acme.url"]);
}

#[test]
fn c04_secrets_that_are_not_there() {
    // The source that lacks its secret fails, and no other does.
    let lacking = GOOD.replace("\"x\"", "{ env = \"NO_SUCH_VARIABLE\" }");
    let done = Ferry::new(&lacking).run(&["run"]).code(3);
    assert!(done.err.contains("NO_SUCH_VARIABLE"), "{}", done.err);
    let done = |value: &str| {
        Ferry::new(&GOOD.replace("\"x\"", "{ env = \"SECRET\" }"))
            .set("SECRET", value)
            .run(&["run"])
    };
    let unresolved =
        done("@Microsoft.KeyVault(SecretUri=https://vault.example/secrets/s0ng)").code(3);
    assert!(
        unresolved.err.contains("SECRET")
            && unresolved.err.contains("Key Vault")
            && !unresolved.err.contains("s0ng"),
        "{}",
        unresolved.err
    );
    let empty = done("").code(3);
    assert!(empty.err.contains("SECRET"), "{}", empty.err);
}

#[test]
fn c06_sources_of_one_name() {
    refused(
        format!(
            "{GOOD}{}",
            GOOD.split_once("[[source]]")
                .unwrap()
                .1
                .to_owned()
                .replace("\nname", "[[source]]\nname")
        ),
        &["acme"],
    );
}

#[test]
fn c07_patterns_that_mean_nothing() {
    refused(with("include = [\"[\"]"), &["include"]);
    refused(with("exclude = [\"a{b\"]"), &["clude"]);
    // Many stars over a long name cost nothing: the engine is linear.
    let stage = ftp(DemoFtpScript::default());
    super::super::e2e::bad_input::old_file(&stage.root.path().join("a".repeat(250)), b"long");
    let lines = format!("{}exclude = [\"{}b\"]\n", stage.lines(), "*a".repeat(100));
    Trial::of(&stage, &lines).run().is("exit 0: listed 4, ingested 4");
}

#[test]
fn c08_numbers_and_units_out_of_range() {
    for (line, word) in [
        ("connections = 0", "connections"),
        ("connections = -1", "connections"),
        ("connections = 99999999999999999999", "ingest.toml"),
        ("attempts = 0", "attempts"),
        ("stable_for = \"10\"", "stable_for"),
        ("stable_for = 10", "stable_for"),
        ("stall_timeout = \"0s\"", "stall_timeout"),
        ("retry_auth_after = \"6\"", "retry_auth_after"),
    ] {
        refused(with(line), &[word]);
    }
    refused(GOOD.replace("[[source]]", "[limits]\nmemory = \"1 KB\"\n[[source]]"), &["memory"]);
    refused(GOOD.replace("[[source]]", "[limits]\ntemp = \"99999999 TiB\"\n[[source]]"), &["temp"]);
}

#[test]
fn c09_what_editors_do_to_files() {
    let stage = ftp(DemoFtpScript::default());
    let trial = Trial::of(&stage, &stage.lines());
    let text = std::fs::read_to_string(trial.ferry.path("ingest.toml")).unwrap();
    trial
        .ferry
        .configure(&format!("\u{feff}{}", text.replace('\n', "\r\n").replace(" = ", "\t=\t")));
    trial.run().is("exit 0: listed 3, ingested 3");
    let utf_16: Vec<u8> =
        [0xFF, 0xFE].into_iter().chain(GOOD.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    refused(utf_16, &["UTF-16"]);
    refused(b"[destination]\nfolder = \"caf\xe9\"\n", &["UTF-8"]);
}

#[test]
fn c10_a_configuration_that_changes_during_a_run() {
    // While `a.bin` is read, the file becomes nonsense: the run goes on with what it began with,
    // the next one tells.
    let place: Arc<std::sync::Mutex<Option<std::path::PathBuf>>> = Arc::default();
    let told = place.clone();
    let hook = DemoFtpHook {
        name: b"a.bin".to_vec(),
        at: 1024,
        run: Arc::new(move |_| {
            std::fs::write(told.lock().unwrap().as_ref().unwrap(), "nonsense").unwrap()
        }),
    };
    let drip = DemoFtpFault::Drip(std::time::Duration::from_millis(1));
    let stage = ftp(DemoFtpScript {
        hooks: vec![hook],
        files: [(b"a.bin".to_vec(), drip)].into(),
        ..DemoFtpScript::default()
    });
    let trial = Trial::of(&stage, &stage.lines());
    *place.lock().unwrap() = Some(trial.ferry.path("ingest.toml"));
    trial.run().is("exit 0: listed 3, ingested 3");
    trial.ferry.run(&["run"]).code(2);
}
