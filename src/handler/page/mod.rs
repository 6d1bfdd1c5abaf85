//! The status page: sources, runs, one run, for people with a browser.
//!
//! `gather` reads records and reports, `view` and `overview` make facts of them, `chart` pictures
//! of numbers, `html` and the files that end so pages of both; `address` is where they are, `next`
//! tells when the schedule comes. `manual` is where runs are started.
//! `local` shows the pages without a Functions host, to the person who sits at this machine.

mod absent;
mod address;
mod chart;
mod days;
mod digest;
mod expected;
mod file;
mod file_html;
mod frame;
mod gather;
mod html;
mod lists_html;
pub mod local;
mod made;
mod moment;
mod names;
mod names_html;
mod names_seen;
mod newcomer;
mod next;
mod overview;
mod overview_html;
mod pass;
mod run_html;
mod sentence;
mod source_html;
mod stands;
mod tag;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::api::{ListQuery, MOST_LISTED, SeenSince, StatusQuery, location};
use super::envelope::{HttpAnswer, HttpCall};
use crate::handler::page::address::{carried, encoded, origin};
use crate::handler::page::days::DaysTold;
use crate::handler::page::file::FileLife;
pub use crate::handler::page::frame::Dress;
use crate::handler::page::frame::Frame;
use crate::handler::page::gather::{PageShelf, RunPart};
use crate::handler::page::made::{NEWEST, PageBody, PageMade, as_of, known, none};
use crate::handler::page::names_seen::NameSearch;
use crate::handler::page::newcomer::new_sources;
use crate::handler::page::source_html::SourceFacts;
use crate::handler::page::view::{PageRun, failed_before};
use crate::history::record::RunRecord;
use crate::model::redactor::Redactor;
use crate::model::{chain, printable};
use crate::runtime::retry::Policy;
use crate::state::store::StateStore;
use crate::store::contract::{Store, StoreError};
use crate::store::destinations::Destinations;
use crate::transfer::settings::Source;

/// Runs that are looked through for earlier failures of the files that failed in one.
const BEFORE: usize = 30;

/// Files of a source that came last, and of all sources together.
const FILES: usize = 50;
const FEW_FILES: usize = 12;
/// From so many sources on fewer runs of one are looked through.
const MANY: usize = 50;

/// What pages are made of.
pub struct PageContext<'a> {
    /// Where records and reports are.
    pub store: &'a Arc<dyn Store>,
    /// Where blobs of sources go that name another destination.
    pub destinations: &'a Destinations,
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

    /// When each source was to be gone over the last time but one.
    fn last_but_one(&self, now: OffsetDateTime) -> BTreeMap<String, OffsetDateTime> {
        let Some(schedule) = self.schedule else { return BTreeMap::new() };
        let of = |source: &Source| next::last_but_one(schedule, source.schedule.as_ref(), now);
        self.sources.iter().filter_map(|source| Some((source.name.clone(), of(source)?))).collect()
    }
}

impl PageContext<'_> {
    /// Where the blobs are that a page tells of.
    fn store_of(&self, asked: &StatusQuery) -> Arc<dyn Store> {
        let named = match asked {
            StatusQuery::Source(name) => self.sources.iter().find(|source| source.name == *name),
            _ => None,
        };
        let destination = named.and_then(|source| source.destination.as_deref());
        self.destinations.of(destination, self.store)
    }
}

/// What answers `asked`, for people or for programs. An `Err` is why records could not be read.
pub(crate) async fn answer(
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
    let store = context.store_of(asked);
    let frame = Frame {
        store: store.address(),
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
        last_but_one: context.last_but_one(now),
        here: &here,
        part: part(asked),
        dress,
        now,
    };
    let state = StateStore::new(context.store.clone(), context.redactor.clone(), Policy::default());
    let expecting = context.sources.iter().filter(|source| !source.expectations.is_empty());
    let expecting = expecting.collect();
    let (sources_told, redactor, here) = (&sources[..], context.redactor, context.here);
    let shelf = PageShelf { state, sources: sources_told, expecting, redactor, here };
    let made = match asked {
        StatusQuery::List(limit) => {
            list(&frame, &shelf, (context.sources, context.schedule), *limit).await
        }
        StatusQuery::One(id) => one(&frame, &shelf, id).await,
        StatusQuery::Source(name) => {
            let configured = context.sources.iter().find(|source| source.name == *name);
            let folder = configured.map(|source| redactor.name(&source.root.to_string()));
            source(&frame, &shelf, name, folder.as_deref()).await
        }
        StatusQuery::Files(name, source, since) => {
            let search = NameSearch { name, source: source.as_deref(), since: *since };
            names::search(&frame, &shelf, context.sources, &search).await
        }
        StatusQuery::File(source, path) => file(&frame, &shelf, source, path).await,
        StatusQuery::Sources(asked) => sources_page(&frame, &shelf, asked).await,
        StatusQuery::Runs(asked) => runs_page(&frame, &shelf, asked).await,
        StatusQuery::Month(month) => month_page(&frame, &shelf, month).await,
    };
    let PageMade { status, body } = made.map_err(|error| chain(&error))?;
    let answer = match body {
        PageBody::Html(html) => html::with_headers(status, html),
        PageBody::Json(json) => HttpAnswer::new(status, context.redactor.json(json))
            .with("Vary", "Accept")
            .with("Cache-Control", "no-store"),
    };
    Ok(tag::tagged(answer, call))
}

