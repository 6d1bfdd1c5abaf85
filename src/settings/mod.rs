//! A section of settings as its reader sees it: declared keys, typed values, errors that name file,
//! line and key.
//!
//! `config` fills sections from text and environment; drivers read theirs without knowing `config`.

pub(crate) use crate::settings::units::{parse_duration, parse_size};
pub use crate::settings::url::{SourceUrl, percent_decode};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::model::{Secret, printable};

mod foreign_words;
mod lists;
mod units;
mod url;

use lists::toml_list;

/// A setting that a section may hold.
#[derive(Clone, Copy, Debug)]
pub struct SettingKey {
    /// Its name in the file.
    pub name: &'static str,
    /// What values it takes.
    pub kind: ValueKind,
    /// One sentence for people, with the default; shown by `blobferry schema`.
    pub doc: &'static str,
}

/// What values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// Any text.
    Text,
    /// A text that no message may repeat.
    Secret,
    /// A list of such texts; a single one stands for a list of one. Beside them may stand tables
    /// with a pattern of files and a text: `{ files = "in/*.zip", password = "…" }`.
    Secrets,
    /// A whole number from `min` to `max`.
    Integer {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// A number of bytes with a unit, as `"64 MiB"`.
    Size,
    /// A duration with a unit, as `"90s"`.
    Duration,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list of texts; a single text stands for a list of one.
    List,
    /// A table of texts by names, as `{ owner = "finance" }`.
    Pairs,
}

/// A value as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Integer(i64),
    /// `true` or `false`.
    Flag(bool),
    /// A list of texts.
    List(Vec<String>),
    /// A list of texts, some of them for files that match a pattern alone.
    Patterned(Vec<(Option<String>, String)>),
    /// Texts by names.
    Pairs(Vec<(String, String)>),
    /// Something that no setting takes; what it is called.
    Other(&'static str),
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct SettingEntry {
    /// The value.
    pub value: Value,
    /// Line in the file, from 1; `None` when it came from the environment alone.
    pub line: Option<usize>,
    /// Where it was read from, if it does not stand in the file itself.
    pub origin: Option<ValueOrigin>,
    /// The file, where it is another one than the section's.
    pub file: Option<String>,
}

/// Where a value was read from that does not stand in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueOrigin {
    /// The environment variable of this name.
    Variable(String),
    /// The secret at this address in a key vault.
    Secret(String),
}

impl fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Secret(address) => write!(f, "secret {address}"),
        }
    }
}

/// What is wrong with a setting: where, what was found, what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    /// `ingest.toml:12` or the name of an environment variable.
    pub place: String,
    /// The setting, as `source.acme.password`.
    pub key: String,
    /// What was found and what is allowed.
    pub problem: String,
    /// Whether the fault is in what the setting names, a file, an environment variable or a secret:
    /// of a source, it concerns that source alone.
    pub is_outside: bool,
}

