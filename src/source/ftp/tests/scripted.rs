//! A server of which a test says every word.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;

/// What the server says to a line.
pub enum Said {
    /// A reply.
    Reply(&'static str),
    /// A reply, and another one when the next line was sent.
    Late(&'static str, &'static str),
    /// Data, between 150 and 226.
    Data(&'static str),
    /// Data, between 150 and these words.
    Ends(&'static str, &'static str),
    /// Data, and these words behind them.
    Bare(&'static str, &'static str),
    /// Nothing: the connection ends.
    HangsUp,
    /// What any server says to it.
    Usual,
}

/// What the server does between EPSV and a connection to its port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Port {
    /// It reads commands.
    Waits,
    /// It waits.
    IsWaitedFor,
}

pub type Words = Arc<dyn Fn(&str) -> Said + Send + Sync>;

pub struct Scripted {
    pub endpoint: FtpEndpoint,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Scripted {
    /// A server with `a.csv` of 6 bytes and the folder `sub`, which says `greeting` first.
    pub async fn greeting(
        greeting: &'static str,
        words: impl Fn(&str) -> Said + Send + Sync + 'static,
    ) -> Self {
        Self::start(greeting, words, Port::Waits).await
    }

    /// A server that reads no command between EPSV and a connection to its port.
    pub async fn that_waits(words: impl Fn(&str) -> Said + Send + Sync + 'static) -> Self {
        Self::start("220 ready", words, Port::IsWaitedFor).await
    }

    async fn start(
        greeting: &'static str,
        words: impl Fn(&str) -> Said + Send + Sync + 'static,
        port: Port,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (words, seen): (Words, _) = (Arc::new(words), Arc::<Mutex<Vec<String>>>::default());
        let log = seen.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, greeting, words.clone(), log.clone(), port));
            }
        });
        let account = account(address);
        Self { endpoint: FtpEndpoint { account: Arc::new(account) }, seen }
    }

    pub async fn new(words: impl Fn(&str) -> Said + Send + Sync + 'static) -> Self {
        Self::greeting("220 ready", words).await
    }

    pub async fn session(&self) -> Box<dyn Session> {
        self.endpoint.open().await.unwrap()
    }

    /// How often a line that begins like this was sent.
    pub fn times(&self, line: &str) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|seen| seen.starts_with(line)).count()
    }
}

fn account(address: SocketAddr) -> FtpAccount {
    FtpAccount {
        host: address.ip().to_string(),
        port: address.port(),
        address: format!("ftp://{address}"),
        user: "demo".into(),
        password: Secret::new("demo"),
        security: Security::Clear,
        account: None,
        login_commands: Vec::new(),
        home: false,
        transfer_type: TransferType::Binary,
        proxy: None,
        limits: FtpLimits {
            stall: Duration::from_secs(5),
            command: Duration::from_secs(5),
            ..HASTY
        },
        learned: Learned::default(),
    }
}

async fn serve(
    stream: TcpStream,
    greeting: &'static str,
    words: Words,
    seen: Arc<Mutex<Vec<String>>>,
    port: Port,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.write_all(format!("{greeting}\r\n").as_bytes()).await?;
    let (mut door, mut data_stream) = (None::<TcpListener>, None);
    let mut late = None;
    loop {
        if port == Port::IsWaitedFor
            && let Some(listener) = door.take()
        {
            let accepted = tokio::time::timeout(Duration::from_secs(10), listener.accept()).await;
            data_stream = accepted.ok().and_then(Result::ok).map(|(stream, _)| stream);
        }
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        seen.lock().unwrap().push(line.to_owned());
        if let Some(late) = late.take() {
            stream.write_all(format!("{late}\r\n").as_bytes()).await?;
        }
        let said = match words(line) {
            Said::Usual => usual(line),
            said => said,
        };
        let (said, first, last) = match said {
            Said::Ends(data, last) => (Said::Data(data), "150 here\r\n", last),
            Said::Bare(data, last) => (Said::Data(data), "", last),
            said => (said, "150 here\r\n", "226 done"),
        };
        let reply = match said {
            Said::Ends(..) | Said::Bare(..) => unreachable!("it was taken apart"),
            Said::HangsUp => return Ok(()),
            Said::Reply(reply) => format!("{reply}\r\n"),
            Said::Late(reply, second) => {
                late = Some(second);
                format!("{reply}\r\n")
            }
            Said::Usual => {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                let port = listener.local_addr()?.port();
                door = Some(listener);
                format!("229 Entering Extended Passive Mode (|||{port}|)\r\n")
            }
            Said::Data(data) => {
                stream.write_all(first.as_bytes()).await?;
                if let Some(listener) = door.take() {
                    data_stream = Some(listener.accept().await?.0);
                }
                if let Some(mut data_stream) = data_stream.take() {
                    data_stream.write_all(data.as_bytes()).await?;
                }
                format!("{last}\r\n")
            }
        };
        stream.write_all(reply.as_bytes()).await?;
    }
}

fn usual(line: &str) -> Said {
    Said::Reply(match line.split(' ').next().unwrap_or_default() {
        "USER" => "331 password",
        "PASS" => "230 in",
        "TYPE" | "OPTS" => "200 ok",
        "CWD" if line.ends_with(".csv") => "550 not a folder",
        "CWD" => "250 ok",
        "SIZE" if line.ends_with("a.csv") => "213 6",
        "MDTM" if line.ends_with("a.csv") => "213 20240110101112",
        "SIZE" | "MDTM" | "RETR" if !line.ends_with("a.csv") => "550 No such file",
        "RETR" => return Said::Data("hello\n"),
        "LIST" => {
            return Said::Data(
                "-rw-r--r-- 1 f f 6 Jan 10 2024 a.csv\r\ndrwxr-xr-x 1 f f 0 Jan 10 2024 sub\r\n",
            );
        }
        "EPSV" => return Said::Usual,
        _ => "502 no",
    })
}
