//! A Blob service in memory that costs next to nothing: what the benchmarks write to, so that they
//! measure clients.
//!
//! `bench_sink [HOST:PORT]` speaks what rclone, AzCopy and the SDKs need to write, read, list and
//! lease block and append blobs. It prints the address that it listens on. It checks conditions,
//! and no credentials: never show it to a network. Bodies are kept as the buffers that they came in
//! and hashed only when `GET /_inventory?container=NAME` asks for it, so that no client pays for
//! the check while its clock runs.

mod xml;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri};
use axum::serve::ListenerExt;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use xml::{escaped, listed};

/// Headers that a writer sets, and the ones that they are read back from.
const PROPERTIES: [(&str, &str); 6] = [
    ("x-ms-blob-content-type", "content-type"),
    ("x-ms-blob-content-md5", "content-md5"),
    ("x-ms-blob-content-encoding", "content-encoding"),
    ("x-ms-blob-content-language", "content-language"),
    ("x-ms-blob-content-disposition", "content-disposition"),
    ("x-ms-blob-cache-control", "cache-control"),
];
const DATE: &str = "Thu, 01 Jan 2026 00:00:00 GMT";
const PAGE: usize = 5000;

/// A body as the buffers that it came in.
type Pieces = Vec<Bytes>;
type Answer = Response<Body>;
/// What the service refuses with: a status and Azure's code for it.
type Refusal = (StatusCode, &'static str);

const NO_CONTAINER: Refusal = (StatusCode::NOT_FOUND, "ContainerNotFound");
const NO_BLOB: Refusal = (StatusCode::NOT_FOUND, "BlobNotFound");

#[derive(Default)]
struct Blob {
    pieces: Pieces,
    size: u64,
    etag: u64,
    append: bool,
    metadata: Vec<(String, String)>,
    properties: Vec<(&'static str, String)>,
}

#[derive(Default)]
struct Container {
    blobs: BTreeMap<String, Blob>,
    staged: HashMap<String, HashMap<String, Pieces>>,
}

#[derive(Default)]
struct Sink {
    containers: Mutex<HashMap<String, Container>>,
    etags: AtomicU64,
    requests: AtomicU64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let listener = tokio::net::TcpListener::bind(address).await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    // Whoever fails to set it is slower, and no less right.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, Router::new().fallback(answer).with_state(Arc::<Sink>::default()))
        .await?;
    Ok(())
}

async fn answer(State(sink): State<Arc<Sink>>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let mut pieces = Pieces::new();
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) => pieces.push(chunk),
            Err(_) => return refused((StatusCode::BAD_REQUEST, "IncompleteBody")),
        }
    }
    if parts.uri.path() == "/_inventory" {
        return sink.inventory(&query(&parts.uri)).unwrap_or_else(refused);
    }
    sink.requests.fetch_add(1, Ordering::Relaxed);
    let mut answer =
        sink.route(&parts.method, &parts.uri, &parts.headers, pieces).unwrap_or_else(refused);
    let headers = answer.headers_mut();
    headers.insert(
        "x-ms-version",
        parts
            .headers
            .get("x-ms-version")
            .cloned()
            .unwrap_or(HeaderValue::from_static("2025-11-05")),
    );
    headers.insert(
        "x-ms-request-id",
        HeaderValue::from_static("00000000-0000-0000-0000-000000000000"),
    );
    if let Some(id) = parts.headers.get("x-ms-client-request-id") {
        headers.insert("x-ms-client-request-id", id.clone());
    }
    answer
}

