//! Where the members of an archive would go, for a plan: by the archive's directory, where that can
//! be read by itself.

use crate::archive::contract::{Member, MemberKind};
use crate::model::RemoteFile;
use crate::rules::layout::{MemberName, NameError};
use crate::rules::naming::Places;
use crate::transfer::archive::partial::{may_be_archive, preview};
use crate::transfer::context::Pass;
use crate::transfer::settings::is_wanted;
use crate::transfer::settings::{Archives, MemberGlobs, Source};

/// Names that are told of one archive, at most.
const MOST_NAMES: usize = 1_000;

/// Where the members of an archive would go.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PlannedMembers {
    /// What their names begin with.
    pub below: String,
    /// How many would be stored, if the archive's directory could be read; an archive in it counts
    /// as one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The names of the first of them; those of an archive's members end in `…`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<String>,
}

/// Whether `file` would be unpacked, as far as its name tells.
pub(crate) fn is_unpacked(source: &Source, file: &RemoteFile) -> bool {
    source.archives != Archives::Keep && may_be_archive(&file.path.file_name_text())
}

/// What is known of the members of `file` without its directory.
pub(crate) fn unread(source: &Source, file: &RemoteFile) -> Result<PlannedMembers, NameError> {
    let below = source.naming.members_of(file)?;
    Ok(PlannedMembers { below, count: None, blobs: Vec::new() })
}

/// The same, with the names that the archive's directory leads to, if it can be read.
pub(crate) async fn read(pass: &Pass, file: &RemoteFile) -> Result<PlannedMembers, NameError> {
    let unread = unread(&pass.source, file)?;
    let Some(members) = preview(pass, file).await else { return Ok(unread) };
    let globs = MemberGlobs::of(&pass.source);
    let inner = |member: &Member| {
        pass.source.unpacking.depth > 1 && may_be_archive(MemberName::file_name(&member.name))
    };
    let wanted = |member: &&Member| {
        member.kind == MemberKind::File && (inner(member) || is_wanted(&globs, member))
    };
    let (mut count, mut blobs, mut places) = (0, Vec::new(), Places::default());
    for member in members.iter().filter(wanted) {
        count += 1;
        let name = if inner(member) {
            let within = [member.name.clone()];
            let rest = MemberName { within: &within, name: "…", ..pass.member_name(member) };
            pass.source.naming.member(file, rest)?
        } else {
            let plain = pass.source.naming.member(file, pass.member_name(member))?;
            places.of(plain, &member.raw_name, member.index).0
        };
        if blobs.len() < MOST_NAMES {
            blobs.push(name.to_string());
        }
    }
    Ok(PlannedMembers { count: Some(count), blobs, ..unread })
}
