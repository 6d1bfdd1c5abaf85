//! `ingest.toml` and the environment to a configuration: the only door from text to settings.

pub mod defaults;
mod destination_keys;
pub mod destinations;
pub mod expect;
mod faults;
mod identity;
mod include;
pub mod keys;
mod overlap;
pub mod overrides;
mod own;
mod placement;
pub mod schema;
pub mod selection;
pub mod servers;
mod service_keys;
pub mod source;
mod source_names;
pub mod tables;
pub mod telemetry;
pub mod text;
mod times;
mod toml_value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::archive::limits::ArchiveLimits;
use crate::config::text::RawConfig;
use crate::jobs::cutting::Sizes;
use crate::model::{Secret, printable};
use crate::settings::{Section, SettingError, SettingKey};
use crate::store::azure::illegal_queue;
use crate::transfer::settings::{Limits, Source};
use destination::{destination, must_be_private, place_of_state};
use destinations::{NamedDestinations, WantedDestination};
use faults::Faults;
use source::ParsedSource;
use text::{Environment, RawSection};

pub use destination::{Account, Destination};

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
    /// Every secret of the sources: no output may repeat them.
    pub secrets: Vec<Secret>,
    /// What is no error, but should be known: parts of the file that change nothing.
    pub notes: Vec<String>,
}

/// `[limits]`; what is not set depends on the machine.
#[derive(Clone, Debug, Default)]
pub struct LimitSettings {
    transfers: Option<u64>,
    files: Option<u64>,
    entries: Option<u64>,
    memory: Option<u64>,
    temp: Option<u64>,
    temp_folder: Option<PathBuf>,
    blocks: Option<u64>,
    archive: Option<ArchiveLimits>,
    late_after: Option<Duration>,
}

/// The environment variable that names the queue of work, for the host and for us.
pub(crate) const QUEUE: &str = "INGEST_QUEUE";
/// A file that is left for later for longer is late.
const LATE_AFTER: Duration = Duration::from_secs(24 * 3600);

