//! What came, what came twice, what came too late, and what is missing.

use std::ops::Range;

/// What one receiver got of one publisher.
#[derive(Debug, Default)]
pub(super) struct Track {
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
    /// Notes a message.
    pub(super) fn receive(&mut self, sequence: u32) {
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
}

/// How many copies are missing of what one publisher sent.
///
/// A message that nobody got was perhaps refused: as many as `not_accepted` are taken for that, and not for missing.
/// The server does not say which message it refused, only that it refused one.
pub(super) fn missing_copies<'a>(
    sent: u32,
    not_accepted: u64,
    tracks: impl Iterator<Item = &'a Track>,
) -> Vec<u64> {
    let missing: Vec<_> = tracks.map(|track| track.missing(sent)).collect();
    let mut by_nobody = missing.first().cloned().unwrap_or_default();
    for other in missing.iter().skip(1) {
        by_nobody = intersection(&by_nobody, other);
    }
    let excused = count(&by_nobody).min(not_accepted);
    missing.iter().map(|ranges| count(ranges) - excused).collect()
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
        assert_eq!(missing_copies(5, 0, tracks.iter()), [2, 3]);
        assert_eq!(missing_copies(5, 1, tracks.iter()), [1, 2]);
        assert_eq!(missing_copies(5, 2, tracks.iter()), [0, 1]);
        assert_eq!(missing_copies(5, 9, tracks.iter()), [0, 1]);
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
