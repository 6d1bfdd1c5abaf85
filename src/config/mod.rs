//! `ingest.toml` and the environment to a configuration: the only door from text to settings.

pub mod defaults;
mod destination_keys;
pub mod destinations;
pub mod expect;
mod faults;
mod identity;
mod include;
pub mod key_vault;
pub mod keys;
pub(crate) mod outside;
mod overlap;
pub mod overrides;
mod own;
mod placement;
pub mod schema;
pub mod selection;
pub mod servers;
mod service_keys;
mod services;
pub mod source;
mod source_names;
pub mod tables;
pub mod telemetry;
pub mod text;
mod times;
mod toml_value;
mod vault_reader;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::text::RawConfig;
use crate::model::{Secret, printable};
use crate::settings::{Section, SettingError, SettingKey};
use crate::transfer::settings::Source;
use destination::{destination, must_be_private, place_of_state};
use destinations::{NamedDestinations, WantedDestination};
use faults::Faults;
use key_vault::VaultValues;
use outside::{Outside, VaultsOutside};
use source::ParsedSource;
use text::{Environment, RawSection};
use vault_reader::KEYVAULT;

pub use destination::{Account, Destination};
pub(crate) use services::QUEUE;
pub use services::{DispatchSettings, LimitSettings, LogSettings};
pub use vault_reader::VaultNeeds;

