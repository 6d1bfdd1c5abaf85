//! The Azure Functions face: a small HTTP server that does what the Functions host asks for.
//!
//! `server` listens and ends, `routes` tells invocations apart, `functions` answers them; `envelope`,
//! `api`, `host`, `console` and `record` are pure: the host's payloads, our HTTP API, the host's settings,
//! its rule for log lines, and what is kept of a run. `runs` and `run` start runs and watch over them,
//! `records` keeps their records in the store. `page` shows them to people.

pub mod api;
pub mod console;
pub mod envelope;
pub mod functions;
pub mod host;
pub mod page;
pub mod ready;
pub mod record;
mod records;
pub mod routes;
mod run;
pub mod runs;
pub mod server;
mod tally;
