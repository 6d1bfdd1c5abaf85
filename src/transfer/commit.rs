//! Puts one blob under its name: whose is the name, what is said with the bytes, what if it is
//! taken.

use md5::Digest;

use crate::failpoint::{failpoint, safeguard_off};
use crate::ledger::described;
use crate::model::{BlobName, Md5, RemotePath, Version};
use crate::rules::naming::{self};
use crate::rules::verify;
use crate::runtime::retry::retry;
use crate::store::contract::{
    BlobInfo, Condition, Metadata, Properties, StoreError, StoreKind, Upload,
};
use crate::transfer::context::{Pass, Run};
use crate::transfer::error::TransferError;
use crate::transfer::events::Call;
use crate::transfer::identity::TransferIdentity;
use crate::transfer::settings::Versions;
use crate::transfer::upload::{Arrived, Staged, Whole};

/// How often a name may turn out to be taken, or free again, while one blob is written.
const WRITES: u32 = 4;

/// Whose blob it is that stands under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// This very content of this very file or member.
    Same,
    /// Another version of the same file or member.
    OtherVersion,
    /// Another file of ours.
    OtherFile,
    /// Nobody: it is a directory of an account with a hierarchical namespace, where a name is a
    /// file or a directory.
    Directory,
    /// Somebody else.
    Foreign,
}

/// Accounts with a hierarchical namespace mark directories so, also for those who ask for a blob.
const IS_DIRECTORY: &str = "hdi_isfolder";

fn owner(found: &BlobInfo, ours: &Metadata) -> Owner {
    let same = |key: &str| found.metadata.get(key) == ours.get(key);
    if found.metadata.get(IS_DIRECTORY).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        Owner::Directory
    } else if !found.metadata.contains_key("version") || !found.metadata.contains_key("source") {
        Owner::Foreign
    } else if ![
        "source",
        "source_path",
        "source_path_sha256",
        "archive",
        "member",
        "member_sha256",
        "member_index",
    ]
    .into_iter()
    .all(same)
    {
        Owner::OtherFile
    } else if same("version") {
        Owner::Same
    } else {
        Owner::OtherVersion
    }
}

/// A name that may be written, and under which condition.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The name.
    pub name: BlobName,
    /// The condition.
    pub condition: Condition,
    /// What stands there now and must be equal to what is written: a foreign blob that is taken
    /// over.
    adopted: Option<(u64, Option<Md5>)>,
    /// What the report should say of it.
    pub note: Option<String>,
}

impl Claim {
    /// A name of our own state, whatever stands there.
    pub fn always(name: BlobName) -> Self {
        Self { name, condition: Condition::Always, adopted: None, note: None }
    }

    /// The plain name, taken to be free.
    pub(crate) fn hopeful(name: BlobName) -> Self {
        Self { name, condition: Condition::IfAbsent, adopted: None, note: None }
    }
}

/// What looking for a name came to.
#[derive(Clone, Debug)]
pub enum Claimed {
    /// It may be written.
    Free(Claim),
    /// The content is there already, as this blob.
    There(BlobName, BlobInfo),
}

