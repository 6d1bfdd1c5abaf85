//! The driver against the embedded server, as the rest of the program will use it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;

mod hostile;
mod jump;
mod late_opens;
mod lies;
mod logging_in;
mod many_requests;
mod odd;
mod peers;
mod ways;

use super::driver::DRIVER;
use super::packet::{Attributes, PacketEntry as ListedEntry, status};
use super::reading::SftpReading;
use crate::demo::sftp::DemoSftpAccount;
use crate::demo::sftp::script::{DemoSftpFault, DemoSftpScript};
use crate::demo::sftp::{DemoSftpOptions, SftpServer};
use crate::model::failure::{Class, Failure};
use crate::model::{RemoteFile, RemotePath, Secret, chain};
use crate::settings::{Section, SettingEntry, SettingError, SourceUrl, Value};
use crate::source::contract::{Endpoint, Listed, Session, SourceError};

mod forks;

struct World {
    folder: TempDir,
    server: SftpServer,
}

impl World {
    async fn new(script: DemoSftpScript) -> Self {
        Self::with(|options| options.script = script).await
    }

    async fn with(change: impl FnOnce(&mut DemoSftpOptions)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = DemoSftpOptions::new(folder.path());
        options.account =
            Some(DemoSftpAccount { user: "me".into(), password: Secret::new("p@ss:w/rd") });
        change(&mut options);
        let server = SftpServer::start(options).await.expect("it starts");
        Self { folder, server }
    }

    fn file(&self, name: impl AsRef<Path>, size: usize) -> Vec<u8> {
        let bytes: Vec<u8> = (0..size).map(|at| (at * 31 + at / 251) as u8).collect();
        std::fs::write(self.folder.path().join(name), &bytes).expect("it is writable");
        bytes
    }

    fn endpoint(&self, more: &[(&str, Value)]) -> Arc<dyn Endpoint> {
        let pin = Value::Text(self.server.host_key.clone());
        let mut settings = vec![("password", Value::Text("p@ss:w/rd".into())), ("host_key", pin)];
        settings.extend_from_slice(more);
        endpoint(&format!("sftp://me@{}/", self.server.address), &settings)
            .expect("the settings are good")
    }

    async fn session(&self) -> Box<dyn Session> {
        self.session_that_waits("20s").await
    }

    async fn session_that_waits(&self, stall: &str) -> Box<dyn Session> {
        let stall = ("stall_timeout", Value::Text(stall.into()));
        self.endpoint(&[stall]).open().await.expect("it opens")
    }
}

fn section(settings: &[(&str, Value)]) -> Result<Section, SettingError> {
    let entry = |value: &Value| SettingEntry {
        value: value.clone(),
        line: Some(3),
        origin: None,
        file: None,
    };
    let entries: BTreeMap<String, SettingEntry> =
        settings.iter().map(|(key, value)| ((*key).to_owned(), entry(value))).collect();
    Section::new("ingest.toml", "source.acme", 1, entries, DRIVER.keys.to_vec())
}

fn endpoint(url: &str, settings: &[(&str, Value)]) -> Result<Arc<dyn Endpoint>, SettingError> {
    (DRIVER.configure)(&section(settings)?, &SourceUrl::parse(url).expect("the test's URL is good"))
}

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn remote(path: impl Into<Vec<u8>>, size: impl Into<Option<u64>>) -> RemoteFile {
    RemoteFile { path: RemotePath::new(path), size: size.into(), modified: None }
}

async fn fetch(
    session: &mut dyn Session,
    file: &RemoteFile,
    offset: u64,
) -> Result<Vec<u8>, SourceError> {
    let mut download = session.read(file, offset).await?;
    let mut bytes = Vec::new();
    while let Some(more) = download.next().await? {
        assert!(!more.is_empty());
        bytes.extend_from_slice(&more);
    }
    assert_eq!(download.next().await?, None, "the end stays the end");
    Ok(bytes)
}

async fn listing(session: &mut dyn Session, dir: &str) -> Result<Vec<Listed>, SourceError> {
    let mut found = Vec::new();
    session.list(&RemotePath::from(dir), &mut |listed| found.push(listed)).await?;
    Ok(found)
}

/// Class, whether trying again may help, whether the session goes on, and the whole text.
fn told(error: SourceError) -> (Class, bool, bool, String) {
    (error.class(), error.is_transient(), error.keeps_session(), chain(&error))
}

