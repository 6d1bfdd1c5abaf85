//! The state of a destination moves to another place, safe to be killed at any point and begun
//! again.
//!
//! 1. The place that the state goes to gets a mark, so that a second call goes on with this move.
//! 2. The lease of each source is taken: no run is at work. All blobs but the ledgers' heads are
//!    copied and compared.
//! 3. Source by source its head is copied beside its name, then the old one is replaced by one that
//!    tells where the state is: from then on the old configuration is refused. Then the copy gets
//!    the head's name.
//! 4. The destinations' pointers name the new place: from then on the new configuration is
//!    accepted. The mark goes last.
//!
//! So at no moment two configurations may both record, and whatever is old stays as it is, but for
//! the heads.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ledger::{Head, moved};
use crate::model::BlobName;
use crate::pass::lease::LeaseGuard;
use crate::runtime::retry::{Policy, retry};
use crate::state::apart;
use crate::state::paths::{NAMES, PROBES, ROOT, RUNS, StatePaths, move_mark, place, pointer};
use crate::store::contract::{BlobInfo, Condition, Leased, Store, StoreError};
use crate::store::holder::Holder;
use copy::{bytes_of, copied, write_json};

mod copy;

/// Blobs that are copied at once, and leases that are asked for at once.
const AT_ONCE: usize = 16;

/// Where the state is and where it goes.
pub struct StateMove {
    /// The destinations, the first one first; none of them has the state elsewhere than the others.
    pub destinations: Vec<Arc<dyn Store>>,
    /// Where the state is.
    pub from: Arc<dyn Store>,
    /// Where it goes.
    pub to: Arc<dyn Store>,
    /// Whether that is among the blobs of the first destination.
    pub is_among_blobs: bool,
    /// The sources that are configured, whether they have state or not.
    pub sources: Vec<String>,
}

/// What a move came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateMoved {
    /// Whether it had been moved before.
    pub was_there: bool,
    /// Sources whose state was moved.
    pub sources: usize,
    /// Blobs of it.
    pub blobs: usize,
    /// Bytes of these.
    pub bytes: u64,
}

/// Why the state was not moved, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// A store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It may not be moved as things stand.
    #[error("{0}")]
    Refused(String),
}

fn refused<T>(why: String) -> Result<T, MoveError> {
    Err(MoveError::Refused(why))
}

impl StateMove {
    /// Moves it.
    pub async fn run(&self) -> Result<StateMoved, MoveError> {
        let never = CancellationToken::new();
        retry(&Policy::default(), &never, "preparing the store", |_| self.to.prepare()).await?;
        let Some(id) = self.mark_new_place().await? else {
            return Ok(StateMoved { was_there: true, ..StateMoved::default() });
        };
        let blobs = listed(&*self.from).await?;
        let sources = self.sources_of(&blobs);
        let (keepers, lost) = (TaskTracker::new(), CancellationToken::new());
        let leases = self.leases(&sources, &keepers, &lost).await?;
        let moved = self.under_leases(&blobs, &sources, &id, &lost).await;
        for lease in leases {
            drop(lease.release().await);
        }
        moved
    }

    async fn under_leases(
        &self,
        blobs: &[BlobInfo],
        sources: &BTreeSet<String>,
        id: &str,
        lost: &CancellationToken,
    ) -> Result<StateMoved, MoveError> {
        let mut done = BTreeSet::new();
        for source in sources {
            match self.head_of(source).await? {
                OldHead::Fenced => drop(done.insert(source.clone())),
                OldHead::InPieces => {
                    return refused(format!(
                        "a pass over `{source}` is under way in pieces; move the state once it is \
                        closed"
                    ));
                }
                OldHead::Free => {}
            }
        }
        // A run may have come between listing and lease.
        let blobs = if blobs.is_empty() { Vec::new() } else { listed(&*self.from).await? };
        let is_done = |name: &str| source_of(name).is_some_and(|source| done.contains(source));
        let wanted: Vec<&BlobInfo> =
            blobs.iter().filter(|info| is_copied(&info.name) && !is_done(&info.name)).collect();
        self.remove_others(&wanted, &is_done).await?;
        let copies = wanted.iter().map(|info| copied(&*self.from, &*self.to, info));
        stream::iter(copies).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        for source in sources {
            if lost.is_cancelled() {
                return refused("a lease was lost on the way; call it again".to_owned());
            }
            self.hand_over(source).await?;
        }
        self.finish(id).await?;
        Ok(StateMoved {
            was_there: false,
            sources: sources.len(),
            blobs: wanted.len(),
            bytes: wanted.iter().map(|info| info.size).sum(),
        })
    }

