//! What is shipped: file modes in the package, what its binary asks of a machine.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn script(name: &str, words: &[&str]) -> Output {
    Command::new(root().join("scripts").join(name)).args(words).output().expect("bash is there")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Name, mode and content of every entry of a zip.
fn entries(path: &Path) -> Vec<(String, u32, Vec<u8>)> {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
    let count = archive.len();
    let entry = |index| {
        let mut entry = archive.by_index(index).unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (
            entry.name().unwrap().into_owned(),
            entry.unix_mode().expect("the zip is made as on Unix"),
            content,
        )
    };
    (0..count).map(entry).collect()
}

#[test]
fn the_package_holds_an_app_that_the_host_can_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("binary"), b"\x7fELF and so on").unwrap();
    std::fs::write(path("mine.toml"), "[destination]\n").unwrap();
    let pack = |more: &[&str]| {
        let (binary, output) = (path("binary"), path("out"));
        let done = script(
            "package.sh",
            &[["--binary", &binary, "--output", &output].as_slice(), more].concat(),
        );
        assert!(done.status.success(), "{}", text(&done.stderr));
        entries(&folder.path().join("out/blobferry-functions.zip"))
    };
    let found = pack(&[]);
    let told: Vec<(&str, u32)> =
        found.iter().map(|(name, mode, _)| (name.as_str(), *mode)).collect();
    let mut expected: Vec<(String, u32)> = vec![("host.json".into(), 0o100_644)];
    let mut functions: Vec<String> = std::fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("function.json").is_file())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    functions.sort();
    assert!(functions.len() >= 3, "{functions:?}");
    expected.extend(functions.iter().map(|name| (format!("{name}/function.json"), 0o100_644)));
    expected.extend([("ingest.toml.example".into(), 0o100_644), ("blobferry".into(), 0o100_755)]);
    assert_eq!(
        told,
        expected.iter().map(|(name, mode)| (name.as_str(), *mode)).collect::<Vec<_>>()
    );
    assert_eq!(found.last().unwrap().2, b"\x7fELF and so on");
    let mine = pack(&["--config", &path("mine.toml")]);
    assert!(
        mine.iter()
            .any(|(name, _, content)| name == "ingest.toml" && content == b"[destination]\n")
    );
    assert!(mine.iter().all(|(name, ..)| name != "ingest.toml.example"));
    let wrong = script("package.sh", &["--config", "/no/such/file", "--binary", &path("binary")]);
    assert_eq!(wrong.status.code(), Some(2));
}

/// Where links of `page` lead, from the folder of `page`; addresses and places in the page are
/// left out.
fn links(page: &str) -> Vec<&str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let targets = targets.map(|target| target.split('#').next().expect("split gives one"));
    targets.filter(|target| !target.is_empty() && !target.contains(':')).collect()
}