impl SettingError {
    /// This one, and below it `other`: a person mends both at once.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { problem: format!("{}\n{other}", self.problem), ..self }
    }
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}` {}", self.place, self.key, self.problem)
    }
}

impl std::error::Error for SettingError {}

/// A table of the file: `[destination]`, `[limits]`, one `[[source]]`.
#[derive(Clone, Debug)]
pub struct Section {
    /// The file's name, for messages.
    pub file: String,
    /// Its dotted name, for messages, as `source.acme`; empty before all tables.
    pub name: String,
    /// The line that it starts on.
    pub line: usize,
    entries: BTreeMap<String, SettingEntry>,
    keys: Vec<SettingKey>,
}

impl Section {
    /// A section with these entries, of which each must be one of `keys`.
    pub(crate) fn new(
        file: &str,
        name: &str,
        line: usize,
        entries: BTreeMap<String, SettingEntry>,
        keys: Vec<SettingKey>,
    ) -> Result<Self, SettingError> {
        let section = Self { file: file.to_owned(), name: name.to_owned(), line, entries, keys };
        let mut unknown: Vec<&String> =
            section.entries.keys().filter(|name| section.key(name).is_none()).collect();
        unknown.sort_by_key(|name| section.entries[*name].line);
        match unknown.into_iter().map(|name| section.unknown(name)).reduce(SettingError::and) {
            None => Ok(section),
            Some(error) => Err(error),
        }
    }

    fn key(&self, name: &str) -> Option<&SettingKey> {
        self.keys.iter().find(|key| key.name == name)
    }

    fn unknown(&self, name: &str) -> SettingError {
        let names: Vec<&str> = self.keys.iter().map(|key| key.name).collect();
        if let Some(here) = foreign_words::meaning(name, &names) {
            return self
                .error(name, format!("is not a setting of this section; here it is {here}"));
        }
        let problem = match closest(name, &names) {
            Some(near) => format!("is not a setting of this section; did you mean `{near}`?"),
            None => format!("is not a setting of this section; allowed are {}", listed(&names)),
        };
        self.error(name, problem)
    }

    /// An error about `key` with this text, at the place where the key stands (or the section, if
    /// it is missing).
    pub fn error(&self, key: &str, problem: impl Into<String>) -> SettingError {
        let entry = self.entries.get(key);
        // `{ env = "NAME" }`; what is laid over the file is of the configuration.
        let is_outside = entry.is_some_and(|entry| entry.line.is_some() && entry.origin.is_some());
        let file = entry.and_then(|entry| entry.file.as_ref()).unwrap_or(&self.file);
        let place = match entry {
            Some(SettingEntry { line: Some(line), origin: None, .. }) => format!("{file}:{line}"),
            Some(SettingEntry { line: Some(line), origin: Some(origin), .. }) => {
                format!("{file}:{line} ({origin})")
            }
            Some(SettingEntry { line: None, origin: Some(origin), .. }) => origin.to_string(),
            _ => format!("{}:{}", self.file, self.line),
        };
        // A caller that words a problem may quote what stands in the file.
        SettingError {
            place,
            key: match self.name.as_str() {
                "" => printable(key.as_bytes()),
                name => format!("{name}.{}", printable(key.as_bytes())),
            },
            problem: printable(problem.into().as_bytes()),
            is_outside,
        }
    }

    /// An error of what the setting `key` names, as a file that is not there.
    pub(crate) fn error_outside(&self, key: &str, problem: impl Into<String>) -> SettingError {
        SettingError { is_outside: true, ..self.error(key, problem) }
    }

    /// Every secret that the section holds.
    pub fn secrets(&self) -> Vec<Secret> {
        let secret = |name: &String| {
            self.key(name)
                .is_some_and(|key| matches!(key.kind, ValueKind::Secret | ValueKind::Secrets))
        };
        let entries = self.entries.iter().filter(|(name, _)| secret(name)).map(|(_, entry)| entry);
        let texts = entries.flat_map(|entry| match &entry.value {
            Value::Text(text) => {
                from_origin(entry).into_iter().flatten().chain([text.clone()]).collect()
            }
            Value::List(list) => list.clone(),
            Value::Patterned(list) => list.iter().map(|(_, text)| text.clone()).collect(),
            _ => Vec::new(),
        });
        texts.map(Secret::new).collect()
    }

    /// What it says of `keys`, in one text that may hold secrets: equal for two sections that say
    /// the same.
    pub fn told(&self, keys: &[SettingKey]) -> String {
        let mut names: Vec<&str> = keys.iter().map(|key| key.name).collect();
        names.sort_unstable();
        let told = |name| self.entries.get(name).map(|entry| format!("{name}={:?}", entry.value));
        names.into_iter().filter_map(told).collect::<Vec<_>>().join("\n")
    }

    /// Whether the section holds `key`.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    fn value(&self, key: &str) -> Option<(&SettingKey, &SettingEntry)> {
        let declared = self.key(key).expect("a driver reads only keys that it declares");
        self.entries.get(key).map(|entry| (declared, entry))
    }

    fn wrong(&self, key: &SettingKey, entry: &SettingEntry, wanted: &str) -> SettingError {
        let found = match &entry.value {
            _ if matches!(key.kind, ValueKind::Secret | ValueKind::Secrets) => {
                "a value of another kind".to_owned()
            }
            Value::Text(text) => format!("\"{}\"", printable(text.as_bytes())),
            Value::Integer(number) => number.to_string(),
            Value::Flag(flag) => flag.to_string(),
            Value::List(_) | Value::Patterned(_) => "a list".to_owned(),
            Value::Pairs(_) => "a table".to_owned(),
            Value::Other(what) => (*what).to_owned(),
        };
        self.error(key.name, format!("is {found}; allowed is {wanted}"))
    }

    /// A text.
    pub fn text(&self, key: &str) -> Result<Option<String>, SettingError> {
        let Some((key, entry)) = self.value(key) else { return Ok(None) };
        match &entry.value {
            Value::Text(text) if !text.is_empty() => Ok(Some(text.clone())),
            _ => Err(self.wrong(key, entry, "a text that is not empty")),
        }
    }

    /// A secret text.
    pub fn secret(&self, key: &str) -> Result<Option<Secret>, SettingError> {
        let Some((key, entry)) = self.value(key) else { return Ok(None) };
        match &entry.value {
            Value::Text(text) if text.is_empty() => {
                Err(self.error(key.name, "is empty; allowed is a text that is not empty"))
            }
            Value::Text(text) => Ok(Some(Secret::new(text.clone()))),
            // A password of digits alone needs quotes in TOML; guessing would drop leading zeros.
            _ => Err(self.wrong(key, entry, "a text in quotes")),
        }
    }

    /// A list of secret texts, each with the pattern of the files that it is for, if it is not for
    /// all; empty when it is not set.
    pub fn secret_list(&self, key: &str) -> Result<Vec<(Option<String>, Secret)>, SettingError> {
        let Some((key, entry)) = self.value(key) else { return Ok(Vec::new()) };
        let list: Vec<(Option<String>, String)> = match &entry.value {
            Value::List(list) => list.iter().map(|text| (None, text.clone())).collect(),
            Value::Patterned(list) => list.clone(),
            Value::Text(text) => {
                let texts = from_origin(entry).unwrap_or_else(|| vec![text.clone()]);
                texts.into_iter().map(|text| (None, text)).collect()
            }
            _ => {
                return Err(self.wrong(
                    key,
                    entry,
                    "a list of texts in quotes, or of `{ env = \"NAME\" }`",
                ));
            }
        };
        if list.iter().any(|(_, text)| text.is_empty()) {
            return Err(
                self.error(key.name, "holds an empty text; allowed are texts that are not empty")
            );
        }
        Ok(list.into_iter().map(|(files, text)| (files, Secret::new(text))).collect())
    }

    /// A whole number within the key's range.
    pub fn integer(&self, key: &str) -> Result<Option<u64>, SettingError> {
        let Some((key, entry)) = self.value(key) else { return Ok(None) };
        let ValueKind::Integer { min, max } = key.kind else {
            panic!("`{}` is not declared as a number", key.name)
        };
        let number = match &entry.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Text(text) if entry.origin.is_some() => text.trim().parse().ok(),
            _ => None,
        };
        match number.filter(|number| (min..=max).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(key, entry, &format!("a whole number from {min} to {max}"))),
        }
    }

    /// A number of bytes.
    pub fn size(&self, key: &str) -> Result<Option<u64>, SettingError> {
        self.measured(key, parse_size, "a size with a unit, as \"64 MiB\"")
    }

    /// A duration.
    pub fn duration(&self, key: &str) -> Result<Option<Duration>, SettingError> {
        self.measured(key, parse_duration, "a duration with a unit, as \"90s\", \"15m\" or \"6h\"")
    }

    fn measured<T>(
        &self,
        key: &str,
        parse: fn(&str) -> Option<T>,
        wanted: &str,
    ) -> Result<Option<T>, SettingError> {
        let Some((key, entry)) = self.value(key) else { return Ok(None) };
        let parsed = match &entry.value {
            Value::Text(text) => parse(text),
            _ => None,
        };
        parsed.map(Some).ok_or_else(|| self.wrong(key, entry, wanted))
    }

    /// `true` or `false`; `default` when it is not set.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool, SettingError> {
        let Some((key, entry)) = self.value(key) else { return Ok(default) };
        match &entry.value {
            Value::Flag(flag) => Ok(*flag),
            Value::Text(text) if entry.origin.is_some() && text == "true" => Ok(true),
            Value::Text(text) if entry.origin.is_some() && text == "false" => Ok(false),
            _ => Err(self.wrong(key, entry, "true or false")),
        }
    }

    /// One of the key's words.
    pub fn one_of(&self, key: &str) -> Result<Option<&'static str>, SettingError> {
        let Some((key, entry)) = self.value(key) else { return Ok(None) };
        let ValueKind::OneOf(words) = key.kind else {
            panic!("`{}` is not declared as a choice", key.name)
        };
        let found = match &entry.value {
            Value::Text(text) => words.iter().find(|word| *word == text),
            _ => None,
        };
        found.map(|word| Some(*word)).ok_or_else(|| self.wrong(key, entry, &listed(words)))
    }

    /// A list of texts; empty when it is not set.
    pub fn list(&self, key: &str) -> Result<Vec<String>, SettingError> {
        let Some((key, entry)) = self.value(key) else { return Ok(Vec::new()) };
        match &entry.value {
            Value::List(list) => Ok(list.clone()),
            Value::Text(text) if !text.is_empty() => {
                Ok(from_origin(entry).unwrap_or_else(|| vec![text.clone()]))
            }
            _ => Err(self.wrong(key, entry, "a list of texts")),
        }
    }

    /// Texts by names; empty when it is not set.
    pub fn pairs(&self, key: &str) -> Result<Vec<(String, String)>, SettingError> {
        let Some((key, entry)) = self.value(key) else { return Ok(Vec::new()) };
        let found = match &entry.value {
            Value::Pairs(pairs) => Some(pairs.clone()),
            Value::Text(text) if entry.origin.is_some() => lists::toml_pairs(text),
            _ => None,
        };
        found
            .ok_or_else(|| self.wrong(key, entry, "a table of texts, as `{ owner = \"finance\" }`"))
    }

    /// The errors of all values that are of another kind, or outside of the range, than their
    /// settings take.
    pub(crate) fn misfits(&self) -> Vec<SettingError> {
        let error = |name: &String| {
            let key = self.key(name)?;
            let checked = match key.kind {
                ValueKind::Text => self.text(name).map(drop),
                ValueKind::Secret => self.secret(name).map(drop),
                ValueKind::Secrets => self.secret_list(name).map(drop),
                ValueKind::Integer { .. } => self.integer(name).map(drop),
                ValueKind::Size => self.size(name).map(drop),
                ValueKind::Duration => self.duration(name).map(drop),
                ValueKind::Flag => self.flag(name, false).map(drop),
                ValueKind::OneOf(_) => self.one_of(name).map(drop),
                ValueKind::List => self.list(name).map(drop),
                ValueKind::Pairs => self.pairs(name).map(drop),
            };
            checked.err()
        };
        self.entries.keys().filter_map(error).collect()
    }
}

/// The list that an environment variable or a secret holds, if it holds one.
fn from_origin(entry: &SettingEntry) -> Option<Vec<String>> {
    match &entry.value {
        Value::Text(text) if entry.origin.is_some() => toml_list(text),
        _ => None,
    }
}

/// Words in backticks, parted by commas.
pub fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// The candidate that was most likely meant, if one is near.
pub(crate) fn closest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let (distance, best) = candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), *candidate))
        .min()?;
    (distance <= 1 + best.len() / 4).then_some(best)
}

#[cfg(test)]
mod tests;
