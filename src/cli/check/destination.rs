//! The destination's steps: who we are to it, whether it is there, and every right that a run
//! needs.

use std::time::{Duration, Instant};

use time::format_description::well_known::Rfc3339;

use super::file_system::{self, OtherMachines};
use super::lines::{CheckLine, CheckLines};
use super::rights::{Probe, in_time};
use crate::app::open;
use crate::config::{Account, Config, Destination};
use crate::model::BlobName;
use crate::model::failure::Class;
use crate::source::file;
use crate::store::azure::AzureIdentity;
use crate::store::azure::{
    Credential, LACKS_RIGHT, Principal, PrincipalProof, SasTimes, TrustedRoots, Whose, whose,
};
use crate::store::contract::{Leased, Store, StoreError, StoreKind};
use crate::store::holder::Holder;
use crate::store::placement::Placement;

/// Storage refuses signatures of clocks that are wrong by a quarter of an hour; this much earlier
/// is told.
const SKEW: time::Duration = time::Duration::minutes(5);

/// What we are to storage, in words.
fn words(account: &Account) -> &'static str {
    match account {
        Account::ConnectionString(_) => "a connection string",
        Account::Sas { .. } => "a shared access signature",
        Account::Identity { identity: AzureIdentity::Managed { id: None }, .. } => {
            "the system-assigned managed identity"
        }
        Account::Identity { identity: AzureIdentity::Managed { .. }, .. } => {
            "a user-assigned managed identity"
        }
        Account::Identity { identity: AzureIdentity::Workload { .. }, .. } => "a workload identity",
        Account::Identity {
            identity:
                AzureIdentity::ServicePrincipal(Principal { proof: PrincipalProof::Secret(_), .. }),
            ..
        } => "a service principal with a secret",
        Account::Identity { identity: AzureIdentity::ServicePrincipal(_), .. } => {
            "a service principal with a certificate"
        }
        Account::Identity { identity: AzureIdentity::Cli, .. } => {
            "whoever is logged in with `az login`"
        }
    }
}

/// As [`words`], with the last moment of a signature that tells one.
fn signed(account: &Account) -> String {
    let ends = match account {
        Account::Sas { sas, .. } => SasTimes::of(&Credential::Sas(sas.clone())).ends(),
        _ => None,
    };
    let ends = ends.and_then(|ends| ends.format(&Rfc3339).ok());
    ends.map_or(words(account).into(), |ends| format!("{}, good until {ends}", words(account)))
}

/// A place that blobs or state go to.
pub(crate) struct CheckedPlace<'a> {
    /// The table of the configuration that names it.
    pub section: String,
    /// Where it is.
    pub destination: &'a Destination,
    /// How sources want their blobs kept there, where not as the account does, with one of the
    /// sources.
    pub placements: Vec<(&'a Placement, &'a str)>,
}

impl<'a> CheckedPlace<'a> {
    /// The destination `name` of `config`; `None` is its first.
    pub fn of(config: &'a Config, name: Option<&'a str>) -> Self {
        let mut placements: Vec<(&Placement, &str)> = Vec::new();
        let here = config.sources.iter().filter(|one| one.destination.as_deref() == name);
        for source in here.filter(|one| one.enabled && !one.placement.is_default()) {
            if placements.iter().all(|(known, _)| *known != &source.placement) {
                placements.push((&source.placement, &source.name));
            }
        }
        match name {
            None => {
                Self { section: "destination".into(), destination: &config.destination, placements }
            }
            Some(name) => {
                let destination = &config.destinations[name];
                Self { section: format!("destinations.{name}"), destination, placements }
            }
        }
    }
}

/// As [`check`], of a place that holds users' blobs alone: they are written once and read, never
/// overwritten, appended to or leased.
pub(crate) async fn check_blobs(
    lines: &mut CheckLines,
    place: &CheckedPlace<'_>,
    store: &dyn Store,
) {
    let Some((us, may_create)) = identity(lines, place).await else { return };
    let steps = Steps { store, us, may_create, by_queue: false };
    if steps.look(lines).await.is_some() {
        steps.terms(lines, "files themselves are written once, which it allows").await;
        steps.blobs(lines).await;
        folder(lines, place.destination);
        steps.placed(lines, &place.placements).await;
    }
    clock(lines, store);
}

