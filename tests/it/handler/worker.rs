//! The binary as a host starts it: its port, its streams, calls over a real socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::CANARY;

/// How a payload goes over the wire.
#[derive(Clone, Copy, Debug)]
pub enum Encoding {
    /// As in Azure.
    Chunked,
    /// As under Core Tools.
    Sized,
}

/// A handler's process. It is killed with its guard.
pub struct Worker {
    /// Where it listens.
    pub port: u16,
    child: Child,
    out: Arc<Mutex<Vec<String>>>,
    err: Arc<Mutex<Vec<String>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Worker {
    /// Starts it in the app folder `app` without waiting for it.
    pub fn start(app: &Path, settings: &[(&str, &str)]) -> Self {
        let port = TcpListener::bind(("127.0.0.1", 0))
            .expect("a port")
            .local_addr()
            .expect("an address")
            .port();
        let mut command = command(app);
        command
            .env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string())
            .envs(settings.iter().copied());
        let mut child = command.spawn().expect("it starts");
        let (out, err) = (Arc::default(), Arc::default());
        let readers = vec![
            read(child.stdout.take().expect("piped"), &out),
            read(child.stderr.take().expect("piped"), &err),
        ];
        Self { port, child, out, err, readers }
    }

    /// Waits until it listens, and returns how long the first ping then took.
    pub fn ready(&self) -> Duration {
        let stream =
            until("the handler listens", || TcpStream::connect(("127.0.0.1", self.port)).ok());
        let begun = Instant::now();
        let (status, _) =
            exchange(stream, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".as_bytes());
        assert_eq!(status, 200);
        begun.elapsed()
    }

    /// Posts `payload` to `function`, as the invocation `invocation`.
    pub fn post(
        &self,
        function: &str,
        invocation: &str,
        payload: &str,
        encoding: Encoding,
    ) -> (u16, Value) {
        post(self.port, function, invocation, payload, encoding)
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.is_ok_and(|status| status.success()));
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        let status = until("the handler ends", || self.child.try_wait().expect("it can be asked"));
        for reader in self.readers.drain(..) {
            reader.join().expect("it read to the end");
        }
        status
    }

    /// Lines of standard output so far; none holds a secret.
    pub fn out(&self) -> Vec<String> {
        lines(&self.out)
    }

    /// Lines of standard error so far; none holds a secret.
    pub fn err(&self) -> Vec<String> {
        lines(&self.err)
    }
}

/// The binary in `app`, without settings of this machine.
pub fn command(app: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blobferry"));
    command
        .current_dir(app)
        .env("FUNCTIONS_APP_ROOT_PATH", app)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for name in [
        "FUNCTIONS_CUSTOMHANDLER_PORT",
        "BLOBFERRY_CONFIG",
        "WEBSITE_SITE_NAME",
        "AzureFunctionsJobHost__functionTimeout",
    ] {
        command.env_remove(name);
    }
    command
}

/// Posts to a handler's port; for threads of their own.
pub fn post(
    port: u16,
    function: &str,
    invocation: &str,
    payload: &str,
    encoding: Encoding,
) -> (u16, Value) {
    let head = format!(
        "POST /{function} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Type: \
        application/json; charset=utf-8\r\nX-Azure-Functions-InvocationId: {invocation}\r\n"
    );
    let request = match encoding {
        Encoding::Sized => format!("{head}Content-Length: {}\r\n\r\n{payload}", payload.len()),
        Encoding::Chunked => {
            let (one, two) = payload.split_at(payload.len() / 2);
            format!(
                "{head}Transfer-Encoding: \
                chunked\r\n\r\n{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n",
                one.len(),
                two.len()
            )
        }
    };
    let (status, body) =
        exchange(TcpStream::connect(("127.0.0.1", port)).expect("it listens"), request.as_bytes());
    assert!(!body.contains(CANARY), "a secret was told: {body}");
    (status, serde_json::from_str(&body).expect("JSON, never empty"))
}

fn exchange(mut stream: TcpStream, request: &[u8]) -> (u16, String) {
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
    stream.write_all(request).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, body.to_owned())
}

fn read(stream: impl Read + Send + 'static, lines: &Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    let lines = lines.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            lines.lock().expect("no reader panics").push(line);
        }
    })
}

fn lines(lines: &Mutex<Vec<String>>) -> Vec<String> {
    let lines = lines.lock().expect("no reader panics").clone();
    assert!(lines.iter().all(|line| !line.contains(CANARY)), "a secret was told: {lines:#?}");
    lines
}

/// What `check` gives once it gives something; a failure after half a minute.
pub fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < end, "never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
