//! A proxy that makes Azurite behave as an account with a hierarchical namespace, as far as the
//! REST reference tells: writing a blob makes the directories above it, a directory is an entry of
//! listings and answers to HEAD, and one name is either a file or a directory.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::http::{Request, ask, read_request};

/// Names of directories and of files, container and path.
#[derive(Debug, Default)]
struct Names {
    directories: BTreeSet<String>,
    files: BTreeSet<String>,
}

/// A proxy. It ends when it is dropped.
pub struct Hierarchy {
    pub address: SocketAddr,
    names: Arc<Mutex<Names>>,
    task: JoinHandle<()>,
}

impl Drop for Hierarchy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hierarchy {
    /// Before the service at `target`.
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let names = Arc::<Mutex<Names>>::default();
        let known = names.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let known = known.clone();
                // A client that hangs up is no concern of the proxy.
                tokio::spawn(async move { drop(serve(client, target, &known).await) });
            }
        });
        Self { address, names, task }
    }

    /// The directories that there are.
    pub fn directories(&self) -> Vec<String> {
        self.names.lock().expect("no panic").directories.iter().cloned().collect()
    }
}

/// What a request is about.
struct Asked {
    method: String,
    /// Container and path; `None` where it is about the container.
    blob: Option<String>,
    container: String,
    query: String,
    only_new: bool,
}

impl Asked {
    fn of(request: &Request) -> Option<Self> {
        let mut words = request.head.lines().next()?.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path: String = percent_decoded(path);
        let mut parts = path.splitn(4, '/').skip(2);
        let container = parts.next()?.to_owned();
        let blob = parts.next().filter(|blob| !blob.is_empty());
        let only_new = request
            .head
            .lines()
            .any(|line| line.to_lowercase().replace(' ', "") == "if-none-match:*");
        Some(Self {
            method,
            blob: blob.map(|blob| format!("{container}/{blob}")),
            container,
            query: query.to_owned(),
            only_new,
        })
    }

    fn asks(&self, word: &str) -> bool {
        self.query.split('&').any(|part| part == word)
    }

    fn has_comp(&self) -> bool {
        self.query.split('&').any(|part| part.starts_with("comp="))
    }

    /// Whether it makes a blob, or a part of one.
    fn writes(&self) -> bool {
        self.method == "PUT"
            && (!self.has_comp() || self.asks("comp=block") || self.asks("comp=blocklist"))
    }
}

fn percent_decoded(text: &str) -> String {
    // `+` is a plus in a path.
    let pairs = format!("x={}", text.replace('+', "%2B"));
    let decoded = url::form_urlencoded::parse(pairs.as_bytes()).next();
    decoded.map(|(_, value)| value.into_owned()).unwrap_or_default()
}

fn parents(blob: &str) -> Vec<String> {
    let slashes = blob.match_indices('/').skip(1).map(|(at, _)| blob[..at].to_owned());
    slashes.collect()
}

