//! SFTP: many files at once over one login, byte by byte as the server names them.

pub mod agent;
pub mod algorithms;
pub mod auth;
pub mod auth_error;
pub mod certificate;
pub mod client;
pub mod distance;
pub mod driver;
mod entry_names;
pub mod frames;
pub mod greeting;
mod habits;
pub mod handles;
pub mod handshake_reasons;
#[cfg(test)]
pub mod handshake_table;
pub mod host_key;
pub mod jump;
mod jump_stream;
pub mod known_hosts;
pub mod limits;
pub mod link_memory;
pub mod links;
pub mod listing;
pub mod login;
pub mod open_error;
pub mod packet;
pub mod patience;
pub mod private_key;
pub mod reading;
pub mod refusal;
mod request_limit;
pub mod settings;
pub mod signing;
pub mod transport;
mod watcher;

pub(crate) use driver::DRIVER;

pub mod requests;
#[cfg(test)]
mod tests;
