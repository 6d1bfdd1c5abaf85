//! Commands about folders and files that need no data connection.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::control::{DemoFtpControl, Flow};
use super::lines;
use super::shared::DemoFtpShared;
use super::tree::{self, DemoFtpEntry, DemoFtpKind, absolute};

impl DemoFtpControl {
    /// A command of a logged-in client.
    pub(super) async fn work(&mut self, verb: &str, argument: &[u8]) -> io::Result<Flow> {
        let path = absolute(&self.here, argument);
        if !matches!(verb, "REST" | "RETR" | "EPSV" | "PASV") {
            self.rest = 0;
        }
        if argument.contains(&0) {
            return self.next("501 A name cannot hold a NUL.").await;
        }
        if matches!(verb, "LIST" | "NLST" | "MLSD" | "RETR")
            && self.shared.options.tls.is_some()
            && !self.protect
        {
            return self.next("522 Data connections must be encrypted: PROT P first.").await;
        }
        match verb {
            "TYPE" => self.representation(argument).await,
            "PWD" | "XPWD" => {
                self.quoted("257 ", &self.here.clone(), " is the current directory.").await
            }
            "CWD" => self.enter(path).await,
            "CDUP" => self.enter(absolute(&self.here, b"..")).await,
            "SIZE" if !self.binary => self.next("550 SIZE is not allowed in ASCII mode.").await,
            "SIZE" => self.about(path, |entry| format!("213 {}", entry.size)).await,
            "MDTM" => {
                self.about(path, |entry| format!("213 {}", lines::stamp(entry.modified))).await
            }
            "MLST" => self.facts(path, argument).await,
            "REST" => {
                match std::str::from_utf8(argument).ok().and_then(|text| text.trim().parse().ok()) {
                    Some(offset) => {
                        self.rest = offset;
                        self.next("350 Ready.").await
                    }
                    None => self.next("501 That is no offset.").await,
                }
            }
            "DELE" => {
                self.change(path, "250 Removed.", |tree, path| {
                    tree.entry(path).and_then(|entry| match entry.kind {
                        DemoFtpKind::Directory => Err(io::ErrorKind::IsADirectory.into()),
                        _ => fs::remove_file(tree.locate(path)?),
                    })
                })
                .await
            }
            "RMD" => {
                self.change(path, "250 Removed.", |tree, path| fs::remove_dir(tree.locate(path)?))
                    .await
            }
            "MKD" => self.make(path).await,
            "RNFR" => match self.look(path.clone()).await {
                Ok(_) => {
                    self.renaming = Some(path);
                    self.next("350 And its new name?").await
                }
                Err(error) => self.sorry(&error).await,
            },
            "RNTO" => match self.renaming.take() {
                Some(from) => {
                    self.change(path, "250 Renamed.", move |tree, to| {
                        rename(tree.locate(&from)?, tree.locate(to)?)
                    })
                    .await
                }
                None => self.next("503 RNFR first.").await,
            },
            "EPSV" | "PASV" => self.open_port(verb, argument).await,
            "LIST" | "NLST" | "MLSD" => self.list(verb, argument).await,
            "RETR" => self.retrieve(path).await,
            _ => self.next("502 Not here.").await,
        }
    }

    async fn representation(&mut self, argument: &[u8]) -> io::Result<Flow> {
        match argument.to_ascii_uppercase().as_slice() {
            b"I" | b"L 8" => self.binary = true,
            b"A" | b"A N" => self.binary = false,
            _ => return self.next("504 Type I or A.").await,
        }
        self.next("200 Type set.").await
    }

    async fn enter(&mut self, path: Vec<u8>) -> io::Result<Flow> {
        match self.look(path.clone()).await {
            Ok(entry) if entry.kind == DemoFtpKind::Directory => {
                self.here = path;
                self.next("250 Directory changed.").await
            }
            Ok(_) => self.next("550 Not a directory: no such file or directory.").await,
            Err(error) => self.sorry(&error).await,
        }
    }

    async fn about(&mut self, path: Vec<u8>, say: fn(&DemoFtpEntry) -> String) -> io::Result<Flow> {
        match self.look(path).await {
            Ok(entry) if entry.kind == DemoFtpKind::File => self.next(&say(&entry)).await,
            Ok(_) => self.next("550 Not a plain file: no such file.").await,
            Err(error) => self.sorry(&error).await,
        }
    }

    async fn facts(&mut self, path: Vec<u8>, argument: &[u8]) -> io::Result<Flow> {
        match self.look(path.clone()).await {
            Ok(entry) => {
                let name = if argument.is_empty() { path.as_slice() } else { argument };
                let line = lines::fact_line(lines::fact_kind(&entry), &entry, name);
                self.send(&[b"250-Listing\r\n ", line.as_slice(), b"\r\n250 End\r\n"].concat())
                    .await?;
                Ok(Flow::Next)
            }
            Err(error) => self.sorry(&error).await,
        }
    }

    async fn make(&mut self, path: Vec<u8>) -> io::Result<Flow> {
        let made = self.on_disk({
            let path = path.clone();
            move |shared| fs::create_dir(shared.tree.locate(&path)?)
        });
        match made.await {
            Ok(()) => self.quoted("257 ", &path, " created.").await,
            Err(error) => self.sorry(&error).await,
        }
    }

    async fn change<F>(&mut self, path: Vec<u8>, done: &str, change: F) -> io::Result<Flow>
    where
        F: FnOnce(&tree::DemoFtpTree, &[u8]) -> io::Result<()> + Send + 'static,
    {
        if path == b"/" {
            return self.next("550 Not the root: permission denied.").await;
        }
        match self.on_disk(move |shared| change(&shared.tree, &path)).await {
            Ok(()) => self.next(done).await,
            Err(error) => self.sorry(&error).await,
        }
    }

    /// A path in a reply: in quotes, those within doubled.
    async fn quoted(&mut self, before: &str, path: &[u8], behind: &str) -> io::Result<Flow> {
        let mut line = [before.as_bytes(), b"\""].concat();
        for byte in path {
            line.extend(std::iter::repeat_n(*byte, if *byte == b'"' { 2 } else { 1 }));
        }
        line.extend_from_slice(format!("\"{behind}\r\n").as_bytes());
        self.send(&line).await?;
        Ok(Flow::Next)
    }

    pub(super) async fn look(&self, path: Vec<u8>) -> io::Result<DemoFtpEntry> {
        self.on_disk(move |shared| shared.tree.entry(&path)).await
    }

    /// Disks can be slow: other connections do not wait for them.
    pub(super) async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&DemoFtpShared) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || work(&shared)).await.map_err(io::Error::other)?
    }

    pub(super) async fn sorry(&mut self, error: &io::Error) -> io::Result<Flow> {
        let text = match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                "550 No such file or directory."
            }
            io::ErrorKind::PermissionDenied => "550 Permission denied.",
            io::ErrorKind::AlreadyExists => "550 It exists already.",
            io::ErrorKind::DirectoryNotEmpty => "550 The directory is not empty.",
            io::ErrorKind::InvalidFilename => "553 No such name is possible.",
            _ => "550 That did not work.",
        };
        self.next(text).await
    }
}

fn rename(from: PathBuf, to: PathBuf) -> io::Result<()> {
    fs::rename(from, to)
}
