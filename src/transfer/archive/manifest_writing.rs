//! Writes the manifest of an archive: member by member, so that a million of them take little
//! memory.

use std::collections::HashMap;

use bytes::Bytes;
use md5::{Digest, Md5};

use crate::archive::checked_members::CheckedMembers;
use crate::archive::contract::MemberKind;
use crate::archive::verify::Checked;
use crate::failpoint::failpoint;
use crate::model::{self, BlobName, hex};
use crate::report::Ingested;
use crate::rules::naming::escaped_for_metadata;
use crate::runtime::retry::retry;
use crate::store::contract::{BLOCK_BYTES, Condition, Properties, Upload};
use crate::transfer::archive::manifest::{
    LINK, Manifest, ManifestMember, NOT_WANTED, SOURCE_MD5, SPECIAL, modified, name_of,
};
use crate::transfer::archive::nested::Unchanged;
use crate::transfer::archive::notes;
use crate::transfer::archive::places::MemberPlans;
use crate::transfer::archive::stored_members::StoredMembers;
use crate::transfer::context::{Pass, Run};
use crate::transfer::error::TransferError;
use crate::transfer::identity::TransferIdentity;

/// The manifest of an archive with more members is not laid out for people.
const MOST_INDENTED: usize = 10_000;

/// Members as a manifest tells them, of which nobody holds more than one.
pub(crate) type MemberIter<'a> = Box<dyn Iterator<Item = ManifestMember> + Send + 'a>;

/// What the manifest of an archive says of its members.
pub(crate) struct ManifestMembers<'a> {
    /// The pass.
    pub pass: &'a Pass,
    /// The archive.
    pub identity: &'a TransferIdentity<'a>,
    /// Its members as they were read.
    pub checked: &'a CheckedMembers,
    /// Those that are in the store.
    pub stored: StoredMembers,
    /// Where each was to go.
    pub plans: MemberPlans,
    /// Archives in it whose members are in the store already and were not read, by their places.
    pub unchanged: HashMap<usize, Unchanged>,
}

impl ManifestMembers<'_> {
    /// All of them, in the archive's order.
    pub fn iter(&self) -> MemberIter<'_> {
        Box::new((0..self.checked.len()).flat_map(|place| {
            let inner = self.unchanged.get(&place);
            let own = inner.is_none().then(|| self.at(place));
            own.into_iter().chain(inner.into_iter().flat_map(|inner| inner.members()).cloned())
        }))
    }

    fn at(&self, place: usize) -> ManifestMember {
        let checked = self.checked.at(place);
        let stored = self.stored.get(place).and_then(|(md5, _)| {
            let name = self.stored.name(place).cloned();
            let planned = || self.plans.plan(self.pass, self.identity, &checked.member);
            // It had a name when it was stored.
            let name = name.or_else(|| planned().ok().flatten().map(|plan| plan.plain));
            Some((name?, md5))
        });
        member(self.pass, &checked, stored)
    }
}

/// What the manifest says of a member, which is `stored` under this name with this MD5.
fn member(
    pass: &Pass,
    checked: &Checked,
    stored: Option<(BlobName, model::Md5)>,
) -> ManifestMember {
    let member = &checked.member;
    let (blob, md5) = stored.unzip();
    let skipped = match member.kind {
        MemberKind::File if blob.is_none() => Some(NOT_WANTED.to_owned()),
        MemberKind::File => None,
        MemberKind::Directory => Some("directory".to_owned()),
        MemberKind::Link => Some(LINK.to_owned()),
        MemberKind::Special => Some(SPECIAL.to_owned()),
    };
    ManifestMember {
        name: escaped_for_metadata(&member.raw_name),
        blob: blob.map(|blob| blob.as_str().to_owned()),
        skipped,
        size: checked.size,
        modified: modified(pass, member),
        md5: md5.map(|md5| hex(&md5)),
        crc32: checked.crc32.map(|crc32| format!("{crc32:08x}")),
        not_unpacked: checked.unopened.as_ref().map(|kept| notes::word(&kept.why).to_owned()),
    }
}

/// Writes `manifest` with these `members`: in blocks, if there are very many.
pub async fn write(
    pass: &Pass,
    archive: &TransferIdentity<'_>,
    mut manifest: Manifest,
    mut members: MemberIter<'_>,
    ingested: &Ingested,
) -> Result<(), TransferError> {
    failpoint!("before-manifest", TransferError::Defect("a step that a test lets fail"));
    manifest.members.extend(members.by_ref().take(MOST_INDENTED + 1));
    if manifest.members.len() > MOST_INDENTED {
        let name = name_of(&pass.source.name, archive.version);
        let begun = std::mem::take(&mut manifest.members);
        let mut blocks = ManifestBlocks::new(&pass.run, name);
        let all = Box::new(begun.into_iter().chain(members));
        let written = blocks.write(&manifest, all).await;
        let properties = |(md5, count)| properties(pass, archive, md5, count, ingested);
        let done = match written {
            Ok(written) => blocks.commit(&properties(written)).await,
            Err(error) => Err(error),
        };
        if done.is_err() {
            pass.run.store.abandon(&blocks.upload).await;
        }
        done?;
    } else {
        write_at_once(pass, archive, &manifest, ingested).await?;
    }
    failpoint!("after-manifest", TransferError::Defect("a step that a test lets fail"));
    Ok(())
}

