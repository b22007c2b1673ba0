//! The `yamabiko` binary.

use std::process::ExitCode;

/// Idle connections cost less with it than with glibc's. Without huge pages (`no_thp`): with them, what a burst of
/// handshakes has touched stays resident in pieces of 2 MiB, and an idle connection takes twice as much.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    yamabiko::cli::run()
}
