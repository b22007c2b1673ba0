//! Each connection is an open file, and shells and services begin with few: 1,024 as a rule.

/// The kernel is asked for so much room at most, unless more is wanted: its table takes 8 bytes for each file.
#[cfg(unix)]
const ROOM: u64 = 1 << 18;

/// Raises the limit of open files to what the process may have, says how many they are (`None`: without limit), and has
/// the kernel make room for them.
#[cfg(unix)]
pub(super) fn raise(wanted: u64) -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let in_force = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    make_room(ROOM.max(wanted).min(in_force.unwrap_or(u64::MAX)));
    in_force
}

/// Has the kernel's table of this process's files grow now. It would double it each time that it is full, and once the
/// process has threads, whoever opens the file too many is held up for many milliseconds, with all that wait for the
/// same core.
#[cfg(unix)]
fn make_room(files: u64) {
    use std::fs::File;

    let last = files.saturating_sub(1).try_into().unwrap_or(i32::MAX);
    // The table never shrinks, so that the file itself may go. If it cannot be had, all is as it would have been.
    let _ = File::open("/dev/null").map(|file| rustix::io::fcntl_dupfd_cloexec(file, last));
}

/// There is no such limit.
#[cfg(not(unix))]
pub(super) fn raise(_: u64) -> Option<u64> {
    None
}
