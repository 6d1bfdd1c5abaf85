//! Settings that environment variables lay over what the files say.

use std::collections::BTreeMap;

use crate::config::faults::Faults;
use crate::config::outside::unresolved;
use crate::config::text::{
    DEFAULTS, DESTINATIONS, Environment, LIMITS, PREFIX, RawConfig, RawSection, SOURCE,
    is_of_sources, is_table, is_top, source_name,
};
use crate::settings::{SettingEntry, SettingError, Value, ValueOrigin};

/// Lays `BLOBFERRY__DESTINATION__CONTAINER=x`, `BLOBFERRY__SOURCE__ACME__PASSWORD=x` and their like
/// over `raw`. What is wrong is added to `faults`.
pub(crate) fn apply(raw: &mut RawConfig, environment: &Environment, faults: &mut Faults) {
    for (variable, value) in environment.range(PREFIX.to_owned()..) {
        let Some(path) = variable.strip_prefix(PREFIX) else { break };
        let laid_over = set(raw, variable, &path.to_ascii_lowercase(), value);
        faults.take(laid_over.map_err(|problem| SettingError {
            place: "environment".into(),
            key: variable.clone(),
            problem,
            is_outside: false,
        }));
    }
}

/// Lays the variable, whose name is `path` behind the prefix, over what the files say.
fn set(raw: &mut RawConfig, variable: &str, path: &str, value: &str) -> Result<(), String> {
    let parts: Vec<&str> = path.split("__").collect();
    let (section, key) = match parts[..] {
        [SOURCE, _, _, ..] => {
            let (at, key) = source_of(&raw.sources, path)?;
            (&mut raw.sources[at], key)
        }
        [DEFAULTS, ref keys @ ..] if is_key(keys) => {
            (raw.defaults.get_or_insert_default(), keys.join("."))
        }
        [key] if is_top(key) => {
            raw.top.insert(key.to_owned(), laid_over(variable, value));
            return Ok(());
        }
        [DESTINATIONS, name, key] => (named(&mut raw.destinations, name)?, key.to_owned()),
        [table, key] if is_table(table) => {
            (raw.tables.entry(table.to_owned()).or_default(), key.to_owned())
        }
        _ => {
            return Err(format!(
                "is no setting; allowed are {PREFIX}<SECTION>__<KEY> and \
                {PREFIX}SOURCE__<NAME>__<KEY>"
            ));
        }
    };
    // What the file could not resolve is said here.
    section.missing.retain(|(missing, _)| *missing != key);
    if let Some(problem) = unresolved(value) {
        if !is_of_sources(parts[0]) {
            return Err(problem.to_owned());
        }
        // One vault that does not answer for one partner keeps no other waiting.
        let problem = problem.to_owned();
        let place = format!("environment variable {variable}");
        let error = SettingError { place, key: key.clone(), problem, is_outside: true };
        section.entries.remove(&key);
        section.missing.push((key, error));
        return Ok(());
    }
    section.entries.insert(key, laid_over(variable, value));
    Ok(())
}

fn laid_over(variable: &str, value: &str) -> SettingEntry {
    let origin = Some(ValueOrigin::Variable(variable.to_owned()));
    SettingEntry { value: Value::Text(value.to_owned()), line: None, origin, file: None }
}

fn is_key(keys: &[&str]) -> bool {
    matches!(keys, [_] | [LIMITS, _])
}

/// The destination that variables spell `name`.
fn named<'a>(
    destinations: &'a mut BTreeMap<String, RawSection>,
    name: &str,
) -> Result<&'a mut RawSection, String> {
    let mut of_name = destinations.iter_mut().filter(|(one, _)| in_variables(one) == name);
    match (of_name.next(), of_name.next()) {
        (Some((_, section)), None) => Ok(section),
        (None, _) => {
            Err(format!("names a destination `{name}` that the configuration does not hold"))
        }
        (Some((one, _)), Some((other, _))) => Err(format!(
            "may name the destination `{one}` or `{other}`; allowed are names that differ in \
            letters and digits, or the setting in the file"
        )),
    }
}

/// The source that `source__<name>__<key>` names, and the key.
fn source_of(sources: &[RawSection], path: &str) -> Result<(usize, String), String> {
    let rest = &path[SOURCE.len() + 2..];
    let keys_of = |source: &RawSection| {
        let rest = rest.strip_prefix(&in_variables(source_name(source)?))?.strip_prefix("__")?;
        let keys: Vec<&str> = rest.split("__").collect();
        is_key(&keys).then(|| keys.join("."))
    };
    let mut found = sources.iter().enumerate().filter_map(|(at, one)| Some((at, keys_of(one)?)));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some((one, _)), Some((other, _))) => {
            let name = |at: usize| source_name(&sources[at]).unwrap_or_default();
            Err(format!(
                "may name the source `{}` or `{}`; allowed are names that differ in letters and \
                digits, or the setting in the file",
                name(one),
                name(other)
            ))
        }
        (None, _) => {
            let name = rest.rsplit_once("__").map_or(rest, |(name, _)| name);
            Err(format!("names a source `{name}` that the configuration does not hold"))
        }
    }
}

/// A source's name as variables spell it, in lower case.
pub(crate) fn in_variables(name: &str) -> String {
    let spelled = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    name.chars().map(spelled).collect()
}
