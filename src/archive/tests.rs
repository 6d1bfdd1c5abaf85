//! What tests of formats have in common: reading an archive from memory.

use crate::archive::contract::{Format, Member, UnpackError};
use crate::archive::limits::{ArchiveLimits, Meter};
use crate::archive::options::ArchiveOptions;
use crate::archive::recognise;
use crate::archive::spool_reader::Spool;
use crate::model::chain;
use crate::model::failure::{Class, Failure};

/// Members with their contents.
pub type Read = Vec<(Member, Vec<u8>)>;

/// All that `format` finds in `archive`.
pub fn read_by(
    format: &dyn Format,
    archive: &[u8],
    options: &ArchiveOptions,
) -> Result<Read, UnpackError> {
    let spool = Spool::of(archive);
    let mut read = Vec::new();
    format.visit(
        spool.reader(),
        options,
        &Meter::new(options.limits.clone(), spool.size()),
        &mut |member, content| {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes).map_err(UnpackError::from_read)?;
            read.push((member.clone(), bytes));
            Ok(())
        },
    )?;
    Ok(read)
}

/// All that a file called `name` holds.
pub fn read(name: &str, archive: &[u8]) -> Result<Read, UnpackError> {
    let options = ArchiveOptions { file_name: name.to_owned(), ..ArchiveOptions::default() };
    read_by(
        recognise(&archive[..archive.len().min(512)], name).expect("it is recognised"),
        archive,
        &options,
    )
}

/// Asserts that the file holds just these names and contents, in this order.
pub fn check(name: &str, archive: &[u8], expected: &[(&str, &[u8])]) {
    let read = read(name, archive).unwrap_or_else(|error| panic!("{name}: {}", chain(&error)));
    let found: Vec<_> =
        read.iter().map(|(member, bytes)| (member.name.as_str(), bytes.as_slice())).collect();
    assert_eq!(found, expected);
    assert!(read.iter().enumerate().all(|(index, (member, _))| member.index == index));
    assert!(
        read.iter()
            .all(|(member, bytes)| member.size.is_none_or(|size| size == bytes.len() as u64))
    );
}

/// Asserts that the file cannot be read, with an error of `class` that says `why`.
pub fn fails(name: &str, archive: &[u8], class: Class, why: &str) {
    match read(name, archive) {
        Ok(read) => panic!("{name} was read: {} members", read.len()),
        Err(error) => assert!(
            error.class() == class && chain(&error).contains(why),
            "{name}: {}: {}",
            error.class(),
            chain(&error)
        ),
    }
}

/// Options with other limits.
pub fn within(name: &str, limits: ArchiveLimits) -> ArchiveOptions {
    ArchiveOptions { file_name: name.to_owned(), limits, ..ArchiveOptions::default() }
}
