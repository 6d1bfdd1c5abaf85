//! Reads blobs in parts, against the MD5 that they bear.

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::audit::error::{AuditError, AuditWatch};
use crate::audit::findings::{Findings, Invariant};
use crate::audit::names::Names;
use crate::audit::reading::{AuditReader, Hashed};
use crate::model::BlobName;
use crate::model::number_of;

/// Large ones.
pub(crate) const LARGE_AT_ONCE: usize = 4;

/// Reads the bytes of every blob of ours.
pub async fn download(
    reader: &AuditReader,
    names: &Names,
    findings: &mut Findings,
    watch: AuditWatch<'_>,
) -> Result<(), AuditError> {
    let read = names.iter().filter_map(|name| BlobName::new(name).ok()).map(|name| async move {
        let hashed = reader.hash(&name).await;
        hashed.map(|hashed| (name, hashed))
    });
    let mut read = stream::iter(read).buffered(LARGE_AT_ONCE);
    while let Some((name, hashed)) = read.try_next().await? {
        let mut violate = |message: String, path: Option<&str>| {
            findings.violations.add(Invariant::I5, Some(name.as_str()), path, message)
        };
        match hashed {
            Hashed::Content(bytes, md5, info) => {
                let path = info.metadata.get("source_path").map(String::as_str);
                if bytes != info.size {
                    violate(format!("{bytes} of its {} bytes can be read", info.size), path);
                } else if info.md5.is_some_and(|told| told != md5) {
                    violate("its bytes do not have the MD5 that it bears".into(), path);
                }
                findings.checked.downloaded += 1;
                findings.checked.downloaded_bytes += bytes;
            }
            Hashed::Gone => violate("it vanished while it was looked at".into(), None),
            Hashed::Restless => findings.notes.unprovable += 1,
        }
        if findings.checked.downloaded.is_multiple_of(20) {
            watch(&format!(
                "{}: reading {}: {}",
                findings.source,
                number_of(names.len(), "blob"),
                findings.checked.downloaded
            ));
        }
    }
    Ok(())
}
