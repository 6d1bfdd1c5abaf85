//! What the service says of a blob, in our words.

use azure_core::http::Etag as SdkEtag;
use azure_core::http::headers::{HeaderName, Headers};
use azure_storage_blob::models::BlobItem;
use base64::Engine;

use crate::model::{BlobName, Md5};
use crate::store::contract::{BlobInfo, Etag, Metadata};

/// Said when an answer of success lacks what storage always sends.
pub(crate) const NOT_STORAGE: &str =
    "the answer has no ETag or length, so it is not from storage: is a proxy in between?";

/// Headers quote an ETag, listings do not: ours are bare.
pub(crate) fn unquoted(etag: &SdkEtag) -> Etag {
    Etag(etag.to_string().trim_matches('"').to_owned())
}

/// Our tag as `If-Match` wants it.
pub fn quoted(etag: &Etag) -> SdkEtag {
    format!("\"{}\"", etag.0).into()
}

/// A blob by the headers of an answer to HEAD or GET; `None` if they lack size or tag.
pub fn info(name: &BlobName, headers: &Headers) -> Option<BlobInfo> {
    let header = |name: &'static str| headers.get_optional_str(&HeaderName::from_static(name));
    let whole =
        header("content-range").and_then(|range| range.rsplit_once('/')).map(|(_, total)| total);
    let size = whole
        .and_then(|total| total.parse().ok())
        .or_else(|| header("content-length")?.parse().ok())?;
    // A ranged answer tells the MD5 of the whole blob in the second of these.
    let md5 = header("x-ms-blob-content-md5")
        .or_else(|| header("content-md5").filter(|_| whole.is_none()));
    let metadata = headers.iter().filter_map(|(name, value)| {
        let key = name.as_str().strip_prefix("x-ms-meta-")?;
        Some((key.to_ascii_lowercase(), value.as_str().to_owned()))
    });
    Some(BlobInfo {
        name: name.as_str().to_owned(),
        size,
        etag: Etag(header("etag")?.trim_matches('"').to_owned()),
        md5: md5
            .and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok())
            .and_then(|md5| Md5::try_from(md5).ok()),
        metadata: metadata.collect(),
        content_type: header("content-type").map(str::to_owned),
    })
}

/// Whether a line of a listing is a directory: accounts with a hierarchical namespace list them
/// among the blobs.
pub(crate) fn is_directory(item: &BlobItem) -> bool {
    let values = item.metadata.as_ref().and_then(|metadata| metadata.values.as_ref());
    let mut pairs = values.into_iter().flatten();
    pairs.any(|(key, value)| key.eq_ignore_ascii_case("hdi_isfolder") && value == "true")
}

/// A blob by its line of a listing; `None` for what is no blob.
pub fn listed(item: BlobItem) -> Option<BlobInfo> {
    let metadata: Metadata = item
        .metadata
        .and_then(|metadata| metadata.values)
        .unwrap_or_default()
        .into_iter()
        .map(|(key, value)| (key.to_ascii_lowercase(), value))
        .collect();
    let properties = item.properties?;
    Some(BlobInfo {
        name: item.name?,
        size: properties.content_length?,
        etag: unquoted(&properties.etag?),
        md5: properties.content_md5.and_then(|md5| Md5::try_from(md5).ok()),
        metadata,
        content_type: properties.content_type,
    })
}
