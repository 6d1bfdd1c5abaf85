//! The status page: sources, runs, one run, for people with a browser.
//!
//! `gather` reads records and reports, `view` and `overview` make facts of them, `chart` pictures
//! of numbers, `html`, `overview_html` and `names_html` pages of both; `next` tells when the schedule
//! comes. `byhand` is where runs are started.
//! `local` shows the pages without a Functions host, to whoever sits at this machine.

mod chart;
mod expected;
mod gather;
mod html;
pub mod local;
mod names_html;
mod next;
mod overview;
mod overview_html;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use time::OffsetDateTime;
use url::form_urlencoded::byte_serialize;

use super::api::{KEYS, MOST_LISTED, StatusQuery, location};
use super::envelope::{HttpAnswer, HttpCall};
use crate::handler::page::gather::PageShelf;
use crate::handler::page::html::Frame;
use crate::handler::page::overview::{KnownOfSources, StatusOverview, brought};
use crate::handler::page::view::PageRun;
use crate::history::record::RunRecord;
use crate::model::redactor::Redactor;
use crate::model::{chain, printable};
use crate::runtime::retry::Policy;
use crate::state::store::StateStore;
use crate::store::contract::{Store, StoreError};
use crate::transfer::settings::Source;

/// Runs that are looked through for earlier failures of the files that failed in one.
const BEFORE: usize = 30;

/// What pages are made of.
pub struct PageContext<'a> {
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

impl PageContext<'_> {
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

/// How an answer is dressed: the facts are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dress {
    /// For people.
    Html,
    /// For programs.
    Json,
}

/// What answers `asked`, for people or for programs. An `Err` is why records could not be read.
pub async fn answer(
    context: PageContext<'_>,
    call: &HttpCall,
    asked: &StatusQuery,
    dress: Dress,
) -> Result<HttpAnswer, String> {
    let now = OffsetDateTime::now_utc();
    let query = carried(call);
    let named = |enabled: bool| {
        let sources = context.sources.iter().filter(move |source| source.enabled == enabled);
        sources.map(|source| source.name.as_str()).collect::<Vec<&str>>()
    };
    let (sources, off) = (named(true), named(false));
    let here = as_json(context.prefix, &query, asked);
    let frame = Frame {
        store: context.store.address(),
        prefix: context.prefix,
        query: &query,
        view: call
            .query
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("code"))
            .map_or("", |(_, value)| value),
        starts: context
            .starts_runs
            .then(|| format!("{}{}/ingest", origin(&call.url), context.prefix)),
        sources: &sources,
        off: &off,
        next: context.next_runs(now),
        here: &here,
        now,
    };
    let state = StateStore::new(context.store.clone(), context.redactor.clone(), Policy::default());
    let expecting = context.sources.iter().filter(|source| !source.expectations.is_empty());
    let expecting = expecting.map(|source| source.name.as_str()).collect();
    let (sources_told, redactor, here) = (&sources[..], context.redactor, context.here);
    let shelf = PageShelf { state, sources: sources_told, expecting, redactor, here };
    let made = match asked {
        StatusQuery::List(limit) => list(&frame, &shelf, *limit).await,
        StatusQuery::One(id) => one(&frame, &shelf, id).await,
        StatusQuery::Source(name) => source(&frame, &shelf, name).await,
        StatusQuery::Files(name, source) => files(&frame, &shelf, name, source.as_deref()).await,
    };
    let PageMade { status, html, json } = made.map_err(|error| chain(&error))?;
    Ok(match dress {
        Dress::Html => page(status, html),
        Dress::Json => {
            let json = context.redactor.json(json);
            HttpAnswer::new(status, json).with("Vary", "Accept").with("Cache-Control", "no-store")
        }
    })
}

/// An answer in both dresses.
struct PageMade {
    status: u16,
    html: String,
    json: Value,
}

async fn known(
    frame: &Frame<'_>,
    shelf: &PageShelf<'_>,
    runs: &[PageRun],
    only: Option<&str>,
) -> Result<StatusOverview, StoreError> {
    let index = shelf.index().await;
    let mut known = KnownOfSources {
        index: &index,
        runs,
        configured: frame.sources,
        next: &frame.next,
        arrived: Vec::new(),
        expected: shelf.expected(only).await,
        now: frame.now,
    };
    let names = frame.sources.iter().filter(|name| only.is_none_or(|only| only == **name));
    let brought = names.filter_map(|name| Some((brought(&known, name)?, (*name).to_owned())));
    known.arrived = shelf.arrived(brought.collect(), if only.is_some() { 50 } else { 12 }).await?;
    Ok(StatusOverview::of(known))
}

