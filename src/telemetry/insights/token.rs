//! Tokens of Entra ID for ingestion, kept until shortly before they run out.

use std::sync::Arc;
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use http::HeaderValue;
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::model::chain;
use crate::telemetry::insights::labels::OWN;

/// What the token is for.
const SCOPE: &str = "https://monitor.azure.com/.default";
/// A token is renewed when it has no longer to live.
const BEFORE_END: Duration = Duration::from_secs(5 * 60);
/// An identity that gave no token is left alone for so long.
const PAUSE: Duration = Duration::from_secs(30);
/// Asking for a token takes no longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Gives tokens, each of them many times.
#[derive(Debug)]
pub(crate) struct Tokens {
    credential: Arc<dyn TokenCredential>,
    state: tokio::sync::Mutex<TokenState>,
}

#[derive(Debug, Default)]
struct TokenState {
    token: Option<(HeaderValue, OffsetDateTime)>,
    failed: Option<(Instant, String)>,
    told: bool,
}

impl Tokens {
    /// From this identity. Asks nobody yet.
    pub fn new(credential: Arc<dyn TokenCredential>) -> Self {
        Self { credential, state: tokio::sync::Mutex::default() }
    }

    /// The value of an `Authorization` header. An identity that gives no token is told once, until
    /// it gives one again.
    pub async fn bearer(&self) -> Result<HeaderValue, String> {
        let mut state = self.state.lock().await;
        let now = OffsetDateTime::now_utc();
        if let Some((bearer, _)) = state.token.as_ref().filter(|(_, end)| *end > now + BEFORE_END) {
            return Ok(bearer.clone());
        }
        if let Some((_, problem)) = state.failed.as_ref().filter(|(at, _)| at.elapsed() < PAUSE) {
            return state.still(now).ok_or_else(|| problem.clone());
        }
        match self.ask().await {
            Ok(token) => {
                let bearer = token.0.clone();
                *state = TokenState { token: Some(token), ..TokenState::default() };
                Ok(bearer)
            }
            Err(problem) => {
                if !std::mem::replace(&mut state.told, true) {
                    tracing::warn!(target: OWN, error = problem, "Warning: no token for \
                        Application Insights.");
                }
                state.failed = Some((Instant::now(), problem.clone()));
                state.still(now).ok_or(problem)
            }
        }
    }

    async fn ask(&self) -> Result<(HeaderValue, OffsetDateTime), String> {
        let asked = tokio::time::timeout(PATIENCE, self.credential.get_token(&[SCOPE], None)).await;
        let token = asked
            .map_err(|_| "the identity did not answer in time")?
            .map_err(|error| chain(&error))?;
        let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.token.secret()))
            .map_err(|_| "the token is none")?;
        bearer.set_sensitive(true);
        Ok((bearer, token.expires_on))
    }
}

impl TokenState {
    /// A token that could not be renewed, as long as it lives.
    fn still(&self, now: OffsetDateTime) -> Option<HeaderValue> {
        self.token.as_ref().filter(|(_, end)| *end > now).map(|(bearer, _)| bearer.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use azure_core::credentials::{AccessToken, TokenRequestOptions};

    use super::*;

    /// Gives tokens that live for so many seconds; none, once there are none left.
    #[derive(Debug)]
    struct Giver {
        lives: Vec<i64>,
        asked: AtomicUsize,
    }

    #[async_trait::async_trait]
    impl TokenCredential for Giver {
        async fn get_token(
            &self,
            scopes: &[&str],
            _: Option<TokenRequestOptions<'_>>,
        ) -> azure_core::Result<AccessToken> {
            assert_eq!(scopes, [SCOPE]);
            let asked = self.asked.fetch_add(1, Ordering::Relaxed);
            let life = self.lives.get(asked).ok_or_else(|| {
                azure_core::Error::with_message(azure_core::error::ErrorKind::Credential, "no")
            })?;
            Ok(AccessToken::new(
                format!("token-{asked}"),
                OffsetDateTime::now_utc() + time::Duration::seconds(*life),
            ))
        }
    }

    async fn bearers(lives: &[i64], times: usize) -> (Vec<String>, usize) {
        let giver = Arc::new(Giver { lives: lives.to_vec(), asked: AtomicUsize::new(0) });
        let tokens = Tokens::new(giver.clone());
        let mut given = Vec::new();
        for _ in 0..times {
            given.push(tokens.bearer().await.map_or_else(
                |problem| problem,
                |bearer| bearer.to_str().expect("ASCII").to_owned(),
            ));
        }
        (given, giver.asked.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn a_token_is_kept_until_five_minutes_before_its_end() {
        assert_eq!(bearers(&[3600], 3).await, (vec!["Bearer token-0".to_owned(); 3], 1));
        let (given, asked) = bearers(&[299, 3600], 3).await;
        assert_eq!(
            (given, asked),
            (vec!["Bearer token-0".into(), "Bearer token-1".into(), "Bearer token-1".into()], 2)
        );
    }

    #[tokio::test]
    async fn an_identity_that_fails_is_left_alone_for_a_while() {
        let (given, asked) = bearers(&[], 3).await;
        assert!(given.iter().all(|problem| problem.contains("no")), "{given:?}");
        assert_eq!(asked, 1);
        // A token that cannot be renewed serves as long as it lives.
        assert_eq!(bearers(&[200], 3).await, (vec!["Bearer token-0".to_owned(); 3], 2));
    }
}
