//! Identities instead of keys: chosen by the settings, never guessed by trying one after the other.

use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_identity::{
    AzureCliCredential, ClientAssertionCredentialOptions, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
    WorkloadIdentityCredential, WorkloadIdentityCredentialOptions,
};

use super::client::transport;
use super::settings::Timeouts;
use crate::model::{BoxError, chain};

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
