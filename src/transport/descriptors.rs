/// The shares of the process's file descriptors, so that connections of one kind cannot use up those of another: a health check
/// is answered even if no more WebSocket connections fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// For HTTP connections of the public port that are not upgraded, or not yet.
    pub public: usize,
    /// For connections of the admin port.
    pub admin: usize,
    /// For WebSocket connections.
    pub sockets: usize,
}

/// For Redis, webhooks, files, and connections that are being closed.
const RESERVED: usize = 64;

impl Descriptors {
    /// Divides the limit of open files of a process; `None`: no limit.
    #[must_use]
    pub fn new(limit: Option<u64>) -> Self {
        let all = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let (public, admin) = ((all / 8).clamp(8, 1024), (all / 16).clamp(4, 64));
        Self { public, admin, sockets: all.saturating_sub(public + admin + RESERVED).max(1) }
    }

    /// The shares of this process.
    #[cfg(unix)]
    #[must_use]
    pub fn of_process() -> Self {
        Self::new(rustix::process::getrlimit(rustix::process::Resource::Nofile).current)
    }

    /// There is no such limit on this platform.
    #[cfg(not(unix))]
    #[must_use]
    pub fn of_process() -> Self {
        Self::new(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_share() {
        let shares = |limit| {
            let Descriptors { public, admin, sockets } = Descriptors::new(limit);
            (public, admin, sockets)
        };
        assert_eq!(shares(Some(1024)), (128, 64, 768));
        assert_eq!(shares(Some(1_048_576)), (1024, 64, 1_047_424));
        assert_eq!(shares(Some(20)), (8, 4, 1));
        assert_eq!(shares(None).0, 1024);
    }
}