pub async fn check(
    lines: &mut CheckLines,
    place: &CheckedPlace<'_>,
    store: &dyn Store,
    by_queue: bool,
) {
    let Some((us, may_create)) = identity(lines, place).await else { return };
    let steps = Steps { store, us, may_create, by_queue };
    if steps.look(lines).await.is_some() {
        steps.terms(lines, OF_STATE).await;
        steps.rights(lines).await;
        folder(lines, place.destination);
        steps.placed(lines, &place.placements).await;
    }
    clock(lines, store);
}

/// What the file system of a folder is, and how it treats names, times and locks.
fn folder(lines: &mut CheckLines, destination: &Destination) {
    let Destination::Folder(folder) = destination else { return };
    match file::told(folder) {
        Ok(text) => lines.tell(CheckLine::ok("file system", text)),
        Err(error) => lines.tell(CheckLine::note("file system", error.to_string())),
    }
    file_system::tell(lines, folder, OtherMachines::Write);
}

/// Who we are there, if anybody, and whether a missing container may be made; `None` where nothing
/// more need be asked.
async fn identity(
    lines: &mut CheckLines,
    place: &CheckedPlace<'_>,
) -> Option<(Option<Whose>, bool)> {
    let (mut us, mut may_create) = (None, true);
    if let Destination::Azure { account, create_container, trust, .. } = place.destination {
        may_create = *create_container;
        match account {
            Account::Identity { identity, .. } => {
                match who(lines, account, identity, trust).await {
                    Some(whose) => us = Some(whose),
                    // Without a token the rest would only fail in the same way.
                    None => return None,
                }
            }
            _ => lines.tell(match open::lacking(&place.section, place.destination) {
                Some(problem) => CheckLine::wrong("identity", Class::StoreAuth, problem)
                    .hint("make one with the permissions rwdlac"),
                None => CheckLine::ok("identity", signed(account)),
            }),
        }
    }
    Some((us, may_create))
}

async fn who(
    lines: &mut CheckLines,
    account: &Account,
    identity: &AzureIdentity,
    trust: &TrustedRoots,
) -> Option<Whose> {
    let start = Instant::now();
    match in_time(whose(identity, trust)).await {
        Ok(whose) => {
            let mut text = format!("{}: {whose}", words(account));
            if let Some(expires) = whose.expires {
                text.push_str(&format!(
                    "; its token is good until {} {:02}:{:02} UTC",
                    expires.date(),
                    expires.hour(),
                    expires.minute()
                ));
            }
            lines.tell(CheckLine::ok("identity", text).took(start.elapsed()));
            if let Some(audience) =
                whose.audience.as_ref().filter(|audience| !audience.contains("storage.azure.com"))
            {
                lines.tell(CheckLine::note(
                    "identity",
                    format!("the token is for `{audience}`, not for storage"),
                ));
            }
            Some(whose)
        }
        Err(error) => {
            lines.tell(CheckLine::failed("identity", &error).took(start.elapsed()));
            None
        }
    }
}

/// What a policy means where our state is among the blobs.
const OF_STATE: &str = "files themselves are written once, but runs overwrite and append to their \
    own state below `_blobferry/`: give it a place of its own with `[state]`";

struct Steps<'a> {
    store: &'a dyn Store,
    us: Option<Whose>,
    may_create: bool,
    by_queue: bool,
}

