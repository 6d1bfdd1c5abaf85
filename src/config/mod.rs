//! `ingest.toml` and the environment to a configuration: the only door from text to settings.

mod identity;
pub mod keys;
mod overlap;
mod own;
pub mod schema;
pub mod source;
pub mod telemetry;
pub mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::archive::limits::Limits as ArchiveLimits;
use crate::model::Secret;
use crate::run::settings::{Limits, Source};
use crate::run::work::cutting::Sizes;
use crate::settings::{Key, Section, SettingError};
use crate::store::azure::{Identity, TrustedRoots, illegal_container, illegal_queue};
use text::{Environment, RawSection};

/// Everything that the file and the environment say, checked.
#[derive(Debug)]
pub struct Config {
    /// Where blobs go.
    pub destination: Destination,
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
}

/// Where blobs go.
#[derive(Clone, Debug)]
pub enum Destination {
    /// A container of a storage account.
    Azure {
        /// How to reach and prove ourselves to the account.
        account: Account,
        /// The container's name.
        container: String,
        /// Whether a missing container is created.
        create_container: bool,
        /// `x-ms-version` to ask for.
        api_version: Option<String>,
        /// Authorities that are trusted beside the machine's own.
        trust: TrustedRoots,
    },
    /// A local folder.
    Folder(PathBuf),
}

