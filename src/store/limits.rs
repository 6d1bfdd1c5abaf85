//! What Azure accepts, checked by every store before a byte moves, so that the fakes refuse what
//! the service would.

use crate::store::contract::{MAX_BLOCKS, MAX_METADATA_BYTES, Metadata, Properties};

/// The most bytes of one append.
pub(crate) const MAX_APPEND_BYTES: usize = 4 << 20;
/// The most bytes of one block or one whole write. Azure takes 4,000 MiB and 5,000 MiB; nothing
/// here comes near.
pub(crate) const MAX_REQUEST_BYTES: usize = 4_000 << 20;

/// Refuses what cannot travel as headers: a control character in one would end the request.
pub(crate) fn check_properties(properties: &Properties) -> Result<(), String> {
    if properties.content_type.is_empty()
        || !properties.content_type.bytes().all(|b| (0x20..0x7f).contains(&b))
    {
        return Err("the content type is empty or not printable ASCII".into());
    }
    check_metadata(&properties.metadata)
}

fn check_metadata(metadata: &Metadata) -> Result<(), String> {
    for (key, value) in metadata {
        // Azure wants a C# identifier; headers are case-insensitive, so one case only.
        let mut bytes = key.bytes();
        let starts_well = bytes.next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
        if !starts_well || !bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        {
            return Err(format!(
                "the metadata name `{}` is not made of lower-case letters, digits and `_`",
                key.escape_default()
            ));
        }
        if !value.bytes().all(|b| (0x20..0x7f).contains(&b)) || value.trim() != value {
            return Err(format!(
                "the metadata value of `{key}` is not printable ASCII, or has blanks at an end"
            ));
        }
    }
    let bytes: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > MAX_METADATA_BYTES {
        return Err(format!("the metadata has {bytes} bytes; allowed are {MAX_METADATA_BYTES}"));
    }
    Ok(())
}

/// Refuses a block that Azure refuses.
pub(crate) fn check_block(index: u32, bytes: usize) -> Result<(), String> {
    if bytes == 0 || bytes > MAX_REQUEST_BYTES {
        return Err(format!("a block of {bytes} bytes; allowed are 1 to {MAX_REQUEST_BYTES}"));
    }
    check_blocks(index.saturating_add(1))
}

/// Refuses a block list that is too long.
pub(crate) fn check_blocks(blocks: u32) -> Result<(), String> {
    if u64::from(blocks) > MAX_BLOCKS {
        return Err(format!("{blocks} blocks; allowed are {MAX_BLOCKS}"));
    }
    Ok(())
}

/// Refuses an append that Azure refuses.
pub(crate) fn check_append(bytes: usize) -> Result<(), String> {
    if bytes == 0 || bytes > MAX_APPEND_BYTES {
        return Err(format!("an append of {bytes} bytes; allowed are 1 to {MAX_APPEND_BYTES}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, value: &str) -> bool {
        check_metadata(&Metadata::from([(key.to_owned(), value.to_owned())])).is_ok()
    }

    #[test]
    fn metadata_is_what_a_header_can_carry() {
        assert!(
            check("source_path", "/a%20b.zip")
                && check("_x1", "")
                && check("k", &"v".repeat(MAX_METADATA_BYTES - 1))
        );
        assert!(
            !check("a-b", "v") && !check("1bad", "v") && !check("Mtime", "v") && !check("", "v")
        );
        assert!(
            !check("k", " v")
                && !check("k", "v\n")
                && !check("k", "é")
                && !check("k", &"v".repeat(MAX_METADATA_BYTES))
        );
    }
}
