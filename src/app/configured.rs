//! The argument that names the configuration file.

use std::path::PathBuf;

/// The configuration file, unless another is named.
pub(crate) const CONFIG: &str = "ingest.toml";

/// Which configuration, and which of its sources.
#[derive(Debug, clap::Args)]
pub struct Configured {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "BLOBFERRY_CONFIG", default_value = CONFIG)]
    pub config: PathBuf,
    /// Only this source; may be given several times. Default: all.
    #[arg(long = "source", value_name = "NAME")]
    pub sources: Vec<String>,
}
