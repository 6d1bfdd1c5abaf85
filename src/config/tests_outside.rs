//! What a source names and cannot be had, as a key's file: it concerns that source alone.

use super::tests::{GOOD, read};

#[test]
fn what_cannot_be_had_for_one_source_concerns_that_source_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let garbage = folder.path().join("garbage.pem");
    std::fs::write(&garbage, "no key at all\n").expect("it is written");
    let (garbage, gone) = (garbage.display(), "/no/such/file");
    let (sftp, ftps) = ("url = \"sftp://u@example.org/\"", "url = \"ftpes://u@example.org/\"");
    let reference = "@Microsoft.KeyVault(SecretUri=https://v.example/secrets/n)";
    let environment = [("WRONG", "hunter2hunter2"), ("EMPTY", ""), ("VAULT", reference)];
    for (settings, key) in [
        (format!("{sftp}\nprivate_key_file = \"{gone}\""), "private_key_file"),
        (format!("{sftp}\nprivate_key_file = \"{garbage}\""), "private_key_file"),
        (format!("{sftp}\nprivate_key = {{ env = \"WRONG\" }}"), "private_key"),
        (format!("{sftp}\npassword = \"p\"\nknown_hosts = \"{gone}\""), "known_hosts"),
        (format!("{sftp}\npassword = {{ env = \"VAULT\" }}"), "password"),
        (format!("{ftps}\npassword = \"p\"\ntls_ca_file = \"{gone}\""), "tls_ca_file"),
        (format!("{ftps}\npassword = \"p\"\ntls_ca_file = \"{garbage}\""), "tls_ca_file"),
        (
            format!(
                "{ftps}\npassword = \"p\"\ntls_client_certificate_file = \"{gone}\"\n\
                 tls_client_key_file = \"{gone}\""
            ),
            "tls_client_certificate_file",
        ),
        ("url = { env = \"NOWHERE\" }".into(), "url"),
        ("url = { env = \"EMPTY\" }\npassword = \"p\"".into(), "url"),
        ("url = { env = \"WRONG\" }\npassword = \"p\"\ndepth = 3".into(), "url"),
        (
            "url = \"file:///x\"\narchive_passwords = [{ env = \"NOWHERE\" }]".into(),
            "archive_passwords",
        ),
        (
            "url = \"file:///x\"\n[[source.expect]]\nname = \"x\"\nby = { env = \"NOWHERE\" }"
                .into(),
            "expect",
        ),
        (
            format!(
                "url = \"file:///x\"\n[[source.expect]]\nname = \"x\"\nby = \"07:00\"\n\
                 except_file = \"{gone}\""
            ),
            "except_file",
        ),
    ] {
        let text = format!("{GOOD}[[source]]\nname = \"bad\"\n{settings}\n");
        let config =
            read(&text, &environment).unwrap_or_else(|error| panic!("{settings}: {error}"));
        let [good, bad] = config.sources.as_slice() else { panic!("two sources") };
        assert_eq!((good.unusable.as_ref(), bad.name.as_str()), (None, "bad"), "{settings}");
        let said = bad.unusable.as_deref().unwrap_or_default();
        assert!(said.contains("source.bad.") && said.contains(key), "{settings}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
        let is_secret = config.secrets.iter().any(|secret| secret.reveal() == "hunter2hunter2");
        assert_eq!(is_secret, settings.contains("WRONG"), "{settings}");
    }
    let text = format!("{GOOD}[[source]]\nname = \"bad\"\n{sftp}\npassword = \"p\"\n");
    let config = read(&text, &[("BLOBFERRY__SOURCE__BAD__PASSWORD", reference)]).expect("read");
    let said = config.sources[1].unusable.as_deref().unwrap_or_default();
    assert!(said.contains("`source.bad.password`") && said.contains("Key Vault"), "{said}");
}

#[test]
fn what_is_wrong_in_the_file_itself_is_refused_however_much_else_cannot_be_had() {
    for settings in [
        "url = \"sftp://u@example.org/\"\nhost_key = \"SHA256:short\"\npassword = \"p\"",
        "url = \"sftp://u@example.org/\"\nprivate_key_file = \"/no\"\nprivate_key = \"x\"",
        "url = \"sftp://u@example.org/\"\nprivate_key_file = \"/no\"\nconnections = \"x\"",
        "url = { env = \"NOWHERE\" }\nname = { env = \"NOWHERE\" }",
        "password = { env = \"NOWHERE\" }",
    ] {
        let text = format!("{GOOD}[[source]]\nname = \"bad\"\n{settings}\n");
        assert!(read(&text, &[]).is_err(), "{settings}");
    }
}