/// Polls until `holds`, for at most five seconds.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(5), "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn files_of_every_size_arrive_whole() {
    let world = World::new(DemoSftpScript::default()).await;
    let mut session = world.session().await;
    for size in [0, 1, 4095, 32768, 261_119, 261_120, 261_121, 9_000_000] {
        let bytes = world.file("f", size);
        for claimed in [Some(size as u64), None, Some(size as u64 / 2), Some(size as u64 + 7)] {
            let found = fetch(&mut *session, &remote("/f", claimed), 0).await.expect("it reads");
            assert!(found == bytes, "{size} claimed as {claimed:?}: {} bytes", found.len());
        }
        let tail = fetch(&mut *session, &remote("/f", size as u64), size as u64 / 3)
            .await
            .expect("it reads");
        assert!(tail == bytes[size / 3..]);
    }
    assert_eq!((world.server.logins(), world.server.credentials()), (1, 1));
}

#[cfg(target_os = "linux")]
const AWKWARD: &[&str] = &[
    " leading",
    "trailing ",
    "  ",
    "tab\t",
    "new\nline",
    "cr\rlf\n",
    "esc\x1b[31m",
    "back\\slash",
    "a -> b",
    "semi;colon",
    "per%cent",
    "%2e%2e%2f",
    "quo\"te",
    "apo'strophe",
    "`tick`",
    "$(x)",
    "&",
    "+",
    "#",
    "?",
    "*",
    "[x]",
    "{y}",
    "~",
    "-rf",
    "--",
    ".hidden",
    "...",
    "a.",
    "aux.",
    "con",
    "COM1",
    "nul",
    "226 Transfer complete.",
    "ü",
    "u\u{308}",
    "日本語",
    "\u{202E}rtl",
    "zero\u{200B}width",
    "👩‍👩‍👧",
    "\x7f",
    "a:b",
    "a|b",
    "<>",
    "=",
    "@",
    ",",
    "!",
    "^",
    "(paren)",
    "x.tar.gz",
    "drwxr-xr-x 2 a b 3 Jan 1 x",
    "\u{FEFF}bom",
    "\u{2028}",
    "\u{E000}",
    "\u{FFFE}",
];

#[cfg(target_os = "linux")]
fn awkward_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = AWKWARD.iter().map(|name| name.as_bytes().to_vec()).collect();
    names.extend([
        b"caf\xe9".to_vec(),
        b"\xff\xfe".to_vec(),
        b"\x80".to_vec(),
        b"\x93\xfa\x96\x7b.txt".to_vec(),
        vec![b'x'; 255],
        "€".repeat(85).into_bytes(),
    ]);
    names
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn every_name_is_listed_described_and_read() {
    use std::os::unix::ffi::OsStrExt;
    let world = World::new(DemoSftpScript::default()).await;
    let mut names = awkward_names();
    assert!(names.len() >= 60);
    for name in &names {
        std::fs::write(world.folder.path().join(std::ffi::OsStr::from_bytes(name)), name)
            .expect("Linux takes every name");
    }
    let mut session = world.session().await;
    let mut files = Vec::new();
    for listed in listing(&mut *session, "/").await.expect("it lists") {
        let Listed::File(file) = listed else { panic!("{listed:?} is no file") };
        files.push(file);
    }
    for file in &files {
        assert_eq!(
            session.stat(&file.path).await.expect("it can be described").as_ref(),
            Some(file)
        );
        let bytes = fetch(&mut *session, file, 0).await.expect("it can be read");
        assert_eq!(bytes, file.path.file_name());
    }
    let mut found: Vec<Vec<u8>> = files.iter().map(|file| file.path.file_name().to_vec()).collect();
    found.sort();
    names.sort();
    assert_eq!(found, names);
}

