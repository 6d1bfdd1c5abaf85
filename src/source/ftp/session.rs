//! One login at work: list, describe, read, remove, rename.

use std::ops::Range;
use std::sync::atomic::Ordering;

use async_trait::async_trait;

use super::account::TransferType;
use super::client::FtpClient;
use super::download::FtpReading;
use super::fault::{FtpReply, Scene, refused_path};
use super::features;
use super::listing::unreachable;
use super::text::{sizeless, without_size};
use super::transfer::{FtpOpened, FtpTransfer};
use super::ways::{self, size_of, time_of};
use crate::model::failure::Class;
use crate::model::{ModifiedTime, RemoteFile, RemotePath};
use crate::source::contract::{Download, Listed, Op, Session, SourceError};
use crate::source::finding::Finding;
use crate::source::ftp::described::{FtpTold, ToldByMlst, told, told_by_mlst, told_plainly};

/// Names of a folder of which the server does not tell what they are, at most.
const MOST_UNTOLD: usize = 100_000;
/// How often a connection may be lost over commands that list folders better than others: each of
/// two twice.
const MOST_LOST: usize = 4;
/// What is said of one that is neither.
const NO_KIND: &str =
    "the server does not tell whether it is a file or a folder, and lets nobody try";

/// One login.
pub(crate) struct FtpSession {
    pub(super) client: FtpClient,
    /// Whether transfers can begin in the middle, as far as we know.
    resumes: bool,
}

/// How sure we have to be that a file is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absence {
    /// Two refusals in a row will do.
    Claimed,
    /// If the refusals do not say why, the folder's listing has to show it.
    Proven,
}

impl FtpSession {
    /// A session on a client that has just logged in.
    pub fn new(client: FtpClient) -> Self {
        Self { client, resumes: true }
    }

    /// Goes to `dir`; the refusal, if the server has one.
    pub(super) async fn enter(
        &mut self,
        scene: Scene<'_>,
        dir: &RemotePath,
    ) -> Result<Option<FtpReply>, SourceError> {
        check_path(scene, dir)?;
        self.client.enter_folder(scene, dir).await
    }