async fn list(
    frame: &Frame<'_>,
    shelf: &PageShelf<'_>,
    (settings, schedule): (&[Source], Option<&str>),
    limit: usize,
) -> Result<PageMade, StoreError> {
    let runs = shelf.last(limit, RunPart::All, frame.now).await?;
    let (overview, _) = known(frame, shelf, &runs, None, FEW_FILES).await?;
    let is_new = runs.is_empty() && overview.is_empty();
    let new = is_new.then(|| new_sources(settings, schedule, shelf.redactor, &overview));
    let json = || {
        let mut json = json!(overview);
        json["off"] = json!(frame.off);
        json["runs"] = lines(frame, &runs);
        if let Some(new) = &new {
            json["new"] = json!(new);
        }
        json
    };
    let html = || overview_html::list(frame, &overview, &runs, new.as_deref());
    Ok(PageMade::of(frame, html, json))
}

fn lines(frame: &Frame<'_>, runs: &[PageRun]) -> Value {
    runs.iter().map(|run| run.line(location(frame.prefix, &run.id))).collect()
}

async fn source(
    frame: &Frame<'_>,
    shelf: &PageShelf<'_>,
    name: &str,
    folder: Option<&str>,
) -> Result<PageMade, StoreError> {
    // Records over many sources are long, and of each a line is wanted.
    let most = if frame.sources.len() > MANY { NEWEST } else { MOST_LISTED };
    let mut runs = shelf.last(most, RunPart::Source(name), frame.now).await?;
    runs.retain(|run| !run.passes.is_empty());
    let (overview, index) = known(frame, shelf, &runs, Some(name), FILES).await?;
    let Some(source) = overview.sources.iter().find(|source| source.name == name) else {
        return Ok(none(frame, &format!("there is no source `{}`", printable(name.as_bytes()))));
    };
    let feeds =
        days::feeds(index.sources.get(name).and_then(|entry| entry.days.as_ref()), frame.now);
    let facts = SourceFacts::of(&overview, (source, folder), &feeds, &runs);
    let json = || {
        let mut json = json!(source);
        json["folder"] = json!(folder);
        json["as_of"] = as_of(frame).into();
        json["answer"] = overview_html::answer(source).into();
        json["arrived"] = json!(overview.arrived);
        json["expected"] = json!(overview.expected);
        json["night"] = json!(overview.night);
        json["feeds"] = json!(feeds);
        json["runs_told"] = lines(frame, &runs);
        json
    };
    Ok(PageMade::of(frame, || source_html::page(frame, &facts), json))
}

async fn file(
    frame: &Frame<'_>,
    shelf: &PageShelf<'_>,
    source: &str,
    path: &str,
) -> Result<PageMade, StoreError> {
    let found = shelf.life(source, path).await?;
    let Some(life) = FileLife::of(&found, frame.now) else {
        let path = printable(path.as_bytes());
        return Ok(none(frame, &format!("no file `{path}` of `{source}` was seen")));
    };
    Ok(PageMade::of(frame, || file_html::page(frame, &life), || json!(life)))
}

async fn sources_page(
    frame: &Frame<'_>,
    shelf: &PageShelf<'_>,
    asked: &ListQuery,
) -> Result<PageMade, StoreError> {
    let runs = shelf.last(NEWEST, RunPart::All, frame.now).await?;
    let (overview, _) = known(frame, shelf, &runs, None, FEW_FILES).await?;
    let json = || {
        let (some, next) = lists_html::some_sources(&overview, asked);
        json!({ "as_of": as_of(frame), "answer": overview.answer, "sources": some, "after": next })
    };
    Ok(PageMade::of(frame, || lists_html::sources(frame, &overview, asked), json))
}

async fn runs_page(
    frame: &Frame<'_>,
    shelf: &PageShelf<'_>,
    asked: &ListQuery,
) -> Result<PageMade, StoreError> {
    let mut runs = match &asked.after {
        Some(after) => shelf.before(after, lists_html::ROWS, frame.now).await?,
        None => shelf.last(lists_html::ROWS, RunPart::All, frame.now).await?,
    };
    let oldest = runs.last().filter(|_| runs.len() == lists_html::ROWS);
    let next = oldest.map(|run| run.id.clone());
    if let Some(name) = &asked.words {
        runs.iter_mut().for_each(|run| run.keep(name));
        runs.retain(|run| !run.passes.is_empty());
    }
    runs.retain(|run| asked.state.as_ref().is_none_or(|state| run.status == *state));
    let json = || {
        json!({ "as_of": as_of(frame), "answer": lists_html::runs_answer(&runs),
            "runs": lines(frame, &runs), "after": next })
    };
    Ok(PageMade::of(frame, || lists_html::runs(frame, &runs, asked, next.as_deref()), json))
}

