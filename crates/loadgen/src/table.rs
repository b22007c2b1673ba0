use std::fmt::Write;

use super::report::{ConnectStats, DisturbedStats, Percentiles, Report};

/// Renders the report as a table.
pub(super) fn render(report: &Report) -> String {
    let mut text = String::new();
    let Report { load, connections, messages, deliveries, generator, .. } = report;
    // Writing to memory does not fail.
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<15}{value}");
    };
    row("Connections", format!("{} of {}", count(connections.opened), count(load.connections as u64)));
    for (reason, number) in &connections.refused {
        row("", format!("{} failed: {reason}", count(*number)));
    }
    for (reason, number) in &connections.ended {
        row("", format!("{} ended: {reason}", count(*number)));
    }
    row(
        "Messages",
        format!(
            "{} sent, {}/s during the measurement",
            count(messages.sent),
            per_second(messages.per_second)
        ),
    );
    row(
        "Deliveries",
        format!(
            "{} received, {}/s during the measurement",
            count(deliveries.received),
            per_second(deliveries.per_second)
        ),
    );
    row(
        "Faults",
        format!(
            "{} missing, {} duplicated, {} reordered",
            count(deliveries.missing),
            count(deliveries.duplicated),
            count(deliveries.reordered)
        ),
    );
    if deliveries.missing_on_ended > 0 {
        row(
            "",
            format!("{} of the missing copies on connections that ended", count(deliveries.missing_on_ended)),
        );
    }
    row("Handshake", percentiles(&connections.handshake_us));
    row("Latency", percentiles(&report.latency_us));
    if let Some(stats) = &report.chaos {
        chaos(stats, &mut row);
    }
    row("Send delay", percentiles(&generator.late_us));
    if let Some(busy) = generator.busy {
        let waited = generator.waited.unwrap_or_default() * 100.0;
        row(
            "Generator",
            format!(
                "used {:.0}% of {} core(s), waited {waited:.0}% of the time for one",
                busy * 100.0,
                generator.cores
            ),
        );
    }
    if let Some(server) = &report.server {
        let figure = |value: Option<f64>, unit: &str| {
            value.map_or_else(|| format!("? {unit}"), |value| format!("{value:.2} {unit}"))
        };
        row(
            "Server",
            format!(
                "{}, {}, {:.0} KiB of memory",
                figure(server.cpu_us_per_delivery, "µs CPU/delivery"),
                figure(server.cpu_us_per_connect, "µs CPU/connect"),
                kib(server.memory_bytes),
            ),
        );
    }
    for fault in &report.faults {
        let _ = writeln!(text, "  FAULT: {fault}");
    }
    for warning in &report.warnings {
        let _ = writeln!(text, "  Warning: {warning}");
    }
    text
}

/// What happened to the disturbed connections, and the latency of the others before and during it.
fn chaos(stats: &DisturbedStats, row: &mut impl FnMut(&str, String)) {
    row("  before", percentiles(&stats.latency_before_us));
    row("  during", percentiles(&stats.latency_during_us));
    let connects_row = |connects: &ConnectStats, row: &mut dyn FnMut(&str, String)| {
        for (reason, number) in &connects.refused {
            row("", format!("{} handshakes failed: {reason}", count(*number)));
        }
        row("  handshake", percentiles(&connects.handshake_us));
    };
    if stats.slow.stalled > 0 {
        let ended = stats.slow.ended.values().sum();
        row(
            "Slow",
            format!("{} stopped reading, {} were disconnected", count(stats.slow.stalled), count(ended)),
        );
        for (reason, number) in &stats.slow.ended {
            row("", format!("{} ended: {reason}", count(*number)));
        }
    }
    let back = &stats.reconnect.connects;
    if back.attempted > 0 {
        let after = stats.reconnect.all_back_seconds.map(|after| format!(", the last after {after:.2} s"));
        row(
            "Reconnect",
            format!(
                "{} of {} reconnected{}",
                count(back.opened),
                count(back.attempted),
                after.unwrap_or_default()
            ),
        );
        connects_row(back, row);
    }
    if stats.churn.attempted > 0 {
        row("Churn", format!("{} of {} connected", count(stats.churn.opened), count(stats.churn.attempted)));
        connects_row(&stats.churn, row);
    }
}

#[expect(clippy::cast_precision_loss, reason = "memory is far below 2^53 bytes")]
fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}

fn percentiles(of: &Percentiles) -> String {
    if of.count == 0 {
        return "nothing measured".to_owned();
    }
    format!(
        "p50 {}   p90 {}   p99 {}   p99.9 {}   max {}",
        time(of.p50),
        time(of.p90),
        time(of.p99),
        time(of.p99_9),
        time(of.max)
    )
}

fn per_second(rate: f64) -> String {
    if rate < 100.0 {
        return format!("{rate:.1}");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rates are positive")]
    count(rate.round() as u64)
}

/// A number with thousands separators.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A duration in microseconds, with three significant digits.
pub(super) fn time(micros: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "times are far below 2^53 microseconds")]
    let micros = micros as f64;
    match micros {
        0.0..1_000.0 => format!("{micros:.0} µs"),
        1_000.0..10_000.0 => format!("{:.2} ms", micros / 1e3),
        10_000.0..100_000.0 => format!("{:.1} ms", micros / 1e3),
        100_000.0..1_000_000.0 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_separators_and_times_have_units() {
        let counts = [0, 999, 1_000, 1_234_567].map(count);
        assert_eq!(counts, ["0", "999", "1,000", "1,234,567"]);
        let times = [1, 999, 1_500, 15_000, 150_000, 2_500_000].map(time);
        assert_eq!(times, ["1 µs", "999 µs", "1.50 ms", "15.0 ms", "150 ms", "2.50 s"]);
    }
}
