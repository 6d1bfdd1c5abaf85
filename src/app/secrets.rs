//! The secrets of a configuration, which no output may repeat.

use crate::config::{Account, Config, Destination};
use crate::model::Secret;
use crate::model::redactor::Redactor;
use crate::store::azure::{AzureIdentity, Principal, PrincipalProof};

/// Knows everything that no output may repeat.
pub fn redactor(config: &Config) -> Redactor {
    Redactor::new(&secrets(config))
}

/// Everything that no output may repeat.
pub(crate) fn secrets(config: &Config) -> Vec<Secret> {
    let mut secrets: Vec<Secret> = config.secrets.clone();
    for place in config.places() {
        let Destination::Azure { account, .. } = place else { continue };
        match account {
            Account::ConnectionString(text) => {
                let parts = text.reveal().split(';').filter_map(|pair| pair.split_once('='));
                let parts = parts.filter(|(key, _)| {
                    matches!(
                        key.trim().to_ascii_lowercase().as_str(),
                        "accountkey" | "sharedaccesssignature"
                    )
                });
                secrets.extend(parts.map(|(_, value)| Secret::new(value.trim())));
                secrets.push(text.clone());
            }
            Account::Sas { sas, .. } => secrets.extend(signatures(sas)),
            Account::Identity {
                identity:
                    AzureIdentity::ServicePrincipal(Principal {
                        proof: PrincipalProof::Secret(secret),
                        ..
                    }),
                ..
            } => secrets.push(secret.clone()),
            Account::Identity { .. } => {}
        }
    }
    secrets
}

/// The whole SAS and the part of it that counts.
fn signatures(sas: &Secret) -> Vec<Secret> {
    let signature =
        sas.reveal().split('&').find_map(|pair| pair.strip_prefix("sig=")).map(Secret::new);
    [Some(sas.clone()), signature].into_iter().flatten().collect()
}
