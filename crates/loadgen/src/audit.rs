//! Turns what was seen into a report.

use std::sync::atomic::Ordering::Relaxed;

use super::apart::{Sent, apart};
use super::drive::{Drive, Moment, Pace, Seen};
use super::machine::cores;
use super::outcome::{Outcome, Part};
use super::report::{Apart, Connections, Deliveries, Generator, Load, Messages, Report, Server};
use super::speech::Protocol;
use super::tally::Run;
use super::track::{Track, missing_copies, missing_everywhere};
use super::verdict::judge;

/// What the load was, as far as it does not depend on how the run went.
pub(super) fn load(drive: &Drive, urls: &[String]) -> Load {
    Load {
        urls: urls.to_vec(),
        protocol: match drive.work.speech.protocol() {
            Protocol::Native => "native",
            Protocol::Pusher => "pusher",
            Protocol::Plain => "plain",
        },
        publish: drive.voice.name(),
        connections: drive.work.connections,
        channels: drive.work.channels.len(),
        publishers_per_channel: drive.publishers.into(),
        rate: match drive.pace {
            Pace::Rate(rate) => Some(rate),
            Pace::Window(_) => None,
        },
        window: match drive.pace {
            Pace::Rate(_) => None,
            Pace::Window(window) => Some(window),
        },
        payload_bytes: drive.work.payload,
        ramp: drive.ramp,
        warmup_seconds: drive.warmup.as_secs_f64(),
        seconds: 0.0,
    }
}

/// Counts together what all connections saw, and judges it.
pub(super) fn report(load: Load, run: &Run, seen: &Seen) -> anyhow::Result<Report> {
    let (halves, late) = run.times()?;
    let mut latency = halves[0].clone();
    latency.add(&halves[1])?;
    let (from, until) = run.measured();
    let seconds = seconds(until.saturating_sub(from));
    let accepted = run.accepted.load(Relaxed);
    let sent = run.sent.load(Relaxed);
    let refused = run.refused.load(Relaxed);
    let (deliveries, on_channels) = deliveries(run, seen, seconds);
    let disturbance = seen.disturbed.as_ref().map(|done| Apart {
        generator_busy: seen.until.sample.busy_since(&done.begun),
        generator_waited: seen.until.sample.waited_since(&done.begun),
        ..apart(run, done, &halves, &seen.outcomes, &on_channels)
    });
    let mut report = Report {
        version: env!("CARGO_PKG_VERSION"),
        load: Load { seconds, ..load },
        connections: connections(seen),
        messages: Messages {
            sent,
            unsent: run.unsent.load(Relaxed),
            accepted,
            refused: run.reasons(),
            unanswered: if seen.answered { sent.saturating_sub(accepted + refused) } else { 0 },
            per_second: ratio(seen.until.sent.saturating_sub(seen.from.sent), seconds),
        },
        deliveries,
        latency_us: (&latency).into(),
        disturbance,
        generator: Generator {
            cores: cores(),
            busy: seen.until.sample.busy_since(&seen.from.sample),
            waited: seen.until.sample.waited_since(&seen.from.sample),
            late_us: (&late).into(),
            blocked_writes: run.blocked.load(Relaxed),
        },
        server: server(seen),
        ..Report::default()
    };
    judge(&mut report);
    Ok(report)
}

fn connections(seen: &Seen) -> Connections {
    let mut connections = Connections {
        opened: seen.opened,
        refused: seen.refused.clone(),
        handshake_us: (&seen.handshakes).into(),
        ..Connections::default()
    };
    // That the server lets go of those who do not read is told apart, and no fault.
    let others = seen.outcomes.iter().filter(|outcome| outcome.part != Part::Slow);
    for end in others.filter_map(|outcome| outcome.ended.clone()) {
        *connections.ended.entry(end).or_default() += 1;
    }
    let came = seen.disturbed.iter().map(|done| done.reconnects.opened + done.passing.opened).sum::<u64>();
    let silent = (seen.opened + seen.speakers + came).saturating_sub(seen.outcomes.len() as u64);
    if silent > 0 {
        connections.ended.insert("did not report in time".to_owned(), silent);
    }
    connections
}

