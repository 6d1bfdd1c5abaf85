//! The Functions host's payloads, and the answers that it understands. Pure.
//!
//! The host says the same thing in several ways: values as JSON or as JSON text inside a string,
//! numbers as text, dates of the year 1 for "never" with and without an offset, `null` and left-out
//! members. So nothing here insists on a form where another can be read without doubt, and unknown
//! members are ignored.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The deepest nesting of objects and arrays that is read.
pub(crate) const MAX_DEPTH: usize = 16;

/// Why a payload cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPayload {
    /// It is no JSON.
    #[error("the payload is not JSON: {0}")]
    Json(String),
    /// It is nested too deeply.
    #[error("the payload is nested more than {MAX_DEPTH} levels deep")]
    Deep,
    /// It is JSON, but not what the host sends.
    #[error("the payload is JSON, but {0}")]
    Shape(&'static str),
}

/// One call of a function by the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Envelope {
    data: Map<String, Value>,
    metadata: Map<String, Value>,
}

impl Envelope {
    /// Reads what the host posts.
    pub fn parse(bytes: &[u8]) -> Result<Self, BadPayload> {
        let mut value = match json_of(bytes)? {
            Value::Object(object) => object,
            _ => return Err(BadPayload::Shape("not an object")),
        };
        let mut object = |name: &str| match take(&mut value, name).map(unpacked) {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(object)) => Ok(object),
            Some(_) => Err(BadPayload::Shape("`Data` or `Metadata` is not an object")),
        };
        Ok(Self { data: object("Data")?, metadata: object("Metadata")? })
    }

    /// The value of the binding `name`: its JSON, also when it came as text.
    fn binding(&self, name: &str) -> Option<Value> {
        get(&self.data, name).cloned().map(unpacked)
    }

    /// Metadata `name` as text, however often it was encoded.
    pub fn metadata(&self, name: &str) -> Option<String> {
        text(get(&self.metadata, name)?)
    }

    /// Which attempt this is, from 0, where the function has a retry policy.
    pub fn retry_count(&self) -> Option<u64> {
        let context = get(&self.metadata, "RetryContext").cloned().map(unpacked)?;
        number(get(context.as_object()?, "RetryCount")?)
    }

    /// The call as a message's: its text, however often it was encoded, in base64 too. The host's
    /// own bindings are named as `function.json` says; ours is `work`.
    pub(crate) fn message(&self) -> Result<Value, BadPayload> {
        let missing = BadPayload::Shape(
            "`Data.work` is not there: this function has a queue trigger named `work`",
        );
        let value = self.binding("work").map(unpacked).ok_or(missing)?;
        match &value {
            Value::Object(_) => Ok(value),
            Value::String(text) => {
                let bytes = STANDARD
                    .decode(text.trim())
                    .map_err(|_| BadPayload::Shape("the message is no JSON object"))?;
                match unpacked(json_of(&bytes)?) {
                    object @ Value::Object(_) => Ok(object),
                    _ => Err(BadPayload::Shape("the message is no JSON object")),
                }
            }
            _ => Err(BadPayload::Shape("the message is no JSON object")),
        }
    }

    /// How often the host has brought this message, from 1.
    pub(crate) fn dequeue_count(&self) -> Option<u64> {
        number(get(&self.metadata, "DequeueCount")?)
    }

    /// How long this message was in its queue, at `now`.
    pub fn waited(&self, now: OffsetDateTime) -> Option<std::time::Duration> {
        let at = instant(&self.metadata("InsertionTime")?)?;
        std::time::Duration::try_from(now - at).ok()
    }

    /// The call as a timer's.
    pub fn timer(&self) -> Timer {
        let Some(Value::Object(timer)) = self.binding("timer") else { return Timer::default() };
        let status = get(&timer, "ScheduleStatus").cloned().map(unpacked);
        let status = status.as_ref().and_then(Value::as_object);
        let at = |name: &str| instant(&text(get(status?, name)?)?);
        Timer {
            is_past_due: get(&timer, "IsPastDue").is_some_and(is_true),
            last: at("Last"),
            next: at("Next"),
        }
    }

    /// The call as an HTTP request's.
    pub fn http(&self) -> Result<HttpCall, BadPayload> {
        let Some(Value::Object(request)) = self.binding("req") else {
            return Err(BadPayload::Shape(
                "`Data.req` is not there: this function has an HTTP trigger named `req`",
            ));
        };
        let texts = |name: &str| match get(&request, name).cloned().map(unpacked) {
            Some(Value::Object(object)) => object
                .iter()
                .filter_map(|(name, value)| Some((name.clone(), text(value)?)))
                .collect(),
            _ => BTreeMap::new(),
        };
        let method =
            get(&request, "Method").and_then(text).unwrap_or_default().to_ascii_uppercase();
        let url = get(&request, "Url").and_then(text).unwrap_or_default();
        let headers = get(&request, "Headers").cloned().map(unpacked);
        let header = |name: &str| {
            headers
                .as_ref()
                .and_then(Value::as_object)
                .and_then(|headers| get(headers, name))
                .map(all_texts)
        };
        let body = get(&request, "Body").filter(|body| !body.is_null()).cloned();
        let is_binary = header("Content-Type")
            .is_some_and(|kind| kind.to_ascii_lowercase().contains("application/octet-stream"));
        let body = if is_binary { body.map(decoded) } else { body };
        let from_own_page = header("Sec-Fetch-Site").is_some_and(|site| is_own_page(&site));
        let hosts = ["Host", "X-Forwarded-Host", "X-Original-Host"].into_iter().filter_map(header);
        let in_chunks = header("Transfer-Encoding")
            .is_some_and(|coding| coding.to_ascii_lowercase().contains("chunked"));
        Ok(HttpCall {
            method,
            query: texts("Query"),
            params: texts("Params"),
            accept: header("Accept").unwrap_or_default(),
            if_none_match: header("If-None-Match").unwrap_or_default(),
            origin: header("Origin").filter(|origin| !origin.is_empty() && !from_own_page),
            hosts: hosts.chain(host_of(&url)).map(|host| host.to_ascii_lowercase()).collect(),
            in_chunks,
            url,
            body,
        })
    }
}

