//! Every way to fail of the catalogue, by its number, with the answer that is right.

mod azure;
mod config;
mod ftp;
mod ftp_names;
mod legacy;
mod lies;
mod load;
mod network;
mod politeness;
mod proxies;
mod runtime;
mod security;
mod sftp;
mod sftp_trees;
mod stopping;
mod table;
mod witnesses;
