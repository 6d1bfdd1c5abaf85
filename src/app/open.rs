//! Configuration to what a command works with: sources, store, limits, secrets to keep quiet about.

use std::path::Path;
use std::sync::Arc;

use super::configured::Configured;
use super::key_vault;
use super::secrets::redactor;
use super::stores::stores;
use super::unusable::Unusable;
use crate::config::key_vault::VaultValues;
use crate::config::text::Environment;
use crate::config::{self, Account, Config, Destination, LimitSettings};
use crate::model::redactor::Redactor;
use crate::model::{chain, printable};
use crate::store::azure::{Credential, parse_connection_string};
use crate::store::contract::Store;
use crate::store::destinations::Destinations;
use crate::transfer::settings::Limits;

/// What most commands begin with.
pub struct OpenedConfig {
    /// The configuration, with only the sources that were asked for.
    pub config: Config,
    /// Its store; nothing was asked of it yet.
    pub store: Arc<dyn Store>,
    /// Those of sources that name another destination.
    pub destinations: Destinations,
    /// Knows every secret of the configuration.
    pub redactor: Redactor,
}

/// Reads the configuration that `configured` names, and opens its store.
pub(crate) async fn open(
    configured: &Configured,
    environment: &Environment,
) -> Result<OpenedConfig, Unusable> {
    let config = config(configured, environment).await?;
    let (store, destinations) = stores(&config)?;
    Ok(OpenedConfig { redactor: redactor(&config), store, destinations, config })
}

/// What is wrong with a configuration: a line for each error, as safe as [`chain`] makes one.
fn in_lines(error: &config::ConfigError) -> String {
    match error {
        config::ConfigError::Setting(errors) => {
            let text = errors.to_string();
            let lines: Vec<String> = text.lines().map(|line| printable(line.as_bytes())).collect();
            lines.join("\n")
        }
        other => chain(other),
    }
}

/// The configuration that `configured` names, with only the sources that it names.
pub(crate) async fn config(
    configured: &Configured,
    environment: &Environment,
) -> Result<Config, Unusable> {
    config_after(configured, environment, &VaultValues::new()).await
}

/// As [`config()`]; where a key vault cannot be asked now, what is `known` of it still holds.
pub(crate) async fn config_after(
    configured: &Configured,
    environment: &Environment,
    known: &VaultValues,
) -> Result<Config, Unusable> {
    let vaults = match config::vault_needs(&configured.config, environment).map_err(unreadable)? {
        Some(needs) => key_vault::read(&needs, known).await,
        None => VaultValues::new(),
    };
    let mut config = config::load(&configured.config, environment, &vaults).map_err(unreadable)?;
    let unknown = configured
        .sources
        .iter()
        .find(|name| config.sources.iter().all(|source| source.name != **name));
    if let Some(name) = unknown {
        return Err(Unusable(no_such_source(name, &config)));
    }
    if !configured.sources.is_empty() {
        config.sources.retain(|source| configured.sources.contains(&source.name));
    }
    Ok(config)
}

fn unreadable(error: config::ConfigError) -> Unusable {
    let hint = match &error {
        config::ConfigError::Read(..) => {
            "\nhint: `--config FILE` or BLOBFERRY_CONFIG names \
            another file; `blobferry demo` needs none"
        }
        _ => "",
    };
    Unusable(format!("{}{hint}", in_lines(&error)))
}

/// So many names are shown to somebody who has mistaken one.
const NAMES: usize = 20;

fn no_such_source(name: &str, config: &Config) -> String {
    let names: Vec<&str> = config.sources.iter().map(|source| source.name.as_str()).collect();
    let shown = crate::model::printable(name.as_bytes());
    let hint = match crate::settings::closest(name, &names) {
        Some(near) if names.len() > NAMES => format!("did you mean `{near}`?"),
        _ if name.contains(['*', '?']) => {
            "names are given whole, one `--source` each; `--source` takes no patterns".to_owned()
        }
        _ => {
            let more = match names.len().saturating_sub(NAMES) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let first = &names[..names.len().min(NAMES)];
            format!("the configuration holds {}{more}", crate::settings::listed(first))
        }
    };
    format!("--source {shown}: there is no such source; {hint}")
}

/// A source that is off is not run because somebody names it.
pub(crate) fn must_be_on(configured: &Configured, config: &Config) -> Result<(), Unusable> {
    let is_off = |source: &&crate::transfer::settings::Source| {
        !source.enabled && configured.sources.contains(&source.name)
    };
    match config.sources.iter().find(is_off) {
        Some(source) => Err(Unusable(format!(
            "--source {}: it is off (`enabled = false`); `BLOBFERRY__SOURCE__{}__ENABLED=true` \
            switches it on for once",
            source.name,
            crate::config::overrides::in_variables(&source.name).to_ascii_uppercase()
        ))),
        None => Ok(()),
    }
}

/// Why a run could not work with the destination's credential, if the credential says so itself.
pub fn lacking(section: &str, destination: &Destination) -> Option<String> {
    let Destination::Azure { account, .. } = destination else { return None };
    let (setting, credential) = match account {
        Account::ConnectionString(text) => {
            ("connection_string", parse_connection_string(text).ok()?.credential)
        }
        Account::Sas { sas, .. } => ("sas", Credential::Sas(sas.clone())),
        Account::Identity { .. } => return None,
    };
    let lacking = crate::store::azure::lacking(&credential)?;
    Some(format!(
        "`{section}.{setting}`: the shared access signature cannot be used for runs: {lacking}"
    ))
}

/// A destination whose credential says itself that no run can work with it is refused before
/// anything is asked of it.
pub(crate) fn must_allow_runs(config: &Config) -> Result<(), Unusable> {
    // Where state has a place of its own, users' blobs take fewer rights than it does.
    let lacking = match &config.state {
        Some(state) => lacking("state", state),
        None => lacking("destination", &config.destination),
    };
    lacking.map_or(Ok(()), |problem| {
        Err(Unusable(format!("{problem}\nhint: make one with the permissions rwdlac")))
    })
}

/// The limits on this machine.
pub(crate) fn limits(settings: &LimitSettings) -> Limits {
    let folder = settings.temp_folder();
    let free = fs4::available_space(existing(&folder)).unwrap_or(0);
    settings.limits(free)
}

/// The nearest folder above that is there: free space is asked of it.
fn existing(path: &Path) -> &Path {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("."))
}