#[test]
fn links_between_documents_hold_in_the_archive_of_a_release() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("binary"), b"MZ and so on").unwrap();
    std::fs::create_dir(path("texts")).unwrap();
    std::fs::write(path("texts/THIRD-PARTY-LICENSES.txt"), b"MIT").unwrap();
    let (binary, texts, output) = (path("binary"), path("texts"), path("out"));
    let target = "x86_64-pc-windows-msvc";
    let packed = ["--target", target, "--binary", &binary, "--texts", &texts, "--output", &output];
    let done = script("release.sh", &packed);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let version = env!("CARGO_PKG_VERSION");
    let found = entries(&folder.path().join(format!("out/blobferry-{version}-x86_64-windows.zip")));
    let names: BTreeSet<PathBuf> = found.iter().map(|(name, ..)| PathBuf::from(name)).collect();
    let top = PathBuf::from(format!("blobferry-{version}-x86_64-windows"));
    for name in ["blobferry.exe", "LICENSE", "THIRD-PARTY-LICENSES.txt", "ingest.toml"] {
        assert!(names.contains(&top.join(name)), "{name} is not in {names:?}");
    }
    let mut seen = 0;
    for (name, _, content) in found.iter().filter(|(name, ..)| name.ends_with(".md")) {
        let page = text(content);
        for link in links(&page) {
            seen += 1;
            let mut target = PathBuf::from(name);
            target.pop();
            for part in link.split('/') {
                match part {
                    ".." => assert!(target.pop()),
                    part => target.push(part),
                }
            }
            let is_there = names.iter().any(|name| name.starts_with(&target));
            assert!(is_there, "{name} links to {link}, which the archive has not");
        }
    }
    assert!(seen > 100, "{seen}");
    let unknown = script("release.sh", &["--target", "sparc", "--binary", &binary]);
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn a_failed_build_ships_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let program = |name: &str, text: &str| {
        std::fs::create_dir_all(path(name).parent().unwrap()).unwrap();
        std::fs::write(path(name), text).unwrap();
        std::fs::set_permissions(path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    program("tools/bin/python", "#!/bin/sh\nexit 0\n");
    let pack = |cargo: &str| {
        program("tools/bin/cargo", cargo);
        let mut command = Command::new(root().join("scripts/package.sh"));
        command.args(["--target", "x86_64-unknown-linux-musl", "--output"]).arg(path("out"));
        command
            .env("BLOBFERRY_PACKAGE_TOOLS", path("tools"))
            .env("CARGO_TARGET_DIR", path("target"));
        let done = command.output().expect("bash is there");
        (
            done.status.success(),
            path("out/blobferry-functions.zip").exists(),
            text(&done.stdout) + &text(&done.stderr),
        )
    };
    let stale = compiled(folder.path(), "stale", "int main(void) { return 0; }", &["-static"]);
    std::fs::create_dir_all(path("target/x86_64-unknown-linux-musl/release")).unwrap();
    std::fs::rename(stale, path("target/x86_64-unknown-linux-musl/release/blobferry")).unwrap();
    let (is_well, is_there, told) = pack("#!/bin/sh\nexit 101\n");
    assert!(!is_well && !is_there, "the binary of an earlier build was packed: {told}");
    let (is_well, is_there, told) = pack("#!/bin/sh\nexit 0\n");
    assert!(is_well && is_there && told.contains("x86_64-unknown-linux-musl, static"), "{told}");
}

/// A program by this machine's C compiler.
fn compiled(folder: &Path, name: &str, source: &str, more: &[&str]) -> String {
    let (input, output) =
        (folder.join(format!("{name}.c")), folder.join(name).display().to_string());
    std::fs::write(&input, source).unwrap();
    let done = Command::new("cc")
        .arg(&input)
        .args(["-o", &output])
        .args(more)
        .output()
        .expect("a C compiler is there: it builds the cryptography");
    assert!(done.status.success(), "{}", text(&done.stderr));
    output
}

#[test]
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
fn a_binary_that_asks_for_too_much_is_not_shipped() {
    let folder = tempfile::tempdir().unwrap();
    let fixed = compiled(folder.path(), "fixed", "int main(void) { return 0; }", &["-static"]);
    let done = script("portable.sh", &[&fixed]);
    assert_eq!(
        (done.status.success(), text(&done.stdout).trim()),
        (true, "static"),
        "{}",
        text(&done.stderr)
    );
    // A weak symbol of this name is what a program that asks for a glibc of the year 2100 would
    // hold.
    let versions = folder.path().join("versions");
    std::fs::write(&versions, "GLIBC_2.99 { global: from_the_future; };").unwrap();
    let library = folder.path().join("libfuture.so").display().to_string();
    let script_of_versions = format!("-Wl,--version-script={}", versions.display());
    compiled(
        folder.path(),
        "libfuture.so",
        "int from_the_future(void) { return 0; }",
        &["-shared", "-fPIC", &script_of_versions],
    );
    let new = compiled(
        folder.path(),
        "new",
        "int from_the_future(void); int main(void) { return from_the_future(); }",
        &[&library],
    );
    let done = script("portable.sh", &[&new]);
    assert_eq!(done.status.code(), Some(1));
    assert!(text(&done.stderr).contains("asks for GLIBC_2.99"), "{}", text(&done.stderr));
}
