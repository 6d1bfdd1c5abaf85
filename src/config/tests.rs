//! What people write into the file, and what they are told.

use expect_test::{Expect, expect};

use super::*;
use crate::archive::options::Charset;
use crate::store::azure::AzureIdentity;
use crate::store::azure::ManagedId;

pub(super) const GOOD: &str = r#"
[destination]
folder = "out"

[[source]]
name = "acme"
url = "file:///srv/share"
"#;

pub(super) fn read(text: &str, environment: &[(&str, &str)]) -> Result<Config, SettingError> {
    let environment =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    parse("ingest.toml", Path::new("/etc/blobferry"), text, &environment)
}

fn refused(text: &str, environment: &[(&str, &str)], expected: Expect) {
    let error = read(text, environment).map(|_| ()).expect_err("it is refused");
    expected.assert_eq(&error.to_string());
}

#[test]
fn a_small_file_means_the_defaults() {
    let config = read(GOOD, &[]).expect("it is good");
    let source = &config.sources[0];
    let folder = Path::new("/etc/blobferry/out");
    assert!(matches!(&config.destination, Destination::Folder(path) if path == folder));
    assert_eq!(
        (source.name.as_str(), source.root.to_string().as_str(), source.stable_for.as_secs()),
        ("acme", "/srv/share", 60)
    );
    assert_eq!(config.log.monitor, Path::new("/etc/blobferry/log/monitor.log"));
    let limits = config.limits.limits(1 << 30);
    assert_eq!((limits.transfers, limits.memory, limits.temp), (256, 256 << 20, 512 << 20));
}

#[test]
fn typos_are_answered_with_what_was_meant() {
    refused(
        &GOOD.replace("name =", "nmae ="),
        &[],
        expect![
            "ingest.toml:6: `source.nmae` is not a setting of this section; did you mean `name`?"
        ],
    );
    refused(
        &GOOD.replace("[destination]", "[destnation]"),
        &[],
        expect!["ingest.toml:2: `destnation` is not a section; did you mean `destination`?"],
    );
    refused(
        &GOOD.replace("[[source]]", "[source]"),
        &[],
        expect!["ingest.toml:5: `source` stands in single brackets; allowed is `[[source]]`"],
    );
}

#[test]
fn broken_toml_is_told_by_line_and_column_without_its_text() {
    let text = format!("{GOOD}password = \"canary\nx = 1\n");
    let error = read(&text, &[]).map(|_| ()).expect_err("it is refused").to_string();
    assert!(error.starts_with("ingest.toml:8:") && !error.contains("canary"), "{error}");
}

#[test]
fn a_secret_that_is_not_there_concerns_its_source_alone() {
    let with = |url: &str, key: &str| {
        format!(
            "{GOOD}[[source]]\nname = \"bad\"\nurl = \"{url}\"\n{key} = {{ env = \"NOWHERE\" }}\n"
        )
    };
    for (url, key) in [
        ("ftp://u@example.org/", "password"),
        ("sftp://u@example.org/", "password"),
        ("sftp://u@example.org/", "private_key"),
        ("sftp://u@example.org/", "host_key"),
        ("file:///srv/x", "archive_password"),
        ("file:///srv/x", "include"),
    ] {
        let config = read(&with(url, key), &[]).expect("the others can be used");
        let [good, bad] = config.sources.as_slice() else { panic!("two sources") };
        assert_eq!((good.unusable.as_ref(), bad.name.as_str()), (None, "bad"));
        let said = bad.unusable.as_deref().unwrap_or_default();
        assert!(
            said.contains(&format!("`source.bad.{key}`")) && said.contains("NOWHERE"),
            "{said}"
        );
        assert!(config.secrets.is_empty(), "what stands for it is no secret");
    }
}

