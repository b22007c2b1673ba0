use std::ops::Range;

/// What one receiver got of one publisher: which sequence numbers are missing, duplicated and out of order.
#[derive(Debug, Default)]
pub(super) struct SequenceTracker {
    /// The receiver joined late: the first number that arrives is the first that is due.
    late: bool,
    /// The lowest number that is due.
    first: u32,
    /// One more than the highest number received.
    next: u32,
    /// The numbers below `next` that were not received, in order.
    gaps: Vec<Range<u32>>,
    pub(super) duplicated: u64,
    /// Received after one that was sent later.
    pub(super) reordered: u64,
}

impl SequenceTracker {
    /// For a receiver that joins late: what was sent before the first number received is not missing.
    pub(super) fn starting_late() -> Self {
        Self { late: true, ..Self::default() }
    }

    /// Records a message.
    pub(super) fn record(&mut self, sequence: u32) {
        if std::mem::take(&mut self.late) {
            (self.first, self.next) = (sequence, sequence);
        }
        if sequence < self.first {
            self.reordered += 1;
            self.first = sequence;
            return;
        }
        if sequence >= self.next {
            if sequence > self.next {
                self.gaps.push(self.next..sequence);
            }
            self.next = sequence.saturating_add(1);
            return;
        }
        let Some(place) = self.gaps.iter().position(|gap| gap.contains(&sequence)) else {
            self.duplicated += 1;
            return;
        };
        self.reordered += 1;
        let gap = self.gaps.remove(place);
        let halves = [gap.start..sequence, sequence + 1..gap.end];
        self.gaps.splice(place..place, halves.into_iter().filter(|half| !half.is_empty()));
    }

    /// The numbers below `sent` that were not received, in order.
    pub(super) fn missing(&self, sent: u32) -> Vec<Range<u32>> {
        let mut missing = self.gaps.clone();
        if self.next < sent {
            missing.push(self.next..sent);
        }
        missing
    }

    /// How many numbers are missing before the last one received, without those in `except`.
    pub(super) fn gaps_excluding(&self, except: &[Range<u32>]) -> u64 {
        count(&self.gaps) - count(&intersection(&self.gaps, except))
    }

    /// How many of the numbers below `sent` are missing, without those in `except`.
    pub(super) fn missing_excluding(&self, sent: u32, except: &[Range<u32>]) -> u64 {
        let missing = self.missing(sent);
        count(&missing) - count(&intersection(&missing, except))
    }
}

/// The numbers that none of these receivers got.
pub(super) fn missing_everywhere<'a>(
    sent: u32,
    trackers: impl Iterator<Item = &'a SequenceTracker>,
) -> Vec<Range<u32>> {
    let common =
        trackers.map(|tracker| tracker.missing(sent)).reduce(|one, other| intersection(&one, &other));
    common.unwrap_or_default()
}

/// How many copies of one publisher's messages each receiver is missing.
///
/// The server reports how many messages it refused, not which ones. So up to `not_accepted` of the messages that no
/// receiver got (`missing_for_all`, from [`missing_everywhere`]) count as refused, not as missing.
pub(super) fn missing_copies<'a>(
    sent: u32,
    not_accepted: u64,
    missing_for_all: &[Range<u32>],
    trackers: impl Iterator<Item = &'a SequenceTracker>,
) -> Vec<u64> {
    let excused = count(missing_for_all).min(not_accepted);
    trackers.map(|tracker| count(&tracker.missing(sent)) - excused).collect()
}

fn count(ranges: &[Range<u32>]) -> u64 {
    ranges.iter().map(|range| u64::from(range.end - range.start)).sum()
}

