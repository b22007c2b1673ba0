use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Resource usage, under the names that Prometheus's client libraries use. Values that the system does not provide are
/// omitted.
#[derive(Debug)]
pub(super) struct ProcessMetrics;

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        if let Some(seconds) = cpu_seconds() {
            let cpu = ("process_cpu", "User and system CPU time", Some(Unit::Seconds));
            put(&mut encoder, cpu, &ConstCounter::new(seconds))?;
        }
        for (metric, value) in [
            (("process_resident_memory", "Resident memory", Some(Unit::Bytes)), resident_bytes()),
            (("process_open_fds", "Open file descriptors", None), open_descriptors()),
            (("process_max_fds", "Maximum number of open file descriptors", None), descriptor_limit()),
        ] {
            if let Some(value) = value.and_then(|value| i64::try_from(value).ok()) {
                put(&mut encoder, metric, &ConstGauge::new(value))?;
            }
        }
        Ok(())
    }
}

pub(super) fn put(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit): (&str, &str, Option<Unit>),
    metric: &impl EncodeMetric,
) -> std::fmt::Result {
    metric.encode(encoder.encode_descriptor(name, help, unit.as_ref(), metric.metric_type())?)
}

#[cfg(target_os = "linux")]
fn cpu_seconds() -> Option<f64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let time = std::time::Duration::new(time.tv_sec.try_into().ok()?, time.tv_nsec.try_into().ok()?);
    Some(time.as_secs_f64())
}

#[cfg(target_os = "linux")]
fn resident_bytes() -> Option<u64> {
    // In pages: total, resident, shared, …
    let pages: u64 = std::fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(u64::try_from(rustix::param::page_size()).ok()?)
}

#[cfg(target_os = "linux")]
fn open_descriptors() -> Option<u64> {
    const FOLDER: &str = "/proc/self/fd";
    // Since Linux 6.2 the folder's size is the count. Before, the entries have to be counted.
    match std::fs::metadata(FOLDER).ok()?.len() {
        0 => u64::try_from(std::fs::read_dir(FOLDER).ok()?.count()).ok(),
        count => Some(count),
    }
}

#[cfg(target_os = "linux")]
fn descriptor_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(not(target_os = "linux"))]
fn cpu_seconds() -> Option<f64> {
    None
}

#[cfg(not(target_os = "linux"))]
fn resident_bytes() -> Option<u64> {
    None
}

#[cfg(not(target_os = "linux"))]
fn open_descriptors() -> Option<u64> {
    None
}

#[cfg(not(target_os = "linux"))]
fn descriptor_limit() -> Option<u64> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_usage_of_this_process_is_measured() {
        let files: Vec<_> = (0..50).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        let (open, limit) = (open_descriptors().unwrap(), descriptor_limit().unwrap_or(u64::MAX));
        assert!(open > 50 && open <= limit, "{open} of {limit}");
        drop(files);
        let memory = resident_bytes().unwrap();
        assert!((1 << 20..1 << 36).contains(&memory), "{memory}");
        let before = cpu_seconds().unwrap();
        while cpu_seconds().unwrap() <= before {
            std::hint::spin_loop();
        }
    }
}
