//! Blobs in Azure Storage.

pub use crate::store::azure::container::AzureStore;
pub(crate) use crate::store::azure::container::illegal_container;
use std::num::NonZero;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use azure_core::http::headers::{HeaderName, Headers};
use azure_core::http::{Body, ClientMethodOptions, Context, RequestContent};
use azure_storage_blob::models::{
    AccessTier, AppendBlobClientAppendBlockOptions, AppendBlobClientCreateOptions, BlobItem,
    BlockBlobClientCommitBlockListOptions, BlockBlobClientCommitBlockListResultHeaders,
    BlockBlobClientStageBlockOptions, BlockBlobClientUploadOptions, BlockLookupList,
};
use bytes::Bytes;

use crate::store::azure::conditions::{code_of, conditions};
use crate::store::azure::container::Beyond;

mod answer;
mod client;
mod conditions;
mod connection;
mod container;
mod directories;
mod failure;
mod identity;
mod lease;
mod principal;
mod queue;
mod refusals;
mod sas;
mod settings;
mod shared_key;
mod vault;

use super::contract::{
    BlobInfo, Condition, Etag, Leased, Properties, Store, StoreError, StoreKind, Terms, Upload,
};
use super::holder::Holder;
use super::limits;
use super::placement::{Placement, Tier};
use crate::model::BlobName;
use crate::store::azure::failure::{fail, fail_under};

pub use crate::store::azure::client::transport;
pub use crate::store::azure::connection::{AzureConnection, parse_connection_string};
pub use crate::store::azure::identity::{AzureIdentity, ManagedId, Whose, credential, whose};
pub(crate) use crate::store::azure::principal::{
    Certified, PUBLIC_AUTHORITY, Principal, PrincipalProof,
};
pub use crate::store::azure::queue::{AzureQueue, QueueSettings, illegal_queue};
pub(crate) use crate::store::azure::refusals::LACKS_RIGHT;
#[cfg(feature = "testing")]
pub use crate::store::azure::refusals::refusal_codes;
pub(crate) use crate::store::azure::sas::SasTimes;
pub use crate::store::azure::sas::lacking;
pub use crate::store::azure::settings::{
    AzureSettings, ContainerCreation, Credential, Timeouts, TrustedRoots,
};
pub(crate) use crate::store::azure::vault::{KeyVault, VaultError};

fn crc64(bytes: &[u8]) -> Vec<u8> {
    // Azure's CRC-64 is the one of NVMe, little-endian on the wire.
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, bytes).to_le_bytes().to_vec()
}

fn tier(tier: Tier) -> AccessTier {
    match tier {
        Tier::Hot => AccessTier::Hot,
        Tier::Cool => AccessTier::Cool,
        Tier::Cold => AccessTier::Cold,
        Tier::Archive => AccessTier::Archive,
    }
}

const TAGS_NEED: &str = "tags need a right of their own: `t` of a SAS, or the role Storage Blob \
    Data Owner in place of Data Contributor; or leave `tags` out";

/// The refusal of a write that has tags: a caller that may write may still not write tags.
fn of_placement(error: StoreError, placement: &Placement) -> StoreError {
    match error.code() {
        LACKS_RIGHT if !placement.tags.is_empty() => error.with_hint(TAGS_NEED),
        _ => error,
    }
}

#[async_trait]
impl Store for AzureStore {
    fn address(&self) -> &str {
        &self.address
    }

    fn clock_ahead(&self) -> Option<time::Duration> {
        self.clock.ahead()
    }

    async fn prepare(&self) -> Result<(), StoreError> {
        // Asking for a blob needs no right beyond those that a run needs anyway;
        // asking for the container's own properties would.
        let probe = BlobName::new("_blobferry/prepare").expect("the name keeps the rules");
        match self.head(&probe).await {
            Ok(_) => Ok(()),
            Err(error)
                if error.kind == StoreKind::NoContainer
                    && self.creation == ContainerCreation::Allowed =>
            {
                self.create_container().await
            }
            Err(error) => Err(error),
        }
    }