async fn list(
    frame: &Frame<'_>,
    shelf: &PageShelf<'_>,
    limit: usize,
) -> Result<PageMade, StoreError> {
    let runs = shelf.last(limit, frame.now).await?;
    let overview = known(frame, shelf, &runs, None).await?;
    let html = overview_html::list(frame, &overview, &runs);
    let mut json = json!(overview);
    json["off"] = json!(frame.off);
    json["runs"] = lines(frame, &runs);
    Ok(PageMade { status: 200, html, json })
}

fn lines(frame: &Frame<'_>, runs: &[PageRun]) -> Value {
    runs.iter().map(|run| run.line(location(frame.prefix, &run.id))).collect()
}

async fn source(
    frame: &Frame<'_>,
    shelf: &PageShelf<'_>,
    name: &str,
) -> Result<PageMade, StoreError> {
    let mut runs = shelf.last(MOST_LISTED, frame.now).await?;
    let overview = known(frame, shelf, &runs, Some(name)).await?;
    let Some(source) = overview.sources.iter().find(|source| source.name == name) else {
        return Ok(none(frame, &format!("there is no source `{}`", printable(name.as_bytes()))));
    };
    runs.iter_mut().for_each(|run| run.keep(name));
    runs.retain(|run| !run.passes.is_empty());
    let html = overview_html::one(frame, source, &overview.arrived, &runs);
    let mut json = json!(source);
    json["as_of"] = json!(overview)["as_of"].clone();
    json["answer"] = overview_html::answer(source).into();
    json["arrived"] = json!(overview.arrived);
    json["runs_told"] = lines(frame, &runs);
    Ok(PageMade { status: 200, html, json })
}

async fn files(
    frame: &Frame<'_>,
    shelf: &PageShelf<'_>,
    name: &str,
    source: Option<&str>,
) -> Result<PageMade, StoreError> {
    let runs = shelf.last(BEFORE, frame.now).await?;
    let overview = known(frame, shelf, &runs, source).await?;
    let found = shelf.files(name, source).await?;
    let html = names_html::page(frame, &overview, &found, name);
    let mut json = json!(found);
    json["answer"] = names_html::answer(&found, name).into();
    json["as_of"] = json!(overview)["as_of"].clone();
    Ok(PageMade { status: 200, html, json })
}

async fn one(frame: &Frame<'_>, shelf: &PageShelf<'_>, id: &str) -> Result<PageMade, StoreError> {
    let Some(run) = shelf.one(id, frame.now).await? else {
        return Ok(none(frame, &format!("there is no run `{}`", printable(id.as_bytes()))));
    };
    // What failed now may have failed before.
    let before = if run.passes.iter().any(|pass| !pass.failures.is_empty()) {
        shelf.last(BEFORE, frame.now).await?
    } else {
        Vec::new()
    };
    let mut json = run.told.clone();
    json["answer"] = html::run_answer(&run).into();
    Ok(PageMade { status: 200, html: html::run(frame, &run, &before), json })
}

fn none(frame: &Frame<'_>, reason: &str) -> PageMade {
    let html = html::refusal(frame, 404, reason);
    PageMade { status: 404, html, json: json!({ "error": reason }) }
}

/// The address of the same facts in JSON.
fn as_json(prefix: &str, query: &str, asked: &StatusQuery) -> String {
    let mut pairs = vec!["format=json".to_owned()];
    let path = match asked {
        StatusQuery::One(id) => format!("{prefix}/ingest/runs/{}", encoded(id)),
        _ => format!("{prefix}/ingest/runs"),
    };
    match asked {
        StatusQuery::List(limit) => pairs.push(format!("limit={limit}")),
        StatusQuery::One(_) => {}
        StatusQuery::Source(name) => pairs.push(format!("source={}", encoded(name))),
        StatusQuery::Files(name, source) => {
            pairs.push(format!("q={}", encoded(name)));
            pairs.extend(source.as_ref().map(|source| format!("source={}", encoded(source))));
        }
    }
    let sign = if query.is_empty() { "?" } else { "&" };
    format!("{path}{query}{sign}{}", pairs.join("&"))
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
        off: &[],
        next: BTreeMap::new(),
        here: "",
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
mod histories;
pub mod manual;
#[cfg(test)]
mod tests;
