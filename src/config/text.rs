//! Text and environment to sections: the only reader of TOML.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use crate::config::faults::Faults;
use crate::config::include::{self, IncludePattern};
use crate::config::keys::SOURCE as SOURCE_KEYS;
use crate::config::outside::{Outside, OutsideValue};
use crate::config::tables::{TABLES, TOP};
use crate::config::toml_value::plain;
use crate::settings::{SettingEntry, SettingError, Value, ValueKind, ValueOrigin, closest, listed};

pub use crate::config::outside::Environment;

/// A table as found, its keys unchecked.
#[derive(Clone, Debug, Default)]
pub struct RawSection {
    /// The file that it stands in, for messages.
    pub file: String,
    /// The line that it starts on.
    pub line: usize,
    /// Its entries.
    pub entries: BTreeMap<String, SettingEntry>,
    /// Settings of a source whose environment variable or secret holds nothing: they concern it
    /// alone.
    pub missing: Vec<(String, SettingError)>,
    /// The `[[source.expect]]` tables of a source.
    pub expect: Vec<RawSection>,
}

/// Everything that the file and the environment say.
#[derive(Debug, Default)]
pub struct RawConfig {
    /// Tables by name.
    pub tables: BTreeMap<String, RawSection>,
    /// The `[[source]]` tables.
    pub sources: Vec<RawSection>,
    /// The settings that stand before all tables.
    pub top: BTreeMap<String, SettingEntry>,
    /// `[defaults]`.
    pub defaults: Option<RawSection>,
    /// The `[[server]]` tables.
    pub servers: Vec<RawSection>,
    /// The `[destinations.NAME]` tables, by their names.
    pub destinations: BTreeMap<String, RawSection>,
    /// The patterns of other files that hold sources.
    pub include: Vec<IncludePattern>,
    /// Those of them that name no file.
    pub idle_include: Vec<String>,
}

/// The tables of sources.
pub const SOURCE: &str = "source";
/// The table of settings that sources have unless they set them.
pub const DEFAULTS: &str = "defaults";
/// The tables of servers.
pub const SERVER: &str = "server";
/// The tables of destinations beside the first.
pub(crate) const DESTINATIONS: &str = "destinations";
/// The list of other files.
pub(crate) const INCLUDE: &str = "include";
/// The table of a source with limits of its own.
pub const LIMITS: &str = "limits";
/// The tables of a source that tell which files are expected.
const EXPECT: &str = "expect";
/// Names of settings of `[keyvault]` begin so.
const IN_KEYVAULT: &str = "keyvault.";
const FILES: &str = "files";
const PASSWORD: &str = "password";
/// Environment variables that override settings begin so.
pub const PREFIX: &str = "BLOBFERRY__";

/// Whether `name` is that of a table of settings.
pub fn is_table(name: &str) -> bool {
    TABLES.iter().any(|table| table.name == name)
}

/// Whether `name` is a setting that stands before all tables.
pub(crate) fn is_top(name: &str) -> bool {
    TOP.iter().any(|key| key.name == name)
}

/// Reads `text` (of a file called `file` in `folder`) and the files that it includes. `Err`: it is
/// no TOML; what else is wrong is added to `faults`.
pub(crate) fn read(
    file: &str,
    folder: &Path,
    text: &str,
    outside: &Outside<'_>,
    faults: &mut Faults,
) -> Result<RawConfig, SettingError> {
    let mut raw = RawConfig::default();
    let main = ConfigReader::new(file, text, outside, FilePart::Main);
    main.document(&mut raw, faults)?;
    let (files, idle) = include::files(file, folder, &raw.include);
    raw.idle_include = idle;
    for found in files {
        let Some(found) = faults.take(found) else { continue };
        let (file, text) = (found.name.as_str(), found.text.as_str());
        let included = ConfigReader::new(file, text, outside, FilePart::Included);
        let read = included.document(&mut raw, faults);
        faults.take(read);
    }
    Ok(raw)
}

/// Which part of the configuration a file is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FilePart {
    /// The file that was named.
    Main,
    /// One that it includes, which holds sources alone.
    Included,
}

struct ConfigReader<'a> {
    file: &'a str,
    text: &'a str,
    outside: &'a Outside<'a>,
    part: FilePart,
    /// Where lines end.
    breaks: Vec<usize>,
}

/// Whether the setting `key` of a source is a table of texts.
fn is_pairs(key: &str) -> bool {
    SOURCE_KEYS.iter().any(|known| known.name == key && known.kind == ValueKind::Pairs)
}

/// Whether what is missing for a setting of the table `name` concerns single sources alone.
pub(crate) fn is_of_sources(name: &str) -> bool {
    name == SOURCE || name == DEFAULTS
}

