//! Identities instead of keys: chosen by the settings, never guessed by trying one after the other.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use azure_core::http::policies::{Policy, PolicyResult};
use azure_core::http::{ClientOptions, Context, Request, RetryOptions, Transport};
use azure_identity::{
    AzureCliCredential, ClientAssertionCredential, ClientAssertionCredentialOptions,
    ClientSecretCredential, ClientSecretCredentialOptions, ManagedIdentityCredential,
    ManagedIdentityCredentialOptions, UserAssignedId, WorkloadIdentityCredential,
    WorkloadIdentityCredentialOptions,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use time::OffsetDateTime;

use super::client;
use super::principal::{Principal, PrincipalProof, Signer};
use super::settings::{Timeouts, TrustedRoots};
use crate::model::{BoxError, chain, printable};
use crate::store::contract::{StoreError, StoreKind};

/// Who we are to Azure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AzureIdentity {
    /// The managed identity of this Functions app, App Service, container or virtual machine.
    Managed {
        /// Which user-assigned identity; `None` is the system-assigned one.
        id: Option<ManagedId>,
    },
    /// A federated token in a file, as Kubernetes gives it (`AZURE_FEDERATED_TOKEN_FILE`,
    /// `AZURE_TENANT_ID`).
    Workload {
        /// Client id; `None` is `AZURE_CLIENT_ID`.
        client_id: Option<String>,
    },
    /// An application with a secret or a certificate.
    ServicePrincipal(Principal),
    /// The person who is logged in with `az login`, on a laptop.
    Cli,
}

/// How a user-assigned identity is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManagedId {
    /// By its client id.
    Client(String),
    /// By its object id.
    Object(String),
    /// By its resource id, as `/subscriptions/…/userAssignedIdentities/NAME`.
    Resource(String),
}

/// An identity's endpoint is near: one that does not answer soon is not there.
const TIMEOUTS: Timeouts =
    Timeouts { connect: Duration::from_secs(5), read: Duration::from_secs(30) };

/// A credential for `identity`. Asks nobody yet; a token is fetched with the first request, kept
/// until it runs out, and shared by all clients that hold a clone. `trust` names authorities beside
/// the machine's own.
pub fn credential(
    identity: &AzureIdentity,
    trust: &TrustedRoots,
) -> Result<Arc<dyn TokenCredential>, BoxError> {
    match identity {
        AzureIdentity::Managed { id } => managed(id.as_ref()),
        AzureIdentity::Workload { client_id } => {
            let credential_options =
                ClientAssertionCredentialOptions { client_options: client_options(trust)? };
            let options = WorkloadIdentityCredentialOptions {
                credential_options,
                client_id: client_id.clone(),
                ..Default::default()
            };
            Ok(WorkloadIdentityCredential::new(Some(options)).map_err(told)?)
        }
        AzureIdentity::ServicePrincipal(principal) => {
            let (tenant, client_id, client_options) =
                (principal.tenant.clone(), principal.client_id.clone(), client_options(trust)?);
            match &principal.proof {
                PrincipalProof::Secret(secret) => {
                    let secret = azure_core::credentials::Secret::new(secret.reveal().to_owned());
                    let options = ClientSecretCredentialOptions { client_options };
                    Ok(ClientSecretCredential::new(&tenant, client_id, secret, Some(options))
                        .map_err(told)?)
                }
                PrincipalProof::Certificate(certified) => {
                    let signer = Signer::new(principal, certified.clone());
                    let options = ClientAssertionCredentialOptions { client_options };
                    Ok(ClientAssertionCredential::new(tenant, client_id, signer, Some(options))
                        .map_err(told)?)
                }
            }
        }
        AzureIdentity::Cli => Ok(AzureCliCredential::new(None).map_err(told)?),
    }
}

