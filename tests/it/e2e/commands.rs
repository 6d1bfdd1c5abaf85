//! `ls`, `plan`, `schema`, `demo`, and a run that is told to stop.

use std::fs;
use std::io::Read as _;
use std::process::Stdio;

use super::super::served;
use super::super::servers::*;
use super::bad_input::old_file;
use super::watch::hex;
use super::*;

/// A source folder with a few files, and the program between it and `destination`.
fn with_files(destination: &str) -> Ferry {
    let ferry = Ferry::new("");
    old_file(&ferry.path("in/daily/report.csv"), b"a;b\n");
    old_file(&ferry.path(&format!("in/{}", "n".repeat(250))), b"long");
    old_file(&ferry.path("in/line\nbreak \u{202e}gpj.exe"), b"odd");
    ferry.configure(&format!(
        "[destination]\n{destination}\n[[source]]\nname = \"acme\"\nurl = \"file://{}\"\n",
        ferry.path("in").display()
    ));
    ferry
}

/// Everything in a folder, with content and time.
fn tree(folder: &Path) -> BTreeMap<PathBuf, (Vec<u8>, Option<std::time::SystemTime>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap()) {
        let modified = entry.metadata().unwrap().modified().ok();
        if entry.path().is_dir() {
            found.insert(entry.path(), (Vec::new(), modified));
            found.extend(tree(&entry.path()));
        } else {
            found.insert(entry.path(), (fs::read(entry.path()).unwrap(), modified));
        }
    }
    found
}

#[test]
fn ls_shows_all_of_every_name() {
    use md5::Digest as _;
    let Some(azurite) = Azurite::shared() else { return };
    for destination in [azure(azurite, &Azurite::container("ls")), "folder = \"out\"".to_owned()] {
        let ferry = with_files(&destination);
        ferry.ingest().code(0);
        let done = ferry.run(&["ls"]).code(0);
        assert_eq!(done.out.lines().count(), 3, "{}", done.out);
        for (name, content) in
            [(&*format!("acme/{}", "n".repeat(250)), "long"), ("acme/daily/report.csv", "a;b\n")]
        {
            let line = done
                .out
                .lines()
                .find(|line| line.ends_with(&format!(" {name}")))
                .unwrap_or_else(|| panic!("{}", done.out));
            let words: Vec<&str> = line.split_whitespace().collect();
            let (size, md5) = (content.len().to_string(), hex(&md5::Md5::digest(content)));
            assert_eq!(
                [words[0], words[1], words[3]],
                [size.as_str(), "2020-09-13T12:26:40Z", &md5]
            );
        }
        assert!(!done.out.contains('\u{202e}'), "nothing turns the line of a terminal around");
        let json = ferry.run(&["ls", "--json", "acme/d"]).code(0).out;
        let blob: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (&blob["name"], &blob["size"], &blob["metadata"]["source"]),
            (&"acme/daily/report.csv".into(), &4.into(), &"acme".into())
        );
        assert!(ferry.run(&["ls", "--all"]).code(0).out.contains(" _blobferry/acme/"));
        assert_eq!(ferry.run(&["ls", "nothing"]).code(0).out, "");
    }
}

#[test]
fn plan_tells_and_changes_nothing() {
    let Some(azurite) = Azurite::shared() else { return };
    let container = Azurite::container("plan");
    let ferry = with_files(&azure(azurite, &container));
    let before = tree(&ferry.path(""));
    let told = ferry.run(&["plan"]).code(0);
    assert!(told.out.contains("/in/daily/report.csv -> acme/daily/report.csv"), "{}", told.out);
    let json: Value = serde_json::from_str(&ferry.run(&["plan", "--json"]).code(0).out).unwrap();
    let mut planned: Vec<&str> = json[0]["fetch"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["blob"].as_str().unwrap())
        .collect();
    planned.sort_unstable();
    assert_eq!(tree(&ferry.path("")), before);
    let exists = "import sys\nfrom azure.storage.blob import BlobServiceClient as \
        S\nprint(S.from_connection_string(sys.argv[1], \
        api_version='2025-11-05').get_container_client(sys.argv[2]).exists())";
    assert_eq!(line(&python(&["-c", exists, &azurite.connection_string(), &container])), "False");

    ferry.ingest().code(0);
    let (state, files) = (blobs(azurite, &container), tree(&ferry.path("")));
    let mut told: Vec<&str> =
        state.keys().map(String::as_str).filter(|name| !name.starts_with("_blobferry/")).collect();
    told.sort_unstable();
    assert_eq!(planned, told, "the plan named the blobs");
    ferry.run(&["plan"]).code(0).says(&["acme: 0 to fetch", "3 unchanged"]);
    assert_eq!((blobs(azurite, &container), tree(&ferry.path(""))), (state, files));
}

