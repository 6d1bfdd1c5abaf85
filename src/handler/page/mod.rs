//! The status page: sources, runs, one run, for people with a browser.
//!
//! `gather` reads records and reports, `view` makes numbers of them, `chart` pictures of numbers,
//! `html` pages of both; `next` tells when the schedule comes. `byhand` is where runs are started.
//! `local` shows the pages without a Functions host, to whoever sits at this machine.

pub mod byhand;
mod chart;
mod gather;
mod html;
pub mod local;
mod next;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use time::OffsetDateTime;
use url::form_urlencoded::byte_serialize;

use self::gather::Shelf;
use self::html::Frame;
use super::api::{Asked, KEYS};
use super::envelope::{HttpAnswer, HttpCall};
use crate::model::redactor::Redactor;
use crate::model::{chain, printable};
use crate::retry::Policy;
use crate::run::record::RunRecord;
use crate::run::settings::Source;
use crate::state::store::StateStore;
use crate::store::contract::Store;

/// Runs that are looked through for earlier failures of the files that failed in one.
const BEFORE: usize = 30;

/// What pages are made of.
pub struct Desk<'a> {
    /// Where records and reports are.
    pub store: &'a Arc<dyn Store>,
    /// The configured sources.
    pub sources: &'a [Source],
    /// What no page may repeat.
    pub redactor: &'a Redactor,
    /// What paths of our HTTP API begin with.
    pub prefix: &'a str,
    /// Runs of this process.
    pub here: Vec<RunRecord>,
    /// Whether requests may start runs here.
    pub starts_runs: bool,
    /// When runs start by themselves, as the host's setting says it.
    pub schedule: Option<&'a str>,
}

impl Desk<'_> {
    /// When each source is gone over next: at the first tick from then on at which it is due.
    fn next_runs(&self, now: OffsetDateTime) -> BTreeMap<String, OffsetDateTime> {
        let tick = |from: OffsetDateTime| next::next(self.schedule?, from - time::Duration::SECOND);
        let of = |source: &Source| match &source.schedule {
            None => next::next(self.schedule?, now),
            Some(schedule) => tick(schedule.next_due(now)?),
        };
        self.sources.iter().filter_map(|source| Some((source.name.clone(), of(source)?))).collect()
    }
}

/// The page that answers `asked`. An `Err` is why records could not be read.
pub async fn answer(desk: Desk<'_>, call: &HttpCall, asked: &Asked) -> Result<HttpAnswer, String> {
    let now = OffsetDateTime::now_utc();
    let query = carried(call);
    let sources: Vec<&str> = desk.sources.iter().map(|source| source.name.as_str()).collect();
    let frame = Frame {
        store: desk.store.address(),
        prefix: desk.prefix,
        query: &query,
        view: call
            .query
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("code"))
            .map_or("", |(_, value)| value),
        starts: desk.starts_runs.then(|| format!("{}{}/ingest", origin(&call.url), desk.prefix)),
        sources: &sources,
        next: desk.next_runs(now),
        now,
    };
    let state = StateStore::new(desk.store.clone(), desk.redactor.clone(), Policy::default());
    let shelf = Shelf { state, sources: &sources, redactor: desk.redactor, here: desk.here };
    Ok(match asked {
        Asked::List(limit) => page(
            200,
            html::list(&frame, &shelf.last(*limit, now).await.map_err(|error| chain(&error))?),
        ),
        Asked::One(id) => match shelf.one(id, now).await.map_err(|error| chain(&error))? {
            Some(run) => {
                // What failed now may have failed before.
                let before = if run.passes.iter().any(|pass| !pass.failures.is_empty()) {
                    shelf.last(BEFORE, now).await
                } else {
                    Ok(Vec::new())
                };
                page(200, html::run(&frame, &run, &before.map_err(|error| chain(&error))?))
            }
            None => page(
                404,
                html::refusal(
                    &frame,
                    404,
                    &format!("there is no run `{}`", printable(id.as_bytes())),
                ),
            ),
        },
    })
}

/// A refusal as a page.
pub fn refusal(refused: &HttpAnswer, prefix: &str, call: &HttpCall) -> HttpAnswer {
    let query = carried(call);
    let frame = Frame {
        store: "the store",
        prefix,
        query: &query,
        view: "",
        starts: None,
        sources: &[],
        next: BTreeMap::new(),
        now: OffsetDateTime::now_utc(),
    };
    let reason = refused.body["error"].as_str().unwrap_or("no reason was given");
    let mut answer = page(refused.status, html::refusal(&frame, refused.status, reason));
    answer.headers.extend(refused.headers.iter().cloned());
    answer
}

/// A page with the headers that keep it to itself: no other origin, no copy, no address in a
/// referrer, no frame.
fn page(status: u16, html: String) -> HttpAnswer {
    HttpAnswer::page(status, html)
        .with("Content-Security-Policy", html::policy())
        .with("Referrer-Policy", "no-referrer")
        .with("Cache-Control", "no-store")
        .with("X-Content-Type-Options", "nosniff")
        .with("X-Frame-Options", "DENY")
        .with("Vary", "Accept")
}

/// What links of the pages carry on of the caller's query: how the host took its key. Encoded.
fn carried(call: &HttpCall) -> String {
    let keys =
        call.query.iter().filter(|(name, _)| KEYS.contains(&name.to_ascii_lowercase().as_str()));
    let pairs: Vec<String> =
        keys.map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

/// A text for a query.
fn encoded(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

/// Scheme and host that the caller asked by.
fn origin(url: &str) -> String {
    url::Url::parse(url).map_or_else(|_| String::new(), |url| url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests;
