use super::report::Report;
use super::table::{count, time};

/// From this CPU usage on, the generator measures itself.
const BUSY: f64 = 0.85;
/// From this share of the time on, waiting for a core distorts the figures.
const WAITED: f64 = 0.10;
/// The generator sends late if the 99th percentile of its delay is above this many microseconds …
const LATE_MICROS: u64 = 1_000;
/// … and above this part of the latency.
const LATE_PART: u64 = 10;
/// Below this share of the requested rate, the rate was not reached.
const REACHED: f64 = 0.99;
/// Percentiles of fewer copies are not meaningful.
const FEW: u64 = 1_000;

/// Fills in the faults of the run and the warnings about its figures.
pub(super) fn apply(report: &mut Report) {
    report.faults = faults(report);
    report.warnings = warnings(report);
}

fn faults(report: &Report) -> Vec<String> {
    let (connections, messages, deliveries) = (&report.connections, &report.messages, &report.deliveries);
    let mut faults = Vec::new();
    let mut fault = |number: u64, what: &str| {
        if number > 0 {
            faults.push(format!("{} {what}", count(number)));
        }
    };
    fault(connections.refused.values().sum(), "connections failed to open");
    fault(connections.ended.values().sum(), "connections ended before the run did");
    fault(messages.unsent, "messages were due but had no connection left to be sent on");
    fault(deliveries.missing, "copies are missing");
    fault(deliveries.duplicated, "copies arrived twice");
    fault(deliveries.reordered, "copies arrived out of order");
    fault(deliveries.early_echo, "copies reached their sender before the acknowledgement of the message");
    fault(deliveries.order_mismatches, "receivers saw another order than the others on their channel");
    fault(deliveries.misrouted, "copies arrived on another channel than they were sent on");
    if let Some(stats) = &report.chaos {
        fault(stats.missing, "copies are missing on disturbed connections");
        fault(stats.duplicated, "copies arrived twice on disturbed connections");
        fault(stats.reordered, "copies arrived out of order on disturbed connections");
        let connects = &stats.reconnect.connects;
        fault(connects.attempted.saturating_sub(connects.opened), "dropped connections failed to reconnect");
        fault(
            stats.churn.attempted.saturating_sub(stats.churn.opened),
            "churning connections failed to open",
        );
    }
    if report.latency_us.count == 0 {
        faults.push("nothing was delivered during the measurement".to_owned());
    }
    faults
}