fn refusal(status: &str, code: &str) -> Vec<u8> {
    let body = format!("<Error><Code>{code}</Code><Message>Refused by a fake.</Message></Error>");
    format!(
        "HTTP/1.1 {status}\r\nx-ms-error-code: {code}\r\ncontent-length: {}\r\nconnection: \
         close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

const DIRECTORY: &str = "HTTP/1.1 200 OK\r\netag: \"0x8DDIR\"\r\nlast-modified: Sun, 29 Nov 2026 \
    08:00:00 GMT\r\nx-ms-blob-type: BlockBlob\r\nx-ms-resource-type: \
    directory\r\nx-ms-meta-hdi_isfolder: true\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// What the namespace answers by itself, if anything.
fn own_answer(asked: &Asked, names: &Names) -> Option<Vec<u8>> {
    let blob = asked.blob.as_ref()?;
    let is_directory = names.directories.contains(blob);
    let is_occupied = || {
        let below = format!("{blob}/");
        names.files.iter().chain(&names.directories).any(|name| name.starts_with(&below))
    };
    match asked.method.as_str() {
        "HEAD" | "GET" if is_directory && !asked.has_comp() => Some(DIRECTORY.into()),
        "PUT" if is_directory && asked.writes() && asked.only_new && !asked.asks("comp=block") => {
            Some(refusal("409 Conflict", "BlobAlreadyExists"))
        }
        "PUT" if is_directory && asked.writes() => {
            Some(refusal("409 Conflict", "ResourceTypeMismatch"))
        }
        "PUT" if asked.writes() && parents(blob).iter().any(|p| names.files.contains(p)) => {
            Some(refusal("409 Conflict", "PathConflict"))
        }
        "DELETE" if is_directory && is_occupied() => {
            Some(refusal("409 Conflict", "DirectoryIsNotEmpty"))
        }
        "DELETE" if is_directory => Some(
            b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec(),
        ),
        _ => None,
    }
}

async fn serve(
    mut client: TcpStream,
    target: SocketAddr,
    names: &Mutex<Names>,
) -> std::io::Result<()> {
    let Some(request) = read_request(&mut client).await? else { return Ok(()) };
    let asked = Asked::of(&request);
    if let Some(asked) = &asked {
        let own = {
            let mut names = names.lock().expect("no panic");
            let own = own_answer(asked, &names);
            if let (Some(blob), Some(answer)) = (&asked.blob, &own)
                && answer.starts_with(b"HTTP/1.1 202")
            {
                names.directories.remove(blob);
            }
            own
        };
        if let Some(answer) = own {
            return client.write_all(&answer).await;
        }
    }
    let mut reply = ask(target, &request).await?;
    if let Some(asked) = &asked {
        note(asked, &reply, &mut names.lock().expect("no panic"));
        if asked.blob.is_none() && asked.method == "GET" && asked.asks("comp=list") {
            reply = with_directories(asked, &reply, &names.lock().expect("no panic"));
        }
    }
    client.write_all(&reply).await
}

/// Learns from what Azurite did.
fn note(asked: &Asked, reply: &[u8], names: &mut Names) {
    let Some(blob) = &asked.blob else { return };
    if asked.writes() && reply.starts_with(b"HTTP/1.1 201") {
        names.directories.extend(parents(blob));
        if !asked.asks("comp=block") {
            names.files.insert(blob.clone());
        }
    } else if asked.method == "DELETE" && reply.starts_with(b"HTTP/1.1 202") {
        names.files.remove(blob);
    }
}

/// A page of a listing, whole and with the directories that it is to show.
fn with_directories(asked: &Asked, reply: &[u8], names: &Names) -> Vec<u8> {
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    let head = String::from_utf8_lossy(&reply[..end]).into_owned();
    let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunked(&reply[end..]) } else { reply[end..].to_vec() };
    let text = String::from_utf8(body).expect("XML is text");
    let wanted = asked.query.split('&').find_map(|part| part.strip_prefix("prefix="));
    let prefix = format!("{}/{}", asked.container, percent_decoded(wanted.unwrap_or_default()));
    let items: String = names
        .directories
        .iter()
        .filter(|name| name.starts_with(&prefix))
        .map(|name| {
            let name = &name[asked.container.len() + 1..];
            format!(
                "<Blob><Name>{name}</Name><Properties><Last-Modified>Sun, 29 Nov 2026 08:00:00 \
                 GMT</Last-Modified><Etag>0x8DDIR</Etag><ResourceType>directory</ResourceType>\
                 <Content-Length>0</Content-Length><BlobType>BlockBlob</BlobType></Properties>\
                 <Metadata><hdi_isfolder>true</hdi_isfolder></Metadata></Blob>"
            )
        })
        .collect();
    let text = match text.contains("<Blobs>") {
        true => text.replacen("<Blobs>", &format!("<Blobs>{items}"), 1),
        false => text.replacen("<Blobs/>", &format!("<Blobs>{items}</Blobs>"), 1),
    };
    let kept = head.trim_end().lines().filter(|line| {
        let line = line.to_lowercase();
        !line.starts_with("transfer-encoding") && !line.starts_with("content-length")
    });
    let head = kept.collect::<Vec<_>>().join("\r\n");
    format!("{head}\r\ncontent-length: {}\r\n\r\n{text}", text.len()).into_bytes()
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&body[..end]).expect("a size");
        let size = usize::from_str_radix(size.trim(), 16).expect("a size in hex");
        if size == 0 {
            break;
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 4 + size..];
    }
    whole
}
