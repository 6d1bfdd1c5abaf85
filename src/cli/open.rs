//! Configuration to what a command works with: sources, store, limits, secrets to keep quiet about.

use std::path::Path;
use std::sync::Arc;

use url::Url;

use super::{Configured, UNUSABLE, console};
use crate::config::text::Environment;
use crate::config::{self, Account, Config, Destination, LimitSettings};
use crate::failure::Failure;
use crate::model::{Secret, chain};
use crate::run::settings::Limits;
use crate::store::azure::{AzureSettings, AzureStore, ContainerCreation, Credential, credential, parse_connection_string};
use crate::store::contract::Store;
use crate::store::folder::FolderStore;
use crate::telemetry::redact::Redactor;

/// Why a command cannot begin: text for people, all of it.
#[derive(Debug)]
pub struct Unusable(pub String);

impl Unusable {
    /// Says so to whoever called. Returns the exit status for it.
    pub fn tell(&self) -> u8 {
        console::say(&format!("error: {}", self.0));
        UNUSABLE
    }
}

/// What most commands begin with.
pub struct Opened {
    /// The configuration, with only the sources that were asked for.
    pub config: Config,
    /// Its store; nothing was asked of it yet.
    pub store: Arc<dyn Store>,
    /// Knows every secret of the configuration.
    pub redactor: Redactor,
}

/// Reads the configuration that `configured` names, and opens its store.
pub fn open(configured: &Configured, environment: &Environment) -> Result<Opened, Unusable> {
    let config = config(configured, environment)?;
    let store = store(&config.destination)?;
    Ok(Opened { redactor: redactor(&config), store, config })
}

/// The configuration that `configured` names, with only the sources that it names.
pub fn config(configured: &Configured, environment: &Environment) -> Result<Config, Unusable> {
    let mut config = config::load(&configured.config, environment).map_err(|error| {
        let hint = match &error {
            config::ConfigError::Read(..) => "\nhint: `--config FILE` or BLOBFERRY_CONFIG names another file; `blobferry demo` needs none",
            _ => "",
        };
        Unusable(format!("{}{hint}", chain(&error)))
    })?;
    let unknown = configured.sources.iter().find(|name| config.sources.iter().all(|source| source.name != **name));
    if let Some(name) = unknown {
        let names: Vec<&str> = config.sources.iter().map(|source| source.name.as_str()).collect();
        let shown = crate::model::printable(name.as_bytes());
        return Err(Unusable(format!("--source {shown}: there is no such source; the configuration holds {}", crate::settings::listed(&names))));
    }
    if !configured.sources.is_empty() {
        config.sources.retain(|source| configured.sources.contains(&source.name));
    }
    Ok(config)
}

/// The store that the configuration names. Does no I/O.
pub fn store(destination: &Destination) -> Result<Arc<dyn Store>, Unusable> {
    match destination {
        Destination::Folder(path) => {
            let store = FolderStore::new(path).map_err(|error| Unusable(format!("the folder `{}`: {error}", path.display())))?;
            Ok(Arc::new(store))
        }
        Destination::Azure { account, container, create_container, api_version } => {
            let (service, credential) = service(account)?;
            let mut settings = AzureSettings::new(service, container.clone(), credential);
            settings.creation = if *create_container { ContainerCreation::Allowed } else { ContainerCreation::Forbidden };
            settings.api_version = api_version.clone();
            let store = AzureStore::new(settings).map_err(|error| Unusable(format!("{}\nhint: {}", chain(&error), error.class().hint())))?;
            Ok(Arc::new(store))
        }
    }
}

fn service(account: &Account) -> Result<(Url, Credential), Unusable> {
    match account {
        Account::ConnectionString(text) => {
            let connection = parse_connection_string(text).map_err(|problem| Unusable(format!("`destination.connection_string` {problem}")))?;
            Ok((connection.blob, connection.credential))
        }
        Account::Sas { endpoint, sas } => {
            let url = Url::parse(endpoint).map_err(|error| Unusable(format!("`destination.endpoint` is no URL: {error}")))?;
            Ok((url, Credential::Sas(Secret::new(sas.reveal().trim_start_matches('?')))))
        }
        Account::Identity { endpoint, identity } => {
            let url = Url::parse(endpoint).map_err(|error| Unusable(format!("`destination.endpoint` is no URL: {error}")))?;
            let credential = credential(identity).map_err(|error| Unusable(format!("`destination.identity`: {error}")))?;
            Ok((url, Credential::Token(credential)))
        }
    }
}

/// The limits on this machine.
pub fn limits(settings: &LimitSettings) -> Limits {
    let folder = settings.temp_folder();
    let free = fs4::available_space(existing(&folder)).unwrap_or(0);
    settings.limits(free)
}

/// The nearest folder above that is there: free space is asked of it.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("."))
}

/// Everything that no output may repeat.
pub fn redactor(config: &Config) -> Redactor {
    let mut secrets: Vec<Secret> = config.secrets.clone();
    if let Destination::Azure { account, .. } = &config.destination {
        match account {
            Account::ConnectionString(text) => {
                let parts = text.reveal().split(';').filter_map(|pair| pair.split_once('='));
                let parts = parts.filter(|(key, _)| matches!(key.trim().to_ascii_lowercase().as_str(), "accountkey" | "sharedaccesssignature"));
                secrets.extend(parts.map(|(_, value)| Secret::new(value.trim())));
                secrets.push(text.clone());
            }
            Account::Sas { sas, .. } => secrets.extend(signatures(sas)),
            Account::Identity { .. } => {}
        }
    }
    Redactor::new(&secrets)
}

/// The whole SAS and the part of it that counts.
fn signatures(sas: &Secret) -> Vec<Secret> {
    let signature = sas.reveal().split('&').find_map(|pair| pair.strip_prefix("sig=")).map(Secret::new);
    [Some(sas.clone()), signature].into_iter().flatten().collect()
}
