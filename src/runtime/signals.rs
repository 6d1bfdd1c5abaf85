//! What tells a process to end: signals, the end of its parent.

/// SIGINT and SIGTERM, noted from [`Signals::new`] on: none is missed between two looks, and none
/// kills the process.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct Signals(
    Option<tokio::sync::Mutex<(tokio::signal::unix::Signal, tokio::signal::unix::Signal)>>,
);

#[cfg(unix)]
impl Signals {
    /// Needs the runtime of tokio, with its driver.
    pub fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let both = signal(SignalKind::interrupt())
            .and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)));
        Self(both.ok().map(tokio::sync::Mutex::new))
    }

    /// The number of the next.
    pub async fn next(&self) -> u8 {
        let Some(both) = &self.0 else { return std::future::pending().await };
        let mut both = both.lock().await;
        let (interrupt, terminate) = &mut *both;
        tokio::select! {
            _ = interrupt.recv() => 2,
            _ = terminate.recv() => 15,
        }
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
#[derive(Debug)]
pub(crate) struct Signals;

#[cfg(not(unix))]
impl Signals {
    /// Needs the runtime of tokio, with its driver.
    pub fn new() -> Self {
        Self
    }

    /// The number of the next.
    pub async fn next(&self) -> u8 {
        match tokio::signal::ctrl_c().await {
            Ok(()) => 2,
            Err(_) => std::future::pending().await,
        }
    }
}

/// How often is looked whether the parent still lives.
#[cfg(unix)]
const LOOKED_AT_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// The process that started this one, whose end nothing tells: an orphan is given another parent.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct Parent(u32);

#[cfg(unix)]
impl Parent {
    /// The parent at this moment.
    pub fn new() -> Self {
        Self(std::os::unix::process::parent_id())
    }

    /// When it has ended.
    pub async fn ended(&self) {
        while std::os::unix::process::parent_id() == self.0 {
            tokio::time::sleep(LOOKED_AT_EVERY).await;
        }
    }
}

/// The process that started this one. Here nothing tells of its end.
#[cfg(not(unix))]
#[derive(Debug)]
pub(crate) struct Parent;

#[cfg(not(unix))]
impl Parent {
    /// The parent at this moment.
    pub fn new() -> Self {
        Self
    }

    /// Never.
    pub async fn ended(&self) {
        std::future::pending().await
    }
}
