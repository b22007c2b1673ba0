use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;

use super::log_writer::dropped_lines;
use super::process_metrics::put;

#[derive(Debug)]
pub(super) struct LogMetrics;

impl Collector for LogMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let help = "Log lines dropped because standard error was not read in time";
        put(&mut encoder, ("log_lines_dropped", help, None), &ConstCounter::new(dropped_lines()))
    }
}
