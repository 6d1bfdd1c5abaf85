//! Where blobs go in Azure, with which credential and patience.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use azure_core::http::Url;

use crate::model::Secret;

/// What to authenticate with.
#[derive(Clone)]
pub enum Credential {
    /// An account's own key.
    SharedKey {
        /// The account's name.
        account: String,
        /// Its key, base64.
        key: Secret,
    },
    /// A shared access signature: its query string without `?`.
    Sas(Secret),
    /// An identity, https only.
    Token(Arc<dyn TokenCredential>),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SharedKey { account, .. } => write!(f, "SharedKey({account:?}, ***)"),
            Self::Sas(_) => f.write_str("Sas(***)"),
            Self::Token(_) => f.write_str("Token(***)"),
        }
    }
}

/// Whether we may create the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerCreation {
    /// If it is missing.
    Allowed,
    /// Somebody else has to.
    Forbidden,
}

/// Where blobs go and how.
#[derive(Clone, Debug)]
pub struct AzureSettings {
    /// The blob service, as `https://account.blob.core.windows.net`.
    pub service: Url,
    /// The container's name.
    pub container: String,
    /// What to authenticate with.
    pub credential: Credential,
    /// Whether we may create the container.
    pub creation: ContainerCreation,
    /// Another `x-ms-version` than the SDK's own, for emulators and old stamps.
    pub api_version: Option<String>,
    /// Authorities that are trusted beside the machine's own; only for a transport of its own.
    pub trust: TrustedRoots,
    /// How long to wait; only for a transport of its own.
    pub timeouts: Timeouts,
    /// A transport from [`transport`](super::transport) to share; `None` makes one.
    pub http: Option<reqwest::Client>,
    /// Blobs per page of a listing; `None` is the service's own 5,000.
    pub page: Option<u16>,
}

impl AzureSettings {
    /// The container at a service, with defaults that are safe everywhere: it is not created.
    pub fn new(service: Url, container: impl Into<String>, credential: Credential) -> Self {
        Self {
            service,
            container: container.into(),
            credential,
            creation: ContainerCreation::Forbidden,
            api_version: None,
            trust: TrustedRoots::default(),
            timeouts: Timeouts::default(),
            http: None,
            page: None,
        }
    }
}

/// Certificate authorities that are trusted beside the machine's own, as of a firewall that opens
/// TLS.
#[derive(Clone, Debug, Default)]
pub struct TrustedRoots(pub Vec<reqwest::Certificate>);

impl TrustedRoots {
    /// Reads authorities in PEM, at least one.
    pub(crate) fn from_pem(pem: &[u8]) -> Result<Self, String> {
        match reqwest::Certificate::from_pem_bundle(pem) {
            Ok(found) if !found.is_empty() => Ok(Self(found)),
            _ => {
                Err("holds no certificate; allowed is PEM, one authority after the other"
                    .to_owned())
            }
        }
    }
}

/// How long to wait for the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the answer to a request, the sending of its body included, and between two pieces of an
    /// answer.
    pub read: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        // The SDK's own 60 s count the upload of a block too: 8 MiB on a slow line never end.
        Self { connect: Duration::from_secs(20), read: Duration::from_secs(300) }
    }
}
