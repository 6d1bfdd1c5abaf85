//! A source whose files become others between and during reads, and every version that they ever
//! had.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use blobferry::model::failure::Class;
use blobferry::model::{ModifiedTime, RemoteFile, RemotePath, Version};
use blobferry::source::contract::{Download, Endpoint, Listed, Op, Session, SourceError};
use bytes::Bytes;

use super::super::world::zips::zip;
use super::process::{Process, Sim};

const ADDRESS: &str = "sim://server";
/// Changes of one schedule, at most: it must come to rest.
const MOST_CHANGES: u64 = 12;

/// A version of a file.
#[derive(Clone, Debug)]
pub struct Content {
    pub bytes: Bytes,
    pub modified: i64,
    /// Of an archive: its members.
    pub members: Option<Vec<(String, Bytes)>>,
}

impl Content {
    pub fn described(&self, path: &RemotePath) -> RemoteFile {
        RemoteFile {
            path: path.clone(),
            size: Some(self.bytes.len() as u64),
            modified: ModifiedTime::from_unix(self.modified),
        }
    }

    pub fn version(&self, path: &RemotePath) -> Version {
        Version::of(&self.described(path))
    }
}

/// What there is and what there was.
#[derive(Debug, Default)]
pub struct Tree {
    pub files: BTreeMap<RemotePath, Content>,
    /// Every version of each path, the oldest first.
    pub history: HashMap<RemotePath, Vec<Content>>,
    clock: i64,
    changes: u64,
}

impl Tree {
    pub fn put(&mut self, path: &RemotePath, bytes: Bytes, members: Option<Vec<(String, Bytes)>>) {
        self.clock += 60;
        let content =
            Content { bytes, modified: super::super::world::LONG_AGO + self.clock, members };
        self.files.insert(path.clone(), content.clone());
        self.history.entry(path.clone()).or_default().push(content);
    }

    /// Text of its own for each call, also where little of it is wanted: the minutes stand first,
    /// their last digit foremost.
    fn text(&self, path: &RemotePath, length: usize) -> Bytes {
        let minutes: String = (self.clock / 60).to_string().chars().rev().collect();
        let unit = format!("{minutes} backwards is when {path} was written | ");
        unit.bytes().cycle().take(length).collect::<Vec<u8>>().into()
    }

    /// A new version of `path`, of about `length` bytes.
    pub fn write(&mut self, path: &RemotePath, length: usize, extra: u64) {
        if !path.as_bytes().ends_with(b".zip") {
            let bytes = self.text(path, length);
            return self.put(path, bytes, None);
        }
        // One member is the same in every version, one changes, one comes and goes.
        let mut members = vec![
            ("same.txt".to_owned(), Bytes::from_static(b"the same")),
            ("changing.txt".to_owned(), self.text(path, 40)),
        ];
        if extra.is_multiple_of(2) {
            members.push(("sub/sometimes.txt".to_owned(), self.text(path, 70)));
        }
        let packed: Vec<(&str, &[u8])> =
            members.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
        let bytes = zip(&packed).into();
        self.put(path, bytes, Some(members));
    }
}

/// Something happens to the source, now and then.
fn change(sim: &Sim) {
    if !sim.happens(sim.knobs.changes) {
        return;
    }
    let mut tree = sim.tree.lock().unwrap();
    let paths: Vec<RemotePath> = tree.files.keys().cloned().collect();
    if paths.is_empty() || tree.changes >= MOST_CHANGES {
        return;
    }
    tree.changes += 1;
    let path = &paths[sim.chance.index(paths.len())];
    let (old, extra) = (tree.files[path].clone(), sim.chance.below(2));
    match sim.chance.below(8) {
        0 => drop(tree.files.remove(path)),
        1..=3 => tree.write(path, old.bytes.len(), extra),
        4 | 5 if old.members.is_none() => {
            // It grows: what was there stays.
            let more = tree.text(path, 17);
            tree.put(path, [old.bytes, more].concat().into(), None);
        }
        _ => {
            let length = 1 + sim.chance.index(300);
            tree.write(path, length, extra);
        }
    }
    drop(tree);
    sim.count("changes at the source");
}

/// The source as one process sees it.
pub struct SimServer {
    pub sim: Arc<Sim>,
    pub process: Arc<Process>,
}

impl std::fmt::Debug for SimServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimServer")
    }
}

fn lost(op: Op) -> SourceError {
    SourceError::new(op, ADDRESS, Class::Connect, "the line is cut")
}

impl SimServer {
    async fn call<T: Send + 'static>(
        &self,
        op: Op,
        path: &RemotePath,
        work: impl FnOnce(&Arc<Sim>) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        change(&self.sim);
        let sim = self.sim.clone();
        self.process
            .call(&self.sim, &format!("{op} {path}"), || lost(op), async move { work(&sim) })
            .await
    }
}

