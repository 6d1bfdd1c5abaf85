//! Whether a share is the one that earlier runs knew: a mount point without its mount is an empty
//! folder.

use std::sync::PoisonError;

use crate::history::source_index;
use crate::model::chain;
use crate::model::failure::{Class, Failure};
use crate::model::number_of;
use crate::report::{Problem, SourceReport, problem};
use crate::source::contract::{ShareCheck, ShareId};
use crate::transfer::context::{Pass, Run};
use crate::transfer::settings::After;

/// What is known of a source's share.
#[derive(Debug, Default)]
pub struct ShareSeen {
    now: Option<ShareId>,
    before: Option<ShareId>,
    accepted: bool,
}

/// Looks at the share, and at what earlier runs knew of it. `Err`: it is not the one.
pub(crate) async fn look(pass: &Pass) -> Result<ShareSeen, Problem> {
    let (now, accepted) = match pass.source.endpoint.share().await {
        Ok(ShareCheck::None) => return Ok(ShareSeen::default()),
        Ok(ShareCheck::Known(now)) => (now, false),
        Ok(ShareCheck::Any(now)) => (now, true),
        // The listing tells what is wrong.
        Err(error) if error.class() == Class::NotFound => return Ok(ShareSeen::default()),
        Err(error) => return Err(problem(&error)),
    };
    let before = match pass.ledger.share() {
        Some(noted) => Some(noted),
        None => remembered(pass).await?,
    };
    if let Some(before) = before.as_ref().filter(|_| !accepted)
        && let Some(why) = differs(before, &now)
    {
        let text = format!("`{}`: {why}; nothing was listed and nothing removed", pass.source.root);
        return Err(Problem::new(Class::ShareChanged, text));
    }
    Ok(ShareSeen { now: Some(now), before, accepted })
}

/// What the index of sources tells, which is a cache: of a ledger that does not tell it yet.
async fn remembered(pass: &Pass) -> Result<Option<ShareId>, Problem> {
    let known =
        pass.run.known_sources.read(&pass.run.state).await.map_err(|error| problem(&error))?;
    Ok(known.get(&pass.source.name).and_then(|entry| entry.share.clone()))
}

fn differs(before: &ShareId, now: &ShareId) -> Option<String> {
    if before.root != now.root {
        return Some(format!(
            "its file system is another one than earlier runs saw (`{}`, it was `{}`)",
            now.root, before.root
        ));
    }
    let gone = before.below.iter().find(|mount| !now.below.contains(mount))?;
    Some(format!("what was mounted at `{gone}` in it is not mounted"))
}

/// A share of which nothing was known, and which shows nothing although files of it are.
pub(crate) fn empty(pass: &Pass, seen: &ShareSeen, report: &SourceReport) -> Option<Problem> {
    let unknown = seen.now.is_some() && seen.before.is_none() && !seen.accepted;
    let stays = pass.source.after == After::Keep && !pass.ledger.is_empty();
    let nothing = report.listed == 0 && report.problems.is_empty();
    (unknown && stays && nothing).then(|| {
        let text = format!(
            "`{}` shows no file, and the ledger has {} of it",
            pass.source.root,
            number_of(pass.ledger.len(), "file")
        );
        Problem::new(Class::ShareEmpty, text)
    })
}

/// Remembers a share that nothing spoke against, until [`write_down`].
pub(crate) fn remember(pass: &Pass, seen: &ShareSeen) {
    let Some(now) = &seen.now else { return };
    pass.ledger.set_share(now);
    if seen.now == seen.before {
        return;
    }
    let mut shares = pass.run.shares.lock().unwrap_or_else(PoisonError::into_inner);
    shares.insert(pass.source.name.clone(), now.clone());
}

/// Writes down all shares that became known, in one change.
pub(crate) async fn write_down(run: &Run) {
    let shares = std::mem::take(&mut *run.shares.lock().unwrap_or_else(PoisonError::into_inner));
    if shares.is_empty() {
        return;
    }
    let set = |index: &mut source_index::SourceIndex| {
        for (source, share) in &shares {
            index.entry(source).share = Some(share.clone());
        }
    };
    if let Err(error) = source_index::change(&run.state, set).await {
        tracing::warn!(
            run_id = run.id,
            error = chain(&error),
            "Warning: which file system the share is cannot be written down."
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_another_one_if_its_file_system_is_or_a_mount_in_it_is_gone() {
        let id = |root: &str, below: &[&str]| ShareId {
            root: root.to_owned(),
            below: below.iter().map(|mount| (*mount).to_owned()).collect(),
        };
        let known = id("ef53 1 mounted", &["a"]);
        assert_eq!(differs(&known, &known), None);
        assert_eq!(differs(&known, &id("ef53 1 mounted", &["a", "b"])), None, "more is no less");
        assert!(differs(&known, &id("ef53 2 folder", &["a"])).is_some());
        assert!(differs(&known, &id("ef53 1 mounted", &[])).expect("it is gone").contains("`a`"));
    }
}
