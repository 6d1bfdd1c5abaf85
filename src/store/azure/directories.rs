//! Directories of accounts with a hierarchical namespace: they stay when their last blob is gone.

use std::cmp::Reverse;

use azure_storage_blob::models::{
    BlobContainerClientListBlobsOptions, BlobItem, ListBlobsIncludeItem,
};
use futures_util::TryStreamExt;

use super::answer;
use super::container::AzureStore;
use crate::model::BlobName;
use crate::store::azure::conditions::code_of;
use crate::store::azure::failure::fail;
use crate::store::contract::StoreError;

impl AzureStore {
    /// What lies below `prefix`, directories and blobs.
    pub(super) async fn items(
        &self,
        prefix: &str,
        visit: &mut (dyn FnMut(BlobItem) + Send),
    ) -> Result<(), StoreError> {
        let failed = |error: azure_core::Error| fail("listing", prefix, &self.address, &error);
        let options = BlobContainerClientListBlobsOptions {
            prefix: (!prefix.is_empty()).then(|| prefix.to_owned()),
            include: Some(vec![ListBlobsIncludeItem::Metadata]),
            maxresults: self.page.map(i32::from),
            ..BlobContainerClientListBlobsOptions::default()
        };
        let mut pages = self.container.list_blobs(Some(options)).map_err(failed)?.into_pages();
        while let Some(page) = pages.try_next().await.map_err(failed)? {
            page.into_model().map_err(failed)?.blob_items.into_iter().for_each(&mut *visit);
        }
        Ok(())
    }

    /// Removes the directories below `prefix` whose names come before `before`, as far as they are
    /// empty.
    pub(super) async fn remove_empty(&self, prefix: &str, before: &str) -> Result<(), StoreError> {
        let mut old = Vec::new();
        let mut visit = |item: BlobItem| {
            let name = item.name.clone().filter(|_| answer::is_directory(&item));
            old.extend(
                name.filter(|name| name.as_str() < before)
                    .and_then(|name| BlobName::new(name).ok()),
            );
        };
        self.items(prefix, &mut visit).await?;
        // What is in a directory goes before it.
        old.sort_by_key(|name| Reverse(name.as_str().matches('/').count()));
        for name in old {
            match self.blob(&name).delete(None).await {
                Ok(_) => {}
                Err(error) if code_of(&error).is_some_and(is_left) => {}
                Err(error) => return Err(self.failed("removing", &name, &error)),
            }
        }
        Ok(())
    }
}

/// Whether a directory that was not removed is gone already, or holds something.
fn is_left(code: &str) -> bool {
    matches!(code, "BlobNotFound" | "DirectoryIsNotEmpty" | "DirectoryNotEmpty")
}
