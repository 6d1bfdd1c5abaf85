//! X1 to X16, as far as a run from the command line can show them; the HTTP side is tested in
//! `handler`.

use blobferry::demo::ftp::script::{DemoFtpFault, DemoFtpScript};

use super::super::e2e::bad_input::old_file;
use super::super::kit::stage::{CANARY, ftp, sftp};
use super::super::kit::trial::Trial;

#[test]
fn x01_a_server_that_repeats_the_password() {
    // The trial looks for it in output, logs, reports and state.
    let reply: &'static str =
        Box::leak(format!("530 Login incorrect: demo:{CANARY}\r\n").into_boxed_str());
    let stage = ftp(DemoFtpScript { replies: vec![("PASS", reply)], ..DemoFtpScript::default() });
    let trial = Trial::of(&stage, &stage.lines());
    trial.run().is("exit 3: problem [auth]");
    trial.run().is("exit 3: problem [auth]");
    let reply: &'static str = Box::leak(format!("550 No such file: {CANARY}\r\n").into_boxed_str());
    let stage = ftp(DemoFtpScript {
        files: [(b"a.bin".to_vec(), DemoFtpFault::Refuse(reply))].into(),
        ..DemoFtpScript::default()
    });
    let proof = Trial::of(&stage, &stage.lines()).run();
    assert_eq!(proof.source()["ingested"], 2, "{}", proof.brief());
}

#[test]
fn x02_names_that_climb() {
    let stage = sftp(blobferry::demo::sftp::script::DemoSftpScript::default());
    for (n, name) in ["..\\..\\etc\\passwd", "%2e%2e%2f%2e%2e%2fx", "C:\\x", "...", "..x", "~root"]
        .iter()
        .enumerate()
    {
        old_file(&stage.root.path().join(name), format!("number {n}").as_bytes());
    }
    let trial = Trial::of(&stage, &stage.lines());
    trial.run().is("exit 0: listed 9, ingested 9");
    // Nothing was written beside the store.
    let beside: Vec<String> = std::fs::read_dir(trial.ferry.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        beside.iter().all(
            |name| ["ingest.toml", "store", "log", "stdout", "stderr"].contains(&name.as_str())
        ),
        "{beside:?}"
    );
}

#[test]
fn x04_a_server_that_sends_us_elsewhere() {
    // Somebody listens at the address that PASV names: nobody comes.
    let trap = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    trap.set_nonblocking(true).unwrap();
    let port = trap.local_addr().unwrap().port();
    let reply: &'static str = Box::leak(
        format!("227 Entering Passive Mode (127,0,0,2,{},{})\r\n", port >> 8, port & 255)
            .into_boxed_str(),
    );
    let stage = ftp(DemoFtpScript {
        replies: vec![("PASV", reply)],
        without: vec!["EPSV"],
        ..DemoFtpScript::default()
    });
    let proof = Trial::of(&stage, &stage.lines()).run();
    assert_eq!(proof.done.code, 3, "{}", proof.brief());
    assert!(trap.accept().is_err(), "somebody came");
}

#[test]
fn x07_replies_that_would_write_log_lines() {
    let reply = "550 no\r\x1b[2J\"}{\"level\":\"ERROR\"} \u{202e}\u{7f}\0 such\r\n";
    let stage = ftp(DemoFtpScript {
        files: [(b"a.bin".to_vec(), DemoFtpFault::Refuse(reply))].into(),
        ..DemoFtpScript::default()
    });
    let proof = Trial::of(&stage, &stage.lines()).run();
    assert_eq!(proof.source()["ingested"], 2, "{}", proof.brief());
    let greeting = b"220-\x1b]0;title\x07\r\n220 {\"level\":\"ERROR\"}\r\n".to_vec();
    let stage = ftp(DemoFtpScript {
        greeting: Some(greeting),
        replies: vec![("TYPE", "504 \x1b[31mno\x1b[0m\r\n")],
        ..DemoFtpScript::default()
    });
    assert_eq!(Trial::of(&stage, &stage.lines()).run().done.code, 3);
}

