//! Data connections: passive ports, listings, files; here the scripted faults strike.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::either::Either;

use super::control::{DemoFtpControl, DemoFtpWire, Flow};
use super::lines;
use super::script::{DeadPorts, DemoFtpAnnounces, DemoFtpFault, DemoFtpHook};
use super::tree::{DemoFtpEntry, DemoFtpKind, absolute};

/// How long a client may take to come to the port that it asked for.
const ARRIVAL: Duration = Duration::from_secs(10);
/// How long a client may leave data untaken.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a refusal takes that is late.
const LATE: Duration = Duration::from_secs(2);
/// Bytes that are read from the disk at once.
const CHUNK: u64 = 256 * 1024;

/// How a read went, as far as the data goes.
enum DemoFtpSent {
    All,
    /// The scripted fault cut it here.
    Cut,
}

impl DemoFtpControl {
    pub(super) async fn open_port(&mut self, verb: &str, argument: &[u8]) -> io::Result<Flow> {
        if verb == "EPSV" && argument.eq_ignore_ascii_case(b"ALL") {
            return self.next("200 EPSV it is.").await;
        }
        let address = match (verb, self.local.ip().to_canonical()) {
            ("PASV", IpAddr::V6(_)) => {
                return self.next("501 PASV cannot say an IPv6 address; use EPSV.").await;
            }
            (_, address) => address,
        };
        let listener = TcpListener::bind((self.local.ip(), 0)).await?;
        let port = listener.local_addr()?.port();
        let script = self.shared.script();
        let dead = match script.dead_ports {
            DeadPorts::None => false,
            DeadPorts::Extended => verb == "EPSV",
            DeadPorts::InCompany => self.in_company,
            DeadPorts::All => true,
        };
        self.passive = (!dead).then_some(listener);
        let reply = match (verb, address) {
            ("PASV", IpAddr::V4(address)) => {
                let [a, b, c, d] = script.pasv_address.unwrap_or(address.octets());
                format!("227 Entering Passive Mode ({a},{b},{c},{d},{},{}).", port >> 8, port & 255)
            }
            _ => format!("229 Entering Extended Passive Mode (|||{port}|)"),
        };
        self.next(&reply).await
    }

    /// The client's data connection; encrypted, if the client asked for that.
    async fn data(&mut self, announcement: &str) -> io::Result<DemoFtpWire> {
        let announces = self.shared.script().announces;
        if announces == DemoFtpAnnounces::Early {
            self.say(announcement).await?;
        }
        let wire = self.accepted().await?;
        if announces == DemoFtpAnnounces::Late {
            self.say(announcement).await?;
        }
        Ok(wire)
    }

    async fn accepted(&mut self) -> io::Result<DemoFtpWire> {
        let listener = self.passive.take().ok_or(io::ErrorKind::NotConnected)?;
        let stream = timeout(ARRIVAL, async {
            loop {
                let (stream, peer) = listener.accept().await?;
                // Somebody else at the port is not our client.
                if peer.ip() == self.peer.ip() {
                    break io::Result::Ok(stream);
                }
            }
        });
        let stream = stream.await??;
        match (&self.shared.options.tls, self.protect) {
            (Some(tls), true) => {
                let encrypted =
                    timeout(ARRIVAL, TlsAcceptor::from(tls.config.clone()).accept(stream))
                        .await??;
                let too_new = encrypted.get_ref().1.protocol_version()
                    == Some(rustls::ProtocolVersion::TLSv1_3);
                if too_new && self.shared.script().tls_1_3_data.is_some() {
                    return Err(io::ErrorKind::Unsupported.into());
                }
                Ok(Either::Right(Box::new(encrypted)))
            }
            _ => Ok(Either::Left(stream)),
        }
    }

    /// A data connection in TLS 1.3 is more than this server can do.
    async fn too_new(&mut self) -> io::Result<Flow> {
        match self.shared.script().tls_1_3_data {
            None | Some("") => Ok(Flow::End),
            Some(reply) => self.send(reply.as_bytes()).await.map(|()| Flow::Next),
        }
    }

    async fn end(&self, mut data: DemoFtpWire) -> io::Result<()> {
        let number = self.shared.ends.fetch_add(1, Ordering::Relaxed) + 1;
        match (&mut data, self.shared.script().rude_tls.contains(&number)) {
            (Either::Right(encrypted), true) => {
                encrypted.flush().await?;
                encrypted.get_mut().0.shutdown().await
            }
            (wire, _) => wire.shutdown().await,
        }
    }

