use std::sync::atomic::Ordering::Relaxed;

use super::checks;
use super::disturbed_stats::{SentOnChannel, disturbed_stats};
use super::outcome::{Outcome, Role};
use super::protocol::Protocol;
use super::report::{Connections, Deliveries, DisturbedStats, Generator, Load, Messages, Report, Server};
use super::resources::cores;
use super::run::Run;
use super::runner::{Checkpoint, Pace, RunResult, Runner};
use super::sequence_tracker::{SequenceTracker, missing_copies, missing_everywhere};

/// The parameters of the load.
pub(super) fn load(runner: &Runner, urls: &[String]) -> Load {
    Load {
        urls: urls.to_vec(),
        protocol: match runner.work.protocol.protocol() {
            Protocol::Native => "native",
            Protocol::Pusher => "pusher",
            Protocol::Plain => "plain",
        },
        publish: runner.publishers.name(),
        connections: runner.work.connections,
        channels: runner.work.channels.len(),
        publishers_per_channel: runner.publishers_per_channel.into(),
        rate: match runner.pace {
            Pace::Rate(rate) => Some(rate),
            Pace::Window(_) => None,
        },
        window: match runner.pace {
            Pace::Rate(_) => None,
            Pace::Window(window) => Some(window),
        },
        payload_bytes: runner.work.payload,
        ramp: runner.ramp,
        warmup_seconds: runner.warmup.as_secs_f64(),
        seconds: 0.0,
    }
}

/// Aggregates what all connections observed into the report, and checks it.
pub(super) fn report(load: Load, run: &Run, result: &RunResult) -> anyhow::Result<Report> {
    let (halves, send_delay) = run.histograms()?;
    let mut latency = halves[0].clone();
    latency.add(&halves[1])?;
    let (from, until) = run.measured();
    let seconds = seconds(until.saturating_sub(from));
    let accepted = run.counters.accepted.load(Relaxed);
    let sent = run.counters.sent.load(Relaxed);
    let refused = run.counters.refused.load(Relaxed);
    let (deliveries, on_channels) = deliveries(run, result, seconds);
    let chaos = result.chaos.as_ref().map(|chaos| DisturbedStats {
        generator_busy: result.until.sample.busy_since(&chaos.start),
        generator_waited: result.until.sample.waited_since(&chaos.start),
        ..disturbed_stats(run, chaos, &halves, &result.outcomes, &on_channels)
    });
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        load: Load { seconds, ..load },
        connections: connections(result),
        messages: Messages {
            sent,
            unsent: run.counters.unsent.load(Relaxed),
            accepted,
            refused: run.refusals(),
            unanswered: if result.acknowledged { sent.saturating_sub(accepted + refused) } else { 0 },
            per_second: ratio(result.until.sent.saturating_sub(result.from.sent), seconds),
        },
        deliveries,
        latency_us: (&latency).into(),
        chaos,
        generator: Generator {
            cores: cores(),
            busy: result.until.sample.busy_since(&result.from.sample),
            waited: result.until.sample.waited_since(&result.from.sample),
            late_us: (&send_delay).into(),
            blocked_writes: run.counters.blocked_writes.load(Relaxed),
        },
        server: server(result),
        ..Report::default()
    };
    checks::apply(&mut report);
    Ok(report)
}

fn connections(result: &RunResult) -> Connections {
    let mut connections = Connections {
        opened: result.opened,
        refused: result.refused.clone(),
        handshake_us: (&result.handshakes).into(),
        ..Connections::default()
    };
    // The server is expected to disconnect slow readers; they are reported in their own section.
    let others = result.outcomes.iter().filter(|outcome| outcome.role != Role::Slow);
    for end in others.filter_map(|outcome| outcome.ended.clone()) {
        *connections.ended.entry(end).or_default() += 1;
    }
    let extra = result.chaos.iter().map(|chaos| chaos.reconnects.opened + chaos.churn.opened).sum::<u64>();
    let silent = (result.opened + result.publish_only + extra).saturating_sub(result.outcomes.len() as u64);
    if silent > 0 {
        connections.ended.insert("did not report in time".to_owned(), silent);
    }
    connections
}

