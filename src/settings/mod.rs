//! A section of settings as its reader sees it: declared keys, typed values, errors that name file,
//! line and key.
//!
//! `config` fills sections from text and environment; drivers read theirs without knowing `config`.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::model::{RemotePath, Secret, printable};

mod foreign_words;
mod lists;

use lists::toml_list;

/// A setting that a section may hold.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in the file.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// One sentence for people, with the default; shown by `blobferry schema`.
    pub doc: &'static str,
}

/// What values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
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
    /// Something that no setting takes; what it is called.
    Other(&'static str),
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The value.
    pub value: Value,
    /// Line in the file, from 1; `None` when it came from the environment alone.
    pub line: Option<usize>,
    /// The environment variable that it was read from.
    pub variable: Option<String>,
    /// The file, where it is another one than the section's.
    pub file: Option<String>,
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
    entries: BTreeMap<String, Entry>,
    keys: Vec<Key>,
}

impl Section {
    /// A section with these entries, of which each must be one of `keys`.
    pub fn new(
        file: &str,
        name: &str,
        line: usize,
        entries: BTreeMap<String, Entry>,
        keys: Vec<Key>,
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

    fn key(&self, name: &str) -> Option<&Key> {
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
        let file = entry.and_then(|entry| entry.file.as_ref()).unwrap_or(&self.file);
        let place = match entry {
            Some(Entry { line: Some(line), variable: None, .. }) => format!("{file}:{line}"),
            Some(Entry { line: Some(line), variable: Some(variable), .. }) => {
                format!("{file}:{line} (environment variable {variable})")
            }
            Some(Entry { line: None, variable: Some(variable), .. }) => {
                format!("environment variable {variable}")
            }
            _ => format!("{}:{}", self.file, self.line),
        };
        // Whoever words a problem may quote what stands in the file.
        SettingError {
            place,
            key: match self.name.as_str() {
                "" => printable(key.as_bytes()),
                name => format!("{name}.{}", printable(key.as_bytes())),
            },
            problem: printable(problem.into().as_bytes()),
        }
    }

    /// Every secret that the section holds.
    pub fn secrets(&self) -> Vec<Secret> {
        let secret = |name: &String| {
            self.key(name).is_some_and(|key| matches!(key.kind, Kind::Secret | Kind::Secrets))
        };
        let entries = self.entries.iter().filter(|(name, _)| secret(name)).map(|(_, entry)| entry);
        let texts = entries.flat_map(|entry| match &entry.value {
            Value::Text(text) => {
                from_variable(entry).into_iter().flatten().chain([text.clone()]).collect()
            }
            Value::List(list) => list.clone(),
            Value::Patterned(list) => list.iter().map(|(_, text)| text.clone()).collect(),
            _ => Vec::new(),
        });
        texts.map(Secret::new).collect()
    }

    /// Whether the section holds `key`.
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    fn value(&self, key: &str) -> Option<(&Key, &Entry)> {
        let declared = self.key(key).expect("a driver reads only keys that it declares");
        self.entries.get(key).map(|entry| (declared, entry))
    }

    fn wrong(&self, key: &Key, entry: &Entry, wanted: &str) -> SettingError {
        let found = match &entry.value {
            _ if matches!(key.kind, Kind::Secret | Kind::Secrets) => {
                "a value of another kind".to_owned()
            }
            Value::Text(text) => format!("\"{}\"", printable(text.as_bytes())),
            Value::Integer(number) => number.to_string(),
            Value::Flag(flag) => flag.to_string(),
            Value::List(_) | Value::Patterned(_) => "a list".to_owned(),
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
                let texts = from_variable(entry).unwrap_or_else(|| vec![text.clone()]);
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
        let Kind::Integer { min, max } = key.kind else {
            panic!("`{}` is not declared as a number", key.name)
        };
        let number = match &entry.value {
            Value::Integer(number) => u64::try_from(*number).ok(),
            Value::Text(text) if entry.variable.is_some() => text.trim().parse().ok(),
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
            Value::Text(text) if entry.variable.is_some() && text == "true" => Ok(true),
            Value::Text(text) if entry.variable.is_some() && text == "false" => Ok(false),
            _ => Err(self.wrong(key, entry, "true or false")),
        }
    }

    /// One of the key's words.
    pub fn one_of(&self, key: &str) -> Result<Option<&'static str>, SettingError> {
        let Some((key, entry)) = self.value(key) else { return Ok(None) };
        let Kind::OneOf(words) = key.kind else {
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
                Ok(from_variable(entry).unwrap_or_else(|| vec![text.clone()]))
            }
            _ => Err(self.wrong(key, entry, "a list of texts")),
        }
    }

