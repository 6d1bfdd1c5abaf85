//! Identities instead of keys: chosen by the settings, never guessed by trying one after the other.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_identity::{
    AzureCliCredential, ClientAssertionCredentialOptions, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
    WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use time::OffsetDateTime;

use super::client::transport;
use super::settings::Timeouts;
use crate::model::{BoxError, chain, printable};
use crate::store::contract::{StoreError, StoreKind};

/// Who we are to Azure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The managed identity of this Functions app, App Service, container or virtual machine.
    Managed {
        /// Client id of a user-assigned identity; `None` is the system-assigned one.
        client_id: Option<String>,
    },
    /// A federated token in a file, as Kubernetes gives it (`AZURE_FEDERATED_TOKEN_FILE`, `AZURE_TENANT_ID`).
    Workload {
        /// Client id; `None` is `AZURE_CLIENT_ID`.
        client_id: Option<String>,
    },
    /// Whoever is logged in with `az login`, on a laptop.
    Cli,
}

/// An identity's endpoint is near: one that does not answer soon is not there.
const TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_secs(5), read: Duration::from_secs(30) };

/// A credential for `identity`. Asks nobody yet; a token is fetched with the first request, kept until it
/// runs out, and shared by all clients that hold a clone.
pub fn credential(identity: &Identity) -> Result<Arc<dyn TokenCredential>, BoxError> {
    match identity {
        Identity::Managed { client_id } => {
            let options = ManagedIdentityCredentialOptions {
                user_assigned_id: client_id.clone().map(UserAssignedId::ClientId),
                client_options: client_options()?,
            };
            Ok(ManagedIdentityCredential::new(Some(options)).map_err(told)?)
        }
        Identity::Workload { client_id } => {
            let credential_options = ClientAssertionCredentialOptions { client_options: client_options()? };
            let options = WorkloadIdentityCredentialOptions { credential_options, client_id: client_id.clone(), ..Default::default() };
            Ok(WorkloadIdentityCredential::new(Some(options)).map_err(told)?)
        }
        Identity::Cli => Ok(AzureCliCredential::new(None).map_err(told)?),
    }
}

fn client_options() -> Result<ClientOptions, BoxError> {
    let http = transport(TIMEOUTS)?;
    // Ours is the only retry loop: it asks for the blob again, and with it for the token.
    Ok(ClientOptions { retry: RetryOptions::none(), transport: Some(Transport::new(Arc::new(http))), ..ClientOptions::default() })
}

fn told(error: azure_core::Error) -> BoxError {
    chain(&error).into()
}

/// What a token says of itself; the token is not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whose {
    /// Client id of the application or identity.
    pub client_id: Option<String>,
    /// Object id in the directory: what a role is assigned to.
    pub object_id: Option<String>,
    /// Who a person is, where it is one.
    pub name: Option<String>,
    /// The directory.
    pub tenant: Option<String>,
    /// What the token is for.
    pub audience: Option<String>,
    /// When it runs out.
    pub expires: Option<OffsetDateTime>,
}

/// What a token for storage is asked by.
const SCOPE: &str = "https://storage.azure.com/.default";

/// Gets a token for storage, and tells whose it is by its claims. Nobody checks them here: the service does.
pub async fn whose(identity: &Identity) -> Result<Whose, StoreError> {
    let failed = |cause: BoxError| StoreError::new("getting", "a token", "storage", StoreKind::Denied, cause);
    let credential = credential(identity).map_err(failed)?;
    let token = credential.get_token(&[SCOPE], None).await.map_err(|error| super::failure::fail("getting", "a token", "storage", &error))?;
    Ok(Whose::of(token.token.secret()))
}

impl Whose {
    /// Of a token in the form of a JWT; nothing of any other.
    fn of(token: &str) -> Self {
        let claims = token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok());
        let claims: Value = claims.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let text = |names: &[&str]| {
            let found = names.iter().find_map(|name| claims.get(*name)?.as_str());
            found.map(|text| printable(text.as_bytes()).chars().take(100).collect())
        };
        Self {
            client_id: text(&["appid", "azp"]),
            object_id: text(&["oid"]),
            name: text(&["upn", "unique_name", "preferred_username"]),
            tenant: text(&["tid"]),
            audience: text(&["aud"]),
            expires: claims.get("exp").and_then(Value::as_i64).and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok()),
        }
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("client id", &self.client_id), ("object id", &self.object_id), ("name", &self.name), ("tenant", &self.tenant)];
        let told: Vec<String> = parts.into_iter().filter_map(|(what, value)| Some(format!("{what} {}", value.as_ref()?))).collect();
        f.write_str(&if told.is_empty() { "the token does not say whose it is".to_owned() } else { told.join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_whose_it_is_and_not_itself() {
        let claims = r#"{"aud":"https://storage.azure.com","appid":"c-1","oid":"o-1","tid":"t-1","exp":1800000000,"upn":"a\u001b@b"}"#;
        let token = format!("e30.{}.canary", URL_SAFE_NO_PAD.encode(claims));
        let whose = Whose::of(&token);
        assert_eq!(whose.to_string(), "client id c-1, object id o-1, name a\\x1B@b, tenant t-1");
        assert_eq!(
            (whose.audience.as_deref(), whose.expires.map(OffsetDateTime::unix_timestamp)),
            (Some("https://storage.azure.com"), Some(1_800_000_000))
        );
        for odd in ["", "opaque", "a.b.c", "e30.W10.x", "..."] {
            assert_eq!(Whose::of(odd).to_string(), "the token does not say whose it is");
        }
    }
}