#[test]
fn all_slips_of_a_file_are_told_at_once() {
    let text = format!(
        "{GOOD}stable_four = \"1s\"\nincluded = [\"x\"]\n\
        [[source]]\nnmae = \"b\"\nurl = \"file:///b\"\n"
    );
    let error = read(&text, &[]).map(|_| ()).expect_err("it is refused").to_string();
    for word in ["stable_four", "included", "nmae"] {
        assert!(error.contains(word), "{word}: {error}");
    }
}

#[test]
fn values_come_from_the_environment_and_missing_ones_are_named() {
    let text = GOOD.replace("\"file:///srv/share\"", "{ env = \"ACME_URL\" }");
    assert!(read(&text, &[("ACME_URL", "file:///x")]).is_ok());
    let text = GOOD.replace("\"out\"", "{ env = \"PLACE\" }");
    let told = |environment: &[(&str, &str)]| {
        let error = read(&text, environment).map(drop).expect_err("it is refused").to_string();
        let (_, told) = error.split_once("reads the environment variable PLACE, ").expect("told");
        told.to_owned()
    };
    assert_eq!(told(&[]), "which is not set");
    assert_eq!(told(&[("PLACE", "")]), "which is empty");
    expect![
        "which holds a Key Vault reference that was not resolved: check the vault's and the \
        secret's name and that the app's identity has the role `Key Vault Secrets User`"
    ]
    .assert_eq(&told(&[("PLACE", "@Microsoft.KeyVault(SecretUri=https://v.example/secrets/n)")]));
}

#[test]
fn the_environment_overrides_single_settings() {
    let config = read(
        GOOD,
        &[("BLOBFERRY__SOURCE__ACME__CONNECTIONS", "3"), ("BLOBFERRY__LIMITS__TRANSFERS", "5")],
    )
    .expect("it is good");
    assert_eq!((config.sources[0].connections, config.limits.limits(0).transfers), (3, 5));
    refused(
        GOOD,
        &[("BLOBFERRY__LIMITS__TRANSFERS", "many")],
        expect![
            "environment variable BLOBFERRY__LIMITS__TRANSFERS: `limits.transfers` is \"many\"; \
            allowed is a whole number from 1 to 1024"
        ],
    );
    refused(
        GOOD,
        &[("BLOBFERRY__SOURCE__OTHER__URL", "x")],
        expect![
            "environment: `BLOBFERRY__SOURCE__OTHER__URL` names a source `other` that the \
            configuration does not hold"
        ],
    );
}

#[test]
fn names_urls_and_after_actions_are_checked() {
    refused(
        &GOOD.replace("\"acme\"", "\"_acme\""),
        &[],
        expect![
            "ingest.toml:6: `source._acme.name` is \"_acme\"; allowed are up to 63 letters, \
            digits, `.`, `_` and `-`, a letter or digit first, `.` not last"
        ],
    );
    let error = read(&GOOD.replace("file://", "gopher://"), &[])
        .map(|_| ())
        .expect_err("it is refused")
        .to_string();
    assert!(
        error.starts_with(
            "ingest.toml:7: `source.acme.url` has the scheme `gopher`; allowed are `sftp`"
        ),
        "{error}"
    );
    refused(
        &format!("{GOOD}after = \"move:/srv\""),
        &[],
        expect![
            "ingest.toml:8: `source.acme.after` moves files to the folder that they are taken \
            from, or above it"
        ],
    );
    refused(
        &format!("{GOOD}after = \"drop\""),
        &[],
        expect![
            "ingest.toml:8: `source.acme.after` is \"drop\"; allowed is `keep`, `delete` or \
            `move:/folder`"
        ],
    );
    refused(
        &format!("{GOOD}include = [\"a[\"]"),
        &[],
        expect![
            "ingest.toml:8: `source.acme.include` the pattern `a[`: unclosed character class; \
            missing ']'"
        ],
    );
    // A tab may stand in a text of TOML, and must not on a line of a log.
    refused(
        &format!("{GOOD}include = [\"\t\\u001b[\"]"),
        &[],
        expect![
            "ingest.toml:8: `source.acme.include` the pattern `\\x09\\x1B[`: unclosed character \
            class; missing ']'"
        ],
    );
}

