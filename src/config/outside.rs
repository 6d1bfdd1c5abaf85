//! Values that stand outside of the file: `{ env = "NAME" }` and `{ keyvault = "https://…" }`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use toml::de::{DeTable, DeValue};

use crate::config::key_vault::{VaultSecret, VaultValues};
use crate::settings::ValueOrigin;

/// The environment, as a value.
pub type Environment = BTreeMap<String, String>;

/// What a file reads values from.
pub(crate) struct Outside<'a> {
    pub environment: &'a Environment,
    pub vaults: VaultsOutside<'a>,
}

/// Key vaults, before and after they were asked.
pub(crate) enum VaultsOutside<'a> {
    /// Which secrets are wanted is noted; a text stands in for each.
    Wanted(&'a RefCell<BTreeSet<VaultSecret>>),
    /// What they hold.
    Read(&'a VaultValues),
}

/// Where a value is read from.
pub(crate) enum OutsideValue {
    /// `{ env = "NAME" }`.
    Variable(String),
    /// `{ keyvault = "https://…" }`.
    Secret(VaultSecret),
}

impl OutsideValue {
    /// What a table of one entry names; what is wrong with it.
    pub fn named(table: &DeTable<'_>) -> Result<Self, String> {
        let mut entries = table.iter();
        let (Some((name, value)), None) = (entries.next(), entries.next()) else {
            return Err(NO_VALUE.into());
        };
        match (name.get_ref().as_ref(), value.get_ref()) {
            ("env", DeValue::String(name)) if !name.is_empty() => {
                Ok(Self::Variable(name.to_string()))
            }
            ("env", _) => {
                Err("names no environment variable; allowed is `{ env = \"NAME\" }`".into())
            }
            ("keyvault", DeValue::String(address)) => VaultSecret::parse(address).map(Self::Secret),
            ("keyvault", _) => VaultSecret::parse("").map(Self::Secret),
            _ => Err(NO_VALUE.into()),
        }
    }

    pub fn origin(&self) -> ValueOrigin {
        match self {
            Self::Variable(name) => ValueOrigin::Variable(name.clone()),
            Self::Secret(secret) => ValueOrigin::Secret(secret.to_string()),
        }
    }
}

const NO_VALUE: &str = "is a table; allowed is a value, `{ env = \"NAME\" }` or `{ keyvault = \
    \"https://NAME.vault.azure.net/secrets/SECRET\" }`";

impl Outside<'_> {
    /// The value, or why there is none.
    pub fn look_up(&self, value: &OutsideValue) -> Result<String, String> {
        match (value, &self.vaults) {
            (OutsideValue::Variable(name), _) => self.variable(name),
            (OutsideValue::Secret(secret), VaultsOutside::Wanted(wanted)) => {
                wanted.borrow_mut().insert(secret.clone());
                Ok("a secret that is not read yet".to_owned())
            }
            (OutsideValue::Secret(secret), VaultsOutside::Read(values)) => {
                let problem = match values.get(secret) {
                    Some(Ok(value)) if value.reveal().is_empty() => "which is empty",
                    Some(Ok(value)) => return Ok(value.reveal().to_owned()),
                    Some(Err(problem)) => problem,
                    None => "which nobody has asked for",
                };
                Err(format!("reads the secret {secret}, {problem}"))
            }
        }
    }

    fn variable(&self, name: &str) -> Result<String, String> {
        let problem = match self.environment.get(name).map(String::as_str) {
            None => "which is not set",
            Some("") => "which is empty",
            Some(value) => match unresolved(value) {
                None => return Ok(value.to_owned()),
                Some(problem) => problem,
            },
        };
        Err(format!("reads the environment variable {name}, {problem}"))
    }
}

/// App Service leaves a Key Vault reference as it stands when it cannot resolve it.
pub(crate) fn unresolved(value: &str) -> Option<&'static str> {
    value.starts_with("@Microsoft.KeyVault(").then_some(
        "which holds a Key Vault reference that was not resolved: check the vault's and the \
        secret's name and that the app's identity has the role `Key Vault Secrets User`",
    )
}
