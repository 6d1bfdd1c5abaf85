//! Secrets in key vaults.

use std::sync::Arc;
use std::time::Duration;

use azure_core::Error;
use azure_core::credentials::TokenCredential;
use azure_core::error::ErrorKind;
use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_security_keyvault_secrets::models::SecretClientGetSecretOptions;
use azure_security_keyvault_secrets::{SecretClient, SecretClientOptions};
use serde_json::Value;

use super::client;
use super::failure::{asked_to_wait, causes, is_untrusted, passing, to_check_of_token};
use super::settings::{Timeouts, TrustedRoots};
use crate::model::failure::{Class, Failure};
use crate::model::{BoxError, Secret, printable};

/// A vault that does not answer soon keeps a whole run waiting.
const TIMEOUTS: Timeouts =
    Timeouts { connect: Duration::from_secs(5), read: Duration::from_secs(15) };
/// What a text of the service's is cut to, in characters.
const LONGEST: usize = 300;

/// A key vault. It is told who we are only if it asks for a token for key vaults of its own cloud.
pub struct KeyVault {
    client: SecretClient,
}

impl KeyVault {
    /// The vault at `https://NAME.vault.azure.net`. Asks nobody yet.
    pub fn at(
        vault: &str,
        credential: Arc<dyn TokenCredential>,
        trust: &TrustedRoots,
    ) -> Result<Self, BoxError> {
        let http = client::transport(TIMEOUTS, trust)?;
        let client_options = ClientOptions {
            per_call_policies: vec![Arc::new(client::Log)],
            // Ours is the only retry loop.
            retry: RetryOptions::none(),
            transport: Some(Transport::new(Arc::new(http))),
            ..ClientOptions::default()
        };
        let options = SecretClientOptions { client_options, ..SecretClientOptions::default() };
        Ok(Self { client: SecretClient::new(vault, credential, Some(options))? })
    }

    /// What the secret holds; without a `version`, the current one.
    pub async fn secret(&self, name: &str, version: Option<&str>) -> Result<Secret, VaultError> {
        let options = SecretClientGetSecretOptions {
            secret_version: version.map(str::to_owned),
            ..SecretClientGetSecretOptions::default()
        };
        let answer = self.client.get_secret(name, Some(options)).await;
        let read = answer.and_then(|answer| answer.into_model()).map_err(|e| VaultError::of(&e))?;
        read.value
            .map(Secret::new)
            .ok_or_else(|| VaultError::new(Class::Config, "which came without a value", "", false))
    }
}

/// Why a secret could not be read, as the end of a sentence that names it.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct VaultError {
    text: String,
    class: Class,
    is_transient: bool,
    /// Whether it is about this secret, and others of the vault may be read.
    pub is_of_one: bool,
    after: Option<Duration>,
}

impl Failure for VaultError {
    fn class(&self) -> Class {
        self.class
    }

    fn is_transient(&self) -> bool {
        self.is_transient
    }

    fn retry_after(&self) -> Option<Duration> {
        self.after
    }
}

const ROLE: &str = "give the identity the role `Key Vault Secrets User` on the vault, or `get` on \
    secrets in its access policies";
const NETWORK: &str = "the vault's network rules do not let this machine in";
const DISABLED: &str = "enable the secret, or name another version";
const NAMES: &str = "check the vault's and the secret's name";
const TENANT: &str = "the token is not taken: is the identity of the vault's directory?";
/// Where the settings stand that a hint about tokens names.
const IDENTITY: &str = "(`[keyvault]` says who asks, and `[destination]` where there is no such \
    table)";
const INTERCEPTED: &str = "the certificate is of an authority that this machine does not trust, as \
    where a firewall or proxy opens TLS: name that authority in `keyvault.ca_file`, or in the \
    environment's SSL_CERT_FILE";
const UNREACHED: &str = "check the vault's name, and that a firewall or the proxy of HTTPS_PROXY \
    lets this machine through";

/// Codes of the service, with what to do. Source: "Azure Key Vault REST API error codes" and
/// "Troubleshooting Azure Key Vault access policy issues".
const CODES: &[(&str, &str)] = &[
    ("ForbiddenByRbac", ROLE),
    ("AccessDenied", ROLE),
    ("ForbiddenByPolicy", ROLE),
    ("ForbiddenByFirewall", NETWORK),
    ("ForbiddenByConnection", NETWORK),
    ("SecretDisabled", DISABLED),
    ("SecretNotFound", NAMES),
    ("VaultNotFound", NAMES),
];

impl VaultError {
    fn new(class: Class, text: &str, hint: &str, is_transient: bool) -> Self {
        let text = match hint {
            "" => text.to_owned(),
            hint => format!("{text}; {hint}"),
        };
        Self { text, class, is_transient, is_of_one: false, after: None }
    }

