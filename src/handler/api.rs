//! Our HTTP API, as far as it is words: what a request may ask for, where a run is found, what is
//! refused. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use time::{Duration, OffsetDateTime, UtcOffset};

use super::envelope::{BadPayload, Envelope, HttpAnswer, HttpCall, json_of};
use crate::history::record::RunUnderWay;
use crate::model::printable;
use crate::settings::{listed, percent_decode};

/// Runs in a list, unless the request says how many.
const LISTED: usize = 20;
/// Runs in a list, at most.
pub(crate) const MOST_LISTED: usize = 100;

/// What may stand in every query: how the host takes its keys.
pub(crate) const KEYS: &[&str] = &["code", "clientid"];

/// Where the run `id` is told of.
pub fn location(prefix: &str, id: &str) -> String {
    format!("{prefix}/ingest/runs/{id}")
}

/// Refuses `call` unless it is made by `method`.
pub fn check_method(call: &HttpCall, method: &'static str) -> Result<(), HttpAnswer> {
    if call.method == method {
        return Ok(());
    }
    Err(HttpAnswer::refusal(405, format!("this is asked by {method} only")).with("Allow", method))
}

/// The sources that a request names, `None` meaning all: `{"sources":["acme"]}` as its body, or
/// `?sources=acme,other`, since the host loses bodies that were sent in chunks. It can name what is
/// configured, and nothing else: neither hosts, nor paths, nor credentials come by this door.
pub fn wanted(call: &HttpCall, known: &[&str]) -> Result<Option<Vec<String>>, HttpAnswer> {
    let mut names = Vec::new();
    let mut is_named = false;
    for (name, value) in &call.query {
        match name.to_ascii_lowercase().as_str() {
            "source" | "sources" => {
                is_named = true;
                names.extend(
                    value
                        .split(',')
                        .map(|name| name.trim().to_owned())
                        .filter(|name| !name.is_empty()),
                );
            }
            key if KEYS.contains(&key) => {}
            _ => return Err(unknown("parameter", name, "`sources`, a list of configured names")),
        }
    }
    if let Some(body) = body(call)? {
        for (name, value) in &body {
            if name != "sources" {
                return Err(unknown(
                    "field",
                    name,
                    "`sources`, a list of configured names, and `plan`",
                ));
            }
            is_named = true;
            names.extend(texts(value).ok_or_else(|| {
                HttpAnswer::refusal(400, "`sources` is no list of names, as [\"acme\"]")
            })?);
        }
    }
    match names.iter().find(|name| !known.contains(&name.as_str())) {
        Some(name) => {
            let reason = format!(
                "there is no source `{}`; the configuration holds {}",
                printable(name.as_bytes()),
                listed(known)
            );
            Err(HttpAnswer::new(404, json!({ "error": reason, "sources": known })))
        }
        None if is_named && names.is_empty() => {
            Err(HttpAnswer::refusal(400, "`sources` names no source; leave it out to mean all"))
        }
        None => Ok(is_named.then_some(names)),
    }
}

fn unknown(what: &str, name: &str, allowed: &str) -> HttpAnswer {
    let name = printable(name.as_bytes());
    HttpAnswer::refusal(400, format!("unknown {what} `{name}`; allowed is {allowed}"))
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
}

/// The body as an object; the host hands on some content types in base64.
fn body(call: &HttpCall) -> Result<Option<Map<String, Value>>, HttpAnswer> {
    let bad = |why: &str| {
        HttpAnswer::refusal(
            400,
            format!("the body {why}; allowed is {{\"sources\":[\"acme\"]}}, or none"),
        )
    };
    let value = match &call.body {
        None => return Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(Value::String(text)) => {
            let plain = json_of(text.as_bytes());
            let packed = || {
                STANDARD
                    .decode(text)
                    .map_or(Err(BadPayload::Shape("not base64")), |bytes| json_of(&bytes))
            };
            plain
                .or_else(|error| packed().map_err(|_| error))
                .map_err(|error| bad(&format!("cannot be read ({error})")))?
        }
        Some(value) => value.clone(),
    };
    match value {
        Value::Object(object) => Ok(Some(object)),
        _ => Err(bad("is no JSON object")),
    }
}

