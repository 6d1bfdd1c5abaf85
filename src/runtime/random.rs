//! Random bytes of names and waits. In a test that plays schedules from seeds, they depend on the
//! seed alone.

/// Fills `bytes`, which make a name unique.
pub(crate) fn of_name(bytes: &mut [u8]) {
    #[cfg(feature = "testing")]
    if crate::failpoint::name_bytes(bytes) {
        return;
    }
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}

/// 16 random hex digits.
pub(crate) fn digits() -> String {
    let mut bytes = [0u8; 8];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    crate::model::hex(&bytes)
}

/// From 0 to 1: which part of a wait is waited.
pub(crate) fn of_wait() -> f64 {
    #[cfg(feature = "testing")]
    if let Some(chosen) = crate::failpoint::random_wait() {
        return f64::from(chosen) / f64::from(u16::MAX);
    }
    let mut bytes = [0u8; 2];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    f64::from(u16::from_be_bytes(bytes)) / f64::from(u16::MAX)
}