fn intersection(left: &[Range<u32>], right: &[Range<u32>]) -> Vec<Range<u32>> {
    let mut common = Vec::new();
    let (mut left, mut right) = (left.iter().peekable(), right.iter().peekable());
    while let (Some(one), Some(other)) = (left.peek(), right.peek()) {
        let both = one.start.max(other.start)..one.end.min(other.end);
        if !both.is_empty() {
            common.push(both);
        }
        if one.end < other.end {
            left.next();
        } else {
            right.next();
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn tracker(sequences: &[u32]) -> SequenceTracker {
        let mut tracker = SequenceTracker::default();
        for sequence in sequences {
            tracker.record(*sequence);
        }
        tracker
    }

    #[test]
    fn duplicates_reorderings_and_gaps_are_distinguished() {
        let good = tracker(&[0, 1, 2, 3]);
        assert_eq!((good.missing(4), good.duplicated, good.reordered), (vec![], 0, 0));
        let swapped = tracker(&[0, 2, 1, 3]);
        assert_eq!((swapped.missing(4), swapped.duplicated, swapped.reordered), (vec![], 0, 1));
        let twice = tracker(&[0, 1, 1, 2, 3, 0]);
        assert_eq!((twice.missing(4), twice.duplicated, twice.reordered), (vec![], 2, 0));
        let lost = tracker(&[1, 4]);
        assert_eq!((lost.missing(7), lost.duplicated, lost.reordered), (vec![0..1, 2..4, 5..7], 0, 0));
    }

    #[test]
    fn refused_messages_are_not_missing() {
        let trackers = [tracker(&[0, 1, 3]), tracker(&[0, 3])];
        // No receiver got 2 and 4; one of them got 1.
        let missing_for_all = missing_everywhere(5, trackers.iter());
        assert_eq!(missing_for_all, [2..3, 4..5]);
        assert_eq!(missing_copies(5, 0, &missing_for_all, trackers.iter()), [2, 3]);
        assert_eq!(missing_copies(5, 1, &missing_for_all, trackers.iter()), [1, 2]);
        assert_eq!(missing_copies(5, 2, &missing_for_all, trackers.iter()), [0, 1]);
        assert_eq!(missing_copies(5, 9, &missing_for_all, trackers.iter()), [0, 1]);
    }

    #[test]
    fn a_late_receiver_misses_only_what_was_sent_after_it_joined() {
        let mut late = SequenceTracker::starting_late();
        for sequence in [5, 6, 8, 10] {
            late.record(sequence);
        }
        assert_eq!((late.missing(12), late.duplicated, late.reordered), (vec![7..8, 9..10, 11..12], 0, 0));
        let missing_for_all = [9..10, 11..12];
        assert_eq!((late.gaps_excluding(&[]), late.gaps_excluding(&missing_for_all)), (2, 1));
        assert_eq!((late.missing_excluding(12, &[]), late.missing_excluding(12, &missing_for_all)), (3, 1));
        late.record(4);
        late.record(5);
        assert_eq!((late.duplicated, late.reordered), (1, 1));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set(sequences in prop::collection::vec(0u32..40, 0..80)) {
            let got: BTreeSet<u32> = sequences.iter().copied().collect();
            let tracker = tracker(&sequences);
            let missing: Vec<u32> = tracker.missing(40).into_iter().flatten().collect();
            let expected: Vec<u32> = (0..40).filter(|sequence| !got.contains(sequence)).collect();
            prop_assert_eq!(missing, expected);
            prop_assert_eq!(tracker.duplicated, (sequences.len() - got.len()) as u64);
        }

        #[test]
        fn ranges_intersect_like_sets(
            left in prop::collection::btree_set(0u32..30, 0..30),
            right in prop::collection::btree_set(0u32..30, 0..30),
        ) {
            let trackers: Vec<_> = [&left, &right]
                .map(|set| tracker(&set.iter().copied().collect::<Vec<_>>()).missing(30)).into();
            let common: Vec<u32> = intersection(&trackers[0], &trackers[1]).into_iter().flatten().collect();
            let expected: Vec<u32> =
                (0..30).filter(|number| !left.contains(number) && !right.contains(number)).collect();
            prop_assert_eq!(common, expected);
        }
    }
}