impl Sink {
    fn containers(&self) -> MutexGuard<'_, HashMap<String, Container>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn route(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Pieces,
    ) -> Result<Answer, Refusal> {
        // /account/container/blob: decoded only after it was cut.
        let mut path = uri.path().trim_start_matches('/').splitn(3, '/').map(decoded).skip(1);
        let (container, name) = (path.next().unwrap_or_default(), path.next().unwrap_or_default());
        let query = query(uri);
        let comp = query.get("comp").map(String::as_str);
        match (method.as_str(), name.is_empty(), comp) {
            (_, true, _)
                if container.is_empty()
                    || query.get("restype").is_some_and(|kind| kind == "account") =>
            {
                Ok(account())
            }
            ("PUT", true, None) => self.create(container),
            ("GET", true, Some("list")) => self.list(&container, &query),
            ("DELETE", true, _) => self
                .containers()
                .remove(&container)
                .map(|_| empty(StatusCode::ACCEPTED))
                .ok_or(NO_CONTAINER),
            (_, true, _) => self
                .containers()
                .contains_key(&container)
                .then(|| stamped(empty(StatusCode::OK), 1))
                .ok_or(NO_CONTAINER),
            ("PUT", _, Some("lease")) => Ok(lease(headers)),
            (_, _, comp) => self.blob(method, comp, &query, (&container, name), headers, body),
        }
    }

    fn blob(
        &self,
        method: &Method,
        comp: Option<&str>,
        query: &HashMap<String, String>,
        (container, name): (&str, String),
        headers: &HeaderMap,
        body: Pieces,
    ) -> Result<Answer, Refusal> {
        let mut containers = self.containers();
        let container = containers.get_mut(container).ok_or(NO_CONTAINER)?;
        match (method.as_str(), comp) {
            ("PUT", None) => self.commit(container, name, headers, body),
            ("PUT", Some("block")) => {
                let id = query
                    .get("blockid")
                    .cloned()
                    .ok_or((StatusCode::BAD_REQUEST, "InvalidQueryParameterValue"))?;
                container.staged.entry(name).or_default().insert(id, body);
                Ok(empty(StatusCode::CREATED))
            }
            ("PUT", Some("blocklist")) => {
                let mut staged = container.staged.remove(&name).unwrap_or_default();
                let pieces: Option<Vec<Pieces>> =
                    block_ids(&body).iter().map(|id| staged.remove(id)).collect();
                let pieces = pieces.ok_or((StatusCode::BAD_REQUEST, "InvalidBlockList"))?;
                self.commit(container, name, headers, pieces.concat())
            }
            ("PUT", Some("appendblock")) => {
                self.append(container.blobs.get_mut(&name).ok_or(NO_BLOB)?, headers, body)
            }
            ("PUT", Some("metadata")) => {
                container.blobs.get_mut(&name).ok_or(NO_BLOB)?.metadata = metadata(headers);
                Ok(empty(StatusCode::OK))
            }
            ("PUT", Some(_)) => container
                .blobs
                .get(&name)
                .map(|blob| stamped(empty(StatusCode::OK), blob.etag))
                .ok_or(NO_BLOB),
            ("DELETE", _) => {
                container.blobs.remove(&name).map(|_| empty(StatusCode::ACCEPTED)).ok_or(NO_BLOB)
            }
            ("GET", Some("blocklist")) => {
                Ok(xml("<BlockList><CommittedBlocks/><UncommittedBlocks/></BlockList>".into()))
            }
            ("GET" | "HEAD", _) => {
                read(container.blobs.get(&name).ok_or(NO_BLOB)?, headers, method == Method::HEAD)
            }
            _ => Err((StatusCode::METHOD_NOT_ALLOWED, "UnsupportedHttpVerb")),
        }
    }

    fn create(&self, container: String) -> Result<Answer, Refusal> {
        let mut containers = self.containers();
        if containers.contains_key(&container) {
            return Err((StatusCode::CONFLICT, "ContainerAlreadyExists"));
        }
        containers.insert(container, Container::default());
        Ok(stamped(empty(StatusCode::CREATED), 1))
    }

    fn commit(
        &self,
        container: &mut Container,
        name: String,
        headers: &HeaderMap,
        pieces: Pieces,
    ) -> Result<Answer, Refusal> {
        let old = container.blobs.get(&name).map(|blob| format!("\"0x{:X}\"", blob.etag));
        if header(headers, "if-none-match") == Some("*") && old.is_some() {
            return Err((StatusCode::CONFLICT, "BlobAlreadyExists"));
        }
        if header(headers, "if-match")
            .is_some_and(|wanted| old.is_none() || wanted != "*" && old.as_deref() != Some(wanted))
        {
            return Err((StatusCode::PRECONDITION_FAILED, "ConditionNotMet"));
        }
        let etag = 0x8D0_0000_0000 + self.etags.fetch_add(1, Ordering::Relaxed);
        let size = pieces.iter().map(|piece| piece.len() as u64).sum();
        let mut properties: Vec<_> = PROPERTIES
            .iter()
            .filter_map(|(set, read)| Some((*read, header(headers, set)?.to_owned())))
            .collect();
        if let Some(md5) = header(headers, "content-md5")
            .filter(|_| !properties.iter().any(|(key, _)| *key == "content-md5"))
        {
            properties.push(("content-md5", md5.to_owned()));
        }
        let append = header(headers, "x-ms-blob-type") == Some("AppendBlob");
        container.blobs.insert(
            name,
            Blob { pieces, size, etag, append, metadata: metadata(headers), properties },
        );
        Ok(stamped(empty(StatusCode::CREATED), etag))
    }

    fn append(
        &self,
        blob: &mut Blob,
        headers: &HeaderMap,
        body: Pieces,
    ) -> Result<Answer, Refusal> {
        if header(headers, "x-ms-blob-condition-appendpos")
            .is_some_and(|position| position != blob.size.to_string())
        {
            return Err((StatusCode::PRECONDITION_FAILED, "AppendPositionConditionNotMet"));
        }
        let position = blob.size;
        blob.size += body.iter().map(|piece| piece.len() as u64).sum::<u64>();
        blob.pieces.extend(body);
        blob.etag = 0x8D0_0000_0000 + self.etags.fetch_add(1, Ordering::Relaxed);
        let mut answer = stamped(empty(StatusCode::CREATED), blob.etag);
        set(&mut answer, "x-ms-blob-append-offset", &position.to_string());
        set(&mut answer, "x-ms-blob-committed-block-count", "1");
        Ok(answer)
    }

    fn list(&self, container: &str, query: &HashMap<String, String>) -> Result<Answer, Refusal> {
        let containers = self.containers();
        let container = containers.get(container).ok_or(NO_CONTAINER)?;
        let text = |key: &str| query.get(key).map(String::as_str).unwrap_or_default();
        let (prefix, delimiter, with_metadata) =
            (text("prefix"), text("delimiter"), text("include").contains("metadata"));
        let page = text("maxresults").parse().unwrap_or(PAGE).clamp(1, PAGE);
        let start = text("marker").max(prefix).to_owned();
        let (mut items, mut folder, mut next, mut count) = (String::new(), String::new(), "", 0);
        for (name, blob) in
            container.blobs.range(start..).take_while(|(name, _)| name.starts_with(prefix))
        {
            if !folder.is_empty() && name.starts_with(&folder) {
                continue;
            }
            if count == page {
                next = name;
                break;
            }
            count += 1;
            match name[prefix.len()..].find(delimiter).filter(|_| !delimiter.is_empty()) {
                Some(at) => {
                    folder = name[..prefix.len() + at + delimiter.len()].to_owned();
                    write!(items, "<BlobPrefix><Name>{}</Name></BlobPrefix>", escaped(&folder))
                        .expect("text takes text");
                }
                None => items.push_str(&listed(name, blob, with_metadata)),
            }
        }
        Ok(xml(format!(
            "<EnumerationResults><Blobs>{items}</Blobs><NextMarker>{}</NextMarker>\
            </EnumerationResults>",
            escaped(next)
        )))
    }

    /// Every blob with its size, SHA-256 and metadata: not part of the service, but what the
    /// benchmark judges by.
    fn inventory(&self, query: &HashMap<String, String>) -> Result<Answer, Refusal> {
        let containers = self.containers();
        let container =
            query.get("container").and_then(|name| containers.get(name)).ok_or(NO_CONTAINER)?;
        let blobs = container.blobs.iter().map(|(name, blob)| {
            let mut hash = Sha256::new();
            blob.pieces.iter().for_each(|piece| hash.update(piece));
            let metadata: BTreeMap<_, _> = blob.metadata.iter().cloned().collect();
            let md5 = blob.properties.iter().find(|(key, _)| *key == "content-md5");
            serde_json::json!({
                "name": name, "size": blob.size, "sha256": hex(&hash.finalize()),
                "metadata": metadata, "content_md5": md5.map(|(_, value)| value),
            })
        });
        let blobs: Vec<_> = blobs.collect();
        let answer =
            serde_json::json!({"blobs": blobs, "requests": self.requests.load(Ordering::Relaxed)});
        Ok(Response::new(Body::from(answer.to_string())))
    }
}

