//! Logins with keys that are shown first and sign when asked: an agent's, and certificates.

use std::sync::Arc;

use russh::Signer;
use russh::client::{AuthResult, Handle, Handler};
use russh::keys::agent::AgentIdentity;
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode as _;
use russh::keys::ssh_key::private::KeypairData;
use russh::keys::{Algorithm, HashAlg, PrivateKey};

use super::agent::SshAgent;
use super::auth_error::{AuthError, Sha1Signatures};
use super::certificate::UserCertificate;

/// Servers end a login after six refusals: so many keys of an agent are shown.
const MOST_SHOWN: usize = 5;

/// A private key of the settings that signs for its certificate.
struct KeySigner(Arc<PrivateKey>);

impl Signer for KeySigner {
    type Error = AuthError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        mut to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, AuthError> {
        let signed = match self.0.key_data() {
            KeypairData::Rsa(pair) => (pair, hash).try_sign(&to_sign),
            _ => self.0.try_sign(&to_sign),
        };
        let signature = signed.map_err(russh::Error::from)?;
        let mut blob = Vec::new();
        signature.encode(&mut blob).map_err(russh::Error::from)?;
        blob.encode(&mut to_sign).map_err(russh::Error::from)?;
        Ok(to_sign)
    }
}

/// Shows the certificate of `key`.
pub(crate) async fn show_certificate<H: Handler>(
    handle: &mut Handle<H>,
    user: &str,
    key: &Arc<PrivateKey>,
    certificate: &UserCertificate,
    sha1: Sha1Signatures,
) -> Result<AuthResult, AuthError> {
    let hash = hash_for(handle, key.algorithm(), sha1).await?;
    let certificate = certificate.inner().clone();
    handle.authenticate_certificate_with(user, certificate, hash, &mut KeySigner(key.clone())).await
}

/// Shows the keys of an agent, one after the other, until the server takes one; which one that was.
pub(crate) async fn show_agent<H: Handler>(
    handle: &mut Handle<H>,
    user: &str,
    agent: &SshAgent,
    sha1: Sha1Signatures,
) -> Result<AuthResult, AuthError> {
    let mut client = agent.connect().await?;
    let identities = client
        .request_identities()
        .await
        .map_err(|error| AuthError::Agent(format!("the agent does not tell its keys: {error}")))?;
    if identities.is_empty() {
        return Err(AuthError::Agent("the agent holds no key: `ssh-add FILE` gives it one".into()));
    }
    let mut last = None;
    for identity in identities.into_iter().take(MOST_SHOWN) {
        if handle.is_closed() {
            break;
        }
        let key = identity.public_key().into_owned();
        let hash = hash_for(handle, key.algorithm(), sha1).await?;
        let shown = match identity {
            AgentIdentity::Certificate { certificate, .. } => {
                handle.authenticate_certificate_with(user, certificate, hash, &mut client).await
            }
            AgentIdentity::PublicKey { key, .. } => {
                handle.authenticate_publickey_with(user, key, hash, &mut client).await
            }
        };
        match shown {
            Ok(AuthResult::Failure { remaining_methods, partial_success: false }) => {
                last = Some(AuthResult::Failure { remaining_methods, partial_success: false });
            }
            Ok(taken) => return Ok(taken),
            Err(error) => {
                return Err(AuthError::Agent(format!("the agent does not sign: {error}")));
            }
        }
    }
    last.ok_or(AuthError::Ended { after_credential: true })
}

/// The hash that the server takes RSA signatures with; `None` for keys of other kinds, or SHA-1.
pub(crate) async fn hash_for<H: Handler>(
    handle: &mut Handle<H>,
    algorithm: Algorithm,
    sha1: Sha1Signatures,
) -> Result<Option<HashAlg>, AuthError> {
    if !algorithm.is_rsa() {
        return Ok(None);
    }
    match handle.best_supported_rsa_hash().await? {
        Some(Some(hash)) => Ok(Some(hash)),
        // Servers that tell nothing may be old ones that know SHA-1 only, or new ones that keep
        // silent.
        None if sha1 == Sha1Signatures::Refused => Ok(Some(HashAlg::Sha512)),
        Some(None) if sha1 == Sha1Signatures::Refused => {
            let problem = "the server takes RSA keys with SHA-1 signatures only; use an Ed25519 \
                key, or set legacy_algorithms = true";
            Err(AuthError::Refused(problem.into()))
        }
        Some(None) | None => Ok(None),
    }
}
