//! What an answer of the pages is made of: its dress, and what is known of all sources.

use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use super::frame::{Dress, Frame};
use super::gather::PageShelf;
use super::html;
use super::overview::{KnownOfSources, StatusOverview, brought};
use super::view::{PageRun, passes_by_source};
use crate::history::source_index::SourceIndex;
use crate::store::contract::StoreError;

/// Runs that pages of lists look through.
pub(crate) const NEWEST: usize = 20;

/// An answer in the dress that was asked for.
pub(crate) struct PageMade {
    /// The status of the answer.
    pub status: u16,
    /// What is sent.
    pub body: PageBody,
}

/// What is sent.
pub(crate) enum PageBody {
    /// A page.
    Html(String),
    /// Facts.
    Json(Value),
}

impl PageMade {
    /// One of the two: over a thousand sources each takes some megabytes to make.
    pub fn of(
        frame: &Frame<'_>,
        html: impl FnOnce() -> String,
        json: impl FnOnce() -> Value,
    ) -> PageMade {
        let body = match frame.dress {
            Dress::Html => PageBody::Html(html()),
            Dress::Json => PageBody::Json(json()),
        };
        PageMade { status: 200, body }
    }
}

/// What is known of all sources, or of one, with at most `most` of the files that came last.
pub(crate) async fn known(
    frame: &Frame<'_>,
    shelf: &PageShelf<'_>,
    runs: &[PageRun],
    only: Option<&str>,
    most: usize,
) -> Result<(StatusOverview, SourceIndex), StoreError> {
    let index = shelf.index().await;
    let mut known = KnownOfSources {
        index: &index,
        passes: passes_by_source(runs),
        configured: frame.sources,
        next: &frame.next,
        last_but_one: &frame.last_but_one,
        arrived: Vec::new(),
        expected: shelf.expected(only, frame.now).await,
        now: frame.now,
    };
    if most > 0 {
        let names = frame.sources.iter().filter(|name| only.is_none_or(|only| only == **name));
        let brought = names.filter_map(|name| Some((brought(&known, name)?, (*name).to_owned())));
        known.arrived = shelf.arrived(brought.collect(), most).await?;
    }
    let mut overview = StatusOverview::of(known);
    overview.arrived.truncate(most);
    Ok((overview, index))
}

/// When the page was made, for programs.
pub(crate) fn as_of(frame: &Frame<'_>) -> String {
    frame.now.format(&Rfc3339).unwrap_or_default()
}

/// There is no such thing, and why.
pub(crate) fn none(frame: &Frame<'_>, reason: &str) -> PageMade {
    let html = || html::refusal(frame, 404, reason);
    PageMade { status: 404, ..PageMade::of(frame, html, || json!({ "error": reason })) }
}
