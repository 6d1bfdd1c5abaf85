//! One contract for every source: memory, folder, embedded and real servers keep it alike.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use blobferry::demo::{ftp, sftp};
use blobferry::model::failure::{Class, Failure};
use blobferry::model::{ModifiedTime, RemoteFile, RemotePath, Secret};
use blobferry::source::contract::{Endpoint, Listed, Session, SourceError};
use blobferry::source::memory::MemoryServer;
use futures_util::future::join_all;

use super::served::{self, Served};
use super::servers::*;

/// When every file was modified.
const MODIFIED: i64 = 1_600_000_000;
/// A name that is neither UTF-8 nor at ease in a URL.
const ODD: &[u8] = b"odd \xe9 #1%41";

/// Where the files of the contract lie.
enum World {
    Disk { root: PathBuf, base: String, kept_from_sessions: bool },
    Memory(MemoryServer),
}

impl World {
    fn at(&self, below: &[u8]) -> RemotePath {
        match self {
            World::Disk { base, .. } => RemotePath::new([base.as_bytes(), b"/", below].concat()),
            World::Memory(_) => RemotePath::new(below),
        }
    }

    fn base(&self) -> RemotePath {
        match self {
            World::Disk { base, .. } => RemotePath::new(base.as_bytes()),
            World::Memory(_) => RemotePath::from("/"),
        }
    }

    fn put(&self, below: &[u8], content: &[u8]) {
        match self {
            World::Disk { root, .. } => {
                let path = root.join(OsStr::from_bytes(below));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, content).unwrap();
                let modified =
                    SystemTime::UNIX_EPOCH + Duration::from_secs(MODIFIED.unsigned_abs());
                fs::File::options()
                    .write(true)
                    .open(&path)
                    .unwrap()
                    .set_modified(modified)
                    .unwrap();
            }
            World::Memory(server) => {
                let file = blobferry::source::memory::MemoryFile {
                    content: content.to_vec().into(),
                    modified: ModifiedTime::from_unix(MODIFIED),
                    listed: None,
                    claimed_size: Some(content.len() as u64),
                };
                server.tree().files.insert(self.at(below), file);
            }
        }
    }

    /// Puts everything there, and says which entries the base then has.
    fn fill(&self) -> BTreeMap<Vec<u8>, &'static str> {
        let files: [(&[u8], &[u8]); 8] = [
            (b"whole.bin", &big()),
            (b"empty", b""),
            (ODD, b"odd"),
            (b"sub/inner.txt", b"inner"),
            (b"remove-me", b"r"),
            (b"move-me", b"moved"),
            (b"stays", b"stays"),
            (b"taken", b"taken"),
        ];
        files.iter().for_each(|(path, content)| self.put(path, content));
        let mut entries: BTreeMap<Vec<u8>, &'static str> = files
            .iter()
            .filter(|(path, _)| !path.contains(&b'/'))
            .map(|(path, _)| (path.to_vec(), "file"))
            .collect();
        entries.insert(b"sub".to_vec(), "directory");
        if let World::Disk { root, kept_from_sessions, .. } = self {
            std::os::unix::fs::symlink("whole.bin", root.join("link")).unwrap();
            entries.insert(b"link".to_vec(), "symlink");
            hand_over(root);
            if *kept_from_sessions {
                fs::create_dir(root.join("locked")).unwrap();
                fs::write(root.join("secret"), "s").unwrap();
                fs::set_permissions(root.join("secret"), fs::Permissions::from_mode(0o000))
                    .unwrap();
                fs::set_permissions(root.join("locked"), fs::Permissions::from_mode(0o000))
                    .unwrap();
                entries.extend([(b"locked".to_vec(), "directory"), (b"secret".to_vec(), "file")]);
            }
        }
        entries
    }
}

