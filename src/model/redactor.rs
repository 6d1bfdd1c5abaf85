//! The one `Redactor`: takes known secrets out of every text that is stored, printed or sent.
//!
//! The types that hold secrets never print them. The redactor is the second lock on the same door:
//! servers, proxies and libraries repeat secrets in their own words, and in many spellings.
//!
//! - A secret of 8 bytes or more is looked for in every spelling of `spellings`, anywhere in a
//!   text.
//! - A shorter secret would be found inside ordinary words. It is looked for as a whole token of a
//!   peer's text ([`Redactor::text`]), never in names and paths ([`Redactor::name`]).
//! - A text that was cut off in the middle of a secret ends with a piece of it: 8 bytes of it or
//!   more are removed too.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::Value;

use super::secret::Secret;
use super::text::{hex, printable};

/// Spellings of at least so many bytes are looked for anywhere; shorter ones as whole tokens.
const LONG: usize = 8;
/// Secrets shorter than this are not looked for: they are words of every language.
const SHORTEST: usize = 3;
/// What stands for a secret.
const STARS: &str = "***";

/// Members of JSON objects that hold a peer's words.
const TEXTS: &[&str] = &["message", "notes", "unparsed_samples", "error", "cause", "text", "hint"];
/// Members of JSON objects that hold words of ours, or bytes that must stay what they are: lines
/// that were redacted one by one, and the files of a piece of work.
const VERBATIM: &[&str] = &[
    "status",
    "outcome",
    "class",
    "reason",
    "precision",
    "trigger",
    "why",
    "state",
    "t",
    "task",
    "lines",
    "rest",
];

/// Knows the secrets of a configuration. Cloning it copies nothing, and clones learn together.
#[derive(Clone, Default)]
pub struct Redactor {
    known: Arc<RwLock<Arc<KnownSecrets>>>,
}

#[derive(Default)]
struct KnownSecrets {
    secrets: Vec<Secret>,
    long: Option<AhoCorasick>,
    short: Option<AhoCorasick>,
    /// Long spellings by their first bytes.
    beginnings: HashMap<[u8; LONG], Vec<Vec<u8>>>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redactor").field("known", &self.known()).finish()
    }
}

impl std::fmt::Debug for KnownSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.secrets.len())
    }
}

