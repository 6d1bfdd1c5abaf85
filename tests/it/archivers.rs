//! Archives as the usual programs write them, read back: names, contents and times.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use blobferry::archive::contract::MemberKind;
use blobferry::archive::options::ArchiveOptions;
use blobferry::archive::recognise;
use blobferry::archive::spool::{SpoolLimits, SpoolRoom, Spooler};
use blobferry::archive::unpack::{Archive, CheckWish};
use blobferry::archive::verify::Checked;
use blobferry::model::failure::Failure;
use blobferry::model::{Secret, chain};
use md5::{Digest, Md5};

use crate::servers::{Rights, available, tools};

fn archiver(program: &str) -> PathBuf {
    let folder = tools().join("archivers");
    let own = folder.join("usr/bin").join(program);
    if own.exists() { own } else { folder.join("bin").join(program) }
}

/// The programs, or `None`, loudly, where they are not installed.
fn archivers() -> Option<()> {
    let programs = ["tar", "bsdtar", "gzip", "bzip2", "xz", "zstd", "lz4", "7zz"].map(archiver);
    available("archivers", &programs, Rights::Anyone).then_some(())
}

/// Runs a program in `folder` and gives what it wrote to its output.
fn run(folder: &Path, program: &str, arguments: &[&str]) -> Vec<u8> {
    let libraries = tools()
        .join("archivers/usr/lib")
        .read_dir()
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let libraries: Vec<String> = libraries
        .map(|path| path.display().to_string())
        .filter(|path| path.contains("-linux-gnu"))
        .collect();
    let path = format!(
        "{}:{}:/usr/bin:/bin",
        tools().join("archivers/usr/bin").display(),
        tools().join("archivers/bin").display()
    );
    let mut command = Command::new("timeout");
    command
        .arg("120")
        .arg(archiver(program))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null());
    command.env("PATH", path).env("LD_LIBRARY_PATH", libraries.join(":")).env("LC_ALL", "C.UTF-8");
    let output = command.output().expect("coreutils' `timeout` is there");
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Bytes that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8)).flat_map(|_| next()).take(length).collect()
}