#[test]
fn two_sources_cannot_share_a_name() {
    let twice = format!("{GOOD}[[source]]\nname = \"acme\"\nurl = \"file:///other\"\n");
    refused(
        &twice,
        &[],
        expect![
            "ingest.toml:8: `source.acme` stands twice, first at ingest.toml:5; each source needs \
            a name of its own"
        ],
    );
}

#[test]
fn a_destination_is_one_account_or_one_folder() {
    let azure = |lines: &str| GOOD.replace("folder = \"out\"", lines);
    assert!(
        read(
            &azure("connection_string = \"UseDevelopmentStorage=true\"\ncontainer = \"landing\""),
            &[]
        )
        .is_ok()
    );
    assert!(
        read(&azure("account = \"contoso\"\nsas = \"sv=1\"\ncontainer = \"landing\""), &[]).is_ok()
    );
    refused(
        &azure("container = \"landing\""),
        &[],
        expect![
            "ingest.toml:2: `destination.account` is missing; allowed are `account` or `endpoint`, \
            `connection_string`, or `folder`"
        ],
    );
    refused(
        &azure("container = \"No\""),
        &[],
        expect![
            "ingest.toml:3: `destination.container` is \"No\"; allowed are 3 to 63 lower-case \
            letters, digits and single `-` between them"
        ],
    );
    refused(
        &azure("folder = \"out\"\ncontainer = \"landing\""),
        &[],
        expect![
            "ingest.toml:4: `destination.container` stands beside `folder`; allowed is one of both"
        ],
    );
}

#[test]
fn an_account_alone_means_a_managed_identity() {
    let azure = |lines: &str, environment: &[(&str, &str)]| {
        let text = GOOD.replace("folder = \"out\"", &format!("container = \"landing\"\n{lines}"));
        match read(&text, environment).expect("it is good").destination {
            Destination::Azure { account: Account::Identity { endpoint, identity }, .. } => {
                (endpoint, identity)
            }
            other => panic!("{other:?}"),
        }
    };
    let managed = |id: Option<&str>| AzureIdentity::Managed {
        id: id.map(|id| ManagedId::Client(id.to_owned())),
    };
    assert_eq!(
        azure("account = \"contoso\"", &[]),
        ("https://contoso.blob.core.windows.net".into(), managed(None))
    );
    assert_eq!(
        azure("account = \"contoso\"", &[("AZURE_CLIENT_ID", "abc")]).1,
        managed(Some("abc"))
    );
    assert_eq!(
        azure("account = \"contoso\"\nclient_id = \"def\"", &[("AZURE_CLIENT_ID", "abc")]).1,
        managed(Some("def"))
    );
    assert_eq!(azure("account = \"contoso\"\nidentity = \"cli\"", &[]).1, AzureIdentity::Cli);
    let plain = GOOD.replace(
        "folder = \"out\"",
        "container = \"landing\"\nendpoint = \"http://127.0.0.1:10000/x\"",
    );
    refused(
        &plain,
        &[],
        expect![
            "ingest.toml:4: `destination.endpoint` is not `https://…`; an identity's token goes \
            over https only"
        ],
    );
}

