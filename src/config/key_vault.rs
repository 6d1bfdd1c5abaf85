//! Secrets in key vaults: how the file names them, and what they hold.

use std::collections::BTreeMap;
use std::fmt;

use url::{Host, Url};

use crate::model::Secret;

/// What hosts of key vaults end with, by cloud: public, China, US government. Source: "Azure Key
/// Vault keys, secrets and certificates overview", its table of DNS suffixes.
const SUFFIXES: [&str; 3] = [".vault.azure.net", ".vault.azure.cn", ".vault.usgovcloudapi.net"];
/// How an address is written.
const FORM: &str = "`{ keyvault = \"https://NAME.vault.azure.net/secrets/SECRET\" }`, with \
    `/VERSION` behind it where it is to stay the same";

/// The address of a secret: vault, name, and a version unless it is the current one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VaultSecret {
    /// `https://NAME.vault.azure.net`.
    pub vault: String,
    /// The secret's name.
    pub name: String,
    /// 32 hexadecimal digits.
    pub version: Option<String>,
}

impl VaultSecret {
    /// Reads an address; what is wrong with it. It names a host of Azure's key vaults: nobody else
    /// is told who we are.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("names a secret of a key vault {why}; allowed is {FORM}");
        let url = Url::parse(text).map_err(|_| wrong("by a text that is no URL"))?;
        if url.scheme() != "https" || url.port().is_some() {
            return Err(wrong("by an address that does not begin with `https://NAME.`"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("with a user name in it"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("with a query in it"));
        }
        let Some(Host::Domain(host)) = url.host() else {
            return Err(wrong("without a name of the vault"));
        };
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        let vault = SUFFIXES.iter().find_map(|suffix| host.strip_suffix(suffix));
        if vault.is_none_or(|name| name.is_empty() || !name.bytes().all(is_name)) {
            return Err(wrong("at a host that is no key vault's"));
        }
        let path: Vec<&str> = url.path().trim_matches('/').split('/').collect();
        let (name, version) = match path[..] {
            ["secrets", name] => (name, None),
            ["secrets", name, version] => (name, Some(version)),
            _ => return Err(wrong("without its name")),
        };
        if name.is_empty() || name.len() > 127 || !name.bytes().all(is_name) {
            return Err(wrong("by a name that is no secret's (letters, digits and `-`)"));
        }
        if version
            .is_some_and(|text| text.len() != 32 || !text.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            return Err(wrong("by a version that is none (32 hexadecimal digits)"));
        }
        let (vault, name) = (format!("https://{host}"), name.to_owned());
        Ok(Self { vault, name, version: version.map(str::to_owned) })
    }
}

impl fmt::Display for VaultSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/secrets/{}", self.vault, self.name)?;
        self.version.as_ref().map_or(Ok(()), |version| write!(f, "/{version}"))
    }
}

/// What key vaults hold: each secret, or why it could not be read.
pub type VaultValues = BTreeMap<VaultSecret, Result<Secret, String>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_secret_of_a_key_vault_and_nothing_else() {
        let version = "0123456789abcdef0123456789abcdef";
        for good in [
            "https://kv-acme.vault.azure.net/secrets/acme-password".to_owned(),
            format!("https://kv.vault.azure.cn/secrets/a/{version}"),
            "https://kv.vault.usgovcloudapi.net/secrets/A1".to_owned(),
        ] {
            let read = VaultSecret::parse(&good).unwrap_or_else(|why| panic!("{good}: {why}"));
            assert_eq!(read.to_string(), good);
        }
        let same = VaultSecret::parse("https://KV.vault.azure.net/secrets/a/").expect("an address");
        assert_eq!(same.to_string(), "https://kv.vault.azure.net/secrets/a");
        for bad in [
            "",
            "acme-password",
            "http://kv.vault.azure.net/secrets/a",
            "https://kv.vault.azure.net:8443/secrets/a",
            "https://kv.vault.azure.net/secrets/",
            "https://kv.vault.azure.net/keys/a",
            "https://kv.vault.azure.net/secrets/a/b",
            "https://kv.vault.azure.net/secrets/a_b",
            "https://kv.vault.azure.net/secrets/a/../../keys/b",
            "https://kv.vault.azure.net/secrets/a?api-version=7.4",
            "https://kv.vault.azure.net/secrets/a#b",
            "https://user@kv.vault.azure.net/secrets/a",
            "https://vault.azure.net/secrets/a",
            "https://a.b.vault.azure.net/secrets/a",
            "https://kv.vault.azure.net.example.org/secrets/a",
            "https://example.org/secrets/a?x=.vault.azure.net",
            "https://127.0.0.1/secrets/a",
        ] {
            let why = VaultSecret::parse(bad).expect_err(bad);
            assert!(why.contains("allowed is `{ keyvault = "), "{bad}: {why}");
        }
    }
}