/// A file that is left for later for longer is late.
const LATE_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Everything that the file and the environment say, checked.
#[derive(Debug)]
pub struct Config {
    /// Where blobs go.
    pub destination: Destination,
    /// Where blobs of sources go that name another destination, by its name.
    pub destinations: BTreeMap<String, Destination>,
    /// Where our own state is; `None`: among the blobs.
    pub state: Option<Destination>,
    /// What a run may use.
    pub limits: LimitSettings,
    /// How work under the Functions host is handed out.
    pub dispatch: DispatchSettings,
    /// What is logged, and where to.
    pub log: LogSettings,
    /// Where telemetry goes.
    pub telemetry: telemetry::TelemetrySettings,
    /// Where files come from; at least one.
    pub sources: Vec<Source>,
    /// Every secret of the sources and of key vaults: no output may repeat them.
    pub secrets: Vec<Secret>,
    /// What key vaults told of the secrets that values name.
    pub vaults: VaultValues,
    /// What is no error, but should be known: parts of the file that change nothing.
    pub notes: Vec<String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("reading the configuration file `{}`", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    /// The file is no text that we read.
    #[error("the configuration file `{}` is {}", .0.display(), .1)]
    Encoding(PathBuf, &'static str),
    /// A setting does not hold.
    #[error(transparent)]
    Setting(#[from] SettingError),
}

/// Reads the file at `path` under `environment`; `vaults` holds the secrets that it names
/// ([`vault_needs`]).
pub fn load(
    path: &Path,
    environment: &Environment,
    vaults: &VaultValues,
) -> Result<Config, ConfigError> {
    let (file, text) = read(path)?;
    let outside = Outside { environment, vaults: VaultsOutside::Read(vaults) };
    let mut config = parse_with((&file, folder(path)), &text, &outside)?;
    config.secrets.extend(vaults.values().flatten().cloned());
    config.vaults.clone_from(vaults);
    let own = config.own_folders();
    own::leave_out(&mut config.sources, &own);
    Ok(config)
}

/// Which secrets of key vaults the file at `path` names, and who reads them; `None`: it names none.
/// What is wrong with the file beside that, [`load`] tells.
pub fn vault_needs(
    path: &Path,
    environment: &Environment,
) -> Result<Option<VaultNeeds>, ConfigError> {
    let ((file, text), folder) = (read(path)?, folder(path));
    let wanted = RefCell::default();
    let outside = Outside { environment, vaults: VaultsOutside::Wanted(&wanted) };
    let mut faults = Faults::default();
    let Ok(mut raw) = text::read(&file, folder, &text, &outside, &mut faults) else {
        return Ok(None);
    };
    let wanted = wanted.take();
    if wanted.is_empty() {
        return Ok(None);
    }
    overrides::apply(&mut raw, environment, &mut faults);
    Ok(Some(vault_reader::reader(&raw, (&file, folder), environment, wanted)?))
}

/// The name of a file, for messages, and its text.
fn read(path: &Path) -> Result<(String, String), ConfigError> {
    let bytes = std::fs::read(path).map_err(|error| ConfigError::Read(path.to_owned(), error))?;
    let encoding = |problem| ConfigError::Encoding(path.to_owned(), problem);
    let text = include::decoded(&bytes).map_err(encoding)?.to_owned();
    let file = path
        .file_name()
        .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    Ok((file, text))
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

impl Config {
    /// Every place for blobs or state.
    pub fn places(&self) -> impl Iterator<Item = &Destination> {
        let first = [Some(&self.destination), self.state.as_ref()].into_iter().flatten();
        first.chain(self.destinations.values())
    }

    /// Folders on this machine that the program itself writes to: destination, log files, temporary
    /// files.
    fn own_folders(&self) -> Vec<PathBuf> {
        let stores = self.places().filter_map(|place| match place {
            Destination::Folder(path) => Some(path.clone()),
            Destination::Azure { .. } => None,
        });
        let logs =
            [&self.log.monitor, &self.log.errors].into_iter().filter_map(|file| file.parent());
        logs.map(Path::to_owned).chain(stores).chain([self.limits.temp_folder()]).collect()
    }
}

/// Reads `text`, the content of a file called `file` in `folder`, under `environment`. Pure but for
/// the files that it includes, and the key and certificate files that sources name. What it names
/// in key vaults is not read.
pub fn parse(
    file: &str,
    folder: &Path,
    text: &str,
    environment: &Environment,
) -> Result<Config, SettingError> {
    let vaults = VaultValues::new();
    let outside = Outside { environment, vaults: VaultsOutside::Read(&vaults) };
    parse_with((file, folder), text, &outside)
}

fn parse_with(
    (file, folder): (&str, &Path),
    text: &str,
    outside: &Outside<'_>,
) -> Result<Config, SettingError> {
    let environment = outside.environment;
    let mut faults = Faults::default();
    let mut raw = text::read(file, folder, text, outside, &mut faults)?;
    overrides::apply(&mut raw, environment, &mut faults);
    if let Some(time_zone) = raw.top.get("time_zone") {
        let of_file = Section::new(file, "", 1, raw.top.clone(), tables::TOP.to_vec());
        let zone = of_file.and_then(|section| crate::config::times::time_zone(&section));
        // A wrong one is told once, not for each source.
        if faults.take(zone).is_some() {
            let defaults = raw.defaults.get_or_insert_default();
            defaults.entries.entry("time_zone".to_owned()).or_insert_with(|| time_zone.clone());
        }
    }
    let has_state = raw.tables.contains_key("state");
    let has_reader = raw.tables.contains_key(KEYVAULT);
    let has_destination = raw.tables.contains_key("destination");
    let mut tables = std::mem::take(&mut raw.tables);
    let mut section = |name: &str, keys: &[SettingKey]| {
        let RawSection { line, entries, .. } = tables.remove(name).unwrap_or_default();
        Section::new(file, name, line.max(1), entries, keys.to_vec())
    };
    // Where it is missing because its name is misspelled, that was told.
    let destination = if has_destination || faults.is_empty() {
        let found = section("destination", keys::DESTINATION);
        faults.take(found.and_then(|section| {
            let place = destination(&section, folder, environment)?;
            if !has_state {
                must_be_private(&section, &place)?;
            }
            Ok(place)
        }))
    } else {
        None
    };
    let state = match &destination {
        Some(destination) if has_state => {
            let found = section("state", keys::DESTINATION)
                .and_then(|section| place_of_state(&section, destination, folder, environment));
            faults.take(found)
        }
        _ => None,
    };
    faults.take(section(KEYVAULT, keys::KEYVAULT).and_then(|section| match has_reader {
        true => vault_reader::of_section(&section, folder, environment).map(drop),
        false => Ok(()),
    }));
    let limits = faults
        .take(section("limits", keys::LIMITS).and_then(|found| services::limits(&found, folder)));
    let dispatch = section("dispatch", keys::DISPATCH);
    let dispatch = faults.take(dispatch.and_then(|found| services::dispatch(&found, environment)));
    let log =
        faults.take(section("log", keys::LOG).and_then(|found| services::log(&found, folder)));
    let telemetry = section("telemetry", keys::TELEMETRY);
    let telemetry = faults.take(telemetry.and_then(|found| telemetry::parse(&found, environment)));
    let late_after = limits.as_ref().and_then(|limits| limits.late_after).unwrap_or(LATE_AFTER);
    let given = std::mem::take(&mut raw.destinations);
    let (mut sources, mut wanted, secrets, notes) =
        sources((file, folder), raw, late_after, &mut faults);
    let destinations = destination.as_ref().map(|first| {
        let (first, place) = ((first, state.as_ref()), (file, folder));
        let mut named = NamedDestinations::read(given, first, place, environment, &mut faults);
        for source in &mut sources {
            let Some(wanted) = wanted.remove(&source.name) else { continue };
            source.destination = faults.take(named.of(wanted, first)).flatten();
            let place = named.place(source.destination.as_deref(), first.0);
            faults.take(placement::must_be_possible(file, source, place));
        }
        named.into_places()
    });
    faults.take(overlap::names_apart(file, &sources));
    let destinations = destinations.unwrap_or_default();
    faults.end()?;
    let (Some(destination), Some(limits), Some(dispatch), Some(log), Some(telemetry)) =
        (destination, limits, dispatch, log, telemetry)
    else {
        unreachable!("each of them that is missing is a fault");
    };
    let secrets = [secrets, telemetry.secrets()].concat();
    Ok(Config {
        destination,
        destinations,
        state,
        limits,
        dispatch,
        log,
        telemetry,
        sources,
        secrets,
        vaults: VaultValues::new(),
        notes,
    })
}

/// The sources with what concerns several of them; where the blobs of each are to go, by its name;
/// their secrets; what should be known.
fn sources(
    (file, folder): (&str, &Path),
    mut raw: RawConfig,
    late_after: Duration,
    faults: &mut Faults,
) -> (Vec<Source>, BTreeMap<String, WantedDestination>, Vec<Secret>, Vec<String>) {
    if let Some(defaults) = &mut raw.defaults {
        if defaults.file.is_empty() {
            defaults.file = file.to_owned();
        }
        defaults::sift(defaults).into_iter().for_each(|error| faults.add(error));
    }
    check_names(file, &raw.sources, faults);
    let (mut sources, mut secrets, mut places) = (Vec::new(), Vec::new(), Vec::new());
    let mut wanted = BTreeMap::new();
    for mut one in raw.sources {
        if let Some(defaults) = &raw.defaults {
            defaults::apply(defaults, &mut one);
        }
        let (expected, its_file) = (std::mem::take(&mut one.expect), one.file.clone());
        let parsed = source::parse(one, late_after).and_then(|mut parsed| {
            match expect::parse((&its_file, folder), &parsed.source, expected) {
                Ok(expectations) => parsed.source.expectations = expectations,
                Err(error) if error.is_outside => {
                    parsed.source.unusable.get_or_insert(error.to_string());
                }
                Err(error) => return Err(error),
            }
            Ok(parsed)
        });
        let parsed = faults.take(parsed);
        let Some(ParsedSource { source, secrets: own, place, wanted: to }) = parsed else {
            continue;
        };
        wanted.insert(source.name.clone(), to);
        sources.push(source);
        secrets.extend(own);
        places.push(place);
    }
    let servers = raw.servers.into_iter().map(servers::parse);
    let servers: Vec<_> = servers.filter_map(|server| faults.take(server)).collect();
    overlap::note(&mut sources);
    let mut notes = servers::share(&servers, &mut sources, &places);
    let idle = raw.idle_include.iter().map(|pattern| {
        format!("`include` holds `{}`, which names no file", printable(pattern.as_bytes()))
    });
    notes.extend(idle);
    (sources, wanted, secrets, notes)
}

/// Names must differ in more than case: some stores do not tell the cases apart.
fn check_names(file: &str, sources: &[RawSection], faults: &mut Faults) {
    if sources.is_empty() && faults.is_empty() {
        faults.add(SettingError {
            place: file.to_owned(),
            key: "source".into(),
            problem: "is missing; at least one `[[source]]` is needed".into(),
            is_outside: false,
        });
    }
    let mut names: BTreeMap<String, &RawSection> = BTreeMap::new();
    for source in sources {
        let Some(name) = text::source_name(source) else { continue };
        let Some(first) = names.insert(name.to_ascii_lowercase(), source) else { continue };
        let place = |of: &RawSection| format!("{}:{}", of.file, of.line);
        let same = text::source_name(first) == Some(name);
        let how = if same { "twice" } else { "twice but for upper and lower case" };
        faults.add(SettingError {
            place: place(source),
            key: format!("source.{}", printable(name.as_bytes())),
            problem: format!(
                "stands {how}, first at {}; each source needs a name of its own",
                place(first)
            ),
            is_outside: false,
        });
    }
}

pub mod destination;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_many;
#[cfg(test)]
mod tests_outside;
