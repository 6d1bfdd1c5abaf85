//! The source as one process sees it: it holds the truth, and tells what the lies make of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use blobferry::model::failure::Class;
use blobferry::model::{RemoteFile, RemotePath};
use blobferry::source::contract::{Download, Endpoint, Listed, Op, Session, SourceError};
use bytes::Bytes;

use super::cue::{Deed, Saying};
use super::mortal::Mortal;
use super::scene::LyingScene;
use super::truth::HeldFile;

const ADDRESS: &str = "lies://server";

/// The endpoint of one process.
pub struct LyingServer {
    pub scene: Arc<LyingScene>,
    /// The process: it may die at any call.
    pub life: Arc<Mortal>,
}

impl std::fmt::Debug for LyingServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LyingServer")
    }
}

fn error(op: Op, path: &RemotePath, class: Class) -> SourceError {
    let error = SourceError::new(op, ADDRESS, class, "so the server says").at(path);
    if error_ends_session(class) { error } else { error.session_survives() }
}

fn error_ends_session(class: Class) -> bool {
    matches!(class, Class::Connect | Class::Stalled | Class::Protocol)
}

impl LyingServer {
    /// A call comes: the process may die of it, the connection may break.
    async fn comes(&self, op: Op, path: &RemotePath) -> Result<(), SourceError> {
        self.life.step(tokio::task::yield_now()).await;
        self.scene.oracle().called();
        if self.scene.comes(op, path) { Err(error(op, path, Class::Connect)) } else { Ok(()) }
    }
}

#[async_trait]
impl Endpoint for LyingServer {
    fn address(&self) -> &str {
        ADDRESS
    }
    fn default_connections(&self) -> usize {
        2
    }
    async fn open(&self) -> Result<Box<dyn Session>, SourceError> {
        self.comes(Op::Login, &RemotePath::from("/")).await?;
        let (scene, life) = (self.scene.clone(), self.life.clone());
        Ok(Box::new(LyingSession(LyingServer { scene, life })))
    }
}

struct LyingSession(LyingServer);

#[async_trait]
impl Session for LyingSession {
    fn fork(&self) -> Option<Box<dyn Session>> {
        None
    }

    async fn list(
        &mut self,
        dir: &RemotePath,
        visit: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<(), SourceError> {
        let scene = &self.0.scene;
        self.0.comes(Op::List, dir).await?;
        let (mut entries, found) = entries(scene, dir);
        let mut end = (!found).then_some(Class::NotFound);
        scene.say(&mut Saying::Listing(dir, &mut entries, &mut end));
        scene.oracle().listed(&scene.truth(), dir, &entries, end);
        entries.into_iter().for_each(visit);
        end.map_or(Ok(()), |class| Err(error(Op::List, dir, class)))
    }

    async fn stat(&mut self, path: &RemotePath) -> Result<Option<RemoteFile>, SourceError> {
        let scene = &self.0.scene;
        self.0.comes(Op::Stat, path).await?;
        let held = scene.truth().files.get(path).cloned();
        let mut told = Ok(held.as_ref().map(|held| scene.description(path, held)));
        scene.say(&mut Saying::Description(path, &mut told));
        scene.oracle().described(path, held.as_ref(), &told);
        told.map_err(|class| error(Op::Stat, path, class))
    }

    async fn read<'a>(
        &'a mut self,
        file: &RemoteFile,
        offset: u64,
    ) -> Result<Box<dyn Download + 'a>, SourceError> {
        let (server, path) = (&self.0, file.path.clone());
        server.comes(Op::Read, &path).await?;
        let held = server.scene.truth().files.get(&path).cloned();
        let (mut offset, mut refused) = (offset, held.is_none().then_some(Class::NotFound));
        server.scene.say(&mut Saying::Opening(&path, &mut offset, &mut refused));
        match (held, refused) {
            (Some(opened), None) => {
                // What goes on after a lost connection is no reading of what stands there by now.
                if offset == 0 {
                    server.scene.oracle().reads(&server.scene.truth(), &path, opened.serial);
                }
                Ok(Box::new(LyingDownload { server, path, opened, offset }))
            }
            (_, refused) => Err(error(Op::Read, &path, refused.unwrap_or(Class::NotFound))),
        }
    }

    async fn remove(&mut self, path: &RemotePath) -> Result<(), SourceError> {
        self.0.comes(Op::Remove, path).await?;
        let scene = &self.0.scene;
        if leaves(scene, Op::Remove, path)? {
            let mut truth = scene.truth();
            scene.oracle().removes(&truth, &scene.store, path);
            truth.remove(path);
        } else {
            scene.oracle().pretends(&scene.truth(), path);
        }
        Ok(())
    }

    async fn rename(&mut self, from: &RemotePath, to: &RemotePath) -> Result<(), SourceError> {
        self.0.comes(Op::Rename, from).await?;
        let scene = &self.0.scene;
        if leaves(scene, Op::Rename, from)? {
            let mut truth = scene.truth();
            if truth.files.contains_key(to) {
                return Err(error(Op::Rename, to, Class::Permission));
            }
            let Some(held) = truth.files.remove(from) else {
                return Err(error(Op::Rename, from, Class::NotFound));
            };
            truth.history.entry(to.clone()).or_default().push(held.clone());
            scene.oracle().renamed(from, to, held.serial);
            truth.files.insert(to.clone(), held);
        } else {
            scene.oracle().pretends(&scene.truth(), from);
        }
        Ok(())
    }

    async fn close(self: Box<Self>) {}
}