/// Finds the name that `identity` belongs under, by what stands under the names before it: the
/// plain one, the one of its version, the one apart. A member that another version of its archive
/// brought with equal bytes (`proof`: size and MD5) and time is there already.
pub(crate) async fn claim(
    pass: &Pass,
    identity: &TransferIdentity<'_>,
    plain: &BlobName,
    proof: Option<(u64, Md5)>,
) -> Result<Claimed, TransferError> {
    let ours = identity.metadata(&pass.source.name, &pass.run.id);
    let (mut name, mut base, mut note) = (plain.clone(), plain.clone(), None);
    loop {
        let Some(found) = head(&pass.run, &name).await? else {
            if base == *plain && (identity.yields || stands_apart(pass, identity, plain).await?) {
                (base, note) = set_apart(pass, identity, plain, "belongs to another file");
                name = base.clone();
                continue;
            }
            return Ok(Claimed::Free(Claim {
                name,
                condition: Condition::IfAbsent,
                adopted: None,
                note,
            }));
        };
        match owner(&found, &ours) {
            Owner::Same => return Ok(Claimed::There(name, found)),
            Owner::OtherVersion if identity.member.is_some() && is_equal(&found, &ours, proof) => {
                return Ok(Claimed::There(name, found));
            }
            Owner::OtherVersion if pass.source.versions == Versions::Overwrite => {
                return Ok(Claimed::Free(Claim {
                    name,
                    condition: Condition::IfMatch(found.etag),
                    adopted: None,
                    note,
                }));
            }
            Owner::OtherFile if name == *plain && succeeds(pass, identity, &found) => {
                return Ok(Claimed::Free(Claim {
                    name,
                    condition: Condition::IfMatch(found.etag),
                    adopted: None,
                    note,
                }));
            }
            Owner::OtherVersion if name == base => {
                name = naming::versioned(&base, &identity.version, identity.file.modified.as_ref())
            }
            owner @ (Owner::OtherFile | Owner::Directory) if base == *plain => {
                let whose = if owner == Owner::Directory {
                    "is a directory in this account"
                } else {
                    "belongs to another file"
                };
                (base, note) = set_apart(pass, identity, plain, whose);
                name = base.clone();
            }
            Owner::Foreign if pass.source.adopt => {
                let adopted = Some((found.size, found.md5));
                return Ok(Claimed::Free(Claim {
                    name,
                    condition: Condition::IfMatch(found.etag),
                    adopted,
                    note,
                }));
            }
            Owner::Foreign => {
                return Err(TransferError::Conflict {
                    name,
                    why: "a blob of another writer stands there",
                });
            }
            Owner::Directory => {
                return Err(TransferError::Conflict {
                    name,
                    why: "a directory stands there, since this account has a hierarchical \
                        namespace",
                });
            }
            Owner::OtherVersion | Owner::OtherFile => {
                return Err(TransferError::Conflict {
                    name,
                    why: "other content of ours stands there already",
                });
            }
        }
    }
}

/// Whether a file takes the place of the one that was the newest before it, whose blob was `found`.
fn succeeds(pass: &Pass, identity: &TransferIdentity<'_>, found: &BlobInfo) -> bool {
    let Some(rule) = pass.source.succession() else { return false };
    let is_ours = found.metadata.get("source") == Some(&pass.source.name);
    let is_file = identity.member.is_none() && !found.metadata.contains_key("archive");
    let before = described(&found.metadata).filter(|_| is_ours && is_file && !identity.yields);
    before.is_some_and(|(path, known)| {
        rule.succeeds(identity.file, &known.file(&path), &pass.source.patterns)
    })
}

/// Whether a file was set apart before: then it stays there, whatever became of the other one.
async fn stands_apart(
    pass: &Pass,
    identity: &TransferIdentity<'_>,
    plain: &BlobName,
) -> Result<bool, StoreError> {
    if identity.member.is_some() || !pass.source.naming.may_meet() {
        return Ok(false);
    }
    let own = naming::apart(plain, &identity.bytes(&pass.source.name));
    let ours = identity.metadata(&pass.source.name, &pass.run.id);
    let found = head(&pass.run, &own).await?;
    Ok(found.is_some_and(|found| matches!(owner(&found, &ours), Owner::Same | Owner::OtherVersion)))
}

/// The name apart of what `identity` is, and what the report should say of it.
pub(crate) fn set_apart(
    pass: &Pass,
    identity: &TransferIdentity<'_>,
    plain: &BlobName,
    whose: &str,
) -> (BlobName, Option<String>) {
    let own = naming::apart(plain, &identity.bytes(&pass.source.name));
    let note = format!("its name `{plain}` {whose}, so it is stored as `{own}`");
    (own, Some(note))
}

fn is_equal(found: &BlobInfo, ours: &Metadata, proof: Option<(u64, Md5)>) -> bool {
    found.metadata.get("mtime") == ours.get("mtime")
        && proof.is_some_and(|proof| verify::stored(proof, (found.size, found.md5)).is_ok())
}

/// The bytes of a blob to be.
#[derive(Clone, Copy)]
pub enum Content<'a> {
    /// In memory.
    Whole(&'a Whole),
    /// Staged under this upload.
    Staged(&'a Upload, &'a Staged),
}

