//! Text and environment to sections: the only reader of TOML.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::config::tables::{TABLES, TOP};
use crate::settings::{Entry, SettingError, Value, closest, listed};

/// The environment, as a value.
pub type Environment = BTreeMap<String, String>;

/// A table as found, its keys unchecked.
#[derive(Debug, Default)]
pub struct RawSection {
    /// The line that it starts on.
    pub line: usize,
    /// Its entries.
    pub entries: BTreeMap<String, Entry>,
    /// Settings of a source whose environment variable holds nothing: they concern it alone.
    pub missing: Vec<(String, SettingError)>,
    /// The `[[source.expect]]` tables of a source.
    pub expect: Vec<RawSection>,
}

/// Everything that the file and the environment say.
#[derive(Debug, Default)]
pub struct Raw {
    /// Tables by name.
    pub tables: BTreeMap<String, RawSection>,
    /// The `[[source]]` tables.
    pub sources: Vec<RawSection>,
    /// The settings that stand before all tables.
    pub top: BTreeMap<String, Entry>,
}

const SOURCE: &str = "source";
/// The table of a source with limits of its own.
const LIMITS: &str = "limits";
/// The tables of a source that tell which files are expected.
const EXPECT: &str = "expect";
const FILES: &str = "files";
const PASSWORD: &str = "password";
/// Environment variables that override settings begin so.
pub const PREFIX: &str = "BLOBFERRY__";

fn is_table(name: &str) -> bool {
    TABLES.iter().any(|table| table.name == name)
}

/// Whether `name` is a setting that stands before all tables.
fn is_top(name: &str) -> bool {
    TOP.iter().any(|key| key.name == name)
}

/// Reads `text` (of a file called `file`, for messages) and lays the environment over it.
pub fn read(file: &str, text: &str, environment: &Environment) -> Result<Raw, SettingError> {
    let reader = Reader { file, text, environment };
    let document = DeTable::parse(text).map_err(|error| reader.syntax(&error))?;
    let mut raw = Raw::default();
    for (name, value) in document.get_ref() {
        reader.table(&mut raw, name.get_ref(), name.span(), value)?;
    }
    reader.overrides(&mut raw)?;
    Ok(raw)
}

struct Reader<'a> {
    file: &'a str,
    text: &'a str,
    environment: &'a Environment,
}

