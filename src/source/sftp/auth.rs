//! Logging in: each credential is shown to the server once, in the order the server asks for.

use std::sync::Arc;

use russh::client::AuthResult;
use russh::client::{Handle, Handler, KeyboardInteractiveAuthResponse as Answer};
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg};
use russh::{MethodKind, MethodSet};
use time::OffsetDateTime;

use super::agent::SshAgent;
pub(crate) use super::auth_error::{AuthError, Sha1Signatures};
use super::certificate::UserCertificate;
use super::signing;
use crate::model::{Secret, printable};
use crate::source::finding::{Finding, Tell};

/// What there is to log in with; at least one of password, key and agent.
#[derive(Clone)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The password, for `password` as well as for `keyboard-interactive`.
    pub password: Option<Secret>,
    /// The key.
    pub key: Option<Arc<PrivateKey>>,
    /// A certificate of the key.
    pub certificate: Option<Arc<UserCertificate>>,
    /// The agent that holds keys.
    pub agent: Option<SshAgent>,
    /// Whether SHA-1 signatures of RSA keys may be made for a server that takes no others.
    pub sha1: Sha1Signatures,
}

impl Credentials {
    /// Whether there is a key, here or with an agent.
    fn has_keys(&self) -> bool {
        self.key.is_some() || self.agent.is_some()
    }

    /// Why the certificate is of no use at `now`, if it is not.
    fn expired(&self, now: OffsetDateTime) -> Option<String> {
        self.certificate.as_ref()?.expired(now)
    }

    /// What tells them from others.
    pub fn mark(&self) -> String {
        let password = self.password.as_ref().map_or("", Secret::reveal);
        let fingerprint =
            |key: &Arc<PrivateKey>| key.public_key().fingerprint(HashAlg::Sha256).to_string();
        let key = self.key.as_ref().map(fingerprint).unwrap_or_default();
        let mut mark = format!("{}\n{password}\n{key}", self.user);
        if let Some(certificate) = &self.certificate {
            mark += &format!("\n{}", certificate.mark());
        }
        if let Some(agent) = &self.agent {
            mark += &format!("\n{}", agent.place());
        }
        mark
    }
}

enum Step {
    Done,
    /// The server took this step and wants another.
    Next(MethodSet),
    Refused(MethodSet),
}

/// Logs in on `handle`, tells what the server takes, and returns with what it was done. No
/// credential is sent twice, in no way: a refused one ends the attempt.
pub(crate) async fn log_in<H: Handler>(
    handle: &mut Handle<H>,
    credentials: &Credentials,
    tell: Tell<'_>,
) -> Result<String, AuthError> {
    if let Some(why) = credentials.expired(OffsetDateTime::now_utc()) {
        return Err(AuthError::Refused(why));
    }
    let mut certificate = credentials.certificate.as_ref();
    let mut key = credentials.key.as_ref();
    let mut agent = credentials.agent.as_ref();
    let mut plain_key = "key";
    let mut password = credentials.password.as_ref();
    let mut sent: Vec<&'static str> = Vec::new();
    // `none` is not a credential; its refusal tells what the server takes.
    let mut step = plain_step(handle.authenticate_none(&credentials.user).await?);
    match &step {
        Step::Refused(offered) | Step::Next(offered) if !handle.is_closed() => {
            tell(Finding::new("login methods", names(offered)))
        }
        _ => {}
    }
    loop {
        let wanted = match step {
            Step::Done if sent.is_empty() => {
                return Ok("nothing: the server asks for no credential".into());
            }
            Step::Done => return Ok(sent.join(" and ")),
            Step::Refused(_) | Step::Next(_) if handle.is_closed() => {
                return Err(AuthError::Ended { after_credential: !sent.is_empty() });
            }
            // A server that does not know who signed the certificate may know the key.
            Step::Refused(left) if sent == ["certificate"] => {
                sent = Vec::new();
                plain_key = "key, its certificate before it";
                left
            }
            Step::Refused(left) if !sent.is_empty() => {
                return Err(AuthError::Refused(refusal(&sent, &left)));
            }
            Step::Refused(wanted) | Step::Next(wanted) => wanted,
        };
        let by_key = wanted.contains(&MethodKind::PublicKey);
        if by_key && let (Some(certificate), Some(key)) = (certificate.take(), key) {
            sent.push("certificate");
            let shown = signing::show_certificate(
                handle,
                &credentials.user,
                key,
                certificate,
                credentials.sha1,
            );
            step = plain_step(shown.await?);
        } else if by_key && let Some(key) = key.take() {
            sent.push(plain_key);
            step = show_key(handle, credentials, key).await?;
        } else if by_key && let Some(agent) = agent.take() {
            sent.push("agent's keys");
            let shown =
                signing::show_agent(handle, &credentials.user, agent, credentials.sha1).await?;
            step = plain_step(shown);
        } else if wanted.contains(&MethodKind::Password)
            && let Some(password) = password.take()
        {
            sent.push("password");
            step = plain_step(
                handle.authenticate_password(&credentials.user, password.reveal()).await?,
            );
        } else if wanted.contains(&MethodKind::KeyboardInteractive)
            && let Some(password) = password.take()
        {
            sent.push("password");
            step = answer_prompts(handle, &credentials.user, password).await?;
        } else {
            return Err(AuthError::Refused(nothing_left(&sent, credentials, &wanted)));
        }
    }
}

