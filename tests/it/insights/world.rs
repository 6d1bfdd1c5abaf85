//! A folder with a configuration, an SFTP server, the binary.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use blobferry::demo::sftp::DemoSftpAccount;
use blobferry::demo::sftp::script::{DemoSftpFault, DemoSftpScript};
use blobferry::demo::sftp::{DemoSftpOptions, SftpServer};
use blobferry::model::Secret;
use tempfile::TempDir;

/// The password of the source. No output may ever hold it.
pub const CANARY: &str = "canary-pa55-word";
/// A file that is denied. Its name would take a terminal and a log apart.
pub const DENIED: &str = "den\nied\u{1b}[31m.txt";

pub struct World {
    pub folder: TempDir,
    _server: SftpServer,
}

pub struct Done {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    pub took: Duration,
}

impl World {
    /// A server with `a.txt`, `b.txt` and a file that is denied. `destination` is a section of the
    /// configuration.
    pub async fn new(destination: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().join("files");
        std::fs::create_dir(&root).expect("made");
        for name in ["a.txt", "b.txt", DENIED] {
            std::fs::write(root.join(name), "twelve bytes").expect("written");
        }
        let script = DemoSftpScript::default().always(DENIED, DemoSftpFault::OpenStatus(3));
        let account = Some(DemoSftpAccount { user: "user".into(), password: Secret::new(CANARY) });
        let server =
            SftpServer::start(DemoSftpOptions { account, script, ..DemoSftpOptions::new(&root) })
                .await
                .expect("a server");
        let source = format!(
            "name = \"acme\"\nurl = \"sftp://user@127.0.0.1:{}/\"\npassword = \
            \"{CANARY}\"\nhost_key = \"{}\"\nstable_for = \"0s\"\nattempts = 2\n",
            server.address.port(),
            server.host_key
        );
        configure(folder.path(), &format!("[destination]\n{destination}\n[[source]]\n{source}"));
        Self { folder, _server: server }
    }

    /// Adds lines to the end of its configuration.
    pub fn append(&self, lines: &str) {
        let path = self.folder.path().join("ingest.toml");
        let before = std::fs::read_to_string(&path).expect("it is there");
        std::fs::write(&path, before + "\n" + lines).expect("written");
    }

    /// Adds a file to the source.
    pub fn file(&self, path: &str, bytes: &[u8]) {
        let path = self.folder.path().join("files").join(path);
        std::fs::create_dir_all(path.parent().expect("a folder above")).expect("made");
        std::fs::write(path, bytes).expect("written");
    }

    /// Runs `blobferry run`.
    pub fn run(&self, settings: &[(&str, &str)]) -> Done {
        run(self.folder.path(), settings)
    }
}

/// Writes `ingest.toml`.
pub fn configure(folder: &Path, text: &str) {
    std::fs::write(folder.join("ingest.toml"), format!("{text}\n[log]\nfiles = false\n"))
        .expect("written");
}

fn command(folder: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blobferry"));
    for name in [
        "APPLICATIONINSIGHTS_CONNECTION_STRING",
        "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
        "WEBSITE_SITE_NAME",
    ] {
        command.env_remove(name);
    }
    for name in [
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "OTEL_SDK_DISABLED",
        "OTEL_SERVICE_NAME",
        "OTEL_RESOURCE_ATTRIBUTES",
    ] {
        command.env_remove(name);
    }
    for name in [
        "BLOBFERRY_CONFIG",
        "AZURE_CLIENT_ID",
        "IDENTITY_ENDPOINT",
        "AzureFunctionsJobHost__functionTimeout",
    ] {
        command.env_remove(name);
    }
    command
        .current_dir(folder)
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs `blobferry run` in `folder`.
pub fn run(folder: &Path, settings: &[(&str, &str)]) -> Done {
    run_words(folder, &["run", "--json"], settings)
}

/// Runs `blobferry` with these words in `folder`.
pub fn run_words(folder: &Path, words: &[&str], settings: &[(&str, &str)]) -> Done {
    let begun = Instant::now();
    let output = command(folder, settings).args(words).output().expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("its output is UTF-8");
    let done = Done {
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
        took: begun.elapsed(),
    };
    assert!(
        !done.out.contains(CANARY) && !done.err.contains(CANARY),
        "a secret was told: {} {}",
        done.out,
        done.err
    );
    done
}

/// `blobferry serve`. It is killed with its guard.
pub struct Handler {
    port: u16,
    child: Child,
}

impl Handler {
    /// Starts it in `folder`, and waits until it listens.
    pub fn start(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0))
            .expect("a port")
            .local_addr()
            .expect("an address")
            .port();
        let mut command = command(folder, settings);
        command
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string())
            .env("FUNCTIONS_APP_ROOT_PATH", folder);
        let handler = Self { port, child: command.arg("serve").spawn().expect("it starts") };
        let end = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "it never listens");
            std::thread::sleep(Duration::from_millis(5));
        }
        handler
    }

    /// Posts `payload` to `function`, with these headers. Returns status and body.
    pub fn post(&self, function: &str, headers: &[(&str, &str)], payload: &str) -> (u16, String) {
        let headers: String =
            headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!(
            "POST /{function} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: \
            {}\r\n{headers}\r\n",
            payload.len()
        );
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
        stream.write_all([head.as_bytes(), payload.as_bytes()].concat().as_slice()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        (
            head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status"),
            body.to_owned(),
        )
    }

    /// Ends it, and returns what it wrote to standard output and to standard error.
    pub fn end(mut self) -> (String, String) {
        self.child.kill().expect("it is there");
        let (mut out, mut err) = (String::new(), String::new());
        self.child.stdout.take().expect("piped").read_to_string(&mut out).expect("UTF-8");
        self.child.stderr.take().expect("piped").read_to_string(&mut err).expect("UTF-8");
        (out, err)
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
