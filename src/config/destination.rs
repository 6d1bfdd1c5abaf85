//! Where blobs go, and where our own state is: `[destination]` and `[state]`.

use std::path::{Path, PathBuf};

use super::identity;
use super::text::Environment;
use crate::model::Secret;
use crate::settings::{Section, SettingError};
use crate::store::azure::AzureIdentity;
use crate::store::azure::{TrustedRoots, illegal_container};

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
        identity: AzureIdentity,
    },
}

impl Account {
    /// Whether both are the same account, as far as the settings tell.
    fn is_at(&self, other: &Account) -> bool {
        let place = |account: &Account| match account {
            Account::ConnectionString(text) => {
                let parts = text.reveal().split(';').map(str::trim);
                let named = parts.filter(|part| {
                    let key = part.split('=').next().unwrap_or_default().to_ascii_lowercase();
                    matches!(key.as_str(), "accountname" | "blobendpoint" | "usedevelopmentstorage")
                });
                named.collect::<Vec<_>>().join(";")
            }
            Account::Sas { endpoint, .. } | Account::Identity { endpoint, .. } => {
                endpoint.trim_end_matches('/').to_owned()
            }
        };
        place(self) == place(other)
    }
}

/// `[destination]`.
pub(crate) fn destination(
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

/// `[state]`: as `[destination]`, whose account it is in unless it names one.
pub(crate) fn place_of_state(
    section: &Section,
    blobs: &Destination,
    folder: &Path,
    environment: &Environment,
) -> Result<Destination, SettingError> {
    let state = beside(section, blobs, folder, environment)?;
    must_be_private(section, &state)?;
    if blobs.meets(&state) {
        return Err(section.error(
            place_key(section),
            "is the destination's own, or one lies in the other; allowed is another place, or no \
            `[state]`",
        ));
    }
    Ok(state)
}

/// The setting that names the place.
pub(crate) fn place_key(section: &Section) -> &'static str {
    if section.has("folder") { "folder" } else { "container" }
}

/// A place as `[destination]` is one, whose account it is in unless it names one.
pub(crate) fn beside(
    section: &Section,
    blobs: &Destination,
    folder: &Path,
    environment: &Environment,
) -> Result<Destination, SettingError> {
    let names_account = ["folder", "connection_string", "account", "endpoint", "sas"]
        .iter()
        .chain(identity::KEYS)
        .any(|key| section.has(key));
    match blobs {
        Destination::Azure { account, create_container, api_version, trust, .. }
            if !names_account =>
        {
            let container = section.text("container")?.ok_or_else(|| {
                section.error("container", "is missing; allowed is the name of a container")
            })?;
            check_container(section, &container)?;
            Ok(Destination::Azure {
                account: account.clone(),
                container,
                create_container: section.flag("create_container", *create_container)?,
                api_version: section.text("api_version")?.or_else(|| api_version.clone()),
                trust: match section.has("ca_file") {
                    true => identity::trust(section, folder)?,
                    false => trust.clone(),
                },
            })
        }
        _ => destination(section, folder, environment),
    }
}

impl Destination {
    /// Whether both are one place, or one lies in the other, as far as the settings tell.
    pub fn meets(&self, other: &Destination) -> bool {
        match (self, other) {
            (Destination::Folder(one), Destination::Folder(other)) => {
                one.starts_with(other) || other.starts_with(one)
            }
            (
                Destination::Azure { container: one, account: here, .. },
                Destination::Azure { container: other, account: there, .. },
            ) => one == other && here.is_at(there),
            _ => false,
        }
    }

    /// This one, with another container.
    pub fn with_container(&self, name: &str) -> Option<Destination> {
        match self {
            Destination::Folder(_) => None,
            Destination::Azure { account, create_container, api_version, trust, .. } => {
                Some(Destination::Azure {
                    account: account.clone(),
                    container: name.to_owned(),
                    create_container: *create_container,
                    api_version: api_version.clone(),
                    trust: trust.clone(),
                })
            }
        }
    }
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

/// Refuses a place for state that everybody may read: `$web` is a public site, and our state tells
/// of paths, servers and users.
pub(crate) fn must_be_private(section: &Section, state: &Destination) -> Result<(), SettingError> {
    match state {
        Destination::Azure { container, .. } if container == "$web" => Err(section.error(
            "container",
            "is \"$web\", which everybody can read; give our state a place of its own with \
            `[state]`",
        )),
        _ => Ok(()),
    }
}

/// One rule for a container's name, that of the store. `$web` is one: what goes there is a public
/// web site.
pub(crate) fn check_container(section: &Section, name: &str) -> Result<(), SettingError> {
    let Some(rule) = illegal_container(name) else { return Ok(()) };
    let shown = crate::model::printable(name.as_bytes());
    Err(section.error("container", format!("is \"{shown}\"; {rule}")))
}
