//! What the Functions host posts, and what callers of our HTTP API get through to us by it.

use blobferry::handler::api::{self, StatusQuery};
use blobferry::handler::envelope::{Envelope, HttpAnswer};
use blobferry::handler::host::Host;
use serde_json::{Value, json};

use super::taking::Taking;

const KNOWN: &[&str] = &["acme", "other"];

/// By the first byte: the host's payload, the body of a request, parts of a request, `host.json`.
pub fn check(bytes: &[u8]) {
    let mut taking = Taking(bytes);
    match taking.byte() & 3 {
        0 => payload(taking.0),
        1 => {
            let body = String::from_utf8_lossy(taking.0).into_owned();
            let as_json = serde_json::from_str::<Value>(&body).ok();
            for body in [Some(json!(body)), as_json].into_iter().flatten() {
                let req = json!({"Method": "POST", "Url": "http://h/api/ingest", "Body": body});
                payload(json!({"Data": {"req": req}}).to_string().as_bytes());
            }
        }
        2 => {
            let mut text = || String::from_utf8_lossy(taking.piece()).into_owned();
            let req = json!({
                "Method": text(), "Url": text(), "Query": { text(): text(), "limit": text() },
                "Params": { "id": text() }, "Headers": { "Accept": [text(), text()] },
                "Body": text(),
            });
            payload(
                json!({ "Data": { "req": req.to_string() }, "Metadata": { "id": text() } })
                    .to_string()
                    .as_bytes(),
            );
        }
        _ => {
            let host = Host::read(Some(taking.0), &Default::default());
            host.warnings.iter().for_each(|warning| super::printable(warning));
            host.deadline();
        }
    }
}

fn payload(bytes: &[u8]) {
    let envelope = match Envelope::parse(bytes) {
        Ok(envelope) => envelope,
        Err(error) => return super::printable(&error.to_string()),
    };
    envelope.timer();
    envelope.retry_count();
    envelope.metadata("InvocationId");
    let call = match envelope.http() {
        Ok(call) => call,
        Err(error) => return super::printable(&error.to_string()),
    };
    api::wants_page(&call);
    for method in ["GET", "POST"] {
        if let Err(answer) = api::check_method(&call, method) {
            refused(&answer, 405..=405);
        }
    }
    match api::wanted(&call, KNOWN) {
        // A request names what is configured, and nothing else.
        Ok(names) => {
            assert!(names.iter().flatten().all(|name| KNOWN.contains(&name.as_str())), "{names:?}")
        }
        Err(answer) => refused(&answer, 400..=404),
    }
    match api::asked(&envelope, &call) {
        Ok(StatusQuery::List(limit)) => assert!((1..=100).contains(&limit), "{limit}"),
        Ok(StatusQuery::One(id)) => assert!(!id.is_empty()),
        Ok(StatusQuery::Source(name)) => assert!(!name.is_empty()),
        Ok(StatusQuery::Files(name, source, _)) => {
            assert!(!name.is_empty() && source.is_none_or(|source| !source.is_empty()))
        }
        Ok(StatusQuery::File(source, path)) => assert!(!source.is_empty() && !path.is_empty()),
        Ok(StatusQuery::Sources(_) | StatusQuery::Runs(_)) => {}
        Ok(StatusQuery::Month(month)) => assert!(!month.is_empty()),
        Err(answer) => refused(&answer, 400..=404),
    }
}

fn refused(answer: &HttpAnswer, statuses: std::ops::RangeInclusive<u16>) {
    assert!(statuses.contains(&answer.status), "{}", answer.status);
    super::printable(answer.body["error"].as_str().expect("a refusal says why"));
}

/// Payloads of the host, its odd forms, and requests.
pub fn seeds() -> Vec<Vec<u8>> {
    const PAYLOADS: &[&str] = &[
        concat!(
            r#"{"Data":{"timer":"{\"ScheduleStatus\":{\"Last\":\"0001-01-01T00:00:00\",\"Next\":"#,
            r#"\"2026-11-20T10:15:00+00:00\"},\"IsPastDue\":\"true\"}"},"Metadata":{"sys":{}}}"#
        ),
        concat!(
            r#"{"Data":{"timer":{"Schedule":{"AdjustForDST":true},"IsPastDue":false,"#,
            r#""ScheduleStatus":null}},"Metadata":{"RetryContext":"{\"RetryCount\":\"1\"}"}}"#
        ),
        concat!(
            r#"{"Data":{"req":{"Url":"https://x/api/ingest?code=k&sources=acme","Method":"POST","#,
            r#""Query":{"code":"k","sources":"acme, other"},"Headers":{"Accept":"#,
            r#"["text/html,application/json;q=0.9"]},"Params":{},"#,
            r#""Body":"{\"sources\":[\"acme\"]}"}},"Metadata":{"id":"\"7\""}}"#
        ),
        concat!(
            r#"{"Data":{"req":{"Method":"GET","#,
            r#""Url":"http://x/api/ingest/runs/20261120-101112-abc","#,
            r#""Query":"{\"limit\":\"20\"}"}}}"#
        ),
        r#"{"data":{"REQ":{"method":"get","body":null}}}"#,
        "[]",
        "\u{feff}{}",
    ];
    const BODIES: &[&str] = &[
        r#"{"sources":["acme"]}"#,
        "eyJzb3VyY2VzIjpbImFjbWUiXX0=",
        r#"{"sources":"acme"}"#,
        r#"{"host":"evil"}"#,
        "\u{1b}[31m",
        "[[[[[[[[[[[[[[[[[[[[",
    ];
    const HOSTS: &[&str] = &[
        concat!(
            r#"{"version":"2.0","functionTimeout":"00:10:00","#,
            r#""extensions":{"http":{"routePrefix":"api"}}}"#
        ),
        r#"{"functionTimeout":"-1"}"#,
        r#"{"functionTimeout":"7.23:59:59.9999999"}"#,
    ];
    let of = |form: u8, texts: &[&str]| {
        texts.iter().map(|text| [&[form][..], text.as_bytes()].concat()).collect::<Vec<_>>()
    };
    let request = b"\x02\x04POST\x1bhttp://h/api/ingest/runs/77\x07sources\x04acme\x0220\0\
        \x09text/html\x05*/*\n\x02{}\x01a";
    [of(0, PAYLOADS), of(1, BODIES), of(3, HOSTS), vec![request.to_vec()]].concat()
}
