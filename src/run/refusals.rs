//! A refused credential is not shown again by later runs, until it changes or some hours have passed.
//!
//! Servers lock accounts after a few refusals, and a timer would make dozens a day. What is kept of the credential
//! is too little to find it out: sixteen bits of a salted, slow hash.

use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use sha2::Sha256;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::failure::Class;
use crate::model::{BlobName, Secret, hex};
use crate::report::Problem;
use crate::retry::retry;
use crate::run::context::{Pass, Run};
use crate::run::settings::Source;
use crate::store::contract::{Condition, Properties, StoreError};

/// Rounds of the hash: a few milliseconds.
const ROUNDS: u32 = 20_000;
/// The largest record that is read.
const MAX_BYTES: u64 = 64 << 10;

/// What is kept of a refusal.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Record {
    #[serde(with = "time::serde::rfc3339")]
    refused_at: OffsetDateTime,
    run: String,
    salt: String,
    mark: String,
    message: String,
}

/// What the last run left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// A refusal that does not count any more.
    Stale,
}

fn name_of(source: &str) -> BlobName {
    BlobName::new(format!("_blobferry/{source}/auth")).expect("source names are legal segments")
}

/// Sixteen bits by which a changed credential is noticed, all but once in 65,536 times.
fn mark(credential: &Secret, salt: &str) -> String {
    let key = Hmac::<Sha256>::new_from_slice(credential.reveal().as_bytes()).expect("a key of any length will do");
    let mut block: [u8; 32] = Sha256::digest(salt).into();
    for _ in 0..ROUNDS {
        let mut round = key.clone();
        round.update(&block);
        block = round.finalize().into_bytes().into();
    }
    hex(&block[..2])
}

/// Looks at what the last run left behind. `Err` tells of a refusal that still counts: no login is to be tried.
/// A record that cannot be read keeps nobody from logging in.
pub async fn before(run: &Run, source: &Source) -> Result<Before, Problem> {
    let Some(credential) = source.endpoint.credential().filter(|_| source.retry_auth_after > Duration::ZERO) else { return Ok(Before::Nothing) };
    let name = name_of(&source.name);
    let found = retry(&run.policy, &run.cancel, "reading the last refusal", |_| run.store.get(&name, 0, MAX_BYTES)).await;
    let Ok(Some((_, bytes))) = found else { return Ok(Before::Nothing) };
    let Ok(record) = serde_json::from_slice::<Record>(&bytes) else { return Ok(Before::Stale) };
    let until = record.refused_at + source.retry_auth_after;
    if OffsetDateTime::now_utc() >= until || mark(&credential, &record.salt) != record.mark {
        return Ok(Before::Stale);
    }
    let time = |at: OffsetDateTime| format!("{} {:02}:{:02} UTC", at.date(), at.hour(), at.minute());
    Err(Problem::new(
        Class::Auth,
        format!(
            "not logged in: this credential was refused at {} ({}); it is tried again when it has changed, or after {} (`retry_auth_after`)",
            time(record.refused_at),
            record.message,
            time(until)
        ),
    ))
}

/// Writes down how the logins of a pass went: a refusal is kept, one that does not count any more is forgotten.
/// What cannot be written is told in the log; it costs one more login.
pub async fn after(pass: &Pass) {
    let refused = pass.pool.refused().filter(|(class, _)| *class == Class::Auth);
    let credential = pass.source.endpoint.credential().filter(|_| pass.source.retry_auth_after > Duration::ZERO);
    let result = match (refused, credential) {
        (Some((_, message)), Some(credential)) => keep(pass, &credential, pass.conceal(&message)).await,
        (None, _) if pass.before == Before::Stale && pass.pool.logins() > 0 => forget(pass).await,
        _ => Ok(()),
    };
    if let Err(error) = result {
        tracing::warn!(
            source = pass.source.name,
            error = crate::model::chain(&error),
            "Warning: the refusal of a credential cannot be written down."
        );
    }
}

async fn keep(pass: &Pass, credential: &Secret, message: String) -> Result<(), StoreError> {
    let mut salt = [0_u8; 16];
    getrandom::fill(&mut salt).expect("the operating system gives random bytes");
    let salt = hex(&salt);
    let record = Record { refused_at: OffsetDateTime::now_utc(), run: pass.run.id.clone(), mark: mark(credential, &salt), salt, message };
    let bytes = Bytes::from(serde_json::to_vec_pretty(&record).expect("it holds nothing that JSON cannot"));
    let properties = Properties { content_type: "application/json".into(), md5: Md5::digest(&bytes).into(), metadata: [].into() };
    let name = name_of(&pass.source.name);
    let once = |_| pass.run.store.put(&name, bytes.clone(), &properties, &Condition::Always);
    retry(&pass.run.policy, &CancellationToken::new(), "writing down a refusal", once).await.map(drop)
}

async fn forget(pass: &Pass) -> Result<(), StoreError> {
    let name = name_of(&pass.source.name);
    retry(&pass.run.policy, &CancellationToken::new(), "forgetting a refusal", |_| pass.run.store.delete(&name)).await
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