impl Reader<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        self.text.as_bytes()[..span.start.min(self.text.len())]
            .iter()
            .filter(|b| **b == b'\n')
            .count()
            + 1
    }

    fn error(&self, span: &Range<usize>, key: &str, problem: impl Into<String>) -> SettingError {
        SettingError {
            place: format!("{}:{}", self.file, self.line(span)),
            key: key.to_owned(),
            problem: problem.into(),
        }
    }

    /// The parser's own words, without the line of text that it would show: that may hold a
    /// password.
    fn syntax(&self, error: &toml::de::Error) -> SettingError {
        let span = error.span().unwrap_or(0..0);
        let column = self.text[..span.start.min(self.text.len())]
            .rsplit('\n')
            .next()
            .map_or(1, |line| line.chars().count() + 1);
        let mut error = self.error(
            &span,
            "TOML",
            format!("is not understood at column {column}: {}", error.message()),
        );
        error.place = format!("{}:{}:{column}", self.file, self.line(&span));
        error
    }

    fn table(
        &self,
        raw: &mut Raw,
        name: &str,
        at: Range<usize>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), SettingError> {
        match value.get_ref() {
            DeValue::Table(table) if is_table(name) => {
                raw.tables.insert(name.to_owned(), self.section(name, &at, table)?);
                Ok(())
            }
            other if is_top(name) => {
                let entry = self.top(name, &at, other)?;
                raw.top.insert(name.to_owned(), entry);
                Ok(())
            }
            DeValue::Array(sources) if name == SOURCE => {
                for source in sources.iter() {
                    let DeValue::Table(table) = source.get_ref() else {
                        return Err(self.error(
                            &source.span(),
                            SOURCE,
                            "is not a table; allowed is `[[source]]`",
                        ));
                    };
                    raw.sources.push(self.section(SOURCE, &source.span(), table)?);
                }
                Ok(())
            }
            _ if name == SOURCE => {
                Err(self.error(&at, SOURCE, "stands in single brackets; allowed is `[[source]]`"))
            }
            _ if is_table(name) => {
                Err(self.error(&at, name, format!("is not a table; allowed is `[{name}]`")))
            }
            _ => {
                let top = TOP.iter().map(|key| key.name);
                let all: Vec<&str> =
                    TABLES.iter().map(|table| table.name).chain([SOURCE]).chain(top).collect();
                let hint = match closest(name, &all) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("allowed are {}", listed(&all)),
                };
                Err(self.error(&at, name, format!("is not a section; {hint}")))
            }
        }
    }

    /// A setting that stands before all tables.
    fn top(
        &self,
        name: &str,
        at: &Range<usize>,
        value: &DeValue<'_>,
    ) -> Result<Entry, SettingError> {
        let line = Some(self.line(at));
        let DeValue::Table(inner) = value else {
            return Ok(Entry { value: plain(value), line, variable: None });
        };
        let variable = self.variable(name, at, inner)?;
        let value = Value::Text(self.look_up(&variable, name, at)?);
        Ok(Entry { value, line, variable: Some(variable) })
    }

    fn section(
        &self,
        name: &str,
        at: &Range<usize>,
        table: &DeTable<'_>,
    ) -> Result<RawSection, SettingError> {
        let mut section = RawSection { line: self.line(at), ..RawSection::default() };
        for (key, value) in table {
            let key_name = format!("{name}.{}", key.get_ref());
            let line = self.line(&key.span());
            let mut entry =
                Entry { value: Value::Other("nothing"), line: Some(line), variable: None };
            match value.get_ref() {
                DeValue::Table(inner) if name == SOURCE && key.get_ref() == LIMITS => {
                    let limits = self.section(&key_name, &key.span(), inner)?;
                    section.entries.extend(
                        limits
                            .entries
                            .into_iter()
                            .map(|(name, entry)| (format!("{LIMITS}.{name}"), entry)),
                    );
                    continue;
                }
                DeValue::Array(tables) if name == SOURCE && key.get_ref() == EXPECT => {
                    for table in tables.iter() {
                        let DeValue::Table(inner) = table.get_ref() else {
                            let allowed = "is not a table; allowed is `[[source.expect]]`";
                            return Err(self.error(&table.span(), &key_name, allowed));
                        };
                        section.expect.push(self.section(&key_name, &table.span(), inner)?);
                    }
                    continue;
                }
                _ if name == SOURCE && key.get_ref() == EXPECT => {
                    let allowed = "is not a list of tables; allowed is `[[source.expect]]`";
                    return Err(self.error(&key.span(), &key_name, allowed));
                }
                DeValue::Table(inner) => {
                    let variable = self.variable(&key_name, &key.span(), inner)?;
                    match self.look_up(&variable, &key_name, &key.span()) {
                        Ok(text) => entry.value = Value::Text(text),
                        Err(error) if name == SOURCE => {
                            section.missing.push((key.get_ref().to_string(), error));
                            continue;
                        }
                        Err(error) => return Err(error),
                    }
                    entry.variable = Some(variable);
                }
                DeValue::Array(items)
                    if items.iter().any(|item| matches!(item.get_ref(), DeValue::Table(_))) =>
                {
                    entry.value = self.resolved(&key_name, items)?;
                }
                other => entry.value = plain(other),
            }
            section.entries.insert(key.get_ref().to_string(), entry);
        }
        Ok(section)
    }

    /// A list in which some items are read from the environment, or are for some files alone.
    fn resolved(&self, key: &str, items: &DeArray<'_>) -> Result<Value, SettingError> {
        let mut texts = Vec::new();
        for item in items.iter() {
            let at = item.span();
            texts.push(match item.get_ref() {
                DeValue::Table(inner) if inner.contains_key(FILES) => {
                    self.patterned(key, &at, inner)?
                }
                other => match self.item(key, &at, other)? {
                    Some(text) => (None, text),
                    None => return Ok(Value::Other("a list that holds other things than texts")),
                },
            });
        }
        if texts.iter().any(|(files, _)| files.is_some()) {
            return Ok(Value::Patterned(texts));
        }
        Ok(Value::List(texts.into_iter().map(|(_, text)| text).collect()))
    }

    fn item(
        &self,
        key: &str,
        at: &Range<usize>,
        value: &DeValue<'_>,
    ) -> Result<Option<String>, SettingError> {
        match value {
            DeValue::String(text) => Ok(Some(text.to_string())),
            DeValue::Table(inner) => {
                self.look_up(&self.variable(key, at, inner)?, key, at).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// `{ files = "in/*.zip", password = "…" }`.
    fn patterned(
        &self,
        key: &str,
        at: &Range<usize>,
        table: &DeTable<'_>,
    ) -> Result<(Option<String>, String), SettingError> {
        let allowed = "allowed is `{ files = \"in/*.zip\", password = \"…\" }`";
        let wrong = |what: &str| self.error(at, key, format!("{what}; {allowed}"));
        if table.len() != 2 {
            return Err(wrong("holds a table with other things than `files` and `password`"));
        }
        let Some(DeValue::String(files)) = table.get(FILES).map(Spanned::get_ref) else {
            return Err(wrong("holds a table whose `files` is no text"));
        };
        let password =
            table.get(PASSWORD).ok_or_else(|| wrong("holds a table without `password`"))?;
        let password = self
            .item(key, at, password.get_ref())?
            .ok_or_else(|| wrong("holds a table whose `password` is no text"))?;
        Ok((Some(files.to_string()), password))
    }

    /// The name in `{ env = "NAME" }`.
    fn variable(
        &self,
        key: &str,
        at: &Range<usize>,
        table: &DeTable<'_>,
    ) -> Result<String, SettingError> {
        let mut entries = table.iter();
        match (entries.next(), entries.next()) {
            (Some((name, value)), None) if name.get_ref() == "env" => match value.get_ref() {
                DeValue::String(variable) if !variable.is_empty() => Ok(variable.to_string()),
                _ => Err(self.error(
                    at,
                    key,
                    "names no environment variable; allowed is `{ env = \"NAME\" }`",
                )),
            },
            _ => Err(self.error(at, key, "is a table; allowed is a value or `{ env = \"NAME\" }`")),
        }
    }

    fn look_up(
        &self,
        variable: &str,
        key: &str,
        at: &Range<usize>,
    ) -> Result<String, SettingError> {
        let problem = match self.environment.get(variable).map(String::as_str) {
            None => format!("reads the environment variable {variable}, which is not set"),
            Some("") => format!("reads the environment variable {variable}, which is empty"),
            Some(value) => match unresolved(value) {
                None => return Ok(value.to_owned()),
                Some(problem) => format!("reads the environment variable {variable}, {problem}"),
            },
        };
        Err(self.error(at, key, problem))
    }

    /// `BLOBFERRY__DESTINATION__CONTAINER=x`, `BLOBFERRY__SOURCE__ACME__PASSWORD=x`.
    fn overrides(&self, raw: &mut Raw) -> Result<(), SettingError> {
        for (variable, value) in self.environment.range(PREFIX.to_owned()..) {
            let Some(path) = variable.strip_prefix(PREFIX) else { break };
            let wrong = |problem: String| SettingError {
                place: "environment".into(),
                key: variable.clone(),
                problem,
            };
            let parts: Vec<String> = path.split("__").map(str::to_ascii_lowercase).collect();
            if let [key] = parts.as_slice()
                && is_top(key)
            {
                let (value, variable) = (Value::Text(value.clone()), Some(variable.clone()));
                raw.top.insert(key.clone(), Entry { value, line: None, variable });
                continue;
            }
            let (section, key) = match parts.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                [SOURCE, source, ref keys @ ..] if matches!(keys, [_] | [LIMITS, _]) => {
                    let named = |section: &&mut RawSection| {
                        source_name(section).is_some_and(|name| name.replace('-', "_") == source)
                    };
                    let found = raw.sources.iter_mut().find(named);
                    (
                        found.ok_or_else(|| {
                            wrong(format!("names a source `{source}` that the file does not hold"))
                        })?,
                        keys.join("."),
                    )
                }
                [table, key] if is_table(table) => {
                    (raw.tables.entry(table.to_owned()).or_default(), key.to_owned())
                }
                _ => {
                    return Err(wrong(format!(
                        "is no setting; allowed are {PREFIX}<SECTION>__<KEY> and \
                        {PREFIX}SOURCE__<NAME>__<KEY>"
                    )));
                }
            };
            if let Some(problem) = unresolved(value) {
                return Err(wrong(problem.to_owned()));
            }
            // What the file could not resolve is said here.
            section.missing.retain(|(missing, _)| *missing != key);
            section.entries.insert(
                key,
                Entry {
                    value: Value::Text(value.clone()),
                    line: None,
                    variable: Some(variable.clone()),
                },
            );
        }
        Ok(())
    }
}

/// The name that a source gives itself, if it does.
pub fn source_name(section: &RawSection) -> Option<&str> {
    match section.entries.get("name").map(|entry| &entry.value) {
        Some(Value::Text(name)) => Some(name),
        _ => None,
    }
}

/// App Service leaves a Key Vault reference as it stands when it cannot resolve it.
fn unresolved(value: &str) -> Option<&'static str> {
    value.starts_with("@Microsoft.KeyVault(").then_some(
        "which holds a Key Vault reference that was not resolved: check the vault's and the \
        secret's name and that the app's identity has the role `Key Vault Secrets User`",
    )
}

fn plain(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Value::Other("a number out of range"), Value::Integer),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Float(_) => Value::Other("a fraction"),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Table(_) => Value::Other("a table"),
        DeValue::Array(array) => {
            let texts = array.iter().map(|item| match item.get_ref() {
                DeValue::String(text) => Some(text.to_string()),
                _ => None,
            });
            texts
                .collect::<Option<Vec<_>>>()
                .map_or(Value::Other("a list that holds other things than texts"), Value::List)
        }
    }
}
