//! A proxy before a storage service that answers for it, loses requests or replies, or spoils
//! bytes, by script.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use md5::Digest as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What happens to one request.
#[derive(Clone, Debug)]
pub enum Mischief {
    /// This head (without its end) and body instead of the service's answer; the service is not
    /// asked.
    Answer(&'static str, &'static str),
    /// The connection is closed before the service is asked.
    LoseRequest,
    /// The service does what it was asked, and the connection is closed instead of its reply.
    LoseReply,
    /// The service is asked so much later.
    Delay(Duration),
    /// The last byte of the request's body arrives as another one.
    Flip,
    /// Only so many bytes of the reply arrive, then the end.
    Truncate(usize),
}

/// So many requests of this method whose target holds this text meet this mischief.
#[derive(Clone, Debug)]
pub struct Rule {
    pub times: usize,
    pub method: &'static str,
    pub holds: &'static str,
    pub mischief: Mischief,
}

/// So many of a hundred requests meet this mischief: which, their text and how often it came before
/// decide, so that they are the same ones each time. No request meets it more than three times in a
/// row.
#[derive(Clone, Debug)]
pub struct Share {
    pub percent: u64,
    /// What the first line of a request must hold.
    pub holds: &'static str,
    pub mischief: Mischief,
}

/// How a share was dealt out.
#[derive(Debug, Default)]
pub struct Dealt {
    /// Requests that could have met it.
    pub all: u64,
    /// Requests that have.
    pub met: u64,
    /// How often each came, and how often in a row it met it.
    lines: HashMap<String, (u64, u64)>,
}

/// Who may be met by what.
#[derive(Debug, Default)]
struct Script {
    rules: Mutex<VecDeque<Rule>>,
    share: Option<Share>,
    dealt: Mutex<Dealt>,
}

/// A proxy. It ends when it is dropped.
pub struct Proxy {
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    script: Arc<Script>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Before the service at `target`, with `rules`: for each request the first one that fits.
    pub async fn start(target: SocketAddr, rules: Vec<Rule>) -> Self {
        Self::playing(target, Script { rules: Mutex::new(rules.into()), ..Script::default() }).await
    }

    /// Before the service at `target`, with mischief for a share of all requests.
    pub async fn sharing(target: SocketAddr, share: Share) -> Self {
        Self::playing(target, Script { share: Some(share), ..Script::default() }).await
    }

    async fn playing(target: SocketAddr, script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has an address");
        let (requests, played) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(script));
        let (noted, script) = (requests.clone(), played.clone());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (noted, script) = (noted.clone(), script.clone());
                // A client that hangs up is no concern of the proxy.
                tokio::spawn(async move { drop(serve(client, target, &noted, &script).await) });
            }
        });
        Self { address, requests, script: played, task }
    }

    /// Method and target of every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("nobody panics with this lock").clone()
    }

    /// Whether every rule has done all that it was to do.
    pub fn is_spent(&self) -> bool {
        self.script.rules.lock().expect("nobody panics with this lock").is_empty()
    }

    /// Of how many requests how many met the mischief that a share of them is to meet.
    pub fn dealt(&self) -> (u64, u64) {
        let dealt = self.script.dealt.lock().expect("nobody panics with this lock");
        (dealt.all, dealt.met)
    }
}

pub(super) struct Request {
    pub head: String,
    pub body: Vec<u8>,
}

pub(super) async fn read_request(client: &mut TcpStream) -> std::io::Result<Option<Request>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head.lines().find_map(|line| {
        line.to_lowercase().strip_prefix("content-length:").and_then(|n| n.trim().parse().ok())
    });
    let length: usize = length.unwrap_or(0);
    let mut body = bytes.split_off(end);
    while body.len() < length {
        if client.read_buf(&mut body).await? == 0 {
            return Ok(None);
        }
    }
    Ok(Some(Request { head, body }))
}

fn shared(line: &str, script: &Script) -> Option<Mischief> {
    let share = script.share.as_ref().filter(|share| line.contains(share.holds))?;
    let mut dealt = script.dealt.lock().expect("nobody panics with this lock");
    let (came, in_a_row) = dealt.lines.entry(line.to_owned()).or_default();
    *came += 1;
    let digest = md5::Md5::digest(format!("{came} {line}"));
    let meets = u64::from(u16::from_le_bytes([digest[0], digest[1]])) % 100 < share.percent
        && *in_a_row < 3;
    *in_a_row = if meets { *in_a_row + 1 } else { 0 };
    dealt.all += 1;
    dealt.met += u64::from(meets);
    meets.then(|| share.mischief.clone())
}

fn mischief(request: &Request, script: &Script) -> Option<Mischief> {
    let line = request.head.lines().next().unwrap_or_default();
    if let Some(shared) = shared(line, script) {
        return Some(shared);
    }
    let mut rules = script.rules.lock().expect("nobody panics with this lock");
    let at =
        rules.iter().position(|rule| line.starts_with(rule.method) && line.contains(rule.holds))?;
    let mischief = rules[at].mischief.clone();
    rules[at].times -= 1;
    if rules[at].times == 0 {
        rules.remove(at);
    }
    Some(mischief)
}

/// One request, one connection: who asks again comes again.
async fn serve(
    mut client: TcpStream,
    target: SocketAddr,
    noted: &Mutex<Vec<String>>,
    script: &Script,
) -> std::io::Result<()> {
    let Some(mut request) = read_request(&mut client).await? else { return Ok(()) };
    let line =
        request.head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
    noted.lock().expect("nobody panics with this lock").push(line);
    let mischief = mischief(&request, script);
    match &mischief {
        Some(Mischief::Answer(head, body)) => {
            let answer = format!(
                "HTTP/1.1 {head}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            return client.write_all(answer.as_bytes()).await;
        }
        Some(Mischief::LoseRequest) => return client.set_zero_linger(),
        Some(Mischief::Delay(delay)) => tokio::time::sleep(*delay).await,
        Some(Mischief::Flip) => {
            if let Some(last) = request.body.last_mut() {
                *last ^= 1;
            }
        }
        _ => {}
    }
    let reply = ask(target, &request).await?;
    match mischief {
        Some(Mischief::LoseReply) => client.set_zero_linger(),
        Some(Mischief::Truncate(length)) => {
            client.write_all(&reply[..length.min(reply.len())]).await
        }
        _ => client.write_all(&reply).await,
    }
}

pub(super) async fn ask(target: SocketAddr, request: &Request) -> std::io::Result<Vec<u8>> {
    let mut service = TcpStream::connect(target).await?;
    let lines = request
        .head
        .trim_end()
        .lines()
        .filter(|line| !line.to_lowercase().starts_with("connection:"));
    let head = lines.collect::<Vec<_>>().join("\r\n") + "\r\nConnection: close\r\n\r\n";
    service.write_all(head.as_bytes()).await?;
    service.write_all(&request.body).await?;
    let mut reply = Vec::new();
    service.read_to_end(&mut reply).await?;
    Ok(reply)
}