/// A folder `in` with files that are hard to name, and what is in them.
struct Tree {
    folder: tempfile::TempDir,
    files: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Tree {
    fn new() -> Self {
        let tree = Self { folder: tempfile::tempdir().expect("a folder"), files: BTreeMap::new() };
        std::fs::create_dir(tree.folder.path().join("in")).expect("a folder");
        tree
    }

    /// Names as an exchange of files brings them.
    fn awkward() -> Self {
        let mut tree = Self::new();
        let deep = format!("{}/{}/{}.txt", "d".repeat(140), "e".repeat(140), "f".repeat(20));
        let csv: Vec<u8> = (0..10_000)
            .flat_map(|line| format!("{line};{};field\n", line * 7919 % 1000).into_bytes())
            .collect();
        for (name, content) in [
            ("plain.txt", &b"content"[..]),
            ("with spaces and 'quotes'.txt", b"1"),
            ("größe ☃ 日本語.txt", b"2"),
            ("-dash", b"3"),
            ("empty", b""),
            (&deep, b"far down"),
            ("data.csv", &csv),
            ("noise.bin", &noise(200_001)),
        ] {
            tree.add(name.as_bytes(), content);
        }
        std::fs::create_dir(tree.folder.path().join("in/empty folder")).expect("a folder");
        tree
    }

    fn add(&mut self, name: &[u8], content: &[u8]) {
        let path = self.folder.path().join("in").join(OsStr::from_bytes(name));
        std::fs::create_dir_all(path.parent().expect("in the folder")).expect("a folder");
        std::fs::write(&path, content).expect("it writes");
        let mtime = std::time::UNIX_EPOCH + std::time::Duration::new(1_500_000_000, 123_456_700);
        std::fs::File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_modified(mtime))
            .expect("its time is set");
        self.files.insert(name.to_vec(), content.to_vec());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Programs add to an archive that is there.
    fn remove(&self, name: &str) {
        if self.path(name).exists() {
            std::fs::remove_file(self.path(name)).expect("it goes");
        }
    }

    /// Asserts that the archive `name` holds these files and no other.
    async fn check(&self, name: &str, precision: i128) {
        let members = members(&self.path(name), &[]).await;
        self.compare(name, &members, precision);
    }

    fn compare(&self, name: &str, members: &[Checked], precision: i128) {
        let files = members.iter().filter(|checked| checked.member.kind == MemberKind::File);
        let found: BTreeMap<Vec<u8>, _> = files
            .map(|checked| (below(&checked.member.raw_name), (checked.size, checked.md5)))
            .collect();
        let expected = self.files.iter().map(|(name, content)| {
            (name.clone(), (content.len() as u64, Some(Md5::digest(content).into())))
        });
        assert_eq!(found, expected.collect(), "{name}");
        for checked in members.iter().filter(|checked| checked.member.kind == MemberKind::File) {
            let modified = checked.member.modified.expect("a time").at_offset(time::UtcOffset::UTC);
            let told = 1_500_000_000_123_456_700_i128.div_euclid(precision) * precision;
            assert_eq!(modified.at.unix_timestamp_nanos(), told, "{name}: {}", checked.member.name);
        }
    }
}

fn below(raw: &[u8]) -> Vec<u8> {
    let raw = raw.strip_prefix(b"./").unwrap_or(raw);
    raw.strip_prefix(b"in/").unwrap_or(raw).to_vec()
}

async fn open(path: &Path, passwords: &[&str]) -> Archive {
    let limits = SpoolLimits {
        memory_bytes: 4 << 20,
        archive_memory_bytes: 1 << 20,
        temp_bytes: 1 << 30,
        folder: std::env::temp_dir(),
    };
    let bytes = std::fs::read(path).expect("the program wrote it");
    let file_name = path.file_name().expect("a name").to_string_lossy().into_owned();
    let format = recognise(&bytes[..bytes.len().min(512)], &file_name)
        .unwrap_or_else(|| panic!("{file_name} is not recognised"));
    let spooler = Spooler::new(limits);
    let mut writer = spooler.writer(Some(bytes.len() as u64), SpoolRoom::Wait).await.expect("room");
    writer.write(bytes.into()).await.expect("room");
    let spool = writer.finish().await.expect("room");
    let passwords = passwords.iter().map(|password| Secret::new(*password)).collect();
    Archive {
        format,
        spool,
        options: Arc::new(ArchiveOptions {
            file_name,
            passwords,
            depth: 1,
            ..ArchiveOptions::default()
        }),
        spooler,
        recognise: blobferry::archive::recognise,
    }
}

async fn members(path: &Path, passwords: &[&str]) -> Vec<Checked> {
    let result = open(path, passwords).await.check(CheckWish { keep_bytes: 0, md5: true }).await;
    result
        .unwrap_or_else(|error| panic!("{}: {}", path.display(), chain(&error)))
        .members
        .iter()
        .collect()
}

async fn refusal(path: &Path, passwords: &[&str]) -> String {
    let error = open(path, passwords)
        .await
        .check(CheckWish { keep_bytes: 0, md5: true })
        .await
        .expect_err("it is refused");
    format!("{}: {}", error.class(), chain(&error))
}

const SECOND: i128 = 1_000_000_000;

#[tokio::test]
async fn tars_of_both_programs_in_every_format() {
    let Some(()) = archivers() else { return };
    let mut tree = Tree::awkward();
    for (format, precision) in [("gnu", SECOND), ("oldgnu", SECOND), ("posix", 1)] {
        tree.add(b"new\nline", b"4");
        tree.add("l/".repeat(900).as_bytes().strip_suffix(b"/").unwrap(), b"deep");
        tree.add(b"not utf-8 \xFF\xFE", b"5");
        let name = format!("{format}.tar");
        run(tree.folder.path(), "tar", &["-cf", &name, &format!("--format={format}"), "in"]);
        tree.check(&name, precision).await;
    }
    for format in ["pax", "gnutar"] {
        let name = format!("bsd-{format}.tar");
        run(tree.folder.path(), "bsdtar", &["-cf", &name, &format!("--format={format}"), "in"]);
        tree.check(&name, if format == "pax" { 1 } else { SECOND }).await;
    }
    run(&tree.path("in"), "tar", &["-cf", "../dot.tar", "."]);
    tree.check("dot.tar", SECOND).await;
    let mut short = Tree::new();
    short.add(b"a.txt", b"1");
    short.add(b"d/b.txt", &noise(10_000));
    for format in ["v7", "ustar"] {
        run(
            short.folder.path(),
            "tar",
            &["-cf", &format!("{format}.tar"), &format!("--format={format}"), "in"],
        );
        short.check(&format!("{format}.tar"), SECOND).await;
    }
}

#[tokio::test]
async fn a_path_of_ten_thousand_bytes() {
    let Some(()) = archivers() else { return };
    let mut short = Tree::new();
    short.add(b"a", b"far down");
    let long = "directory-of-thirty-characters/".repeat(330);
    for format in ["gnu", "posix"] {
        let rename = format!("--transform=s,^a$,{long}a,");
        run(
            &short.path("in"),
            "tar",
            &["-cf", "../long.tar", &format!("--format={format}"), &rename, "a"],
        );
        let members = members(&short.path("long.tar"), &[]).await;
        assert_eq!(
            (members.len(), members[0].member.name.clone(), members[0].size),
            (1, format!("{long}a"), 8)
        );
    }
}

#[tokio::test]
async fn hard_links_and_sparse_files_are_the_bytes_that_they_mean() {
    let Some(()) = archivers() else { return };
    let mut tree = Tree::new();
    tree.add(b"a", &noise(3000));
    std::fs::hard_link(tree.path("in/a"), tree.path("in/b")).expect("a link");
    std::os::unix::fs::symlink("a", tree.path("in/c")).expect("a link");
    run(tree.folder.path(), "tar", &["-cf", "links.tar", "--sort=name", "in"]);
    let links = members(&tree.path("links.tar"), &[]).await;
    let of = |name: &str| {
        let found = links.iter().find(|checked| checked.member.name == name).expect(name);
        (found.member.kind, found.size, found.md5)
    };
    let content: [u8; 16] = Md5::digest(noise(3000)).into();
    assert_eq!(links.len(), 4);
    assert_eq!(of("in/").0, MemberKind::Directory);
    assert_eq!(of("in/a"), (MemberKind::File, 3000, Some(content)));
    assert_eq!(of("in/b"), of("in/a"));
    assert_eq!(of("in/c").0, MemberKind::Link);
    let sparse = std::fs::File::create(tree.path("in/sparse")).expect("a file");
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"far out", 3 << 20).expect("written");
    sparse.set_len(5 << 20).expect("a hole");
    let content = std::fs::read(tree.path("in/sparse")).expect("it is read");
    let content: [u8; 16] = Md5::digest(content).into();
    for form in ["gnu", "oldgnu", "posix"] {
        for version in ["0.0", "0.1", "1.0"] {
            let (form, version) =
                (format!("--format={form}"), format!("--sparse-version={version}"));
            run(tree.folder.path(), "tar", &["-cSf", "sparse.tar", &form, &version, "in/sparse"]);
            let size = std::fs::metadata(tree.path("sparse.tar")).expect("it is there").len();
            assert!(size < 1 << 20, "{form} {version}: the archive has no holes");
            let found = &members(&tree.path("sparse.tar"), &[]).await[0];
            assert_eq!(
                (&*found.member.name, found.size, found.md5),
                ("in/sparse", 5 << 20, Some(content)),
                "{form} {version}"
            );
        }
    }
    run(
        tree.folder.path(),
        "tar",
        &["-cf", "incremental.tar", "--listed-incremental=snapshot", "in"],
    );
    assert!(
        members(&tree.path("incremental.tar"), &[])
            .await
            .iter()
            .any(|checked| checked.member.name == "in/a" && checked.size == 3000)
    );
}

