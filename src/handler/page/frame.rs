//! What the pages know beside runs. Pure.

use std::collections::BTreeMap;

use time::OffsetDateTime;

/// How an answer is dressed: the facts are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dress {
    /// For people.
    Html,
    /// For programs.
    Json,
}

/// What the pages know beside runs.
pub(crate) struct Frame<'a> {
    /// Where blobs go.
    pub store: &'a str,
    /// What paths of our HTTP API begin with.
    pub prefix: &'a str,
    /// What the caller's links carry on: `?code=…`, encoded, or nothing.
    pub query: &'a str,
    /// The key in them, as it is; empty if there is none.
    pub view: &'a str,
    /// Where requests that start runs go, if they are served here.
    pub starts: Option<String>,
    /// The configured sources.
    pub sources: &'a [&'a str],
    /// Those that no run goes over.
    pub off: &'a [&'a str],
    /// When each source is gone over next, if that is known.
    pub next: BTreeMap<String, OffsetDateTime>,
    /// When each was to be gone over the last time but one, if that is known.
    pub last_but_one: BTreeMap<String, OffsetDateTime>,
    /// The address of the same page in JSON; empty if it has none.
    pub here: &'a str,
    /// Which of the pages in the navigation it belongs to: what stands behind the address of the
    /// first; `None` if to none.
    pub part: Option<&'static str>,
    /// For whom the page is made.
    pub dress: Dress,
    /// When the page was made.
    pub now: OffsetDateTime,
}