impl Redactor {
    /// Knows these secrets.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut secrets: Vec<Secret> = secrets.into_iter().cloned().collect();
        secrets.retain(|secret| secret.reveal().len() >= SHORTEST);
        secrets.sort_by(|a, b| a.reveal().cmp(b.reveal()));
        secrets.dedup();
        Self { known: Arc::new(RwLock::new(Arc::new(KnownSecrets::of(secrets)))) }
    }

    /// The same, and `more` secrets.
    pub fn and<'a>(&self, more: impl IntoIterator<Item = &'a Secret>) -> Self {
        let mut all = self.known().secrets.clone();
        all.extend(more.into_iter().cloned());
        Self::new(&all)
    }

    /// Knows `more` secrets from now on, and so do its clones.
    pub(crate) fn learn<'a>(&self, more: impl IntoIterator<Item = &'a Secret>) {
        let learnt = self.and(more).known();
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = learnt;
    }

    fn known(&self) -> Arc<KnownSecrets> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A text in a peer's words, without secrets.
    pub fn text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.bytes(text.as_bytes())).into_owned()
    }

    /// As [`Redactor::text`], of bytes.
    pub fn bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let whole = self.anywhere(bytes);
        self.tokens(self.pieces(whole))
    }

    /// A name or a path, without secrets of 8 bytes or more.
    pub fn name(&self, name: &str) -> String {
        String::from_utf8_lossy(&self.anywhere(name.as_bytes())).into_owned()
    }

    /// `value` without secrets in its texts. Text by text: in JSON as a whole, a secret that reads
    /// like `true` or like a member's name would take the form apart. What a member holds is told
    /// by its name.
    pub fn json(&self, value: Value) -> Value {
        self.member("", value)
    }

    fn member(&self, name: &str, value: Value) -> Value {
        match value {
            Value::String(text) if TEXTS.contains(&name) => Value::String(self.text(&text)),
            Value::String(text) if VERBATIM.contains(&name) => Value::String(text),
            Value::String(text) => Value::String(self.name(&text)),
            Value::Array(list) => list.into_iter().map(|value| self.member(name, value)).collect(),
            Value::Object(object) => object
                .into_iter()
                .map(|(name, value)| (name.clone(), self.member(&name, value)))
                .collect(),
            other => other,
        }
    }

    fn anywhere(&self, bytes: &[u8]) -> Vec<u8> {
        match &self.known().long {
            Some(long) => long.replace_all_bytes(bytes, &vec![STARS; long.patterns_len()]),
            None => bytes.to_vec(),
        }
    }

    /// Removes pieces of secrets that the end of a text, or of a quoted text in it, cuts off.
    fn pieces(&self, bytes: Vec<u8>) -> Vec<u8> {
        let known = self.known();
        if known.beginnings.is_empty() || bytes.len() < LONG {
            return bytes;
        }
        let (mut clean, mut done) = (Vec::with_capacity(bytes.len()), 0);
        for at in 0..=bytes.len() - LONG {
            let piece = known.piece(&bytes[at..]);
            if at >= done && piece >= LONG && ends_text(&bytes[at + piece..]) {
                clean.extend_from_slice(&bytes[done..at]);
                clean.extend_from_slice(STARS.as_bytes());
                done = at + piece;
            }
        }
        clean.extend_from_slice(&bytes[done..]);
        clean
    }

    fn tokens(&self, bytes: Vec<u8>) -> Vec<u8> {
        let known = self.known();
        let Some(short) = &known.short else { return bytes };
        let mut clean = Vec::with_capacity(bytes.len());
        let mut done = 0;
        for found in short.find_iter(&bytes) {
            if ends_token(bytes[..found.start()].last()) && begins_nothing(&bytes[found.end()..]) {
                clean.extend_from_slice(&bytes[done..found.start()]);
                clean.extend_from_slice(STARS.as_bytes());
                done = found.end();
            }
        }
        clean.extend_from_slice(&bytes[done..]);
        clean
    }
}

impl KnownSecrets {
    fn of(secrets: Vec<Secret>) -> Self {
        let mut all: Vec<Vec<u8>> =
            secrets.iter().flat_map(spellings).map(String::into_bytes).collect();
        all.sort_unstable();
        all.dedup();
        let (long, short): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|spelling| spelling.len() >= LONG);
        let mut beginnings: HashMap<[u8; LONG], Vec<Vec<u8>>> = HashMap::new();
        for spelling in &long {
            let beginning: [u8; LONG] =
                spelling[..LONG].try_into().expect("long spellings have so many bytes");
            beginnings.entry(beginning).or_default().push(spelling.clone());
        }
        Self { secrets, long: matcher(&long), short: matcher(&short), beginnings }
    }

    /// How many bytes of a secret's beginning `bytes` begin with; 0 if fewer than [`LONG`].
    fn piece(&self, bytes: &[u8]) -> usize {
        let beginning: &[u8; LONG] = bytes[..LONG].try_into().expect("so many bytes");
        let Some(spellings) = self.beginnings.get(beginning) else { return 0 };
        let shared =
            |spelling: &Vec<u8>| spelling.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        spellings.iter().map(shared).max().unwrap_or(0)
    }
}

/// The longest match counts, since a secret may hold another. Of the automata the smallest: a key
/// has some forty spellings of thousands of bytes, and as a DFA each byte is a row of a table.
fn matcher(spellings: &[Vec<u8>]) -> Option<AhoCorasick> {
    if spellings.is_empty() {
        return None;
    }
    let automaton = AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .kind(Some(AhoCorasickKind::ContiguousNFA))
        .build(spellings);
    Some(automaton.expect("secrets of a configuration are far from the limits of an automaton"))
}

