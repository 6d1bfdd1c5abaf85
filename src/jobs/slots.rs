//! Logins in flight: one lease for each that the source allows, taken before a login is opened.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::error::WorkError;
use super::names::slot;
use super::pass_store::PassStore;
use crate::pass::lease::{self, LeaseGuard};
use crate::store::contract::Leased;
use crate::store::holder::Holder;

/// A login must be closed before another worker may take its slot: a worker that loses one stops so
/// much earlier.
pub(crate) const EARLY: Duration = Duration::from_secs(20);

/// Takes `wanted` of the source's slots, or fewer if no more are free. `who` is nobody else's name.
/// `lost` is cancelled when one of them is lost.
pub(crate) async fn take(
    pass_store: &PassStore,
    who: &str,
    wanted: usize,
    lost: &CancellationToken,
) -> Result<Vec<LeaseGuard>, WorkError> {
    let cap = pass_store.source.connections.max(1);
    let mut held = Vec::with_capacity(wanted);
    // Not all begin with the first: then most of them ask once for each login.
    let first = usize::from(random());
    for n in 0..cap {
        if held.len() == wanted {
            break;
        }
        let number = (first + n) % cap;
        // Two leases at once need two holders.
        let holder = Holder::new(&format!("{who}/{number}"));
        let what = format!("login {number} of source {}", pass_store.source.name);
        if let Leased::Held(lease) =
            lease::ask(&pass_store.run, &slot(&pass_store.source.name, number), &holder).await?
        {
            held.push(LeaseGuard::keep_until(
                &pass_store.run.leases,
                lease,
                what,
                EARLY,
                lost.clone(),
            ));
        }
    }
    Ok(held)
}

/// Gives slots back.
pub(crate) async fn over(held: Vec<LeaseGuard>) {
    for one in held {
        one.release().await;
    }
}

/// Two random bytes.
pub fn random() -> u16 {
    #[cfg(feature = "testing")]
    if let Some(chosen) = crate::failpoint::random() {
        return chosen;
    }
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    u16::from_le_bytes(bytes)
}

/// A wait of `least` and up to as much again: those who wait for the same thing do not come back at
/// once.
pub(crate) fn some_time(least: Duration) -> Duration {
    least + least.mul_f64(f64::from(random()) / f64::from(u16::MAX))
}