impl Steps<'_> {
    /// Asks for a blob that is not there: that needs the way, the credential and the right to read.
    async fn look(&self, lines: &mut CheckLines) -> Option<()> {
        let name = BlobName::new("_blobferry/_check/nothing").expect("the name is our own");
        let start = Instant::now();
        match in_time(self.store.head(&name)).await {
            Ok(_) => {
                lines.tell(
                    CheckLine::ok("destination", format!("{} answers", self.store.address()))
                        .took(start.elapsed()),
                );
                Some(())
            }
            Err(error) if error.kind == StoreKind::NoContainer && self.may_create => {
                // As the first run would: what it may do there can only be tried there.
                match in_time(self.store.prepare()).await {
                    Ok(()) => {
                        let text = format!(
                            "{} was not there; it is created, as the first run would do",
                            self.store.address()
                        );
                        lines.tell(CheckLine::note("destination", text).took(start.elapsed()));
                        Some(())
                    }
                    Err(error) => {
                        self.refused(
                            lines,
                            "destination",
                            &error,
                            start.elapsed(),
                            "everything, or somebody else creates the container",
                        );
                        None
                    }
                }
            }
            Err(error) => {
                self.refused(lines, "destination", &error, start.elapsed(), "everything");
                None
            }
        }
    }

    /// What the container forbids, before anything is tried: what it says explains what fails after
    /// it.
    async fn terms(&self, lines: &mut CheckLines, hint: &'static str) {
        let start = Instant::now();
        let terms = match in_time(self.store.terms()).await {
            Ok(terms) => terms,
            Err(error) => {
                let text = format!(
                    "whether it has a retention policy is not told: {}",
                    crate::model::chain(&error)
                );
                return lines.tell(
                    CheckLine::note("policy", text)
                        .took(start.elapsed())
                        .hint("what follows tries all that runs do"),
                );
            }
        };
        let what = match (terms.has_immutability_policy, terms.has_legal_hold) {
            (false, false) => None,
            (true, false) => Some("an immutability policy"),
            (false, true) => Some("a legal hold"),
            (true, true) => Some("an immutability policy and a legal hold"),
        };
        lines.tell(match what {
            None => CheckLine::ok("policy", "none that keeps blobs from being overwritten")
                .took(start.elapsed()),
            Some(what) => CheckLine::note(
                "policy",
                format!(
                    "the container has {what}: blobs are \
                immutable there"
                ),
            )
            .took(start.elapsed())
            .hint(hint),
        });
        if terms.has_directories {
            let text =
                "the account has a hierarchical namespace: a name is either a file or a directory";
            lines.tell(
                CheckLine::note("account", text)
                    .hint("a file whose name is a directory there is stored under a name apart"),
            );
        }
    }

    /// Creates and reads a blob, which is all that is done with those of users.
    async fn blobs(&self, lines: &mut CheckLines) {
        let mut probe = Probe::new(self.store);
        for (step, needed_by, done) in [
            ("create", "every blob", probe.create().await),
            ("read", "every run", probe.read().await),
        ] {
            match done {
                (Ok(text), took) => lines.tell(CheckLine::ok(step, text).took(took)),
                (Err(error), took) => self.refused(lines, step, &error, took, needed_by),
            }
        }
        if let (Err(error), _) = probe.remove().await {
            tracing::debug!(error = %crate::model::chain(&error), "The probe of the check stays.");
        }
    }

    /// Writes a blob as each of `placements` wants it, with its tier and its tags.
    async fn placed(&self, lines: &mut CheckLines, placements: &[(&Placement, &str)]) {
        let mut probe = Probe::new(self.store);
        for (placement, source) in placements {
            let tier = placement.tier.map(|tier| format!("the tier `{}`", tier.word()));
            let tags = match placement.tags.len() {
                0 => None,
                count => Some(format!("{count} index tags")),
            };
            let what = tier.into_iter().chain(tags).collect::<Vec<_>>().join(" and ");
            let (written, took) = probe.placed(placement).await;
            lines.tell(match written {
                Ok(()) => CheckLine::ok("placement", format!("{what} can be written")).took(took),
                Err(error) => CheckLine::failed("placement", &error)
                    .and(&format!("{what}: this is needed for the blobs of `{source}`"))
                    .took(took),
            });
        }
    }

    /// Does all that a run does, on probes that are the same each time: one that cannot be removed
    /// stays one.
    async fn rights(&self, lines: &mut CheckLines) {
        let mut probe = Probe::new(self.store);
        for (step, needed_by, done) in [
            ("create", "every blob", probe.create().await),
            ("read", "every run", probe.read().await),
            ("overwrite", "the ledger's head, leases, records of runs", probe.overwrite().await),
            ("append", "the ledger's journals and the manifests of runs", probe.append().await),
            ("list", "`audit`, `ledger rebuild`, the list of runs", probe.list().await),
        ] {
            match done {
                (Ok(text), took) => lines.tell(CheckLine::ok(step, text).took(took)),
                (Err(error), took) => self.refused(lines, step, &error, took, needed_by),
            }
        }
        self.lease(lines).await;
        let (removed, took) = probe.remove().await;
        lines.tell(match removed {
            Ok(()) => CheckLine::ok("remove", "the probes are gone again").took(took),
            // Runs remove old parts of the ledger only, and go on where they may not.
            Err(error) => CheckLine::note(
                "remove",
                format!("the probes stay: {}", crate::model::chain(&error)),
            )
            .took(took)
            .hint(
                "old parts of the ledger will stay too, which costs a little room; users' \
                    blobs are never removed",
            ),
        });
    }

    /// Takes a lease and gives it back: what keeps two runs from doing the same work.
    async fn lease(&self, lines: &mut CheckLines) {
        let name = BlobName::new("_blobferry/_check/lock").expect("the name is our own");
        let start = Instant::now();
        let leased = in_time(self.store.lease(&name, &Holder::new("check"))).await;
        let released = match leased {
            Ok(Leased::Held(lease)) => in_time(lease.release()).await,
            Ok(Leased::Taken(_)) => {
                return lines.tell(
                    CheckLine::note("lease", "another check has it at this moment")
                        .took(start.elapsed()),
                );
            }
            Err(error) => Err(error),
        };
        match released {
            Ok(()) => {
                lines.tell(CheckLine::ok("lease", "taken and given back").took(start.elapsed()))
            }
            Err(error) if self.by_queue => self.refused(
                lines,
                "lease",
                &error,
                start.elapsed(),
                "work by the queue: without it nothing is done there",
            ),
            Err(error) => {
                let text = format!("none to be had: {}", crate::model::chain(&error));
                lines.tell(
                    CheckLine::note("lease", text)
                        .took(start.elapsed())
                        .hint("runs work without, but two at once do the same work"),
                );
            }
        }
        // The blob of the lease; where it cannot be removed it is the same one the next time.
        if let Err(error) = in_time(self.store.delete(&name)).await {
            tracing::debug!(error = %crate::model::chain(&error), "The lease of the check stays.");
        }
    }

    fn refused(
        &self,
        lines: &mut CheckLines,
        step: &'static str,
        error: &StoreError,
        took: Duration,
        needed_by: &str,
    ) {
        let line = CheckLine::failed(step, error)
            .and(&format!("this is needed for {needed_by}"))
            .took(took);
        lines.tell(match self.us.as_ref().and_then(|us| role(us, error, self.store.address())) {
            Some(hint) => line.hint(hint),
            None => line,
        });
    }
}