impl LimitSettings {
    /// Where temporary files go.
    pub(crate) fn temp_folder(&self) -> PathBuf {
        self.temp_folder.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// The limits on a machine with `free_bytes` in its folder for temporary files.
    pub fn limits(&self, free_bytes: u64) -> Limits {
        let count = |set: Option<u64>, default: usize| {
            set.map_or(default, |n| usize::try_from(n).unwrap_or(usize::MAX))
        };
        let default = Limits::default_with(self.temp_folder(), free_bytes);
        Limits {
            transfers: count(self.transfers, default.transfers),
            files: count(self.files, default.files),
            entries: self.entries.unwrap_or(default.entries),
            memory: self.memory.unwrap_or(default.memory),
            temp: self.temp.unwrap_or(default.temp),
            blocks: count(self.blocks, default.blocks),
            archive: self.archive.clone().unwrap_or(default.archive),
            temp_folder: default.temp_folder,
            sightings: default.sightings,
        }
    }
}

/// `[dispatch]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DispatchSettings {
    /// Whether work goes through the queue; `None`: in Azure.
    pub by_queue: Option<bool>,
    /// The queue's name.
    pub queue: String,
    /// The app setting that tells where it is.
    pub connection: String,
    /// How large pieces are.
    pub sizes: Sizes,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The least important level that is logged.
    pub level: &'static str,
    /// Whether lines are JSON objects; `None`: on the console unless somebody watches, not in
    /// files.
    pub json: Option<bool>,
    /// Whether log files are written; `None`: wherever the file system is ours.
    pub files: Option<bool>,
    /// The file for everything.
    pub monitor: PathBuf,
    /// The file for errors and warnings.
    pub errors: PathBuf,
    /// `daily`, `hourly` or `never`.
    pub rotation: &'static str,
    /// Rotated files to keep.
    pub keep: usize,
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

/// Reads the file at `path` under `environment`.
pub fn load(path: &Path, environment: &Environment) -> Result<Config, ConfigError> {
    let bytes = std::fs::read(path).map_err(|error| ConfigError::Read(path.to_owned(), error))?;
    let encoding = |problem| ConfigError::Encoding(path.to_owned(), problem);
    let text = include::decoded(&bytes).map_err(encoding)?;
    let file = path
        .file_name()
        .map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut config = parse(&file, folder, text, environment)?;
    let own = config.own_folders();
    own::leave_out(&mut config.sources, &own);
    Ok(config)
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
/// the files that it includes, and the key and certificate files that sources name.
pub fn parse(
    file: &str,
    folder: &Path,
    text: &str,
    environment: &Environment,
) -> Result<Config, SettingError> {
    let mut faults = Faults::default();
    let mut raw = text::read(file, folder, text, environment, &mut faults)?;
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
    let limits =
        faults.take(section("limits", keys::LIMITS).and_then(|found| limits(&found, folder)));
    let dispatch = section("dispatch", keys::DISPATCH);
    let dispatch = faults.take(dispatch.and_then(|found| dispatch_of(&found, environment)));
    let log = faults.take(section("log", keys::LOG).and_then(|found| log(&found, folder)));
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

fn limits(section: &Section, folder: &Path) -> Result<LimitSettings, SettingError> {
    let default = ArchiveLimits::default();
    let bytes = section.size("archive_bytes")?.unwrap_or(default.total_bytes);
    let memory = section.size("memory")?;
    if memory.is_some_and(|memory| memory < 32 << 20) {
        return Err(section.error("memory", "is too little; allowed is \"32 MiB\" and more"));
    }
    Ok(LimitSettings {
        transfers: section.integer("transfers")?,
        files: section.integer("files")?,
        entries: section.integer("entries")?,
        memory,
        temp: section.size("temp")?,
        temp_folder: section.text("temp_folder")?.map(|path| folder.join(path)),
        blocks: section.integer("blocks")?,
        late_after: section.duration("late_after")?,
        archive: Some(ArchiveLimits {
            total_bytes: bytes,
            member_bytes: bytes,
            ratio: section.integer("archive_ratio")?.unwrap_or(default.ratio),
            members: section.integer("archive_members")?.unwrap_or(default.members),
            time: section.duration("archive_time")?.unwrap_or(default.time),
        }),
    })
}

fn dispatch_of(
    section: &Section,
    environment: &Environment,
) -> Result<DispatchSettings, SettingError> {
    let queue = section
        .text("queue")?
        .or_else(|| environment.get(QUEUE).filter(|name| !name.is_empty()).cloned());
    let queue = queue.unwrap_or_else(|| "blobferry-work".into());
    if let Some(allowed) = illegal_queue(&queue) {
        return Err(section.error(
            "queue",
            format!("is \"{}\"; {allowed}", crate::model::printable(queue.as_bytes())),
        ));
    }
    let default = Sizes::default();
    Ok(DispatchSettings {
        by_queue: section.one_of("mode")?.map(|mode| mode == "queue"),
        queue,
        connection: section.text("connection")?.unwrap_or_else(|| "AzureWebJobsStorage".into()),
        sizes: Sizes {
            files: section
                .integer("piece_files")?
                .map_or(default.files, |files| usize::try_from(files).unwrap_or(usize::MAX)),
            bytes: section.size("piece_bytes")?.unwrap_or(default.bytes).max(1),
        },
    })
}

fn log(section: &Section, folder: &Path) -> Result<LogSettings, SettingError> {
    Ok(LogSettings {
        level: section.one_of("level")?.unwrap_or("info"),
        json: section.one_of("format")?.map(|format| format == "json"),
        files: if section.has("files") { Some(section.flag("files", true)?) } else { None },
        monitor: folder.join(section.text("monitor")?.unwrap_or_else(|| "log/monitor.log".into())),
        errors: folder.join(section.text("errors")?.unwrap_or_else(|| "log/error.log".into())),
        rotation: section.one_of("rotation")?.unwrap_or("daily"),
        keep: usize::try_from(section.integer("keep")?.unwrap_or(14)).unwrap_or(14),
    })
}

pub mod destination;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_many;
#[cfg(test)]
mod tests_outside;