#[test]
fn plan_makes_no_folder() {
    let ferry = with_files("folder = \"out\"");
    let before = tree(&ferry.path(""));
    ferry.run(&["plan"]).code(0).says(&["acme: 3 to fetch"]);
    assert_eq!(tree(&ferry.path("")), before);
    ferry.ingest().code(0);
    let before = tree(&ferry.path(""));
    ferry.run(&["plan"]).code(0).says(&["acme: 0 to fetch"]);
    assert_eq!(tree(&ferry.path("")), before);
}

/// As much of JSON Schema as ours uses, on a document in TOML.
const CHECK: &str = r#"
import json, re, sys, tomllib
schema = json.load(open(sys.argv[1]))
KINDS = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
KNOWN = {"$schema", "title", "description", "type", "anyOf", "enum", "pattern", "minLength",
    "minimum", "maximum", "required", "properties", "additionalProperties", "items", "minItems"}
def of_kind(value, kind):
    return isinstance(value, KINDS[kind]) and isinstance(value, bool) == (kind == "boolean")
def check(value, rule, at):
    assert not set(rule) - KNOWN, f"{at}: unknown rules {set(rule) - KNOWN}"
    if "type" in rule and not of_kind(value, rule["type"]):
        return [f"{at} is no {rule['type']}"]
    if "anyOf" in rule and all(check(value, one, at) for one in rule["anyOf"]):
        return [f"{at} = {value!r} is none of the forms"]
    if "enum" in rule and value not in rule["enum"]:
        return [f"{at} is none of {rule['enum']}"]
    if "pattern" in rule and not re.search(rule["pattern"], value):
        return [f"{at} does not match {rule['pattern']}"]
    if isinstance(value, str) and len(value) < rule.get("minLength", 0):
        return [f"{at} is too short"]
    least, most = rule.get("minimum", value), rule.get("maximum", value)
    if isinstance(value, int) and not least <= value <= most:
        return [f"{at} is out of range"]
    found = []
    if isinstance(value, dict):
        found += [f"{at}.{key} is missing" for key in rule.get("required", []) if key not in value]
        for key, inner in value.items():
            if key in rule.get("properties", {}):
                found += check(inner, rule["properties"][key], f"{at}.{key}")
            elif rule.get("additionalProperties") is False:
                found.append(f"{at}.{key} is unknown")
    if isinstance(value, list):
        for n, inner in enumerate(value):
            found += check(inner, rule.get("items", {}), f"{at}[{n}]")
        if len(value) < rule.get("minItems", 0):
            found.append(f"{at} is too short")
    return found
for file in sys.argv[2:]:
    print(check(tomllib.load(open(file, "rb")), schema, ""))
"#;

/// The settings that the shipped file shows in comments, taken at their word.
fn without_comments(text: &str) -> String {
    let uncomment = |line: &str| {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let key = bare.split(" = ").next().unwrap_or_default();
        let is_setting = bare.contains(" = ")
            && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        if is_setting { bare.to_owned() } else { line.to_owned() }
    };
    let mut seen = std::collections::BTreeSet::new();
    let mut kept = Vec::new();
    for line in text.lines().map(uncomment) {
        if line.starts_with("[[") || line.starts_with("# [") {
            seen.clear();
        }
        let key = line.split(" = ").next().unwrap_or_default().to_owned();
        if line.starts_with('#') || !line.contains(" = ") || seen.insert(key) {
            let table = line.starts_with("# [");
            kept.push(if table { line[2..].to_owned() } else { line });
        }
    }
    kept.join("\n")
}

