use std::thread;
use std::time::{Duration, Instant};

/// File descriptors for the runtime, the output and Redis, with some to spare.
const RESERVED_FILES: u64 = 32;

/// How many connections a process with this limit of open files can have.
pub(super) fn max_connections(open_files: u64) -> u64 {
    open_files.saturating_sub(RESERVED_FILES)
}

/// The number of cores available to this process.
pub(super) fn cores() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}

/// Cumulative resource usage at a point in time.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResourceSample {
    at: Instant,
    /// CPU time of this process, if known.
    own: Option<Duration>,
    /// How long its threads were ready to run but had no core.
    waited: Option<Duration>,
    /// Usage of the server's process.
    pub(super) server: Option<ProcessUsage>,
}

/// Cumulative usage of a process.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProcessUsage {
    /// User and system time.
    pub(super) cpu: Duration,
    /// Resident memory.
    pub(super) memory_bytes: u64,
}

impl ResourceSample {
    /// Takes a sample. `server` is the id of a local process.
    pub(super) fn take(server: Option<u32>) -> Self {
        Self {
            at: Instant::now(),
            own: own_cpu(),
            waited: own_wait(),
            server: server.and_then(ProcessUsage::read),
        }
    }

    /// The time since `earlier`.
    pub(super) fn since(&self, earlier: &Self) -> Duration {
        self.at.saturating_duration_since(earlier.at)
    }

    /// This process's CPU usage since `earlier`; 1 means all cores.
    pub(super) fn busy_since(&self, earlier: &Self) -> Option<f64> {
        self.share(earlier, self.own?.saturating_sub(earlier.own?))
    }

    /// How long its threads waited for a core since `earlier`, in the same unit. High if other processes use the cores, or
    /// if this one needs more of them.
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

/// Linux reports for each thread how long it ran, how long it waited to run, and how often it ran.
fn own_wait() -> Option<Duration> {
    let mut waited = None;
    for thread in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        // The thread may have ended.
        let Ok(schedstat) = std::fs::read_to_string(thread.path().join("schedstat")) else { continue };
        let nanos = schedstat.split_ascii_whitespace().nth(1)?.parse().ok()?;
        *waited.get_or_insert(Duration::ZERO) += Duration::from_nanos(nanos);
    }
    waited
}

impl ProcessUsage {
    /// Reads `/proc`, without the process's children.
    #[cfg(target_os = "linux")]
    pub(super) fn read(id: u32) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The name in parentheses may contain anything. utime is field 14 and rss field 24.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = field(14)? + field(15)?;
        #[expect(clippy::cast_precision_loss, reason = "2^53 ticks are a long time")]
        let seconds = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
        let page = u64::try_from(rustix::param::page_size()).ok()?;
        Some(Self { cpu: Duration::try_from_secs_f64(seconds).ok()?, memory_bytes: field(24)? * page })
    }

    /// Not known without `/proc`.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn read(_: u32) -> Option<Self> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_and_memory_of_a_busy_process_are_measured() {
        let id = std::process::id();
        let before = ResourceSample::take(Some(id));
        // The kernel counts in ticks of 10 ms.
        let after = loop {
            std::hint::black_box((0..1_000_000_u64).sum::<u64>());
            let after = ResourceSample::take(Some(id));
            if after.server_cpu_since(&before).unwrap() >= Duration::from_millis(10) {
                break after;
            }
        };
        assert!(after.busy_since(&before).unwrap() > 0.0);
        assert!(after.server.unwrap().memory_bytes > 1_000_000);
        assert!(ProcessUsage::read(u32::MAX).is_none());
    }
}
