//! Standard output for data, standard error for people.

use std::io::{self, BufWriter, IsTerminal, Write};

use crate::app::unusable::Unusable;
use crate::telemetry::Watched;

/// Bytes of data that are written at once.
const OUT: usize = 64 << 10;

/// Writes data to standard output. A reader that has gone (`| head`) is no failure.
pub fn data(text: &str) -> u8 {
    data_in_parts(|out| out.write_all(text.as_bytes()))
}

/// The same for data that `write` writes part by part.
pub fn data_in_parts(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> u8 {
    let mut out = BufWriter::with_capacity(OUT, io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => crate::cli::exit::NOTHING,
        _ => crate::cli::exit::WELL,
    }
}

/// Writes a line for people to standard error.
pub fn say(text: &str) {
    let mut err = io::stderr().lock();
    // Without a standard error there is nobody to tell.
    drop(writeln!(err, "{text}"));
}

/// Says why a command cannot begin. Returns the exit status for it.
pub fn refuse(unusable: &Unusable) -> u8 {
    say(&format!("error: {}", unusable.0));
    crate::cli::exit::UNUSABLE
}

/// Whether somebody watches.
pub fn watched() -> Watched {
    if io::stderr().is_terminal() { Watched::Yes } else { Watched::No }
}
