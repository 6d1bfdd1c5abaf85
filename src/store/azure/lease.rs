//! Leases of blobs: 60 seconds, renewed by a caller that holds one, gone by themselves if nobody
//! does.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::http::{Body, ClientMethodOptions, Context};
use azure_storage_blob::BlobClient;
use azure_storage_blob::models::{BlobClientAcquireLeaseOptions, BlockBlobClientUploadOptions};
use bytes::Bytes;
use md5::{Digest, Md5};

use super::client;
use super::conditions::code_of;
use super::container::AzureStore;
use super::failure::{fail, fail_under};
use crate::model::{BlobName, hex};
use crate::store::contract::{
    Condition, LEASE, Lease, Leased, Store, StoreError, StoreKind, Taken,
};
use crate::store::holder::Holder;

/// A holder's record is smaller than this by far.
const MAX_RECORD: u64 = 64 << 10;
/// How long a lease that was dropped is tried to be given back. After [`LEASE`] it lapses anyway.
const LAST_TRY: Duration = Duration::from_secs(5);

/// The id of the lease that the run of `holder` has on `name`, in the form of a GUID, as the
/// service wants it. It is the same for each call of that run: a lease whose answer was lost is
/// simply taken again, and the lease of a run that is dead can be ended by a caller that has read
/// its record, and no other one by mistake.
fn id_of(name: &BlobName, holder: &Holder) -> String {
    let digest = hex(&Md5::digest(format!("{}\n{}", holder.run, name.as_str())));
    format!(
        "{}-{}-{}-{}-{}",
        &digest[..8],
        &digest[8..12],
        &digest[12..16],
        &digest[16..20],
        &digest[20..]
    )
}

/// Whether a refusal says that the lease is not, or no more, the one of that id.
fn is_lost(error: &azure_core::Error) -> bool {
    code_of(error).is_some_and(|code| {
        code == "BlobNotFound"
            || code.starts_with("LeaseIdMismatch")
            || code.starts_with("LeaseNotPresent")
    })
}

/// Takes the lease, creating its blob if need be.
pub async fn take(
    store: &AzureStore,
    name: &BlobName,
    holder: &Holder,
) -> Result<Leased, StoreError> {
    let (blob, id) = (store.blob(name), id_of(name, holder));
    let (mut acquired, mut is_written) = (acquire(&blob, &id).await, false);
    if acquired.as_ref().is_err_and(|error| code_of(error) == Some("BlobNotFound")) {
        match write(store, &blob, name, holder, &id, &Condition::IfAbsent).await {
            Err(error) if error.kind != StoreKind::Condition => return Err(error),
            // Written by us or, just now, by another one: the lease decides.
            written => {
                is_written = written.is_ok();
                acquired = acquire(&blob, &id).await;
            }
        }
    }
    match acquired {
        Ok(()) => {}
        Err(error)
            if matches!(
                code_of(&error),
                Some("LeaseAlreadyPresent" | "LeaseIsBreakingAndCannotBeAcquired")
            ) =>
        {
            return Ok(Leased::Taken(Taken { by: holder_of(store, name).await, outlives: LEASE }));
        }
        Err(error) => return Err(store.failed("leasing", name, &error)),
    }
    let lease = AzureLease {
        blob: Arc::new(blob),
        name: name.clone(),
        address: store.address.clone(),
        id: Some(id),
    };
    if !is_written
        && let Err(error) =
            write(store, &lease.blob, name, holder, lease.id(), &Condition::Always).await
    {
        // Others are told less, or of an earlier holder. The lease holds all the same.
        tracing::debug!(blob = name.as_str(), error = %crate::model::chain(&error), "Who holds a \
            lease could not be written down.");
    }
    Ok(Leased::Held(Box::new(lease)))
}

/// Ends the lease if it is that of `holder`.
pub async fn end(store: &AzureStore, name: &BlobName, holder: &Holder) -> Result<(), StoreError> {
    match store.blob(name).release_lease(id_of(name, holder), None).await {
        Ok(_) => Ok(()),
        Err(error) if is_lost(&error) => Ok(()),
        Err(error) => Err(store.failed("ending the lease", name, &error)),
    }
}