    /// Puts the mark into the new place, or finds that of an earlier call. Returns the id of this
    /// state; `None` if it has been moved already.
    async fn mark_new_place(&self) -> Result<Option<String>, MoveError> {
        let first = &*self.destinations[0];
        let pointer_bytes = bytes_of(first, &pointer()).await?;
        if let Some(mark) = bytes_of(&*self.to, &move_mark()).await? {
            return match apart::known(&mark) {
                Some((id, from)) if from == self.from.address() => Ok(Some(id)),
                known => refused(format!(
                    "another move goes to `{}`, from `{}`: end that one first",
                    self.to.address(),
                    known.map_or_else(|| "?".to_owned(), |(_, from)| from)
                )),
            };
        }
        let old = bytes_of(&*self.from, &place()).await?.and_then(|bytes| apart::known(&bytes));
        let new = bytes_of(&*self.to, &place()).await?.and_then(|bytes| apart::known(&bytes));
        let pointed = pointer_bytes.and_then(|bytes| apart::known(&bytes));
        match (&pointed, &old, &new) {
            (Some((id, _)), _, Some((new, _))) if id == new && !self.is_among_blobs => {
                return Ok(None);
            }
            // Among the blobs, as it is to be.
            (None, None, _) if self.is_among_blobs => return Ok(None),
            (Some((id, at)), old, _) if old.as_ref().is_none_or(|(old, _)| old != id) => {
                return refused(format!(
                    "the state of this destination is in `{at}`, and not in `{}`; `--from FILE` \
                    names the configuration that it was written under",
                    self.from.address()
                ));
            }
            _ => {}
        }
        self.must_be_free().await?;
        let id = old.map_or_else(apart::new_id, |(id, _)| id);
        write_json(&*self.to, &move_mark(), &apart::known_as(&id, self.from.address())).await?;
        Ok(Some(id))
    }

    /// The new place holds no state that counts: nothing but probes, records of runs that were
    /// refused, the index of names (a cache), and what an earlier move has left behind, whose heads
    /// tell where it went.
    async fn must_be_free(&self) -> Result<(), MoveError> {
        let mut left_behind = BTreeSet::new();
        for info in listed(&*self.to).await? {
            let is_free = [pointer(), place()].iter().any(|own| own.as_str() == info.name)
                || info.name.starts_with(PROBES)
                || info.name.starts_with(RUNS)
                || info.name.starts_with(NAMES);
            let Some(source) = source_of(&info.name).filter(|_| !is_free) else {
                if is_free {
                    continue;
                }
                return refused(self.taken_by(&info.name));
            };
            if left_behind.contains(source) {
                continue;
            }
            let head = bytes_of(&*self.to, &head_name(source)).await?;
            if head.is_none_or(|bytes| !Head::is_moved(&bytes)) {
                return refused(self.taken_by(&info.name));
            }
            left_behind.insert(source.to_owned());
        }
        Ok(())
    }

    fn taken_by(&self, name: &str) -> String {
        format!("`{}` holds state already (`{name}`): name an empty place", self.to.address())
    }

    fn sources_of(&self, blobs: &[BlobInfo]) -> BTreeSet<String> {
        let found = blobs.iter().filter_map(|info| source_of(&info.name));
        found.map(str::to_owned).chain(self.sources.iter().cloned()).collect()
    }

