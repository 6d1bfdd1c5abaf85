//! blobferry brings files from FTP, FTPS and SFTP servers into Azure Blob Storage, whole, proven
//! and on time.
//!
//! The way of one file, which `transfer/transfer.rs` walks:
//!
//! ```text
//! list         source
//! decide       rules
//! download     source
//! verify size  rules
//! unpack       archive
//! name         rules
//! stage        store
//! verify sum   rules
//! COMMIT       store
//! record       ledger
//! after-action  source
//! ```
//!
//! Nothing is visible before the commit; nothing is recorded before it; nothing is deleted at
//! the source before the record is durable.
//!
//! Rooms from the ground up: [`model`], [`settings`], [`rules`] and [`runtime`] touch no server;
//! [`source`], [`archive`], [`store`], [`state`] and [`ledger`] do and decide nothing; [`transfer`]
//! joins them for one file, [`pass`] for one source, [`jobs`] for one source with many workers,
//! [`run`] for all sources. `ARCHITECTURE.md` has the order of imports and a glossary.

pub mod failpoint;
pub mod model;
pub mod settings;

pub mod report;
pub mod rules;
pub mod runtime;

pub mod archive;
pub mod source;
pub mod store;

pub mod demo;
pub mod history;
pub mod ledger;
pub mod state;

pub mod jobs;
pub mod pass;
pub mod run;
pub mod transfer;

pub mod app;
pub mod audit;
pub mod cli;
pub mod config;
pub mod handler;
pub mod telemetry;
