//! The Azure Functions face: a small HTTP server that does what the Functions host asks for.
//!
//! `server` listens and ends, `routes` tells invocations apart, `functions` answers them;
//! `envelope`, `api`, `host`, `console` and `record` are pure: the host's payloads, our HTTP API,
//! the host's settings, its rule for log lines, and what is kept of a run. `renewal` reads a
//! configuration anew whose secrets stand in key vaults. `runs` and `run` start runs and watch over
//! them, `records` keeps their records in the store. `dispatch` hands work to the queue instead and
//! does what its messages say, `afar` tells how such runs stand. `page` shows them to people;
//! `manual` starts and, with `planning`, plans runs for them.

pub mod api;
pub mod app;
pub mod console;
mod dispatch;
pub mod envelope;
mod expected;
pub mod functions;
pub mod host;
pub mod ingest_http;
pub mod isolated_runtime;
pub mod listen;
pub mod manual;
pub mod page;
mod planning;
pub mod renewal;
pub mod resources;
pub mod routes;
mod run;
pub mod runs;
pub mod server;
mod tally;