/// What the undisturbed subscribers received, and what was sent on each channel.
fn deliveries(run: &Run, result: &RunResult, seconds: f64) -> (Deliveries, Vec<SentOnChannel>) {
    let mut deliveries = Deliveries {
        due: run.counters.expected.load(Relaxed),
        received: run.counters.received.load(Relaxed),
        early_echo: run.counters.early_echo.load(Relaxed),
        misrouted: run.counters.misrouted.load(Relaxed),
        unrecognized: run.counters.unrecognized.load(Relaxed),
        per_second: ratio(run.counters.received_in_time.load(Relaxed), seconds),
        ..Deliveries::default()
    };
    let channels = result.outcomes.iter().map(|outcome| outcome.channel + 1).max().unwrap_or_default();
    let mut by_channel: Vec<Vec<&Outcome>> = vec![Vec::new(); channels];
    for outcome in result.outcomes.iter().filter(|outcome| outcome.role == Role::Steady) {
        if let Some(receivers) = by_channel.get_mut(outcome.channel) {
            receivers.push(outcome);
        }
    }
    let publishers = publishers(channels, result);
    let nothing = SequenceTracker::default();
    let mut on_channels = Vec::new();
    for (receivers, publishers) in by_channel.iter().zip(publishers) {
        let mut on_channel = SentOnChannel::default();
        for (publisher, sent, not_accepted) in publishers {
            let trackers =
                receivers.iter().map(|receiver| receiver.trackers.get(&publisher).unwrap_or(&nothing));
            let missing_for_all = missing_everywhere(sent, trackers.clone());
            let missing = missing_copies(sent, not_accepted, &missing_for_all, trackers);
            on_channel.publishers.push((publisher, sent, missing_for_all));
            on_channel.not_accepted += not_accepted;
            deliveries.missing += missing.iter().sum::<u64>();
            let on_ended = receivers.iter().zip(&missing).filter(|(receiver, _)| receiver.ended.is_some());
            deliveries.missing_on_ended += on_ended.map(|(_, missing)| missing).sum::<u64>();
        }
        for tracker in receivers.iter().flat_map(|receiver| receiver.trackers.values()) {
            deliveries.duplicated += tracker.duplicated;
            deliveries.reordered += tracker.reordered;
        }
        deliveries.order_mismatches += order_mismatches(receivers);
        on_channels.push(on_channel);
    }
    (deliveries, on_channels)
}

/// The publishers of each channel: number, messages sent, and messages not accepted.
fn publishers(channels: usize, result: &RunResult) -> Vec<Vec<(u16, u32, u64)>> {
    let mut by_channel = vec![Vec::new(); channels];
    let connections = result.outcomes.iter().filter_map(|outcome| {
        let publisher = outcome.publisher?;
        Some((outcome.channel, (publisher, outcome.sent, outcome.not_accepted(result.acknowledged))))
    });
    let others = result.publish_logs.iter().map(|log| {
        let not_accepted = u64::from(log.sent).saturating_sub(log.accepted);
        (log.channel, (log.publisher, log.sent, not_accepted))
    });
    for (channel, publisher) in connections.chain(others) {
        if let Some(publishers) = by_channel.get_mut(channel) {
            publishers.push(publisher);
        }
    }
    by_channel
}

/// Of the receivers that got the most messages, how many got them in another order than the first of these.
fn order_mismatches(receivers: &[&Outcome]) -> u64 {
    let most = receivers.iter().map(|receiver| receiver.received).max().unwrap_or_default();
    let mut orders =
        receivers.iter().filter(|receiver| receiver.received == most).map(|receiver| receiver.order);
    let first = orders.next();
    orders.filter(|order| Some(*order) != first).count() as u64
}

fn server(result: &RunResult) -> Option<Server> {
    let between = |earlier: &Checkpoint, later: &Checkpoint| {
        (later.received + later.disturbed_received)
            .saturating_sub(earlier.received + earlier.disturbed_received)
    };
    let each = |cpu: Option<std::time::Duration>, number: u64| {
        Some(cpu?.as_secs_f64() * 1e6).filter(|_| number > 0).map(|cpu| ratio_of(cpu, number))
    };
    let last = result.drained.sample.server?;
    let (before, connected) = (result.before.server, result.connected.server);
    let grown = before.zip(connected).map(|(before, connected)| {
        ratio_of(number(connected.memory_bytes) - number(before.memory_bytes), result.opened.max(1))
    });
    Some(Server {
        cpu_us_per_delivery: each(
            result.drained.sample.server_cpu_since(&result.from.sample),
            between(&result.from, &result.drained),
        ),
        cpu_us_per_connect: each(result.connected.server_cpu_since(&result.before), result.opened),
        bytes_per_connection: grown,
        memory_bytes: last.memory_bytes,
    })
}

fn seconds(nanos: u64) -> f64 {
    std::time::Duration::from_nanos(nanos).as_secs_f64()
}

fn ratio(number_of: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { number(number_of) / seconds } else { 0.0 }
}

fn ratio_of(sum: f64, count: u64) -> f64 {
    sum / number(count)
}

#[expect(clippy::cast_precision_loss, reason = "counts and bytes are far below 2^53")]
fn number(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receiver(sequences: &[(u16, u32)]) -> Outcome {
        let mut outcome = Outcome::default();
        for (publisher, sequence) in sequences {
            outcome.record(*publisher, *sequence);
        }
        outcome
    }

    #[test]
    fn different_orders_between_publishers_are_counted() {
        let one = receiver(&[(0, 0), (1, 0), (0, 1)]);
        let same = receiver(&[(0, 0), (1, 0), (0, 1)]);
        let other = receiver(&[(1, 0), (0, 0), (0, 1)]);
        let late = receiver(&[(1, 0)]);
        assert_eq!(order_mismatches(&[&one, &same, &late]), 0);
        assert_eq!(order_mismatches(&[&one, &same, &other, &late]), 1);
    }
}