/// Whether a browser's `Sec-Fetch-Site` tells of a page of the site that is asked, or of a person
/// who typed the address. No page can set this header. The origin of a form without scripts is
/// `null` where pages forbid referrers as ours do (Fetch standard, "append a request `Origin`
/// header"), so that it tells nothing there.
pub(crate) fn is_own_page(site: &str) -> bool {
    ["same-origin", "none"].contains(&site)
}

/// What a timer's call says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timer {
    /// Whether it should have come earlier.
    pub is_past_due: bool,
    /// When it came last; `None` if never, or if nobody keeps note.
    pub last: Option<OffsetDateTime>,
    /// When it comes next.
    pub next: Option<OffsetDateTime>,
}

/// An HTTP request as the host tells it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HttpCall {
    /// `GET`, `POST` …
    pub method: String,
    /// The whole URL, a function key in its query included: never to be logged.
    pub url: String,
    /// The query, decoded; the host joins values of one name with commas.
    pub query: BTreeMap<String, String>,
    /// Parameters of the route.
    pub params: BTreeMap<String, String>,
    /// What its `Accept` headers name, joined with commas.
    pub accept: String,
    /// The tags of answers that the caller has, joined with commas.
    pub if_none_match: String,
    /// The origin of the page that asks, where the browser does not say that it is one of ours.
    pub origin: Option<String>,
    /// The hosts that the request was made to, by itself and by those who handed it on.
    pub hosts: Vec<String>,
    /// Whether the body was sent in chunks.
    pub in_chunks: bool,
    /// The body, if it was not empty. The host leaves out bodies that were sent in chunks.
    pub body: Option<Value>,
}

impl HttpCall {
    /// Why this is answered by nobody, whatever it asks.
    pub fn refusal(&self) -> Option<HttpAnswer> {
        let changes = !matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS");
        let origin = self.origin.as_deref().filter(|_| changes);
        let origin = origin.map(|origin| {
            origin.split_once("://").map_or(origin, |(_, host)| host).to_ascii_lowercase()
        });
        if origin.is_some_and(|origin| !self.hosts.contains(&origin)) {
            return Some(HttpAnswer::refusal(403, "the request is from a page of another site"));
        }
        let names_sources = self.query.keys().any(|name| {
            name.eq_ignore_ascii_case("sources") || name.eq_ignore_ascii_case("source")
        });
        if changes && self.in_chunks && self.body.is_none() && !names_sources {
            let body = json!({
                "error": "the body was sent in chunks, and the Functions host hands on no such \
                    body: what it asks for is not known",
                "hint": "send it with its Content-Length, or name the sources in the query: \
                    ?sources=acme,other",
            });
            return Some(HttpAnswer::new(411, body));
        }
        None
    }
}