#[test]
fn x08_line_breaks_in_settings_never_become_commands() {
    for lines in [
        "url = \"ftp://demo%0D%0ADELE%20a.bin:x@127.0.0.1:1/\"\n",
        "url = \"ftp://demo@127.0.0.1:1/\"\npassword = \"x\\r\\nDELE a.bin\"\n",
    ] {
        let trial =
            Trial::new(&format!("[[source]]\nname = \"acme\"\n{lines}"), "folder = \"store\"");
        let done = trial.ferry.run(&["run"]).code(2);
        assert!(done.err.contains("line break"), "{}", done.err);
    }
    // In a path, it is a file that cannot be asked for.
    let stage = ftp(DemoFtpScript::default());
    let lines = stage.lines().replacen("/\"\n", "/sub%0D%0ADELE%20a.bin\"\n", 1);
    let proof = Trial::of(&stage, &lines).ferry.run(&["run", "--json"]);
    assert!(proof.code >= 2, "{}", proof.err);
    assert_eq!(stage.server.counts.of("DELE"), 0);
    assert!(stage.root.path().join("a.bin").exists());
}

#[test]
fn x12_listings_and_trees_without_end() {
    // A line of a mebibyte is one bad line, not a file, and not memory without end.
    let stage = ftp(DemoFtpScript {
        extra_lines: vec![[vec![b'x'; 1 << 20], b"\r\n".to_vec()].concat()],
        ..DemoFtpScript::default()
    });
    let proof = Trial::of(&stage, &stage.lines()).run();
    assert_eq!((&proof.source()["ingested"], proof.done.code), (&3.into(), 1), "{}", proof.brief());
    assert!(proof.done.out.len() < 20_000);
    // A tree deeper than `depth` is cut there, and said so.
    let stage = ftp(DemoFtpScript::default());
    let deep = (0..40).fold(stage.root.path().to_owned(), |path, _| path.join("d"));
    old_file(&deep.join("x"), b"deep");
    let proof = Trial::of(&stage, &format!("{}depth = 10\n", stage.lines())).run();
    assert_eq!((&proof.source()["ingested"], proof.done.code), (&3.into(), 1), "{}", proof.brief());
    proof.says(&["deeper than `depth`"]);
}

/// The settings of a function as they are shipped beside the program.
fn function(name: &str) -> serde_json::Value {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name).join("function.json");
    serde_json::from_slice(&std::fs::read(path).expect("it is shipped")).expect("JSON")
}

/// The level of each HTTP trigger that is shipped.
fn levels(names: &[&str]) -> Vec<String> {
    let bindings = names
        .iter()
        .flat_map(|name| function(name)["bindings"].as_array().expect("bindings").clone());
    bindings
        .filter(|binding| binding["type"] == "httpTrigger")
        .map(|binding| binding["authLevel"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn x05_who_may_call_the_handler() {
    assert_eq!(levels(&["IngestHttp", "IngestTimer"]), ["function"], "nobody without a key");
    // The host alone reaches the program: it listens at one address of this machine, not at all of
    // them.
    let ferry = super::super::e2e::Ferry::new("[destination]\nfolder = \"store\"\n");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ferry = ferry.set("FUNCTIONS_CUSTOMHANDLER_PORT", &port.to_string());
    let mut handler = ferry.start(&["serve"]);
    let reaches = |host: &str| std::net::TcpStream::connect((host, port)).is_ok();
    super::super::e2e::wait_for("the handler", || handler.has_ended() || reaches("127.0.0.1"));
    assert!(
        !handler.has_ended() && !reaches("127.0.0.2"),
        "all addresses of this machine are open"
    );
    handler.signal("TERM");
    handler.end(std::time::Duration::from_secs(30));
}

#[test]
fn x16_who_may_read_runs() {
    assert_eq!(levels(&["IngestStatus"]), ["function"], "nobody without a key");
}