    /// The errors of all values that are of another kind, or outside of the range, than their
    /// settings take.
    pub fn misfits(&self) -> Vec<SettingError> {
        let error = |name: &String| {
            let key = self.key(name)?;
            let checked = match key.kind {
                Kind::Text => self.text(name).map(drop),
                Kind::Secret => self.secret(name).map(drop),
                Kind::Secrets => self.secret_list(name).map(drop),
                Kind::Integer { .. } => self.integer(name).map(drop),
                Kind::Size => self.size(name).map(drop),
                Kind::Duration => self.duration(name).map(drop),
                Kind::Flag => self.flag(name, false).map(drop),
                Kind::OneOf(_) => self.one_of(name).map(drop),
                Kind::List => self.list(name).map(drop),
            };
            checked.err()
        };
        self.entries.keys().filter_map(error).collect()
    }
}

/// The list that an environment variable holds, if it holds one.
fn from_variable(entry: &Entry) -> Option<Vec<String>> {
    match &entry.value {
        Value::Text(text) if entry.variable.is_some() => toml_list(text),
        _ => None,
    }
}

/// Words in backticks, parted by commas.
pub fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// The candidate that was most likely meant, if one is near.
pub fn closest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let (distance, best) = candidates
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), *candidate))
        .min()?;
    (distance <= 1 + best.len() / 4).then_some(best)
}

/// `"64 MiB"`, `"10 GB"`, `"512 B"`: binary units are powers of 1,024, decimal ones of 1,000.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let factor: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

/// `"500ms"`, `"90s"`, `"15m"`, `"6h"`, `"7d"`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    // A century is far enough for every deadline, and far from the overflow of any clock.
    number
        .checked_mul(milliseconds)
        .filter(|ms| *ms <= 36_525 * 86_400_000)
        .map(Duration::from_millis)
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..digits].parse().ok()?, text[digits..].trim_start()))
}

/// The `url` of a source, taken apart.
#[derive(Clone, Debug)]
pub struct SourceUrl {
    /// Lower-case scheme, as `sftp`.
    pub scheme: String,
    /// User, percent-decoded.
    pub user: Option<String>,
    /// Password, percent-decoded.
    pub password: Option<Secret>,
    /// Host name or address (without brackets); empty for `file`.
    pub host: String,
    /// Port, if it is not the scheme's own.
    pub port: Option<u16>,
    /// Where listing starts, percent-decoded to bytes; `/` if the URL has no path.
    pub root: RemotePath,
}

impl SourceUrl {
    /// Takes a URL apart. The error text never repeats the URL, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) =
            text.split_once("://").ok_or("has no `scheme://`, as in `sftp://user@host/folder`")?;
        let (authority, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, "/"),
        };
        // A raw `/`, `?` or `#` in a password would silently cut the URL in another place.
        if path.contains('@') && !authority.contains('@') {
            return Err("holds an `@` after a `/`: percent-encode `/` in a password as `%2F`, or \
                put it into `password`"
                .into());
        }
        if rest.contains(['?', '#']) {
            return Err(
                "holds a raw `?` or `#`: percent-encode them as `%3F` and `%23`, or put the \
                password into `password`"
                    .into(),
            );
        }
        let (info, host_port) = match authority.rsplit_once('@') {
            Some((info, host_port)) => (Some(info), host_port),
            None => (None, authority),
        };
        if info.is_some_and(|info| info.contains('@')) {
            return Err(
                "holds two `@`: percent-encode the one in the password as `%40`, or put the \
                password into `password`"
                    .into(),
            );
        }
        let (user, password) = match info.map(|info| {
            info.split_once(':').map_or((info, None), |(user, password)| (user, Some(password)))
        }) {
            Some((user, password)) => {
                (Some(decode_text(user)?), password.map(decode_text).transpose()?.map(Secret::new))
            }
            None => (None, None),
        };
        let (host, port) = split_port(host_port)?;
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            user: user.filter(|user| !user.is_empty()),
            password,
            host,
            port,
            root: RemotePath::new(
                percent_decode(path).ok_or("holds a `%` that no two hex digits follow")?,
            ),
        })
    }
}

fn split_port(text: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or("has a `[` without `]`")?;
            (host, after.strip_prefix(':'))
        }
        None => text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = port
        .map(|port| {
            port.parse::<u16>()
                .ok()
                .filter(|port| *port > 0)
                .ok_or("has a port that is not a number from 1 to 65535")
        })
        .transpose()?;
    if host.chars().any(|c| c.is_control() || c.is_whitespace() || "/\\<>\"'`".contains(c)) {
        return Err("has a host name with characters that no host name holds".into());
    }
    Ok((host.to_owned(), port))
}

fn decode_text(text: &str) -> Result<String, String> {
    let bytes = percent_decode(text)
        .ok_or("holds a `%` that no two hex digits follow: write a plain `%` as `%25`")?;
    String::from_utf8(bytes).map_err(|_| "holds user info that is not UTF-8".to_owned())
}

/// Undoes `%XX`. `None` if a `%` is not followed by two hex digits.
pub fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: u8| (byte as char).to_digit(16);
        let (high, low) = (digit(bytes.next()?)?, digit(bytes.next()?)?);
        out.push(u8::try_from(high * 16 + low).expect("two hex digits make a byte"));
    }
    Some(out)
}

#[cfg(test)]
mod tests;