#[cfg(unix)]
#[tokio::test]
async fn what_is_no_file_is_told_apart() {
    let hostile = |name: &'static [u8]| ListedEntry {
        name: Bytes::from_static(name),
        long_name: Bytes::new(),
        attributes: Attributes::default(),
    };
    let mut script = DemoSftpScript::default()
        .always("bare", DemoSftpFault::NoAttributes)
        .always("old", DemoSftpFault::StatDenied);
    script.entries.insert(
        b"/".to_vec(),
        vec![
            hostile(b"../../etc/passwd"),
            hostile(b""),
            hostile(b"a\0b"),
            hostile(b".."),
            hostile(b"ghost"),
        ],
    );
    let world = World::new(script).await;
    let root = world.folder.path();
    std::fs::create_dir(root.join("dir")).expect("a folder");
    std::os::unix::fs::symlink("old", root.join("link")).expect("a link");
    std::os::unix::fs::symlink("nowhere", root.join("dangling")).expect("a link");
    world.file("bare", 3);
    world.file("old", 5);
    let old = std::fs::File::options().write(true).open(root.join("old")).expect("it opens");
    old.set_modified(time::macros::datetime!(2001-02-03 4:05:06 UTC).into())
        .expect("it takes a time");
    let mut session = world.session().await;
    let listed = listing(&mut *session, "/").await.expect("it lists");
    let (bare, old) = (
        remote("/bare", None),
        session
            .stat(&RemotePath::from("/old"))
            .await
            .expect("the listing tells")
            .expect("it is there"),
    );
    assert_eq!(
        (old.size, old.modified.map(|modified| modified.at)),
        (Some(5), Some(time::macros::datetime!(2001-02-03 4:05:06 UTC)))
    );
    let expected = [
        Listed::File(bare),
        Listed::Symlink(RemotePath::from("/dangling")),
        Listed::Directory(RemotePath::from("/dir")),
        Listed::Symlink(RemotePath::from("/link")),
        Listed::File(old),
        Listed::Unreachable(RemotePath::from("/../../etc/passwd"), "its name holds a slash"),
        Listed::Unparsed("an entry without a name: ``".into()),
        Listed::Unreachable(RemotePath::new(&b"/a\0b"[..]), "its name holds a NUL byte"),
        Listed::File(remote("/ghost", None)),
    ];
    assert_eq!(listed, expected);
    for gone in ["/dir", "/dangling", "/nothing", "/ghost"] {
        assert_eq!(session.stat(&RemotePath::from(gone)).await.expect(gone), None, "{gone}");
    }
    let (class, _, survives, _) =
        told(listing(&mut *session, "/nothing").await.expect_err("there is none"));
    assert_eq!((class, survives), (Class::NotFound, true));
}

#[tokio::test]
async fn short_answers_make_whole_files() {
    let script = DemoSftpScript::default()
        .always("a", DemoSftpFault::ShortReads(1000))
        .always("b", DemoSftpFault::ShortReads(100_000))
        .times(3, "c", DemoSftpFault::ShortReads(1));
    let world = World::new(script).await;
    let mut session = world.session().await;
    for (name, size) in [("a", 300_001), ("b", 3_000_000), ("c", 5_000_000)] {
        let bytes = world.file(name, size);
        assert!(
            fetch(&mut *session, &remote(name, size as u64), 0).await.expect("it reads") == bytes
        );
        assert!(fetch(&mut *session, &remote(name, None), 0).await.expect("it reads") == bytes);
    }
}

#[tokio::test]
async fn an_early_end_is_an_end_and_growth_is_handed_on() {
    let grow = Arc::new(|path: &Path| {
        use std::io::Write;
        let mut file = std::fs::File::options().append(true).open(path).expect("it opens");
        file.write_all(&[7; 5000]).expect("it grows");
    });
    let script = DemoSftpScript::default()
        .always("cut", DemoSftpFault::EofAt(600_000))
        .always("lie", DemoSftpFault::LieSize(1000))
        .once("log", DemoSftpFault::OnRead(900_000, grow));
    let world = World::new(script).await;
    let mut session = world.session().await;
    world.file("cut", 1_000_000);
    assert_eq!(
        fetch(&mut *session, &remote("/cut", 1_000_000), 0).await.expect("it reads").len(),
        600_000
    );
    world.file("lie", 10);
    let lie = session
        .stat(&RemotePath::from("/lie"))
        .await
        .expect("it can be described")
        .expect("it is there");
    assert_eq!(
        (lie.size, fetch(&mut *session, &lie, 0).await.expect("it reads").len()),
        (Some(1010), 10)
    );
    world.file("log", 1_000_000);
    assert_eq!(
        fetch(&mut *session, &remote("/log", 1_000_000), 0).await.expect("it reads").len(),
        1_005_000
    );
}

