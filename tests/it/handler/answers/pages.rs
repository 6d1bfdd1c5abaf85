//! Pages, and bodies that are no request of ours.

use super::*;

/// A call for the status page, as a browser's comes through the host; status, headers and page.
async fn page(bench: &Bench, id: Option<&str>) -> (u16, Value, String) {
    let mut payload: Value = serde_json::from_str(&status(id)).expect("JSON");
    payload["Data"]["req"]["Headers"]["accept"] =
        json!(["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"]);
    let (code, answer) = bench.post("IngestStatus", payload.to_string()).await;
    assert_eq!(code, 200, "{answer}");
    let res = &answer["Outputs"]["res"];
    let status = res["statusCode"].as_str().expect("a status as text").parse().expect("a number");
    (status, res["headers"].clone(), res["body"].as_str().expect("a page as text").to_owned())
}

#[tokio::test]
async fn a_browser_gets_pages_also_while_a_run_goes_on() {
    let bench = Bench::new(SLOW);
    let (code, _, body) = bench.post_http("IngestHttp", ingest(&["acme"])).await;
    assert_eq!(code, 202, "{body}");
    let id = body["id"].as_str().expect("an id");
    let (code, headers, list) = page(&bench, None).await;
    assert_eq!(
        (code, &headers["Content-Type"], &headers["Referrer-Policy"]),
        (200, &json!("text/html; charset=utf-8"), &json!("no-referrer"))
    );
    assert!(
        list.contains("data-running=\"yes\"")
            && list.contains(&format!("href=\"/api/ingest/status/runs/{id}?code=k\"")),
        "{list}"
    );
    assert!(
        list.contains("id=\"start\"") && list.contains("data-to=\"/api/ingest\""),
        "runs can be started here: {list}"
    );
    let (code, _, run) = page(&bench, Some(id)).await;
    assert!(code == 200 && run.contains(id) && run.contains("running"), "{run}");
    let (code, _, none) = page(&bench, Some("20260101T000000Z-00000000")).await;
    assert!(code == 404 && none.contains("there is no run"), "{none}");
    bench.runs.end();

    let azure = Bench::new(Options { in_azure: true, ..QUICK });
    assert!(
        !page(&azure, None).await.2.contains("id=\"start\""),
        "requests start no runs in Azure"
    );
    let broken = Bench::with(
        tempfile::tempdir().expect("a folder"),
        Err("the <b>reason</b>".to_owned()),
        QUICK,
    );
    let (code, _, told) = page(&broken, None).await;
    assert!(code == 500 && told.contains("the &lt;b&gt;reason&lt;/b&gt;"), "{told}");
}

/// A call as the host makes one of a request with these headers; of a body in chunks it hands on
/// nothing.
fn with_headers(headers: Value, query: Value, body: Option<&str>) -> String {
    let mut payload: Value =
        serde_json::from_str(&http("POST", "/api/ingest", query, body)).expect("JSON");
    payload["Data"]["req"]["Headers"] = headers;
    payload.to_string()
}

#[tokio::test]
async fn a_body_in_chunks_never_starts_a_run_over_everything() {
    let bench = Bench::new(QUICK);
    let chunked = json!({ "Host": ["localhost:7071"], "Transfer-Encoding": ["chunked"],
        "Content-Type": ["application/json"] });
    let (code, _, body) =
        bench.post_http("IngestHttp", with_headers(chunked.clone(), json!({}), None)).await;
    assert!(
        code == 411 && body["hint"].as_str().is_some_and(|hint| hint.contains("Content-Length")),
        "{code} {body}"
    );
    let (_, _, list) = bench.post_http("IngestStatus", status(None)).await;
    assert_eq!(list["runs"].as_array().map(Vec::len), Some(0), "nothing was started");
    // What the query names is known, whatever became of the body.
    let (code, _, body) = bench
        .post_http("IngestHttp", with_headers(chunked, json!({ "sources": "acme" }), None))
        .await;
    assert_eq!((code, body["sources"].as_array().map(Vec::len)), (200, Some(1)), "{body}");
}

#[tokio::test]
async fn a_large_body_is_told_413_inside_of_the_answer_that_the_host_hands_on() {
    let bench = Bench::new(QUICK);
    for size in [200_000, 6 << 20] {
        let (code, _, body) = bench
            .post_http(
                "IngestHttp",
                http("POST", "/api/ingest", json!({}), Some(&"x".repeat(size))),
            )
            .await;
        assert!(code == 413 && body["error"].is_string(), "{size}: {code} {body}");
    }
}

#[tokio::test]
async fn the_page_of_another_site_starts_nothing() {
    let bench = Bench::new(QUICK);
    let from = |origin: &str, host: &str| {
        json!({ "Host": [host], "Origin": [origin],
        "X-Forwarded-Host": ["files.example"] })
    };
    for origin in ["https://evil.example", "null", "https://app.azurewebsites.net.evil.example"] {
        let call =
            with_headers(from(origin, "app.azurewebsites.net"), json!({ "sources": "acme" }), None);
        assert_eq!(bench.post_http("IngestHttp", call).await.0, 403, "{origin}");
    }
    for origin in
        ["https://app.azurewebsites.net", "https://APP.azurewebsites.net", "https://files.example"]
    {
        let call =
            with_headers(from(origin, "app.azurewebsites.net"), json!({ "sources": "acme" }), None);
        assert_eq!(bench.post_http("IngestHttp", call).await.0, 200, "{origin}");
    }
    // Browsers tell no origin with a form of a page that forbids referrers, but whose page it is.
    for (site, code) in
        [("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403)]
    {
        let mut headers = from("null", "app.azurewebsites.net");
        headers["Sec-Fetch-Site"] = json!([site]);
        let call = with_headers(headers, json!({ "sources": "acme" }), None);
        assert_eq!(bench.post_http("IngestHttp", call).await.0, code, "{site}");
    }
    let foreign = Request::post("/IngestTimer")
        .header("Host", "evil.example")
        .body(Body::from(timer()))
        .expect("a request");
    assert_eq!(bench.call(foreign).await.0, 403);
}