/// Every spelling of a secret that is looked for: as it is, percent-encoded, in base64 (by itself
/// and inside of more), in hexadecimal digits, as JSON, debug output, HTML and our own log lines
/// escape it.
fn spellings(secret: &Secret) -> Vec<String> {
    let raw = secret.reveal();
    // Encoders differ in the characters that they keep and in how they write hexadecimal digits.
    let kept = ["", "-_.~", "-_.~/", "-_.~!$&'()*+,;=:@/"];
    let encoded =
        kept.iter().flat_map(|kept| [encoded(raw, kept, true), encoded(raw, kept, false)]);
    let mut all: Vec<String> = encoded.collect();
    all.extend(all.clone().into_iter().map(|spelling| spelling.replace("%20", "+")));
    all.extend([
        STANDARD.encode(raw),
        STANDARD_NO_PAD.encode(raw),
        URL_SAFE.encode(raw),
        URL_SAFE_NO_PAD.encode(raw),
    ]);
    all.extend(inside_base64(raw.as_bytes()));
    let digits = hex(raw.as_bytes());
    all.extend([digits.to_uppercase(), digits]);
    all.push(raw.escape_debug().to_string());
    all.push(in_json(raw));
    all.push(
        raw.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&#39;"),
    );
    all.push(printable(raw.as_bytes()));
    all.push(raw.to_owned());
    // In a log line of JSON, what a peer has escaped is escaped once more.
    all.extend(
        all.iter()
            .filter(|text| text.contains(['\\', '"']))
            .map(|text| in_json(text))
            .collect::<Vec<_>>(),
    );
    all.retain(|spelling| spelling.len() >= SHORTEST);
    all
}

/// A text as it stands between the quotes of JSON.
fn in_json(text: &str) -> String {
    let quoted = serde_json::to_string(text).expect("a text is JSON");
    quoted[1..quoted.len() - 1].to_owned()
}

fn encoded(raw: &str, kept: &str, upper: bool) -> String {
    let one = |byte: u8| match byte {
        _ if byte.is_ascii_alphanumeric() || kept.as_bytes().contains(&byte) => {
            char::from(byte).to_string()
        }
        _ if upper => format!("%{byte:02X}"),
        _ => format!("%{byte:02x}"),
    };
    raw.bytes().map(one).collect()
}

/// What base64 of a longer text that holds `raw`, as `user:password`, shows of `raw` alone: one
/// spelling for each of the three ways in which three bytes can be aligned. Only spellings of
/// [`LONG`] characters or more.
fn inside_base64(raw: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    for before in 0..3_usize {
        let padded = [&vec![0; before][..], raw].concat();
        // Characters that no byte before or after `raw` has a part in.
        let (first, last) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
        for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
            let text = engine.encode(&padded);
            all.extend(
                text.get(first..last).filter(|inside| inside.len() >= LONG).map(str::to_owned),
            );
        }
    }
    all
}

/// Whether a text, or a quoted text, ends before `rest`.
fn ends_text(rest: &[u8]) -> bool {
    matches!(rest.first(), None | Some(b'"' | b'\n'))
        || rest.starts_with("…".as_bytes())
        || rest.starts_with(b"...")
}

/// Whether a token may begin after `before`.
fn ends_token(before: Option<&u8>) -> bool {
    before.is_none_or(|byte| byte.is_ascii_whitespace() || b"\"'`()[]{}<>=:,;|&?!@".contains(byte))
}

