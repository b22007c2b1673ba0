/// How much of a node's snapshot has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotProgress {
    /// More parts follow: `next` is the index of the next one.
    Incomplete {
        number: u64,
        next: usize,
    },
    Complete,
    /// A part was missed, so that the rest is useless.
    Gap,
}

impl SnapshotProgress {
    /// The progress with one more part: number `index` of `of` parts of the snapshot `number`.
    #[must_use]
    pub fn with(before: Option<Self>, number: u64, index: usize, of: usize) -> Self {
        if index > 0 && before != Some(Self::Incomplete { number, next: index }) {
            return Self::Gap;
        }
        let next = index.saturating_add(1);
        if next >= of { Self::Complete } else { Self::Incomplete { number, next } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_complete_only_if_no_part_is_missing() {
        let gather = |parts: &[(u64, usize)]| {
            parts.iter().fold(None, |before, (number, index)| {
                Some(SnapshotProgress::with(before, *number, *index, 3))
            })
        };
        assert_eq!(gather(&[(7, 0), (7, 1), (7, 2)]), Some(SnapshotProgress::Complete));
        assert_eq!(gather(&[(7, 0), (8, 0), (8, 1), (8, 2)]), Some(SnapshotProgress::Complete));
        for missed in [&[(7, 1)][..], &[(7, 0), (7, 2)], &[(7, 0), (8, 1)]] {
            assert_eq!(gather(missed), Some(SnapshotProgress::Gap), "{missed:?}");
        }
        assert_eq!(SnapshotProgress::with(None, 7, 0, 1), SnapshotProgress::Complete);
    }
}
