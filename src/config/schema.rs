//! The JSON Schema of the configuration file, made from the same tables that read it.

use serde_json::{Map, Value, json};

use crate::config::{defaults, expect, keys, servers, tables};
use crate::settings::{SettingKey, ValueKind};
use crate::source::DRIVERS;

/// The schema, draft 2020-12.
pub fn schema() -> Value {
    let driver_keys = DRIVERS.iter().flat_map(|driver| driver.keys);
    let mut source_keys: Vec<SettingKey> =
        keys::SOURCE.iter().chain(driver_keys).copied().collect();
    source_keys.sort_by_key(|key| key.name);
    source_keys.dedup_by_key(|key| key.name);
    let tables = tables::TABLES.iter().map(|one| (one.name.to_owned(), table(one.keys, &[])));
    let mut properties: Map<String, Value> = tables.collect();
    properties.extend(tables::TOP.iter().map(|key| (key.name.to_owned(), property(key))));
    let mut source = table(&source_keys, &["name", "url"]);
    let expected = json!({ "type": "array", "items": table(expect::KEYS, &["name"]) });
    source["properties"]["expect"] = expected;
    properties
        .insert("source".to_owned(), json!({ "type": "array", "minItems": 1, "items": source }));
    properties.insert("defaults".to_owned(), table(&defaults::default_keys(), &[]));
    let server = table(servers::KEYS, &["host", "connections"]);
    properties.insert("server".to_owned(), json!({ "type": "array", "items": server }));
    let named = table(keys::DESTINATION, &[]);
    let named = json!({
        "type": "object", "description": tables::DESTINATIONS, "additionalProperties": named,
    });
    properties.insert("destinations".to_owned(), named);
    let text = json!({ "type": "string", "minLength": 1 });
    let list = json!({ "type": "array", "items": text });
    properties.insert(
        "include".to_owned(),
        json!({ "description": tables::INCLUDE, "anyOf": [text, list] }),
    );
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "blobferry configuration (ingest.toml)",
        "type": "object",
        "additionalProperties": false,
        "required": ["destination"],
        "anyOf": [{ "required": ["source"] }, { "required": ["include"] }],
        "properties": properties,
    })
}

fn table(keys: &[SettingKey], required: &[&str]) -> Value {
    let mut properties = Map::new();
    for key in keys {
        match key.name.split_once('.') {
            None => properties.insert(key.name.to_owned(), property(key)),
            // A table in this table.
            Some((inner, _)) if properties.contains_key(inner) => None,
            Some((inner, _)) => {
                properties.insert(inner.to_owned(), table(&below(keys, inner), &[]))
            }
        };
    }
    json!({ "type": "object", "additionalProperties": false, "properties": properties,
        "required": required })
}

/// The settings of the table `name` in the table that has `keys`.
fn below(keys: &[SettingKey], name: &str) -> Vec<SettingKey> {
    let inner = |key: &SettingKey| {
        Some(SettingKey { name: key.name.strip_prefix(name)?.strip_prefix('.')?, ..*key })
    };
    keys.iter().filter_map(inner).collect()
}

fn property(key: &SettingKey) -> Value {
    // A table of texts may hold one that is called `env`.
    if key.kind == ValueKind::Pairs {
        return json!({ "description": key.doc, "anyOf": [literal(key.kind)] });
    }
    json!({ "description": key.doc, "anyOf": [literal(key.kind), from_outside()] })
}

/// A value that is read from the environment or from a key vault.
fn from_outside() -> Value {
    let table = |key: &str, text: Value| {
        json!({
            "type": "object", "additionalProperties": false, "required": [key],
            "properties": { key: text },
        })
    };
    json!({ "anyOf": [
        table("env", json!({ "type": "string", "minLength": 1 })),
        table("keyvault", json!({
            "type": "string", "pattern": "^https://[^/]+/secrets/[0-9A-Za-z-]+",
        })),
    ] })
}

fn literal(kind: ValueKind) -> Value {
    match kind {
        ValueKind::Text | ValueKind::Secret => json!({ "type": "string", "minLength": 1 }),
        ValueKind::Integer { min, max } => {
            json!({ "type": "integer", "minimum": min, "maximum": max })
        }
        ValueKind::Size => {
            json!({ "type": "string", "pattern": "^\\s*[0-9]+\\s*(B|[KMGT]iB|[kKMGT]B)$" })
        }
        ValueKind::Duration => {
            json!({ "type": "string", "pattern": "^\\s*[0-9]+\\s*(ms|s|m|min|h|d)$" })
        }
        ValueKind::Flag => json!({ "type": "boolean" }),
        ValueKind::Pairs => {
            let text = json!({ "anyOf": [{ "type": "string" }, from_outside()] });
            json!({ "type": "object", "additionalProperties": text })
        }
        ValueKind::OneOf(words) => json!({ "enum": words }),
        ValueKind::List | ValueKind::Secrets => {
            let mut items = vec![json!({ "type": "string" }), from_outside()];
            if kind == ValueKind::Secrets {
                items.push(json!({
                    "type": "object", "additionalProperties": false,
                    "required": ["files", "password"],
                    "properties": {
                        "files": { "type": "string", "minLength": 1 },
                        "password": { "anyOf": [{ "type": "string", "minLength": 1 },
                            from_outside()] },
                    },
                }));
            }
            let item = json!({ "anyOf": items });
            json!({ "anyOf": [{ "type": "string", "minLength": 1 },
                { "type": "array", "items": item }] })
        }
    }
}
