//! Symbolic links that are followed, as long as they lead to what lies below the source's folder
//! and to no folder that they stand in.

use super::client::ClientError;
use super::link_memory::FollowedLinks;
use super::login::{SftpLogin, remote_file};
use super::packet::FileKind;
use crate::model::RemotePath;
use crate::source::contract::Listed;

/// Folders above an entry, at most.
const DEEPEST: usize = 64;

const LOOP: &str = "a link is not followed: it leads to a folder that it stands in";
const OUTSIDE: &str = "a link is not followed: it leads out of the folder that `url` names";
const UNTOLD: &str = "a link is not followed: the server does not tell where it leads (REALPATH)";

/// What an entry that is a link comes to, and what is to be told of it.
pub(crate) type Followed = (Listed, Option<&'static str>);

impl FollowedLinks {
    /// What the link `path` leads to.
    pub async fn followed(
        &self,
        login: &SftpLogin,
        path: RemotePath,
    ) -> Result<Followed, ClientError> {
        let attributes = match login.client().stat(&login.wire(&path)).await {
            Ok(attributes) => attributes,
            // It leads nowhere, or to what may not be seen.
            Err(ClientError::Status { .. }) => return Ok((Listed::Symlink(path), None)),
            Err(error) => return Err(error),
        };
        let kind = match attributes.kind() {
            Some(kind @ (FileKind::Regular | FileKind::Directory)) => kind,
            Some(FileKind::Special) => return Ok((Listed::Special(path), None)),
            Some(FileKind::Symlink) | None => return Ok((Listed::Symlink(path), Some(UNTOLD))),
        };
        if let Some(why) = self.barred(login, &path, kind).await? {
            return Ok((Listed::Symlink(path), Some(why)));
        }
        Ok(match kind {
            FileKind::Directory => (Listed::Directory(path), None),
            _ => (Listed::File(remote_file(path, &attributes)), None),
        })
    }

    /// Why the link `path` is not to be followed.
    async fn barred(
        &self,
        login: &SftpLogin,
        path: &RemotePath,
        kind: FileKind,
    ) -> Result<Option<&'static str>, ClientError> {
        let Some(target) = real(login, path).await? else { return Ok(Some(UNTOLD)) };
        // A server that takes paths as they are written does not tell where a link leads.
        if target == login.wire(path) {
            return Ok(Some(UNTOLD));
        }
        let Some(root) = self.remembered(login, &self.root).await? else { return Ok(Some(UNTOLD)) };
        if !is_within(&target, &root) {
            return Ok(Some(OUTSIDE));
        }
        if kind != FileKind::Directory {
            return Ok(None);
        }
        let mut dir = path.parent();
        for _ in 0..DEEPEST {
            let Some(stands) = self.remembered(login, &dir).await? else { return Ok(Some(UNTOLD)) };
            if is_within(&stands, &target) {
                return Ok(Some(LOOP));
            }
            if dir == self.root || dir.as_bytes() == b"/" {
                return Ok(None);
            }
            dir = dir.parent();
        }
        Ok(Some(LOOP))
    }

    async fn remembered(
        &self,
        login: &SftpLogin,
        dir: &RemotePath,
    ) -> Result<Option<Vec<u8>>, ClientError> {
        if let Some(known) = self.known(dir) {
            return Ok(Some(known));
        }
        let found = real(login, dir).await?;
        if let Some(found) = &found {
            self.remember(dir, found);
        }
        Ok(found)
    }

    /// Whether a folder on the way from the root to `path` is a link: what lies below is not the
    /// source's own.
    pub(crate) async fn leads_through(
        &self,
        login: &SftpLogin,
        path: &RemotePath,
    ) -> Result<bool, ClientError> {
        let mut dir = path.parent();
        while dir != self.root && dir.as_bytes() != b"/" {
            let attributes = login.client().lstat(&login.wire(&dir)).await?;
            if attributes.kind() == Some(FileKind::Symlink) {
                return Ok(true);
            }
            dir = dir.parent();
        }
        Ok(false)
    }
}

/// Where `path` really is, if the server tells.
pub(super) async fn real(
    login: &SftpLogin,
    path: &RemotePath,
) -> Result<Option<Vec<u8>>, ClientError> {
    Ok(login.client().real_path(&login.wire(path)).await?.map(|found| found.to_vec()))
}

/// Whether `path` is `folder` or lies below it.
fn is_within(path: &[u8], folder: &[u8]) -> bool {
    let folder = folder.strip_suffix(b"/").unwrap_or(folder);
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_holds_itself_and_what_is_below() {
        for (path, folder, within) in [
            ("/a/b", "/a", true),
            ("/a", "/a/", true),
            ("/ab", "/a", false),
            ("/a", "/", true),
            ("/", "/", true),
            ("/a", "/a/b", false),
        ] {
            assert_eq!(is_within(path.as_bytes(), folder.as_bytes()), within, "{path} in {folder}");
        }
    }
}
