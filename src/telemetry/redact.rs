//! Takes known secrets out of everything that is written, however they got there.

use std::io::{self, Write};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde_json::Value;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::model::Secret;

/// Shorter secrets are not looked for: they would be found everywhere.
const SHORTEST: usize = 4;

/// Knows the secrets of the configuration, raw, percent-encoded and in base64. The types that hold
/// secrets never print them; this is the second lock on the same door, for texts of libraries and servers.
#[derive(Clone, Default)]
pub struct Redactor {
    forms: Arc<Vec<Vec<u8>>>,
}

impl Redactor {
    /// Of these secrets.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut forms: Vec<Vec<u8>> = secrets.into_iter().filter(|secret| secret.reveal().len() >= SHORTEST).flat_map(forms).collect();
        // The longest first: a secret may hold another.
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        forms.dedup();
        Self { forms: Arc::new(forms) }
    }

    /// `text` without secrets.
    pub fn text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.bytes(text.as_bytes())).into_owned()
    }

    /// `value` without secrets in its texts. Text by text: in JSON as a whole, a secret that reads like `true`
    /// or like a member's name would take the form apart.
    pub fn json(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(list) => list.into_iter().map(|value| self.json(value)).collect(),
            Value::Object(object) => object.into_iter().map(|(name, value)| (name, self.json(value))).collect(),
            other => other,
        }
    }

    /// `bytes` without secrets.
    pub fn bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut clean = bytes.to_vec();
        for form in self.forms.iter() {
            while let Some(at) = clean.windows(form.len()).position(|window| window == form) {
                clean.splice(at..at + form.len(), *b"***");
            }
        }
        clean
    }

    /// A writer of log lines around another, which `make` opens for a line's level. Each line comes in one piece.
    pub fn around<W, F>(&self, make: F) -> RedactedWriter<F>
    where
        F: Fn(Level) -> W,
        W: Write,
    {
        RedactedWriter { make, redactor: self.clone() }
    }
}

fn forms(secret: &Secret) -> Vec<Vec<u8>> {
    let raw = secret.reveal();
    // Encoders differ in what they keep and in how they write hex digits.
    let kept = ["", "-_.~", "-_.~!$&'()*+,;=:@/"];
    let escaped = kept.iter().flat_map(|kept| [escaped(raw, kept, true), escaped(raw, kept, false)]);
    let mut all: Vec<String> = vec![raw.to_owned(), STANDARD.encode(raw), STANDARD_NO_PAD.encode(raw), URL_SAFE_NO_PAD.encode(raw)];
    all.extend(escaped);
    // In JSON and in debug output quotes, backslashes and line ends are escaped.
    all.push(raw.escape_debug().to_string());
    all.push(raw.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\r', "\\r"));
    all.retain(|form| form.len() >= SHORTEST);
    all.sort_unstable();
    all.dedup();
    all.into_iter().map(String::into_bytes).collect()
}

fn escaped(raw: &str, kept: &str, upper: bool) -> String {
    let one = |byte: u8| match byte {
        _ if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) => char::from(byte).to_string(),
        _ if upper => format!("%{byte:02X}"),
        _ => format!("%{byte:02x}"),
    };
    raw.bytes().map(one).collect()
}

/// See [`Redactor::around`].
pub struct RedactedWriter<F> {
    make: F,
    redactor: Redactor,
}

impl<'a, F, W> MakeWriter<'a> for RedactedWriter<F>
where
    F: Fn(Level) -> W,
    W: Write,
{
    type Writer = Redacted<W>;
    fn make_writer(&'a self) -> Self::Writer {
        self.for_level(Level::INFO)
    }
    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        self.for_level(*metadata.level())
    }
}

impl<F> RedactedWriter<F> {
    fn for_level<W: Write>(&self, level: Level) -> Redacted<W>
    where
        F: Fn(Level) -> W,
    {
        Redacted { inner: (self.make)(level), redactor: self.redactor.clone(), line: Vec::new() }
    }
}

/// Collects a line, and hands it on clean when it is dropped.
pub struct Redacted<W: Write> {
    inner: W,
    redactor: Redactor,
    line: Vec<u8>,
}

impl<W: Write> Write for Redacted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Drop for Redacted<W> {
    fn drop(&mut self) {
        // A console that is gone or a full disk must not stop the work; there is nowhere left to tell.
        drop(self.inner.write_all(&self.redactor.bytes(&self.line)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_secret_is_taken_out() {
        let redactor = Redactor::new([&Secret::new("p@ss:w/rd#%")]);
        for form in ["p@ss:w/rd#%", "p%40ss%3Aw%2Frd%23%25", "p%40ss%3aw%2frd%23%25", "cEBzczp3L3JkIyU=", "cEBzczp3L3JkIyU", "p@ss:w/rd%23%25"] {
            assert_eq!(redactor.text(&format!("before {form} after")), "before *** after", "{form}");
        }
        assert_eq!(redactor.text("nothing here"), "nothing here");
    }

    #[test]
    fn a_short_secret_does_not_eat_the_log() {
        assert_eq!(Redactor::new([&Secret::new("a")]).text("a cat"), "a cat");
    }
}
