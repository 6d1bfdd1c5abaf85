//! FTP and FTPS.

mod client;
mod download;
pub mod driver;
mod fault;
mod lines;
pub mod listing;
mod listing_dos;
mod listing_unix;
mod mlsd;
mod session;
mod tls;
mod when;

#[cfg(test)]
mod tests;

pub use driver::DRIVER;
