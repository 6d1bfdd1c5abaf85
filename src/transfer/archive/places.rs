//! Where each member of an archive goes: asked for again rather than held, but what is odd about
//! it.

use std::collections::{HashMap, HashSet};

use crate::archive::checked_members::CheckedMembers;
use crate::archive::contract::{Member, MemberKind};
use crate::model::{BlobName, printable};
use crate::rules::layout::NameError;
use crate::rules::naming;
use crate::transfer::context::Pass;
use crate::transfer::identity::TransferIdentity;
use crate::transfer::settings::{MemberGlobs, is_wanted};

/// Where a member goes.
#[derive(Clone, Debug)]
pub(crate) struct MemberPlan {
    /// Its name, as long as nobody else's blob stands there.
    pub plain: BlobName,
    /// 0, or its place in the archive if an earlier member has the same raw name.
    pub twin: usize,
    /// What the report should say of it.
    pub note: Option<String>,
}

/// A place for each member that is a file and wanted.
#[derive(Debug)]
pub(crate) struct MemberPlans {
    wanted: Vec<bool>,
    /// Those that are not simply where their name says.
    odd: HashMap<usize, MemberPlan>,
}

impl MemberPlans {
    /// Two members whose names meet get different places here, by their order in the archive, so
    /// that who gets the plain name is the same in every run.
    pub fn of(
        pass: &Pass,
        identity: &TransferIdentity<'_>,
        checked: &CheckedMembers,
    ) -> Result<Self, NameError> {
        let mut raw_names: HashSet<u64> = HashSet::new();
        let mut places = naming::Places::default();
        let globs = MemberGlobs::of(&pass.source);
        let mut plans = Self { wanted: vec![false; checked.len()], odd: HashMap::new() };
        for member in checked.of_kind(MemberKind::File) {
            pass.member_slips.see(&member.full_name());
            if !is_wanted(&globs, &member) {
                continue;
            }
            let plain = pass.source.naming.member(identity.file, pass.member_name(&member))?;
            let (own, is_another) = places.of(plain, &member.raw_name, member.index);
            let is_first = raw_names.insert(naming::short_hash(&member.raw_name));
            plans.wanted[member.index] = true;
            if is_first && !is_another {
                continue;
            }
            let twin = if is_first { 0 } else { member.index };
            let note = is_another.then(|| {
                let name = printable(member.full_name().as_bytes());
                format!(
                    "member `{name}` (number {}) shares its name, so it is stored as `{own}`",
                    member.index
                )
            });
            plans.odd.insert(member.index, MemberPlan { plain: own, twin, note });
        }
        Ok(plans)
    }

    /// Where `member` goes; `None` if it is not to be stored.
    pub fn plan(
        &self,
        pass: &Pass,
        identity: &TransferIdentity<'_>,
        member: &Member,
    ) -> Result<Option<MemberPlan>, NameError> {
        if !self.is_wanted(member.index) {
            return Ok(None);
        }
        if let Some(odd) = self.odd.get(&member.index) {
            return Ok(Some(odd.clone()));
        }
        let plain = pass.source.naming.member(identity.file, pass.member_name(member))?;
        Ok(Some(MemberPlan { plain, twin: 0, note: None }))
    }

    /// Whether the member at `place` is to be stored.
    pub(crate) fn is_wanted(&self, place: usize) -> bool {
        self.wanted.get(place).copied().unwrap_or(false)
    }
}
