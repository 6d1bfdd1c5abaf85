//! Queues in Azure Storage.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use azure_core::http::{ClientOptions, RetryOptions, Transport, Url};
use azure_storage_queue::models::{
    QueueClientGetPropertiesResultHeaders, QueueClientReceiveMessagesOptions,
    QueueClientSendMessageOptions, QueueMessage,
};
use azure_storage_queue::{QueueClient, QueueClientOptions};

use super::client::{Log, signing, transport};
use super::conditions::code_of;
use super::failure::fail_by;
use super::refusals::{LACKS_RIGHT, RetryRule, StoreRefusal, row};
use super::settings::{Credential, Timeouts, TrustedRoots};
use crate::model::BoxError;
use crate::store::contract::{Condition, StoreError, StoreKind};
use crate::store::queue::{GivenUp, MAX_MESSAGE_BYTES, POISON, Queue};

/// The most messages that the service hands out at once.
const AT_ONCE: i32 = 32;

const SAS: &str = "check the SAS's services and resource types (for a queue it needs `ss=q`, \
    `srt=co`)";
const SAS_ANEW: &str = "make a SAS with `ss=q`, `srt=co` and the permissions racup (read, add, \
    create, update, process)";

/// What means something else of a queue than of a container. Sources: "Create an account SAS", its
/// table of operations; "Azure built-in roles for Storage".
const OF_QUEUES: &[StoreRefusal] = &{
    use RetryRule::Never;
    use StoreKind::Denied;
    [
        row(
            LACKS_RIGHT,
            Denied,
            Never,
            "check that the identity has the role Storage Queue Data Contributor, or that the SAS \
            has the permissions racup",
            "give the identity the role Storage Queue Data Contributor on the queue's account (a \
            new role takes some minutes to count), or make a SAS with `ss=q`, `srt=co` and the \
            permissions racup (read, add, create, update, process)",
        ),
        row("AuthorizationServiceMismatch", Denied, Never, SAS, SAS_ANEW),
        row("AuthorizationResourceTypeMismatch", Denied, Never, SAS, SAS_ANEW),
        row(
            "AuthorizationFailure",
            Denied,
            Never,
            "check the account's network rules (firewall, private endpoint), the SAS's services \
            and resource types (for a queue it needs `ss=q`, `srt=co`), the key",
            "see whether the firewall of the queue's account lets this machine's network through \
            (its address, its subnet or a private endpoint); if it does, see that the key or SAS \
            is the account's own, whole, and meant for queues",
        ),
    ]
};

/// A queue and its `-poison`. Each call is one try.
pub struct AzureQueue {
    queue: QueueClient,
    poison: QueueClient,
    name: String,
    address: String,
}

/// Where a queue is.
#[derive(Clone, Debug)]
pub struct QueueSettings {
    /// The queue service, as `https://account.queue.core.windows.net`.
    pub service: Url,
    /// The queue's name.
    pub name: String,
    /// What to authenticate with.
    pub credential: Credential,
    /// Another `x-ms-version` than the SDK's own.
    pub api_version: Option<String>,
    /// Authorities that are trusted beside the machine's own.
    pub trust: TrustedRoots,
}

impl fmt::Debug for AzureQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AzureQueue({})", self.address)
    }
}

/// What is wrong with a queue's name, if anything is. `-poison` must fit behind it.
/// Source: "Naming queues and metadata".
pub fn illegal_queue(name: &str) -> Option<&'static str> {
    let legal = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let good = (3..=63 - POISON.len()).contains(&name.len()) && name.bytes().all(legal);
    let dashes = name.starts_with('-') || name.ends_with('-') || name.contains("--");
    (!good || dashes)
        .then_some("allowed are 3 to 56 lower-case letters, digits and single `-` between them")
}

impl AzureQueue {
    /// The queue of these settings; asks nothing yet.
    pub fn new(settings: &QueueSettings) -> Result<Self, StoreError> {
        let mut shown = settings.service.clone();
        shown.set_query(None);
        let address = format!("{}/{}", shown.as_str().trim_end_matches('/'), settings.name);
        let unusable = |why: BoxError| {
            StoreError::new("opening", &settings.name, &address, StoreKind::Rejected, why)
        };
        if let Some(why) = illegal_queue(&settings.name) {
            return Err(unusable(why.into()));
        }
        let http = transport(Timeouts::default(), &settings.trust).map_err(unusable)?;
        let open = |name: &str| client(settings, name, &http).map_err(unusable);
        let (queue, poison) = (open(&settings.name)?, open(&format!("{}{POISON}", settings.name))?);
        Ok(Self { queue, poison, name: settings.name.clone(), address })
    }

    fn failed(&self, op: &'static str, error: &azure_core::Error) -> StoreError {
        fail_by(OF_QUEUES, op, &self.name, &self.address, &Condition::Always, error)
    }
}

fn client(
    settings: &QueueSettings,
    name: &str,
    http: &reqwest::Client,
) -> Result<QueueClient, BoxError> {
    let mut url = settings.service.clone();
    let path = format!("{}/{name}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    url.set_query(None);
    let (signing, token) = signing(&settings.credential, &url)?;
    let mut options = QueueClientOptions {
        client_options: ClientOptions {
            per_call_policies: vec![Arc::new(Log)],
            per_try_policies: signing.into_iter().collect(),
            // Ours is the only retry loop.
            retry: RetryOptions::none(),
            transport: Some(Transport::new(Arc::new(http.clone()))),
            ..ClientOptions::default()
        },
        ..QueueClientOptions::default()
    };
    if let Some(version) = &settings.api_version {
        options.version = version.clone();
    }
    Ok(QueueClient::new(url, token, Some(options))?)
}

fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_secs()).unwrap_or(i32::MAX)
}