fn plain_step(result: AuthResult) -> Step {
    match result {
        AuthResult::Success => Step::Done,
        AuthResult::Failure { remaining_methods, partial_success: true } => {
            Step::Next(remaining_methods)
        }
        AuthResult::Failure { remaining_methods, partial_success: false } => {
            Step::Refused(remaining_methods)
        }
    }
}

async fn show_key<H: Handler>(
    handle: &mut Handle<H>,
    credentials: &Credentials,
    key: &Arc<PrivateKey>,
) -> Result<Step, AuthError> {
    let hash = signing::hash_for(handle, key.algorithm(), credentials.sha1).await?;
    let key = PrivateKeyWithHashAlg::new(key.clone(), hash);
    Ok(plain_step(handle.authenticate_publickey(&credentials.user, key).await?))
}

/// Answers the one question for a password. Whatever else is asked, a person would have to answer.
async fn answer_prompts<H: Handler>(
    handle: &mut Handle<H>,
    user: &str,
    password: &Secret,
) -> Result<Step, AuthError> {
    let mut password = Some(password);
    let mut answer = handle.authenticate_keyboard_interactive_start(user, None::<String>).await;
    // Servers may send rounds without questions; they do not send many.
    for _ in 0..8 {
        match answer {
            Ok(Answer::Success) => return Ok(Step::Done),
            Ok(Answer::Failure { remaining_methods, partial_success: true }) => {
                return Ok(Step::Next(remaining_methods));
            }
            Ok(Answer::Failure { remaining_methods, partial_success: false }) => {
                return Ok(Step::Refused(remaining_methods));
            }
            Ok(Answer::InfoRequest { prompts, .. }) => {
                let asks_password = |text: &str| text.to_lowercase().contains("password");
                let responses = match prompts.as_slice() {
                    [] => Vec::new(),
                    [one] if !one.echo || asks_password(&one.prompt) => match password.take() {
                        Some(password) => vec![password.reveal().to_owned()],
                        None => return Err(AuthError::Refused(further_question(&one.prompt))),
                    },
                    [first, ..] => return Err(AuthError::Refused(further_question(&first.prompt))),
                };
                answer = handle.authenticate_keyboard_interactive_respond(responses).await;
            }
            Err(russh::Error::RecvError) => {
                return Err(AuthError::Ended { after_credential: password.is_none() });
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(AuthError::Refused("the server keeps asking without asking anything".into()))
}

fn further_question(prompt: &str) -> String {
    let prompt: String = printable(prompt.trim().as_bytes()).chars().take(120).collect();
    format!("the server asks more than a password, which no program can answer: `{prompt}`")
}

fn names(methods: &MethodSet) -> String {
    if methods.is_empty() {
        return "nothing".into();
    }
    methods.iter().map(<&str>::from).collect::<Vec<_>>().join(", ")
}

fn refusal(sent: &[&str], left: &MethodSet) -> String {
    let last = sent.last().expect("something was sent");
    match sent {
        [_] => format!("the server refuses the {last}; it goes on to accept {}", names(left)),
        _ => format!(
            "the server refuses the {last} after it took the {}; it goes on to accept {}",
            sent[0],
            names(left)
        ),
    }
}

fn nothing_left(sent: &[&str], credentials: &Credentials, wanted: &MethodSet) -> String {
    if let [first, ..] = sent {
        return format!(
            "the server took the {first} and now wants {}, which the settings do not hold",
            names(wanted)
        );
    }
    let held = match (&credentials.password, credentials.has_keys()) {
        (Some(_), true) => "a password and a key",
        (Some(_), false) => "a password only",
        _ => "a key only",
    };
    format!("the server accepts {}, but the settings hold {held}; nothing was sent", names(wanted))
}
