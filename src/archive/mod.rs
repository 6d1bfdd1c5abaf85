//! Archives: the table of formats.

pub mod checked_members;
pub mod compressed;
mod compressed_stream;
pub mod contract;
mod deflate64_stream;
pub mod dictionary_budget;
pub mod error;
pub mod limits;
mod lz4_frame;
mod member_table;
pub mod names;
mod nested;
pub mod options;
pub mod sevenz;
mod sevenz_aes;
mod sevenz_coders;
mod sevenz_content;
mod sevenz_header;
mod sevenz_swap;
pub mod spool;
pub mod spool_reader;
pub mod tar;
mod tar_blocks;
mod tar_extended;
mod tar_header;
mod tar_links;
mod tar_sparse;
#[cfg(test)]
mod tests;
pub mod unpack;
mod unpack_order;
pub mod unread;
pub mod verify;
mod xz;
mod xz_checks;
pub mod zip;

use contract::Format;

/// Every format that is read, in the order in which they are asked.
pub(crate) const FORMATS: &[&dyn Format] = &[
    &zip::Zip,
    &compressed::Documents,
    &tar::Tar,
    &compressed::Compressed(compressed_stream::Codec::Gz),
    &compressed::Compressed(compressed_stream::Codec::Bz2),
    &compressed::Compressed(compressed_stream::Codec::Xz),
    &compressed::Compressed(compressed_stream::Codec::Zst),
    &compressed::Compressed(compressed_stream::Codec::Lz4),
    &sevenz::SevenZ,
];

/// The format that a file called `name` that begins with `head` (up to [`contract::HEAD_BYTES`])
/// may have, if it may be an archive: [`contract::Format::nature`] tells, once all of it is there.
pub fn recognise(head: &[u8], name: &str) -> Option<&'static dyn Format> {
    FORMATS.iter().copied().find(|format| format.recognises(head, name))
}

#[cfg(test)]
impl unpack::Archive {
    /// `spool` as `format`, read by the defaults, with little room for archives in it.
    pub(crate) fn of(format: &'static dyn Format, spool: spool::Spool) -> Self {
        let folder = std::env::temp_dir();
        let limits = spool::SpoolLimits {
            memory_bytes: 8 << 20,
            archive_memory_bytes: 2 << 20,
            temp_bytes: 64 << 20,
            folder,
        };
        Self {
            format,
            spool,
            options: std::sync::Arc::default(),
            spooler: spool::Spooler::new(limits),
            recognise,
        }
    }
}
