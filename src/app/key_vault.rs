//! Reads the secrets in key vaults that a configuration names.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::VaultNeeds;
use crate::config::key_vault::{VaultSecret, VaultValues};
use crate::model::failure::Failure;
use crate::model::{BoxError, Secret, chain};
use crate::runtime::retry::{Policy, retry};
use crate::store::azure::{KeyVault, VaultError, credential};

/// Secrets of one vault that are asked for at once.
const AT_ONCE: usize = 8;

/// Tries of one secret: a run waits for them before it begins.
fn policy() -> Policy {
    Policy { attempts: 3, ..Policy::default() }
}

/// Reads all of them: each secret, or why it could not be read. A vault that cannot be reached, or
/// an identity without a token, is waited for once. Of what may pass by itself, a value that is
/// `known` still holds; a refusal ends it.
pub(crate) async fn read(needs: &VaultNeeds, known: &VaultValues) -> VaultValues {
    let mut vaults: BTreeMap<&str, Vec<&VaultSecret>> = BTreeMap::new();
    for secret in &needs.secrets {
        vaults.entry(&secret.vault).or_default().push(secret);
    }
    let credential = match credential(&needs.identity, &needs.trust) {
        Ok(credential) => credential,
        Err(error) => return unasked(needs.secrets.iter(), &error),
    };
    let mut reading = Vec::new();
    for (address, secrets) in vaults {
        match KeyVault::at(address, credential.clone(), &needs.trust) {
            Ok(vault) => reading.push(of_vault(vault, secrets, known)),
            Err(error) => return unasked(needs.secrets.iter(), &error),
        }
    }
    join_all(reading).await.into_iter().flatten().collect()
}

fn unasked<'a>(secrets: impl Iterator<Item = &'a VaultSecret>, error: &BoxError) -> VaultValues {
    let problem = format!("which nobody can ask for: {}", chain(error.as_ref()));
    secrets.map(|secret| (secret.clone(), Err(problem.clone()))).collect()
}

async fn of_vault(vault: KeyVault, secrets: Vec<&VaultSecret>, known: &VaultValues) -> VaultValues {
    let Some((first, others)) = secrets.split_first() else { return VaultValues::new() };
    let (first, error) = match one(&vault, first).await {
        Ok(value) => ((*first, Ok(value)), None),
        Err(error) => ((*first, left(first, &error, known)), Some(error)),
    };
    let mut values = VaultValues::from([(first.0.clone(), first.1)]);
    if let Some(error) = error.filter(|error| !error.is_of_one) {
        values.extend(others.iter().map(|one| ((*one).clone(), left(one, &error, known))));
        return values;
    }
    let turns = Semaphore::new(AT_ONCE);
    let mut reading = Vec::new();
    for secret in others {
        reading.push(in_turn(&turns, &vault, secret));
    }
    for (secret, read) in others.iter().zip(join_all(reading).await) {
        let value = read.or_else(|error| left(secret, &error, known));
        values.insert((*secret).clone(), value);
    }
    values
}

async fn in_turn(
    turns: &Semaphore,
    vault: &KeyVault,
    secret: &VaultSecret,
) -> Result<Secret, VaultError> {
    let _turn = turns.acquire().await.expect("this semaphore is never closed");
    one(vault, secret).await
}

/// What there is of a secret that could not be read.
fn left(secret: &VaultSecret, error: &VaultError, known: &VaultValues) -> Result<Secret, String> {
    match known.get(secret) {
        Some(Ok(value)) if error.is_transient() => {
            tracing::warn!(secret = %secret, error = %error,
                "Warning: a secret could not be read anew; what was read before is used.");
            Ok(value.clone())
        }
        _ => Err(error.to_string()),
    }
}

async fn one(vault: &KeyVault, secret: &VaultSecret) -> Result<Secret, VaultError> {
    let never = CancellationToken::new();
    let what = format!("reading the secret {secret}");
    let (name, version) = (&secret.name, secret.version.as_deref());
    retry(&policy(), &never, &what, |_| vault.secret(name, version)).await
}