/// Whether a caller would rather have a page than JSON: it names `text/html`, and JSON not before
/// it. A browser does; a program that takes anything gets JSON.
pub fn wants_page(call: &HttpCall) -> bool {
    if let Some(format) = call.query.get("format") {
        return format == "html";
    }
    let mut best = (0.0, 0.0);
    for part in call.accept.split(',') {
        let mut words = part.split(';').map(str::trim);
        let kind = words.next().unwrap_or_default().to_ascii_lowercase();
        let quality =
            words.find_map(|word| word.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
        match kind.as_str() {
            "text/html" => best.0 = quality,
            "application/json" => best.1 = quality,
            _ => {}
        }
    }
    best.0 > best.1
}

/// What a request for status asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusQuery {
    /// The overview, with the last runs, at most so many.
    List(usize),
    /// The run of this id.
    One(String),
    /// The source of this name.
    Source(String),
    /// Files of this name, of one source or of all, that runs told of since then.
    Files(String, Option<String>, SeenSince),
    /// A source and a file of it, by its path.
    File(String, String),
    /// All sources.
    Sources(ListQuery),
    /// All runs.
    Runs(ListQuery),
    /// A calendar month, as `2026-11`.
    Month(String),
}

/// How far back a search for a name looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SeenSince {
    /// Three months.
    Months,
    /// To the beginning of yesterday, UTC.
    Yesterday,
    /// As far as names are known.
    #[default]
    Ever,
}

impl SeenSince {
    /// In the order in which they are offered.
    pub(crate) const ALL: [SeenSince; 3] = [Self::Months, Self::Yesterday, Self::Ever];

    /// The word in addresses.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Months => "3-months",
            Self::Yesterday => "yesterday",
            Self::Ever => "ever",
        }
    }

    /// Reads [`SeenSince::word`].
    fn of(word: Option<&str>) -> Result<Self, HttpAnswer> {
        let Some(word) = word else { return Ok(Self::default()) };
        let words = Self::ALL.map(|since| format!("`{}`", since.word())).join(", ");
        Self::ALL.into_iter().find(|since| since.word() == word).ok_or_else(|| {
            let found = printable(word.as_bytes());
            HttpAnswer::refusal(400, format!("`since` is `{found}`; allowed are {words}"))
        })
    }

    /// The moment from which on runs count; `None` if all do.
    pub(crate) fn begin(self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let days = match self {
            Self::Months => 92,
            Self::Yesterday => 1,
            Self::Ever => return None,
        };
        let day = now.to_offset(UtcOffset::UTC).date().checked_sub(Duration::days(days))?;
        Some(day.midnight().assume_utc())
    }
}

/// Which rows of a long list are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// Those in this state.
    pub state: Option<String>,
    /// Those of sources whose names hold this.
    pub words: Option<String>,
    /// Those after this one.
    pub after: Option<String>,
}

