//! The zip format: each member proven by size and CRC-32, or by its authentication code.

mod beginning;
mod cipher;
mod content;
mod directory;
mod end;
mod extent;
mod fields;
mod input;
mod legacy;
mod locks;
#[cfg(test)]
mod making;
mod method;
mod names;
mod opened;
mod partial;
#[cfg(test)]
mod tests;

use std::io::Read;
use std::sync::Arc;

use crate::archive::contract::{Format, Indexed, Nature, Partial, UnpackError, Visit};
use crate::archive::limits::Meter;
use crate::archive::options::ArchiveOptions;
use crate::archive::spool_reader::SpoolReader;
use crate::archive::zip::beginning::HEAD_BYTES;
use crate::archive::zip::directory::ZipEntry;
use crate::archive::zip::method::STORED;
use crate::archive::zip::opened::ZipOpened;
use crate::archive::zip::partial::ZipInParts;
use crate::model::failure::{Class, Failure};

/// zip, with zip64, data descriptors, both usual ciphers and every method that is still written.
#[derive(Debug)]
pub struct Zip;

impl Format for Zip {
    fn name(&self) -> &'static str {
        "zip"
    }

    fn recognises(&self, head: &[u8], name: &str) -> bool {
        let ends = |ending: &str| {
            name.len() >= ending.len()
                && name.as_bytes()[name.len() - ending.len()..]
                    .eq_ignore_ascii_case(ending.as_bytes())
        };
        beginning::begins_as_zip(head) || ends(".zip") || ends(".zipx")
    }

    fn nature(&self, mut archive: SpoolReader) -> Result<Nature, UnpackError> {
        let mut head = [0; HEAD_BYTES];
        let there = archive.size().min(head.len() as u64) as usize;
        archive.read_exact(&mut head[..there]).map_err(UnpackError::from_read)?;
        let directory = match end::find(&mut archive) {
            // Only its name or its first bytes say that it is a zip: without a directory and a
            // member it is a file like others.
            Err(error)
                if error.class() == Class::ArchiveDamaged
                    && !beginning::begins_with_a_member(&head[..there]) =>
            {
                return Ok(match beginning::begins_as_zip(&head[..there]) {
                    true => Nature::Beginning,
                    false => Nature::Other,
                });
            }
            found => found?,
        };
        let mut index = 0;
        let mut document = false;
        directory.entries(&mut archive, |entry| {
            document |= marks_document(index, &entry);
            index += 1;
            Ok(())
        })?;
        Ok(if document { Nature::Document } else { Nature::Archive })
    }

    fn visit(
        &self,
        archive: SpoolReader,
        options: &ArchiveOptions,
        meter: &Meter,
        visit: &mut Visit<'_>,
    ) -> Result<(), UnpackError> {
        let opened = ZipOpened::new(archive.clone(), options, meter, None)?;
        (0..opened.count())
            .try_for_each(|index| opened.visit_one(index, archive.clone(), options, meter, visit))
    }

    fn index(
        &self,
        archive: SpoolReader,
        options: &ArchiveOptions,
        meter: &Meter,
    ) -> Result<Option<Arc<dyn Indexed>>, UnpackError> {
        Ok(Some(Arc::new(ZipOpened::new(archive, options, meter, None)?)))
    }

    fn partial(&self) -> Option<&dyn Partial> {
        Some(&ZipInParts)
    }
}

/// What office documents, Java and Android programs, e-books and Python packages are told by.
fn marks_document(index: u64, entry: &ZipEntry) -> bool {
    let is_short_and_stored = entry.method == STORED && entry.unpacked < 256;
    match entry.raw_name.as_slice() {
        b"[Content_Types].xml"
        | b"META-INF/MANIFEST.MF"
        | b"AndroidManifest.xml"
        | b"META-INF/container.xml"
        | b"Index/Document.iwa" => true,
        b"EGG-INFO/PKG-INFO" => true,
        b"META-INF/" => index == 0,
        b"mimetype" => index == 0 && is_short_and_stored,
        name => name.ends_with(b".dist-info/WHEEL"),
    }
}
