//! Values that stand in key vaults, `{ keyvault = "https://…" }`, from end to end: the real binary,
//! an identity endpoint, a vault behind a proxy, servers that want the password.

use serde_json::Value;

use crate::e2e::{Done, Ferry};
use crate::insights::world::Handler;
use crate::kit::stage::{CANARY, Stage, ftp, sftp};
use crate::kit::vault::{Kept, Vaults, identity_endpoint};
use blobferry::demo::sftp::SftpServer;
use blobferry::demo::sftp::script::DemoSftpScript;

/// What the host sends on schedule.
const TICK: &str = r#"{"Data":{"timer":{}},"Metadata":{}}"#;
/// A version of a secret.
const VERSION: &str = "0123456789abcdef0123456789abcdef";

/// A source `name` at the stage, whose password is what `password` says.
fn source(stage: &Stage<SftpServer>, name: &str, password: &str) -> String {
    format!(
        "[[source]]\nname = \"{name}\"\nurl = \"sftp://demo@{}/\"\nhost_key = \"{}\"\nstable_for = \
        \"0s\"\npassword = {password}\n",
        stage.server.address, stage.server.host_key
    )
}

fn in_vault(name: &str) -> String {
    format!("{{ keyvault = \"https://kv-acme.vault.azure.net/secrets/{name}\" }}")
}

/// A configuration with a folder as its store, and the way to the vaults.
fn ferry(vaults: &Vaults, sources: &str) -> Ferry {
    let text = format!(
        "[destination]\nfolder = \"store\"\n[keyvault]\nidentity = \"managed\"\nca_file = \
        \"ca.pem\"\n[log]\nfiles = false\n{sources}"
    );
    let ferry = Ferry::new(&text)
        .set("IDENTITY_ENDPOINT", &identity_endpoint())
        .set("IDENTITY_HEADER", "canary-identity-header")
        .set("HTTPS_PROXY", &vaults.proxy);
    std::fs::write(ferry.path("ca.pem"), &vaults.ca).expect("written");
    ferry
}

fn of_source<'a>(report: &'a Value, name: &str) -> &'a Value {
    let sources = report["sources"].as_array().expect("a report has sources");
    sources.iter().find(|source| source["source"] == name).unwrap_or_else(|| panic!("{report:#}"))
}

fn quiet(done: &Done) {
    for text in [&done.out, &done.err] {
        assert!(!text.contains(CANARY) && !text.contains("token-for-vaults"), "{text}");
    }
}

#[test]
fn passwords_come_out_of_a_key_vault_and_are_told_nowhere() {
    let (stage, vaults) = (sftp(DemoSftpScript::default()), Vaults::open());
    vaults.keep("acme-password", CANARY);
    vaults.keep(&format!("old-password/{VERSION}"), CANARY);
    let sources = [
        source(&stage, "current", &in_vault("acme-password")),
        source(&stage, "pinned", &in_vault(&format!("old-password/{VERSION}"))),
        source(&stage, "same", &in_vault("acme-password")),
    ];
    let ferry = ferry(&vaults, &sources.concat());
    let done = ferry.run(&["run", "--json", "--verbose"]);
    quiet(&done);
    let report = done.code(0).report();
    for name in ["current", "pinned", "same"] {
        assert_eq!(of_source(&report, name)["ingested"], 3, "{report:#}");
    }
    let mut asked = vaults.asked();
    asked.sort();
    let host = "kv-acme.vault.azure.net";
    let expected = [format!("{host} acme-password"), format!("{host} old-password/{VERSION}")];
    assert_eq!(asked, expected, "each secret is read once");
    let checked = ferry.run(&["check"]);
    quiet(&checked);
    checked.code(0).says(&["key vault", "https://kv-acme.vault.azure.net: 2 secrets read"]);
}

