//! `[defaults]`: settings that sources have unless they set them.

use std::collections::BTreeMap;

use crate::config::keys;
use crate::config::text::{DEFAULTS, RawSection};
use crate::settings::{Section, SettingError, SettingKey, SourceUrl, Value};
use crate::source::DRIVERS;

/// What each source must say itself.
const OWN: &[&str] = &["name", "url"];
/// Settings that mean the same in two ways: a source that says one has no default of the others.
const EITHER: &[&[&str]] = &[
    &["every", "cron"],
    &["destination", "container"],
    &["private_key", "private_key_file"],
    &["host_key", "known_hosts"],
    &["certificate", "certificate_file"],
    &["jump_private_key", "jump_private_key_file"],
    &["jump_host_key", "jump_known_hosts"],
    &["tls_ca_file", "tls_pin"],
    &["tls_client_certificate", "tls_client_certificate_file"],
    &["tls_client_key", "tls_client_key_file"],
];

/// The settings that may stand there: those of all protocols.
pub(crate) fn default_keys() -> Vec<SettingKey> {
    let own = DRIVERS.iter().flat_map(|driver| driver.keys);
    let all = keys::SOURCE.iter().chain(own).copied();
    let mut all: Vec<SettingKey> = all.filter(|key| !OWN.contains(&key.name)).collect();
    all.sort_by_key(|key| key.name);
    all.dedup_by_key(|key| key.name);
    all
}

/// Takes out of `defaults` what no source could use, and returns why: so that it is told once and
/// not for each source.
pub(crate) fn sift(defaults: &mut RawSection) -> Vec<SettingError> {
    let known = default_keys();
    let mut errors = Vec::new();
    for (name, entry) in std::mem::take(&mut defaults.entries) {
        let is_own = OWN.contains(&name.as_str());
        let keys = if is_own { keys::SOURCE.to_vec() } else { known.clone() };
        let entries = BTreeMap::from([(name.clone(), entry.clone())]);
        let faults = match Section::new(&defaults.file, DEFAULTS, defaults.line, entries, keys) {
            Err(error) => vec![error],
            Ok(section) if is_own => {
                vec![section.error(&name, "is each source's own; it has no default")]
            }
            Ok(section) => section.misfits(),
        };
        if faults.is_empty() {
            defaults.entries.insert(name, entry);
        }
        errors.extend(faults);
    }
    errors
}

/// Gives `source` what it does not set itself, as far as its protocol knows it.
pub(crate) fn apply(defaults: &RawSection, source: &mut RawSection) {
    let url = match source.entries.get("url").map(|entry| &entry.value) {
        Some(Value::Text(text)) => SourceUrl::parse(text).ok(),
        _ => None,
    };
    let scheme = url.as_ref().map_or("", |url| url.scheme.as_str());
    let driver = DRIVERS.iter().find(|driver| driver.schemes.contains(&scheme));
    let known = keys::SOURCE.iter().chain(driver.map_or(&[][..], |driver| driver.keys));
    let known: Vec<&str> = known.map(|key| key.name).collect();
    let says = |key: &str| {
        source.entries.contains_key(key) || source.missing.iter().any(|(name, _)| name == key)
    };
    let in_url = |key: &str| match (key, &url) {
        ("user", Some(url)) => url.user.is_some(),
        ("password", Some(url)) => url.password.is_some(),
        // The scheme says it.
        ("tls", Some(_)) => scheme != "ftp",
        _ => false,
    };
    // Where they would be of no use, some settings are refused.
    let has = |key: &str| says(key) || defaults.entries.contains_key(key);
    let is_plain = scheme == "ftp" && !has("tls");
    let is_of_use = |key: &str| match key {
        "passphrase" => has("private_key") || has("private_key_file"),
        _ => !(is_plain && key.starts_with("tls_")),
    };
    let is_wanted = |key: &str| {
        let either = EITHER.iter().filter(|group| group.contains(&key)).copied().flatten();
        known.contains(&key)
            && is_of_use(key)
            && !says(key)
            && !in_url(key)
            && !either.copied().any(says)
    };
    let entries = defaults.entries.iter().filter(|(key, _)| is_wanted(key));
    let entries: Vec<_> = entries
        .map(|(key, entry)| {
            let mut entry = entry.clone();
            entry.file.get_or_insert_with(|| defaults.file.clone());
            (key.clone(), entry)
        })
        .collect();
    let missing = defaults.missing.iter().filter(|(key, _)| is_wanted(key));
    let missing: Vec<_> = missing.cloned().collect();
    source.entries.extend(entries);
    source.missing.extend(missing);
}
