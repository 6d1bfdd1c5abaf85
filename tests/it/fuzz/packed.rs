//! Archives through the door by which they come: recognised, judged, read to their end under tight
//! limits, and unpacked.

use std::io::Read;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use blobferry::archive::contract::{HEAD_BYTES, MemberKind, Nature};
use blobferry::archive::error::UnpackError;
use blobferry::archive::limits::{ArchiveLimits, Meter};
use blobferry::archive::options::{ArchiveOptions, Charset};
use blobferry::archive::recognise;
use blobferry::archive::spool::{SpoolLimits, SpoolRoom, Spooler};
use blobferry::archive::spool_reader::Spool;
use blobferry::archive::unpack::{Archive, CheckWish, Part};
use blobferry::archive::verify::Checked;
use blobferry::model::failure::{Class, Failure};
use blobferry::model::{Secret, chain};
use bytes::Bytes;
use tokio::runtime::Runtime;

use super::names;
use super::taking::Taking;

/// So little that every limit is met.
pub const LIMITS: ArchiveLimits = ArchiveLimits {
    total_bytes: 1 << 20,
    member_bytes: 256 << 10,
    ratio: 200,
    members: 100,
    time: Duration::from_secs(60),
};

/// The runtime of everything that is async here.
pub static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
});

static SPOOLER: LazyLock<Spooler> = LazyLock::new(|| {
    let folder = std::env::temp_dir();
    Spooler::new(SpoolLimits {
        memory_bytes: 64 << 20,
        archive_memory_bytes: 4 << 20,
        temp_bytes: 0,
        folder,
    })
});

/// A character set of names, one of those that decode in ways of their own.
pub fn charset(byte: u8) -> Charset {
    match byte & 3 {
        0 => Charset::Detect,
        1 => Charset::Cp437,
        2 => Charset::Named(encoding_rs::SHIFT_JIS),
        _ => Charset::Named(encoding_rs::GB18030),
    }
}

/// How an archive is read in the form of this number.
pub fn options(name: &str, form: u8) -> ArchiveOptions {
    ArchiveOptions {
        file_name: name.into(),
        passwords: if form & 4 != 0 { vec![Secret::new("secret")] } else { Vec::new() },
        charset: charset(form),
        unpack_documents: form & 8 != 0,
        limits: LIMITS,
        ..ArchiveOptions::default()
    }
}

/// The first byte says how it is read, the rest is the archive.
pub fn zip(bytes: &[u8]) {
    let mut taking = Taking(bytes);
    let form = taking.byte();
    // By its name it is looked at even where it does not begin as one.
    unpack("a.zip", taking.0, options("a.zip", form));
    in_parts(taking.0, &options("a.zip", form));
}

/// With an odd first byte, checksums of headers are put right, so that what is behind them is read.
pub fn tar(bytes: &[u8]) {
    let mut taking = Taking(bytes);
    let form = taking.byte();
    let mut archive = taking.0.to_vec();
    if form & 0x10 != 0 {
        archive
            .chunks_exact_mut(512)
            .filter(|block| block[257..].starts_with(b"ustar"))
            .for_each(super::seeds::sum);
    }
    unpack("a.tar", &archive, options("a.tar", form));
}

/// Whatever it begins as.
pub fn compressed(bytes: &[u8]) {
    let mut taking = Taking(bytes);
    let form = taking.byte();
    let names = ["a", "a.gz", "a.tgz", "a.bz2", "a.xz", "a.zst", "a.lz4", "a.svgz"];
    unpack(names[usize::from(form >> 4 & 7)], taking.0, options("a", form));
}

/// As it is; or as packed content and a header, of which the checksums hold.
pub fn sevenz(bytes: &[u8]) {
    let mut taking = Taking(bytes);
    let form = taking.byte();
    let archive = match form & 0x10 {
        0 => taking.0.to_vec(),
        _ => {
            let packed = taking.piece();
            super::seeds::wrapped_7z(packed, taking.0)
        }
    };
    unpack("a.7z", &archive, options("a.7z", form));
}

fn spool(bytes: &[u8]) -> Spool {
    let spooled = async {
        let mut writer = SPOOLER.writer(Some(bytes.len() as u64), SpoolRoom::Wait).await?;
        writer.write(Bytes::copy_from_slice(bytes)).await?;
        writer.finish().await
    };
    RUNTIME.block_on(spooled).expect("there is room")
}

