//! The files that the demo's servers offer: ordinary ones, awkward names, archives, one that is
//! still growing.

use std::fs::{self, File, FileTimes};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Names that other tools lose, change or trip over. All are legal on any server.
const AWKWARD: &[&str] = &[
    "plain.txt",
    " leading and trailing blanks ",
    "100% sure?.txt",
    "#hash&and+plus=.csv",
    "quote's \"double\".txt",
    "semi;colon,comma.txt",
    "back\\slash.txt",
    "[brackets]{braces}.txt",
    "~tilde",
    "-dash-first",
    ".hidden",
    "trailing dot.",
    "..two dots first",
    "a -> b",
    "226 Transfer complete.",
    "caf\u{e9} (NFC).txt",
    "cafe\u{301} (NFD).txt",
    "日本語 ☃ 🚢.txt",
    "UPPER.TXT",
    "upper.txt",
    "name!",
    "%41%2F.txt",
];

/// The size of the file in the demo's big zip, as in the predecessor's own test.
const ZIPPED_BYTES: usize = 5 << 20;

/// Lays out the files of the SFTP server below `root`. Returns the path of the file that a writer
/// keeps growing.
pub fn sftp(root: &Path) -> io::Result<PathBuf> {
    let old = SystemTime::now() - Duration::from_secs(86_400);
    for day in 1..=20 {
        let text = format!("day,amount\n{day},{}\n", day * 1_000).repeat(200);
        write(
            &root.join(format!("outbound/daily/report-2026-11-{day:02}.csv")),
            text.as_bytes(),
            old,
        )?;
    }
    for (index, name) in AWKWARD.iter().enumerate() {
        write(
            &root.join("outbound/names").join(name),
            format!("file {index}: {name}\n").as_bytes(),
            old,
        )?;
    }
    raw_names(&root.join("outbound/names"), old)?;
    write(&root.join("outbound/zips/test_file.zip"), &big_zip()?, old)?;
    write(&root.join("outbound/zips/many.zip"), &many_zip()?, old)?;
    write(&root.join("outbound/upload-in-progress.csv.part"), b"not yet", old)?;
    let growing = root.join("outbound/still-writing.csv");
    write(&growing, b"row\n", SystemTime::now())?;
    Ok(growing)
}

/// Lays out the files of the FTP server below `root`.
pub fn ftp(root: &Path) -> io::Result<()> {
    let old = SystemTime::now() - Duration::from_secs(86_400);
    for folder in ["north", "south", "east", "west"] {
        for index in 0..50 {
            let text = format!("{folder} {index}\n").repeat(1_500);
            write(
                &root.join(format!("export/{folder}/part-{index:04}.txt")),
                text.as_bytes(),
                old,
            )?;
        }
    }
    write(&root.join("export/test_file.zip"), &big_zip()?, old)?;
    write(&root.join("export/large.bin"), &noise(24 << 20, 7), old)?;
    write(&root.join("export/empty.txt"), b"", old)
}

/// A byte that is no UTF-8 and a control character: legal on Unix servers.
#[cfg(unix)]
fn raw_names(folder: &Path, modified: SystemTime) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    for name in [&b"caf\xe9 (Latin-1).txt"[..], b"tab\there.txt"] {
        write(&folder.join(std::ffi::OsStr::from_bytes(name)), name, modified)?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn raw_names(_folder: &Path, _modified: SystemTime) -> io::Result<()> {
    Ok(())
}

fn write(path: &Path, content: &[u8], modified: SystemTime) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.set_times(FileTimes::new().set_modified(modified))
}

fn big_zip() -> io::Result<Vec<u8>> {
    zipped([("test_file.bin".to_owned(), noise(ZIPPED_BYTES, 1))], CompressionMethod::Stored)
}

fn many_zip() -> io::Result<Vec<u8>> {
    let member = |index: usize| {
        (
            format!("folder {}/member-{index:03}.csv", index % 5),
            format!("{index};value\n").repeat(300).into_bytes(),
        )
    };
    zipped(
        (0..100)
            .map(member)
            .chain([("../climbs out.txt".to_owned(), b"a member that climbs".to_vec())]),
        CompressionMethod::Deflated,
    )
}

fn zipped(
    members: impl IntoIterator<Item = (String, Vec<u8>)>,
    method: CompressionMethod,
) -> io::Result<Vec<u8>> {
    let mut zip = ZipWriter::new(io::Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(method);
    for (name, content) in members {
        zip.start_file(name, options).map_err(io::Error::other)?;
        zip.write_all(&content)?;
    }
    Ok(zip.finish().map_err(io::Error::other)?.into_inner())
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut noise: Vec<u8> =
        std::iter::repeat_with(step).take(bytes.div_ceil(8)).flatten().collect();
    noise.truncate(bytes);
    noise
}
