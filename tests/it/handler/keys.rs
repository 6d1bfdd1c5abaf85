//! Function keys: a gate in front of the handler that lets calls through as the Functions host
//! does, by the `function.json` files that are shipped.

use std::path::Path;

use blobferry::demo::sftp::script::DemoSftpScript;
use serde_json::{Value, json};

use super::process::App;
use super::worker::{Encoding, Worker};
use super::{http, res};

const MASTER: &str = "master-key";

/// One HTTP function, as its `function.json` says.
struct Function {
    name: String,
    level: String,
    methods: Vec<String>,
    route: String,
}

impl Function {
    /// The key that opens this function and no other.
    fn key(&self) -> String {
        format!("key-of-{}", self.name)
    }

    /// The values of the route's parameters, if the path is one of it: `runs/{id?}` fits `runs` and
    /// `runs/x`.
    fn matches(&self, path: &str) -> Option<Value> {
        let mut given = path.split('/').filter(|part| !part.is_empty());
        let mut parameters = json!({});
        for part in self.route.split('/') {
            match part.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                None if given.next()?.eq_ignore_ascii_case(part) => {}
                None => return None,
                Some(name) if name.starts_with('*') => {
                    let rest: Vec<&str> = given.by_ref().collect();
                    parameters[&name[1..]] = rest.join("/").into();
                }
                Some(name) => match (given.next(), name.strip_suffix('?')) {
                    (Some(value), optional) => parameters[optional.unwrap_or(name)] = value.into(),
                    (None, Some(_)) => {}
                    (None, None) => return None,
                },
            }
        }
        given.next().is_none().then_some(parameters)
    }
}