/// A managed identity's endpoint is on this machine or next to it, and is told a secret: no proxy
/// is ever in between.
fn managed(id: Option<&ManagedId>) -> Result<Arc<dyn TokenCredential>, BoxError> {
    let http = client::builder(TIMEOUTS, &TrustedRoots::default()).no_proxy().build()?;
    let options =
        |user_assigned_id, more: Option<Arc<dyn Policy>>| ManagedIdentityCredentialOptions {
            user_assigned_id,
            client_options: ClientOptions {
                per_try_policies: more.into_iter().collect(),
                ..options_with(http.clone())
            },
        };
    let id_of_sdk = id.cloned().map(|id| match id {
        ManagedId::Client(id) => UserAssignedId::ClientId(id),
        ManagedId::Object(id) => UserAssignedId::ObjectId(id),
        ManagedId::Resource(id) => UserAssignedId::ResourceId(id),
    });
    match (ManagedIdentityCredential::new(Some(options(id_of_sdk, None))), id) {
        (Ok(credential), _) => Ok(credential),
        // App Service takes a resource id under a name that the library does not know.
        (Err(_), Some(ManagedId::Resource(id))) => {
            let named = ResourceId(id.clone());
            Ok(ManagedIdentityCredential::new(Some(options(None, Some(Arc::new(named)))))
                .map_err(told)?)
        }
        (Err(error), _) => Err(told(error)),
    }
}

/// Names the identity by its resource id, as the endpoint of App Service wants it. Source: "How to
/// use managed identities for App Service and Azure Functions", REST endpoint reference.
#[derive(Debug)]
struct ResourceId(String);

#[async_trait::async_trait]
impl Policy for ResourceId {
    async fn send(
        &self,
        ctx: &Context,
        request: &mut Request,
        next: &[Arc<dyn Policy>],
    ) -> PolicyResult {
        request.url_mut().query_pairs_mut().append_pair("mi_res_id", &self.0);
        next[0].send(ctx, request, &next[1..]).await
    }
}

/// For where people and applications sign in, which may be behind a proxy.
fn client_options(trust: &TrustedRoots) -> Result<ClientOptions, BoxError> {
    Ok(options_with(client::builder(TIMEOUTS, trust).build()?))
}

fn options_with(http: reqwest::Client) -> ClientOptions {
    // Ours is the only retry loop: it asks for the blob again, and with it for the token. The
    // library keeps a loop of its own for the endpoint of virtual machines, as that one's
    // documentation asks for.
    ClientOptions {
        retry: RetryOptions::none(),
        transport: Some(Transport::new(Arc::new(http))),
        ..ClientOptions::default()
    }
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

/// Gets a token for storage, and tells whose it is by its claims. Nobody checks them here: the
/// service does.
pub async fn whose(identity: &AzureIdentity, trust: &TrustedRoots) -> Result<Whose, StoreError> {
    let failed = |cause: BoxError| {
        StoreError::new("getting", "a token", "storage", StoreKind::Denied, cause)
    };
    let credential = credential(identity, trust).map_err(failed)?;
    let token = credential
        .get_token(&[SCOPE], None)
        .await
        .map_err(|error| super::failure::fail("getting", "a token", "storage", &error))?;
    Ok(Whose::of(token.token.secret()))
}

impl Whose {
    /// Of a token in the form of a JWT; nothing of any other.
    fn of(token: &str) -> Self {
        let claims = token
            .split('.')
            .nth(1)
            .and_then(|part| URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok());
        let claims: Value =
            claims.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
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
            expires: claims
                .get("exp")
                .and_then(Value::as_i64)
                .and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok()),
        }
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("client id", &self.client_id),
            ("object id", &self.object_id),
            ("name", &self.name),
            ("tenant", &self.tenant),
        ];
        let told: Vec<String> = parts
            .into_iter()
            .filter_map(|(what, value)| Some(format!("{what} {}", value.as_ref()?)))
            .collect();
        f.write_str(&if told.is_empty() {
            "the token does not say whose it is".to_owned()
        } else {
            told.join(", ")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_tells_whose_it_is_and_not_itself() {
        let claims = concat!(
            r#"{"aud":"https://storage.azure.com","appid":"c-1","oid":"o-1","tid":"t-1","#,
            r#""exp":1800000000,"upn":"a\u001b@b"}"#
        );
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