    pub(super) async fn list(&mut self, verb: &str, argument: &[u8]) -> io::Result<Flow> {
        let dashed =
            verb != "MLSD" && argument.starts_with(b"-") && !self.shared.script().lacks("LIST -a");
        // As `ls`, so servers: what begins with a dash is an option, up to the next blank.
        let (options, name) = match (dashed, argument.iter().position(|b| *b == b' ')) {
            (true, Some(blank)) => argument.split_at(blank + 1),
            (true, None) => (argument, &b""[..]),
            (false, _) => (&b""[..], argument),
        };
        let all = options.contains(&b'a');
        let path = absolute(&self.here, name);
        let verb: &'static str = match verb {
            "MLSD" => "MLSD",
            "NLST" => "NLST",
            _ => "LIST",
        };
        let entries = self.on_disk(move |shared| match shared.tree.entry(&path)? {
            entry if entry.kind == DemoFtpKind::Directory => {
                Ok((Some(entry), shared.tree.list(&path)?))
            }
            _ if verb == "MLSD" => Err(io::ErrorKind::NotADirectory.into()),
            entry => Ok((None, vec![entry])),
        });
        let (itself, entries) = match entries.await {
            Ok(entries) => entries,
            Err(error) => return self.sorry(&error).await,
        };
        if self.passive.is_none() {
            return self.next("425 Use EPSV or PASV first.").await;
        }
        let sent = self.send_list(verb, all, itself, &entries).await;
        match (sent, self.shared.script().listing_reply) {
            (Err(error), _) if error.kind() == io::ErrorKind::Unsupported => self.too_new().await,
            (Err(_), _) => self.next("426 The data connection broke.").await,
            (Ok(()), Some(reply)) => self.send(reply.as_bytes()).await.map(|()| Flow::Next),
            (Ok(()), None) => self.next("226 Directory sent.").await,
        }
    }

    async fn send_list(
        &mut self,
        verb: &str,
        all: bool,
        itself: Option<DemoFtpEntry>,
        entries: &[DemoFtpEntry],
    ) -> io::Result<()> {
        let mut data = self.data("150 Here comes the directory.").await?;
        let (format, now) = (self.shared.script().listing, OffsetDateTime::now_utc());
        let mut text = Vec::new();
        if let Some(itself) = itself {
            match verb {
                "MLSD" => text
                    .extend([lines::fact_line("cdir", &itself, b"."), b"\r\n".to_vec()].concat()),
                "LIST" if all => {
                    text.extend(lines::list_line(
                        format,
                        &DemoFtpEntry { name: b".".to_vec(), ..itself.clone() },
                        now,
                    ));
                    text.extend(lines::list_line(
                        format,
                        &DemoFtpEntry { name: b"..".to_vec(), ..itself },
                        now,
                    ));
                }
                _ => {}
            }
        }
        for entry in entries {
            match verb {
                "MLSD" => {
                    let line = lines::fact_line(lines::fact_kind(entry), entry, &entry.name);
                    let told = if self.shared.script().untold_kinds {
                        line.iter().position(|b| *b == b';').map_or(0, |at| at + 1)
                    } else {
                        0
                    };
                    text.extend([&line[told..], b"\r\n"].concat());
                }
                _ if entry.name.starts_with(b".") && !all => {}
                "NLST" => text.extend([entry.name.as_slice(), b"\r\n"].concat()),
                _ => text.extend(lines::list_line(format, entry, now)),
            }
            if text.len() as u64 > CHUNK {
                timeout(PATIENCE, data.write_all(&text)).await??;
                text.clear();
            }
        }
        for line in &self.shared.script().extra_lines {
            text.extend_from_slice(line);
        }
        if let Some(pause) = self.shared.script().listing_drip {
            for byte in text.drain(..) {
                data.write_all(&[byte]).await?;
                data.flush().await?;
                tokio::time::sleep(pause).await;
            }
        }
        timeout(PATIENCE, data.write_all(&text)).await??;
        self.end(data).await
    }

    pub(super) async fn retrieve(&mut self, path: Vec<u8>) -> io::Result<Flow> {
        let offset = std::mem::take(&mut self.rest);
        let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default().to_vec();
        let fault =
            self.shared.script().fault(&name).cloned().and_then(|fault| self.passing(fault, &path));
        if let Some(reply) = fault.as_ref().and_then(|fault| self.refusal(fault, &path)) {
            if matches!(fault, Some(DemoFtpFault::RefuseLate(_))) {
                tokio::time::sleep(LATE).await;
            }
            self.passive = None;
            return self.send(reply.as_bytes()).await.map(|()| Flow::Next);
        }
        let hooks: Vec<DemoFtpHook> =
            self.shared.script().hooks.iter().filter(|hook| hook.name == name).cloned().collect();
        let local = match self.on_disk(move |shared| shared.tree.file(&path)).await {
            Ok((local, _)) => local,
            Err(error) => return self.sorry(&error).await,
        };
        call(&hooks, 0, &local).await;
        let opened = async {
            let mut file = File::open(&local).await?;
            file.seek(io::SeekFrom::Start(offset)).await?;
            Ok(file)
        };
        let file = match opened.await {
            Ok(file) => file,
            Err(error) => return self.sorry(&error).await,
        };
        if self.passive.is_none() {
            return self.next("425 Use EPSV or PASV first.").await;
        }
        let mut data = match self.data("150 Here comes the file.").await {
            Ok(data) => data,
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                return self.too_new().await;
            }
            Err(_) => return self.next("425 No data connection.").await,
        };
        let sent = DemoFtpSending { file, offset, local, hooks, fault: fault.clone() }
            .send(&mut data, &self.shared.counts.bytes)
            .await;
        match sent {
            Err(_) => self.next("426 The data connection broke.").await,
            Ok(sent) => self.close(data, sent, fault).await,
        }
    }

    /// What is left of a fault that passes.
    fn passing(&self, fault: DemoFtpFault, path: &[u8]) -> Option<DemoFtpFault> {
        let DemoFtpFault::Times(times, inner) = fault else { return Some(fault) };
        let mut played = self.shared.played.lock().ok()?;
        let count = played.entry(path.to_vec()).or_default();
        *count += 1;
        (*count <= times).then_some(*inner)
    }

    fn refusal(&self, fault: &DemoFtpFault, path: &[u8]) -> Option<&'static str> {
        match fault {
            DemoFtpFault::Refuse(reply) | DemoFtpFault::RefuseLate(reply) => Some(reply),
            DemoFtpFault::RefuseTimes(times, reply) => {
                let mut played = self.shared.played.lock().ok()?;
                let count = played.entry(path.to_vec()).or_default();
                *count += 1;
                (*count <= *times).then_some(reply)
            }
            _ => None,
        }
    }

    /// Ends the data connection and says so, as honestly as the script allows.
    async fn close(
        &mut self,
        data: DemoFtpWire,
        sent: DemoFtpSent,
        fault: Option<DemoFtpFault>,
    ) -> io::Result<Flow> {
        let fault = match (sent, fault) {
            (DemoFtpSent::All, Some(fault)) if fault.limit().is_some() => None,
            (_, fault) => fault,
        };
        match fault {
            Some(DemoFtpFault::Reset(_)) => {
                reset(&data)?;
                drop(data);
                return self.next("426 The data connection broke.").await;
            }
            Some(DemoFtpFault::Stall(_)) => {
                self.gone().await;
                return Ok(Flow::End);
            }
            _ => {}
        }
        // The client may have closed it first: then it has what it wanted.
        let ended = self.end(data).await;
        tracing::trace!(clean = ended.is_ok(), "The data connection ended.");
        match fault {
            Some(DemoFtpFault::FinThen426(_)) => self.next("426 The transfer was aborted.").await,
            Some(DemoFtpFault::DieControl(_)) => Ok(Flow::End),
            Some(DemoFtpFault::No226) => {
                self.gone().await;
                Ok(Flow::End)
            }
            Some(DemoFtpFault::Late226(late)) => {
                tokio::time::sleep(late).await;
                self.next("226 File sent.").await
            }
            Some(DemoFtpFault::Twice226) => self.next("226 File sent.\r\n226 File sent.").await,
            _ => self.next("226 File sent.").await,
        }
    }
}