/// Content that no two offsets of which look alike.
fn big() -> Vec<u8> {
    (0..100_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect()
}

/// Everything that may be relied on.
async fn source_contract(endpoint: Arc<dyn Endpoint>, world: &World) {
    let entries = world.fill();
    let mut session = endpoint.open().await.unwrap();
    lists(&mut *session, world, &entries).await;
    describes(&mut *session, world).await;
    reads(&mut *session, world).await;
    if matches!(world, World::Disk { kept_from_sessions: true, .. }) {
        refuses_what_it_may_not(&mut *session, world).await;
    }
    removes(&mut *session, world).await;
    renames(&mut *session, world).await;
    session.close().await;
    serves_many(&*endpoint, world).await;
}

async fn entries_of(
    session: &mut dyn Session,
    dir: &RemotePath,
) -> Result<Vec<Listed>, SourceError> {
    let mut found = Vec::new();
    session.list(dir, &mut |entry| found.push(entry)).await.map(|()| found)
}

async fn lists(
    session: &mut dyn Session,
    world: &World,
    expected: &BTreeMap<Vec<u8>, &'static str>,
) {
    let mut found = BTreeMap::new();
    for entry in entries_of(session, &world.base()).await.unwrap() {
        let (path, kind) = match &entry {
            Listed::File(file) => {
                let agrees = file.modified.is_some_and(|modified| {
                    modified.agrees_with(&ModifiedTime::from_unix(MODIFIED).unwrap())
                });
                assert!(agrees || file.path == world.at(b"secret"), "{file:?}");
                (&file.path, "file")
            }
            Listed::Directory(path) => (path, "directory"),
            Listed::Symlink(path) => (path, "symlink"),
            other => panic!("{other:?}"),
        };
        assert_eq!(path.parent(), world.base());
        assert_eq!(found.insert(path.file_name().to_vec(), kind), None, "{path} is listed twice");
    }
    assert_eq!(&found, expected);
    let inner = entries_of(session, &world.at(b"sub")).await.unwrap();
    let [Listed::File(file)] = &inner[..] else { panic!("{inner:?}") };
    assert_eq!((&file.path, file.size), (&world.at(b"sub/inner.txt"), Some(5)));
    let missing = entries_of(session, &world.at(b"nowhere")).await.unwrap_err();
    assert!(missing.class() == Class::NotFound && missing.keeps_session(), "{missing:?}");
}

async fn describe(session: &mut dyn Session, path: &RemotePath) -> RemoteFile {
    session.stat(path).await.unwrap().unwrap_or_else(|| panic!("{path} is there"))
}

async fn describes(session: &mut dyn Session, world: &World) {
    for (name, size) in
        [(&b"whole.bin"[..], 400_000), (b"empty", 0), (ODD, 3), (b"sub/inner.txt", 5)]
    {
        let file = describe(session, &world.at(name)).await;
        assert_eq!((&file.path, file.size), (&world.at(name), Some(size)));
        assert!(
            file.modified.is_some_and(
                |modified| modified.agrees_with(&ModifiedTime::from_unix(MODIFIED).unwrap())
            ),
            "{file:?}"
        );
    }
    for name in [&b"nothing"[..], b"nowhere/nothing", b"sub"] {
        assert_eq!(session.stat(&world.at(name)).await.unwrap(), None, "{}", name.escape_ascii());
    }
}

async fn read(
    session: &mut dyn Session,
    file: &RemoteFile,
    offset: u64,
) -> Result<Vec<u8>, SourceError> {
    let mut download = session.read(file, offset).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = download.next().await? {
        assert!(!chunk.is_empty());
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

async fn reads(session: &mut dyn Session, world: &World) {
    let (big, path) = (big(), world.at(b"whole.bin"));
    let file = describe(session, &path).await;
    for offset in [0, 1, 123_457, 399_999, 400_000] {
        assert!(
            read(session, &file, offset as u64).await.unwrap() == big[offset..],
            "from {offset}"
        );
    }
    // The size is a hint and no more.
    let unknown = RemoteFile { size: None, ..file };
    assert!(read(session, &unknown, 0).await.unwrap() == big);
    for (name, content) in [(&b"empty"[..], &b""[..]), (ODD, b"odd")] {
        let file = describe(session, &world.at(name)).await;
        assert_eq!(read(session, &file, 0).await.unwrap(), content);
    }
    let missing = RemoteFile { path: world.at(b"nothing"), size: Some(5), modified: None };
    let error = read(session, &missing, 0).await.unwrap_err();
    assert!(
        error.class() == Class::NotFound && error.keeps_session() && !error.is_transient(),
        "{error:?}"
    );
    let inner = describe(session, &world.at(b"sub/inner.txt")).await;
    assert_eq!(read(session, &inner, 2).await.unwrap(), b"ner");
}

async fn refuses_what_it_may_not(session: &mut dyn Session, world: &World) {
    let secret = RemoteFile { path: world.at(b"secret"), size: Some(1), modified: None };
    let error = read(session, &secret, 0).await.unwrap_err();
    assert!(
        error.class() == Class::Permission && error.keeps_session() && !error.is_transient(),
        "{error:?}"
    );
    let error = entries_of(session, &world.at(b"locked")).await.unwrap_err();
    assert!(
        error.class() == Class::Permission && error.keeps_session() && !error.is_transient(),
        "{error:?}"
    );
    let inner = describe(session, &world.at(b"sub/inner.txt")).await;
    assert_eq!(read(session, &inner, 0).await.unwrap(), b"inner");
}

async fn removes(session: &mut dyn Session, world: &World) {
    for _ in 0..2 {
        session.remove(&world.at(b"remove-me")).await.unwrap();
        assert_eq!(session.stat(&world.at(b"remove-me")).await.unwrap(), None);
    }
    session.remove(&world.at(b"nowhere/nothing")).await.unwrap();
}

async fn renames(session: &mut dyn Session, world: &World) {
    let (from, to) = (world.at(b"move-me"), world.at(b"done/today/moved"));
    session.rename(&from, &to).await.unwrap();
    assert_eq!(session.stat(&from).await.unwrap(), None);
    let moved = describe(session, &to).await;
    assert_eq!(read(session, &moved, 0).await.unwrap(), b"moved");
    // Nothing is lost by a name that is taken.
    let error = session.rename(&world.at(b"stays"), &world.at(b"taken")).await.unwrap_err();
    assert!(error.keeps_session() && !error.is_transient(), "{error:?}");
    for name in [&b"stays"[..], b"taken"] {
        let file = describe(session, &world.at(name)).await;
        assert_eq!(read(session, &file, 0).await.unwrap(), name);
    }
    let error =
        session.rename(&world.at(b"nothing"), &world.at(b"done/nothing")).await.unwrap_err();
    assert!(error.class() == Class::NotFound && error.keeps_session(), "{error:?}");
}

/// As many logins as are polite, each with as many readers as it carries, all at once.
async fn serves_many(endpoint: &dyn Endpoint, world: &World) {
    let logins = join_all((0..endpoint.default_connections()).map(|_| endpoint.open())).await;
    let logins: Vec<Box<dyn Session>> = logins.into_iter().map(|login| login.unwrap()).collect();
    let most = endpoint.transfers_per_connection();
    let mut sessions = Vec::new();
    for login in &logins {
        let forks: Vec<_> = std::iter::from_fn(|| login.fork()).take(most + 1).collect();
        assert!(
            if most > 1 { (1..=most).contains(&forks.len()) } else { forks.len() <= 1 },
            "{} of {most}",
            forks.len()
        );
        sessions.extend(forks);
    }
    // A fork that has gone makes room for another.
    if let Some(fork) = sessions.pop() {
        drop(fork);
        sessions.push(logins.last().and_then(|login| login.fork()).unwrap());
    } else {
        sessions = logins.into_iter().collect();
        return all_read(&mut sessions, world).await;
    }
    all_read(&mut sessions, world).await;
}

async fn all_read(sessions: &mut [Box<dyn Session>], world: &World) {
    let big = big();
    let reading = sessions.iter_mut().map(|session| async {
        let file = describe(&mut **session, &world.at(b"whole.bin")).await;
        read(&mut **session, &file, 0).await.unwrap()
    });
    assert!(join_all(reading).await.iter().all(|bytes| *bytes == big));
}

/// A source as its configuration makes it.
async fn configured(served: &Served) {
    let text =
        format!("[destination]\nfolder = \"out\"\n[[source]]\nname = \"acme\"\n{}", served.toml);
    let config =
        blobferry::config::parse("ingest.toml", Path::new(""), &text, &BTreeMap::new()).unwrap();
    let world = World::Disk {
        root: served.root.clone(),
        base: served.base.clone(),
        kept_from_sessions: served.ordinary_user,
    };
    source_contract(config.sources[0].endpoint.clone(), &world).await;
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    for server in [MemoryServer::new(), MemoryServer::forking(3)] {
        source_contract(Arc::new(server.clone()), &World::Memory(server)).await;
    }
}

#[tokio::test]
async fn a_folder_keeps_the_contract() {
    configured(&served::folder()).await;
}

#[tokio::test]
async fn the_embedded_servers_keep_the_contract() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let account = blobferry::demo::sftp::DemoSftpAccount {
        user: "demo".into(),
        password: Secret::new("demo"),
    };
    let options =
        sftp::DemoSftpOptions { account: Some(account), ..sftp::DemoSftpOptions::new(one.path()) };
    let sftp = sftp::SftpServer::start(options).await.unwrap();
    let ftp = ftp::FtpServer::start(blobferry::demo::ftp::shared::DemoFtpOptions::new(two.path()))
        .await
        .unwrap();
    let text = format!(
        "[destination]\nfolder = \"out\"\n[[source]]\nname = \"a\"\nurl = \
        \"sftp://demo:demo@{}\"\nhost_key = \"{}\"\n[[source]]\nname = \"b\"\nurl = \
        \"ftp://demo:demo@{}\"\n",
        sftp.address, sftp.host_key, ftp.address
    );
    let config =
        blobferry::config::parse("ingest.toml", Path::new(""), &text, &BTreeMap::new()).unwrap();
    for (source, folder) in config.sources.iter().zip([&one, &two]) {
        let world = World::Disk {
            root: folder.path().to_owned(),
            base: String::new(),
            kept_from_sessions: false,
        };
        source_contract(source.endpoint.clone(), &world).await;
    }
}

#[tokio::test]
async fn openssh_keeps_the_contract() {
    let Some(served) = served::sshd(SshdAuth::Key) else { return };
    configured(&served).await;
}

#[tokio::test]
async fn vsftpd_keeps_the_contract() {
    for tls in [Tls::Off, Tls::Explicit(Cert::Good), Tls::Implicit(Cert::Good)] {
        let Some(served) = served::vsftpd(tls) else { return };
        configured(&served).await;
    }
}

#[tokio::test]
async fn pure_ftpd_keeps_the_contract() {
    for cert in [None, Some(Cert::Good)] {
        let Some(served) = served::pure_ftpd(cert) else { return };
        configured(&served).await;
    }
}

#[tokio::test]
async fn proftpd_keeps_the_contract() {
    for tls in [Tls::Off, Tls::Explicit(Cert::Good), Tls::Implicit(Cert::Good)] {
        let Some(served) = served::proftpd(tls) else { return };
        configured(&served).await;
    }
}

#[tokio::test]
async fn proftpds_mod_sftp_keeps_the_contract() {
    let Some(served) = served::proftpd_sftp() else { return };
    configured(&served).await;
}
