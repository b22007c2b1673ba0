//! Whether all went well, and whether the figures can be believed.

use super::report::Report;
use super::table::{count, time};

/// From this share of its cores on, the generator measures itself.
const BUSY: f64 = 0.85;
/// From this share on, it was kept waiting for its cores by others, or by itself.
const WAITED: f64 = 0.10;
/// Sending so late at the 99th percentile is not punctual any more, in microseconds …
const LATE_MICROS: u64 = 1_000;
/// … if it is more than this part of the latency.
const LATE_PART: u64 = 10;
/// Below this share of the rate, the rate was not reached.
const REACHED: f64 = 0.99;
/// Percentiles of fewer copies say little.
const FEW: u64 = 1_000;

/// Fills in the faults and the cautions.
pub(super) fn judge(report: &mut Report) {
    report.faults = faults(report);
    report.cautions = cautions(report);
}

fn faults(report: &Report) -> Vec<String> {
    let (connections, messages, deliveries) = (&report.connections, &report.messages, &report.deliveries);
    let mut faults = Vec::new();
    let mut fault = |number: u64, what: &str| {
        if number > 0 {
            faults.push(format!("{} {what}", count(number)));
        }
    };
    fault(connections.refused.values().sum(), "connections were not opened");
    fault(connections.ended.values().sum(), "connections ended before the run did");
    fault(messages.unsent, "messages were due and had no connection left to go on");
    fault(deliveries.missing, "copies are missing");
    fault(deliveries.doubled, "copies came twice");
    fault(deliveries.reordered, "copies came out of order");
    fault(deliveries.hasty, "copies came to their sender before the answer to the message");
    fault(deliveries.disagreeing, "receivers saw another order than the others on their channel");
    fault(deliveries.strayed, "copies came on a channel that they were not sent on");
    if let Some(apart) = &report.disturbance {
        fault(apart.missing, "copies are missing where connections were disturbed on purpose");
        fault(apart.doubled, "copies came twice where connections were disturbed on purpose");
        fault(apart.reordered, "copies came out of order where connections were disturbed on purpose");
        let newcomers = &apart.reconnect.newcomers;
        fault(newcomers.tried.saturating_sub(newcomers.opened), "connections did not come back");
        fault(apart.churn.tried.saturating_sub(apart.churn.opened), "passing connections were not opened");
    }
    if report.latency_us.count == 0 {
        faults.push("nothing was delivered while it was measured".to_owned());
    }
    faults
}

fn cautions(report: &Report) -> Vec<String> {
    let (messages, generator) = (&report.messages, &report.generator);
    let mut cautions = Vec::new();
    let halves = report.disturbance.as_ref();
    let worst = |all: Option<f64>, half: Option<f64>| half.map_or(all, |half| all.map(|all| all.max(half)));
    let busy = worst(generator.busy, halves.and_then(|apart| apart.generator_busy));
    let waited = worst(generator.waited, halves.and_then(|apart| apart.generator_waited));
    if let Some(busy) = busy.filter(|busy| *busy >= BUSY) {
        cautions.push(format!(
            "the generator is the bottleneck: it used {:.0}% of its {}; give it more cores, or ask for less",
            busy * 100.0,
            if generator.cores == 1 { "core".to_owned() } else { format!("{} cores", generator.cores) },
        ));
    }
    if let Some(waited) = waited.filter(|waited| *waited >= WAITED) {
        cautions.push(format!(
            "the generator had to wait for a core {:.0}% of the time: other programs, or the server, use the same ones",
            waited * 100.0
        ));
    }
    let late = generator.late_us.p99;
    if late > LATE_MICROS && late > report.latency_us.p99 / LATE_PART {
        cautions.push(format!(
            "the generator sent late, by {} at the 99th percentile, which is part of the latency",
            time(late)
        ));
    }
    if let Some(rate) = report.load.rate.filter(|rate| messages.per_second < rate * REACHED) {
        cautions
            .push(format!("{rate} messages a second were asked for, {:.1} were sent", messages.per_second));
    }
    if generator.blocked_writes > 0 {
        cautions.push(format!(
            "{} writes had to wait because the server did not read",
            count(generator.blocked_writes)
        ));
    }
    for (code, number) in &messages.refused {
        cautions.push(format!("{} messages were refused: {code}", count(*number)));
    }
    if messages.unanswered > 0 {
        cautions.push(format!(
            "{} messages were neither accepted nor refused; those that nobody got are not counted as missing",
            count(messages.unanswered)
        ));
    }
    if report.deliveries.foreign > 0 {
        cautions
            .push(format!("{} messages came that are none of this run", count(report.deliveries.foreign)));
    }
    if let Some(apart) = halves.filter(|apart| apart.slow.stalled > 0 && apart.slow.ended.is_empty()) {
        cautions.push(format!(
            "none of the {} slow readers was disconnected: not so much waited for them as the server lets wait",
            count(apart.slow.stalled)
        ));
    }
    if (1..FEW).contains(&report.latency_us.count) {
        cautions.push(format!("the percentiles are of {} copies only", count(report.latency_us.count)));
    }
    cautions
}