/// The role that `us` lacks at `address`, where that is why it was refused: a firewall, a disabled
/// account or a wrong token is mended by none.
fn role(us: &Whose, error: &StoreError, address: &str) -> Option<String> {
    (error.code() == LACKS_RIGHT).then(|| {
        let whom = us.object_id.as_ref().or(us.client_id.as_ref()).or(us.name.as_ref());
        let whom = whom.map_or_else(|| "this identity".to_owned(), |whom| format!("`{whom}`"));
        format!(
            "assign the role Storage Blob Data Contributor on {address} to {whom}; a new \
            assignment takes up to ten minutes to work"
        )
    })
}

fn clock(lines: &mut CheckLines, store: &dyn Store) {
    let Some(ahead) = store.clock_ahead() else { return };
    let way = if ahead.is_negative() { "behind" } else { "ahead of" };
    let text = format!(
        "this machine's clock is {} s {way} storage's",
        ahead.whole_seconds().unsigned_abs()
    );
    lines.tell(if ahead.abs() > SKEW {
        CheckLine::note("clock", text).hint(
            "set this machine's clock right: storage refuses requests \
            that are signed a quarter of an hour off",
        )
    } else {
        CheckLine::ok("clock", text)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_told_of_a_role_only_where_it_lacks_one() {
        let us = Whose { object_id: Some("object-1".into()), ..Whose::default() };
        let hint = |code| {
            let error = StoreError::new("writing", "b", "store", StoreKind::Denied, "no");
            role(&us, &error.with_code(code), "https://a/c")
        };
        let told = hint(LACKS_RIGHT).expect("a role is lacking");
        assert!(told.contains("on https://a/c to `object-1`"), "{told}");
        for code in ["AuthorizationFailure", "AccountIsDisabled", "InvalidAuthenticationInfo", ""] {
            assert_eq!(hint(code), None, "{code}");
        }
    }
}
