//! Eyes on a container or a folder all the while: everything that was ever visible in it.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use md5::Digest as _;

use super::*;

/// Name, size and MD5 in hex of something visible.
pub type Thing = (String, u64, String);

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How often we looked.
    pub looks: usize,
    /// What is visible now.
    pub visible: BTreeSet<Thing>,
    /// How much is staged: blocks in Azure, MiB in a folder.
    pub staged: u64,
    /// What was visible at any time.
    pub ever: BTreeSet<Thing>,
}

/// Looks until it is dropped.
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    child: Option<Child>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Watches a container with the Azure SDK for Python.
    pub fn azure(azurite: &Azurite, container: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify/watch_blobs.py");
        let mut command = Command::new("python3");
        command
            .arg(script)
            .arg(azurite.connection_string())
            .arg(container)
            .env("PYTHONPATH", tools().join("python"));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let seen = Arc::<Mutex<Seen>>::default();
        let told = seen.clone();
        let thread = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let look: Value = serde_json::from_str(&line).expect("a line of JSON");
                let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
                let visible = look["visible"].as_object().expect("a map").iter();
                let visible = visible.map(|(name, thing)| {
                    (name.clone(), thing[0].as_u64().expect("a size"), text(&thing[1]))
                });
                note(&told, visible.collect(), look["staged"].as_u64().expect("a number"));
            }
        });
        Self { seen, stop: Arc::default(), child: Some(child), thread: Some(thread) }
    }

    /// Watches a folder: the files themselves, whole.
    pub fn folder(folder: &Path) -> Self {
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::<AtomicBool>::default());
        let (told, stopped, folder) = (seen.clone(), stop.clone(), folder.to_owned());
        let thread = std::thread::spawn(move || {
            let mut known = BTreeMap::new();
            while !stopped.load(Ordering::Relaxed) {
                let (mut visible, mut staged) = (BTreeSet::new(), 0);
                look_at(&folder, &folder, &mut known, &mut visible, &mut staged);
                note(&told, visible, staged >> 20);
            }
        });
        Self { seen, stop, child: None, thread: Some(thread) }
    }

    /// What was seen so far.
    pub fn now(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// What is seen from now on.
    pub fn fresh(&self) -> Seen {
        let looks = self.now().looks;
        wait_for("the watcher", || self.now().looks > looks + 1);
        self.now()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(child) = &mut self.child {
            // It may have ended already.
            drop(child.kill());
            drop(child.wait());
        }
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn note(seen: &Mutex<Seen>, visible: BTreeSet<Thing>, staged: u64) {
    let mut seen = seen.lock().unwrap();
    seen.looks += 1;
    seen.staged = staged;
    seen.ever.extend(visible.iter().cloned());
    seen.visible = visible;
}

/// A file as it is by its inode, size and time, so that each is read once.
type State = (u64, u64, Option<std::time::SystemTime>);

fn look_at(
    root: &Path,
    folder: &Path,
    known: &mut BTreeMap<PathBuf, (State, String)>,
    visible: &mut BTreeSet<Thing>,
    staged: &mut u64,
) {
    use std::os::unix::fs::MetadataExt as _;
    // What goes away while we look was not there.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, Ok(metadata)) = (entry.path(), entry.metadata()) else { continue };
        let own = path
            .strip_prefix(root)
            .is_ok_and(|below| below.starts_with(".blobferry") || below.starts_with("_blobferry"));
        if metadata.is_dir() {
            look_at(root, &path, known, visible, staged);
        } else if own {
            *staged += metadata.len();
        } else {
            let state = (metadata.ino(), metadata.len(), metadata.modified().ok());
            if known.get(&path).is_none_or(|(seen, _)| *seen != state) {
                let Ok(bytes) = std::fs::read(&path) else { continue };
                known.insert(path.clone(), (state, hex(&md5::Md5::digest(&bytes))));
            }
            let name = path
                .strip_prefix(root)
                .expect("it is below")
                .to_str()
                .expect("plain names")
                .to_owned();
            visible.insert((name, metadata.len(), known[&path].1.clone()));
        }
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
