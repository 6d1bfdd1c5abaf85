//! The custom handler: payloads of the host through the real routes, and the real binary under a
//! host's conditions.

mod answers;
mod contract;
mod keys;
mod process;
pub mod pump;
mod queue;
mod signals;
pub mod worker;

use serde_json::{Value, json};

/// What no output may ever hold.
pub const CANARY: &str = "canary-pa55-word";

/// A timer's payload, as the host writes it.
pub fn timer() -> String {
    concat!(
        r#"{"Data":{"timer":{"Schedule":{"AdjustForDST":true},"ScheduleStatus":{"#,
        r#""Last":"2026-11-22T19:20:06.053166+00:00","Next":"2026-11-22T20:00:00+00:00","#,
        r#""LastUpdated":"2026-11-22T19:20:06.053166+00:00"},"IsPastDue":false}},"#,
        r#""Metadata":{"sys":{"MethodName":"IngestTimer","UtcNow":"2026-11-22T19:20:06.32327Z","#,
        r#""RandGuid":"adecca7f-0000-0000-0000-000000000000"}}}"#
    )
    .to_owned()
}

/// The payload of an HTTP call, as the host writes it: the body is text, route parameters are
/// encoded twice.
pub fn http(method: &str, path: &str, query: Value, body: Option<&str>) -> String {
    let mut request = json!({
        "Url": format!("http://localhost:7071{path}"), "Method": method, "Query": query,
        "Headers": { "Host": ["localhost:7071"], "User-Agent": ["test"] }, "Params": {},
        "Identities": [],
    });
    if let Some(body) = body {
        request["Body"] = Value::from(body);
    }
    json!({ "Data": { "req": request },
        "Metadata": { "Query": query, "Headers": {},
            "sys": { "MethodName": "Ingest" } } })
    .to_string()
}

/// A call for a run over these sources, or over all.
pub fn ingest(sources: &[&str]) -> String {
    let body = json!({ "sources": sources }).to_string();
    http(
        "POST",
        "/api/ingest",
        json!({ "code": "k" }),
        (!sources.is_empty()).then_some(body.as_str()),
    )
}

/// A call for the run `id`, or for the last ones.
pub fn status(id: Option<&str>) -> String {
    let path = id
        .map_or("/api/ingest/runs?code=k".to_owned(), |id| format!("/api/ingest/runs/{id}?code=k"));
    let mut payload: Value =
        serde_json::from_str(&http("GET", &path, json!({ "code": "k" }), None)).expect("JSON");
    if let Some(id) = id {
        payload["Data"]["req"]["Params"]["id"] = Value::from(id);
        payload["Metadata"]["id"] = Value::from(Value::from(id).to_string());
    }
    payload.to_string()
}

/// Status, headers and body that a caller of an HTTP function gets.
pub fn res(answer: &Value) -> (u16, Value, Value) {
    let res = &answer["Outputs"]["res"];
    let status = res["statusCode"].as_str().expect("a status as text").parse().expect("a number");
    assert_eq!(res["headers"]["Content-Type"], "application/json");
    let body = serde_json::from_str(res["body"].as_str().expect("a body as text")).expect("JSON");
    (status, res["headers"].clone(), body)
}
