//! Archives that others made to break readers: what becomes of each is written down in
//! `corpus.expected`.
//!
//! They are not ours to pass on, so they are read from the folder that `BLOBFERRY_CORPUS` names,
//! where `zip/` holds them with a `MANIFEST.md`. Without it nothing is read here: every class of
//! them is generated anew in `src/archive/zip/tests.rs`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use blobferry::archive::contract::{HEAD_BYTES, MemberKind, Nature};
use blobferry::archive::options::ArchiveOptions;
use blobferry::archive::recognise;
use blobferry::archive::spool::{SpoolLimits, SpoolRoom, Spooler};
use blobferry::archive::unpack::{Archive, CheckWish};
use blobferry::model::failure::Failure;
use blobferry::model::{Secret, chain};

const CORPUS: &str = "BLOBFERRY_CORPUS";
const IN_CHILD: &str = "BLOBFERRY_CORPUS_CHILD";
/// Before a line of results in the child's output.
const RESULT: &str = "corpus-result\t";
/// Two gibibytes come out of a bomb before it is known for one, on a machine that does other work.
const MOST_TIME: Duration = Duration::from_secs(if cfg!(debug_assertions) { 40 } else { 10 });
const MOST_MEMORY_KIB: u64 = 256 << 10;
/// Those of the archives whose authors told them.
const PASSWORDS: &[&str] = &[
    "foofoofoo",
    "wrong",
    "1234",
    "12345678",
    "password",
    "foo",
    "a",
    "helloworld",
    "42",
    "Password",
    "drowssap",
];

#[test]
fn every_archive_of_the_corpus_ends_as_expected() {
    let Some(corpus) = std::env::var_os(CORPUS).map(|root| PathBuf::from(root).join("zip")) else {
        // Past the test harness, which keeps the output of a passing test. The classes of these
        // archives are generated and tested in `src/archive/`, so this is less evidence, not an
        // untested promise.
        let text = format!(
            "\nNO CORPUS: {CORPUS} names no folder, so archives made by others were not read.\n"
        );
        std::io::stderr().write_all(text.as_bytes()).expect("stderr is open");
        return;
    };
    if std::env::var_os(IN_CHILD).is_some() {
        return read_all(&corpus);
    }
    let results = read_in_child(&corpus);
    let files = listed(&corpus);
    assert_eq!(
        results.keys().collect::<Vec<_>>(),
        files.iter().collect::<Vec<_>>(),
        "every file that the manifest lists was read"
    );
    let compared = compare_with_python(&corpus, &results);
    println!("{}{compared}", summary(&results));
    results
        .iter()
        .filter(|(_, ending)| !ending.why.is_empty())
        .for_each(|(file, ending)| println!("{file}: {}: {}", ending.end, ending.why));
    let found: String = results.iter().fold(String::new(), |mut text, (file, result)| {
        writeln!(text, "{file}: {}", result.end).expect("a text grows");
        text
    });
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/corpus.expected");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&expected, &found).expect("the table can be written");
    }
    let expected = fs::read_to_string(&expected).expect("the table is there");
    let wrong: Vec<String> = found
        .lines()
        .zip(expected.lines())
        .filter(|(found, told)| found != told)
        .map(|(found, told)| format!("{found} (expected {told})"))
        .collect();
    assert!(wrong.is_empty() && found.lines().count() == expected.lines().count(), "{wrong:#?}");
    for (file, result) in &results {
        assert!(result.time <= MOST_TIME, "{file} took {:?}", result.time);
        assert!(
            result.peak_kib <= MOST_MEMORY_KIB,
            "after {file} the process had taken {} KiB",
            result.peak_kib
        );
    }
}

/// What became of one file.
struct Ending {
    /// For people: the number of members, what it is otherwise, or the class of its failure.
    end: String,
    /// Why, where it failed.
    why: String,
    time: Duration,
    peak_kib: u64,
    /// The MD5 of each member that is a file, in hex and in order.
    contents: Vec<String>,
}

/// The files of the manifest's table.
fn listed(corpus: &Path) -> Vec<String> {
    let manifest =
        fs::read_to_string(corpus.join("MANIFEST.md")).expect("the corpus has a manifest");
    let rows = manifest.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let mut files: Vec<String> =
        rows.filter(|file| corpus.join(file).is_file()).map(str::to_owned).collect();
    files.sort();
    assert!(files.len() > 400, "the manifest lists {} files", files.len());
    files
}

