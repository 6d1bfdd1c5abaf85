//! How many bytes an archive costs on the wire, counted by a proxy between the program and a real
//! server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::super::served::{self, Served};
use super::super::servers::*;
use super::super::world::zips::{entry, zip_of};
use super::*;

const MEMBERS: usize = 5_000;
const MEMBER_BYTES: usize = 3_600;
/// A proxy holds little: what a server sends into it is what it would send into a network.
const BUFFER_BYTES: u32 = 16 << 10;

/// Counts what comes from the server. Listens on 127.0.0.2 with the server's own port numbers, and
/// on those of passive data connections as the server names them.
#[derive(Clone)]
struct Counting {
    bytes: Arc<AtomicU64>,
    runtime: Arc<tokio::runtime::Runtime>,
}

impl Counting {
    fn before(port: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let counting = Self { bytes: Arc::default(), runtime: Arc::new(runtime) };
        let listener = counting.runtime.block_on(async { listen(port) });
        counting.runtime.spawn(accept(listener, port, counting.bytes.clone(), usize::MAX));
        counting
    }

    fn take(&self) -> u64 {
        self.bytes.swap(0, Ordering::SeqCst)
    }
}

fn listen(port: u16) -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.set_send_buffer_size(BUFFER_BYTES).unwrap();
    socket.bind(([127, 0, 0, 2], port).into()).expect("the whole of 127.0.0.0/8 is this machine's");
    socket.listen(16).unwrap()
}

fn accept(
    listener: TcpListener,
    port: u16,
    bytes: Arc<AtomicU64>,
    times: usize,
) -> futures_util::future::BoxFuture<'static, ()> {
    Box::pin(async move {
        for _ in 0..times {
            let (client, _) = listener.accept().await.unwrap();
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(BUFFER_BYTES).unwrap();
            let server = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
            tokio::spawn(relay(client, server, bytes.clone()));
        }
    })
}

async fn relay(client: TcpStream, server: TcpStream, bytes: Arc<AtomicU64>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        // Either end may go first.
        drop(tokio::io::copy(&mut from_client, &mut to_server).await);
        drop(to_server.shutdown().await);
    };
    let down = async {
        let mut buffer = vec![0; 8 << 10];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            bytes.fetch_add(read as u64, Ordering::SeqCst);
            for port in passive_ports(&buffer[..read]) {
                tokio::spawn(accept(listen(port), port, bytes.clone(), 1));
            }
            if to_client.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
        drop(to_client.shutdown().await);
    };
    tokio::select! {
        () = down => {}
        () = async { up.await; std::future::pending::<()>().await } => {}
    }
}

/// The ports in replies to EPSV, `229 … (|||port|)`. What a server answers in one go is read in one
/// go here.
fn passive_ports(replies: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(replies);
    let lines = text.lines().filter_map(|line| {
        line.strip_prefix("229 ")?.split("(|||").nth(1)?.split('|').next()?.parse().ok()
    });
    lines.collect()
}

fn content(n: usize, version: u8) -> Vec<u8> {
    let mut state = (n as u32 + 1).wrapping_mul(2_654_435_761) ^ u32::from(version);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..MEMBER_BYTES).map(|_| next()).collect()
}

fn archive(changed: &[usize]) -> Vec<u8> {
    let member =
        |n: usize| entry(&format!("data/{n:04}.csv"), &content(n, u8::from(changed.contains(&n))));
    zip_of(&(0..MEMBERS).map(member).collect::<Vec<_>>())
}

/// `served`, reached through the proxy.
fn through_proxy(served: &Served) -> (Counting, String) {
    let at = served.toml.find("127.0.0.1:").expect("it is on this machine") + "127.0.0.1:".len();
    let port: u16 = served.toml[at..]
        .chars()
        .take_while(char::is_ascii_digit)
        .collect::<String>()
        .parse()
        .unwrap();
    (Counting::before(port), served.toml.replacen("127.0.0.1:", "127.0.0.2:", 1))
}

/// The archive as of that many days after a day long ago: vsftpd lists times to the minute.
fn put(root: &std::path::Path, archive: &[u8], days: u64) {
    let path = root.join("daily.zip");
    std::fs::write(&path, archive).unwrap();
    let at = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + days * 86_400);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(at).unwrap();
    hand_over(root);
}

fn costs(served: &Served) {
    let whole = archive(&[]);
    put(&served.root, &whole, 0);
    let (counting, toml) = through_proxy(served);
    let bring = |more: &str| {
        let ferry = Ferry::between(
            &format!("{toml}stable_for = \"1s\"\nconnections = 1\n{more}"),
            "folder = \"ingested\"\n",
        );
        counting.take();
        let source = ferry.ingest().code(0).source();
        (counting.take(), source["members"].clone(), ferry)
    };
    let size = whole.len() as u64;
    let directory = whole.len() - MEMBERS * (30 + 13 + MEMBER_BYTES) - 22;

    let (bytes, members, ..) = bring("");
    println!("whole archive: {bytes} of {size} bytes, {:.3}", bytes as f64 / size as f64);
    assert_eq!((&members["stored"], &members["members"]), (&MEMBERS.into(), &MEMBERS.into()));
    assert!(bytes as f64 <= 1.05 * size as f64, "{bytes} bytes for a file of {size}");

    // Ten that lie far apart.
    let (bytes, members, ferry) =
        bring("include_members = [\"data/?500.csv\", \"data/?000.csv\"]\n");
    let most = 10 * MEMBER_BYTES as u64 + directory as u64 + (1 << 20);
    println!("ten members: {bytes} bytes, at most {most}");
    assert_eq!(members["stored"], 10);
    assert!(bytes <= most, "{bytes} bytes, more than {most}");
    for n in [500, 4_000] {
        let stored =
            std::fs::read(ferry.path(&format!("ingested/acme/daily.zip!/data/{n:04}.csv")))
                .unwrap();
        assert!(stored == content(n, 0), "{n}");
    }
    drop(ferry);

    let (_, _, ferry) = bring("incremental_members = true\n");
    let changed = [3, 2_500, 4_999];
    put(&served.root, &archive(&changed), 1);
    counting.take();
    let source = ferry.ingest().code(0).source();
    let bytes = counting.take();
    let most = 3 * MEMBER_BYTES as u64 + directory as u64 + (1 << 20);
    println!("three of a new version: {bytes} bytes, at most {most}");
    assert_eq!(
        (&source["members"]["stored"], &source["members"]["identical"]),
        (&3.into(), &(MEMBERS - 3).into())
    );
    assert!(bytes <= most, "{bytes} bytes, more than {most}");
    let users = std::fs::read_dir(ferry.path("ingested/acme/daily.zip!/data")).unwrap().count();
    assert_eq!(users, MEMBERS + 3);
}

#[test]
fn few_members_of_a_large_zip_cost_little_by_sftp() {
    let Some(served) = served::sshd(SshdAuth::Key) else { return };
    costs(&served);
}

#[test]
fn few_members_of_a_large_zip_cost_little_by_ftp() {
    let Some(served) = served::vsftpd(Tls::Off) else { return };
    costs(&served);
}
