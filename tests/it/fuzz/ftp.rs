//! What FTP servers reply on the control connection, those to PASV and EPSV among it: a whole
//! session lives by them.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use blobferry::model::failure::{Class, Failure};
use blobferry::model::{RemotePath, chain};
use blobferry::source::contract::{Endpoint, SourceError};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::listing;
use super::packed::RUNTIME;

/// Nobody else listens there, whatever port a reply names. Only Linux has it without being asked.
const HOST: Ipv4Addr =
    if cfg!(target_os = "linux") { Ipv4Addr::new(127, 77, 7, 7) } else { Ipv4Addr::LOCALHOST };
/// Parts the replies.
const NEXT: u8 = 0xFE;
/// Stand for the port of the data connection, as EPSV and as PASV tell it.
const PORT: u8 = 1;
const TWO_BYTES: u8 = 2;

/// How long the server waits for the next command.
const PATIENCE: Duration = Duration::from_millis(20);

/// One server at a time.
static ONE: Mutex<()> = Mutex::new(());
static CONTROL: LazyLock<TcpListener> =
    LazyLock::new(|| RUNTIME.block_on(TcpListener::bind((HOST, 0))).expect("a port"));
static DATA: LazyLock<TcpListener> =
    LazyLock::new(|| RUNTIME.block_on(TcpListener::bind((HOST, 0))).expect("a port"));

/// First what the data connection carries, then the greeting, then a reply to each command, then
/// the end.
pub fn check(bytes: &[u8]) {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut pieces = bytes.split(|byte| *byte == NEXT);
    let data = pieces.next().unwrap_or_default().to_vec();
    let replies = pieces.map(with_port).collect::<Vec<_>>();
    // Both are bound before anything runs on the runtime.
    let (port, _) = (CONTROL.local_addr().expect("it is bound").port(), LazyLock::force(&DATA));
    let endpoint = endpoint(port);
    let talk = async {
        tokio::select! {
            _ = serve(replies) => unreachable!("it waits for the next client"),
            _ = carry(data) => unreachable!("it waits for the next connection"),
            talked = tokio::time::timeout(Duration::from_secs(60),
                talk(&*endpoint)) => talked.expect("it \
                ends"),
        }
    };
    if let Err(error) = RUNTIME.block_on(talk) {
        told(&error);
    }
}

fn with_port(reply: &[u8]) -> Vec<u8> {
    let port = DATA.local_addr().expect("it is bound").port();
    let mut out = Vec::new();
    for byte in reply {
        match *byte {
            PORT => out.extend(port.to_string().bytes()),
            TWO_BYTES => out.extend(format!("{},{}", port >> 8, port & 0xFF).bytes()),
            byte => out.push(byte),
        }
    }
    out
}

fn endpoint(port: u16) -> std::sync::Arc<dyn Endpoint> {
    let text = format!(
        "[destination]\nfolder = \"out\"\n[[source]]\nname = \"x\"\nurl = \
        \"ftp://u:p@{HOST}:{port}/\"\nstall_timeout = \"1s\"\nconnect_timeout = \"1s\"\n"
    );
    let config = blobferry::config::parse("ingest.toml", Path::new(""), &text, &Default::default())
        .expect("it can be read");
    config.sources.into_iter().next().expect("there is one").endpoint
}

async fn serve(replies: Vec<Vec<u8>>) {
    loop {
        let Ok((stream, _)) = CONTROL.accept().await else { continue };
        // A broken connection is the end of this client only.
        drop(answer(stream, &replies).await);
    }
}

async fn answer(mut stream: TcpStream, replies: &[Vec<u8>]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read);
    let mut line = Vec::new();
    for reply in replies {
        write.write_all(reply).await?;
        // Where this was no whole reply, the client waits: so the next one comes by itself.
        match tokio::time::timeout(PATIENCE, lines.read_until(b'\n', &mut line)).await {
            Err(_) => continue,
            Ok(Ok(0)) => return Ok(()),
            Ok(read) => {
                read?;
            }
        }
        // A command is one line, whatever names the server made up.
        assert!(
            line.ends_with(b"\r\n")
                && !line[..line.len() - 2].iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)),
            "{line:?}"
        );
        line.clear();
    }
    Ok(())
}

async fn carry(data: Vec<u8>) {
    loop {
        let Ok((mut stream, _)) = DATA.accept().await else { continue };
        drop(stream.write_all(&data).await);
    }
}

/// What a run asks, as far as it comes.
async fn talk(endpoint: &dyn Endpoint) -> Result<(), SourceError> {
    let mut session = endpoint.open().await?;
    let mut files = Vec::new();
    let root = RemotePath::from("/d");
    session
        .list(&root, &mut |listed| {
            listing::one(&listed);
            if let blobferry::source::contract::Listed::File(file) = listed {
                files.push(file);
            }
        })
        .await?;
    for file in files.iter().take(2) {
        session.stat(&file.path).await?;
        let mut download = session.read(file, 0).await?;
        while let Some(bytes) = download.next().await? {
            assert!(!bytes.is_empty());
        }
        drop(download);
        session.remove(&file.path).await?;
    }
    session.close().await;
    Ok(())
}

fn told(error: &SourceError) {
    let words = chain(error);
    super::printable(&words);
    assert!(error.class() != Class::Internal, "{words}");
    assert!(!words.contains(":p@"), "a password in {words}");
}

/// Sessions of servers that there are.
pub fn seeds() -> Vec<Vec<u8>> {
    let session = |data: &str, replies: &[&str]| {
        let replies =
            replies.iter().flat_map(|reply| [&[NEXT][..], reply.as_bytes(), b"\r\n"].concat());
        [data.as_bytes().to_vec(), replies.collect()].concat()
    };
    let start = ["220 ready", "331 password", "230 in"];
    let with = |data: &str, features: &str, then: &[&str]| {
        session(data, &[&start[..], &[features], then].concat())
    };
    let list = "-rw-r--r--   1 ftp      ftp             5 Nov 20 10:11 a b\r\n";
    let mlsd = "type=file;size=5;modify=20261120101112; a\r\n";
    vec![
        with(
            mlsd,
            "211-Features:\r\n UTF8\r\n MLST type*;size*;modify*;\r\n211 End",
            &["200 utf8", "200 binary", "229 Entering (|||\x01|)", "150 here", "226 done"],
        ),
        with(
            list,
            "500 what?",
            &[
                "200 binary",
                "500 no EPSV",
                "227 Entering Passive Mode (10,0,0,1,\x02).",
                "150 here\r\n226 done",
                "213 5",
                "213 20261120101112",
            ],
        ),
        with(
            list,
            "211 none",
            &[
                "200 binary",
                "229 (|||\x01|)",
                "150 here\r\n226 done",
                "250-a\r\n type=file;size=5; a b\r\n250 end",
                "213 5",
                "229 (|||\x01|)",
                "150 x\r\n226 y",
                "250 gone",
                "221 bye",
            ],
        ),
        with("", "211 none", &["200 binary", "229 (|||99999|)"]),
        with("", "211 none", &["200 binary", "227 (1,2,3,4,5,6,7)"]),
        with("", "211 none", &["200 binary", "229 (|||)", "227 =127,0,0,1,0,0"]),
        session("", &["220-hello\r\n220-\x1b[31m\r\n220 ready", "530 no, u:p is wrong"]),
        session("", &["421 too many", "x"]),
        session("", &["SSH-2.0-OpenSSH", ""]),
    ]
}
