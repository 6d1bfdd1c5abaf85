//! Where a session stands: folders are entered by their whole path, or one by one where the server
//! takes no paths.

use std::sync::atomic::Ordering;

use super::client::{FtpClient, is_home, steps};
use super::fault::{FtpReply, Scene};
use crate::model::RemotePath;
use crate::model::failure::Class;
use crate::source::contract::SourceError;
use crate::source::finding::Finding;

impl FtpClient {
    /// Goes to `dir`; the refusal, if the server has one.
    pub(super) async fn enter_folder(
        &mut self,
        scene: Scene<'_>,
        dir: &RemotePath,
    ) -> Result<Option<FtpReply>, SourceError> {
        let account = self.account.clone();
        let learned = &account.learned;
        // From where the login starts nobody knows the way to the root, nor back.
        let has_steps = account.home == is_home(dir);
        let refusal = if self.goes_by_steps() && has_steps {
            None
        } else {
            let reply = self.ask(scene, "CWD", dir).await?;
            if reply.is_done() {
                learned.takes_paths.store(true, Ordering::Relaxed);
                self.entered(dir);
                return Ok(None);
            }
            // Whether it takes paths at all is asked only as long as it took none.
            let known = !has_steps || learned.takes_paths.load(Ordering::Relaxed);
            if !reply.is_error() || known {
                self.stays_out(scene, dir.file_name()).await?;
                return Ok(Some(reply));
            }
            Some(reply)
        };
        match (self.enter_by_steps(scene, dir).await?, refusal) {
            (None, Some(refusal)) => {
                tracing::debug!(
                    server = %account.address,
                    refused = refusal.text(),
                    "The server refuses whole paths: its folders are entered one by one."
                );
                learned.wants_steps.store(true, Ordering::Relaxed);
                Ok(None)
            }
            (Some(_), Some(refusal)) => Ok(Some(refusal)),
            (found, None) => Ok(found),
        }
    }

    /// Enters the folders on the way to `dir` one by one.
    async fn enter_by_steps(
        &mut self,
        scene: Scene<'_>,
        dir: &RemotePath,
    ) -> Result<Option<FtpReply>, SourceError> {
        let before = self.here.clone();
        let start = match &before {
            Some(here) => here.clone(),
            None => match self.root(scene).await? {
                Ok(root) => root,
                Err(refusal) => return Ok(Some(refusal)),
            },
        };
        let mut at = start.clone();
        for step in steps(&start, dir).iter().filter(|step| step.as_slice() != b".") {
            let reply = self.command(scene, &[b"CWD ", step.as_slice()].concat()).await?;
            if !reply.is_done() {
                self.here = self.goes_by_steps().then(|| at.clone()).or(before.map(|_| at));
                self.stays_out(scene, step).await?;
                return Ok(Some(reply));
            }
            at = if step.as_slice() == b".." { at.parent() } else { at.join(step) };
        }
        self.here = Some(at);
        Ok(None)
    }

    /// After a refusal to go to a folder called `name`: an error if the server says that it stands
    /// in it. Where paths are told from where the session stands, all that is asked next would be
    /// about other files.
    async fn stays_out(&mut self, scene: Scene<'_>, name: &[u8]) -> Result<(), SourceError> {
        let Some(here) = self.here.clone().filter(|here| here.file_name() != name) else {
            return Ok(());
        };
        let reply = self.command(scene, b"PWD").await?;
        match reply.named_path() {
            Some(path) if RemotePath::new(path).file_name() == name => {
                let text = format!("the server refused to leave `{here}`, and left it");
                Err(scene.fault(Class::Protocol, text))
            }
            _ => Ok(()),
        }
    }

    /// Goes to the root, which is where the login starts if the server says so; the refusal, if
    /// there is no way.
    async fn root(
        &mut self,
        scene: Scene<'_>,
    ) -> Result<Result<RemotePath, FtpReply>, SourceError> {
        let root = RemotePath::from("/");
        let reply = self.ask(scene, "CWD", &root).await?;
        if reply.is_done() {
            return Ok(Ok(root));
        }
        let here = self.command(scene, b"PWD").await?;
        Ok(if here.named_path() == Some(b"/") { Ok(root) } else { Err(reply) })
    }

    /// What is told of the way in which folders are entered.
    pub(super) fn entering_findings(&self) -> Option<Finding> {
        let text = "CWD to whole paths is refused: folders are entered one by one";
        self.goes_by_steps().then(|| Finding::new("folders", text))
    }

    /// Whether this server's folders are entered one by one.
    pub(super) fn goes_by_steps(&self) -> bool {
        self.account.learned.wants_steps.load(Ordering::Relaxed)
    }

    /// Goes to the folder of `path`, where the server takes no paths. If it refuses that, it will
    /// refuse the next command, too.
    pub(super) async fn near(
        &mut self,
        scene: Scene<'_>,
        path: &RemotePath,
    ) -> Result<(), SourceError> {
        let dir = path.parent();
        if self.goes_by_steps()
            && self.account.home == is_home(&dir)
            && self.here.as_ref() != Some(&dir)
        {
            self.enter_by_steps(scene, &dir).await?;
        }
        Ok(())
    }
}