/// Whether a token ends before `rest`. A full stop ends a sentence only where nothing stands right
/// behind it.
fn begins_nothing(rest: &[u8]) -> bool {
    match rest {
        [b'.', after @ ..] => ends_token(after.first()),
        _ => ends_token(rest.first()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const PASSWORD: &str = "p@ss:w/rd#%\"\\é x";

    #[test]
    fn what_one_learns_its_clones_know() {
        let redactor = Redactor::new([&Secret::new("canary-one")]);
        let clone = redactor.clone();
        redactor.learn([&Secret::new("canary-two")]);
        check(&clone, "canary-one canary-two canary-three", "*** *** canary-three");
    }

    fn check(redactor: &Redactor, text: &str, expected: &str) {
        assert_eq!(redactor.text(text), expected, "{text}");
    }

    #[test]
    fn every_spelling_of_a_secret_is_taken_out() {
        let redactor = Redactor::new([&Secret::new(PASSWORD)]);
        let percent = "p%40ss%3Aw%2Frd%23%25%22%5C%C3%A9%20x";
        let base64 = STANDARD.encode(PASSWORD);
        let basic = STANDARD.encode(format!("user:{PASSWORD}"));
        let json = serde_json::to_string(PASSWORD).expect("JSON");
        for form in
            [PASSWORD, percent, &percent.to_lowercase(), &percent.replace("%20", "+"), &base64]
        {
            check(&redactor, &format!("before {form} after"), "before *** after");
        }
        check(&redactor, &format!("{{\"a\":{json}}}"), "{\"a\":\"***\"}");
        check(&redactor, &format!("{PASSWORD:?}"), "\"***\"");
        let told = redactor.text(&format!("Basic {basic}"));
        assert!(told.contains("***") && told.len() < 20, "{told}");
        check(&redactor, "nothing here", "nothing here");
    }

    #[test]
    fn a_secret_that_a_cut_text_ends_in_is_taken_out() {
        let redactor = Redactor::new([&Secret::new("s3cr3t-canary-password")]);
        for cut in ["s3cr3t-c", "s3cr3t-canary-passwor", "s3cr3t-canary…", "s3cr3t-canary..."] {
            let told = redactor.text(&format!("530 no: {cut}"));
            assert!(told.starts_with("530 no: ***") && !told.contains("s3cr3t"), "{told}");
        }
        check(&redactor, "530 no: s3cr3t", "530 no: s3cr3t");
        check(
            &redactor,
            "{\"error\":\"530 s3cr3t-cana\",\"b\":1}\n",
            "{\"error\":\"530 ***\",\"b\":1}\n",
        );
        check(&redactor, "s3cr3t-can of worms", "s3cr3t-can of worms");
    }

    #[test]
    fn a_short_secret_is_taken_out_as_a_whole_token_only() {
        let redactor = Redactor::new([&Secret::new("daily"), &Secret::new("a")]);
        check(&redactor, "530 pass=daily.", "530 pass=***.");
        check(&redactor, "530 \"daily\" for me:daily@host", "530 \"***\" for me:***@host");
        check(
            &redactor,
            "reading `/in/daily/daily.csv`: a dailyx",
            "reading `/in/daily/daily.csv`: a dailyx",
        );
        assert_eq!(redactor.name("/in/daily"), "/in/daily");
        assert_eq!(redactor.name("daily"), "daily");
    }

    #[test]
    fn words_of_ours_stay_whatever_the_secret_is() {
        let redactor = Redactor::new([&Secret::new("degraded"), &Secret::new("message")]);
        let value = redactor.json(json!({ "status": "degraded", "message": "degraded message",
            "path": "/degraded/message" }));
        assert_eq!(
            value,
            json!({ "status": "degraded", "message": "*** ***", "path": "/***/message" })
        );
    }

    #[test]
    fn of_two_secrets_the_longer_one_counts() {
        let redactor =
            Redactor::new([&Secret::new("canary-one"), &Secret::new("canary-one-and-two")]);
        check(&redactor, "x canary-one-and-two y", "x *** y");
        check(&redactor.and([&Secret::new("another-one")]), "another-one canary-one", "*** ***");
    }

    #[test]
    fn its_debug_output_tells_nothing() {
        assert_eq!(
            format!("{:?}", Redactor::new([&Secret::new(PASSWORD)])),
            "Redactor { known: 1 secrets }"
        );
    }
}
