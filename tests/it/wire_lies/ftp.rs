//! An FTP server over the truth of a scene, by hand, so that every byte can be a lie.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use blobferry::model::RemotePath;
use time::OffsetDateTime;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::lie::{DataEnd, FtpAnswer};
use super::scene::WireScene;

/// How long a data connection is waited for.
const ARRIVAL: Duration = Duration::from_secs(10);

/// What a server knows of files beyond their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FtpDialect {
    /// MLSD and MLST.
    Facts,
    /// LIST, SIZE and MDTM.
    Plain,
    /// LIST alone.
    Bare,
}

/// A server on this port of this machine.
pub fn start(listener: TcpListener, host: Ipv4Addr, dialect: FtpDialect, scene: Arc<WireScene>) {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream.set_nodelay(true));
            let control = FtpHere {
                stream: BufReader::new(stream),
                host,
                dialect,
                scene: scene.clone(),
                here: RemotePath::from("/"),
                offset: 0,
                passive: None,
            };
            tokio::spawn(async move { drop(control.serve().await) });
        }
    });
}

struct FtpHere {
    stream: BufReader<TcpStream>,
    host: Ipv4Addr,
    dialect: FtpDialect,
    scene: Arc<WireScene>,
    here: RemotePath,
    offset: u64,
    passive: Option<TcpListener>,
}

/// `20260102030405`.
fn stamp(modified: u32) -> String {
    let at = OffsetDateTime::from_unix_timestamp(i64::from(modified)).unwrap();
    let (date, time) = (at.date(), at.time());
    let (h, m, s) = (time.hour(), time.minute(), time.second());
    format!("{}{:02}{:02}{h:02}{m:02}{s:02}", date.year(), u8::from(date.month()), date.day())
}

impl FtpHere {
    async fn serve(mut self) -> io::Result<()> {
        self.stream.get_mut().write_all(b"220 here\r\n").await?;
        let mut line = Vec::new();
        loop {
            line.clear();
            (&mut self.stream).take(16_384).read_until(b'\n', &mut line).await?;
            let Some(text) = line.strip_suffix(b"\n") else { return Ok(()) };
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            let (verb, argument) = match text.iter().position(|byte| *byte == b' ') {
                Some(blank) => (&text[..blank], &text[blank + 1..]),
                None => (text, &b""[..]),
            };
            let verb = String::from_utf8_lossy(verb).to_ascii_uppercase();
            let told = || format!("{verb} {}", String::from_utf8_lossy(argument));
            if !self.scene.asked(told) {
                return Ok(());
            }
            let mut answer = self.answer(&verb, argument).await?;
            self.scene.say_ftp(&mut answer);
            if !self.deliver(answer).await? {
                return Ok(());
            }
        }
    }

    /// What an honest server says and does.
    async fn answer(&mut self, verb: &str, argument: &[u8]) -> io::Result<FtpAnswer> {
        let is_list = matches!(verb, "MLSD" | "LIST" | "NLST");
        let path = if is_list { self.here.clone() } else { self.absolute(argument) };
        let mut answer = FtpAnswer {
            verb: verb.to_owned(),
            argument: argument.to_vec(),
            path: path.clone(),
            offset: std::mem::take(&mut self.offset),
            reply: Vec::new(),
            data: None,
            end: DataEnd::Closed,
            closing: b"226 Done.\r\n".to_vec(),
            endless: None,
            hangs_up: verb == "QUIT",
            silent: false,
        };
        let held = self.scene.truth().files.get(&path).cloned();
        let is_folder = self.scene.truth().folders().contains(&path);
        let facts = self.dialect == FtpDialect::Facts;
        let missing = || "550 No such file.".to_owned();
        let reply = match verb {
            "USER" => "331 And the password?".to_owned(),
            "PASS" => "230 Welcome.".to_owned(),
            "TYPE" | "OPTS" | "NOOP" => "200 Good.".to_owned(),
            "QUIT" => "221 Bye.".to_owned(),
            "PWD" => format!("257 \"{}\"", self.here),
            "FEAT" if facts => {
                "211-F\r\n MLST type*;size*;modify*;\r\n REST STREAM\r\n UTF8\r\n211 End".to_owned()
            }
            "FEAT" => "211-F\r\n REST STREAM\r\n UTF8\r\n211 End".to_owned(),
            "CWD" if is_folder => {
                self.here = path;
                "250 There.".to_owned()
            }
            "CWD" => missing(),
            "MLST" if facts => match held {
                Some(held) => format!(
                    "250-Facts\r\n type=file;size={};modify={}; {}\r\n250 End",
                    held.bytes.len(),
                    stamp(held.modified),
                    path
                ),
                None if is_folder => format!("250-Facts\r\n type=dir; {path}\r\n250 End"),
                None => missing(),
            },
            "SIZE" | "MDTM" if self.dialect == FtpDialect::Bare => "502 What?".to_owned(),
            "SIZE" => held.map_or_else(missing, |held| format!("213 {}", held.bytes.len())),
            "MDTM" => held.map_or_else(missing, |held| format!("213 {}", stamp(held.modified))),
            "REST" => {
                self.offset = String::from_utf8_lossy(argument).parse().unwrap_or(0);
                "350 From there.".to_owned()
            }
            "DELE" if self.scene.removes(&path) => "250 Gone.".to_owned(),
            "DELE" => missing(),
            "EPSV" | "PASV" => {
                let listener = TcpListener::bind((self.host, 0)).await?;
                let port = listener.local_addr()?.port();
                self.passive = Some(listener);
                let [a, b, c, d] = self.host.octets();
                match verb {
                    "EPSV" => format!("229 Here (|||{port}|)"),
                    _ => format!("227 Here ({a},{b},{c},{d},{},{})", port >> 8, port & 255),
                }
            }
            "MLSD" | "LIST" | "NLST" if verb != "MLSD" || facts => {
                answer.data = Some(self.lines(verb));
                "150 Here it comes.".to_owned()
            }
            "RETR" => match held {
                Some(held) => {
                    let from = usize::try_from(answer.offset).unwrap_or(usize::MAX);
                    answer.data = Some(held.bytes[from.min(held.bytes.len())..].to_vec());
                    "150 Here it comes.".to_owned()
                }
                None => missing(),
            },
            _ => "502 What?".to_owned(),
        };
        answer.reply = format!("{reply}\r\n").into_bytes();
        Ok(answer)
    }