/// Whether it truly happens; an error if the server refuses.
fn leaves(scene: &LyingScene, op: Op, path: &RemotePath) -> Result<bool, SourceError> {
    let mut deed = Deed::Done;
    scene.say(&mut Saying::Leaving(op, path, &mut deed));
    match deed {
        Deed::Done => Ok(true),
        Deed::Pretended => Ok(false),
        Deed::Refused(class) => {
            scene.oracle().refuses(&scene.truth(), path);
            Err(error(op, path, class))
        }
    }
}

/// What a folder truly holds, and whether it is there.
fn entries(scene: &LyingScene, dir: &RemotePath) -> (Vec<Listed>, bool) {
    let truth = scene.truth();
    let (mut entries, mut folders) = (Vec::new(), BTreeSet::new());
    let mut found = *dir == RemotePath::from("/");
    for (path, held) in &truth.files {
        let Some(below) = path.below(dir) else { continue };
        found = true;
        match below.iter().position(|byte| *byte == b'/') {
            None => entries.push(Listed::File(scene.line(path, held))),
            Some(slash) => {
                folders.insert(dir.join(&below[..slash]));
            }
        }
    }
    entries.extend(folders.into_iter().map(Listed::Directory));
    (entries, found)
}

struct LyingDownload<'a> {
    server: &'a LyingServer,
    path: RemotePath,
    opened: HeldFile,
    offset: u64,
}

#[async_trait]
impl Download for LyingDownload<'_> {
    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        let scene = &self.server.scene;
        self.server.comes(Op::Read, &self.path).await?;
        let mut chunk = Ok({
            // What is written while it is read is read as it is by then; a removed file lives as
            // long as it is open.
            let truth = scene.truth();
            let held = truth.files.get(&self.path).unwrap_or(&self.opened);
            let start = usize::try_from(self.offset).unwrap().min(held.bytes.len());
            let end = (start + (held.bytes.len() / 3).max(1)).min(held.bytes.len());
            (start < end).then(|| held.bytes.slice(start..end))
        });
        scene.say(&mut Saying::Chunk(&self.path, self.offset, &mut chunk));
        let chunk = chunk.map_err(|class| error(Op::Read, &self.path, class))?;
        self.offset += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        if chunk.is_none() {
            scene.say(&mut Saying::Ended(&self.path));
        }
        Ok(chunk)
    }
}
