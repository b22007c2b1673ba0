use std::collections::BTreeMap;
use std::ops::Range;

use super::chaos::{Attempts, ChaosResult};
use super::histogram::Histogram;
use super::outcome::{Outcome, Role};
use super::report::{ConnectStats, DisturbedStats, ReconnectStats, SlowReaderStats};
use super::run::Run;
use super::sequence_tracker::SequenceTracker;

/// What was sent on a channel.
#[derive(Debug, Default)]
pub(super) struct SentOnChannel {
    /// For each publisher its number, how many messages it sent, and those that no undisturbed subscriber received.
    pub(super) publishers: Vec<(u16, u32, Vec<Range<u32>>)>,
    pub(super) not_accepted: u64,
}

/// The chaos section of the report, without the generator's own figures.
pub(super) fn disturbed_stats(
    run: &Run,
    chaos: &ChaosResult,
    latency: &[Histogram; 2],
    outcomes: &[Outcome],
    sent: &[SentOnChannel],
) -> DisturbedStats {
    let mut stats = DisturbedStats {
        latency_before_us: (&latency[0]).into(),
        latency_during_us: (&latency[1]).into(),
        slow: SlowReaderStats { stalled: chaos.stalled, ended: ends(outcomes, Role::Slow) },
        reconnect: ReconnectStats {
            all_back_seconds: chaos
                .all_back
                .filter(|_| chaos.plan.reconnect > 0)
                .map(|after| after.as_secs_f64()),
            connects: connect_stats(&chaos.reconnects),
        },
        churn_per_second: chaos.plan.churn,
        churn: connect_stats(&chaos.churn),
        ..DisturbedStats::default()
    };
    let nothing = SentOnChannel::default();
    for outcome in outcomes.iter().filter(|outcome| outcome.role.is_disturbed()) {
        stats.received += outcome.received;
        for tracker in outcome.trackers.values() {
            stats.duplicated += tracker.duplicated;
            stats.reordered += tracker.reordered;
        }
        let on_channel = run.sent_on(outcome.channel);
        stats.missing += missing(outcome, sent.get(outcome.channel).unwrap_or(&nothing), on_channel);
    }
    stats
}

/// How many copies a disturbed connection is missing of what others received. One that was disconnected must have
/// everything between the first and the last copy that it received; one that stayed to the end, everything.
fn missing(outcome: &Outcome, sent: &SentOnChannel, on_channel: u64) -> u64 {
    let stayed = matches!(outcome.role, Role::Slow | Role::Reconnected { .. }) && outcome.ended.is_none();
    let missing: u64 = sent
        .publishers
        .iter()
        .filter_map(|(publisher, sent, missing_for_all)| {
            let Some(tracker) = outcome.trackers.get(publisher) else {
                // What each publisher had sent by the time of a reconnect is not known.
                let all = stayed && outcome.role == Role::Slow;
                return all.then(|| SequenceTracker::default().missing_excluding(*sent, missing_for_all));
            };
            Some(if stayed {
                tracker.missing_excluding(*sent, missing_for_all)
            } else {
                tracker.gaps_excluding(missing_for_all)
            })
        })
        .sum();
    let Role::Reconnected { sent_before } = outcome.role else { return missing };
    if !stayed {
        return missing;
    }
    // Everything sent after the handshake is due, even before the first copy that was received.
    let duplicated: u64 = outcome.trackers.values().map(|tracker| tracker.duplicated).sum();
    let since = on_channel.saturating_sub(sent_before).saturating_sub(sent.not_accepted);
    missing.max(since.saturating_sub(outcome.received.saturating_sub(duplicated)))
}

fn ends(outcomes: &[Outcome], role: Role) -> BTreeMap<String, u64> {
    let mut ends = BTreeMap::new();
    for end in
        outcomes.iter().filter(|outcome| outcome.role == role).filter_map(|outcome| outcome.ended.clone())
    {
        *ends.entry(end).or_default() += 1;
    }
    ends
}

fn connect_stats(attempts: &Attempts) -> ConnectStats {
    ConnectStats {
        attempted: attempts.attempted,
        opened: attempts.opened,
        refused: attempts.refused.clone(),
        handshake_us: (&attempts.handshakes).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(role: Role, sequences: &[u32]) -> Outcome {
        let mut outcome = Outcome { role, ..Outcome::default() };
        for sequence in sequences {
            outcome.record(0, *sequence);
        }
        outcome
    }

    #[test]
    fn a_disturbed_connection_misses_only_what_it_was_connected_for() {
        // Ten messages were sent; the server refused one of them.
        let sent =
            SentOnChannel { publishers: vec![(0, 10, std::iter::once(7..8).collect())], not_accepted: 1 };
        let missing = |outcome: &Outcome| missing(outcome, &sent, 10);
        assert_eq!(missing(&outcome(Role::Dropping, &[0, 1, 2])), 0);
        assert_eq!(missing(&outcome(Role::Dropping, &[0, 2])), 1);
        assert_eq!(missing(&outcome(Role::Churning, &[4, 6, 8])), 1);

        assert_eq!(missing(&outcome(Role::Slow, &[0, 1, 2, 3, 4, 5, 6, 8, 9])), 0);
        assert_eq!(missing(&outcome(Role::Slow, &[0, 1, 2, 3, 4, 5, 6, 8])), 1);
        assert_eq!(missing(&outcome(Role::Slow, &[])), 9);
        let closed = Outcome { ended: Some("1013".to_owned()), ..outcome(Role::Slow, &[0, 1]) };
        assert_eq!(missing(&closed), 0);

        let back = |sent_before| Role::Reconnected { sent_before };
        assert_eq!(missing(&outcome(back(5), &[5, 6, 8, 9])), 0);
        // It may also receive what was in flight when it reconnected.
        assert_eq!(missing(&outcome(back(6), &[5, 6, 8, 9])), 0);
        assert_eq!(missing(&outcome(back(5), &[5, 6, 8])), 1);
        // Sent after it had reconnected, although before the first copy that it received.
        assert_eq!(missing(&outcome(back(3), &[5, 6, 8, 9])), 2);
        assert_eq!(missing(&outcome(back(5), &[])), 4);
    }
}
