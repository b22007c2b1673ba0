//! Each connection is an open file, and shells and services begin with few: 1,024 as a rule.

/// Raises the limit of open files to what the process may have, and warns where that is less than `connections`
/// (0: no number is wanted).
#[cfg(unix)]
pub(super) fn raise(connections: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let in_force = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    let Some(files) = in_force.and_then(|files| usize::try_from(files).ok()) else { return };
    if connections > files {
        tracing::warn!(
            connections,
            files,
            "limits.connections is more than this process may open files (LimitNOFILE, ulimit -n)"
        );
    }
}

/// There is no such limit.
#[cfg(not(unix))]
pub(super) fn raise(_: usize) {}
