//! A refused credential is not shown again by later runs, until it changes or some hours have
//! passed.
//!
//! Servers lock accounts after a few refusals, and a timer would make dozens a day. What is kept of
//! the credential is too little to find it out: sixteen bits of a salted, slow hash. The index of
//! sources holds it.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::history::known_sources::Before;
use crate::history::source_index::{self, Refusal};
use crate::model::failure::Class;
use crate::model::{Secret, chain, clocks, hex};
use crate::report::Problem;
use crate::state::paths::StatePaths;
use crate::state::store::{StateError, StateStore};
use crate::transfer::context::{Pass, Run};
use crate::transfer::settings::Source;

/// Rounds of the hash: a few milliseconds.
const ROUNDS: u32 = 20_000;
/// The largest record that is read.
const MAX_BYTES: u64 = 64 << 10;

/// Sixteen bits by which a changed credential is noticed, all but once in 65,536 times.
fn mark(credential: &Secret, salt: &str) -> String {
    let key = Hmac::<Sha256>::new_from_slice(credential.reveal().as_bytes())
        .expect("a key of any length will do");
    let mut block: [u8; 32] = Sha256::digest(salt).into();
    for _ in 0..ROUNDS {
        let mut round = key.clone();
        round.update(&block);
        block = round.finalize().into_bytes().into();
    }
    hex(&block[..2])
}

/// Looks at what the last run left behind. `Err` tells of a refusal that still counts: no login is
/// to be tried. What cannot be read keeps nobody from logging in.
pub async fn before(run: &Run, source: &Source) -> Result<Before, Problem> {
    let credential =
        source.endpoint.credential().filter(|_| source.retry_auth_after > Duration::ZERO);
    let Some(credential) = credential else { return Ok(Before::Nothing) };
    let Some(refusal) = last(run, source).await else { return Ok(Before::Nothing) };
    let until = refusal.refused_at + source.retry_auth_after;
    let now = OffsetDateTime::now_utc();
    let is_ahead = clocks::is_ahead(refusal.refused_at, now);
    if now >= until || is_ahead || mark(&credential, &refusal.salt) != refusal.mark {
        return Ok(Before::Stale);
    }
    let time =
        |at: OffsetDateTime| format!("{} {:02}:{:02} UTC", at.date(), at.hour(), at.minute());
    Err(Problem::new(
        Class::Auth,
        format!(
            "not logged in: this credential was refused at {} ({}); it is tried again when it has \
            changed, or after {} (`retry_auth_after`)",
            time(refusal.refused_at),
            refusal.message,
            time(until)
        ),
    ))
}

/// The refusal that is kept of `source`.
async fn last(run: &Run, source: &Source) -> Option<Refusal> {
    match run.known_sources.read(&run.state).await.ok()?.get(&source.name) {
        Some(entry) => entry.refused.clone(),
        // Release 0.1 kept it in a blob of its own.
        None => of_release_0_1(&run.state, &source.name).await,
    }
}

async fn of_release_0_1(state: &StateStore, source: &str) -> Option<Refusal> {
    let name = StatePaths::of(source).auth();
    let (refusal, _) =
        state.get_json::<Refusal>(&name, MAX_BYTES, "reading the last refusal").await.ok()??;
    let kept = refusal.clone();
    if let Err(error) = set(state, source, Some(kept)).await {
        tracing::debug!(
            source,
            error = chain(&error),
            "The refusal of a credential stays where release 0.1 kept it."
        );
    }
    Some(refusal)
}

async fn set(state: &StateStore, source: &str, refusal: Option<Refusal>) -> Result<(), StateError> {
    source_index::change(state, |index| index.entry(source).refused.clone_from(&refusal)).await
}

/// Writes down how the logins of a pass went: a refusal is kept, one that does not count any more
/// is forgotten. What cannot be written is told in the log; it costs one more login.
pub(crate) async fn after(pass: &Pass) {
    let refused = pass.pool.refused().filter(|(class, _)| *class == Class::Auth);
    let credential =
        pass.source.endpoint.credential().filter(|_| pass.source.retry_auth_after > Duration::ZERO);
    let state = &pass.run.state;
    let result = match (refused, credential) {
        (Some((_, message)), Some(credential)) => {
            set(state, &pass.source.name, Some(refusal(pass, &credential, &message))).await
        }
        (None, _) if pass.before == Before::Stale && pass.pool.logins() > 0 => forget(pass).await,
        _ => Ok(()),
    };
    if let Err(error) = result {
        tracing::warn!(
            source = pass.source.name,
            error = chain(&error),
            "Warning: the refusal of a credential cannot be written down."
        );
    }
}

fn refusal(pass: &Pass, credential: &Secret, message: &str) -> Refusal {
    let mut salt = [0_u8; 16];
    getrandom::fill(&mut salt).expect("the operating system gives random bytes");
    let salt = hex(&salt);
    Refusal {
        refused_at: OffsetDateTime::now_utc(),
        run: pass.run.id.clone(),
        mark: mark(credential, &salt),
        salt,
        message: pass.redactor().text(message),
    }
}

async fn forget(pass: &Pass) -> Result<(), StateError> {
    set(&pass.run.state, &pass.source.name, None).await?;
    let name = StatePaths::of(&pass.source.name).auth();
    Ok(pass.run.state.delete(&name, "forgetting a refusal").await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_tells_credentials_apart_and_nothing_else() {
        let one = mark(&Secret::new("ftp://x\nme\nsecret"), "00");
        assert_eq!(one, mark(&Secret::new("ftp://x\nme\nsecret"), "00"));
        assert_ne!(one, mark(&Secret::new("ftp://x\nme\nSecret"), "00"));
        assert_ne!(one, mark(&Secret::new("ftp://x\nme\nsecret"), "01"));
        assert_eq!(one.len(), 4, "more would help to guess");
    }
}