#[test]
fn the_schema_accepts_the_shipped_configuration_and_nothing_else() {
    let ferry = Ferry::new("");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("ingest.toml");
    fs::write(ferry.path("schema.json"), ferry.run(&["schema"]).code(0).out).unwrap();
    let text = fs::read_to_string(&shipped).unwrap();
    fs::write(ferry.path("all.toml"), without_comments(&text)).unwrap();
    fs::write(
        ferry.path("wrong.toml"),
        text.replace("folder = ", "foldr = ").replacen(
            "[limits]",
            "[limits]\ntransfers = 0\nmemory = 5",
            1,
        ),
    )
    .unwrap();
    let path = |name: &str| ferry.path(name).display().to_string();
    let output = python(&[
        "-c",
        CHECK,
        &path("schema.json"),
        &shipped.display().to_string(),
        &path("all.toml"),
        &path("wrong.toml"),
    ]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 3, "{told}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((lines[0], lines[1]), ("[]", "[]"));
    for problem in [".destination.foldr is unknown", ".limits.transfers", ".limits.memory"] {
        assert!(lines[2].contains(problem), "{}", lines[2]);
    }
    // And every setting of the schema is shown in the shipped file.
    let schema: Value =
        serde_json::from_str(&fs::read_to_string(ferry.path("schema.json")).unwrap()).unwrap();
    let tables = ["destination", "limits", "log"].map(|table| &schema["properties"][table]);
    for table in tables.into_iter().chain([&schema["properties"]["source"]["items"]]) {
        for key in table["properties"].as_object().unwrap().keys() {
            let shows = |line: &str| {
                let bare = line.trim_start_matches("# ");
                bare.starts_with(&format!("{key} = "))
                    || bare.starts_with(&format!("[source.{key}]"))
                    || bare.starts_with(&format!("[[source.{key}]]"))
            };
            assert!(text.lines().any(shows), "ingest.toml does not show `{key}`");
        }
    }
}

#[test]
fn the_demo_runs_twice_and_the_second_run_has_nothing_to_do() {
    let ferry = Ferry::new("");
    let done = ferry.run(&["demo", "--output", "shown"]).code(0);
    let second = done.out.split("# Second run").nth(1).expect("it tells of a second run");
    assert!(second.contains("ingested 0") && second.contains("0 ingested, 0 B"), "{}", done.out);
    assert!(ferry.path("shown/demo-sftp").is_dir() && ferry.path("shown/demo-ftp").is_dir());
    // Again over its own output, and never over somebody else's.
    ferry.run(&["demo", "--output", "shown"]).code(0);
    old_file(&ferry.path("theirs/file"), b"x");
    ferry.run(&["demo", "--output", "theirs"]).code(3).says(&["not the output of an earlier demo"]);
    assert!(ferry.path("theirs/file").exists());
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let ferry = Ferry::new("");
    for n in 0..800 {
        old_file(&ferry.path(&format!("in/{n:0200}")), b"x");
    }
    ferry.configure(&format!(
        "[destination]\nfolder = \"out\"\n[[source]]\nname = \"acme\"\nurl = \"file://{}\"\n",
        ferry.path("in").display()
    ));
    ferry.ingest().code(0);
    for words in ["ls", "ls --json", "schema", "plan --json", "run --json"] {
        let mut shell = Command::new("bash");
        shell.args([
            "-c",
            "\"$0\" $1 | head -n 1 >first; echo ${PIPESTATUS[0]}",
            env!("CARGO_BIN_EXE_blobferry"),
            words,
        ]);
        let output = shell.current_dir(ferry.path("")).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(
            line(&output) == "0" && !told.contains("panicked"),
            "{words}: {}\n{told}",
            line(&output)
        );
        assert_eq!(fs::read_to_string(ferry.path("first")).unwrap().lines().count(), 1);
    }
}

#[test]
fn a_reader_that_does_not_read_holds_nothing_up() {
    let ferry = Ferry::new("");
    for n in 0..800 {
        old_file(&ferry.path(&format!("in/{n:0200}")), b"x");
    }
    ferry.configure(&format!(
        "[destination]\nfolder = \"out\"\n[[source]]\nname = \"acme\"\nurl = \"file://{}\"\n",
        ferry.path("in").display()
    ));
    // Far more than fits into a pipe, which is kept open and never read.
    let report = fs::File::create(ferry.path("stdout")).unwrap();
    let mut child = ferry
        .command(&["run", "--json", "-v"])
        .stdout(report)
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    wait_for("its end", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(ferry.path("stdout")).unwrap()).unwrap();
    assert_eq!(report["sources"][0]["ingested"], 800, "{report:#}");
    let mut told = String::new();
    child.stderr.take().expect("it is piped").read_to_string(&mut told).unwrap();
    assert!(
        told.len() > 16 << 10 && told.lines().count() < 800,
        "it wrote as much as fits: {} bytes",
        told.len()
    );
}

#[test]
fn sigterm_ends_a_run_with_its_report() {
    let Some(served) = served::sshd(SshdAuth::Key) else { return };
    for n in 0..120 {
        old_file(&served.root.join(format!("small-{n:03}")), &vec![b'x'; 400_000]);
    }
    let ferry = Ferry::new(&format!(
        "[destination]\nfolder = \"out\"\n[limits]\ntransfers = 1\n[[source]]\nname = \"acme\"\n{}",
        served.toml
    ));
    let program = ferry.start(&["run", "--json"]);
    wait_for("the first file", || {
        fs::read_dir(ferry.path("out/acme")).is_ok_and(|mut files| files.next().is_some())
    });
    program.signal("TERM");
    let done = program.end(Duration::from_secs(10)).code(143);
    let (report, source) = (done.report(), done.source());
    assert_eq!(report["interrupted"], true);
    let (ingested, deferred) = (
        source["ingested"].as_u64().unwrap(),
        source["deferred_by_reason"]["interrupted"].as_u64().unwrap(),
    );
    assert_eq!((ingested + deferred, source["failed"].as_u64()), (120, Some(0)), "{source:#}");
    assert_eq!(ferry.ingest().code(0).source()["ingested"], deferred);
}

#[test]
fn sigterm_does_not_wait_for_a_server_that_is_silent() {
    let Some(served) = served::sshd(SshdAuth::Key) else { return };
    old_file(&served.root.join("small"), b"x");
    old_file(&served.root.join("sparse"), b"");
    let sparse = fs::File::options().write(true).open(served.root.join("sparse")).unwrap();
    sparse.set_len(20 << 30).unwrap();
    sparse
        .set_modified(std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000))
        .unwrap();
    let ferry = Ferry::between(&served.toml, "folder = \"out\"");
    let program = ferry.start(&["run", "--json"]);
    wait_for("the first file", || ferry.path("out/acme/small").exists());
    served.daemon().expect("a server").signal("STOP");
    program.signal("TERM");
    let done = program.end(Duration::from_secs(10));
    served.daemon().expect("a server").signal("CONT");
    let done = done.code(143);
    assert_eq!(
        (&done.report()["interrupted"], &done.source()["deferred"]),
        (&true.into(), &1.into()),
        "{}",
        done.out
    );
}

