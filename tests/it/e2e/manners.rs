//! `init`, `completions`, `man`, `ls --since`, and the status page of this machine.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use super::bad_input::old_file;
use super::*;

#[test]
fn init_writes_what_check_and_run_can_use() {
    let ferry = Ferry::new("");
    fs::remove_file(ferry.path("ingest.toml")).unwrap();
    old_file(&ferry.path("in/a.txt"), b"one");
    let url = format!("file://{}", ferry.path("in").display());
    ferry.run(&["init"]).code(2).says(&["--url sftp://user@host/folder"]);
    ferry.run(&["init", "--url", &url]).code(0).says(&["wrote ingest.toml", "blobferry check"]);
    ferry.run(&["check"]).code(0).says(&["all is well"]);
    ferry.ingest().code(0);
    assert_eq!(fs::read(ferry.path("ingested/in/a.txt")).unwrap(), b"one");
    let text = fs::read_to_string(ferry.path("ingest.toml")).unwrap();
    ferry.run(&["init", "--url", "ftp://other"]).code(2).says(&["left alone", "--force"]);
    assert_eq!(fs::read_to_string(ferry.path("ingest.toml")).unwrap(), text);
    ferry
        .run(&["init", "--url", "sftp://me:s3cret@h.example/", "--force"])
        .code(0)
        .says(&["set H_PASSWORD"]);
    assert!(!fs::read_to_string(ferry.path("ingest.toml")).unwrap().contains("s3cret"));
}

#[test]
fn shells_and_manuals_know_every_command() {
    let ferry = Ferry::new("");
    let commands =
        ["run", "plan", "check", "ls", "demo", "init", "serve", "schema", "completions", "man"];
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let text = ferry.run(&["completions", shell]).code(0).out;
        assert!(commands.iter().all(|command| text.contains(command)), "{shell}: {text}");
    }
    let text = ferry.run(&["completions", "bash"]).code(0).out;
    fs::write(ferry.path("blobferry.bash"), text).unwrap();
    let completed = "source blobferry.bash; COMP_WORDS=(blobferry com); COMP_CWORD=1; _blobferry \
        blobferry com blobferry; echo \"${COMPREPLY[@]}\"";
    let output = Command::new("bash")
        .args(["-c", completed])
        .current_dir(ferry.path(""))
        .output()
        .expect("bash is there");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        "completions",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let page = ferry.run(&["man"]).code(0).out;
    assert!(page.contains(".TH blobferry 1") && page.contains("FTP"), "{page}");
    ferry.run(&["man", "--folder", "man1"]).code(0);
    for command in commands {
        assert!(
            fs::read_to_string(ferry.path(&format!("man1/blobferry-{command}.1")))
                .unwrap()
                .contains(".SH NAME"),
            "{command}"
        );
    }
}

#[test]
fn ls_shows_what_is_newer_than() {
    let ferry = Ferry::new("");
    old_file(&ferry.path("in/old.txt"), b"old");
    fs::write(ferry.path("in/new.txt"), b"new").unwrap();
    ferry.configure(&format!(
        "[destination]\nfolder = \"out\"\n[[source]]\nname = \"acme\"\nstable_for = \"0s\"\nurl = \
        \"file://{}\"\n",
        ferry.path("in").display()
    ));
    ferry.ingest().code(0);
    assert_eq!(ferry.run(&["ls"]).code(0).out.lines().count(), 2);
    for since in ["1d", "2020-09-14", "2020-09-13T12:26:41Z"] {
        let lines = ferry.run(&["ls", "--since", since]).code(0).out;
        assert!(lines.lines().count() == 1 && lines.contains("acme/new.txt"), "{since}: {lines}");
    }
    let json = ferry.run(&["ls", "--since", "1d", "--json"]).code(0).out;
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["name"], "acme/new.txt");
    assert_eq!(
        ferry.run(&["ls", "--since", "2020-09-13T12:26:40Z"]).code(0).out.lines().count(),
        2
    );
    ferry.run(&["ls", "--since", "tuesday"]).code(2).says(&["7d"]);
}

/// Asks for an address as a browser does; head and body.
fn browse(url: &str, accept: &str) -> (String, String) {
    let (host, path) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .expect("an address of this machine");
    let mut stream = TcpStream::connect(host).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    )
    .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_ascii_lowercase(), body.to_owned())
}

#[test]
fn the_status_page_is_shown_to_who_has_its_address() {
    let ferry = Ferry::new("");
    let hostile = "<img src=x onerror=alert(1)>.zip";
    old_file(&ferry.path("in/good.txt"), b"good");
    old_file(&ferry.path(&format!("in/{hostile}")), b"PK\x03\x04 and no more");
    ferry.configure(&format!(
        "[destination]\nfolder = \"out\"\n[[source]]\nname = \"acme\"\nurl = \"file://{}\"\n",
        ferry.path("in").display()
    ));
    let report = ferry.ingest().code(1).report();
    let run = report["run"].as_str().unwrap();
    let mut shown = ferry.start(&["serve", "--status"]);
    let printed = || fs::read_to_string(ferry.path("stdout")).unwrap();
    wait_for("the address", || shown.has_ended() || printed().ends_with('\n'));
    let url = printed().trim().to_owned();
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    let (head, list) = browse(&url, "text/html,*/*;q=0.8");
    for header in [
        "200 ok",
        "content-type: text/html",
        "content-security-policy: default-src 'none'",
        "referrer-policy: no-referrer",
        "cache-control: no-store",
    ] {
        assert!(head.contains(header), "no `{header}` in {head}");
    }
    let (before, code) = url.split_once('?').expect("a key");
    assert!(list.contains(&format!("href=\"/api/ingest/status/runs/{run}?{code}\"")), "{list}");
    assert!(
        list.contains(
            "listed 2 = ingested 1 + unchanged 0 + skipped 0 + gone 0 + deferred 0 + failed 1"
        ) && !list.contains("id=\"start\""),
        "{list}"
    );
    let (_, page) = browse(&format!("{before}/runs/{run}?{code}"), "text/html");
    assert!(
        page.contains("&lt;img src=x onerror=alert(1)&gt;.zip") && !page.contains("<img"),
        "{page}"
    );
    assert!(page.contains("archive_damaged"), "{page}");
    let (head, body) = browse(&url, "*/*");
    assert!(
        head.contains("content-type: application/json") && body.contains("\"runs\""),
        "programs get JSON as ever: {head}\n{body}"
    );
    for (address, status) in [
        (before.to_owned(), "403"),
        (format!("{before}?code=0"), "403"),
        (format!("{before}x?{code}"), "404"),
        (format!("{before}/nix?{code}"), "404"),
    ] {
        assert!(browse(&address, "text/html").0.contains(status), "{address}");
    }
    shown.signal("INT");
    shown.end(Duration::from_secs(30)).code(0);
}
