//! The limit of open files. Each connection is one, and shells and services usually start with 1,024.

/// Size of the kernel's file table to reserve, unless more is wanted. Each entry takes 8 bytes.
#[cfg(unix)]
const RESERVED_FILES: u64 = 1 << 18;

/// Raises the soft limit of open files to the hard limit and reserves room for `wanted` files. Returns the limit; `None` is
/// unlimited.
#[cfg(unix)]
pub(super) fn raise_open_files(wanted: u64) -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let in_force = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    reserve(RESERVED_FILES.max(wanted).min(in_force.unwrap_or(u64::MAX)));
    in_force
}

/// Grows the kernel's file table of this process now. The kernel doubles the table when it is full, and in a process with
/// threads that blocks the thread that opens a file for many milliseconds.
#[cfg(unix)]
fn reserve(files: u64) {
    use std::fs::File;

    let last = files.saturating_sub(1).try_into().unwrap_or(i32::MAX);
    // The table never shrinks, so the file can be closed at once. If this fails, the table grows on demand.
    let _ = File::open("/dev/null").map(|file| rustix::io::fcntl_dupfd_cloexec(file, last));
}

#[cfg(not(unix))]
pub(super) fn raise_open_files(_: u64) -> Option<u64> {
    None
}
