//! One container of a storage account: its client, and what all its requests share.

use std::fmt;
use std::num::NonZero;
use std::sync::atomic::AtomicBool;

use azure_core::http::StatusCode;
use azure_storage_blob::models::{BlobClientDownloadOptions, HttpRange};
use azure_storage_blob::{BlobClient, BlobContainerClient};
use bytes::Bytes;
use time::OffsetDateTime;

use super::sas::{NEW_SAS, SasTimes};
use super::{answer, client};
use crate::model::{BlobName, BoxError};
use crate::store::azure::conditions::code_of;
use crate::store::azure::failure::fail;
use crate::store::azure::settings::{AzureSettings, ContainerCreation};
use crate::store::contract::{BlobInfo, Store, StoreError, StoreKind};

/// A container of block blobs. Each call is one try; nothing in here retries.
///
/// Listings come in the service's own order of names: the one of text, but characters beyond
/// the basic plane (emoji) may come before some within it.
pub struct AzureStore {
    pub(super) container: BlobContainerClient,
    pub(super) name: String,
    pub(super) address: String,
    pub(super) creation: ContainerCreation,
    pub(super) page: Option<u16>,
    pub(super) clock: client::StorageClock,
    /// When the credential counts, if it is a signature.
    pub(super) times: SasTimes,
    /// Whether a listing has shown a directory: the account has a hierarchical namespace then.
    pub(super) has_directories: AtomicBool,
}

impl fmt::Debug for AzureStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AzureStore({})", self.address)
    }
}

impl AzureStore {
    /// The store of these settings; asks nothing yet.
    pub fn new(settings: AzureSettings) -> Result<Self, StoreError> {
        let mut shown = settings.service.clone();
        shown.set_query(None);
        let address = format!("{}/{}", shown.as_str().trim_end_matches('/'), settings.container);
        let unusable = |why: BoxError| {
            StoreError::new("opening", &settings.container, &address, StoreKind::Rejected, why)
        };
        if let Some(why) = illegal_container(&settings.container) {
            return Err(unusable(why.into()));
        }
        let clock = client::StorageClock::default();
        let times = SasTimes::of(&settings.credential);
        let container = client::container(&settings, &clock).map_err(unusable)?;
        Ok(Self {
            container,
            name: settings.container,
            address,
            creation: settings.creation,
            page: settings.page,
            clock,
            times,
            has_directories: AtomicBool::new(false),
        })
    }

    pub(super) fn blob(&self, name: &BlobName) -> BlobClient {
        self.container.blob_client(name.as_str())
    }

    pub(super) fn failed(
        &self,
        op: &'static str,
        name: &BlobName,
        error: &azure_core::Error,
    ) -> StoreError {
        let error = fail(op, name.as_str(), &self.address, error);
        // By the service's clock.
        let now = OffsetDateTime::now_utc() - self.clock.ahead().unwrap_or_default();
        let outside = self.times.outside(now).filter(|_| error.kind == StoreKind::Denied);
        let Some(why) = outside else { return error };
        let cause = std::error::Error::source(&error).map_or(String::new(), ToString::to_string);
        self.refused(op, name, StoreKind::Denied, format!("{why}; {cause}")).with_hint(NEW_SAS)
    }

    /// The refusal of a look at `name`: answers to HEAD carry no words, those to GET do.
    pub(super) async fn in_words(
        &self,
        op: &'static str,
        name: &BlobName,
        error: azure_core::Error,
    ) -> StoreError {
        let told = self.failed(op, name, &error);
        if told.kind != StoreKind::Denied {
            return told;
        }
        match self.blob(name).download(None).await {
            Err(error) => Some(self.failed(op, name, &error)),
            Ok(_) => None,
        }
        .filter(|worded| worded.kind == StoreKind::Denied)
        .unwrap_or(told)
    }

    pub(super) fn refused(
        &self,
        op: &'static str,
        name: &BlobName,
        kind: StoreKind,
        why: impl Into<BoxError>,
    ) -> StoreError {
        StoreError::new(op, name.as_str(), &self.address, kind, why)
    }

