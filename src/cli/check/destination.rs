//! The destination's steps: who we are to it, whether it is there, and every right that a run needs.

use std::time::{Duration, Instant};

use bytes::Bytes;
use md5::{Digest, Md5};

use super::lines::{Line, Lines};
use crate::config::{Account, Destination};
use crate::failure::Class;
use crate::model::{BlobName, hex};
use crate::store::azure::{Identity, Whose, whose};
use crate::store::contract::{Condition, Leased, Properties, Store, StoreError, StoreKind};
use crate::store::holder::Holder;

/// No step waits longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Storage refuses signatures of clocks that are wrong by a quarter of an hour; this much earlier is told.
const SKEW: time::Duration = time::Duration::minutes(5);

/// What we are to storage, in words.
fn words(account: &Account) -> &'static str {
    match account {
        Account::ConnectionString(_) => "a connection string",
        Account::Sas { .. } => "a shared access signature",
        Account::Identity { identity: Identity::Managed { client_id: None }, .. } => "the system-assigned managed identity",
        Account::Identity { identity: Identity::Managed { .. }, .. } => "a user-assigned managed identity",
        Account::Identity { identity: Identity::Workload { .. }, .. } => "a workload identity",
        Account::Identity { identity: Identity::Cli, .. } => "whoever is logged in with `az login`",
    }
}

pub async fn check(lines: &mut Lines, destination: &Destination, store: &dyn Store) {
    let mut us = None;
    if let Destination::Azure { account, .. } = destination {
        match account {
            Account::Identity { identity, .. } => match who(lines, account, identity).await {
                Some(whose) => us = Some(whose),
                // Without a token the rest would only fail in the same way.
                None => return,
            },
            _ => lines.tell(Line::ok("identity", words(account))),
        }
    }
    let steps = Steps { store, us };
    let mut on = steps.look(lines).await;
    if on.is_some() {
        on = steps.write_and_read(lines).await;
    }
    if on.is_some() {
        steps.lease(lines).await;
    }
    clock(lines, store);
}

async fn who(lines: &mut Lines, account: &Account, identity: &Identity) -> Option<Whose> {
    let start = Instant::now();
    match in_time(whose(identity)).await {
        Ok(whose) => {
            let mut text = format!("{}: {whose}", words(account));
            if let Some(expires) = whose.expires {
                text.push_str(&format!("; its token is good until {} {:02}:{:02} UTC", expires.date(), expires.hour(), expires.minute()));
            }
            lines.tell(Line::ok("identity", text).took(start.elapsed()));
            if let Some(audience) = whose.audience.as_ref().filter(|audience| !audience.contains("storage.azure.com")) {
                lines.tell(Line::note("identity", format!("the token is for `{audience}`, not for storage")));
            }
            Some(whose)
        }
        Err(error) => {
            lines.tell(Line::failed("identity", &error).took(start.elapsed()));
            None
        }
    }
}

async fn in_time<T>(step: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = || StoreError::new("asking", "storage", "time", StoreKind::Unavailable, format!("no answer within {} s", PATIENCE.as_secs()));
    tokio::time::timeout(PATIENCE, step).await.unwrap_or_else(|_| Err(late()))
}

struct Steps<'a> {
    store: &'a dyn Store,
    us: Option<Whose>,
}

