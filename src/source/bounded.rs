//! A listing that is looked through for a few paths, and ends however much a server sends.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

use super::contract::{Aside, Listed, Op, SourceError};
use crate::model::RemotePath;
use crate::model::failure::Class;

/// Entries and lines of one folder that a session looks through to find one of its files.
pub(crate) const MOST_LOOKED_THROUGH: u64 = 1_000_000;

/// How many entries and lines came, and how many may.
#[derive(Debug)]
pub(crate) struct ListingBound {
    most: u64,
    seen: AtomicU64,
}

impl ListingBound {
    /// Of so many entries and lines.
    pub fn new(most: u64) -> Self {
        Self { most, seen: AtomicU64::new(0) }
    }

    /// Counts what a listing tells.
    pub fn count(&self, listed: &Listed) {
        let lines = if let Listed::Aside(Aside::Lines(lines)) = listed { *lines } else { 1 };
        self.seen.fetch_add(lines, Ordering::Relaxed);
    }

    /// The outcome of `listing`, which counts here whatever it tells; an error once that is too
    /// much. The session is not usable then.
    pub async fn hold<T>(
        &self,
        address: &str,
        dir: &RemotePath,
        listing: impl Future<Output = Result<T, SourceError>>,
    ) -> Result<T, SourceError> {
        let mut listing = pin!(listing);
        let result = poll_fn(|cx| match listing.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if self.is_over() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        result.await.unwrap_or_else(|| {
            let text = format!(
                "looking for a file in its folder was given up after more than {} lines",
                self.most
            );
            Err(SourceError::new(Op::List, address, Class::LimitListing, text).at(dir))
        })
    }

    fn is_over(&self) -> bool {
        self.seen.load(Ordering::Relaxed) > self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::Failure;

    #[tokio::test]
    async fn a_listing_without_end_is_given_up_and_one_that_ends_is_not() {
        let dir = RemotePath::from("/d");
        let bound = ListingBound::new(10);
        let endless = async {
            loop {
                bound.count(&Listed::Aside(Aside::Lines(4)));
                tokio::task::yield_now().await;
            }
        };
        let error = bound.hold::<()>("x://y", &dir, endless).await.expect_err("it never ends");
        assert_eq!((error.class(), error.keeps_session()), (Class::LimitListing, false));
        let bound = ListingBound::new(10);
        let short = async {
            (0..10).for_each(|_| bound.count(&Listed::Directory(dir.clone())));
            Ok(7)
        };
        assert_eq!(bound.hold("x://y", &dir, short).await.expect("it ends"), 7);
    }
}