async fn write_at_once(
    pass: &Pass,
    archive: &TransferIdentity<'_>,
    manifest: &Manifest,
    ingested: &Ingested,
) -> Result<(), TransferError> {
    let text = serde_json::to_vec_pretty(manifest);
    let bytes = Bytes::from(text.map_err(|_| TransferError::Defect("writing a manifest"))?);
    let count = manifest.members.len() as u64;
    let properties = properties(pass, archive, Md5::digest(&bytes).into(), count, ingested);
    let name = name_of(&pass.source.name, archive.version);
    let once = |_| pass.run.store.put(&name, bytes.clone(), &properties, &Condition::Always);
    retry(&pass.run.policy, &pass.run.cancel, "writing a manifest", once).await?;
    Ok(())
}

/// What is said with the bytes of a manifest of so many members.
fn properties(
    pass: &Pass,
    archive: &TransferIdentity<'_>,
    md5: model::Md5,
    members: u64,
    ingested: &Ingested,
) -> Properties {
    let counts = [
        ("members", members),
        ("members_skipped", ingested.members_skipped),
        ("members_left", ingested.members_left),
    ];
    // What a lost ledger is rebuilt from.
    let mut metadata = archive.metadata(&pass.source.name, &pass.run.id);
    metadata.extend(counts.map(|(key, count)| (key.to_owned(), count.to_string())));
    metadata.extend(archive.md5.map(|md5| (SOURCE_MD5.to_owned(), hex(&md5))));
    let content_type = "application/json".to_owned();
    Properties { content_type, md5, metadata, placement: Default::default() }
}

/// A manifest on its way to the store in blocks.
struct ManifestBlocks<'a> {
    run: &'a Run,
    upload: Upload,
    text: Vec<u8>,
    blocks: u32,
    md5: Md5,
}

impl<'a> ManifestBlocks<'a> {
    fn new(run: &'a Run, name: BlobName) -> Self {
        let text = Vec::with_capacity(BLOCK_BYTES as usize);
        Self { run, upload: Upload::new(name), text, blocks: 0, md5: Md5::new() }
    }

    /// Stages all of it: what `manifest` tells around its members, which are `members`. Gives back
    /// the MD5 and how many members there are.
    async fn write(
        &mut self,
        manifest: &Manifest,
        members: MemberIter<'_>,
    ) -> Result<(model::Md5, u64), TransferError> {
        let defect = || TransferError::Defect("writing a manifest");
        let around = serde_json::to_string(manifest).map_err(|_| defect())?;
        // Quotes within strings are escaped, so this stands there once.
        let (head, tail) = around.split_once(NO_MEMBERS).ok_or_else(defect)?;
        self.text.extend_from_slice(head.as_bytes());
        self.text.extend_from_slice(&NO_MEMBERS.as_bytes()[..NO_MEMBERS.len() - 1]);
        let mut count = 0;
        for member in members {
            if count > 0 {
                self.text.push(b',');
            }
            serde_json::to_writer(&mut self.text, &member).map_err(|_| defect())?;
            count += 1;
            if self.text.len() as u64 >= BLOCK_BYTES - LONGEST_MEMBER {
                self.stage().await?;
            }
        }
        self.text.push(b']');
        self.text.extend_from_slice(tail.as_bytes());
        self.stage().await?;
        Ok((self.md5.clone().finalize().into(), count))
    }

    async fn stage(&mut self) -> Result<(), TransferError> {
        let room = Vec::with_capacity(BLOCK_BYTES as usize);
        let mut bytes = Bytes::from(std::mem::replace(&mut self.text, room));
        while !bytes.is_empty() {
            let block = bytes.split_to(bytes.len().min(BLOCK_BYTES as usize));
            self.md5.update(&block);
            let (store, index) = (&self.run.store, self.blocks);
            let once = |_| store.stage(&self.upload, index, block.clone());
            retry(&self.run.policy, &self.run.cancel, "writing a manifest", once).await?;
            self.blocks += 1;
        }
        Ok(())
    }

    async fn commit(&self, properties: &Properties) -> Result<(), TransferError> {
        let store = &self.run.store;
        let once = |_| store.commit(&self.upload, self.blocks, properties, &Condition::Always);
        retry(&self.run.policy, &self.run.cancel, "writing a manifest", once).await?;
        Ok(())
    }
}

/// What stands in a manifest in the place of its members.
const NO_MEMBERS: &str = r#""members":[]"#;
/// Rarely does a member's line take more; where one does, its block is cut.
const LONGEST_MEMBER: u64 = 64 << 10;
