//! Names that this exporter and its parts share.

/// The target of what the export says of itself; it is logged, and not exported.
pub(crate) const OWN: &str = "blobferry::telemetry::insights";

/// The name under which the host's id of an invocation is known.
pub(crate) const INVOCATION: &str = "faas.invocation_id";

/// Work was taken from the queue: `age_seconds`.
pub const QUEUED: &str = "queued";
