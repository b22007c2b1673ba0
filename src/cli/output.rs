//! Lines for people and pipes. `println!` panics where the reader has gone.

use std::io::{self, ErrorKind, Write};

use super::Failure;

/// Writes a line to standard output, at once.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::OutputClosed),
        Err(error) => Err(anyhow::Error::new(error).context("cannot write").into()),
    }
}

/// Writes a line to standard error. Where that is gone as well, there is nobody to tell.
pub(super) fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