#[test]
fn an_identity_is_named_in_one_way_and_an_application_is_proven_in_one() {
    let azure = |lines: &str, environment: &[(&str, &str)]| {
        let text = GOOD.replace(
            "folder = \"out\"",
            &format!("container = \"landing\"\naccount = \"contoso\"\n{lines}"),
        );
        read(&text, environment).map(|config| match config.destination {
            Destination::Azure { account: Account::Identity { identity, .. }, .. } => identity,
            other => panic!("{other:?}"),
        })
    };
    let told = |lines: &str| azure(lines, &[]).map(|_| ()).expect_err("it is refused").to_string();
    let managed = |id: ManagedId| AzureIdentity::Managed { id: Some(id) };
    assert_eq!(
        azure("object_id = \"o\"", &[("AZURE_CLIENT_ID", "abc")]).expect("good"),
        managed(ManagedId::Object("o".into()))
    );
    assert_eq!(
        azure("resource_id = \"/s/r\"", &[]).expect("good"),
        managed(ManagedId::Resource("/s/r".into()))
    );
    assert!(
        told("client_id = \"a\"\nobject_id = \"b\"")
            .contains("`destination.object_id` stands beside another name")
    );
    assert!(told("client_secret = \"s\"").contains("says nothing of the identity \"managed\""));
    let principal = "identity = \"service-principal\"";
    assert!(
        told(principal).contains("`destination.tenant` is missing")
            && told(principal).contains("AZURE_TENANT_ID")
    );
    let of_environment = [
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_CLIENT_SECRET", "s"),
        ("AZURE_AUTHORITY_HOST", "https://login.example"),
    ];
    match azure(principal, &of_environment).expect("good") {
        AzureIdentity::ServicePrincipal(found) => {
            assert_eq!(
                (found.tenant.as_str(), found.client_id.as_str(), found.authority.as_str()),
                ("t", "c", "https://login.example")
            );
            assert!(!format!("{found:?}").contains("\"s\""), "{found:?}");
        }
        other => panic!("{other:?}"),
    }
    let both = format!(
        "{principal}\ntenant = \"t\"\nclient_id = \"c\"\nclient_secret = \
        \"s\"\nclient_certificate_file = \"x.pem\""
    );
    assert!(told(&both).contains("stands beside `client_secret`"));
    assert!(
        told(&format!("{principal}\ntenant = \"t\"\nclient_id = \"c\""))
            .contains("AZURE_CLIENT_CERTIFICATE_PATH")
    );
    assert!(
        told("ca_file = \"nowhere.pem\"")
            .contains("`destination.ca_file` names a file that cannot be read")
    );
}

#[test]
fn another_cloud_s_account_is_told_how_it_is_reached() {
    let account = |name: &str| {
        GOOD.replace("folder = \"out\"", &format!("container = \"$web\"\naccount = \"{name}\""))
    };
    let told =
        |name: &str| read(&account(name), &[]).map(|_| ()).expect_err("it is refused").to_string();
    assert!(
        told("x.blob.core.usgovcloudapi.net")
            .contains("`endpoint = \"https://x.blob.core.usgovcloudapi.net\"`")
    );
    assert!(
        told("AccountKey=secret.canary==").contains("`endpoint` takes a whole URL")
            && !told("AccountKey=secret.canary==").contains("canary")
    );
    // The container of a static site is one, and our state is not for everybody to read.
    let site = account("contoso");
    let told = read(&site, &[]).map(|_| ()).expect_err("it is refused").to_string();
    assert!(told.contains("give our state a place of its own with `[state]`"), "{told}");
    let apart = site.replace("[[source]]", "[state]\ncontainer = \"state\"\n[[source]]");
    assert!(read(&apart, &[]).is_ok());
}

#[test]
fn windows_editors_are_forgiven_their_byte_order_mark_but_not_utf_16() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ingest.toml");
    std::fs::write(&path, [b"\xEF\xBB\xBF", GOOD.replace('\n', "\r\n").as_bytes()].concat())
        .expect("written");
    assert!(load(&path, &Environment::new(), &VaultValues::new()).is_ok());
    std::fs::write(&path, b"\xFF\xFE[\0").expect("written");
    assert!(
        load(&path, &Environment::new(), &VaultValues::new())
            .map(|_| ())
            .expect_err("refused")
            .to_string()
            .contains("UTF-16")
    );
}

