//! Values of settings: what is understood, and what is told of the rest.

use super::*;

const KEYS: &[SettingKey] = &[
    SettingKey { name: "password", kind: ValueKind::Secret, doc: "" },
    SettingKey { name: "connections", kind: ValueKind::Integer { min: 1, max: 64 }, doc: "" },
    SettingKey { name: "memory", kind: ValueKind::Size, doc: "" },
];

fn section(key: &str, value: Value) -> Result<Section, SettingError> {
    let entry = SettingEntry { value, line: Some(7), origin: None, file: None };
    Section::new(
        "ingest.toml",
        "source.acme",
        5,
        BTreeMap::from([(key.to_owned(), entry)]),
        KEYS.to_vec(),
    )
}

#[test]
fn a_typo_is_answered_with_the_key_that_was_meant() {
    let error =
        section("pasword", Value::Text("x".into())).map(|_| ()).map_err(|error| error.to_string());
    assert_eq!(
        error,
        Err("ingest.toml:7: `source.acme.pasword` is not a setting of this \
        section; did you mean `password`?"
            .into())
    );
}

#[test]
fn an_error_names_line_key_found_and_allowed_but_no_secret() {
    let error = section("connections", Value::Integer(0))
        .and_then(|s| s.integer("connections"))
        .map_err(|error| error.to_string());
    assert_eq!(
        error,
        Err("ingest.toml:7: `source.acme.connections` is 0; allowed is a whole \
        number from 1 to 64"
            .into())
    );
    let error = section("password", Value::Integer(1234))
        .and_then(|s| s.secret("password"))
        .map_err(|error| error.to_string());
    assert_eq!(
        error,
        Err("ingest.toml:7: `source.acme.password` is a value of another kind; \
        allowed is a text in quotes"
            .into())
    );
}

#[test]
fn sizes_and_durations_need_units() {
    assert_eq!(parse_size("64 MiB"), Some(64 << 20));
    assert_eq!(parse_size("10GB"), Some(10_000_000_000));
    assert_eq!(
        (parse_size("64"), parse_size("-1 MiB"), parse_size("99999999999 TiB")),
        (None, None, None)
    );
    assert_eq!(parse_duration("90s"), Some(Duration::from_secs(90)));
    assert_eq!((parse_duration("90"), parse_duration("9999999d")), (None, None));
}

#[test]
fn urls_come_apart_byte_by_byte() {
    let url = SourceUrl::parse("sftp://in%40gest:p%40ss%3Aw%2Frd%23%25@[::1]:2222/out%E9/a b")
        .expect("it parses");
    assert_eq!(
        (url.scheme.as_str(), url.user.as_deref(), url.host.as_str(), url.port),
        ("sftp", Some("in@gest"), "::1", Some(2222))
    );
    assert_eq!(url.password.as_ref().map(Secret::reveal), Some("p@ss:w/rd#%"));
    assert_eq!(url.root.as_bytes(), b"/out\xe9/a b");
}

#[test]
fn ambiguous_urls_are_refused_without_being_repeated() {
    for bad in [
        "sftp://u:p@ss@h/",
        "sftp://u:p/w@h/",
        "sftp://u:p#w@h/",
        "sftp://u:100%@h/",
        "host/path",
        "ftp://h:99999/",
    ] {
        let error = SourceUrl::parse(bad).map(|_| ()).expect_err(bad);
        assert!(!error.contains(bad), "{error}");
    }
}
