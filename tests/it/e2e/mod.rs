//! The program as its users meet it: a child process, a configuration file, real servers, a real
//! store.

mod audit;
pub mod bad_input;
mod check;
mod commands;
mod destinations;
mod echo;
mod idle;
mod kills;
mod leases;
mod ledger;
mod manners;
mod memory;
mod rough;
mod secrets;
mod state;
mod watch;
mod whole_runs;
mod wire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::servers::{Azurite, tools};

/// A folder with a configuration file, in which the program is run.
pub struct Ferry {
    folder: tempfile::TempDir,
    environment: BTreeMap<String, String>,
}

/// What a run of the program came to.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Done {
    /// Expects this exit status.
    #[track_caller]
    pub fn code(self, expected: i32) -> Self {
        assert_eq!(self.code, expected, "\n--- stdout\n{}\n--- stderr\n{}", self.out, self.err);
        self
    }

    /// Expects each of `texts` in what it printed.
    #[track_caller]
    pub fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(
                self.out.contains(text) || self.err.contains(text),
                "no `{text}` in\n--- stdout\n{}\n--- stderr\n{}",
                self.out,
                self.err
            );
        }
        self
    }

    /// Its report.
    #[track_caller]
    pub fn report(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| {
            panic!("{error} in\n--- stdout\n{}\n--- stderr\n{}", self.out, self.err)
        })
    }

    /// The report of its only source.
    #[track_caller]
    pub fn source(&self) -> Value {
        let report = self.report();
        assert_eq!(report["sources"].as_array().map(Vec::len), Some(1), "{report:#}");
        report["sources"][0].clone()
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("its output is UTF-8");
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

impl Ferry {
    /// With this `ingest.toml`.
    pub fn new(configuration: &str) -> Self {
        let ferry = Self { folder: tempfile::tempdir().unwrap(), environment: BTreeMap::new() };
        ferry.configure(configuration);
        ferry
    }

    /// With these destination lines and one source called `acme`.
    pub fn between(source: &str, destination: &str) -> Self {
        // Files that the test has just made would be waited for.
        let stable_for = if source.contains("stable_for") { "" } else { "stable_for = \"1s\"\n" };
        Self::new(&format!(
            "[destination]\n{destination}\n\n[[source]]\nname = \"acme\"\n{stable_for}{source}"
        ))
    }

    /// Replaces `ingest.toml`.
    pub fn configure(&self, configuration: &str) {
        std::fs::write(self.path("ingest.toml"), configuration).unwrap();
    }

    /// Sets a variable of its environment.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// A path in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The program with these words, in its folder, with nothing of our environment but what it
    /// cannot do without.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_blobferry"));
        command.args(words).current_dir(self.folder.path()).env_clear().envs(&self.environment);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, words: &[&str]) -> Done {
        self.command(words).output().expect("it starts").into()
    }

    /// `run --json`: a whole run.
    pub fn ingest(&self) -> Done {
        self.run(&["run", "--json"])
    }

    /// Starts the program; its output goes to files in its folder.
    pub fn start(&self, words: &[&str]) -> Started {
        let file = |name: &str| std::fs::File::create(self.path(name)).unwrap();
        let child = self
            .command(words)
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .expect("it starts");
        Started { child, folder: self.folder.path().to_owned() }
    }
}

/// A program that is running; it ends with its guard.
pub struct Started {
    pub child: Child,
    folder: PathBuf,
}

impl Started {
    /// Sends a signal, as `KILL`.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
        assert!(status.success(), "the program has ended already");
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end, at most so long.
    #[track_caller]
    pub fn end(mut self, limit: Duration) -> Done {
        wait_within(limit, "the program's end", || self.has_ended());
        let status = self.child.wait().unwrap();
        let text = |name: &str| std::fs::read_to_string(self.folder.join(name)).unwrap();
        Done { code: status.code().unwrap_or(-1), out: text("stdout"), err: text("stderr") }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Longer than anything takes on a busy machine.
const NEVER: Duration = Duration::from_secs(300);

/// Polls `condition` until it holds.
#[track_caller]
pub fn wait_for(what: &str, condition: impl FnMut() -> bool) {
    wait_within(NEVER, what, condition);
}

/// The same, at most so long.
#[track_caller]
pub fn wait_within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The destination lines for a container of an Azurite.
pub fn azure(azurite: &Azurite, container: &str) -> String {
    format!(
        "connection_string = \"{}\"\ncontainer = \"{container}\"\n",
        azurite.connection_string()
    )
}

/// A Python program with the tests' libraries, at most two minutes.
pub fn python(words: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command
        .args(["120", "python3"])
        .args(words)
        .env("PYTHONPATH", tools().join("python"))
        .stdin(Stdio::null());
    command.output().expect("coreutils' `timeout` is there")
}

/// Compares a container with the folder that was served, by a program that shares no code with
/// ours. Returns its summary; what does not agree is a failure.
#[track_caller]
pub fn verify(azurite: &Azurite, container: &str, root: &Path, base: &str, more: &[&str]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify/verify_blobs.py");
    let (script, connection, root) =
        (script.display().to_string(), azurite.connection_string(), root.display().to_string());
    let url_root = if base.is_empty() { "/" } else { base };
    let mut words = vec![
        script.as_str(),
        "--connection-string",
        &connection,
        "--container",
        container,
        "--root",
        &root,
        "--url-root",
        url_root,
    ];
    words.extend(more);
    let output = python(&words);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).expect("it prints a line of JSON")
}

/// A store of the library at this container, to look at what the program did.
pub fn look(azurite: &Azurite, container: &str) -> blobferry::store::azure::AzureStore {
    look_by(&azurite.connection_string(), container)
}

/// As [`look`], through the proxy at `address`.
pub fn look_at(
    azurite: &Azurite,
    container: &str,
    address: &str,
) -> blobferry::store::azure::AzureStore {
    let connection = azurite.connection_string();
    look_by(&connection.replace(&azurite.blob_address().to_string(), address), container)
}

fn look_by(connection: &str, container: &str) -> blobferry::store::azure::AzureStore {
    use blobferry::store::azure::{AzureSettings, AzureStore, parse_connection_string};
    let secret = blobferry::model::Secret::new(connection);
    let connection = parse_connection_string(&secret).expect("a connection string");
    AzureStore::new(AzureSettings::new(
        connection.blob,
        container.to_owned(),
        connection.credential,
    ))
    .expect("a store")
}

/// Name and tag of every blob.
pub fn blobs(
    azurite: &Azurite,
    container: &str,
) -> BTreeMap<String, blobferry::store::contract::BlobInfo> {
    use blobferry::store::contract::Store;
    let store = look(azurite, container);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut found = BTreeMap::new();
    runtime
        .block_on(store.list("", &mut |info| drop(found.insert(info.name.clone(), info))))
        .expect("it lists");
    found
}
