//! The packaged app as Azure starts it: out of the zip, with the zip's modes, from a file system
//! that is read-only but for `/tmp`, behind what the host sends.
//!
//! The zip is made by `scripts/package.sh` around the binary of the tests, or around the one that
//! `BLOBFERRY_PACKAGED_BINARY` names: `scripts/prove-package.sh` names the portable one.

use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use blobferry::demo::sftp::DemoSftpAccount;
use blobferry::demo::sftp::{DemoSftpOptions, SftpServer};
use blobferry::model::Secret;
use serde_json::Value;

use super::e2e::{azure, blobs};
use super::handler::worker::{Encoding, post, until};
use super::handler::{CANARY, timer};
use super::servers::{Azurite, Rights, available};

/// In a mount namespace of its own: everything read-only, then a small `/tmp`, which hides what is
/// below the real one; the app is at `/mnt`. It goes on only if nothing else can be written to.
const AS_IN_AZURE: &str = r#"
set -e
mount --make-rprivate /
mount --bind "$APP" /mnt
mount -o remount,bind,ro /mnt
mount -o remount,bind,ro /
mount -t tmpfs -o ro tmpfs /dev/shm
mount -t tmpfs -o size=96m,mode=1777 tmpfs /tmp
for place in /mnt / /var/tmp /usr /dev/shm; do
    if touch "$place/written" 2>/dev/null; then echo "$place can be written to" >&2; exit 99; fi
done
touch /tmp/written
cd /mnt
exec ./"$PROGRAM" $ARGUMENTS
"#;

/// The handler of an unpacked package; killed with its guard.
struct Packaged {
    port: u16,
    child: Child,
}

impl Drop for Packaged {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Makes the zip around the binary, and unpacks it as the host does: with its modes, and nothing to
/// be written to.
fn unpacked(folder: &Path, config: &str) -> PathBuf {
    let binary = std::env::var_os("BLOBFERRY_PACKAGED_BINARY")
        .map_or_else(|| env!("CARGO_BIN_EXE_blobferry").into(), PathBuf::from);
    std::fs::write(folder.join("mine.toml"), config).unwrap();
    let mut pack = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/package.sh"));
    pack.arg("--binary")
        .arg(binary)
        .arg("--config")
        .arg(folder.join("mine.toml"))
        .arg("--output")
        .arg(folder);
    let done = pack.output().expect("bash is there");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let app = folder.join("app");
    let mut archive =
        zip::ZipArchive::new(std::fs::File::open(folder.join("blobferry-functions.zip")).unwrap())
            .unwrap();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).unwrap();
        let path = app.join(entry.name().unwrap().as_ref());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        std::fs::write(&path, content).unwrap();
        let mode = entry.unix_mode().expect("modes are in it") & 0o555;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    app
}

impl Packaged {
    fn start(app: &Path) -> Self {
        let host: Value =
            serde_json::from_slice(&std::fs::read(app.join("host.json")).unwrap()).unwrap();
        let description = &host["customHandler"]["description"];
        let arguments: Vec<&str> = description["arguments"]
            .as_array()
            .unwrap()
            .iter()
            .map(|word| word.as_str().unwrap())
            .collect();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let mut command = Command::new("unshare");
        command
            .args(["--map-root-user", "--mount", "sh", "-c", AS_IN_AZURE])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
            .env("APP", app)
            .env("PROGRAM", description["defaultExecutablePath"].as_str().unwrap())
            .env("ARGUMENTS", arguments.join(" "));
        command
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string())
            .env("FUNCTIONS_APP_ROOT_PATH", "/mnt")
            .env("INGEST_SCHEDULE", "0 0 * * * *");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("`unshare` of util-linux");
        let mut packaged = Self { port, child };
        until("the package listens", || {
            let listens = std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
            if packaged.child.try_wait().unwrap().is_some() {
                let mut told = String::new();
                packaged.child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
                panic!("it ended: {told}");
            }
            listens.then_some(())
        });
        packaged
    }

    /// Ends it with SIGTERM, and returns its exit status and all that it wrote.
    fn end(mut self) -> (Option<i32>, String) {
        Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        let status = until("it ends", || self.child.try_wait().unwrap());
        let mut told = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut told).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        (status.code(), told)
    }
}

/// A zip larger than what is kept in memory of an archive, so that `/tmp` is needed.
fn large_zip() -> Vec<u8> {
    use std::io::Write as _;
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for name in ["one.bin", "two.bin"] {
        let stored = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        writer.start_file(name, stored).unwrap();
        writer.write_all(&vec![name.len().try_into().unwrap(); 20 << 20]).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_app_out_of_the_zip_runs_where_only_tmp_can_be_written_to() {
    if !available("a mount namespace", &["/usr/bin/unshare".into()], Rights::Root) {
        return;
    }
    let Some(azurite) = Azurite::shared() else { return };
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let files = folder.path().join("files");
    std::fs::create_dir(&files).unwrap();
    std::fs::write(files.join("plain.csv"), "a,b\n").unwrap();
    std::fs::write(files.join("large.zip"), large_zip()).unwrap();
    let account = Some(DemoSftpAccount { user: "user".into(), password: Secret::new(CANARY) });
    let server = SftpServer::start(DemoSftpOptions { account, ..DemoSftpOptions::new(&files) })
        .await
        .unwrap();
    let container = Azurite::container("packaged");
    let app = unpacked(
        folder.path(),
        &format!(
            "[destination]\n{}[limits]\ntemp = \"64 MiB\"\n[[source]]\nname = \"acme\"\nurl = \
             \"sftp://user@127.0.0.1:{}/\"\npassword = \"{CANARY}\"\nhost_key = \"{}\"\nstable_for \
             = \"0s\"\n",
            azure(azurite, &container),
            server.address.port(),
            server.host_key
        ),
    );
    let before: Vec<PathBuf> = entries(&app);
    let done = tokio::task::spawn_blocking(move || {
        let packaged = Packaged::start(&app);
        let (status, answer) =
            post(packaged.port, "IngestTimer", "11-11", &timer(), Encoding::Chunked);
        let (code, told) = packaged.end();
        (status, answer.to_string(), code, told, entries(&app))
    });
    let (status, answer, code, told, after) =
        tokio::time::timeout(Duration::from_secs(120), done).await.unwrap().unwrap();
    assert!(status == 200 && answer.contains("ingested 2"), "{status} {answer}\n{told}");
    assert_eq!(code, Some(143), "{told}");
    assert!(!told.contains(CANARY) && !told.contains("could not be opened"), "{told}");
    assert_eq!(before, after, "nothing was written beside host.json");
    let azurite_blobs =
        tokio::task::spawn_blocking(move || blobs(azurite, &container)).await.unwrap();
    let sizes: Vec<(&str, u64)> = azurite_blobs
        .values()
        .filter(|blob| blob.name.starts_with("acme/"))
        .map(|blob| (blob.name.as_str(), blob.size))
        .collect();
    assert_eq!(
        sizes,
        [
            ("acme/large.zip!/one.bin", 20 << 20),
            ("acme/large.zip!/two.bin", 20 << 20),
            ("acme/plain.csv", 4)
        ]
    );
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path.clone());
            }
            found.push(path);
        }
    }
    found.sort();
    found
}