#[tokio::test]
async fn compressed_files_and_tars_of_every_program() {
    let Some(()) = archivers() else { return };
    let tree = Tree::awkward();
    run(tree.folder.path(), "tar", &["-cf", "all.tar", "in"]);
    let commands: [(&str, &[&str], &str); 12] = [
        ("gzip", &["-k9"], "gz"),
        ("gzip", &["-k1n"], "gz"),
        ("bzip2", &["-k9"], "bz2"),
        ("xz", &["-k6"], "xz"),
        ("xz", &["-k0", "-T2", "--block-size=50000", "--check=sha256"], "xz"),
        ("xz", &["-k3", "--check=none", "--delta=dist=4", "--lzma2=preset=1"], "xz"),
        ("zstd", &["-qk19"], "zst"),
        ("zstd", &["-qk1", "--no-check", "-T2"], "zst"),
        ("zstd", &["-qk3", "--long=27"], "zst"),
        ("lz4", &["-qk1", "-m"], "lz4"),
        ("lz4", &["-qk9", "-m", "-BD", "-B4"], "lz4"),
        ("lz4", &["-qk1", "-m", "-B7", "-BX", "--content-size", "--no-frame-crc"], "lz4"),
    ];
    for (program, arguments, ending) in commands {
        for name in ["all.tar", "in/noise.bin", "in/data.csv", "in/empty"] {
            let packed = tree.path(&format!("{name}.{ending}"));
            if packed.exists() {
                std::fs::remove_file(&packed).expect("it goes");
            }
            run(tree.folder.path(), program, &[arguments, &[name]].concat());
            if name == "all.tar" {
                tree.check(&format!("{name}.{ending}"), SECOND).await;
                continue;
            }
            let members = members(&packed, &[]).await;
            let short = name.strip_prefix("in/").unwrap_or(name);
            let expected = &tree.files[short.as_bytes()];
            assert_eq!(
                (members.len(), members[0].member.name.as_str()),
                (1, short),
                "{program} {arguments:?}"
            );
            assert_eq!(
                (members[0].size, members[0].md5),
                (expected.len() as u64, Some(Md5::digest(expected).into())),
                "{program} {arguments:?}"
            );
            // Appended, as logs are.
            let twice = std::fs::read(&packed).expect("it is there").repeat(2);
            std::fs::write(tree.path("twice.bin"), &twice).expect("it writes");
            let both = self::members(&tree.path("twice.bin"), &[]).await;
            assert_eq!(
                (both[0].size, both[0].md5),
                (2 * members[0].size, Some(Md5::digest(expected.repeat(2)).into())),
                "{program} {arguments:?}"
            );
        }
    }
    run(tree.folder.path(), "lz4", &["-lqkf", "in/data.csv", "legacy.lz4"]);
    assert!(
        refusal(&tree.path("legacy.lz4"), &[])
            .await
            .contains("archive_unsupported: unpacking: it is an lz4 of the legacy format")
    );
}

