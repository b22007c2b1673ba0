//! What this process may use of the machine, and what it and the server use.

use std::thread;
use std::time::{Duration, Instant};

/// Descriptors that are not connections: the runtime, the output, Redis, and some to spare.
const OTHERS: u64 = 32;

/// How many connections a process with this limit of open files can have.
pub(super) fn connections_possible(open_files: u64) -> u64 {
    open_files.saturating_sub(OTHERS)
}

/// The cores that this process may use.
pub(super) fn cores() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}

/// A moment, and what had been used until then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    at: Instant,
    /// This process's CPU time, where it is known.
    own: Option<Duration>,
    /// How long its threads were ready to run and had no core.
    waited: Option<Duration>,
    /// The server's.
    pub(super) server: Option<Process>,
}

/// What another process uses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process {
    /// User and system time.
    pub(super) cpu: Duration,
    /// Resident memory.
    pub(super) memory_bytes: u64,
}

impl Sample {
    /// Takes one. `server` is the id of a process on this machine.
    pub(super) fn take(server: Option<u32>) -> Self {
        Self {
            at: Instant::now(),
            own: own_cpu(),
            waited: own_wait(),
            server: server.and_then(Process::look),
        }
    }

    /// The time since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Duration {
        self.at.saturating_duration_since(earlier.at)
    }

    /// How much of the cores this process used since `earlier`: 1 is all of them.
    pub(super) fn busy_since(&self, earlier: &Self) -> Option<f64> {
        self.share(earlier, self.own?.saturating_sub(earlier.own?))
    }

    /// How long its threads waited for a core since `earlier`, in the same measure. Not much, unless others use the
    /// cores, or it needs more than there are.
    pub(super) fn waited_since(&self, earlier: &Self) -> Option<f64> {
        self.share(earlier, self.waited?.saturating_sub(earlier.waited?))
    }

    fn share(&self, earlier: &Self, of: Duration) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "cores are few")]
        let possible = self.since(earlier).as_secs_f64() * cores() as f64;
        (possible > 0.0).then_some(of.as_secs_f64() / possible)
    }

    /// The server's CPU time since `earlier`.
    pub(super) fn server_cpu_since(&self, earlier: &Self) -> Option<Duration> {
        Some(self.server?.cpu.saturating_sub(earlier.server?.cpu))
    }
}

fn own_cpu() -> Option<Duration> {
    #[cfg(unix)]
    {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Duration::try_from(time).ok()
    }
    #[cfg(not(unix))]
    None
}

/// Linux tells of each thread how long it ran, how long it waited to run, and how often it ran.
fn own_wait() -> Option<Duration> {
    let mut waited = None;
    for thread in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        // It may have ended meanwhile.
        let Ok(schedstat) = std::fs::read_to_string(thread.path().join("schedstat")) else { continue };
        let nanos = schedstat.split_ascii_whitespace().nth(1)?.parse().ok()?;
        *waited.get_or_insert(Duration::ZERO) += Duration::from_nanos(nanos);
    }
    waited
}

impl Process {
    /// Looks it up in `/proc`; its children are not counted.
    #[cfg(target_os = "linux")]
    pub(super) fn look(id: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name before it, in parentheses, may hold anything; utime is the 14th field and rss the 24th.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = field(14)? + field(15)?;
        #[expect(clippy::cast_precision_loss, reason = "2^53 ticks are a long time")]
        let seconds = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
        let page = u64::try_from(rustix::param::page_size()).ok()?;
        Some(Self { cpu: Duration::try_from_secs_f64(seconds).ok()?, memory_bytes: field(24)? * page })
    }

    /// Where there is no `/proc`, nothing is known.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn look(_: u32) -> Option<Self> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_is_seen_to_work() {
        let id = std::process::id();
        let before = Sample::take(Some(id));
        let end = Instant::now() + Duration::from_millis(60);
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        let after = Sample::take(Some(id));
        assert!(after.busy_since(&before).unwrap() > 0.0);
        // A tick is 10 ms.
        assert!(after.server_cpu_since(&before).unwrap() >= Duration::from_millis(10));
        assert!(after.server.unwrap().memory_bytes > 1_000_000);
        assert!(Process::look(u32::MAX).is_none());
    }
}