#[test]
fn a_secret_that_cannot_be_read_stops_its_source_alone_and_is_told_with_the_vaults_words() {
    let (stage, vaults) = (sftp(DemoSftpScript::default()), Vaults::open());
    vaults.keep("acme-password", CANARY);
    let forbidden = r#"{"error":{"code":"Forbidden","message":"Caller is not authorized.\r\nid: 1",
        "innererror":{"code":"ForbiddenByRbac"}}}"#;
    vaults.set("denied", Kept::Refused(403, forbidden.to_owned()));
    vaults.keep("empty", "");
    let sources = [
        source(&stage, "good", &in_vault("acme-password")),
        source(&stage, "gone", &in_vault("no-such-secret")),
        source(&stage, "denied", &in_vault("denied")),
        source(&stage, "empty", &in_vault("empty")),
    ];
    let ferry = ferry(&vaults, &sources.concat());
    let done = ferry.run(&["run", "--json"]);
    quiet(&done);
    let report = done.code(1).report();
    assert_eq!(of_source(&report, "good")["ingested"], 3, "{report:#}");
    for (name, words) in [
        ("gone", "SecretNotFound (404)"),
        ("denied", "ForbiddenByRbac (403): Caller is not authorized."),
        ("empty", "which is empty"),
    ] {
        let told = of_source(&report, name).to_string();
        assert!(told.contains(words) && told.contains(".password"), "{name}: {told}");
        assert!(told.contains("\"class\":\"config\""), "{name}: {told}");
    }
    let checked = ferry.run(&["check"]);
    checked.says(&["2 secrets read, not denied, no-such-secret", "Key Vault Secrets User"]);
}

#[test]
fn a_vault_that_cannot_be_reached_is_waited_for_once_and_told_as_that() {
    let vaults = Vaults::open();
    let many: String = (0..20)
        .map(|n| {
            format!(
                "[[source]]\nname = \"s{n}\"\nurl = \"sftp://u@127.0.0.1:9/\"\npassword = {{ \
                keyvault = \"https://kv-acme.vault.azure.net/secrets/s{n}\" }}\n"
            )
        })
        .collect();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let nobody = format!("http://{}", closed.local_addr().expect("an address"));
    drop(closed);
    let ferry = ferry(&vaults, &many).set("HTTPS_PROXY", &nobody);
    let done = ferry.run(&["run", "--json"]).code(3);
    let told = of_source(&done.report(), "s7").to_string();
    assert!(told.contains("whose vault cannot be reached"), "{told}");
    assert!(told.contains("HTTPS_PROXY"), "{told}");
}

#[test]
fn a_vault_that_asks_for_a_token_of_others_is_given_none() {
    let (stage, vaults) = (sftp(DemoSftpScript::default()), Vaults::open());
    vaults.keep("acme-password", CANARY);
    vaults.claim("https://management.azure.com");
    let ferry = ferry(&vaults, &source(&stage, "acme", &in_vault("acme-password")));
    let done = ferry.run(&["run", "--json"]).code(3);
    quiet(&done);
    assert!(vaults.asked().is_empty(), "{:?}", vaults.asked());
}

#[test]
fn without_its_authority_the_vault_is_not_trusted() {
    let (stage, vaults) = (sftp(DemoSftpScript::default()), Vaults::open());
    vaults.keep("acme-password", CANARY);
    let ferry = ferry(&vaults, &source(&stage, "acme", &in_vault("acme-password")));
    let text = std::fs::read_to_string(ferry.path("ingest.toml")).expect("it is there");
    ferry.configure(&text.replace("ca_file = \"ca.pem\"\n", ""));
    let done = ferry.run(&["run", "--json"]).code(3);
    let told = of_source(&done.report(), "acme").to_string();
    assert!(told.contains("keyvault.ca_file"), "{told}");
    assert!(vaults.asked().is_empty());
}

/// The app over the sources of `ferry`, with its way to the vaults.
fn app(ferry: &Ferry, vaults: &Vaults) -> Handler {
    let identity = identity_endpoint();
    let way = [
        ("IDENTITY_ENDPOINT", identity.as_str()),
        ("IDENTITY_HEADER", "canary-identity-header"),
        ("HTTPS_PROXY", &vaults.proxy),
    ];
    Handler::start(&ferry.path(""), &way)
}

fn tick(app: &Handler) -> String {
    let (status, told) = app.post("IngestTimer", &[], TICK);
    assert_eq!(status, 200, "{told}");
    told
}

#[test]
fn the_app_reads_key_vaults_before_its_first_run_and_not_before_each() {
    let (stage, vaults) = (sftp(DemoSftpScript::default()), Vaults::open());
    vaults.keep("acme-password", CANARY);
    let ferry = ferry(&vaults, &source(&stage, "acme", &in_vault("acme-password")));
    let app = app(&ferry, &vaults);
    assert!(tick(&app).contains("ingested 3"));
    assert!(tick(&app).contains("unchanged"));
    assert_eq!(vaults.asked().len(), 1, "{:?}", vaults.asked());
}

