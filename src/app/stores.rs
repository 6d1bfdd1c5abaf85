//! The stores that a configuration names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use url::Url;

use super::unusable::Unusable;
use crate::config::{Account, Config, Destination};
use crate::model::failure::Failure;
use crate::model::{Secret, chain};
use crate::runtime::retry::Policy;
use crate::state::apart::Apart;
use crate::store::azure::{
    AzureSettings, AzureStore, ContainerCreation, Credential, TrustedRoots, credential,
    parse_connection_string,
};
use crate::store::circuit_breaker::CircuitBreaker;
use crate::store::contract::Store;
use crate::store::destinations::Destinations;
use crate::store::folder::FolderStore;

/// The stores that the configuration names, each with our state in its own place if it is in
/// another one: of `[destination]`, and of the destinations beside it. Does no I/O.
pub(crate) fn stores(config: &Config) -> Result<(Arc<dyn Store>, Destinations), Unusable> {
    let blobs = place(&config.destination)?;
    let (first, state) = match &config.state {
        Some(state) => {
            let state = place_of_state(state)?;
            (Arc::new(Apart::new(blobs, state.clone())) as Arc<dyn Store>, state)
        }
        None => (blobs.clone(), blobs),
    };
    let mut others = Vec::new();
    for (name, destination) in &config.destinations {
        let blobs = place(destination)?;
        others.push((name.clone(), Arc::new(Apart::new(blobs, state.clone())) as Arc<dyn Store>));
    }
    Ok((first, Destinations::new(others)))
}

/// The place of the state alone. Does no I/O.
pub(crate) fn place_of_state(state: &Destination) -> Result<Arc<dyn Store>, Unusable> {
    match state {
        Destination::Folder(path) => Ok(guarded(folder(path)?.for_state())),
        state => place(state),
    }
}

fn folder(path: &Path) -> Result<FolderStore, Unusable> {
    FolderStore::remembered_in(path, memory())
        .map_err(|error| Unusable(format!("the folder `{}`: {error}", path.display())))
}

/// The store; once it has died, each step that is left to do tries it once.
fn guarded(store: impl Store + 'static) -> Arc<dyn Store> {
    Arc::new(CircuitBreaker::over(Arc::new(store), Policy::default()))
}

/// One place for blobs. Does no I/O.
pub(crate) fn place(destination: &Destination) -> Result<Arc<dyn Store>, Unusable> {
    match destination {
        Destination::Folder(path) => Ok(guarded(folder(path)?)),
        Destination::Azure { account, container, create_container, api_version, trust } => {
            let (service, credential) = service(account, trust)?;
            let mut settings = AzureSettings::new(service, container.clone(), credential);
            settings.creation = if *create_container {
                ContainerCreation::Allowed
            } else {
                ContainerCreation::Forbidden
            };
            settings.api_version = api_version.clone();
            settings.trust = trust.clone();
            let store = AzureStore::new(settings)
                .map_err(|error| Unusable(format!("{}\nhint: {}", chain(&error), error.hint())))?;
            Ok(guarded(store))
        }
    }
}

/// Where this user's programs keep what they know of this machine.
fn memory() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    // systemd names a folder of this service alone.
    let own = variable("STATE_DIRECTORY").map(PathBuf::from);
    let state = variable("XDG_STATE_HOME").map(|folder| PathBuf::from(folder).join("blobferry"));
    let home = variable("HOME").map(|home| PathBuf::from(home).join(".local/state/blobferry"));
    own.or(state).or(home).filter(|folder| folder.is_absolute())
}

fn service(account: &Account, trust: &TrustedRoots) -> Result<(Url, Credential), Unusable> {
    match account {
        Account::ConnectionString(text) => {
            let connection = parse_connection_string(text).map_err(|problem| {
                Unusable(format!("`destination.connection_string` {problem}"))
            })?;
            Ok((connection.blob, connection.credential))
        }
        Account::Sas { endpoint, sas } => {
            let url = Url::parse(endpoint)
                .map_err(|error| Unusable(format!("`destination.endpoint` is no URL: {error}")))?;
            Ok((url, Credential::Sas(Secret::new(sas.reveal().trim_start_matches('?')))))
        }
        Account::Identity { endpoint, identity } => {
            let url = Url::parse(endpoint)
                .map_err(|error| Unusable(format!("`destination.endpoint` is no URL: {error}")))?;
            let credential = credential(identity, trust)
                .map_err(|error| Unusable(format!("`destination.identity`: {error}")))?;
            Ok((url, Credential::Token(credential)))
        }
    }
}
