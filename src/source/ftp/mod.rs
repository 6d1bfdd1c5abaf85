//! FTP and FTPS.

mod account;
mod at_stake;
mod certificate;
mod certificate_reasons;
mod client;
mod client_certificate;
mod control;
mod described;
mod download;
pub mod driver;
mod entering;
mod fatal;
mod fault;
mod features;
mod known_ways;
pub mod lines;
pub mod listing;
mod listing_dos;
mod listing_entry;
mod listing_ibm;
mod listing_others;
mod listing_unix;
mod mlsd;
mod months;
mod opening;
mod passive;
mod searching;
mod session;
mod short_keys;
mod signed_end;
mod text;
mod tls;
mod tls_reasons;
mod transfer;
mod ways;
mod when;
mod wire;

#[cfg(test)]
mod tests;

pub(crate) use driver::DRIVER;