#[tokio::test]
async fn a_refused_file_leaves_the_session_whole() {
    let script = DemoSftpScript::default()
        .once("denied", DemoSftpFault::OpenStatus(status::PERMISSION_DENIED))
        .once("sick", DemoSftpFault::StatusAt(500_000, status::FAILURE))
        .once("odd", DemoSftpFault::OpenStatus(4711));
    let world = World::new(script).await;
    let bytes = world.file("sick", 1_000_000);
    world.file("denied", 1);
    world.file("odd", 1);
    let mut session = world.session().await;
    for (name, expected) in [
        ("/denied", (Class::Permission, false)),
        ("/sick", (Class::Protocol, true)),
        ("/odd", (Class::Protocol, false)),
        ("/none", (Class::NotFound, false)),
    ] {
        let (class, transient, survives, text) =
            told(fetch(&mut *session, &remote(name, 1_000_000), 0).await.expect_err(name));
        assert_eq!((class, transient), expected, "{text}");
        assert!(
            survives && text.contains(&format!("reading `{name}` on sftp://127.0.0.1:")),
            "{text}"
        );
    }
    assert!(
        fetch(&mut *session, &remote("/sick", 1_000_000), 0).await.expect("it is well again")
            == bytes
    );
}

#[tokio::test]
async fn a_cut_line_ends_every_fork_at_once_and_a_new_login_works() {
    let world = World::new(
        DemoSftpScript::default()
            .once("drop", DemoSftpFault::DisconnectAt(500_000))
            .always("wait", DemoSftpFault::StallAt(0)),
    )
    .await;
    let bytes = world.file("drop", 1_000_000);
    world.file("wait", 10);
    let endpoint = world.endpoint(&[]);
    let mut session = endpoint.open().await.expect("it opens");
    let mut other = session.fork().expect("there is room");
    let start = Instant::now();
    let waiting =
        tokio::spawn(async move { fetch(&mut *other, &remote("/wait", 10), 0).await.map(|_| ()) });
    until("both are connected", || world.server.opens() == 1).await;
    for error in [
        fetch(&mut *session, &remote("/drop", 1_000_000), 0).await.map(|_| ()),
        waiting.await.expect("it ends"),
    ] {
        let (class, transient, survives, text) = told(error.expect_err("the line is cut"));
        assert_eq!((class, transient, survives), (Class::Connect, true, false), "{text}");
    }
    assert!(start.elapsed() < Duration::from_secs(10), "well before the stall timeout");
    assert!(session.fork().is_none(), "a lost login takes no more users");
    let mut session = endpoint.open().await.expect("it opens again");
    assert!(fetch(&mut *session, &remote("/drop", 1_000_000), 0).await.expect("it reads") == bytes);
}

#[tokio::test]
async fn a_silent_server_stalls_one_file_not_its_neighbours() {
    let world =
        World::new(DemoSftpScript::default().always("stall", DemoSftpFault::StallAt(100_000)))
            .await;
    world.file("stall", 1_000_000);
    let bytes = world.file("fine", 1_000_000);
    let mut session = world.session_that_waits("1s").await;
    let mut other = session.fork().expect("there is room");
    let (class, transient, survives, text) =
        told(fetch(&mut *session, &remote("/stall", 1_000_000), 0).await.expect_err("it stalls"));
    assert_eq!((class, transient, survives), (Class::Stalled, true, false), "{text}");
    assert!(fetch(&mut *other, &remote("/fine", 1_000_000), 0).await.expect("it reads") == bytes);
}

async fn connect(world: &World) -> crate::source::sftp::transport::SftpConnection {
    let mut entries = BTreeMap::new();
    for (key, value) in [("password", "p@ss:w/rd"), ("host_key", &world.server.host_key)] {
        entries.insert(
            key.to_owned(),
            SettingEntry { value: text(value), line: None, origin: None, file: None },
        );
    }
    let section = Section::new("ingest.toml", "source.acme", 1, entries, DRIVER.keys.to_vec())
        .expect("the keys are known");
    let url =
        SourceUrl::parse(&format!("sftp://me@{}/", world.server.address)).expect("it is a URL");
    let target = super::settings::target(&section, &url).expect("the settings are good");
    super::transport::open(&target, &mut |_| {})
        .await
        .map_err(|error| error.cause.to_string())
        .expect("it opens")
}