/// Reads `bytes`, a file called `name`, in every way in which a run does. What it holds, if it is
/// an archive that can be read.
pub fn unpack(name: &str, bytes: &[u8], options: ArchiveOptions) -> Option<Vec<Checked>> {
    let format = recognise(&bytes[..bytes.len().min(HEAD_BYTES)], name)?;
    let spool = spool(bytes);
    let meter = Meter::new(options.limits.clone(), spool.size());
    let (mut delivered, mut members) = (0u64, 0u64);
    let visited = format.visit(spool.reader(), &options, &meter, &mut |member, content| {
        let mut of_one = 0u64;
        let mut buffer = [0; 4096];
        loop {
            let read = content.read(&mut buffer).map_err(UnpackError::from_read)?;
            of_one += read as u64;
            assert!(of_one <= LIMITS.member_bytes, "{of_one} bytes of one member");
            if read == 0 {
                break;
            }
        }
        assert_eq!(member.index as u64, members, "members are counted in order");
        assert!(
            member.size.is_none_or(|size| size == of_one),
            "`Ok` though {of_one} bytes are not the {:?} that were claimed",
            member.size
        );
        (members, delivered) = (members + 1, delivered + of_one);
        Ok(())
    });
    assert!(
        members <= LIMITS.members && delivered <= LIMITS.total_bytes,
        "{members} members, {delivered} bytes"
    );
    if let Err(error) = &visited {
        told::<()>(error);
    }
    let archive =
        Archive { format, spool, options: Arc::new(options), spooler: SPOOLER.clone(), recognise };
    let proven = RUNTIME.block_on(proven(&archive))?;
    assert!(visited.is_ok(), "one reading fails and the other does not: {visited:?}");
    names::places(proven.iter().filter(is_file).map(|checked| {
        (&checked.member.within[..], &checked.member.name[..], &checked.member.raw_name[..])
    }));
    Some(proven)
}

fn is_file(checked: &&Checked) -> bool {
    checked.member.kind == MemberKind::File
}

/// Checks and unpacks, as a run does: what was proved comes out again.
async fn proven(archive: &Archive) -> Option<Vec<Checked>> {
    match archive.nature().await {
        Ok(Nature::Archive | Nature::Document) => {}
        Ok(Nature::Beginning | Nature::Other) => return None,
        Err(error) => return told(&error),
    }
    let proven = match archive.check(CheckWish { keep_bytes: 0, md5: true }).await {
        Ok(proven) => proven,
        Err(error) => return told(&error),
    };
    let sizes: Vec<u64> = proven.members.iter().map(|checked| checked.size).collect();
    let total: u64 = sizes.iter().sum();
    assert!(
        total <= LIMITS.total_bytes && sizes.iter().all(|size| *size <= LIMITS.member_bytes),
        "more came out than may: {sizes:?}"
    );
    assert!(sizes.len() as u64 <= LIMITS.members, "{} members", sizes.len());
    let mut again = vec![None; sizes.len()];
    for mut parts in archive.stream(&proven) {
        let mut current = None;
        while let Some(part) = parts.next().await {
            match part.unwrap_or_else(|error| panic!("it was proved and fails: {}", chain(&error)))
            {
                Part::Begin(member) => current = Some((member.index, 0)),
                Part::Chunk(bytes) => {
                    current = current.map(|(index, size)| (index, size + bytes.len() as u64))
                }
                Part::End => {
                    let (index, size) = current.take().expect("it began");
                    assert_eq!(again[index].replace(size), None, "member {index} comes twice");
                }
            }
        }
    }
    let kept = |(checked, again): (Checked, &Option<u64>)| {
        checked.kept.is_some() || *again == Some(checked.size)
    };
    assert!(
        proven.members.iter().zip(&again).all(kept),
        "what came out is not what was proved: {sizes:?} {again:?}"
    );
    Some(proven.members.iter().collect())
}

/// The error has a class of archives, and its words can be shown.
fn told<T>(error: &UnpackError) -> Option<T> {
    use Class::{ArchiveDamaged, ArchiveEncrypted, ArchiveUnsupported, LimitArchive, LimitTemp};
    let (class, words) = (error.class(), chain(error));
    assert!(
        matches!(
            class,
            ArchiveDamaged | ArchiveEncrypted | ArchiveUnsupported | LimitArchive | LimitTemp
        ),
        "{class:?}: {words}"
    );
    super::printable(&words);
    None
}

/// A zip by its directory alone.
fn in_parts(bytes: &[u8], options: &ArchiveOptions) {
    let format = recognise(bytes.get(..4).unwrap_or_default(), "a.zip")
        .and_then(|format| format.partial())
        .expect("a zip can be read in parts");
    let spool = spool(bytes);
    let Ok(range) = format.directory(spool.reader()).map_err(|error| told::<()>(&error)) else {
        return;
    };
    assert!(
        range.start <= range.end && range.end <= spool.size(),
        "a directory at {range:?} of {} bytes",
        spool.size()
    );
    let meter = Meter::new(options.limits.clone(), spool.size());
    let Ok(places) =
        format.places(spool.reader(), options, &meter).map_err(|error| told::<()>(&error))
    else {
        return;
    };
    assert!(places.len() as u64 <= LIMITS.members, "{} places", places.len());
    for place in &places {
        assert!(place.bytes.start <= place.bytes.end, "a place at {:?}", place.bytes);
    }
    let wanted: Vec<bool> = (0..places.len()).map(|at| at % 2 == 0).collect();
    let Ok(opened) =
        format.open(spool.reader(), options, &meter, &wanted).map_err(|error| told::<()>(&error))
    else {
        return;
    };
    for (index, _) in wanted.iter().enumerate().filter(|(_, wanted)| **wanted) {
        let read = opened.visit_one(
            index,
            spool.reader(),
            options,
            &meter,
            &mut |_, content: &mut dyn Read| {
                std::io::copy(content, &mut std::io::sink())
                    .map(drop)
                    .map_err(UnpackError::from_read)
            },
        );
        if let Err(error) = read {
            told::<()>(&error);
        }
    }
}