    async fn terms(&self) -> Result<Terms, StoreError> {
        let answer = self
            .container
            .get_properties(None)
            .await
            .map_err(|error| fail("looking at", &self.name, &self.address, &error))?;
        let answer = answer.to_raw_response();
        let is_true = |headers: &Headers, name: &'static str| {
            headers.get_optional_str(&HeaderName::from_static(name)) == Some("true")
        };
        let of_container = |name| is_true(answer.headers(), name);
        // Not every credential may ask for the account.
        let account = self
            .container
            .get_account_info(None)
            .await
            .ok()
            .map(|account| account.to_raw_response());
        Ok(Terms {
            has_immutability_policy: of_container("x-ms-has-immutability-policy"),
            has_legal_hold: of_container("x-ms-has-legal-hold"),
            has_directories: account
                .is_some_and(|account| is_true(account.headers(), "x-ms-is-hns-enabled")),
        })
    }

    async fn head(&self, name: &BlobName) -> Result<Option<BlobInfo>, StoreError> {
        let op = "looking at";
        match self.blob(name).get_properties(None).await {
            Ok(response) => {
                let response = response.to_raw_response();
                let info = answer::info(name, response.headers());
                info.map(Some).ok_or_else(|| {
                    self.refused(op, name, StoreKind::Unavailable, answer::NOT_STORAGE)
                })
            }
            Err(error) if code_of(&error) == Some("BlobNotFound") => Ok(None),
            Err(error) => Err(self.in_words(op, name, error).await),
        }
    }

    async fn get(
        &self,
        name: &BlobName,
        start: u64,
        max_bytes: u64,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        self.bytes(name, start, max_bytes, Beyond::Refused).await
    }

    async fn read(
        &self,
        name: &BlobName,
        start: u64,
        most: u64,
    ) -> Result<Option<(BlobInfo, Bytes)>, StoreError> {
        self.bytes(name, start, most, Beyond::Left).await
    }

    async fn put(
        &self,
        name: &BlobName,
        bytes: Bytes,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        let op = "writing";
        limits::check_properties(properties)
            .map_err(|why| self.refused(op, name, StoreKind::Rejected, why))?;
        let (if_match, if_none_match) = conditions(condition);
        let options = BlockBlobClientUploadOptions {
            blob_content_md5: Some(properties.md5.to_vec()),
            blob_content_type: Some(properties.content_type.clone()),
            metadata: Some(properties.metadata.clone().into_iter().collect()),
            blob_tags_string: properties.placement.tags_header(),
            tier: properties.placement.tier.map(tier),
            if_match,
            if_none_match,
            // Larger than any content: the SDK must not cut it into blocks of its own.
            partition_size: NonZero::new(u64::MAX >> 1),
            // Of one request there is nothing to do at once; when not told so, the SDK counts the
            // processors anew for each blob, and reads three files of the cgroup for it.
            parallel: NonZero::new(1),
            method_options: ClientMethodOptions {
                context: Context::new().with_value(client::Transactional(properties.md5)),
            },
            ..BlockBlobClientUploadOptions::default()
        };
        let written = self
            .blob(name)
            .block_blob_client()
            .upload(Body::from(bytes).into(), Some(options))
            .await;
        let written = written.map_err(|error| {
            let error = fail_under(op, name.as_str(), &self.address, condition, &error);
            of_placement(error, &properties.placement)
        })?;
        if written.content_md5.as_ref().is_some_and(|md5| md5.as_slice() != properties.md5) {
            return Err(self.refused(
                op,
                name,
                StoreKind::Corrupted,
                "the service computed another MD5 than ours",
            ));
        }
        let etag = written.etag.as_ref().map(answer::unquoted);
        etag.ok_or_else(|| self.refused(op, name, StoreKind::Unavailable, answer::NOT_STORAGE))
    }

    async fn stage(&self, upload: &Upload, index: u32, bytes: Bytes) -> Result<(), StoreError> {
        let op = "staging a block of";
        limits::check_block(index, bytes.len())
            .map_err(|why| self.refused(op, &upload.name, StoreKind::Rejected, why))?;
        let options = BlockBlobClientStageBlockOptions {
            transactional_content_crc64: Some(crc64(&bytes)),
            ..BlockBlobClientStageBlockOptions::default()
        };
        let (id, length) = (upload.block_id(index), bytes.len() as u64);
        let staged = self
            .blob(&upload.name)
            .block_blob_client()
            .stage_block(id.as_bytes(), length, Body::from(bytes).into(), Some(options))
            .await;
        staged.map(|_| ()).map_err(|error| self.failed(op, &upload.name, &error))
    }

    async fn commit(
        &self,
        upload: &Upload,
        blocks: u32,
        properties: &Properties,
        condition: &Condition,
    ) -> Result<Etag, StoreError> {
        let op = "committing";
        let name = &upload.name;
        limits::check_properties(properties)
            .and_then(|()| limits::check_blocks(blocks))
            .map_err(|why| self.refused(op, name, StoreKind::Rejected, why))?;
        let (if_match, if_none_match) = conditions(condition);
        let options = BlockBlobClientCommitBlockListOptions {
            blob_content_md5: Some(properties.md5.to_vec()),
            blob_content_type: Some(properties.content_type.clone()),
            metadata: Some(properties.metadata.clone().into_iter().collect()),
            blob_tags_string: properties.placement.tags_header(),
            tier: properties.placement.tier.map(tier),
            if_match,
            if_none_match,
            ..BlockBlobClientCommitBlockListOptions::default()
        };
        let latest = (0..blocks).map(|index| upload.block_id(index).into_bytes()).collect();
        let list: RequestContent<BlockLookupList, _> =
            BlockLookupList { latest: Some(latest), ..BlockLookupList::default() }
                .try_into()
                .map_err(|error| self.failed(op, name, &error))?;
        let written =
            self.blob(name).block_blob_client().commit_block_list(list, Some(options)).await;
        let written = written.map_err(|error| {
            let error = fail_under(op, name.as_str(), &self.address, condition, &error);
            of_placement(error, &properties.placement)
        })?;
        let etag = written.etag().ok().flatten();
        etag.as_ref()
            .map(answer::unquoted)
            .ok_or_else(|| self.refused(op, name, StoreKind::Unavailable, answer::NOT_STORAGE))
    }

    async fn abandon(&self, _upload: &Upload) {
        // The service has no call for it: uncommitted blocks are dropped a week after the last
        // block of that name, or at the next write under this name.
    }

    async fn append(
        &self,
        name: &BlobName,
        bytes: Bytes,
        position: u64,
    ) -> Result<u64, StoreError> {
        let op = "appending to";
        limits::check_append(bytes.len())
            .map_err(|why| self.refused(op, name, StoreKind::Rejected, why))?;
        let append_position = i64::try_from(position)
            .map_err(|_| self.refused(op, name, StoreKind::Condition, "no blob is that long"))?;
        let client = self.blob(name).append_blob_client();
        if position == 0 {
            let options = AppendBlobClientCreateOptions {
                if_none_match: Some("*".into()),
                ..AppendBlobClientCreateOptions::default()
            };
            match client.create(Some(options)).await {
                Ok(_) => {}
                // Another writer's, or ours from before a crash: the position decides.
                Err(error) => {
                    match fail_under(op, name.as_str(), &self.address, &Condition::IfAbsent, &error)
                    {
                        refused if refused.kind == StoreKind::Condition => {}
                        refused => return Err(refused),
                    }
                }
            }
        }
        let options = AppendBlobClientAppendBlockOptions {
            append_position: Some(append_position),
            transactional_content_crc64: Some(crc64(&bytes)),
            ..AppendBlobClientAppendBlockOptions::default()
        };
        let length = bytes.len() as u64;
        match client.append_block(Body::from(bytes).into(), length, Some(options)).await {
            Ok(_) => Ok(position + length),
            Err(error) if code_of(&error) == Some("BlobNotFound") => Err(self.refused(
                op,
                name,
                StoreKind::Condition,
                "there is no such blob, so it is not that long",
            )),
            Err(error) => Err(self.failed(op, name, &error)),
        }
    }

    async fn list(
        &self,
        prefix: &str,
        visit: &mut (dyn FnMut(BlobInfo) + Send),
    ) -> Result<(), StoreError> {
        let mut directories = false;
        let mut visit_all = |item: BlobItem| match answer::is_directory(&item) {
            true => directories = true,
            false => answer::listed(item).into_iter().for_each(&mut *visit),
        };
        self.items(prefix, &mut visit_all).await?;
        self.has_directories.fetch_or(directories, Ordering::Relaxed);
        Ok(())
    }

    async fn remove_empty_directories(&self, prefix: &str, before: &str) -> Result<(), StoreError> {
        match self.has_directories.load(Ordering::Relaxed) {
            true => self.remove_empty(prefix, before).await,
            false => Ok(()),
        }
    }

    async fn delete(&self, name: &BlobName) -> Result<(), StoreError> {
        match self.blob(name).delete(None).await {
            Ok(_) => Ok(()),
            Err(error) if code_of(&error) == Some("BlobNotFound") => Ok(()),
            Err(error) => Err(self.failed("removing", name, &error)),
        }
    }
    async fn lease(&self, name: &BlobName, holder: &Holder) -> Result<Leased, StoreError> {
        lease::take(self, name, holder).await
    }

    async fn end_lease(&self, name: &BlobName, holder: &Holder) -> Result<(), StoreError> {
        lease::end(self, name, holder).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::failure::Failure;

    #[test]
    fn the_right_to_write_tags_is_asked_for_only_where_a_right_is_lacking() {
        let refused = |code: &'static str, placement: &Placement| {
            let error = StoreError::new("writing", "b", "store", StoreKind::Denied, "no");
            of_placement(error.with_code(code).with_hint("its own"), placement).hint()
        };
        let tags = [("owner".to_owned(), "finance".to_owned())].into();
        let tagged = Placement { tags, ..Placement::default() };
        assert_eq!(refused(LACKS_RIGHT, &tagged), TAGS_NEED);
        assert_eq!(refused("AuthorizationFailure", &tagged), "its own", "a firewall's");
        assert_eq!(refused(LACKS_RIGHT, &Placement::default()), "its own");
    }
}
