//! What manifests told a long-lived process of files that somebody expects: a source in which
//! nothing changes is not read again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use time::{Duration, OffsetDateTime};

use crate::history::arrivals::OpenExpectations;

/// Another process may have counted more since: what it wrote is read after this time.
const GOOD_FOR: Duration = Duration::hours(1);
/// Sources that are kept, at most.
const MOST_SOURCES: usize = 10_000;
/// Lines of a source that are kept, at most; some hundred bytes each.
const MOST_FACTS: usize = 1_000;

/// See the module. Cloning it copies nothing. By itself it keeps nothing:
/// [`ArrivalsCache::keeping`] does.
#[derive(Clone, Debug, Default)]
pub struct ArrivalsCache {
    kept: Option<Arc<Mutex<HashMap<String, KeptArrivals>>>>,
}

#[derive(Clone, Debug)]
struct KeptArrivals {
    open: Arc<OpenExpectations>,
    read: OffsetDateTime,
}

impl ArrivalsCache {
    /// One that keeps what was read, for a process that judges the same sources again and again.
    pub fn keeping() -> Self {
        Self { kept: Some(Arc::default()) }
    }

    fn kept(&self) -> Option<MutexGuard<'_, HashMap<String, KeptArrivals>>> {
        self.kept.as_ref().map(|kept| kept.lock().expect("no code panics while it holds this lock"))
    }

    /// What was read of `source` last, unless that is too long ago at `now`.
    pub(crate) fn current(
        &self,
        source: &str,
        now: OffsetDateTime,
    ) -> Option<Arc<OpenExpectations>> {
        let found = self.kept()?.get(source).cloned()?;
        let is_good = found.read <= now && now - found.read < GOOD_FOR;
        is_good.then_some(found.open)
    }

    /// Keeps what was read of `source` at `now`, if there is room.
    pub(crate) fn keep(&self, source: &str, open: OpenExpectations, now: OffsetDateTime) {
        let Some(mut kept) = self.kept() else { return };
        kept.remove(source);
        if open.facts.len() <= MOST_FACTS && kept.len() < MOST_SOURCES {
            kept.insert(source.to_owned(), KeptArrivals { open: Arc::new(open), read: now });
        }
    }

    /// Forgets `source`: something is known that was not read then.
    pub(crate) fn forget(&self, source: &str) {
        self.kept().map(|mut kept| kept.remove(source));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn what_was_read_is_good_for_an_hour_where_anything_is_kept() {
        let read = datetime!(2026-12-01 06:00 UTC);
        let (keeps, keeps_nothing) = (ArrivalsCache::keeping(), ArrivalsCache::default());
        for cache in [&keeps, &keeps_nothing] {
            cache.keep("acme", OpenExpectations::default(), read);
        }
        assert!(keeps_nothing.current("acme", read).is_none());
        for (minutes, is_good) in [(-1, false), (0, true), (59, true), (60, false)] {
            let found = keeps.current("acme", read + Duration::minutes(minutes));
            assert_eq!(found.is_some(), is_good, "{minutes}");
        }
        assert!(keeps.current("other", read).is_none());
        keeps.forget("acme");
        assert!(keeps.current("acme", read).is_none());
    }
}