    /// The lease of each source, kept until it is dropped; refused while a run has one of them.
    async fn leases(
        &self,
        sources: &BTreeSet<String>,
        keepers: &TaskTracker,
        lost: &CancellationToken,
    ) -> Result<Vec<LeaseGuard>, MoveError> {
        let never = CancellationToken::new();
        let asked = sources.iter().map(|source| {
            let never = &never;
            async move {
                let (name, holder) = (StatePaths::of(source).lock(), Holder::new("state-move"));
                let ask = |_| self.from.lease(&name, &holder);
                match retry(&Policy::default(), never, "leasing", ask).await? {
                    Leased::Held(lease) => {
                        let (what, lost) = (format!("source {source}"), lost.clone());
                        let early = std::time::Duration::ZERO;
                        Ok(LeaseGuard::keep_until(keepers, lease, what, early, lost))
                    }
                    Leased::Taken(taken) => refused(format!(
                        "a run is at `{source}`{}: move the state once it has ended (the lease of \
                        a run that died lapses within {} s)",
                        taken
                            .by
                            .map_or_else(String::new, |by| format!(" ({} on {})", by.run, by.host)),
                        taken.outlives.as_secs()
                    )),
                }
            }
        });
        stream::iter(asked).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn head_of(&self, source: &str) -> Result<OldHead, MoveError> {
        let Some(bytes) = bytes_of(&*self.from, &head_name(source)).await? else {
            return Ok(OldHead::Free);
        };
        if Head::is_moved(&bytes) {
            return Ok(OldHead::Fenced);
        }
        // One that cannot be read is moved as it is: it is told there.
        match Head::parse(&head_name(source), &bytes) {
            Ok(head) if head.pass.is_some() => Ok(OldHead::InPieces),
            _ => Ok(OldHead::Free),
        }
    }

    /// Removes what an earlier call copied, or an earlier move left behind, and what is not there
    /// any more.
    async fn remove_others(
        &self,
        wanted: &[&BlobInfo],
        is_done: &impl Fn(&str) -> bool,
    ) -> Result<(), MoveError> {
        let names: BTreeSet<&str> = wanted.iter().map(|info| info.name.as_str()).collect();
        for info in listed(&*self.to).await? {
            let is_other = source_of(&info.name).is_some()
                && is_copied(&info.name)
                && !is_done(&info.name)
                && !names.contains(info.name.as_str());
            if is_other && let Ok(name) = BlobName::new(&info.name) {
                self.to.delete(&name).await?;
            }
        }
        Ok(())
    }

    /// Copies the head of `source`, has the old one tell where it went, and gives the copy its
    /// name: from here on the new one counts.
    async fn hand_over(&self, source: &str) -> Result<(), MoveError> {
        let (head, aside) = (head_name(source), aside_name(source));
        let found = self.from.head(&head).await?;
        let bytes = bytes_of(&*self.from, &head).await?;
        if bytes.as_ref().is_none_or(|bytes| !Head::is_moved(bytes)) {
            match &bytes {
                Some(bytes) => {
                    copy::put(&*self.to, &aside, bytes.clone(), &Condition::Always).await?
                }
                None => self.to.delete(&aside).await?,
            }
            let condition =
                found.map_or(Condition::IfAbsent, |found| Condition::IfMatch(found.etag));
            let fence = moved(self.to.address()).into();
            copy::put(&*self.from, &head, fence, &condition)
                .await
                .map_err(StoreError::into_no_race)?;
        }
        let there = bytes_of(&*self.to, &head).await?;
        let is_ours = there.as_ref().is_some_and(|bytes| !Head::is_moved(bytes));
        match bytes_of(&*self.to, &aside).await? {
            // An earlier call has named it, and runs may have replaced it since.
            Some(_) if is_ours => self.to.delete(&aside).await?,
            Some(bytes) => {
                copy::put(&*self.to, &head, bytes, &Condition::Always).await?;
                self.to.delete(&aside).await?;
            }
            // There never was one; what tells of an earlier move there counts no more.
            None if there.is_some() && !is_ours => self.to.delete(&head).await?,
            None => {}
        }
        Ok(())
    }

    /// Has both places and all destinations tell where the state is now.
    async fn finish(&self, id: &str) -> Result<(), MoveError> {
        let at = apart::known_as(id, self.to.address());
        if !self.is_among_blobs || self.destinations.len() > 1 {
            write_json(&*self.to, &place(), &at).await?;
        }
        let (first, others) = self.destinations.split_first().expect("there is a first one");
        for other in others {
            write_json(&**other, &pointer(), &at).await?;
        }
        match self.is_among_blobs {
            true => first.delete(&pointer()).await?,
            false => write_json(&**first, &pointer(), &at).await?,
        }
        self.from.delete(&place()).await?;
        self.to.delete(&move_mark()).await?;
        Ok(())
    }
}

enum OldHead {
    /// It tells where the state went: an earlier call has handed it over.
    Fenced,
    /// Workers are at it.
    InPieces,
    /// There is one that may be moved, or none.
    Free,
}

fn head_name(source: &str) -> BlobName {
    crate::ledger::head_name(source)
}

/// Where a head waits for its name.
fn aside_name(source: &str) -> BlobName {
    StatePaths::of(source).ledger("moved-head.json").expect("our own name is a legal segment")
}

/// The source that a blob of state is of.
fn source_of(name: &str) -> Option<&str> {
    let (source, _) = name.strip_prefix(ROOT)?.split_once('/')?;
    (!source.starts_with('_')).then_some(source)
}

/// Whether a blob of this name is copied: heads are handed over, leases and probes are made anew,
/// and each place tells of itself.
fn is_copied(name: &str) -> bool {
    let own = [pointer(), place(), move_mark()];
    let is_own = own.iter().any(|own| own.as_str() == name) || name.starts_with(PROBES);
    let of_source = source_of(name).map(|source| {
        let paths = StatePaths::of(source);
        let heads = [head_name(source), aside_name(source), paths.lock()];
        heads.iter().any(|own| own.as_str() == name)
            || name.starts_with(&format!("{}slots/", paths.folder()))
    });
    !is_own && of_source != Some(true)
}

async fn listed(store: &dyn Store) -> Result<Vec<BlobInfo>, StoreError> {
    let never = CancellationToken::new();
    let once = |_| async {
        let mut blobs = Vec::new();
        store.list(ROOT, &mut |info| blobs.push(info)).await.map(|()| blobs)
    };
    retry(&Policy::default(), &never, "listing the state", once).await
}