/// The answer to a request whose body is larger than `most` bytes.
pub fn too_large(most: usize) -> HttpAnswer {
    HttpAnswer::refusal(
        413,
        format!(
            "the body is larger than the {most} bytes that a request may have with all that \
            belongs to it"
        ),
    )
}

/// The host in a URL, with its port.
fn host_of(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    rest.split(['/', '?', '#']).next().map(str::to_owned)
}

/// `bytes` as JSON of bounded depth. A byte order mark is passed over.
pub(crate) fn json_of(bytes: &[u8]) -> Result<Value, BadPayload> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    if depth(bytes) > MAX_DEPTH {
        return Err(BadPayload::Deep);
    }
    // serde's message names line and column, and never the text itself.
    serde_json::from_slice(bytes).map_err(|error| BadPayload::Json(error.to_string()))
}

/// How deep objects and arrays are nested, at most, in `bytes`.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// A body that the host hands on in base64, since its content type says that it is no text.
fn decoded(body: Value) -> Value {
    let bytes = body.as_str().and_then(|text| STANDARD.decode(text.trim()).ok());
    bytes.and_then(|bytes| String::from_utf8(bytes).ok()).map_or(body, Value::from)
}

/// JSON that stands in a string, as JSON; everything else as it is.
fn unpacked(value: Value) -> Value {
    match &value {
        Value::String(text) => json_of(text.as_bytes()).unwrap_or(value),
        _ => value,
    }
}

/// A value as text: a string, a string in a string, a number.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => match json_of(text.as_bytes()) {
            Ok(Value::String(inner)) => Some(inner),
            _ => Some(text.clone()),
        },
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A header's values, one or a list of them, joined as HTTP joins them.
fn all_texts(value: &Value) -> String {
    match value {
        Value::Array(values) => values.iter().filter_map(text).collect::<Vec<_>>().join(","),
        other => text(other).unwrap_or_default(),
    }
}

fn number(value: &Value) -> Option<u64> {
    text(value)?.parse().ok()
}

fn is_true(value: &Value) -> bool {
    text(value).is_some_and(|text| text.eq_ignore_ascii_case("true"))
}

/// A time as the host writes it; `None` for its "never", a day of the year 1, and for what nobody
/// can read: a schedule's note is for the log, and stops no run.
fn instant(text: &str) -> Option<OffsetDateTime> {
    let read = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
    read(text).or_else(|| read(&format!("{text}Z"))).filter(|at| at.year() > 1)
}

/// Member `name`, whatever its case.
fn get<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.get(name).or_else(|| {
        object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    })
}

fn take(object: &mut Map<String, Value>, name: &str) -> Option<Value> {
    let key = object.keys().find(|key| key.eq_ignore_ascii_case(name))?.clone();
    object.remove(&key)
}

/// An answer of an HTTP function: what its caller gets.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// Headers beside `Content-Type`.
    pub headers: Vec<(&'static str, String)>,
    /// The body, unless a page stands in its place.
    pub body: Value,
    /// A web page.
    pub page: Option<String>,
}

impl HttpAnswer {
    /// An answer without further headers.
    pub fn new(status: u16, body: Value) -> Self {
        Self { status, headers: Vec::new(), body, page: None }
    }

    /// A web page, without further headers.
    pub fn page(status: u16, html: String) -> Self {
        Self { page: Some(html), ..Self::new(status, Value::Null) }
    }