fn read(blob: &Blob, headers: &HeaderMap, head: bool) -> Result<Answer, Refusal> {
    let range = header(headers, "x-ms-range")
        .or_else(|| header(headers, "range"))
        .and_then(|range| range.strip_prefix("bytes="));
    let (from, to) = match range.and_then(|range| range.split_once('-')).filter(|_| !head) {
        Some((from, to)) => (
            from.parse().unwrap_or(0),
            to.parse::<u64>().map_or(blob.size, |last| blob.size.min(last.saturating_add(1))),
        ),
        None => (0, blob.size),
    };
    if range.is_some() && !head && from >= blob.size {
        return Err((StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange"));
    }
    let body = if head { Body::empty() } else { Body::from(cut(&blob.pieces, from, to)) };
    let mut answer = stamped(Response::new(body), blob.etag);
    set(&mut answer, "content-length", &(to - from).to_string());
    if range.is_some() && !head {
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        set(&mut answer, "content-range", &format!("bytes {from}-{}/{}", to - 1, blob.size));
    }
    set(&mut answer, "x-ms-blob-type", if blob.append { "AppendBlob" } else { "BlockBlob" });
    set(&mut answer, "content-type", "application/octet-stream");
    for (key, value) in &blob.properties {
        set(&mut answer, key, value);
    }
    for (key, value) in &blob.metadata {
        set(&mut answer, &format!("x-ms-meta-{key}"), value);
    }
    Ok(answer)
}

/// Leases are granted to everybody: no benchmark has two writers.
fn lease(headers: &HeaderMap) -> Answer {
    let action = header(headers, "x-ms-lease-action").unwrap_or_default();
    let id = header(headers, "x-ms-proposed-lease-id").or_else(|| header(headers, "x-ms-lease-id"));
    let mut answer =
        stamped(empty(if action == "acquire" { StatusCode::CREATED } else { StatusCode::OK }), 1);
    set(&mut answer, "x-ms-lease-id", id.unwrap_or("11111111-1111-4111-8111-111111111111"));
    answer
}

fn account() -> Answer {
    let mut answer = empty(StatusCode::OK);
    for (key, value) in [
        ("x-ms-sku-name", "Standard_LRS"),
        ("x-ms-account-kind", "StorageV2"),
        ("x-ms-is-hns-enabled", "false"),
    ] {
        set(&mut answer, key, value);
    }
    answer
}

fn cut(pieces: &[Bytes], from: u64, to: u64) -> Vec<u8> {
    let all = pieces.concat();
    let end = usize::try_from(to).expect("it is in memory");
    all[usize::try_from(from).expect("it is in memory").min(end)..end].to_vec()
}

/// The ids in a list of blocks, in order.
fn block_ids(body: &[Bytes]) -> Vec<String> {
    let text = String::from_utf8_lossy(&body.concat()).into_owned();
    let parts = text.split('<').filter_map(|part| part.split_once('>'));
    parts
        .filter(|(tag, _)| matches!(*tag, "Latest" | "Uncommitted" | "Committed"))
        .map(|(_, id)| id.trim().to_owned())
        .collect()
}

fn query(uri: &Uri) -> HashMap<String, String> {
    let pairs = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    pairs.into_owned().collect()
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let byte = text
            .get(at + 1..at + 3)
            .filter(|_| bytes[at] == b'%')
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn header<'a>(headers: &'a HeaderMap, key: &str) -> Option<&'a str> {
    headers.get(key)?.to_str().ok()
}

fn metadata(headers: &HeaderMap) -> Vec<(String, String)> {
    let ours = headers
        .iter()
        .filter_map(|(key, value)| Some((key.as_str().strip_prefix("x-ms-meta-")?, value)));
    ours.map(|(key, value)| {
        (key.to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    })
    .collect()
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    set(&mut answer, "x-ms-request-server-encrypted", "true");
    answer
}

fn stamped(mut answer: Answer, etag: u64) -> Answer {
    set(&mut answer, "etag", &format!("\"0x{etag:X}\""));
    set(&mut answer, "last-modified", DATE);
    answer
}

fn refused((status, code): Refusal) -> Answer {
    let mut answer = xml(format!("<Error><Code>{code}</Code><Message>{code}</Message></Error>"));
    *answer.status_mut() = status;
    set(&mut answer, "x-ms-error-code", code);
    answer
}

fn xml(body: String) -> Answer {
    let mut answer =
        Response::new(Body::from(format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>{body}")));
    set(&mut answer, "content-type", "application/xml");
    answer
}

fn set(answer: &mut Answer, key: &str, value: &str) {
    if let (Ok(key), Ok(value)) =
        (HeaderName::from_bytes(key.as_bytes()), HeaderValue::from_str(value))
    {
        answer.headers_mut().insert(key, value);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