fn is_missing(error: &azure_core::Error) -> bool {
    code_of(error) == Some("QueueNotFound")
}

#[async_trait]
impl Queue for AzureQueue {
    fn address(&self) -> &str {
        &self.address
    }

    async fn prepare(&self) -> Result<(), StoreError> {
        match self.queue.create(None).await {
            Ok(_) => Ok(()),
            // With other metadata than ours; that is nothing to us.
            Err(error) if code_of(&error) == Some("QueueAlreadyExists") => Ok(()),
            Err(error) => Err(self.failed("creating queue", &error)),
        }
    }

    async fn send(&self, text: &str, delay: Duration) -> Result<(), StoreError> {
        let op = "sending a message to";
        if text.len() > MAX_MESSAGE_BYTES {
            let why = format!("it has {} bytes, more than {MAX_MESSAGE_BYTES}", text.len());
            return Err(StoreError::new(op, &self.name, &self.address, StoreKind::Rejected, why));
        }
        let message = QueueMessage { message_text: Some(text.to_owned()) };
        let message = message.try_into().map_err(|error| self.failed(op, &error))?;
        let options = QueueClientSendMessageOptions {
            visibility_timeout: Some(seconds(delay)).filter(|s| *s > 0),
            ..QueueClientSendMessageOptions::default()
        };
        self.queue
            .send_message(message, Some(options))
            .await
            .map(|_| ())
            .map_err(|error| self.failed(op, &error))
    }

    async fn length(&self) -> Result<u64, StoreError> {
        let op = "looking at";
        let answer =
            self.queue.get_properties(None).await.map_err(|error| self.failed(op, &error))?;
        let count = answer.approximate_messages_count().map_err(|error| self.failed(op, &error))?;
        Ok(count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0))
    }

    async fn given_up(&self, hidden: Duration) -> Result<Vec<GivenUp>, StoreError> {
        let op = "reading what was given up of";
        let options = QueueClientReceiveMessagesOptions {
            number_of_messages: Some(AT_ONCE),
            visibility_timeout: Some(seconds(hidden).max(1)),
            ..QueueClientReceiveMessagesOptions::default()
        };
        let answer = match self.poison.receive_messages(Some(options)).await {
            Ok(answer) => answer,
            // The host makes it when it first needs it.
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            Err(error) => return Err(self.failed(op, &error)),
        };
        let messages =
            answer.into_model().map_err(|error| self.failed(op, &error))?.items.unwrap_or_default();
        let whole = messages.into_iter().filter_map(|message| {
            Some(GivenUp {
                text: message.message_text.unwrap_or_default(),
                id: message.message_id?,
                receipt: message.pop_receipt?,
            })
        });
        Ok(whole.collect())
    }

    async fn forget(&self, message: &GivenUp) -> Result<(), StoreError> {
        match self.poison.delete_message(&message.id, &message.receipt, None).await {
            Ok(_) => Ok(()),
            Err(error)
                if is_missing(&error)
                    || matches!(
                        code_of(&error),
                        Some("MessageNotFound" | "PopReceiptMismatch")
                    ) =>
            {
                Ok(())
            }
            Err(error) => Err(self.failed("removing a message from", &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use azure_core::error::ErrorKind;

    use super::*;
    use crate::model::chain;
    use crate::model::failure::Failure;

    /// What is told of a queue where the service answers with this code.
    fn refused(status: u16, code: &str) -> StoreError {
        let error_code = Some(code.to_owned());
        let kind =
            ErrorKind::HttpResponse { status: status.into(), error_code, raw_response: None };
        let condition = Condition::Always;
        fail_by(OF_QUEUES, "sending a message to", "q", "queues", &condition, &kind.into_error())
    }

    #[test]
    fn a_queue_asks_for_the_role_and_the_signature_of_queues() {
        for own in OF_QUEUES {
            let error = refused(403, own.code);
            let told = format!("{} / {}", chain(&error), error.hint());
            assert!(told.contains("ss=q") && !told.to_lowercase().contains("blob"), "{told}");
            assert_eq!((error.kind, error.code()), (StoreKind::Denied, own.code));
        }
        let lacking = refused(403, LACKS_RIGHT);
        for told in [chain(&lacking), lacking.hint().to_owned()] {
            assert!(told.contains("Storage Queue Data Contributor"), "{told}");
        }
        // What blobs and queues have in common stands in the one table.
        assert!(refused(403, "AccountIsDisabled").hint().contains("enable the account"));
    }

    #[test]
    fn a_queue_that_is_being_deleted_can_be_made_again_soon() {
        let error = refused(409, "QueueBeingDeleted");
        assert!(error.kind == StoreKind::Unavailable && error.is_transient());
        assert!(error.hint().contains("half a minute"), "{}", error.hint());
    }

    #[test]
    fn a_queues_name_leaves_room_for_its_poison() {
        for good in ["blobferry-work", "abc", &"q".repeat(56)] {
            assert_eq!(illegal_queue(good), None, "{good}");
        }
        for bad in ["", "ab", "Work", "a--b", "-ab", "ab-", "a_b", &"q".repeat(57)] {
            assert!(illegal_queue(bad).is_some(), "{bad}");
        }
    }
}