impl Steps<'_> {
    /// Asks for a blob that is not there: that needs the way, the credential and the right to read.
    async fn look(&self, lines: &mut Lines) -> Option<()> {
        let name = BlobName::new("_blobferry/_check/nothing").expect("the name is our own");
        let start = Instant::now();
        match in_time(self.store.head(&name)).await {
            Ok(_) => {
                lines.tell(Line::ok("destination", format!("{} answers", self.store.address())).took(start.elapsed()));
                Some(())
            }
            Err(error) if error.kind == StoreKind::NoContainer => {
                let text = format!("{} is not there yet; the first run creates it unless `create_container = false`", self.store.address());
                lines.tell(Line::note("destination", text).took(start.elapsed()));
                None
            }
            Err(error) => self.refused(lines, "destination", &error, start),
        }
    }

    /// Writes a small blob of our own, reads it and removes it.
    async fn write_and_read(&self, lines: &mut Lines) -> Option<()> {
        let mut random = [0u8; 8];
        getrandom::fill(&mut random).expect("the operating system gives random bytes");
        let name = BlobName::new(format!("_blobferry/_check/{}", hex(&random))).expect("the name is our own");
        let bytes = Bytes::copy_from_slice(name.as_str().as_bytes());
        let properties = Properties { content_type: "text/plain".into(), md5: Md5::digest(&bytes).into(), metadata: [].into() };
        let start = Instant::now();
        if let Err(error) = in_time(self.store.put(&name, bytes.clone(), &properties, &Condition::IfAbsent)).await {
            return self.refused(lines, "write", &error, start);
        }
        lines.tell(Line::ok("write", "a small blob below `_blobferry/`").took(start.elapsed()));
        let start = Instant::now();
        match in_time(self.store.get(&name, 0, 1 << 10)).await {
            Ok(Some((_, read))) if read == bytes => lines.tell(Line::ok("read", "it comes back as it was written").took(start.elapsed())),
            Ok(_) => lines.tell(Line::wrong("read", Class::StoreUnavailable, "it does not come back as it was written").took(start.elapsed())),
            Err(error) => drop(self.refused(lines, "read", &error, start)),
        }
        let start = Instant::now();
        match in_time(self.store.delete(&name)).await {
            Ok(()) => lines.tell(Line::ok("remove", "it is gone again").took(start.elapsed())),
            Err(error) => {
                // No run removes blobs; the right to is not needed.
                let text = format!("`{}` stays: {}", name.as_str(), crate::model::chain(&error));
                lines.tell(
                    Line::note("remove", text)
                        .took(start.elapsed())
                        .hint("runs do not remove blobs, so this right is not needed; remove this one by hand"),
                );
            }
        }
        Some(())
    }

    /// Takes a lease and gives it back: what keeps two runs from doing the same work.
    async fn lease(&self, lines: &mut Lines) {
        let name = BlobName::new("_blobferry/_check/lock").expect("the name is our own");
        let start = Instant::now();
        let leased = in_time(self.store.lease(&name, &Holder::new("check"))).await;
        let released = match leased {
            Ok(Leased::Held(lease)) => in_time(lease.release()).await,
            Ok(Leased::Taken(_)) => return lines.tell(Line::note("lease", "another check has it at this moment").took(start.elapsed())),
            Err(error) => Err(error),
        };
        match released {
            Ok(()) => lines.tell(Line::ok("lease", "taken and given back").took(start.elapsed())),
            Err(error) => {
                let text = format!("none to be had: {}", crate::model::chain(&error));
                lines.tell(Line::note("lease", text).took(start.elapsed()).hint("runs work without, but two at once do the same work"));
            }
        }
        // The blob of the lease; where it cannot be removed it is the same one the next time.
        if let Err(error) = in_time(self.store.delete(&name)).await {
            tracing::debug!(error = %crate::model::chain(&error), "The lease of the check stays.");
        }
    }

    fn refused(&self, lines: &mut Lines, step: &'static str, error: &StoreError, start: Instant) -> Option<()> {
        let line = Line::failed(step, error).took(start.elapsed());
        let line = match (&self.us, error.kind) {
            (Some(us), StoreKind::Denied) => {
                let whom = us.object_id.as_ref().or(us.client_id.as_ref()).or(us.name.as_ref());
                let whom = whom.map_or_else(|| "this identity".to_owned(), |whom| format!("`{whom}`"));
                line.hint(format!(
                    "assign the role Storage Blob Data Contributor on {} to {whom}; a new assignment takes up to ten minutes to work",
                    self.store.address()
                ))
            }
            _ => line,
        };
        lines.tell(line);
        None
    }
}

fn clock(lines: &mut Lines, store: &dyn Store) {
    let Some(ahead) = store.clock_ahead() else { return };
    let way = if ahead.is_negative() { "behind" } else { "ahead of" };
    let text = format!("this machine's clock is {} s {way} storage's", ahead.whole_seconds().unsigned_abs());
    lines.tell(if ahead.abs() > SKEW {
        Line::note("clock", text).hint("set this machine's clock right: storage refuses requests that are signed a quarter of an hour off")
    } else {
        Line::ok("clock", text)
    });
}
