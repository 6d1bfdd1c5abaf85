//! The version of stored state. State of a later version is refused by name, never guessed at.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

/// The version of all that this release stores: 1 was release 0.1.
///
/// JSON of ours carries the version in its member `schema`. Blobs of the ledger count on their own
/// (`ledger::error::SCHEMA`), since release 0.1 compares that number with 2.
pub const VERSION: u32 = 2;

/// The member of a JSON object that holds its version.
pub(crate) const MEMBER: &str = "schema";

/// Stored state that a later release wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{blob}` was written by a later release (schema {found}, this one knows {VERSION}): run that \
    release, or a later one"
)]
pub struct LaterVersion {
    /// The blob's name.
    pub blob: String,
    /// Its version.
    pub found: u64,
}

/// The JSON `bytes` without all but its version.
pub(crate) fn member(bytes: &[u8]) -> serde_json::Result<Value> {
    struct VersionAlone;
    impl<'de> Visitor<'de> for VersionAlone {
        type Value = Value;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("JSON")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
            let mut found = Map::new();
            while let Some(name) = members.next_key::<Cow<'de, str>>()? {
                match name.as_ref() {
                    MEMBER => drop(found.insert(name.into_owned(), members.next_value()?)),
                    _ => drop(members.next_value::<IgnoredAny>()?),
                }
            }
            Ok(found.into())
        }
    }
    let is_object = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    if !is_object {
        return serde_json::from_slice(bytes);
    }
    serde_json::Deserializer::from_slice(bytes).deserialize_map(VersionAlone)
}

/// Refuses `value`, the content of `blob`, if a later release wrote it. JSON without a version is
/// of release 0.1.
pub(crate) fn check(blob: &str, value: &Value) -> Result<(), LaterVersion> {
    match value.get(MEMBER).and_then(Value::as_u64).filter(|found| *found > u64::from(VERSION)) {
        Some(found) => Err(LaterVersion { blob: blob.to_owned(), found }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn state_of_a_later_release_is_refused_by_name() {
        let later = check("_blobferry/x", &json!({ "schema": VERSION + 1 })).expect_err("refused");
        assert_eq!(
            later.to_string(),
            "`_blobferry/x` was written by a later release (schema 3, this one knows 2): run that \
            release, or a later one"
        );
        for text in [r#"{"a":[{"schema":9}],"schema":3}"#, " {\"schema\": 3, \"a\": \"\\u0041\"}"] {
            let read = member(text.as_bytes()).expect("JSON");
            assert_eq!(read, json!({ "schema": 3 }), "{text}");
        }
        assert_eq!(member(b"[3]").ok(), Some(json!([3])));
        assert!(member(b"{\"schema\":3").is_err());
        for known in [json!({}), json!({ "schema": 1 }), json!({ "schema": VERSION }), json!([3])] {
            assert_eq!(check("x", &known), Ok(()));
        }
    }
}