#[test]
fn archives_are_read_with_what_the_source_says_of_them() {
    let lines = "archive_password = \"one\"\narchive_passwords = [{ env = \"TWO\" }, \
        \"three\"]\narchive_names = \"Shift_JIS\"\n";
    let config = read(&format!("{GOOD}{lines}"), &[("TWO", "two")]).expect("it is good");
    let options = &config.sources[0].unpacking;
    let passwords: Vec<&str> = options.passwords.iter().map(Secret::reveal).collect();
    assert_eq!(passwords, ["one", "two", "three"]);
    assert!(matches!(options.charset, Charset::Named(encoding) if encoding.name() == "Shift_JIS"));
    let secrets: Vec<&str> = config.secrets.iter().map(Secret::reveal).collect();
    assert!(passwords.iter().all(|password| secrets.contains(password)));
    let config =
        read(&format!("{GOOD}archive_passwords = {{ env = \"TWO\" }}\n"), &[("TWO", "two")])
            .expect("it is good");
    assert_eq!(config.sources[0].unpacking.passwords.len(), 1);
    let error = read(&format!("{GOOD}archive_names = \"shift-jiss\"\n"), &[])
        .map(|_| ())
        .expect_err("it is refused");
    assert!(error.to_string().contains("`shift_jis`"), "{error}");
}

#[test]
fn what_may_be_read_again_is_a_size_or_nothing() {
    let recheck =
        |text: &str| read(&format!("{GOOD}{text}\n"), &[]).map(|config| config.sources[0].recheck);
    assert_eq!(
        (recheck(""), recheck("recheck = \"off\""), recheck("recheck = \"64 MiB\"")),
        (Ok(1 << 30), Ok(0), Ok(64 << 20))
    );
    refused(
        &format!("{GOOD}recheck = \"often\"\n"),
        &[],
        expect![
            "ingest.toml:8: `source.acme.recheck` is \"often\"; allowed is a size with a unit, as \
            \"1 GiB\", or `off`"
        ],
    );
}

#[test]
fn a_source_that_removes_what_another_can_see_is_told_so() {
    let two = |one: &str, other: &str| {
        let source = |name: &str, rest: &str| {
            format!("[[source]]\nname = \"{name}\"\nurl = \"file:///srv/share\"\n{rest}\n")
        };
        let text = format!(
            "[destination]\nfolder = \"out\"\n{}{}",
            source("acme", one),
            source("beta", other)
        );
        let shared = |config: Config| {
            config.sources.into_iter().map(|source| source.shared_with).collect::<Vec<_>>()
        };
        read(&text, &[]).map(shared).expect("it is good")
    };
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(two("after = \"delete\"", "after = \"delete\""), [named("beta"), named("acme")]);
    assert_eq!(two("after = \"delete\"", ""), [named("beta"), None]);
    assert_eq!(two("", ""), [None, None]);
    assert_eq!(
        two("after = \"delete\"\ninclude = [\"a/**\"]", "include = [\"b/**\"]"),
        [None, None]
    );
}

#[test]
fn the_programs_own_folders_inside_a_source_are_left_out() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = dir.path().canonicalize().expect("it is there");
    std::fs::create_dir_all(root.join("share")).expect("it is made");
    let text = format!(
        "[destination]\nfolder = \"share/out\"\n[[source]]\nname = \"acme\"\nurl = \
        \"file://{}/share\"\n",
        root.display()
    );
    std::fs::write(root.join("ingest.toml"), text).expect("it is written");
    let config = load(&root.join("ingest.toml"), &Environment::default(), &VaultValues::new())
        .expect("it is good");
    let out = crate::model::RemotePath::from(format!("{}/share/out", root.display()).as_str());
    assert_eq!(config.sources[0].own_folders, std::slice::from_ref(&out));
    assert!(
        !config.sources[0].patterns.enters(&out)
            && !config.sources[0].patterns.wants(&out.join(b"a"))
    );
}
