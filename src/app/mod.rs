//! The composition root: a configuration becomes stores, queue, telemetry, limits and the redactor
//! that the commands and the handler work with. No room but `handler` and `cli` imports it.

pub mod configured;
pub mod exporter;
pub(crate) mod key_vault;
pub mod open;
pub mod secrets;
pub mod stores;
pub mod unusable;
pub mod work_queue;