    /// A refusal with its reason.
    pub fn refusal(status: u16, reason: impl Into<String>) -> Self {
        Self::new(status, json!({ "error": reason.into() }))
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// The answer of a function without outputs. The host shows `logs` beside the invocation, as
/// information.
pub fn answer(logs: &[String]) -> Value {
    json!({ "Outputs": {}, "Logs": logs, "ReturnValue": null })
}

/// The answer of a function with the HTTP output `res`. The body goes as text: the host hands text
/// on as it is.
pub(crate) fn http_answer(answer: HttpAnswer) -> Value {
    let HttpAnswer { status, headers: told, body, page } = answer;
    let (content_type, body) = match page {
        Some(html) => ("text/html; charset=utf-8", html),
        None => ("application/json", format!("{body:#}\n")),
    };
    let mut headers = Map::from_iter([("Content-Type".to_owned(), Value::from(content_type))]);
    headers.extend(told.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))));
    // A macro would copy the body, which may be some megabytes.
    let mut res = json!({ "statusCode": status.to_string(), "headers": headers });
    res["body"] = Value::String(body);
    let mut answer = json!({ "Outputs": {}, "Logs": [], "ReturnValue": null });
    answer["Outputs"]["res"] = res;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::datetime;

    proptest! {
        #[test]
        fn no_payload_panics(text in r#"[\[\]{}",:\\a0-9 ]{0,60}"#,
            value in r#"[\[\]{}",:\\a0-9T.+Z-]{0,30}"#) {
            drop(Envelope::parse(text.as_bytes()));
            let status = json!({ "Last": value, "Next": { "x": value } });
            let timer = json!({ "IsPastDue": value, "ScheduleStatus": status });
            let data = json!({ "timer": timer, "req": value });
            let payload = json!({ "Data": data, "Metadata": { "id": value } });
            let envelope = Envelope::parse(payload.to_string().as_bytes()).expect("an object");
            drop((envelope.timer(), envelope.http(), envelope.metadata("id"),
                envelope.retry_count()));
        }
    }

    fn timer(status: &str) -> Timer {
        let schedule = r#""Schedule":{"AdjustForDST":true}"#;
        let text = format!(
            r#"{{"Data":{{"timer":{{{schedule},"ScheduleStatus":{status},"IsPastDue":false}}}}}}"#
        );
        Envelope::parse(text.as_bytes()).expect("a payload").timer()
    }

    #[test]
    fn dates_are_read_in_every_form_that_hosts_write() {
        let at = |text: &str| {
            timer(&format!(r#"{{"Last":"{text}","Next":"{text}","LastUpdated":"{text}"}}"#)).last
        };
        assert_eq!(
            at("2026-11-22T19:20:06.053166+00:00"),
            Some(datetime!(2026-11-22 19:20:06.053166 UTC))
        );
        assert_eq!(at("2026-11-22T19:20:06"), Some(datetime!(2026-11-22 19:20:06 UTC)));
        assert_eq!(
            at("2026-11-22T19:20:06.1234567Z"),
            Some(datetime!(2026-11-22 19:20:06.1234567 UTC))
        );
        for never in [
            "0001-01-01T00:00:00+00:00",
            "0001-01-01T00:51:00+00:51",
            "0001-01-01T00:00:00",
            "soon",
        ] {
            assert_eq!(at(never), None, "{never}");
        }
        assert_eq!(timer("null"), Timer::default());
    }

    #[test]
    fn values_may_be_packed_into_strings() {
        let payload = json!({
            "data": { "timer": json!({ "IsPastDue": "true", "ScheduleStatus": null }).to_string() },
            "Metadata": { "id": "\"20261123T000000Z-00000000\"", "DequeueCount": "5",
                "RetryContext": { "RetryCount": 2 } },
            "more": 1
        });
        let envelope = Envelope::parse(payload.to_string().as_bytes()).expect("a payload");
        assert!(envelope.timer().is_past_due);
        assert_eq!(envelope.metadata("id").as_deref(), Some("20261123T000000Z-00000000"));
        assert_eq!(envelope.metadata("dequeuecount").as_deref(), Some("5"));
        assert_eq!((envelope.metadata("none"), envelope.retry_count()), (None, Some(2)));
    }

    #[test]
    fn what_is_no_payload_is_told() {
        assert!(matches!(Envelope::parse(b"{"), Err(BadPayload::Json(_))));
        assert!(matches!(Envelope::parse(b""), Err(BadPayload::Json(_))));
        assert!(matches!(Envelope::parse(b"[]"), Err(BadPayload::Shape(_))));
        assert!(matches!(Envelope::parse(br#"{"Data":[1]}"#), Err(BadPayload::Shape(_))));
        assert_eq!(Envelope::parse("[".repeat(100_000).as_bytes()), Err(BadPayload::Deep));
        // Brackets in a text nest nothing.
        assert!(
            Envelope::parse(format!(r#"{{"Data":{{"x":"\"{}"}}}}"#, "[".repeat(100)).as_bytes())
                .is_ok()
        );
        assert_eq!(Envelope::parse(b"{}").expect("an empty payload").timer(), Timer::default());
        assert!(Envelope::default().http().is_err());
    }

    #[test]
    fn an_answer_is_never_empty() {
        assert_eq!(answer(&[]).to_string(), r#"{"Logs":[],"Outputs":{},"ReturnValue":null}"#);
        let http = http_answer(HttpAnswer::new(202, json!({"a": 1})).with("Location", "/x"));
        assert_eq!(http["Outputs"]["res"]["statusCode"], "202");
        assert_eq!(http["Outputs"]["res"]["headers"]["Location"], "/x");
    }
}