impl<'a> ConfigReader<'a> {
    fn new(file: &'a str, text: &'a str, outside: &'a Outside<'a>, part: FilePart) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at).collect();
        Self { file, text, outside, part, breaks }
    }

    /// Reads the file; `Err`: it is no TOML.
    fn document(&self, raw: &mut RawConfig, faults: &mut Faults) -> Result<(), SettingError> {
        let document = DeTable::parse(self.text).map_err(|error| self.syntax(&error))?;
        for (name, value) in document.get_ref() {
            let read = self.table(raw, name.get_ref(), name.span(), value, faults);
            faults.take(read);
        }
        Ok(())
    }

    fn line(&self, span: &Range<usize>) -> usize {
        self.breaks.partition_point(|end| *end < span.start) + 1
    }

    fn error(&self, span: &Range<usize>, key: &str, problem: impl Into<String>) -> SettingError {
        SettingError {
            place: format!("{}:{}", self.file, self.line(span)),
            key: key.to_owned(),
            problem: problem.into(),
            is_outside: false,
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
        raw: &mut RawConfig,
        name: &str,
        at: Range<usize>,
        value: &Spanned<DeValue<'_>>,
        faults: &mut Faults,
    ) -> Result<(), SettingError> {
        if self.part == FilePart::Included && name != SOURCE {
            let problem = "stands in an included file; allowed there are `[[source]]` tables alone";
            return Err(self.error(&at, name, problem));
        }
        match value.get_ref() {
            _ if name == INCLUDE => {
                raw.include = self.included(&at, value.get_ref())?;
                Ok(())
            }
            DeValue::Table(table) if name == DEFAULTS => {
                raw.defaults = Some(self.section(name, &at, table)?);
                Ok(())
            }
            DeValue::Table(named) if name == DESTINATIONS => {
                for (one, value) in named {
                    let whole = format!("{name}.{}", one.get_ref());
                    let DeValue::Table(table) = value.get_ref() else {
                        let problem = "is not a table; allowed is `[destinations.NAME]`";
                        return Err(self.error(&one.span(), &whole, problem));
                    };
                    let section = self.section(&whole, &one.span(), table)?;
                    raw.destinations.insert(one.get_ref().to_string(), section);
                }
                Ok(())
            }
            DeValue::Table(table) if is_table(name) => {
                raw.tables.insert(name.to_owned(), self.section(name, &at, table)?);
                Ok(())
            }
            other if is_top(name) => {
                let entry = self.top(name, &at, other)?;
                raw.top.insert(name.to_owned(), entry);
                Ok(())
            }
            DeValue::Array(tables) if name == SOURCE || name == SERVER => {
                for one in tables.iter() {
                    let section = match one.get_ref() {
                        DeValue::Table(table) => self.section(name, &one.span(), table),
                        _ => {
                            let problem = format!("is not a table; allowed is `[[{name}]]`");
                            Err(self.error(&one.span(), name, problem))
                        }
                    };
                    let of = if name == SOURCE { &mut raw.sources } else { &mut raw.servers };
                    of.extend(faults.take(section));
                }
                Ok(())
            }
            _ if name == SOURCE || name == SERVER => {
                let problem = format!("stands in single brackets; allowed is `[[{name}]]`");
                Err(self.error(&at, name, problem))
            }
            _ if is_table(name) || [DEFAULTS, DESTINATIONS].contains(&name) => {
                Err(self.error(&at, name, format!("is not a table; allowed is `[{name}]`")))
            }
            _ => {
                let own = [SOURCE, DEFAULTS, SERVER, INCLUDE, DESTINATIONS];
                let top = TOP.iter().map(|key| key.name);
                let all: Vec<&str> =
                    TABLES.iter().map(|table| table.name).chain(own).chain(top).collect();
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
    ) -> Result<SettingEntry, SettingError> {
        let line = Some(self.line(at));
        let DeValue::Table(inner) = value else {
            return Ok(SettingEntry { value: plain(value), line, origin: None, file: None });
        };
        let (text, origin) = self.outside(name, at, inner)?;
        Ok(SettingEntry { value: Value::Text(text), line, origin: Some(origin), file: None })
    }

    fn section(
        &self,
        name: &str,
        at: &Range<usize>,
        table: &DeTable<'_>,
    ) -> Result<RawSection, SettingError> {
        let (file, line) = (self.file.to_owned(), self.line(at));
        let mut section = RawSection { file, line, ..RawSection::default() };
        for (key, value) in table {
            let key_name = format!("{name}.{}", key.get_ref());
            let line = self.line(&key.span());
            let value_of = Value::Other("nothing");
            let mut entry =
                SettingEntry { value: value_of, line: Some(line), origin: None, file: None };
            match value.get_ref() {
                DeValue::Table(inner) if is_of_sources(name) && key.get_ref() == LIMITS => {
                    let limits = self.section(&key_name, &key.span(), inner)?;
                    section.entries.extend(
                        limits
                            .entries
                            .into_iter()
                            .map(|(name, entry)| (format!("{LIMITS}.{name}"), entry)),
                    );
                    continue;
                }
                DeValue::Table(inner) if is_of_sources(name) && is_pairs(key.get_ref()) => {
                    entry.value = self.pairs(&key_name, inner)?;
                }
                DeValue::Array(tables) if name == SOURCE && key.get_ref() == EXPECT => {
                    for table in tables.iter() {
                        let DeValue::Table(inner) = table.get_ref() else {
                            let allowed = "is not a table; allowed is `[[source.expect]]`";
                            return Err(self.error(&table.span(), &key_name, allowed));
                        };
                        match self.section(&key_name, &table.span(), inner) {
                            Ok(expected) => section.expect.push(expected),
                            Err(error) if error.is_outside => {
                                section.missing.push((EXPECT.to_owned(), error));
                            }
                            Err(error) => return Err(error),
                        }
                    }
                    continue;
                }
                _ if name == SOURCE && key.get_ref() == EXPECT => {
                    let allowed = "is not a list of tables; allowed is `[[source.expect]]`";
                    return Err(self.error(&key.span(), &key_name, allowed));
                }
                DeValue::Table(inner) => match self.outside(&key_name, &key.span(), inner) {
                    Ok((text, origin)) => {
                        entry.value = Value::Text(text);
                        entry.origin = Some(origin);
                    }
                    Err(error) if is_of_sources(name) && error.is_outside => {
                        section.missing.push((key.get_ref().to_string(), error));
                        continue;
                    }
                    Err(error) => return Err(error),
                },
                DeValue::Array(items)
                    if items.iter().any(|item| matches!(item.get_ref(), DeValue::Table(_))) =>
                {
                    match self.resolved(&key_name, items) {
                        Ok(value) => entry.value = value,
                        Err(error) if is_of_sources(name) && error.is_outside => {
                            section.missing.push((key.get_ref().to_string(), error));
                            continue;
                        }
                        Err(error) => return Err(error),
                    }
                }
                other => entry.value = plain(other),
            }
            section.entries.insert(key.get_ref().to_string(), entry);
        }
        Ok(section)
    }

    /// `{ owner = "finance" }`, whose texts may come from the environment.
    fn pairs(&self, key: &str, table: &DeTable<'_>) -> Result<Value, SettingError> {
        let mut pairs = Vec::new();
        for (name, value) in table {
            let Some(text) = self.item(key, &value.span(), value.get_ref())? else {
                return Ok(Value::Other("a table that holds other things than texts"));
            };
            pairs.push((name.get_ref().to_string(), text));
        }
        Ok(Value::Pairs(pairs))
    }

    /// `include = ["partners/*.toml"]`.
    fn included(
        &self,
        at: &Range<usize>,
        value: &DeValue<'_>,
    ) -> Result<Vec<IncludePattern>, SettingError> {
        let line = self.line(at);
        let pattern = |text: String| IncludePattern { text, line };
        match plain(value) {
            Value::Text(text) => Ok(vec![pattern(text)]),
            Value::List(list) => Ok(list.into_iter().map(pattern).collect()),
            _ => Err(self.error(
                at,
                INCLUDE,
                "is no list of texts; allowed is one as `[\"partners/*.toml\"]`",
            )),
        }
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
            DeValue::Table(inner) => self.outside(key, at, inner).map(|(text, _)| Some(text)),
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

    /// The value that a table of one entry names, and where it is read from.
    fn outside(
        &self,
        key: &str,
        at: &Range<usize>,
        table: &DeTable<'_>,
    ) -> Result<(String, ValueOrigin), SettingError> {
        let named = OutsideValue::named(table).map_err(|problem| self.error(at, key, problem))?;
        if key.starts_with(IN_KEYVAULT) && matches!(named, OutsideValue::Secret(_)) {
            let problem = "is needed to read key vaults, and is read from one";
            return Err(self.error(at, key, problem));
        }
        match self.outside.look_up(&named) {
            Ok(text) => Ok((text, named.origin())),
            Err(problem) => Err(SettingError { is_outside: true, ..self.error(at, key, problem) }),
        }
    }
}

/// The name that a source gives itself, if it does.
pub(crate) fn source_name(section: &RawSection) -> Option<&str> {
    match section.entries.get("name").map(|entry| &entry.value) {
        Some(Value::Text(name)) => Some(name),
        _ => None,
    }
}
