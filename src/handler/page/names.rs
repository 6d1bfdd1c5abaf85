//! A search for a file by its name, for people and for programs.

use serde_json::json;

use super::absent::{AbsentName, candidates, patterns_near};
use super::frame::{Dress, Frame};
use super::gather::{PageShelf, RunPart};
use super::made::{NEWEST, PageBody, PageMade, as_of, known};
use super::names_html;
use super::names_seen::{NameSearch, NamesSeen};
use super::view::passes_by_source;
use crate::history::files_by_name::{Hit, NamesFound};
use crate::store::contract::StoreError;
use crate::transfer::settings::Source;

/// What a search comes to.
pub(crate) async fn search(
    frame: &Frame<'_>,
    shelf: &PageShelf<'_>,
    sources: &[Source],
    search: &NameSearch<'_>,
) -> Result<PageMade, StoreError> {
    let NameSearch { name, source, .. } = *search;
    let found = match name {
        "" => NamesFound::default(),
        name => shelf.files(name, &asked(frame, source)).await?,
    };
    let seen = NamesSeen::of(found, search, frame.now);
    // What was seen before is not absent.
    let is_absent = !name.is_empty() && seen.found.hits.is_empty() && seen.earlier == 0;
    if frame.dress == Dress::Json && !is_absent {
        return Ok(told(frame, &seen, search, None));
    }
    // People are told besides which sources were not listed, and nothing of what came last.
    let runs = shelf.last(NEWEST, RunPart::All, frame.now).await?;
    let (overview, _) = known(frame, shelf, &runs, source, 0).await?;
    let absent = match is_absent {
        false => None,
        true => {
            let could_have = candidates(sources, source, name);
            let (passes, nearest) = (passes_by_source(&runs), near(frame, shelf, name, source));
            Some(AbsentName::of(name, &could_have, (&overview, &passes), nearest.await?))
        }
    };
    if frame.dress == Dress::Json {
        return Ok(told(frame, &seen, search, absent.as_ref()));
    }
    let html = names_html::page(frame, &overview, (&seen, absent.as_ref()), search);
    Ok(PageMade { status: 200, body: PageBody::Html(html) })
}

fn asked<'a>(frame: &'a Frame<'_>, source: Option<&str>) -> Vec<&'a str> {
    frame.sources.iter().copied().filter(|known| source.is_none_or(|only| only == *known)).collect()
}

fn told(
    frame: &Frame<'_>,
    seen: &NamesSeen,
    search: &NameSearch<'_>,
    absent: Option<&AbsentName>,
) -> PageMade {
    let mut json = json!(seen.found);
    json["answer"] = names_html::answer(seen, search).into();
    json["seen_since"] = search.since.word().into();
    json["earlier"] = seen.earlier.into();
    json["as_of"] = as_of(frame).into();
    if let Some(absent) = absent {
        json["absent"] = json!(absent);
    }
    PageMade { status: 200, body: PageBody::Json(json) }
}

/// Files whose names are like `name`.
async fn near(
    frame: &Frame<'_>,
    shelf: &PageShelf<'_>,
    name: &str,
    source: Option<&str>,
) -> Result<Vec<Hit>, StoreError> {
    let sources = asked(frame, source);
    for pattern in patterns_near(name) {
        let found = shelf.files(&pattern, &sources).await?;
        if !found.hits.is_empty() {
            return Ok(found.hits);
        }
    }
    Ok(Vec::new())
}