#[tokio::test]
async fn sevenz_with_every_method() {
    let Some(()) = archivers() else { return };
    let mut tree = Tree::awkward();
    let program =
        std::fs::read(std::env::current_exe().expect("this program")).expect("it can be read");
    tree.add(b"program.exe", &program[..program.len().min(1 << 20)]);
    let methods = [
        "-mx=9",
        "-mx=0",
        "-m0=LZMA",
        "-m0=LZMA2",
        "-m0=PPMd",
        "-m0=BZip2",
        "-m0=Deflate",
        "-mf=BCJ",
        "-mf=BCJ2",
        "-m0=Delta:4 -m1=LZMA2",
        "-ms=off",
        "-ms=off -mhc=off",
        "-mf=ARM64 -m0=LZMA2",
        "-m0=PPMd -m0=PPMd:o=16:mem=64m",
    ];
    for method in methods {
        let arguments: Vec<&str> = method.split(' ').collect();
        tree.remove("a.7z");
        run(
            tree.folder.path(),
            "7zz",
            &[&["a", "-bd", "-mtm=on"], &arguments[..], &["a.7z", "in"]].concat(),
        );
        tree.check("a.7z", 100).await;
    }
    run(tree.folder.path(), "bsdtar", &["-cf", "bsd.7z", "--format=7zip", "in"]);
    tree.check("bsd.7z", 100).await;
    tree.remove("a.7z");
    run(tree.folder.path(), "7zz", &["a", "-bd", "-mtm=on", "-m0=Deflate64", "a.7z", "in"]);
    tree.check("a.7z", 100).await;
    run(tree.folder.path(), "7zz", &["a", "-bd", "-v100k", "split.7z", "in"]);
    let refused = refusal(&tree.path("split.7z.001"), &[]).await;
    assert!(
        refused.contains("archive_unsupported") && refused.contains("one part of a split 7z"),
        "{refused}"
    );
}

#[tokio::test]
async fn sevenz_with_passwords() {
    let Some(()) = archivers() else { return };
    let mut tree = Tree::new();
    tree.add(b"a.txt", b"secret");
    tree.add(b"d/b.bin", &noise(50_001));
    for (name, more) in
        [("content.7z", &[][..]), ("names.7z", &["-mhe=on"]), ("single.7z", &["-ms=off", "-mx=0"])]
    {
        run(
            tree.folder.path(),
            "7zz",
            &[&["a", "-bd", "-mtm=on", "-ppäss wörd"], more, &[name, "in"]].concat(),
        );
        for passwords in [&["päss wörd"][..], &["wrong", "", "päss wörd"]] {
            tree.compare(name, &members(&tree.path(name), passwords).await, 100);
        }
        for passwords in [&[][..], &["wrong"], &["wrong", "worse"]] {
            let refused = refusal(&tree.path(name), passwords).await;
            assert!(
                refused.starts_with("archive_encrypted") && !refused.contains("wörd"),
                "{name}: {refused}"
            );
        }
    }
}