    /// Lists the directory that the session stands in.
    pub(super) async fn list_here(
        &mut self,
        op: Op,
        dir: &RemotePath,
        visit: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<(), SourceError> {
        let account = self.client.account.clone();
        let scene = Scene { op, address: &account.address, path: Some(dir) };
        self.client.in_listing_type(scene).await?;
        ways::list(&mut self.client, scene, dir, visit).await
    }

    /// Goes to `dir` and lists it.
    async fn list_folder(
        &mut self,
        dir: &RemotePath,
        visit: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<(), SourceError> {
        let account = self.client.account.clone();
        let scene = Scene { op: Op::List, address: &account.address, path: Some(dir) };
        let takes_text = self.client.takes_text();
        let visit = &mut |listed| visit(if takes_text { sizeless(listed) } else { listed });
        match self.enter(scene, dir).await? {
            None => {
                let mut untold = Vec::new();
                let sorted = &mut |listed: Listed| match listed {
                    Listed::Untold(file) if untold.len() < MOST_UNTOLD => untold.push(file),
                    Listed::Untold(file) => visit(Listed::Unreachable(file.path, NO_KIND)),
                    listed => visit(listed),
                };
                self.list_here(Op::List, dir, sorted).await?;
                for file in untold {
                    visit(self.tried(scene, file).await?);
                }
                Ok(())
            }
            Some(reply) => Err(self.explained(scene, dir, &reply).await),
        }
    }

    async fn describe(
        &mut self,
        scene: Scene<'_>,
        path: &RemotePath,
        absence: Absence,
    ) -> Result<Option<RemoteFile>, SourceError> {
        check_path(scene, path)?;
        self.client.in_type(scene, TransferType::Binary).await?;
        self.client.near(scene, path).await?;
        let mut refusals = Vec::new();
        if self.client.machine_listings {
            let replies = self
                .client
                .commands_between_reads(scene, vec![self.client.line("MLST", path)])
                .await?;
            let Some(reply) = replies.into_iter().next() else { return Err(scene.unanswered()) };
            match reply.code {
                250 => match told_by_mlst(&reply, path) {
                    Some(ToldByMlst::File(file)) if file.size.is_some() => return Ok(Some(file)),
                    Some(ToldByMlst::NoFile) => return Ok(None),
                    _ => {}
                },
                _ if reply.not_understood() => self.client.machine_listings = false,
                _ if reply.is_about_the_path() => refusals.push(reply),
                _ => return Err(scene.refused(&reply)),
            }
        }
        let replies = self
            .client
            .commands_between_reads(
                scene,
                vec![self.client.line("SIZE", path), self.client.line("MDTM", path)],
            )
            .await?;
        let Ok([size, modified]) = <[FtpReply; 2]>::try_from(replies) else {
            return Err(scene.unanswered());
        };
        let size = match told(scene, size)? {
            FtpTold::Value(value) => size_of(&value),
            FtpTold::Missing(reply) => {
                refusals.push(reply);
                None
            }
            FtpTold::NoSuchCommand => None,
        };
        if modified.not_understood()
            && let Some(file) = self.facts_unoffered(scene, path).await?
        {
            return Ok(Some(file));
        }
        let modified = match told(scene, modified)? {
            FtpTold::Value(value) => time_of(&value),
            FtpTold::Missing(reply) => {
                refusals.push(reply);
                None
            }
            FtpTold::NoSuchCommand => None,
        };
        match size {
            Some(_) => Ok(Some(RemoteFile::told(path.clone(), size, modified))),
            None => self.doubtful(scene, path, modified, &refusals, absence).await,
        }
    }

    /// Only its listings tell times: some know MLST without offering it, which is tried once, and
    /// by every login once it was found.
    async fn facts_unoffered(
        &mut self,
        scene: Scene<'_>,
        path: &RemotePath,
    ) -> Result<Option<RemoteFile>, SourceError> {
        let account = self.client.account.clone();
        let ways = &account.learned.ways;
        if self.client.machine_listings || ways.lacks_facts() || !ways.asks_unoffered() {
            return Ok(None);
        }
        let reply = self.client.ask(scene, "MLST", path).await?;
        let file = match (reply.code == 250).then(|| told_by_mlst(&reply, path)).flatten() {
            Some(ToldByMlst::File(file)) if file.size.is_some() => Some(file),
            _ => None,
        };
        if file.is_some() {
            self.client.machine_listings = true;
            ways.tells_unoffered();
        }
        Ok(file)
    }

    /// The server did not tell a size: is there a file at all?
    async fn doubtful(
        &mut self,
        scene: Scene<'_>,
        path: &RemotePath,
        modified: Option<ModifiedTime>,
        refusals: &[FtpReply],
        absence: Absence,
    ) -> Result<Option<RemoteFile>, SourceError> {
        if let Some(reply) = refusals.iter().find(|reply| reply.denies()) {
            return Err(scene.refused(reply));
        }
        if let [.., reply] = refusals
            && path.as_bytes().contains(&0xFF)
        {
            return Err(refused_path(scene, path, reply));
        }
        let claimed = absence == Absence::Claimed && refusals.iter().all(|reply| reply.code == 550);
        let said = claimed || refusals.iter().any(FtpReply::says_missing);
        if refusals.len() >= 2 && said {
            return Ok(None);
        }
        let file = self.find_in_listing(scene, path).await?;
        Ok(file.map(|file| RemoteFile { modified: modified.or(file.modified), ..file }))
    }

    /// What the server does not tell is tried out: what can be entered is a folder.
    async fn tried(&mut self, scene: Scene<'_>, file: RemoteFile) -> Result<Listed, SourceError> {
        Ok(match self.enter(scene, &file.path).await? {
            None => Listed::Directory(file.path),
            Some(reply) if reply.code == 550 && !reply.denies() => Listed::File(file),
            Some(reply) if reply.code == 550 => Listed::Unreachable(file.path, NO_KIND),
            Some(reply) => return Err(scene.refused(&reply)),
        })
    }

    /// `Ok(None)` when it is done, the refusal otherwise.
    async fn move_file(
        &mut self,
        scene: Scene<'_>,
        from: &RemotePath,
        to: &RemotePath,
    ) -> Result<Option<FtpReply>, SourceError> {
        let reply = self.client.ask(scene, "RNFR", from).await?;
        if !(300..400).contains(&reply.code) && !reply.is_done() {
            return Err(scene.refused(&reply));
        }
        let reply = self.client.ask(scene, "RNTO", to).await?;
        Ok((!reply.is_done()).then_some(reply))
    }

    /// Makes `dir` and what is above it, as far as it is not there.
    async fn make(&mut self, scene: Scene<'_>, dir: &RemotePath) -> Result<(), SourceError> {
        let mut missing = Vec::new();
        let mut next = dir.clone();
        while next.as_bytes() != b"/" {
            missing.push(next.clone());
            next = next.parent();
        }
        for dir in missing.iter().rev() {
            // Whether it was there before or cannot be made: what follows will show.
            self.client.ask(scene, "MKD", dir).await?;
        }
        Ok(())
    }

    /// Asks for `file` from `offset` on: the data, where in the file it begins, and how many bytes
    /// of it come too early.
    async fn open(
        &mut self,
        scene: Scene<'_>,
        file: &RemoteFile,
        offset: u64,
    ) -> Result<(Box<FtpTransfer>, u64, u64), SourceError> {
        check_path(scene, &file.path)?;
        self.client.near(scene, &file.path).await?;
        self.client.in_type(scene, self.client.account.transfer_type).await?;
        let line = self.client.line("RETR", &file.path);
        let mut refuses_rest = false;
        if self.resumes && offset > 0 && !self.client.takes_text() {
            match self.client.transfer(scene, &line, offset).await? {
                FtpOpened::Data(data) => {
                    self.client.will_read();
                    return Ok((data, offset, 0));
                }
                // This may be about where to begin, not about the file: it is asked for as a whole.
                FtpOpened::Refused(reply)
                    if (reply.code >= 500 || reply.says(&["restart"]))
                        && scene.refused(&reply).keeps_session() =>
                {
                    refuses_rest = true;
                }
                FtpOpened::Refused(reply) => {
                    return Err(self.explained(scene, &file.path, &reply).await);
                }
            }
        }
        match self.client.transfer(scene, &line, 0).await? {
            FtpOpened::Data(data) => {
                self.resumes &= !refuses_rest;
                self.client.will_read();
                Ok((data, 0, offset))
            }
            FtpOpened::Refused(reply) => Err(self.explained(scene, &file.path, &reply).await),
        }
    }
}

#[async_trait]
impl Session for FtpSession {
    fn fork(&self) -> Option<Box<dyn Session>> {
        // FTP knows one transfer per login.
        None
    }

    async fn list(
        &mut self,
        dir: &RemotePath,
        visit: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<(), SourceError> {
        for _ in 0..MOST_LOST {
            let mut visited = false;
            let counted = &mut |listed| {
                visited = true;
                visit(listed);
            };
            match self.list_folder(dir, counted).await {
                Err(error) if !visited && self.client.was_lost_over_option(&error) => {}
                listed => return listed,
            }
            self.client = FtpClient::open(self.client.account.clone(), &mut |_| {}).await?;
        }
        self.list_folder(dir, visit).await
    }

    async fn stat(&mut self, path: &RemotePath) -> Result<Option<RemoteFile>, SourceError> {
        let account = self.client.account.clone();
        let scene = Scene { op: Op::Stat, address: &account.address, path: Some(path) };
        let known = self.client.is_asked_one_by_one();
        let mut told = self.describe(scene, path, Absence::Proven).await;
        if matches!(&told, Err(error) if !known && self.client.lost_over_company(error)) {
            self.client = FtpClient::open(account.clone(), &mut |_| {}).await?;
            told = self.describe(scene, path, Absence::Proven).await;
        }
        let told = told?;
        Ok(if self.client.takes_text() { told.map(without_size) } else { told })
    }

    async fn stat_ahead(
        &mut self,
        paths: &[RemotePath],
    ) -> Result<Vec<Option<RemoteFile>>, SourceError> {
        let account = self.client.account.clone();
        let scene = Scene { op: Op::Stat, address: &account.address, path: paths.first() };
        // Text is described file by file: what is told of sizes is left out there.
        if self.client.goes_by_steps()
            || self.client.takes_text()
            || paths.iter().any(|path| check_path(scene, path).is_err())
        {
            return Ok(vec![None; paths.len()]);
        }
        let verbs: &[&str] =
            if self.client.machine_listings { &["MLST"] } else { &["SIZE", "MDTM"] };
        let lines = paths
            .iter()
            .flat_map(|path| verbs.iter().map(|verb| self.client.line(verb, path)))
            .collect();
        self.client.will_read();
        let known = self.client.is_asked_one_by_one();
        let replies = match self.client.commands_between_reads(scene, lines).await {
            Err(error) if !known && self.client.lost_over_company(&error) => {
                self.client = FtpClient::open(account.clone(), &mut |_| {}).await?;
                return Ok(vec![None; paths.len()]);
            }
            replies => replies?,
        };
        let each = paths.iter().zip(replies.chunks_exact(verbs.len()));
        each.map(|(path, replies)| told_plainly(Scene { path: Some(path), ..scene }, path, replies))
            .collect()
    }

    async fn read<'a>(
        &'a mut self,
        file: &RemoteFile,
        offset: u64,
    ) -> Result<Box<dyn Download + 'a>, SourceError> {
        let account = self.client.account.clone();
        let scene = Scene { op: Op::Read, address: &account.address, path: Some(&file.path) };
        let (data, position, skip) = self.open(scene, file, offset).await?;
        Ok(Box::new(FtpReading::new(&mut self.client, data, file.clone(), position, skip)))
    }

    async fn read_part<'a>(
        &'a mut self,
        file: &RemoteFile,
        range: Range<u64>,
    ) -> Result<Box<dyn Download + 'a>, SourceError> {
        self.client.want(Some(range.end.saturating_sub(range.start)));
        let account = self.client.account.clone();
        let scene = Scene { op: Op::Read, address: &account.address, path: Some(&file.path) };
        let opened = self.open(scene, file, range.start).await;
        self.client.want(None);
        let (data, position, skip) = opened?;
        Ok(Box::new(FtpReading::new(&mut self.client, data, file.clone(), position, skip)))
    }

    async fn remove(&mut self, path: &RemotePath) -> Result<(), SourceError> {
        let account = self.client.account.clone();
        let scene = Scene { op: Op::Remove, address: &account.address, path: Some(path) };
        check_path(scene, path)?;
        let reply = self.client.ask(scene, "DELE", path).await?;
        match reply.code {
            _ if reply.is_done() => Ok(()),
            550 if !reply.denies()
                && self.describe(scene, path, Absence::Proven).await?.is_none() =>
            {
                Ok(())
            }
            // It is there, so this is about the right to remove it.
            550 => Err(scene.fault(Class::Permission, reply.text()).session_survives()),
            _ => Err(scene.refused(&reply)),
        }
    }

    async fn rename(&mut self, from: &RemotePath, to: &RemotePath) -> Result<(), SourceError> {
        let account = self.client.account.clone();
        let scene = Scene { op: Op::Rename, address: &account.address, path: Some(from) };
        check_path(scene, from)?;
        if self.describe(scene, to, Absence::Claimed).await?.is_some() {
            return Err(scene
                .fault(Class::AfterAction, format!("`{to}` is there already"))
                .session_survives());
        }
        let Some(reply) = self.move_file(scene, from, to).await? else { return Ok(()) };
        if !matches!(reply.code, 550 | 553 | 450 | 451 | 501) {
            return Err(scene.refused(&reply));
        }
        self.make(scene, &to.parent()).await?;
        match self.move_file(scene, from, to).await? {
            None => Ok(()),
            Some(reply) => Err(scene.refused(&reply)),
        }
    }

    fn describe(&self) -> Vec<Finding> {
        let passive = if self.client.account.learned.wants_pasv.load(Ordering::Relaxed) {
            "PASV"
        } else {
            "EPSV"
        };
        let mut findings =
            features::describe(&self.client.features, passive, self.client.handshakes());
        findings.extend(self.client.type_findings());
        findings.extend(self.client.entering_findings());
        findings.extend(self.client.account.learned.ways.findings());
        findings.extend(self.client.account.learned.fatal.findings());
        if self.client.account.learned.begins_unsaid.load(Ordering::Relaxed) {
            let text = "the server sends data without the reply that announces data (150)";
            findings.push(Finding::new("data connection", text));
        }
        if self.client.account.learned.signs_no_listing.load(Ordering::Relaxed) {
            let text = "the server ends encrypted listings without TLS's own sign of the end: one \
                that is cut on the way cannot be told from a whole one";
            findings.push(Finding::new("listings", text));
        }
        findings
    }

    async fn close(self: Box<Self>) {
        self.client.quit().await;
    }
}

fn check_path(scene: Scene<'_>, path: &RemotePath) -> Result<(), SourceError> {
    let segments = path.as_bytes().split(|b| *b == b'/');
    match segments.filter_map(unreachable).next() {
        Some(why) => Err(scene.fault(Class::Protocol, why).session_survives()),
        None => Ok(()),
    }
}
