//! Who reads the secrets in key vaults that a configuration names.

use std::collections::BTreeSet;
use std::path::Path;

use crate::config::identity;
use crate::config::key_vault::VaultSecret;
use crate::config::keys;
use crate::config::outside::Environment;
use crate::config::text::RawConfig;
use crate::settings::{Section, SettingEntry, SettingError, ValueOrigin};
use crate::store::azure::{AzureIdentity, TrustedRoots};

/// The table that tells who reads key vaults.
pub(crate) const KEYVAULT: &str = "keyvault";

/// Which secrets of key vaults a configuration names, and who reads them.
#[derive(Clone, Debug)]
pub struct VaultNeeds {
    /// Who reads them.
    pub identity: AzureIdentity,
    /// Whom to trust on the way.
    pub trust: TrustedRoots,
    /// The secrets.
    pub secrets: BTreeSet<VaultSecret>,
}

/// Who reads key vaults: `[keyvault]`, else the identity of `[destination]`.
pub(super) fn reader(
    raw: &RawConfig,
    place: (&str, &Path),
    environment: &Environment,
    secrets: BTreeSet<VaultSecret>,
) -> Result<VaultNeeds, SettingError> {
    let (file, folder) = place;
    let section = |name: &str, keys| {
        let found = raw.tables.get(name).cloned().unwrap_or_default();
        Section::new(file, name, found.line.max(1), found.entries, keys)
    };
    let own = raw.tables.contains_key(KEYVAULT);
    let section = match own {
        true => section(KEYVAULT, keys::KEYVAULT.to_vec())?,
        false => section("destination", keys::DESTINATION.to_vec())?,
    };
    if !own {
        let tell = "tell by `[keyvault]` who reads key vaults, as `identity = \"managed\"`";
        let others = ["connection_string", "sas", "folder"];
        if let Some(key) = others.iter().find(|key| section.has(key)) {
            let problem = format!("is no identity, and values are read from key vaults: {tell}");
            return Err(section.error(key, problem));
        }
        let is_read = |entry: &SettingEntry| matches!(entry.origin, Some(ValueOrigin::Secret(_)));
        let entries = raw.tables.get("destination").map(|found| &found.entries);
        let circular = identity::KEYS
            .iter()
            .find(|key| entries.and_then(|entries| entries.get(**key)).is_some_and(is_read));
        if let Some(key) = circular {
            let problem = format!("is needed to read the key vault that it is read from: {tell}");
            return Err(section.error(key, problem));
        }
    }
    let (identity, trust) = of_section(&section, folder, environment)?;
    Ok(VaultNeeds { identity, trust, secrets })
}

/// The identity that a section names, and whom to trust.
pub(super) fn of_section(
    section: &Section,
    folder: &Path,
    environment: &Environment,
) -> Result<(AzureIdentity, TrustedRoots), SettingError> {
    // Vaults are reached over https alone.
    let who = identity::who(section, "https://", folder, environment)?;
    Ok((who, identity::trust(section, folder)?))
}