#[test]
fn sigterm_while_a_silent_server_is_listed() {
    let Some(served) = served::vsftpd(Tls::Off) else { return };
    old_file(&served.root.join("small"), b"x");
    let ferry = Ferry::between(&served.toml, "folder = \"out\"");
    let silent = || served.daemon().expect("a server").signal("STOP");
    silent();
    let program = ferry.start(&["run", "--json"]);
    wait_for("the store to be prepared", || ferry.path("out").exists());
    program.signal("TERM");
    let done = program.end(Duration::from_secs(10)).code(143);
    assert_eq!(
        (&done.report()["interrupted"], &done.source()["problems"][0]["class"]),
        (&true.into(), &"interrupted".into()),
        "{}",
        done.out
    );
    served.daemon().expect("a server").signal("CONT");
    assert_eq!(ferry.ingest().code(0).source()["ingested"], 1);
    // A second signal does not wait at all.
    silent();
    let program = ferry.start(&["run", "--json"]);
    wait_for("the run", || {
        fs::read_to_string(ferry.path("stderr")).is_ok_and(|text| text.contains("A run begins"))
    });
    program.signal("INT");
    wait_for("the warning", || {
        fs::read_to_string(ferry.path("stderr")).is_ok_and(|text| text.contains("stopping"))
    });
    program.signal("TERM");
    program.end(Duration::from_secs(2)).code(143);
    served.daemon().expect("a server").signal("CONT");
}