/// A file on its way.
struct DemoFtpSending {
    file: File,
    offset: u64,
    local: PathBuf,
    hooks: Vec<DemoFtpHook>,
    fault: Option<DemoFtpFault>,
}

impl DemoFtpSending {
    async fn send(
        mut self,
        data: &mut DemoFtpWire,
        bytes: &std::sync::atomic::AtomicU64,
    ) -> io::Result<DemoFtpSent> {
        let mut buffer = vec![0; CHUNK as usize];
        let limit = self.fault.as_ref().and_then(DemoFtpFault::limit);
        loop {
            // Stops exactly where something is to happen.
            let stops =
                self.hooks.iter().map(|hook| hook.at).chain(limit).filter(|at| *at > self.offset);
            let mut room = stops.map(|at| at - self.offset).min().unwrap_or(CHUNK).min(CHUNK);
            if limit.is_some_and(|limit| self.offset >= limit) {
                data.flush().await?;
                return Ok(DemoFtpSent::Cut);
            }
            if let Some(DemoFtpFault::Drip(pause)) = self.fault {
                room = room.min(1024);
                tokio::time::sleep(pause).await;
            }
            let room = usize::try_from(room).map_err(io::Error::other)?;
            let read = self.file.read(&mut buffer[..room]).await?;
            if read == 0 {
                return Ok(DemoFtpSent::All);
            }
            timeout(PATIENCE, data.write_all(&buffer[..read])).await??;
            bytes.fetch_add(read as u64, Ordering::Relaxed);
            self.offset += read as u64;
            call(&self.hooks, self.offset, &self.local).await;
        }
    }
}

async fn call(hooks: &[DemoFtpHook], at: u64, local: &Path) {
    for hook in hooks.iter().filter(|hook| hook.at == at) {
        let (run, local) = (hook.run.clone(), local.to_owned());
        // A hook changes files, which may take its time; a hook that panics has failed its test
        // already.
        if tokio::task::spawn_blocking(move || run(&local)).await.is_err() {
            tracing::warn!(at, "A hook of the demo server panicked.");
        }
    }
}

/// Makes the end of `data` a reset.
fn reset(data: &DemoFtpWire) -> io::Result<()> {
    let stream: &TcpStream = match data {
        Either::Left(stream) => stream,
        Either::Right(encrypted) => encrypted.get_ref().0,
    };
    stream.set_zero_linger()
}
