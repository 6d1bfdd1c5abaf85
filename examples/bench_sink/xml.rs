//! Entries of listings, as XML.

use crate::{Blob, DATE};

/// The entry of a blob.
pub(crate) fn listed(name: &str, blob: &Blob, with_metadata: bool) -> String {
    let md5 = blob
        .properties
        .iter()
        .find(|(key, _)| *key == "content-md5")
        .map(|(_, md5)| format!("<Content-MD5>{}</Content-MD5>", escaped(md5)));
    let metadata: String = blob
        .metadata
        .iter()
        .map(|(key, value)| format!("<{key}>{}</{key}>", escaped(value)))
        .collect();
    let metadata =
        if with_metadata { format!("<Metadata>{metadata}</Metadata>") } else { String::new() };
    format!(
        "<Blob><Name>{}</Name><Properties><Creation-Time>{DATE}</Creation-Time>\
        <Last-Modified>{DATE}</Last-Modified><Etag>0x{:X}</Etag>\
        <Content-Length>{}</Content-Length><Content-Type>application/octet-stream</Content-Type>{}\
        <BlobType>{}</BlobType></Properties>{metadata}</Blob>",
        escaped(name),
        blob.etag,
        blob.size,
        md5.unwrap_or_default(),
        if blob.append { "AppendBlob" } else { "BlockBlob" },
    )
}

/// A text between tags.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
