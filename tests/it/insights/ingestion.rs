//! Servers on this machine: an ingestion endpoint as Application Insights has it, an identity
//! endpoint as App Service has it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The key of all tests. It is no secret: it stands in every envelope.
pub const KEY: &str = "00000000-1111-2222-3333-444444444444";

/// How an endpoint answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Takes everything.
    Well,
    /// Answers so, and takes nothing.
    Status(u16),
    /// Takes everything but the first item of each request, for good.
    Partly,
    /// Accepts connections, and never answers.
    Silent,
}

/// A request, its body unpacked.
#[derive(Clone, Debug)]
pub struct Received {
    pub head: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// A server that notes what it is asked.
pub struct Server {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Received>>>,
}

impl Server {
    /// Answers each request as `answer` says: status and body; with `None`, never.
    pub fn start(
        answer: impl Fn(&Received) -> Option<(u16, String)> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let (requests, answer) = (Arc::new(Mutex::new(Vec::new())), Arc::new(answer));
        let noted: Arc<Mutex<Vec<Received>>> = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, noted, answer) =
                    (stream.expect("a connection"), noted.clone(), answer.clone());
                std::thread::spawn(move || while serve(&stream, &noted, &*answer).is_some() {});
            }
        });
        Self { address, requests }
    }

    /// What it was asked so far.
    pub fn requests(&self) -> Vec<Received> {
        self.requests.lock().expect("no thread panics while it holds this lock").clone()
    }
}

/// One request of a connection; `None` when there are no more.
fn serve(
    stream: &TcpStream,
    noted: &Mutex<Vec<Received>>,
    answer: &dyn Fn(&Received) -> Option<(u16, String)>,
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let pairs = lines[1..].iter().filter_map(|line| line.split_once(':'));
    let headers: BTreeMap<String, String> =
        pairs.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    let length =
        headers.get("content-length").map_or(0, |length| length.parse().expect("a number"));
    assert!(
        !headers.contains_key("transfer-encoding"),
        "this server reads bodies with a length: {lines:?}"
    );
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    if headers.get("content-encoding").is_some_and(|encoding| encoding == "gzip") {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain).expect("gzip");
        body = plain;
    }
    let received = Received { head: lines[0].clone(), headers, body };
    let answered = answer(&received);
    noted.lock().expect("no thread panics while it holds this lock").push(received);
    let Some((status, body)) = answered else {
        // Held open until the other side gives up.
        drop((&*stream).read(&mut [0; 1]));
        return None;
    };
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    (&*stream).write_all([head.as_bytes(), body.as_bytes()].concat().as_slice()).ok()
}

/// An ingestion endpoint.
pub struct Ingestion(pub Server);

impl Ingestion {
    pub fn start(mood: Mood) -> Self {
        Self(Server::start(move |received| {
            let items =
                serde_json::from_slice::<Vec<Value>>(&received.body).map_or(0, |items| items.len());
            let answer = |accepted: usize, errors: Value| {
                json!({ "itemsReceived": items, "itemsAccepted": accepted, "errors": errors })
                    .to_string()
            };
            match mood {
                Mood::Well => Some((200, answer(items, json!([])))),
                Mood::Status(status) => Some((status, answer(0, json!([])))),
                Mood::Partly => Some((
                    206,
                    answer(items - 1, json!([{ "index": 0, "statusCode": 400, "message": "no" }])),
                )),
                Mood::Silent => None,
            }
        }))
    }

    /// The connection string for it, as Azure writes them.
    pub fn connection(&self) -> String {
        connection(self.0.address)
    }

    /// All envelopes so far.
    pub fn envelopes(&self) -> Vec<Envelope> {
        let requests = self.0.requests();
        let all = requests.iter().flat_map(|request| {
            assert_eq!(request.head, "POST /v2/track HTTP/1.1");
            assert_eq!(request.headers.get("content-encoding").map(String::as_str), Some("gzip"));
            serde_json::from_slice::<Vec<Value>>(&request.body).expect("an array of envelopes")
        });
        all.map(Envelope).collect()
    }

    /// The envelopes, once `enough` of them are there; a failure after half a minute.
    pub fn once(&self, enough: impl Fn(&[Envelope]) -> bool) -> Vec<Envelope> {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let envelopes = self.envelopes();
            if enough(&envelopes) {
                return envelopes;
            }
            assert!(Instant::now() < end, "never came: {envelopes:#?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The connection string for the endpoint at `address`.
pub fn connection(address: SocketAddr) -> String {
    format!(
        "InstrumentationKey={KEY};IngestionEndpoint=http://{address}/;\
        LiveEndpoint=https://live.invalid/;ApplicationId=1;"
    )
}

/// One item of telemetry.
#[derive(Clone, Debug)]
pub struct Envelope(pub Value);

impl Envelope {
    /// `Request`, `RemoteDependency`, `Exception`, `Metric`, `Message`.
    pub fn kind(&self) -> &str {
        self.0["name"]
            .as_str()
            .and_then(|name| name.strip_prefix("Microsoft.ApplicationInsights."))
            .expect("a known name")
    }

    pub fn tag(&self, name: &str) -> Option<&str> {
        self.0["tags"][name].as_str()
    }

    pub fn operation(&self) -> Option<&str> {
        self.tag("ai.operation.id")
    }

    pub fn data(&self, name: &str) -> &Value {
        &self.0["data"]["baseData"][name]
    }

    pub fn property(&self, name: &str) -> Option<&str> {
        self.data("properties")[name].as_str()
    }
}

/// The envelopes of one kind.
pub fn of<'a>(envelopes: &'a [Envelope], kind: &str) -> Vec<&'a Envelope> {
    envelopes.iter().filter(|envelope| envelope.kind() == kind).collect()
}

/// No text of `value`, its names included, holds a control character or one of `secrets`.
#[track_caller]
pub fn is_clean(value: &Value, secrets: &[&str]) {
    let text = |text: &str| {
        assert!(!text.chars().any(char::is_control), "{text:?}");
        for secret in secrets {
            assert!(!text.contains(secret), "a secret was told: {text}");
        }
    };
    match value {
        Value::String(string) => text(string),
        Value::Array(list) => list.iter().for_each(|value| is_clean(value, secrets)),
        Value::Object(object) => object.iter().for_each(|(name, value)| {
            text(name);
            is_clean(value, secrets);
        }),
        _ => {}
    }
}