impl<'a> Content<'a> {
    /// What has arrived, as content.
    pub(crate) fn of(arrived: &'a Arrived, upload: &'a Upload) -> Result<Self, TransferError> {
        match arrived {
            Arrived::Whole(whole) => Ok(Content::Whole(whole)),
            Arrived::Staged(staged) => Ok(Content::Staged(upload, staged)),
            Arrived::Spooled(..) => Err(TransferError::Defect("an archive at rest is no content")),
        }
    }

    /// Its first bytes.
    pub fn head(&self) -> &'a [u8] {
        match self {
            Content::Whole(whole) => &whole.bytes,
            Content::Staged(_, staged) => &staged.head,
        }
    }

    /// Its size and MD5.
    pub fn proof(&self) -> (u64, Md5) {
        match self {
            Content::Whole(whole) => (whole.bytes.len() as u64, whole.md5),
            Content::Staged(_, staged) => (staged.size, staged.md5),
        }
    }
}

/// A blob that is in the store, proven.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its name.
    pub name: BlobName,
    /// Its size in bytes.
    pub size: u64,
    /// Its MD5.
    pub md5: Md5,
    /// Whether it was there before this run with equal content.
    pub identical: bool,
    /// What the report should say of it.
    pub note: Option<String>,
}

/// Commits `content` under `claim`. When the name turns out to be taken meanwhile, looks whose it
/// is: a reply that was lost is a success, another version moves on to its own name.
pub(crate) async fn write(
    pass: &Pass,
    identity: &TransferIdentity<'_>,
    content: Content<'_>,
    plain: &BlobName,
    claim_in_hand: Claim,
    content_type: &str,
) -> Result<Stored, TransferError> {
    if identity.member.is_some() {
        // An archive is told as a whole: it may have very many members.
        return write_one(pass, identity, content, plain, claim_in_hand, content_type).await;
    }
    let coming = pass.ledger.coming();
    let name = claim_in_hand.name.clone();
    let mut call = Call::to_store("store", pass, &name);
    if let Content::Staged(_, staged) = content {
        call = call.since(staged.begun);
    }
    let stored = write_one(pass, identity, content, plain, claim_in_hand, content_type).await;
    match &stored {
        Ok(stored) => call.went_well(stored.size),
        Err(error) => call.failed(0, error),
    }
    drop(coming);
    stored
}

async fn write_one(
    pass: &Pass,
    identity: &TransferIdentity<'_>,
    content: Content<'_>,
    plain: &BlobName,
    mut claim_in_hand: Claim,
    content_type: &str,
) -> Result<Stored, TransferError> {
    let (size, md5) = content.proof();
    let mut metadata = pass.source.metadata.clone();
    metadata.extend(identity.metadata(&pass.source.name, &pass.run.id));
    let properties = Properties {
        content_type: content_type.to_owned(),
        md5,
        metadata,
        placement: pass.source.placement.clone(),
    };
    let mut tries = 0;
    loop {
        tries += 1;
        if let Some((there, None)) = claim_in_hand.adopted
            && there == size
        {
            // Blobs that were written in blocks, and files, may tell no MD5: their bytes do.
            let found = md5_of(&pass.run, &claim_in_hand.name, there).await?;
            claim_in_hand.adopted = Some((there, found));
        }
        if claim_in_hand
            .adopted
            .is_some_and(|adopted| verify::stored((size, md5), adopted).is_err())
        {
            return Err(TransferError::Conflict {
                name: claim_in_hand.name,
                why: "a blob of another writer with other bytes stands there",
            });
        }
        // What cannot be recorded any more is not committed: others may have found that out while
        // this file was read.
        pass.ledger.may_commit().await?;
        failpoint!("before-commit", TransferError::Defect("a step that a test lets fail"));
        let committed = commit(&pass.run, content, &claim_in_hand, &properties).await;
        failpoint!("after-commit", TransferError::Defect("a step that a test lets fail"));
        let error = match committed {
            Ok(()) => {
                return Ok(Stored {
                    name: claim_in_hand.name,
                    size,
                    md5,
                    identical: false,
                    note: claim_in_hand.note,
                });
            }
            Err(error) if error.kind == StoreKind::Condition => error,
            Err(error) => return Err(error.into()),
        };
        claim_in_hand = match claim(pass, identity, plain, Some((size, md5))).await? {
            Claimed::There(name, found) => {
                check_there(
                    identity,
                    identity.member.as_ref().map_or(Some(md5), |_| identity.md5),
                    (size, md5),
                    &found,
                )?;
                let identical = found.metadata.get("run") != Some(&pass.run.id);
                return Ok(Stored { name, size, md5, identical, note: claim_in_hand.note });
            }
            // Refused twice, and nobody is there: the store has another reason, which writing again
            // does not change.
            Claimed::Free(next)
                if tries > 1
                    && next.condition == Condition::IfAbsent
                    && next.name == claim_in_hand.name =>
            {
                return Err(error.into_no_race().into());
            }
            // A tag that was read after the download says nothing about what is newer; staged
            // blocks belong to the name that they were staged under. Both are left to the next run.
            Claimed::Free(_)
                if claim_in_hand.condition != Condition::IfAbsent || tries == WRITES =>
            {
                return Err(error.into());
            }
            Claimed::Free(next) if is_of_another(&next) => return Err(error.into()),
            Claimed::Free(_) if matches!(content, Content::Staged(..)) => return Err(error.into()),
            Claimed::Free(next) => next,
        };
    }
}