async fn acquire(blob: &BlobClient, id: &str) -> Result<(), azure_core::Error> {
    let options = BlobClientAcquireLeaseOptions {
        proposed_lease_id: Some(id.to_owned()),
        ..BlobClientAcquireLeaseOptions::default()
    };
    let seconds = i32::try_from(LEASE.as_secs()).expect("a lease is a minute at most");
    blob.acquire_lease(seconds, Some(options)).await.map(drop)
}

/// Writes down who holds the lease; with its id, without which a leased blob cannot be written.
async fn write(
    store: &AzureStore,
    blob: &BlobClient,
    name: &BlobName,
    holder: &Holder,
    id: &str,
    condition: &Condition,
) -> Result<(), StoreError> {
    let bytes = Bytes::from(
        serde_json::to_vec_pretty(holder).expect("a holder holds nothing that JSON cannot"),
    );
    let (if_match, if_none_match) = super::conditions(condition);
    let context = Context::new().with_value(client::Transactional(Md5::digest(&bytes).into()));
    let options = BlockBlobClientUploadOptions {
        blob_content_type: Some("application/json".into()),
        lease_id: matches!(condition, Condition::Always).then(|| id.to_owned()),
        if_match,
        if_none_match,
        method_options: ClientMethodOptions { context },
        ..BlockBlobClientUploadOptions::default()
    };
    let written = blob.block_blob_client().upload(Body::from(bytes).into(), Some(options)).await;
    written.map(drop).map_err(|error| {
        fail_under("writing down who holds", name.as_str(), &store.address, condition, &error)
    })
}

async fn holder_of(store: &AzureStore, name: &BlobName) -> Option<Holder> {
    let (_, bytes) = store.get(name, 0, MAX_RECORD).await.ok()??;
    serde_json::from_slice(&bytes).ok()
}

/// A lease that is held.
struct AzureLease {
    blob: Arc<BlobClient>,
    name: BlobName,
    address: String,
    /// Gone once it was given back.
    id: Option<String>,
}

impl fmt::Debug for AzureLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AzureLease({})", self.name)
    }
}

impl AzureLease {
    fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }
}

impl Drop for AzureLease {
    fn drop(&mut self) {
        let (Some(id), Ok(runtime)) = (self.id.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let blob = self.blob.clone();
        runtime.spawn(async move {
            drop(tokio::time::timeout(LAST_TRY, blob.release_lease(id, None)).await)
        });
    }
}

#[async_trait]
impl Lease for AzureLease {
    async fn renew(&self) -> Result<(), StoreError> {
        let op = "renewing the lease";
        match self.blob.renew_lease(self.id().to_owned(), None).await {
            Ok(_) => Ok(()),
            Err(error)
                if is_lost(&error)
                    || code_of(&error) == Some("LeaseIsBrokenAndCannotBeRenewed") =>
            {
                let cause = fail(op, self.name.as_str(), &self.address, &error);
                let why =
                    std::error::Error::source(&cause).map(ToString::to_string).unwrap_or_default();
                Err(StoreError::new(
                    op,
                    self.name.as_str(),
                    &self.address,
                    StoreKind::Condition,
                    why,
                ))
            }
            Err(error) => Err(fail(op, self.name.as_str(), &self.address, &error)),
        }
    }

    async fn release(mut self: Box<Self>) -> Result<(), StoreError> {
        let Some(id) = self.id.take() else { return Ok(()) };
        match self.blob.release_lease(id, None).await {
            Ok(_) => Ok(()),
            Err(error) if is_lost(&error) => Ok(()),
            Err(error) => {
                Err(fail("giving back the lease", self.name.as_str(), &self.address, &error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_one_lease_id_for_a_name_and_no_other_has_it() {
        let name = |text: &str| BlobName::new(text).expect("a name");
        let (one, two) =
            (Holder::new("20261123T100000Z-0a1b2c3d"), Holder::new("20261123T100000Z-0a1b2c3e"));
        let id = id_of(&name("_blobferry/a/lock"), &one);
        assert_eq!(id, id_of(&name("_blobferry/a/lock"), &one));
        assert_ne!(id, id_of(&name("_blobferry/b/lock"), &one));
        assert_ne!(id, id_of(&name("_blobferry/a/lock"), &two));
        assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    }
}