#[async_trait]
impl Endpoint for SimServer {
    fn address(&self) -> &str {
        ADDRESS
    }
    fn default_connections(&self) -> usize {
        2
    }
    async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
        self.call(Op::Login, &RemotePath::from("/"), |_| Ok(())).await?;
        Ok(Box::new(SimSession {
            server: SimServer { sim: self.sim.clone(), process: self.process.clone() },
            seen: HashMap::new(),
        }))
    }
}

struct SimSession {
    server: SimServer,
    /// What this session was told last of each path.
    seen: HashMap<RemotePath, RemoteFile>,
}

fn gone(op: Op, path: &RemotePath) -> SourceError {
    SourceError::new(op, ADDRESS, Class::NotFound, "no such file").at(path).session_survives()
}

#[async_trait]
impl Session for SimSession {
    fn fork(&self) -> Option<Box<dyn Session>> {
        None
    }

    async fn list(
        &mut self,
        dir: &RemotePath,
        visit: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<(), SourceError> {
        let all = |sim: &Arc<Sim>| {
            Ok(sim
                .tree
                .lock()
                .unwrap()
                .files
                .iter()
                .map(|(path, file)| file.described(path))
                .collect::<Vec<_>>())
        };
        self.server
            .call(Op::List, dir, all)
            .await?
            .into_iter()
            .for_each(|file| visit(Listed::File(file)));
        Ok(())
    }

    async fn stat(&mut self, path: &RemotePath) -> Result<Option<RemoteFile>, SourceError> {
        let at = path.clone();
        let now = self
            .server
            .call(Op::Stat, path, move |sim| {
                Ok(sim.tree.lock().unwrap().files.get(&at).map(|file| file.described(&at)))
            })
            .await?;
        if let Some(now) = &now {
            self.seen.insert(path.clone(), now.clone());
        }
        // The mutant believes what it was told before it read.
        let believed = self.server.sim.witness.lock().unwrap().read_as.get(path).cloned();
        let no_check =
            self.server.sim.mutant == Some(super::mutants::Mutant::NoReCheck) && now.is_some();
        Ok(believed.filter(|_| no_check).or(now))
    }

    async fn read<'a>(
        &'a mut self,
        file: &RemoteFile,
        offset: u64,
    ) -> Result<Box<dyn Download + 'a>, SourceError> {
        let at = file.path.clone();
        let opened = self
            .server
            .call(Op::Read, &file.path, move |sim| {
                sim.tree.lock().unwrap().files.get(&at).cloned().ok_or_else(|| gone(Op::Read, &at))
            })
            .await?;
        self.server.sim.witness.lock().unwrap().read_as.insert(file.path.clone(), file.clone());
        Ok(Box::new(SimDownload {
            server: &self.server,
            path: file.path.clone(),
            opened,
            offset: usize::try_from(offset).unwrap(),
        }))
    }

    async fn remove(&mut self, path: &RemotePath) -> Result<(), SourceError> {
        let (at, seen) = (path.clone(), self.seen.get(path).cloned());
        self.server
            .call(Op::Remove, path, move |sim| {
                remove(sim, &at, seen.as_ref());
                Ok(())
            })
            .await
    }

    async fn rename(&mut self, from: &RemotePath, _to: &RemotePath) -> Result<(), SourceError> {
        Err(gone(Op::Rename, from))
    }

    async fn close(self: Box<Self>) {}
}

/// Whoever removes a file has looked at it before; what comes in between nobody can see, over no
/// protocol.
pub fn remove(sim: &Sim, path: &RemotePath, seen: Option<&RemoteFile>) {
    let removed = sim.tree.lock().unwrap().files.remove(path);
    let Some(removed) = removed else { return };
    sim.count("files removed at the source");
    if seen.is_some_and(|seen| *seen != removed.described(path)) {
        return sim.count("files changed between a look and their removal");
    }
    let version = removed.version(path).to_string();
    if !sim.witness.lock().unwrap().recorded.contains(&(path.to_string(), version)) {
        sim.violation(format!(
            "I2 nothing lost: `{path}` was removed at the source before it was recorded"
        ));
    }
}

struct SimDownload<'a> {
    server: &'a SimServer,
    path: RemotePath,
    opened: Content,
    offset: usize,
}

#[async_trait]
impl Download for SimDownload<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        let (path, offset, opened) = (self.path.clone(), self.offset, self.opened.clone());
        let chunk = self.server.call(Op::Read, &self.path, move |sim| {
            if offset > 0 && sim.happens(sim.knobs.refusals) {
                sim.count("downloads that claim to be complete");
                return Ok(None);
            }
            // A file that is written while it is read is read as it is by then; a removed one lives
            // as long as it is open.
            let tree = sim.tree.lock().unwrap();
            let bytes = tree.files.get(&path).map_or(&opened.bytes, |file| &file.bytes);
            let end = (offset + (bytes.len() / 3).max(1)).min(bytes.len());
            Ok((offset < end).then(|| bytes.slice(offset..end)))
        });
        let chunk = chunk.await?;
        self.offset += chunk.as_ref().map_or(0, Bytes::len);
        Ok(chunk)
    }
}