/// In a process of its own, whose memory is that of the reading and which may be ended.
fn read_in_child(corpus: &Path) -> BTreeMap<String, Ending> {
    let test = std::env::current_exe().expect("a test knows itself");
    let mut command = Command::new("timeout");
    command.arg("900").arg(test).args([
        "corpus::every_archive_of_the_corpus_ends_as_expected",
        "--exact",
        "--nocapture",
        "--test-threads",
        "1",
    ]);
    command
        .env(CORPUS, corpus.parent().expect("it ends in zip"))
        .env(IN_CHILD, "1")
        .stdin(Stdio::null());
    let output = command.output().expect("coreutils' `timeout` is there");
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "the last lines before it ended: {}",
        out.lines().rev().take(3).collect::<Vec<_>>().join("\n")
    );
    let results = out.lines().filter_map(|line| line.split_once(RESULT)).map(|(_, line)| line);
    results.map(ending).collect()
}

fn ending(line: &str) -> (String, Ending) {
    let [file, end, why, milliseconds, peak, contents] = line.split('\t').collect::<Vec<_>>()[..]
    else {
        panic!("{line}")
    };
    let time = Duration::from_millis(milliseconds.parse().expect("a number"));
    let contents = contents.split(' ').filter(|md5| !md5.is_empty()).map(str::to_owned).collect();
    (
        file.to_owned(),
        Ending {
            end: end.to_owned(),
            why: why.to_owned(),
            time,
            peak_kib: peak.parse().expect("a number"),
            contents,
        },
    )
}

fn read_all(corpus: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime starts");
    for file in listed(corpus) {
        println!("reading {file}");
        let began = Instant::now();
        let (end, why, contents) = runtime.block_on(read_one(&corpus.join(&file)));
        let peak = peak_kib();
        println!(
            "{RESULT}{file}\t{end}\t{why}\t{}\t{peak}\t{}",
            began.elapsed().as_millis(),
            contents.join(" ")
        );
    }
}

async fn read_one(path: &Path) -> (String, String, Vec<String>) {
    let bytes = fs::read(path).expect("a file of the corpus can be read");
    let head = &bytes[..bytes.len().min(HEAD_BYTES)];
    let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
    // Programs that unpack themselves are told by a name that says so; these have none.
    let name = if matches!(&*name, "exe_with_zip" | "exe_with_z64" | "test_read_format_zip_sfx") {
        name + ".zip"
    } else {
        name
    };
    let Some(format) = recognise(head, &name).filter(|format| format.name() == "zip") else {
        return ("no zip".to_owned(), String::new(), Vec::new());
    };
    let limits = SpoolLimits {
        memory_bytes: 64 << 20,
        archive_memory_bytes: 16 << 20,
        temp_bytes: 64 << 20,
        folder: std::env::temp_dir(),
    };
    let spooler = Spooler::new(limits);
    let mut writer =
        spooler.writer(Some(bytes.len() as u64), SpoolRoom::Wait).await.expect("there is room");
    writer.write(bytes.into()).await.expect("there is room");
    let spool = writer.finish().await.expect("it is small");
    // The bombs are to be met at full depth, the others compared with readers that do not look into
    // inner archives.
    let depth = if path.parent().is_some_and(|folder| folder.ends_with("bombs")) { 5 } else { 1 };
    let passwords = PASSWORDS.iter().map(|password| Secret::new(*password)).collect();
    let options =
        Arc::new(ArchiveOptions { file_name: name, depth, passwords, ..ArchiveOptions::default() });
    let archive =
        Archive { format, spool, options, spooler, recognise: blobferry::archive::recognise };
    let what = match archive.nature().await {
        Ok(Nature::Beginning | Nature::Other) => {
            return ("no zip".to_owned(), String::new(), Vec::new());
        }
        Ok(Nature::Document) => "document of ",
        Ok(Nature::Archive) => "",
        Err(error) => return (error.class().to_string(), chain(&error), Vec::new()),
    };
    match archive.check(CheckWish { keep_bytes: 0, md5: true }).await {
        Ok(proven) => {
            let files =
                proven.members.iter().filter(|checked| checked.member.kind == MemberKind::File);
            let contents = files.map(|checked| {
                checked.md5.map_or_else(String::new, |md5| {
                    md5.iter().map(|byte| format!("{byte:02x}")).collect()
                })
            });
            (format!("{what}{} members", proven.members.len()), String::new(), contents.collect())
        }
        Err(error) => (error.class().to_string(), chain(&error), Vec::new()),
    }
}

fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse().expect("the kernel tells a number")
}

/// What Python's own reader finds: for each file that it reads to the end, the MD5 of each member
/// that is a file.
const PYTHON: &str = r#"
import hashlib, sys, zipfile
root, passwords = sys.argv[1], [p.encode() for p in sys.argv[3:]]
for file in open(sys.argv[2]).read().split("\n"):
    try:
        archive, found = zipfile.ZipFile(root + "/" + file), []
        for info in archive.infolist():
            kind = info.external_attr >> 28 if info.create_system in (3, 19) else 0
            # What has bytes is a file, whatever its type says; links are told apart. A directory
            # of DOS may lack its slash.
            of_dos = info.create_system == 0 and info.external_attr & 0x10
            is_empty_kind = kind in (6, 2, 1, 12, 4) or of_dos
            is_directory = is_empty_kind or info.orig_filename.replace("\\", "/").endswith("/")
            if kind == 10 or (info.file_size == 0 and is_directory):
                continue
            for password in passwords if info.flag_bits & 1 else [None]:
                try:
                    digest = hashlib.md5()
                    with archive.open(info, pwd=password) as content:
                        for piece in iter(lambda: content.read(1 << 16), b""):
                            digest.update(piece)
                            if content.tell() > 300 << 20:
                                raise ValueError("a bomb")
                    break
                except Exception as error:
                    last = error
            else:
                raise last
            found.append(digest.hexdigest())
        print("ok", file, *found, sep="\t")
    except Exception as error:
        print("no", file, str(error).replace("\n", " ").replace("\t", " "), sep="\t")
"#;

/// Contents must be equal wherever both read a file; says how many those are.
fn compare_with_python(corpus: &Path, results: &BTreeMap<String, Ending>) -> String {
    let list = tempfile::NamedTempFile::new().expect("there is room");
    fs::write(list.path(), results.keys().cloned().collect::<Vec<_>>().join("\n"))
        .expect("there is room");
    let mut command = Command::new("timeout");
    command.args(["300", "python3", "-c", PYTHON]).arg(corpus).arg(list.path()).args(PASSWORDS);
    let output = command.stdin(Stdio::null()).output().expect("coreutils' `timeout` is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (mut both, mut only_python, mut differ) = (0, Vec::new(), Vec::new());
    let mut read = 0;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Some((file, contents)) =
            line.strip_prefix("ok\t").map(|rest| rest.split_once('\t').unwrap_or((rest, "")))
        else {
            continue;
        };
        read += 1;
        let contents: Vec<&str> = contents.split('\t').filter(|md5| !md5.is_empty()).collect();
        let ours = &results[file];
        match ours.end.ends_with(" members") {
            // Of bombs, the insides were read, too.
            true if file.starts_with("bombs/") => {}
            true if ours.contents == contents => both += 1,
            true => differ.push(file.to_owned()),
            false => only_python.push(format!("  {file}: {} ({})", ours.end, ours.why)),
        }
    }
    assert!(differ.is_empty(), "contents differ from Python's: {differ:#?}");
    assert!(both > 250, "only {both} files were compared");
    format!(
        "Python reads {read} of them; {both} by both and with equal contents; by Python \
        alone:\n{}\n",
        only_python.join("\n")
    )
}

fn summary(results: &BTreeMap<String, Ending>) -> String {
    let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
    for ending in results.values() {
        *ends
            .entry(if ending.end.ends_with(" members") { "read" } else { &ending.end })
            .or_default() += 1;
    }
    let slowest = results
        .iter()
        .max_by_key(|(_, ending)| ending.time)
        .map(|(file, ending)| format!("{file} took {:?}", ending.time));
    let peak = results.values().map(|ending| ending.peak_kib).max().unwrap_or_default();
    format!(
        "{} files: {ends:?}; {}; {peak} KiB at most\n",
        results.len(),
        slowest.unwrap_or_default()
    )
}
