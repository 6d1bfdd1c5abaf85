//! Command line to command to exit status.

use std::process::ExitCode;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => ExitCode::from(runtime.block_on(blobferry::cli::main())),
        Err(_) => ExitCode::from(3),
    }
}