/// Refuses a blob of this version with other bytes than `sent`. If the version does not tell of the
/// bytes of the whole file, whose MD5 is `whole`, one that does is found.
pub(crate) fn check_there(
    identity: &TransferIdentity<'_>,
    whole: Option<Md5>,
    sent: (u64, Md5),
    found: &BlobInfo,
) -> Result<(), TransferError> {
    match (verify::stored(sent, (found.size, found.md5)), whole) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(md5)) if identity.version == Version::of(identity.file) => {
            Err(TransferError::OtherBytes(md5))
        }
        (Err(mismatch), _) => Err(mismatch.into()),
    }
}

/// Whether `claim`, which was made after the content was read, would replace what another run has
/// written meanwhile.
fn is_of_another(claim: &Claim) -> bool {
    matches!(claim.condition, Condition::IfMatch(_))
        && claim.adopted.is_none()
        && !safeguard_off!("overtaken-write")
}

/// Makes `content` visible under `claim`.
pub(crate) async fn commit(
    run: &Run,
    content: Content<'_>,
    claim: &Claim,
    properties: &Properties,
) -> Result<(), StoreError> {
    let store = &run.store;
    let once = |_| async {
        match content {
            Content::Whole(whole) => {
                store.put(&claim.name, whole.bytes.clone(), properties, &claim.condition).await
            }
            Content::Staged(upload, staged) => {
                store.commit(upload, staged.blocks, properties, &claim.condition).await
            }
        }
    };
    retry(&run.policy, &run.cancel, "committing a blob", once).await.map(|_| ())
}

/// The MD5 of the bytes that stand under `name`, read in parts; `None` if these are not `size`
/// bytes of one content.
async fn md5_of(run: &Run, name: &BlobName, size: u64) -> Result<Option<Md5>, StoreError> {
    const PART: u64 = 4 << 20;
    let (mut at, mut hash, mut first) = (0, md5::Md5::new(), None);
    while at < size {
        let once = |_| run.store.read(name, at, PART);
        let found = retry(&run.policy, &run.cancel, "reading a blob to adopt", once).await?;
        let Some((info, bytes)) = found.filter(|(_, bytes)| !bytes.is_empty()) else {
            return Ok(None);
        };
        if first.as_ref().is_some_and(|first| *first != info.etag) {
            return Ok(None);
        }
        at += bytes.len() as u64;
        hash.update(&bytes);
        first = Some(info.etag);
    }
    Ok((at == size).then(|| hash.finalize().into()))
}

/// What stands under `name`.
pub async fn head(run: &Run, name: &BlobName) -> Result<Option<BlobInfo>, StoreError> {
    retry(&run.policy, &run.cancel, "looking for a blob", |_| run.store.head(name)).await
}

/// MIME type by the name's extension, else by the first bytes.
pub fn content_type(name: &RemotePath, head: &[u8]) -> String {
    let text = String::from_utf8_lossy(name.file_name());
    match mime_guess::from_path(text.as_ref()).first_raw() {
        Some(known) => known.to_owned(),
        None => {
            infer::get(head).map_or("application/octet-stream", |kind| kind.mime_type()).to_owned()
        }
    }
}