    fn absolute(&self, argument: &[u8]) -> RemotePath {
        if argument.starts_with(b"/") {
            RemotePath::new(argument)
        } else {
            self.here.join(argument)
        }
    }

    /// The lines of the folder that it stands in.
    fn lines(&self, verb: &str) -> Vec<u8> {
        let truth = self.scene.truth();
        let folders = truth.folders();
        let inside = |path: &&RemotePath| path.as_bytes() != b"/" && path.parent() == self.here;
        let mut text = String::new();
        for path in folders.iter().filter(inside) {
            let name = path.file_name_text();
            text.push_str(&match verb {
                "MLSD" => format!("type=dir;modify=20240101000000; {name}\r\n"),
                "NLST" => format!("{name}\r\n"),
                _ => format!("drwxr-xr-x 1 u g 0 Jan  1  2024 {name}\r\n"),
            });
        }
        for (path, held) in truth.files.iter().filter(|(path, _)| inside(path)) {
            let (name, size) = (path.file_name_text(), held.bytes.len());
            text.push_str(&match verb {
                "MLSD" => {
                    format!("type=file;size={size};modify={}; {name}\r\n", stamp(held.modified))
                }
                "NLST" => format!("{name}\r\n"),
                _ => format!("-rw-r--r-- 1 u g {size} Jan  1  2024 {name}\r\n"),
            });
        }
        text.into_bytes()
    }

    /// Sends it; whether the connection goes on.
    async fn deliver(&mut self, answer: FtpAnswer) -> io::Result<bool> {
        if answer.silent {
            // Whatever is said to it, it says nothing any more.
            let mut ignored = [0; 512];
            while self.stream.read(&mut ignored).await? > 0 {}
            return Ok(false);
        }
        self.stream.get_mut().write_all(&answer.reply).await?;
        if let Some(endless) = &answer.endless {
            let block = whole(endless);
            self.endless(None, |_| block.clone()).await?;
            return Ok(false);
        }
        if let Some(data) = &answer.data {
            let Some(listener) = self.passive.take() else {
                self.stream.get_mut().write_all(b"425 Where to?\r\n").await?;
                return Ok(true);
            };
            let Ok(Ok((mut stream, _))) = timeout(ARRIVAL, listener.accept()).await else {
                self.stream.get_mut().write_all(b"425 Nobody came.\r\n").await?;
                return Ok(true);
            };
            // Whoever has had enough closes it.
            let sent = stream.write_all(data).await;
            match &answer.end {
                DataEnd::Endless(pattern) if sent.is_ok() => {
                    let block = whole(pattern);
                    drop(self.endless(Some(stream), |_| block.clone()).await);
                }
                DataEnd::Growing(block) if sent.is_ok() => {
                    drop(self.endless(Some(stream), block).await);
                }
                DataEnd::Reset => drop(stream.set_zero_linger()),
                DataEnd::Open => {
                    let mut ignored = [0; 512];
                    while stream.read(&mut ignored).await? > 0 {}
                }
                _ => drop(stream.shutdown().await),
            }
            self.stream.get_mut().write_all(&answer.closing).await?;
        }
        Ok(!answer.hangs_up)
    }

    /// One block after the other, until nobody takes them.
    async fn endless(
        &mut self,
        mut data: Option<TcpStream>,
        block: impl Fn(u64) -> Vec<u8>,
    ) -> io::Result<()> {
        let (mut sent, mut number) = (0, 0);
        while sent < self.scene.most_endless {
            let block = block(number);
            number += 1;
            match &mut data {
                Some(data) => data.write_all(&block).await?,
                None => self.stream.get_mut().write_all(&block).await?,
            }
            sent += block.len() as u64;
            tokio::task::yield_now().await;
        }
        self.scene.violates(format!("{sent} bytes of what never ends were taken"));
        Ok(())
    }
}

/// The pattern as often as fills a block.
fn whole(pattern: &[u8]) -> Vec<u8> {
    pattern.repeat((65_536 / pattern.len()).max(1))
}