/// The functions of this repository that HTTP triggers.
fn functions() -> Vec<Function> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).expect("it is there") {
        let folder = entry.expect("it can be read").path();
        let Ok(text) = std::fs::read_to_string(folder.join("function.json")) else { continue };
        let function: Value = serde_json::from_str(&text).expect("it is JSON");
        let bindings = function["bindings"].as_array().expect("a list");
        let Some(trigger) = bindings.iter().find(|binding| binding["type"] == "httpTrigger") else {
            continue;
        };
        assert_eq!((&trigger["name"], &trigger["direction"]), (&json!("req"), &json!("in")));
        assert!(bindings.iter().any(|binding| binding["type"] == "http"
            && binding["direction"] == "out"
            && binding["name"] == "res"));
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        found.push(Function {
            name: text(&json!(folder.file_name().expect("a name").to_str())),
            level: text(&trigger["authLevel"]),
            methods: trigger["methods"].as_array().expect("a list").iter().map(text).collect(),
            route: text(&trigger["route"]),
        });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

/// The host: finds the function by route and method, looks at the key, and hands the call on.
fn call(worker: &Worker, method: &str, path: &str, key: Option<&str>) -> (u16, Value) {
    let all = functions();
    let Some((function, parameters)) = all
        .iter()
        .filter(|function| {
            function.methods.iter().any(|allowed| allowed.eq_ignore_ascii_case(method))
        })
        .find_map(|function| Some((function, function.matches(path)?)))
    else {
        return (404, Value::Null);
    };
    let open = match function.level.as_str() {
        "anonymous" => true,
        "function" => key.is_some_and(|key| key == function.key() || key == MASTER),
        "admin" => key == Some(MASTER),
        other => panic!("no such level: {other}"),
    };
    if !open {
        return (401, Value::Null);
    }
    let url = format!("/api/{path}");
    let mut payload: Value =
        serde_json::from_str(&http(method, &url, json!({}), None)).expect("JSON");
    for (name, value) in parameters.as_object().expect("an object") {
        payload["Data"]["req"]["Params"][name] = value.clone();
        payload["Metadata"][name] = Value::from(value.to_string());
    }
    let (status, answer) =
        worker.post(&function.name, "1-1", &payload.to_string(), Encoding::Chunked);
    assert_eq!(status, 200, "{answer}");
    let (status, _, body) = res(&answer);
    (status, body)
}

#[test]
fn the_functions_ask_for_keys_of_their_own() {
    let told: Vec<_> = functions()
        .into_iter()
        .map(|function| (function.name, function.level, function.methods, function.route))
        .collect();
    let one = |name: &str, methods: &[&str], route: &str| {
        (
            name.to_owned(),
            "function".to_owned(),
            methods.iter().map(|method| (*method).to_owned()).collect(),
            route.to_owned(),
        )
    };
    // `GET ingest` is the desk for people without JavaScript; it starts nothing.
    assert_eq!(
        told,
        [
            one("IngestHttp", &["get", "post"], "ingest"),
            one("IngestStatus", &["get"], "ingest/{kind}/{*page}")
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_that_reads_starts_no_run() {
    let app = App::new(&["a.txt"], DemoSftpScript::default()).await;
    let worker = app.worker(&[]);
    let [start, read] = ["IngestHttp", "IngestStatus"].map(|name| format!("key-of-{name}"));

    // Nobody gets in without a key, or with one that is not of this function.
    for (method, path) in [
        ("POST", "ingest"),
        ("GET", "ingest/runs"),
        ("GET", "ingest/runs/20260101T000000Z-00000000"),
    ] {
        assert_eq!(call(&worker, method, path, None).0, 401, "{method} {path}");
        assert_eq!(call(&worker, method, path, Some("guess")).0, 401, "{method} {path}");
    }
    assert_eq!(call(&worker, "POST", "ingest", Some(&read)).0, 401);
    assert_eq!(call(&worker, "GET", "ingest/runs", Some(&start)).0, 401);
    // There is no other way to a start: no method, no path.
    assert_eq!(call(&worker, "GET", "ingest", Some(&read)).0, 401);
    assert_eq!(call(&worker, "GET", "ingest", Some(&start)).0, 405);
    for (method, path) in [
        ("POST", "ingest/runs"),
        ("PUT", "ingest"),
        ("DELETE", "ingest/runs"),
        ("POST", "ingest/x"),
    ] {
        assert_eq!(call(&worker, method, path, Some(MASTER)).0, 404, "{method} {path}");
    }
    assert_eq!(app.server.logins(), 0, "nothing was started");
    let (status, body) = call(&worker, "GET", "ingest/runs", Some(&read));
    assert_eq!((status, body["runs"].as_array().map(Vec::len)), (200, Some(0)), "{body}");

    let (status, run) = call(&worker, "POST", "ingest", Some(&start));
    assert_eq!((status, &run["sources"][0]["ingested"]), (200, &json!(1)), "{run:#}");
    let id = run["id"].as_str().expect("an id");
    for key in [read.as_str(), MASTER] {
        let (status, body) = call(&worker, "GET", &format!("ingest/runs/{id}"), Some(key));
        assert_eq!((status, &body["id"]), (200, &json!(id)), "{body}");
        assert_eq!(call(&worker, "GET", "ingest/runs", Some(key)).1["runs"][0]["id"], json!(id));
    }
}

/// A host that passed a call on by mistake would still start nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_function_that_reads_starts_no_run_whatever_it_is_asked() {
    let app = App::new(&["a.txt"], DemoSftpScript::default()).await;
    let worker = app.worker(&[]);
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let (_, answer) = worker.post(
            "IngestStatus",
            "1-1",
            &http(method, "/api/ingest/runs", json!({}), Some("{}")),
            Encoding::Sized,
        );
        assert_eq!(res(&answer).0, 405, "{method}: {answer}");
    }
    for method in ["GET", "PUT", "DELETE"] {
        let (_, answer) = worker.post(
            "IngestHttp",
            "1-1",
            &http(method, "/api/ingest", json!({}), None),
            Encoding::Sized,
        );
        assert_eq!(res(&answer).0, 405, "{method}: {answer}");
    }
    assert_eq!(app.server.logins(), 0, "nothing was started");
}
