//! The test kit: servers that misbehave by script, lines that break by script, and a trial that
//! judges a run.

pub mod blackhole;
pub mod gate;
pub mod hns;
pub mod http;
pub mod relay;
pub mod stage;
pub mod trial;
pub mod vault;
