//! What came, what came twice, what came too late, and what is missing.

use std::ops::Range;

/// What one receiver got of one publisher.
#[derive(Debug, Default)]
pub(super) struct Track {
    /// The first number counts as the one that was due: the receiver came when others had been sent.
    late: bool,
    /// The lowest number that is due.
    first: u32,
    /// One more than the highest number that came.
    next: u32,
    /// What has not come of the numbers below `next`, in order.
    gaps: Vec<Range<u32>>,
    /// How many came a second time.
    pub(super) doubled: u64,
    /// How many came after one that was sent later.
    pub(super) reordered: u64,
}

impl Track {
    /// What was sent before the first that comes was not due.
    pub(super) fn from_the_next() -> Self {
        Self { late: true, ..Self::default() }
    }

    /// Notes a message.
    pub(super) fn receive(&mut self, sequence: u32) {
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
            self.doubled += 1;
            return;
        };
        self.reordered += 1;
        let gap = self.gaps.remove(place);
        let halves = [gap.start..sequence, sequence + 1..gap.end];
        self.gaps.splice(place..place, halves.into_iter().filter(|half| !half.is_empty()));
    }

    /// The numbers below `sent` that did not come, in order.
    pub(super) fn missing(&self, sent: u32) -> Vec<Range<u32>> {
        let mut missing = self.gaps.clone();
        if self.next < sent {
            missing.push(self.next..sent);
        }
        missing
    }

    /// How many did not come of those before the last that did, without those of `except`.
    pub(super) fn holes(&self, except: &[Range<u32>]) -> u64 {
        count(&self.gaps) - count(&intersection(&self.gaps, except))
    }

    /// How many did not come of all `sent`, without those of `except`.
    pub(super) fn lacks(&self, sent: u32, except: &[Range<u32>]) -> u64 {
        let missing = self.missing(sent);
        count(&missing) - count(&intersection(&missing, except))
    }
}

/// What none of these receivers got.
pub(super) fn missing_everywhere<'a>(sent: u32, tracks: impl Iterator<Item = &'a Track>) -> Vec<Range<u32>> {
    let common = tracks.map(|track| track.missing(sent)).reduce(|one, other| intersection(&one, &other));
    common.unwrap_or_default()
}

/// How many copies are missing of what one publisher sent.
///
/// A message that nobody got was perhaps refused: as many as `not_accepted` are taken for that, and not for missing.
/// The server does not say which message it refused, only that it refused one. `by_nobody` is what
/// [`missing_everywhere`] says of the same receivers.
pub(super) fn missing_copies<'a>(
    sent: u32,
    not_accepted: u64,
    by_nobody: &[Range<u32>],
    tracks: impl Iterator<Item = &'a Track>,
) -> Vec<u64> {
    let excused = count(by_nobody).min(not_accepted);
    tracks.map(|track| count(&track.missing(sent)) - excused).collect()
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

    fn track(sequences: &[u32]) -> Track {
        let mut track = Track::default();
        for sequence in sequences {
            track.receive(*sequence);
        }
        track
    }

    #[test]
    fn each_fault_is_told_from_the_others() {
        let good = track(&[0, 1, 2, 3]);
        assert_eq!((good.missing(4), good.doubled, good.reordered), (vec![], 0, 0));
        let swapped = track(&[0, 2, 1, 3]);
        assert_eq!((swapped.missing(4), swapped.doubled, swapped.reordered), (vec![], 0, 1));
        let twice = track(&[0, 1, 1, 2, 3, 0]);
        assert_eq!((twice.missing(4), twice.doubled, twice.reordered), (vec![], 2, 0));
        let lost = track(&[1, 4]);
        assert_eq!((lost.missing(7), lost.doubled, lost.reordered), (vec![0..1, 2..4, 5..7], 0, 0));
    }

    #[test]
    fn what_was_refused_is_not_missing() {
        let tracks = [track(&[0, 1, 3]), track(&[0, 3])];
        // 2 and 4 came to nobody, 1 only to one.
        let by_nobody = missing_everywhere(5, tracks.iter());
        assert_eq!(by_nobody, [2..3, 4..5]);
        assert_eq!(missing_copies(5, 0, &by_nobody, tracks.iter()), [2, 3]);
        assert_eq!(missing_copies(5, 1, &by_nobody, tracks.iter()), [1, 2]);
        assert_eq!(missing_copies(5, 2, &by_nobody, tracks.iter()), [0, 1]);
        assert_eq!(missing_copies(5, 9, &by_nobody, tracks.iter()), [0, 1]);
    }

    #[test]
    fn who_comes_late_lacks_only_what_came_after() {
        let mut late = Track::from_the_next();
        for sequence in [5, 6, 8, 10] {
            late.receive(sequence);
        }
        assert_eq!((late.missing(12), late.doubled, late.reordered), (vec![7..8, 9..10, 11..12], 0, 0));
        let by_nobody = [9..10, 11..12];
        assert_eq!((late.holes(&[]), late.holes(&by_nobody)), (2, 1));
        assert_eq!((late.lacks(12, &[]), late.lacks(12, &by_nobody)), (3, 1));
        late.receive(4);
        late.receive(5);
        assert_eq!((late.doubled, late.reordered), (1, 1));
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_set(sequences in prop::collection::vec(0u32..40, 0..80)) {
            let got: BTreeSet<u32> = sequences.iter().copied().collect();
            let track = track(&sequences);
            let missing: Vec<u32> = track.missing(40).into_iter().flatten().collect();
            let expected: Vec<u32> = (0..40).filter(|sequence| !got.contains(sequence)).collect();
            prop_assert_eq!(missing, expected);
            prop_assert_eq!(track.doubled, (sequences.len() - got.len()) as u64);
        }

        #[test]
        fn ranges_intersect_like_sets(
            left in prop::collection::btree_set(0u32..30, 0..30),
            right in prop::collection::btree_set(0u32..30, 0..30),
        ) {
            let tracks: Vec<_> = [&left, &right]
                .map(|set| track(&set.iter().copied().collect::<Vec<_>>()).missing(30)).into();
            let common: Vec<u32> = intersection(&tracks[0], &tracks[1]).into_iter().flatten().collect();
            let expected: Vec<u32> =
                (0..30).filter(|number| !left.contains(number) && !right.contains(number)).collect();
            prop_assert_eq!(common, expected);
        }
    }
}
