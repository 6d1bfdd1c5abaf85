//! Who we are to a storage account, and whom we trust on the way there.

use std::path::Path;

use super::text::Environment;
use crate::settings::{Section, SettingError};
use crate::store::azure::AzureIdentity;
use crate::store::azure::{
    Certified, ManagedId, PUBLIC_AUTHORITY, Principal, PrincipalProof, TrustedRoots,
};

/// The settings of an identity.
pub(crate) const KEYS: &[&str] = &[
    "identity",
    "client_id",
    "object_id",
    "resource_id",
    "tenant",
    "client_secret",
    "client_certificate_file",
];

/// The identity that `section` names, for the account at `endpoint`.
pub fn who(
    section: &Section,
    endpoint: &str,
    folder: &Path,
    environment: &Environment,
) -> Result<AzureIdentity, SettingError> {
    if !endpoint.starts_with("https://") {
        return Err(section
            .error("endpoint", "is not `https://…`; an identity's token goes over https only"));
    }
    let kind = section.one_of("identity")?.unwrap_or("managed");
    let of_kind: &[&str] = match kind {
        "managed" => &["client_id", "object_id", "resource_id"],
        "workload" => &["client_id"],
        "service-principal" => &["client_id", "tenant", "client_secret", "client_certificate_file"],
        _ => &["client_id"],
    };
    if let Some(other) = KEYS[1..].iter().find(|key| section.has(key) && !of_kind.contains(key)) {
        return Err(section.error(
            other,
            format!(
                "says nothing of the identity \"{kind}\"; allowed are {}",
                crate::settings::listed(of_kind)
            ),
        ));
    }
    let or_variable = |set: Option<String>, name: &str| {
        set.or_else(|| environment.get(name).filter(|value| !value.is_empty()).cloned())
    };
    match kind {
        "workload" => Ok(AzureIdentity::Workload {
            client_id: or_variable(section.text("client_id")?, "AZURE_CLIENT_ID"),
        }),
        "cli" => Ok(AzureIdentity::Cli),
        "service-principal" => {
            let needed = |key: &str, name: &str| {
                or_variable(section.text(key)?, name).ok_or_else(|| {
                    section
                        .error(key, format!("is missing; allowed is its value here or in {name}"))
                })
            };
            Ok(AzureIdentity::ServicePrincipal(Principal {
                tenant: needed("tenant", "AZURE_TENANT_ID")?,
                client_id: needed("client_id", "AZURE_CLIENT_ID")?,
                proof: proof(section, folder, environment)?,
                authority: or_variable(None, "AZURE_AUTHORITY_HOST")
                    .unwrap_or_else(|| PUBLIC_AUTHORITY.to_owned()),
            }))
        }
        _ => managed(section, environment),
    }
}

fn managed(section: &Section, environment: &Environment) -> Result<AzureIdentity, SettingError> {
    let mut ids = Vec::new();
    for (key, made) in [
        ("client_id", ManagedId::Client as fn(String) -> _),
        ("object_id", ManagedId::Object),
        ("resource_id", ManagedId::Resource),
    ] {
        if let Some(id) = section.text(key)? {
            ids.push((key, made(id)));
        }
    }
    match &ids[..] {
        [_, (second, _), ..] => Err(section
            .error(second, "stands beside another name of the identity; allowed is one of them")),
        [(_, id)] => Ok(AzureIdentity::Managed { id: Some(id.clone()) }),
        [] => {
            let id = environment.get("AZURE_CLIENT_ID").filter(|id| !id.is_empty()).cloned();
            Ok(AzureIdentity::Managed { id: id.map(ManagedId::Client) })
        }
    }
}

/// A secret or a certificate: what the section holds, else what the environment does.
fn proof(
    section: &Section,
    folder: &Path,
    environment: &Environment,
) -> Result<PrincipalProof, SettingError> {
    let variable = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    let (secret, file) =
        (section.secret("client_secret")?, section.text("client_certificate_file")?);
    match (secret, file) {
        (Some(_), Some(_)) => Err(section.error(
            "client_certificate_file",
            "stands beside \
            `client_secret`; allowed is one of both",
        )),
        (Some(secret), None) => Ok(PrincipalProof::Secret(secret)),
        (None, Some(file)) => certificate(section, &folder.join(file)),
        (None, None) => {
            match (variable("AZURE_CLIENT_SECRET"), variable("AZURE_CLIENT_CERTIFICATE_PATH")) {
                (Some(secret), _) => Ok(PrincipalProof::Secret(crate::model::Secret::new(secret))),
                (None, Some(file)) => certificate(section, Path::new(file)),
                (None, None) => Err(section.error(
                    "client_secret",
                    "is missing; allowed are `client_secret`, `client_certificate_file`, or one of \
                them in AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH",
                )),
            }
        }
    }
}

fn certificate(section: &Section, file: &Path) -> Result<PrincipalProof, SettingError> {
    let pem = read(section, "client_certificate_file", file)?;
    Certified::from_pem(&pem)
        .map(PrincipalProof::Certificate)
        .map_err(|problem| section.error("client_certificate_file", problem))
}

/// Whom to trust on the way to the account.
pub fn trust(section: &Section, folder: &Path) -> Result<TrustedRoots, SettingError> {
    let Some(file) = section.text("ca_file")? else { return Ok(TrustedRoots::default()) };
    let pem = read(section, "ca_file", &folder.join(file))?;
    TrustedRoots::from_pem(&pem).map_err(|problem| section.error("ca_file", problem))
}

fn read(section: &Section, key: &str, file: &Path) -> Result<Vec<u8>, SettingError> {
    std::fs::read(file)
        .map_err(|error| section.error(key, format!("names a file that cannot be read: {error}")))
}