/// Reads a request for status: a path below `ingest/status`, or one of the older addresses
/// `ingest/runs?limit=20`, `ingest/runs/{id}`, `ingest/runs?source=acme` and `ingest/runs?q=sales`.
pub fn asked(envelope: &Envelope, call: &HttpCall) -> Result<StatusQuery, HttpAnswer> {
    let id = call.params.get("id").cloned().or_else(|| envelope.metadata("id"));
    if let Some(id) = id.filter(|id| !id.is_empty()) {
        return Ok(StatusQuery::One(id));
    }
    let page = page_in(&call.url).or_else(|| {
        let page = call.params.get("page").or(call.params.get("path"))?;
        Some(format!("{}/{page}", call.params.get("kind")?))
    });
    let page = page.unwrap_or_else(|| "runs".into());
    let (kind, rest) = page.split_once('/').unwrap_or((&page, ""));
    let text = |name: &str| {
        call.query.get(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let list = || ListQuery {
        state: text("state"),
        words: text("source").or_else(|| text("q")),
        after: text("after"),
    };
    let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
    match (kind, parts.as_slice()) {
        ("runs" | "status", []) => overview(call, text("q"), text("source")),
        ("runs", [id]) | ("status", ["runs", id]) => Ok(StatusQuery::One((*id).to_owned())),
        ("status", ["runs"]) => Ok(StatusQuery::Runs(list())),
        ("status", ["sources"]) => Ok(StatusQuery::Sources(list())),
        ("status", ["sources", name]) => Ok(StatusQuery::Source(decoded(name))),
        ("status", ["months", month]) => Ok(StatusQuery::Month((*month).to_owned())),
        ("status", ["files"]) => {
            let since = SeenSince::of(text("since").as_deref())?;
            Ok(StatusQuery::Files(text("q").unwrap_or_default(), text("source"), since))
        }
        ("status", ["files", source, ..]) => {
            let path = rest.trim_start_matches('/').strip_prefix("files/").unwrap_or_default();
            let path = path.strip_prefix(source).unwrap_or_default();
            Ok(StatusQuery::File(decoded(source), path.to_owned()))
        }
        _ => {
            Err(HttpAnswer::refusal(404, "there is no such page; the overview is at ingest/status"))
        }
    }
}

fn overview(
    call: &HttpCall,
    name: Option<String>,
    source: Option<String>,
) -> Result<StatusQuery, HttpAnswer> {
    match (name, source) {
        (Some(name), source) => return Ok(StatusQuery::Files(name, source, SeenSince::Ever)),
        (None, Some(source)) => return Ok(StatusQuery::Source(source)),
        (None, None) => {}
    }
    let Some(limit) = call.query.get("limit") else { return Ok(StatusQuery::List(LISTED)) };
    match limit.parse() {
        Ok(limit @ 1..=MOST_LISTED) => Ok(StatusQuery::List(limit)),
        _ => Err(HttpAnswer::refusal(400, format!("`limit` is no number from 1 to {MOST_LISTED}"))),
    }
}

/// A part of a path as it was meant. What decodes to no text stays as it is.
pub fn decoded(part: &str) -> String {
    let bytes = percent_decode(part).and_then(|bytes| String::from_utf8(bytes).ok());
    bytes.unwrap_or_else(|| part.to_owned())
}

/// What follows `ingest/` in the path of a URL: hosts tell route parameters in several ways.
fn page_in(url: &str) -> Option<String> {
    let path = url.split(['?', '#']).next()?;
    let (_, page) = path.split_once("/ingest/")?;
    Some(page.trim_end_matches('/').to_owned())
}

/// No run was started, because others are busy with all that was asked for.
pub(crate) fn joined(prefix: &str, under_way: &[RunUnderWay]) -> HttpAnswer {
    let first = under_way.first().map_or(String::new(), |run| location(prefix, &run.id));
    let body = json!({ "id": under_way.first().map(|run| &run.id), "status": "running",
        "joined": true, "location": first, "under_way": lines(prefix, under_way) });
    HttpAnswer::new(202, body).with("Location", first)
}

/// A run goes on beyond the time that a caller waits.
pub(crate) fn accepted(prefix: &str, id: &str, under_way: &[RunUnderWay]) -> HttpAnswer {
    let at = location(prefix, id);
    let body = json!({ "id": id, "status": "running", "joined": false, "location": at,
        "under_way": lines(prefix, under_way) });
    HttpAnswer::new(202, body).with("Location", at)
}

/// Sources that other runs are busy with.
pub(crate) fn lines(prefix: &str, under_way: &[RunUnderWay]) -> Value {
    under_way
        .iter()
        .map(|run| {
            json!({ "source": run.source, "id": run.id,
        "location": location(prefix, &run.id) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["acme", "other"];

    fn call(query: &[(&str, &str)], body: Option<&str>) -> HttpCall {
        let query =
            query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        HttpCall {
            method: "POST".into(),
            query,
            body: body.map(Value::from),
            ..HttpCall::default()
        }
    }

    fn check(query: &[(&str, &str)], body: Option<&str>, expected: Result<Option<&[&str]>, u16>) {
        let found = wanted(&call(query, body), KNOWN).map_err(|answer| answer.status);
        let expected = expected
            .map(|names| names.map(|names| names.iter().map(|name| (*name).to_owned()).collect()));
        assert_eq!(found, expected, "{query:?} {body:?}");
    }

    #[test]
    fn a_request_names_configured_sources_and_nothing_else() {
        check(&[], None, Ok(None));
        check(&[("code", "k")], Some("  "), Ok(None));
        check(&[], Some("{}"), Ok(None));
        check(&[], Some(r#"{"sources":["acme"]}"#), Ok(Some(&["acme"])));
        check(&[], Some("eyJzb3VyY2VzIjpbIm90aGVyIl19"), Ok(Some(&["other"])));
        check(&[("Sources", "acme, other")], None, Ok(Some(&["acme", "other"])));
        check(&[("sources", "")], None, Err(400));
        check(&[("url", "ftp://evil")], None, Err(400));
        for bad in [
            r#"{"sources":[]}"#,
            r#"{"sources":"acme"}"#,
            r#"{"sources":[1]}"#,
            r#"{"url":"ftp://evil"}"#,
            "[]",
            "acme",
        ] {
            check(&[], Some(bad), Err(400));
        }
        check(&[], Some(r#"{"sources":["acme","../x"]}"#), Err(404));
        let answer = wanted(&call(&[("source", "nix\n")], None), KNOWN).expect_err("unknown");
        assert_eq!(answer.body["sources"], json!(KNOWN));
    }

    #[test]
    fn only_those_who_ask_for_a_page_get_one() {
        let page =
            |accept: &str| wants_page(&HttpCall { accept: accept.into(), ..HttpCall::default() });
        for browser in [
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "Text/HTML",
            "application/json;q=0.5, text/html;q=0.9",
        ] {
            assert!(page(browser), "{browser}");
        }
        for program in [
            "",
            "*/*",
            "application/json",
            "application/json, text/html;q=0.9",
            "text/html;q=0",
            "text/html;q=x;level=1,application/json",
        ] {
            assert!(!page(program), "{program}");
        }
    }

    #[test]
    fn status_is_asked_of_one_run_or_of_the_last() {
        let at = |url: &str, limit: &[(&str, &str)]| {
            let call = HttpCall { url: url.into(), ..call(limit, None) };
            asked(&Envelope::default(), &call).map_err(|answer| answer.status)
        };
        assert_eq!(at("http://x/api/ingest/runs?code=/runs/k", &[]), Ok(StatusQuery::List(20)));
        assert_eq!(at("http://x/api/ingest/runs", &[("limit", "3")]), Ok(StatusQuery::List(3)));
        assert_eq!(at("http://x/api/ingest/runs", &[("limit", "1000")]), Err(400));
        assert_eq!(
            at("http://x/api/ingest/runs/abc/?code=k", &[]),
            Ok(StatusQuery::One("abc".into()))
        );
        let page = |page: &str| at(&format!("http://x/api/ingest/status{page}?code=k"), &[]);
        assert_eq!(page("/"), Ok(StatusQuery::List(20)));
        assert_eq!(page("/runs/abc"), Ok(StatusQuery::One("abc".into())));
        assert_eq!(page("/sources/a%20b"), Ok(StatusQuery::Source("a b".into())));
        assert_eq!(page("/runs"), Ok(StatusQuery::Runs(ListQuery::default())));
        assert_eq!(page("/months/2026-11"), Ok(StatusQuery::Month("2026-11".into())));
        let file = |path: &str| Ok(StatusQuery::File("acme".into(), path.into()));
        assert_eq!(page("/files/acme/out/50%25.csv"), file("/out/50%25.csv"));
        let files = |since: &str| {
            at("http://x/api/ingest/status/files?code=k", &[("q", "a"), ("since", since)])
        };
        for (word, since) in [
            ("", SeenSince::Ever),
            ("ever", SeenSince::Ever),
            ("yesterday", SeenSince::Yesterday),
            ("3-months", SeenSince::Months),
        ] {
            assert_eq!(files(word), Ok(StatusQuery::Files("a".into(), None, since)), "{word}");
        }
        assert_eq!(files("whenever"), Err(400));
        assert_eq!(page("/nothing/here"), Err(404));
    }
}
