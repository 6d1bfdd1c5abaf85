//! One test binary: contract suites, worlds, real servers, the house itself.

// `cfg(test)` tells clippy that these are tests through and through.
#[cfg(test)]
#[cfg(unix)]
mod archivers;
#[cfg(test)]
#[cfg(unix)]
mod asked;
#[cfg(test)]
#[cfg(unix)]
mod browser;
#[cfg(test)]
#[cfg(unix)]
mod busy_storage;
#[cfg(test)]
#[cfg(unix)]
mod client_certificates;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod corpus;
#[cfg(test)]
mod date_folders;
#[cfg(test)]
#[cfg(unix)]
mod day_folders;
#[cfg(test)]
#[cfg(unix)]
mod docs;
#[cfg(test)]
#[cfg(unix)]
mod docs_commands;
#[cfg(test)]
mod docs_figures;
#[cfg(test)]
#[cfg(unix)]
mod e2e;
#[cfg(test)]
#[cfg(unix)]
mod events;
#[cfg(test)]
#[cfg(unix)]
mod expect;
#[cfg(test)]
#[cfg(unix)]
mod failpoints;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
#[cfg(unix)]
mod handler;
#[cfg(test)]
#[cfg(unix)]
mod hns;
#[cfg(test)]
#[cfg(unix)]
mod identity;
#[cfg(test)]
#[cfg(unix)]
mod insights;
#[cfg(test)]
#[cfg(unix)]
mod key_vault;
#[cfg(test)]
#[cfg(unix)]
mod kit;
#[cfg(test)]
#[cfg(unix)]
mod layouts;
#[cfg(test)]
mod lies;
#[cfg(test)]
mod lists;
#[cfg(test)]
#[cfg(unix)]
mod many_sources;
#[cfg(test)]
#[cfg(unix)]
mod modes;
#[cfg(test)]
#[cfg(unix)]
mod names;
#[cfg(test)]
#[cfg(unix)]
mod nightly;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod packaged;
#[cfg(test)]
#[cfg(unix)]
mod parity;
#[cfg(test)]
#[cfg(unix)]
mod recipes;
#[cfg(test)]
#[cfg(unix)]
mod refusal_hints;
#[cfg(test)]
#[cfg(unix)]
mod refused_storage;
#[cfg(test)]
mod selection;
#[cfg(test)]
#[cfg(unix)]
mod served;
#[cfg(test)]
#[cfg(unix)]
mod servers;
#[cfg(test)]
#[cfg(unix)]
mod shares;
#[cfg(test)]
#[cfg(unix)]
mod shares_in_use;
#[cfg(test)]
#[cfg(unix)]
mod shipping;
#[cfg(test)]
mod simulation;
#[cfg(test)]
#[cfg(unix)]
mod source_contract;
#[cfg(test)]
#[cfg(unix)]
mod ssh_ways;
#[cfg(test)]
mod store_contract;
#[cfg(test)]
mod template;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod time_zones;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod upgrade;
#[cfg(test)]
#[cfg(unix)]
mod wire_lies;
#[cfg(test)]
mod world;