fn warnings(report: &Report) -> Vec<String> {
    let (messages, generator) = (&report.messages, &report.generator);
    let mut warnings = Vec::new();
    let chaos = report.chaos.as_ref();
    let worst = |all: Option<f64>, half: Option<f64>| half.map_or(all, |half| all.map(|all| all.max(half)));
    let busy = worst(generator.busy, chaos.and_then(|stats| stats.generator_busy));
    let waited = worst(generator.waited, chaos.and_then(|stats| stats.generator_waited));
    if let Some(busy) = busy.filter(|busy| *busy >= BUSY) {
        warnings.push(format!(
            "the generator is the bottleneck: it used {:.0}% of its {}; give it more cores or reduce the load",
            busy * 100.0,
            if generator.cores == 1 { "core".to_owned() } else { format!("{} cores", generator.cores) },
        ));
    }
    if let Some(waited) = waited.filter(|waited| *waited >= WAITED) {
        warnings.push(format!(
            "the generator waited for a core {:.0}% of the time: other processes or the server use the same cores",
            waited * 100.0
        ));
    }
    let late = generator.late_us.p99;
    if late > LATE_MICROS && late > report.latency_us.p99 / LATE_PART {
        warnings.push(format!(
            "the generator sent late, by {} at the 99th percentile; the delay is part of the latency",
            time(late)
        ));
    }
    if let Some(rate) = report.load.rate.filter(|rate| messages.per_second < rate * REACHED) {
        warnings.push(format!("requested {rate} messages per second, but sent {:.1}", messages.per_second));
    }
    if generator.blocked_writes > 0 {
        warnings.push(format!(
            "{} writes had to wait because the server did not read",
            count(generator.blocked_writes)
        ));
    }
    for (code, number) in &messages.refused {
        warnings.push(format!("{} messages were refused: {code}", count(*number)));
    }
    if messages.unanswered > 0 {
        warnings.push(format!(
            "{} messages were neither accepted nor refused; those that no receiver got do not count as missing",
            count(messages.unanswered)
        ));
    }
    if report.deliveries.unrecognized > 0 {
        warnings.push(format!(
            "{} messages received that do not belong to this run",
            count(report.deliveries.unrecognized)
        ));
    }
    if let Some(stats) = chaos.filter(|stats| stats.slow.stalled > 0 && stats.slow.ended.is_empty()) {
        warnings.push(format!(
            "none of the {} slow readers was disconnected: they did not exceed the server's limit",
            count(stats.slow.stalled)
        ));
    }
    if (1..FEW).contains(&report.latency_us.count) {
        warnings.push(format!("the percentiles are of {} copies only", count(report.latency_us.count)));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::super::report::{ConnectStats, DisturbedStats};
    use super::*;

    /// A run without faults or warnings.
    fn good() -> Report {
        let mut report = Report::default();
        report.latency_us.count = 10_000;
        report.latency_us.p99 = 5_000;
        report.load.rate = Some(100.0);
        report.messages.per_second = 99.9;
        report.generator.busy = Some(0.5);
        report.generator.cores = 2;
        report
    }

    fn checked(change: impl FnOnce(&mut Report)) -> (Vec<String>, Vec<String>) {
        let mut report = good();
        change(&mut report);
        apply(&mut report);
        (report.faults, report.warnings)
    }

    #[test]
    fn a_good_run_has_neither() {
        assert_eq!(checked(|_| {}), (vec![], vec![]));
    }

    #[test]
    fn a_generator_at_its_limit_says_so() {
        let (faults, warnings) = checked(|report| report.generator.busy = Some(0.9));
        assert!(faults.is_empty());
        assert!(warnings[0].contains("the bottleneck: it used 90% of its 2 cores"), "{warnings:?}");
        let (_, warnings) = checked(|report| report.generator.busy = Some(0.84));
        assert!(warnings.is_empty());
        let (_, warnings) = checked(|report| report.generator.waited = Some(0.25));
        assert!(warnings[0].contains("waited for a core 25% of the time"), "{warnings:?}");
    }

    #[test]
    fn late_sending_is_a_warning() {
        let (faults, warnings) = checked(|report| report.generator.late_us.p99 = 1_500);
        assert!(faults.is_empty());
        assert!(warnings[0].contains("sent late, by 1.50 ms"), "{warnings:?}");
        // It is negligible in a latency of seconds.
        let (_, warnings) = checked(|report| {
            report.generator.late_us.p99 = 1_500;
            report.latency_us.p99 = 2_000_000;
        });
        assert!(warnings.is_empty());
        let (_, warnings) = checked(|report| report.messages.per_second = 98.0);
        assert!(warnings[0].contains("requested 100 messages per second, but sent 98.0"), "{warnings:?}");
    }

    #[test]
    fn every_fault_is_reported() {
        let changes: [fn(&mut Report); 10] = [
            |report| report.deliveries.missing = 1,
            |report| report.deliveries.duplicated = 1,
            |report| report.deliveries.reordered = 1,
            |report| report.deliveries.early_echo = 1,
            |report| report.deliveries.order_mismatches = 1,
            |report| report.deliveries.misrouted = 1,
            |report| report.messages.unsent = 1,
            |report| report.connections.refused = [("no".into(), 1)].into(),
            |report| report.connections.ended = [("1001".into(), 1)].into(),
            |report| report.latency_us.count = 0,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert_eq!(checked(change).0.len(), 1, "{number}");
        }
    }

    /// A run with chaos.
    fn disturbed(change: impl FnOnce(&mut DisturbedStats)) -> (Vec<String>, Vec<String>) {
        checked(|report| {
            let mut stats = DisturbedStats::default();
            stats.slow.stalled = 2;
            stats.slow.ended = [("1013 try again later".into(), 2)].into();
            stats.churn = ConnectStats { attempted: 3, opened: 3, ..ConnectStats::default() };
            stats.reconnect.connects = ConnectStats { attempted: 4, opened: 4, ..ConnectStats::default() };
            change(&mut stats);
            report.chaos = Some(stats);
        })
    }

    #[test]
    fn disturbed_connections_are_checked_too() {
        assert_eq!(disturbed(|_| {}), (vec![], vec![]));
        let changes: [fn(&mut DisturbedStats); 5] = [
            |stats| stats.missing = 1,
            |stats| stats.duplicated = 1,
            |stats| stats.reordered = 1,
            |stats| stats.churn.opened = 2,
            |stats| stats.reconnect.connects.opened = 3,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let (faults, warnings) = disturbed(change);
            assert_eq!((faults.len(), warnings.len()), (1, 0), "{number}");
        }
        let (_, warnings) = disturbed(|stats| stats.slow.ended.clear());
        assert!(warnings[0].contains("none of the 2 slow readers was disconnected"), "{warnings:?}");
        // The generator may be fast enough until chaos begins.
        let (_, warnings) = disturbed(|stats| stats.generator_busy = Some(0.97));
        assert!(warnings[0].contains("it used 97% of its 2 cores"), "{warnings:?}");
    }

    #[test]
    fn refusals_are_warnings_and_no_faults() {
        let (faults, warnings) = checked(|report| {
            report.messages.refused.insert("unavailable".into(), 3);
            report.messages.unanswered = 2;
        });
        assert!(faults.is_empty());
        assert_eq!(warnings.len(), 2);
        assert!(warnings[0].contains("3 messages were refused: unavailable"), "{warnings:?}");
    }
}
