//! The `yamabiko` binary.

use std::process::ExitCode;

/// Idle connections cost 200 bytes less with it than with glibc's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    yamabiko::cli::run()
}