    fn of(error: &Error) -> Self {
        let told = |text: String| printable(text.as_bytes());
        match error.kind() {
            ErrorKind::HttpResponse { status, raw_response, .. } => {
                let (status, response) = (u16::from(*status), raw_response.as_deref());
                let body = response.map(|response| response.body().as_ref()).unwrap_or_default();
                let after = response.and_then(|response| asked_to_wait(response.headers()));
                Self { after, ..Self::answered(status, body) }
            }
            _ if is_untrusted(error) => {
                let text = told(format!("whose vault cannot be trusted: {}", causes(error)));
                Self::new(Class::Config, &text, INTERCEPTED, false)
            }
            ErrorKind::Credential => {
                let text = told(format!("for which there is no token: {}", causes(error)));
                let hint = format!("{} {IDENTITY}", to_check_of_token(error));
                Self::new(Class::Config, &text, &hint, passing(error))
            }
            ErrorKind::Connection | ErrorKind::Io => {
                let text = told(format!("whose vault cannot be reached: {}", causes(error)));
                Self::new(Class::Connect, &text, UNREACHED, true)
            }
            _ => {
                let text = told(format!("which could not be read: {}", causes(error)));
                Self::new(Class::Config, &text, "", true)
            }
        }
    }

    /// What an answer with this status and body means.
    fn answered(status: u16, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let (outer, inner) = (&body["error"], &body["error"]["innererror"]["code"]);
        let code = inner.as_str().or(outer["code"].as_str()).unwrap_or_default();
        let message: String =
            outer["message"].as_str().unwrap_or_default().chars().take(LONGEST).collect();
        let text = match (code, message.lines().next()) {
            ("", _) => format!("which is refused with status {status}, and not by a key vault"),
            (code, Some(message)) => format!("which is refused: {code} ({status}): {message}"),
            (code, None) => format!("which is refused: {code} ({status})"),
        };
        let hint = CODES.iter().find(|(known, _)| *known == code).map(|(_, hint)| *hint);
        let hint = hint.unwrap_or(match status {
            401 => TENANT,
            403 => ROLE,
            404 => NAMES,
            _ => "",
        });
        let is_transient = matches!(status, 408 | 429 | 500..);
        let text = printable(text.as_bytes());
        Self {
            is_of_one: matches!(status, 400 | 403 | 404),
            ..Self::new(Class::Config, &text, hint, is_transient)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_gets_no_token_is_told_what_to_do_by_the_way_it_asks() {
        let applications = [
            "ClientSecretCredential",
            "ClientAssertionCredential",
            "ClientCertificateCredential",
            "WorkloadIdentityCredential",
        ];
        let managed = ["ManagedIdentityCredential"];
        let status = |status: u16| {
            let (error_code, raw_response) = (None, None);
            ErrorKind::HttpResponse { status: status.into(), error_code, raw_response }
        };
        for (credentials, inner, words, is_transient) in [
            (&applications[..], ErrorKind::Connection, "login.microsoftonline.com", true),
            (&applications[..], ErrorKind::Io, "HTTPS_PROXY", true),
            (&applications[..], status(401), "AADSTS", false),
            (&applications[..], status(503), "in trouble itself", true),
            (&applications[..], ErrorKind::DataConversion, "is a proxy in between?", true),
            (&managed[..], ErrorKind::Connection, "no identity endpoint answers here", true),
            (&managed[..], status(400), "is the identity assigned to this app", false),
            (&managed[..], status(410), "in trouble itself", true),
            (&managed[..], ErrorKind::Other, "check `identity`", false),
            (&["AzureCliCredential"][..], ErrorKind::DataConversion, "az login", false),
        ] {
            for name in credentials {
                // As azure_identity writes it.
                let text = format!("{name} authentication failed. Why.");
                let inner = inner.clone().into_error();
                let error = VaultError::of(&Error::with_error(ErrorKind::Credential, inner, text));
                let told = error.to_string();
                assert!(told.contains(words) && told.contains("`[keyvault]`"), "{told}");
                assert_eq!(error.is_transient, is_transient, "{told}");
                assert!(credentials.len() == 1 || !told.contains("endpoint"), "{told}");
            }
        }
    }

    #[test]
    fn an_answer_of_a_vault_is_told_with_its_code_and_what_to_do() {
        let body = |code: &str, inner: &str| {
            format!(
                r#"{{"error":{{"code":"{code}","message":"No.\r\nMore.",
                    "innererror":{{"code":"{inner}"}}}}}}"#
            )
        };
        for (status, body, text, is_transient, is_of_one) in [
            (403, body("Forbidden", "ForbiddenByRbac"), ROLE, false, true),
            (403, body("Forbidden", "ForbiddenByFirewall"), NETWORK, false, true),
            (403, body("Forbidden", "SecretDisabled"), DISABLED, false, true),
            (403, body("Forbidden", "SomethingNew"), ROLE, false, true),
            (
                404,
                r#"{"error":{"code":"SecretNotFound","message":"x"}}"#.into(),
                NAMES,
                false,
                true,
            ),
            (
                401,
                r#"{"error":{"code":"Unauthorized","message":"x"}}"#.into(),
                TENANT,
                false,
                false,
            ),
            (
                429,
                r#"{"error":{"code":"Throttled","message":"x"}}"#.into(),
                "Throttled",
                true,
                false,
            ),
            (503, "<html>".into(), "status 503, and not by a key vault", true, false),
        ] {
            let error = VaultError::answered(status, body.as_bytes());
            assert!(error.to_string().contains(text), "{status} {body}: {error}");
            assert_eq!((error.is_transient, error.is_of_one), (is_transient, is_of_one), "{error}");
            assert!(!error.to_string().contains("More"), "{error}");
        }
    }
}
