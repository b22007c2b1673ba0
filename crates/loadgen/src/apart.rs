//! Counts what those saw who disturbed the others.

use std::collections::BTreeMap;
use std::ops::Range;

use super::disturb::{Arrivals, Disturbed};
use super::outcome::{Outcome, Part};
use super::report::{Apart, Newcomers, Reconnects, SlowReaders};
use super::tally::{Run, Times};

/// What was sent on a channel: by each publisher, with what nobody got of it, and how many were not accepted.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) publishers: Vec<(u16, u32, Vec<Range<u32>>)>,
    pub(super) not_accepted: u64,
}

/// The part of the report that is about them, but for what is the generator's.
pub(super) fn apart(
    run: &Run,
    done: &Disturbed,
    latency: &[Times; 2],
    outcomes: &[Outcome],
    sent: &[Sent],
) -> Apart {
    let mut apart = Apart {
        latency_before_us: (&latency[0]).into(),
        latency_during_us: (&latency[1]).into(),
        slow: SlowReaders { stalled: done.stalled, ended: ends(outcomes, Part::Slow) },
        reconnect: Reconnects {
            all_back_seconds: done
                .all_back
                .filter(|_| done.plan.reconnect > 0)
                .map(|after| after.as_secs_f64()),
            newcomers: newcomers(&done.reconnects),
        },
        churn_per_second: done.plan.churn,
        churn: newcomers(&done.passing),
        ..Apart::default()
    };
    let nothing = Sent::default();
    for outcome in outcomes.iter().filter(|outcome| outcome.part.disturbs()) {
        apart.received += outcome.received;
        for track in outcome.tracks.values() {
            apart.doubled += track.doubled;
            apart.reordered += track.reordered;
        }
        let on_channel = run.sent_on(outcome.channel);
        apart.missing += missing(outcome, sent.get(outcome.channel).unwrap_or(&nothing), on_channel);
    }
    apart
}

/// What one should have got of what others did get. One that was gone at some time should have got all between the first
/// and the last that it did get; one that stayed to the end, all.
fn missing(outcome: &Outcome, sent: &Sent, on_channel: u64) -> u64 {
    let stayed = matches!(outcome.part, Part::Slow | Part::Returning { .. }) && outcome.ended.is_none();
    let lacking: u64 = sent
        .publishers
        .iter()
        .filter_map(|(publisher, sent, by_nobody)| {
            let Some(track) = outcome.tracks.get(publisher) else {
                // When one came back, it is not known what each publisher had sent by then.
                let all = stayed && outcome.part == Part::Slow;
                return all.then(|| super::track::Track::default().lacks(*sent, by_nobody));
            };
            Some(if stayed { track.lacks(*sent, by_nobody) } else { track.holes(by_nobody) })
        })
        .sum();
    let Part::Returning { sent_before } = outcome.part else { return lacking };
    if !stayed {
        return lacking;
    }
    // Whatever was sent after it was let in is for it, and not only from the first on that came.
    let doubled: u64 = outcome.tracks.values().map(|track| track.doubled).sum();
    let since = on_channel.saturating_sub(sent_before).saturating_sub(sent.not_accepted);
    lacking.max(since.saturating_sub(outcome.received.saturating_sub(doubled)))
}

fn ends(outcomes: &[Outcome], part: Part) -> BTreeMap<String, u64> {
    let mut ends = BTreeMap::new();
    for end in
        outcomes.iter().filter(|outcome| outcome.part == part).filter_map(|outcome| outcome.ended.clone())
    {
        *ends.entry(end).or_default() += 1;
    }
    ends
}

fn newcomers(arrivals: &Arrivals) -> Newcomers {
    Newcomers {
        tried: arrivals.tried,
        opened: arrivals.opened,
        refused: arrivals.refused.clone(),
        handshake_us: (&arrivals.handshakes).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(part: Part, sequences: &[u32]) -> Outcome {
        let mut outcome = Outcome { part, ..Outcome::default() };
        for sequence in sequences {
            outcome.hear(0, *sequence);
        }
        outcome
    }

    #[test]
    fn each_part_is_due_what_it_was_there_for() {
        // Ten were sent, one of them was refused.
        let sent = Sent { publishers: vec![(0, 10, std::iter::once(7..8).collect())], not_accepted: 1 };
        let missing = |outcome: &Outcome| missing(outcome, &sent, 10);
        assert_eq!(missing(&outcome(Part::Dropping, &[0, 1, 2])), 0);
        assert_eq!(missing(&outcome(Part::Dropping, &[0, 2])), 1);
        assert_eq!(missing(&outcome(Part::Passing, &[4, 6, 8])), 1);

        assert_eq!(missing(&outcome(Part::Slow, &[0, 1, 2, 3, 4, 5, 6, 8, 9])), 0);
        assert_eq!(missing(&outcome(Part::Slow, &[0, 1, 2, 3, 4, 5, 6, 8])), 1);
        assert_eq!(missing(&outcome(Part::Slow, &[])), 9);
        let closed = Outcome { ended: Some("1013".to_owned()), ..outcome(Part::Slow, &[0, 1]) };
        assert_eq!(missing(&closed), 0);

        let back = |sent_before| Part::Returning { sent_before };
        assert_eq!(missing(&outcome(back(5), &[5, 6, 8, 9])), 0);
        // Also what was on its way when it came back.
        assert_eq!(missing(&outcome(back(6), &[5, 6, 8, 9])), 0);
        assert_eq!(missing(&outcome(back(5), &[5, 6, 8])), 1);
        // Sent when it was back already, and yet before the first that it got.
        assert_eq!(missing(&outcome(back(3), &[5, 6, 8, 9])), 2);
        assert_eq!(missing(&outcome(back(5), &[])), 4);
    }
}