/// A storage account with a credential.
#[derive(Clone, Debug)]
pub enum Account {
    /// As in the portal.
    ConnectionString(Secret),
    /// URL of the blob service and a shared access signature.
    Sas {
        /// URL without a query.
        endpoint: String,
        /// The query.
        sas: Secret,
    },
    /// URL of the blob service and an identity that has a role there.
    Identity {
        /// URL without a query.
        endpoint: String,
        /// Who we are.
        identity: Identity,
    },
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
pub const QUEUE: &str = "INGEST_QUEUE";
/// A file that is left for later for longer is late.
const LATE_AFTER: Duration = Duration::from_secs(24 * 3600);

impl LimitSettings {
    /// Where temporary files go.
    pub fn temp_folder(&self) -> PathBuf {
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
    let bytes = match bytes.as_slice() {
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => {
            return Err(encoding("UTF-16; allowed is UTF-8: save it again as UTF-8"));
        }
        [0xEF, 0xBB, 0xBF, rest @ ..] => rest,
        all => all,
    };
    let text =
        std::str::from_utf8(bytes).map_err(|_| encoding("not UTF-8: save it again as UTF-8"))?;
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
    /// Folders on this machine that the program itself writes to: destination, log files, temporary
    /// files.
    fn own_folders(&self) -> Vec<PathBuf> {
        let destination = match &self.destination {
            Destination::Folder(path) => Some(path.clone()),
            Destination::Azure { .. } => None,
        };
        let logs =
            [&self.log.monitor, &self.log.errors].into_iter().filter_map(|file| file.parent());
        logs.map(Path::to_owned).chain(destination).chain([self.limits.temp_folder()]).collect()
    }
}

/// Reads `text`, the content of a file called `file` in `folder`, under `environment`. Pure but for
/// the key and certificate files that sources name.
pub fn parse(
    file: &str,
    folder: &Path,
    text: &str,
    environment: &Environment,
) -> Result<Config, SettingError> {
    let mut raw = text::read(file, text, environment)?;
    let mut section = |name: &str, keys: &[Key]| {
        let RawSection { line, entries } = raw.tables.remove(name).unwrap_or_default();
        Section::new(file, name, line.max(1), entries, keys.to_vec())
    };
    let destination =
        destination(&section("destination", keys::DESTINATION)?, folder, environment)?;
    let limits = limits(&section("limits", keys::LIMITS)?, folder)?;
    let dispatch = dispatch(&section("dispatch", keys::DISPATCH)?, environment)?;
    let log = log(&section("log", keys::LOG)?, folder)?;
    let telemetry = telemetry::parse(&section("telemetry", keys::TELEMETRY)?, environment)?;
    let sources = raw
        .sources
        .into_iter()
        .map(|raw| source::parse(file, raw, limits.late_after.unwrap_or(LATE_AFTER)))
        .collect::<Result<Vec<_>, _>>()?;
    let (mut sources, secrets): (Vec<_>, Vec<_>) = sources.into_iter().unzip();
    check_sources(file, &sources)?;
    overlap::note(&mut sources);
    let secrets = [secrets.concat(), telemetry.secrets()].concat();
    Ok(Config { destination, limits, dispatch, log, telemetry, sources, secrets })
}

fn check_sources(file: &str, sources: &[Source]) -> Result<(), SettingError> {
    let error = |key: String, problem: &str| {
        Err(SettingError { place: file.to_owned(), key, problem: problem.to_owned() })
    };
    if sources.is_empty() {
        return error("source".into(), "is missing; at least one `[[source]]` is needed");
    }
    let mut names = BTreeMap::new();
    for source in sources {
        if names.insert(&source.name, ()).is_some() {
            return error(
                format!("source.{}", source.name),
                "stands twice; each source needs a name of its own",
            );
        }
    }
    Ok(())
}

fn destination(
    section: &Section,
    folder: &Path,
    environment: &Environment,
) -> Result<Destination, SettingError> {
    if let Some(path) = section.text("folder")? {
        for other in ["connection_string", "account", "endpoint", "sas", "container", "ca_file"]
            .iter()
            .chain(identity::KEYS)
        {
            if section.has(other) {
                return Err(section.error(other, "stands beside `folder`; allowed is one of both"));
            }
        }
        return Ok(Destination::Folder(folder.join(path)));
    }
    let container = section.text("container")?.ok_or_else(|| {
        section.error("container", "is missing; allowed is the name of a container, or `folder`")
    })?;
    check_container(section, &container)?;
    Ok(Destination::Azure {
        account: account(section, folder, environment)?,
        container,
        trust: identity::trust(section, folder)?,
        create_container: section.flag("create_container", true)?,
        api_version: section.text("api_version")?,
    })
}

fn account(
    section: &Section,
    folder: &Path,
    environment: &Environment,
) -> Result<Account, SettingError> {
    let (string, sas) = (section.secret("connection_string")?, section.secret("sas")?);
    let identity = identity::KEYS.iter().copied().find(|key| section.has(key));
    if let Some(string) = string {
        return match ["account", "endpoint", "sas"]
            .into_iter()
            .chain(identity)
            .find(|key| section.has(key))
        {
            None => Ok(Account::ConnectionString(string)),
            Some(other) => Err(section.error(
                other,
                "stands beside `connection_string`; allowed is one way to the account",
            )),
        };
    }
    let endpoint = match (section.text("account")?, section.text("endpoint")?) {
        (Some(account), None)
            if account.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()) =>
        {
            format!("https://{account}.blob.core.windows.net")
        }
        (Some(account), None) => return Err(section.error("account", no_account(&account))),
        (None, Some(endpoint)) => endpoint,
        (Some(_), Some(_)) => {
            return Err(section.error(
                "endpoint",
                "stands beside `account`; allowed is one of \
                both",
            ));
        }
        (None, None) => {
            return Err(section.error(
                "account",
                "is missing; allowed are `account` or `endpoint`, `connection_string`, or `folder`",
            ));
        }
    };
    match (sas, identity) {
        (Some(sas), None) => Ok(Account::Sas { endpoint, sas }),
        (Some(_), Some(key)) => {
            Err(section.error(key, "stands beside `sas`; allowed is one of both"))
        }
        (None, _) => Ok(Account::Identity {
            identity: identity::who(section, &endpoint, folder, environment)?,
            endpoint,
        }),
    }
}

/// What is wrong with `account`, which is no name. Other clouds and domains are reached by their
/// whole URL. What looks like neither may be a secret in the wrong place: it is not repeated.
fn no_account(account: &str) -> String {
    let host = account.trim_start_matches("https://").trim_end_matches('/');
    let is_host = host.contains('.')
        && host.len() < 100
        && host.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-');
    if is_host {
        return format!(
            "is a host and no name; allowed for other clouds and domains is `endpoint = \
            \"https://{host}\"`"
        );
    }
    "is no name of a storage account: they hold lower-case letters and digits only; `endpoint` \
    takes a whole URL"
        .to_owned()
}

/// One rule for a container's name, that of the store. `$web` is one: what goes there is a public
/// web site.
fn check_container(section: &Section, name: &str) -> Result<(), SettingError> {
    let Some(rule) = illegal_container(name) else { return Ok(()) };
    let shown = crate::model::printable(name.as_bytes());
    Err(section.error("container", format!("is \"{shown}\"; {rule}")))
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

fn dispatch(
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

#[cfg(test)]
mod tests;
