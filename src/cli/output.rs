//! Prints lines. Unlike `println!` and `eprintln!`, it does not panic when the reader is gone.

use std::io::{self, ErrorKind, Write};

use super::Failure;

/// Writes a line to standard output and flushes it.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::OutputClosed),
        Err(error) => Err(anyhow::Error::new(error).context("cannot write to standard output").into()),
    }
}

/// Writes a line to standard error. Errors are ignored: there is no other place to report them.
pub(super) fn eprint(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
