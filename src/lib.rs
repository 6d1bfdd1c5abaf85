//! blobferry brings files from FTP, FTPS and SFTP servers into Azure Blob Storage, whole, proven
//! and on time.
//!
//! The road of one file, which `run/transfer.rs` walks:
//!
//! ```text
//! list → decide → fetch → verify size → unpack → name → stage → verify checksum → COMMIT → record → after-action
//! source  plan    source  verify       archive  naming store   verify            store    ledger   source
//! ```
//!
//! Nothing is visible before the commit; nothing is recorded before it; nothing is deleted at
//! the source before the record is durable.
//!
//! Rooms in reading order. What decides does no I/O; what touches the world decides nothing;
//! [`run`] joins them.

pub mod equality;
pub mod failpoint;
pub mod failure;
pub mod model;
pub mod settings;

pub mod checksum;
pub mod naming;
pub mod patterns;
pub mod place;
pub mod plan;
pub mod report;
pub mod retry;
pub mod run;
pub mod schedule;
pub mod signals;
pub mod verify;

pub mod archive;
pub mod audit;
pub mod cli;
pub mod config;
pub mod demo;
pub mod handler;
pub mod ledger;
pub mod source;
pub mod state;
pub mod store;
pub mod telemetry;
