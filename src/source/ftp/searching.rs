//! A file looked for in the listing of its folder, where the server tells of it in no other way.

use super::fault::{FtpReply, Scene, refused_path};
use super::session::FtpSession;
use crate::model::failure::{Class, Failure};
use crate::model::{RemoteFile, RemotePath};
use crate::source::bounded::{ListingBound, MOST_LOOKED_THROUGH};
use crate::source::contract::{Listed, Op, SourceError};

/// How often a folder that could not be entered, but is there, is tried again: once for each folder
/// that somebody else may be making at this moment, in any path of a sensible depth.
const LOOKS: u32 = 4;

impl FtpSession {
    pub(super) async fn find_in_listing(
        &mut self,
        scene: Scene<'_>,
        path: &RemotePath,
    ) -> Result<Option<RemoteFile>, SourceError> {
        match self.search(scene, path).await? {
            Some(Listed::File(file) | Listed::Untold(file)) => Ok(Some(file)),
            _ => Ok(None),
        }
    }

    /// Looks for `path` in the listing of its folder, or, where that cannot be entered, for the
    /// folder in the one above, up to the root: a server's bare "failed" may mean a missing file
    /// as well as a closed one, and only the missing one may be taken for vanished.
    pub(super) async fn search(
        &mut self,
        scene: Scene<'_>,
        path: &RemotePath,
    ) -> Result<Option<Listed>, SourceError> {
        let mut wanted = path.clone();
        let mut looks = 0;
        loop {
            let dir = wanted.parent();
            match self.enter(scene, &dir).await? {
                Some(reply) if reply.code == 550 && reply.says_missing() => return Ok(None),
                Some(reply) if reply.code == 550 && !reply.denies() && dir.as_bytes() != b"/" => {
                    wanted = dir
                }
                Some(reply) => return Err(refused_path(scene, &dir, &reply)),
                None => {
                    let found = self.search_here(scene, &dir, &wanted).await?;
                    looks += 1;
                    return match found {
                        // Another session may have made the folder after it could not be entered.
                        Some(_) if wanted != *path && looks < LOOKS => {
                            wanted = path.clone();
                            continue;
                        }
                        Some(_) if wanted != *path => Err(scene
                            .fault(Class::Permission, format!("`{wanted}` cannot be entered"))
                            .session_survives()),
                        found => Ok(found),
                    };
                }
            }
        }
    }

    async fn search_here(
        &mut self,
        scene: Scene<'_>,
        dir: &RemotePath,
        wanted: &RemotePath,
    ) -> Result<Option<Listed>, SourceError> {
        let (mut found, mut doubt) = (None, None);
        let bound = ListingBound::new(MOST_LOOKED_THROUGH);
        let mut visit = |listed: Listed| {
            bound.count(&listed);
            match &listed {
                Listed::Unparsed(line) => doubt = Some(line.clone()),
                listed if listed.path() == Some(wanted) => found = Some(listed.clone()),
                _ => {}
            }
        };
        let listing = self.list_here(scene.op, dir, &mut visit);
        bound.hold(scene.address, dir, listing).await?;
        match (found, doubt) {
            (None, Some(line)) => Err(scene
                .fault(
                    Class::ListingFailed,
                    format!("it may be in this line of the listing: {line}"),
                )
                .session_survives()),
            (found, _) => Ok(found),
        }
    }

    /// What a refusal to read or to enter `path` means.
    pub(super) async fn explained(
        &mut self,
        scene: Scene<'_>,
        path: &RemotePath,
        reply: &FtpReply,
    ) -> SourceError {
        if scene.op == Op::List && reply.denies() && self.client.here.is_none() {
            let text = format!(
                "{}; if this user may only go on from the folder of the login, write `/~/` before \
                    the path in `url`",
                reply.text()
            );
            return scene.fault(scene.refused(reply).class(), text).session_survives();
        }
        if reply.code != 550
            || reply.denies()
            || reply.says_missing()
            || reply.says_in_use()
            || path.as_bytes() == b"/"
            || path.as_bytes().contains(&0xFF)
        {
            return refused_path(scene, path, reply);
        }
        match self.search(scene, path).await {
            Ok(None) => refused_path(scene, path, reply),
            Ok(Some(Listed::File(_))) if scene.op == Op::List => {
                scene.fault(Class::NotFound, "it is a file, not a folder").session_survives()
            }
            Ok(Some(_)) => scene
                .fault(Class::Permission, format!("it is there, but: {}", reply.text()))
                .session_survives(),
            Err(error) => error,
        }
    }
}
