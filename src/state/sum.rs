//! The checksum that JSON of ours carries in itself, where no other blob names it. Pure.

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::model::hex;

/// The member that holds it.
const SUM: &str = "sha256";

/// SHA-256 of bytes, in hex.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The checksum of a value, in whatever order members of objects stand.
fn of(value: &Value) -> String {
    let mut text = String::new();
    write(value, &mut text);
    sha256(text.as_bytes())
}

fn write(value: &Value, text: &mut String) {
    match value {
        Value::Object(object) => {
            let mut members: Vec<(&String, &Value)> = object.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            text.push('{');
            for (name, value) in members {
                text.push_str(&Value::from(name.as_str()).to_string());
                write(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                write(item, text);
                text.push(',');
            }
            text.push(']');
        }
        other => text.push_str(&other.to_string()),
    }
}

/// Adds to an object the checksum of all that it holds.
pub(crate) fn seal(value: &mut Value) {
    let sum = of(value);
    if let Value::Object(object) = value {
        object.insert(SUM.to_owned(), sum.into());
    }
}

/// Whether an object is as it was sealed; `None`: it bears no checksum.
pub fn holds(mut value: Value) -> Option<bool> {
    let told = value.as_object_mut()?.remove(SUM)?;
    Some(told.as_str() == Some(&of(&value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_bit_of_a_sealed_object_is_guarded() {
        let mut value =
            json!({ "id": "r", "sources": [{ "source": "acme", "listed": 3 }], "n": null });
        assert_eq!(holds(value.clone()), None);
        seal(&mut value);
        let bytes = serde_json::to_vec_pretty(&value).expect("a value is JSON");
        let read = |bytes: &[u8]| serde_json::from_slice(bytes).ok().and_then(holds);
        assert_eq!(read(&bytes), Some(true));
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << bit;
                assert_ne!(read(&flipped), Some(true), "bit {bit} of byte {at}");
            }
            assert_ne!(read(&bytes[..at]), Some(true));
        }
    }
}