async fn month_page(
    frame: &Frame<'_>,
    shelf: &PageShelf<'_>,
    month: &str,
) -> Result<PageMade, StoreError> {
    let index = shelf.index().await;
    let (Some(told), Some(days)) = (DaysTold::month(&index, month), days::of_month(month)) else {
        let month = printable(month.as_bytes());
        return Ok(none(frame, &format!("`{month}` is no month, as 2026-11")));
    };
    let json = || {
        let mut json = json!(told);
        json["answer"] = lists_html::month_answer(month, &told).into();
        json["as_of"] = as_of(frame).into();
        json
    };
    Ok(PageMade::of(frame, || lists_html::month(frame, month, &told, &days), json))
}

async fn one(frame: &Frame<'_>, shelf: &PageShelf<'_>, id: &str) -> Result<PageMade, StoreError> {
    let Some(found) = shelf.one(id, frame.now).await? else {
        return Ok(none(frame, &format!("there is no run `{}`", printable(id.as_bytes()))));
    };
    let run = &found.run;
    // What failed now may have failed before.
    let wanted = run_html::failures_shown(run);
    let before = match wanted.is_empty() {
        true => Vec::new(),
        false => shelf.last(BEFORE, RunPart::Failures(&wanted), frame.now).await?,
    };
    let brought = run.passes.iter().filter(|pass| pass.ingested > 0 && !pass.is_running());
    // Of sources that are configured no more nothing is asked for.
    let brought = brought.filter(|pass| frame.sources.contains(&pass.source.as_str()));
    let brought = brought.map(|pass| (run.id.clone(), pass.source.clone())).collect();
    let mut came = shelf.arrived(brought, 50).await?;
    came.truncate(50);
    let body = match frame.dress {
        Dress::Html => PageBody::Html(run_html::page(frame, run, &before, &came)),
        Dress::Json => {
            let answer = html::run_answer(run);
            let before = failed_before(&before, run, &wanted);
            let mut json = found.into_told(frame.now);
            json["failed_before"] = json!(before);
            json["answer"] = json!(answer);
            json["arrived"] = json!(came);
            PageBody::Json(json)
        }
    };
    Ok(PageMade { status: 200, body })
}

/// Where in the navigation a page is.
fn part(asked: &StatusQuery) -> Option<&'static str> {
    match asked {
        StatusQuery::List(_) => Some(""),
        StatusQuery::Source(_) | StatusQuery::Sources(_) => Some("/sources"),
        StatusQuery::One(_) | StatusQuery::Runs(_) => Some("/runs"),
        StatusQuery::Files(..) | StatusQuery::File(..) => Some("/files"),
        StatusQuery::Month(_) => None,
    }
}

/// The address of the same facts in JSON.
fn as_json(prefix: &str, query: &str, asked: &StatusQuery) -> String {
    let mut pairs: Vec<(&str, &str)> = vec![("format", "json")];
    let limit;
    let path = match asked {
        StatusQuery::List(most) => {
            limit = most.to_string();
            pairs.push(("limit", &limit));
            String::new()
        }
        StatusQuery::One(id) => address::run_path(id),
        StatusQuery::Source(name) => address::source_path(name),
        StatusQuery::Files(name, source, since) => {
            pairs.push(("q", name));
            pairs.extend(source.as_deref().map(|source| ("source", source)));
            let is_bounded = *since != SeenSince::Ever;
            pairs.extend(is_bounded.then(|| ("since", since.word())));
            "/files".into()
        }
        StatusQuery::File(source, path) => address::file_path(source, path),
        StatusQuery::Sources(list) | StatusQuery::Runs(list) => {
            pairs.extend(list.state.as_deref().map(|state| ("state", state)));
            pairs.extend(list.words.as_deref().map(|words| ("source", words)));
            pairs.extend(list.after.as_deref().map(|after| ("after", after)));
            let is_runs = matches!(asked, StatusQuery::Runs(_));
            if is_runs { "/runs".into() } else { "/sources".into() }
        }
        StatusQuery::Month(month) => format!("/months/{}", encoded(month)),
    };
    address::below(prefix, query, &path, &pairs)
}

/// A refusal as a page.
pub(crate) fn refusal(refused: &HttpAnswer, prefix: &str, call: &HttpCall) -> HttpAnswer {
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
        last_but_one: BTreeMap::new(),
        here: "",
        part: None,
        dress: Dress::Html,
        now: OffsetDateTime::now_utc(),
    };
    let reason = refused.body["error"].as_str().unwrap_or("no reason was given");
    let mut answer =
        html::with_headers(refused.status, html::refusal(&frame, refused.status, reason));
    answer.headers.extend(refused.headers.iter().cloned());
    answer
}

#[cfg(test)]
mod absent_tests;
#[cfg(test)]
mod histories;
pub mod manual;
#[cfg(test)]
mod tests;