#[test]
#[ignore = "takes over a minute: scripts/nightly.sh runs it"]
fn the_app_knows_a_changed_secret_after_a_minute() {
    let (stage, vaults) = (sftp(DemoSftpScript::default()), Vaults::open());
    vaults.keep("acme-password", "the-one-of-last-year");
    let ferry = ferry(&vaults, &source(&stage, "acme", &in_vault("acme-password")));
    let app = app(&ferry, &vaults);
    let (status, told) = app.post("IngestTimer", &[], TICK);
    assert!(status == 500 && told.contains("refuses the credential"), "{told}");
    vaults.keep("acme-password", CANARY);
    std::thread::sleep(std::time::Duration::from_secs(61));
    let told = tick(&app);
    assert!(told.contains("ingested 3"), "{told}");
    assert_eq!(vaults.asked().len(), 2, "{:?}", vaults.asked());
    // A vault that is away changes nothing.
    vaults.set("acme-password", Kept::Refused(503, String::new()));
    std::thread::sleep(std::time::Duration::from_secs(61));
    assert!(tick(&app).contains("unchanged"));
}

#[test]
#[ignore = "takes over a minute: scripts/nightly.sh runs it"]
fn an_app_whose_destination_waits_for_a_vault_works_once_the_vault_answers() {
    let (stage, vaults) = (sftp(DemoSftpScript::default()), Vaults::open());
    vaults.keep("acme-password", CANARY);
    vaults.set("folder", Kept::Refused(503, String::new()));
    let ferry = ferry(&vaults, &source(&stage, "acme", &in_vault("acme-password")));
    let text = std::fs::read_to_string(ferry.path("ingest.toml")).expect("it is there");
    let by_vault = format!("folder = {}", in_vault("folder"));
    ferry.configure(&text.replace("folder = \"store\"", &by_vault));
    let app = app(&ferry, &vaults);
    let (status, told) = app.post("IngestTimer", &[], TICK);
    assert!(status == 500 && told.contains("`destination.folder` reads the secret"), "{told}");
    vaults.keep("folder", "store");
    std::thread::sleep(std::time::Duration::from_secs(62));
    assert!(tick(&app).contains("ingested 3"));
}

#[test]
fn keys_lists_and_urls_come_out_of_key_vaults_too() {
    let (stage, vaults) = (ftp(Default::default()), Vaults::open());
    vaults.keep("url", stage.lines().trim().trim_start_matches("url = ").trim_matches('"'));
    vaults.keep("passwords", "[\"one\", \"two-canary\"]");
    let ferry = ferry(
        &vaults,
        &format!(
            "[[source]]\nname = \"acme\"\nstable_for = \"0s\"\nurl = {}\narchive_passwords = {}\n",
            in_vault("url"),
            in_vault("passwords")
        ),
    );
    let done = ferry.run(&["run", "--json"]);
    quiet(&done);
    assert_eq!(of_source(&done.code(0).report(), "acme")["ingested"], 3);
}

#[test]
fn wrong_ways_to_a_key_vault_are_refused_with_their_line() {
    let folder = "[destination]\nfolder = \"store\"\n";
    let source = |password: &str| {
        format!("[[source]]\nname = \"a\"\nurl = \"sftp://u@h/\"\npassword = {password}\n")
    };
    for (text, words) in [
        (
            format!("{folder}{}", source("{ keyvault = \"https://example.org/secrets/x\" }")),
            "at a host that is no key vault's",
        ),
        (
            format!("{folder}{}", source("{ keyvault = 7 }")),
            "names a secret of a key vault by a text that is no URL",
        ),
        (
            format!("{folder}{}", source(&in_vault("x"))),
            "tell by `[keyvault]` who reads key vaults",
        ),
        (
            format!("{folder}[keyvault]\ntenant = {}\n{}", in_vault("t"), source("\"p\"")),
            "`keyvault.tenant` is needed to read key vaults, and is read from one",
        ),
        (
            format!(
                "[destination]\naccount = \"a\"\ncontainer = \"c\"\nidentity = \
                \"service-principal\"\ntenant = \"t\"\nclient_id = \"c\"\nclient_secret = {}\n{}",
                in_vault("s"),
                source("\"p\"")
            ),
            "is needed to read the key vault that it is read from",
        ),
        (
            format!("{folder}[keyvault]\nidentiy = \"cli\"\n{}", source("\"p\"")),
            "did you mean `identity`?",
        ),
    ] {
        let done = Ferry::new(&text).run(&["run"]).code(2);
        assert!(done.err.contains("ingest.toml:") && done.err.contains(words), "{}", done.err);
    }
}