#[cfg(test)]
mod tests {
    use super::super::report::{Apart, Newcomers};
    use super::*;

    /// A run in which all went well.
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

    fn judged(change: impl FnOnce(&mut Report)) -> (Vec<String>, Vec<String>) {
        let mut report = good();
        change(&mut report);
        judge(&mut report);
        (report.faults, report.cautions)
    }

    #[test]
    fn a_good_run_has_neither() {
        assert_eq!(judged(|_| {}), (vec![], vec![]));
    }

    #[test]
    fn a_generator_at_its_limit_says_so() {
        let (faults, cautions) = judged(|report| report.generator.busy = Some(0.9));
        assert!(faults.is_empty());
        assert!(cautions[0].contains("the bottleneck: it used 90% of its 2 cores"), "{cautions:?}");
        let (_, cautions) = judged(|report| report.generator.busy = Some(0.84));
        assert!(cautions.is_empty());
        let (_, cautions) = judged(|report| report.generator.waited = Some(0.25));
        assert!(cautions[0].contains("had to wait for a core 25% of the time"), "{cautions:?}");
    }

    #[test]
    fn a_generator_that_sends_late_says_so() {
        let (faults, cautions) = judged(|report| report.generator.late_us.p99 = 1_500);
        assert!(faults.is_empty());
        assert!(cautions[0].contains("sent late, by 1.50 ms"), "{cautions:?}");
        // Beside a latency of seconds it does not matter.
        let (_, cautions) = judged(|report| {
            report.generator.late_us.p99 = 1_500;
            report.latency_us.p99 = 2_000_000;
        });
        assert!(cautions.is_empty());
        let (_, cautions) = judged(|report| report.messages.per_second = 98.0);
        assert!(cautions[0].contains("100 messages a second were asked for, 98.0 were sent"), "{cautions:?}");
    }

    #[test]
    fn every_fault_is_named() {
        let changes: [fn(&mut Report); 10] = [
            |report| report.deliveries.missing = 1,
            |report| report.deliveries.doubled = 1,
            |report| report.deliveries.reordered = 1,
            |report| report.deliveries.hasty = 1,
            |report| report.deliveries.disagreeing = 1,
            |report| report.deliveries.strayed = 1,
            |report| report.messages.unsent = 1,
            |report| report.connections.refused = [("no".into(), 1)].into(),
            |report| report.connections.ended = [("1001".into(), 1)].into(),
            |report| report.latency_us.count = 0,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            assert_eq!(judged(change).0.len(), 1, "{number}");
        }
    }

    /// With connections that disturb.
    fn disturbed(change: impl FnOnce(&mut Apart)) -> (Vec<String>, Vec<String>) {
        judged(|report| {
            let mut apart = Apart::default();
            apart.slow.stalled = 2;
            apart.slow.ended = [("1013 try again later".into(), 2)].into();
            apart.churn = Newcomers { tried: 3, opened: 3, ..Newcomers::default() };
            apart.reconnect.newcomers = Newcomers { tried: 4, opened: 4, ..Newcomers::default() };
            change(&mut apart);
            report.disturbance = Some(apart);
        })
    }

    #[test]
    fn connections_that_disturb_are_judged_too() {
        assert_eq!(disturbed(|_| {}), (vec![], vec![]));
        let changes: [fn(&mut Apart); 5] = [
            |apart| apart.missing = 1,
            |apart| apart.doubled = 1,
            |apart| apart.reordered = 1,
            |apart| apart.churn.opened = 2,
            |apart| apart.reconnect.newcomers.opened = 3,
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let (faults, cautions) = disturbed(change);
            assert_eq!((faults.len(), cautions.len()), (1, 0), "{number}");
        }
        let (_, cautions) = disturbed(|apart| apart.slow.ended.clear());
        assert!(cautions[0].contains("none of the 2 slow readers was disconnected"), "{cautions:?}");
        // It may be the storm itself that the generator is too slow for.
        let (_, cautions) = disturbed(|apart| apart.generator_busy = Some(0.97));
        assert!(cautions[0].contains("it used 97% of its 2 cores"), "{cautions:?}");
    }

    #[test]
    fn refusals_are_no_faults_but_are_told() {
        let (faults, cautions) = judged(|report| {
            report.messages.refused.insert("unavailable".into(), 3);
            report.messages.unanswered = 2;
        });
        assert!(faults.is_empty());
        assert_eq!(cautions.len(), 2);
        assert!(cautions[0].contains("3 messages were refused: unavailable"), "{cautions:?}");
    }
}