    /// Bytes of a blob from `start` on, at most `most`.
    pub(super) async fn bytes(
        &self,
        name: &BlobName,
        start: u64,
        most: u64,
        beyond: Beyond,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        let op = "reading";
        let too_long = |size: u64| {
            self.refused(
                op,
                name,
                StoreKind::Rejected,
                format!(
                    "it has {size} bytes from {start} \
                on, more than the {most} that are read at once"
                ),
            )
        };
        let from = usize::try_from(start).map_err(|_| too_long(0))?;
        // One request for all that is allowed; a longer blob is known by its `Content-Range`.
        let partition = usize::try_from(most).unwrap_or(usize::MAX >> 2).clamp(1, usize::MAX >> 2);
        let range = match beyond {
            Beyond::Refused => HttpRange::from(from..),
            Beyond::Left => HttpRange::from(from..from.saturating_add(partition)),
        };
        let options = BlobClientDownloadOptions {
            range: Some(range),
            parallel: NonZero::new(1),
            partition_size: NonZero::new(partition),
            ..BlobClientDownloadOptions::default()
        };
        let download = match self.blob(name).download(Some(options)).await {
            Ok(download) => download,
            Err(error) if code_of(&error) == Some("BlobNotFound") => return Ok(None),
            // Nothing begins at the end of a blob: an answer without bytes, for us. Azurite instead
            // answers with the range `0--1` of an empty blob, which the SDK cannot read.
            Err(error)
                if error.http_status() == Some(StatusCode::RequestedRangeNotSatisfiable)
                    || is_unreadable(&error) =>
            {
                return match self.head(name).await? {
                    Some(info) if info.size == start => Ok(Some((info, Bytes::new()))),
                    Some(info) if info.size < start => Err(self.refused(
                        op,
                        name,
                        StoreKind::Rejected,
                        "it is shorter than where to start",
                    )),
                    Some(_) => Err(self.failed(op, name, &error)),
                    None => Ok(None),
                };
            }
            Err(error) => return Err(self.failed(op, name, &error)),
        };
        let info = answer::info(name, &download.headers)
            .ok_or_else(|| self.refused(op, name, StoreKind::Unavailable, answer::NOT_STORAGE))?;
        let rest = info.size.saturating_sub(start);
        if rest > most && beyond == Beyond::Refused {
            return Err(too_long(rest));
        }
        let expected = rest.min(partition as u64);
        let mut bytes =
            download.body.collect().await.map_err(|error| self.failed(op, name, &error))?;
        if bytes.len() as u64 != expected {
            return Err(self.refused(
                op,
                name,
                StoreKind::Unavailable,
                format!("{} of {expected} bytes arrived", bytes.len()),
            ));
        }
        // One byte is asked for where none is wanted: there is no range of none.
        bytes.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        Ok(Some((info, bytes)))
    }

    pub(super) async fn create_container(&self) -> Result<(), StoreError> {
        match self.container.create(None).await {
            Ok(_) => Ok(()),
            Err(error) if code_of(&error) == Some("ContainerAlreadyExists") => Ok(()),
            Err(error) => Err(fail("creating container", &self.name, &self.address, &error)),
        }
    }
}

/// What becomes of bytes beyond those that are asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beyond {
    /// If there are any, that is an error.
    Refused,
    /// They are left where they are.
    Left,
}

/// What is wrong with a container's name, if anything is.
/// Source: "Naming and referencing containers, blobs, and metadata".
pub(crate) fn illegal_container(name: &str) -> Option<&'static str> {
    if name == "$web" {
        return None;
    }
    if !(3..=63).contains(&name.len())
        || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    {
        return Some("allowed are 3 to 63 lower-case letters, digits and single `-` between them");
    }
    (name.starts_with('-') || name.ends_with('-') || name.contains("--"))
        .then_some("allowed are 3 to 63 lower-case letters, digits and single `-` between them")
}

pub(crate) fn is_unreadable(error: &azure_core::Error) -> bool {
    matches!(error.kind(), azure_core::error::ErrorKind::DataConversion)
}