/// What the undisturbed got, and what was sent on each channel.
fn deliveries(run: &Run, seen: &Seen, seconds: f64) -> (Deliveries, Vec<Sent>) {
    let mut deliveries = Deliveries {
        due: run.expected.load(Relaxed),
        received: run.received.load(Relaxed),
        hasty: run.hasty.load(Relaxed),
        strayed: run.strayed.load(Relaxed),
        foreign: run.foreign.load(Relaxed),
        per_second: ratio(run.received_in_time.load(Relaxed), seconds),
        ..Deliveries::default()
    };
    let channels = seen.outcomes.iter().map(|outcome| outcome.channel + 1).max().unwrap_or_default();
    let mut by_channel: Vec<Vec<&Outcome>> = vec![Vec::new(); channels];
    for outcome in seen.outcomes.iter().filter(|outcome| outcome.part == Part::Steady) {
        if let Some(receivers) = by_channel.get_mut(outcome.channel) {
            receivers.push(outcome);
        }
    }
    let publishers = publishers(channels, seen);
    let nothing = Track::default();
    let mut on_channels = Vec::new();
    for (receivers, publishers) in by_channel.iter().zip(publishers) {
        let mut on_channel = Sent::default();
        for (publisher, sent, not_accepted) in publishers {
            let tracks = receivers.iter().map(|receiver| receiver.tracks.get(&publisher).unwrap_or(&nothing));
            let by_nobody = missing_everywhere(sent, tracks.clone());
            let missing = missing_copies(sent, not_accepted, &by_nobody, tracks);
            on_channel.publishers.push((publisher, sent, by_nobody));
            on_channel.not_accepted += not_accepted;
            deliveries.missing += missing.iter().sum::<u64>();
            let on_ended = receivers.iter().zip(&missing).filter(|(receiver, _)| receiver.ended.is_some());
            deliveries.missing_on_ended += on_ended.map(|(_, missing)| missing).sum::<u64>();
        }
        for track in receivers.iter().flat_map(|receiver| receiver.tracks.values()) {
            deliveries.doubled += track.doubled;
            deliveries.reordered += track.reordered;
        }
        deliveries.disagreeing += disagreeing(receivers);
        on_channels.push(on_channel);
    }
    (deliveries, on_channels)
}

/// Who published on each channel: the number, how many were sent, and how many of them were not accepted.
fn publishers(channels: usize, seen: &Seen) -> Vec<Vec<(u16, u32, u64)>> {
    let mut by_channel = vec![Vec::new(); channels];
    let connections = seen.outcomes.iter().filter_map(|outcome| {
        let publisher = outcome.publisher?;
        Some((outcome.channel, (publisher, outcome.sent, outcome.not_accepted(seen.answered))))
    });
    let others = seen.published.iter().map(|published| {
        let not_accepted = u64::from(published.sent).saturating_sub(published.accepted);
        (published.channel, (published.publisher, published.sent, not_accepted))
    });
    for (channel, publisher) in connections.chain(others) {
        if let Some(publishers) = by_channel.get_mut(channel) {
            publishers.push(publisher);
        }
    }
    by_channel
}

/// How many of those that got everything got it in another order than the first of them.
fn disagreeing(receivers: &[&Outcome]) -> u64 {
    let most = receivers.iter().map(|receiver| receiver.received).max().unwrap_or_default();
    let mut orders =
        receivers.iter().filter(|receiver| receiver.received == most).map(|receiver| receiver.order);
    let first = orders.next();
    orders.filter(|order| Some(*order) != first).count() as u64
}

fn server(seen: &Seen) -> Option<Server> {
    let between = |earlier: &Moment, later: &Moment| {
        (later.received + later.apart).saturating_sub(earlier.received + earlier.apart)
    };
    let each = |cpu: Option<std::time::Duration>, number: u64| {
        Some(cpu?.as_secs_f64() * 1e6).filter(|_| number > 0).map(|cpu| ratio_of(cpu, number))
    };
    let last = seen.drained.sample.server?;
    let (before, connected) = (seen.before.server, seen.connected.server);
    let grown = before.zip(connected).map(|(before, connected)| {
        ratio_of(number(connected.memory_bytes) - number(before.memory_bytes), seen.opened.max(1))
    });
    Some(Server {
        cpu_us_per_delivery: each(
            seen.drained.sample.server_cpu_since(&seen.from.sample),
            between(&seen.from, &seen.drained),
        ),
        cpu_us_per_connect: each(seen.connected.server_cpu_since(&seen.before), seen.opened),
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
            outcome.hear(*publisher, *sequence);
        }
        outcome
    }

    #[test]
    fn another_order_between_publishers_is_seen() {
        let one = receiver(&[(0, 0), (1, 0), (0, 1)]);
        let same = receiver(&[(0, 0), (1, 0), (0, 1)]);
        let other = receiver(&[(1, 0), (0, 0), (0, 1)]);
        let late = receiver(&[(1, 0)]);
        assert_eq!(disagreeing(&[&one, &same, &late]), 0);
        assert_eq!(disagreeing(&[&one, &same, &other, &late]), 1);
    }
}
