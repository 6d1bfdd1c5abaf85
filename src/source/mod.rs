//! Sources: the table of protocols.

pub mod bounded;
pub mod contract;
pub mod file;
pub mod finding;
pub mod folders;
pub mod ftp;
pub mod login_backoff;
pub mod logins;
#[cfg(feature = "testing")]
pub mod memory;
pub mod pace;
pub mod pool;
pub mod proxy;
pub mod room;
pub mod sftp;
pub mod shared_cap;
pub mod shared_pools;
pub mod sifted;
pub mod walk;

use contract::Driver;

/// Every protocol that a source's `url` may name.
pub(crate) const DRIVERS: &[Driver] = &[sftp::DRIVER, ftp::DRIVER, file::DRIVER];
