use std::sync::{Mutex, MutexGuard, PoisonError};

use super::read_progress::LateReader;
use crate::message::StoreState;

/// What the shards report of their tracked connections.
#[derive(Debug)]
pub(super) struct ReadReports(Mutex<Vec<Option<ReadReport>>>);

/// The clients of all tracked connections of a shard have read everything up to here that was delivered to them, except for some.
#[derive(Debug)]
pub(super) struct ReadReport {
    pub(super) read: StoreState,
    pub(super) late: Vec<LateReader>,
}

/// How far the clients of all tracked connections of a node have proven to have read.
#[derive(Debug, PartialEq, Eq)]
pub struct ReadLevel {
    pub read: StoreState,
    /// Those who have not proven that, the furthest behind first.
    pub late: Vec<LateReader>,
}

impl ReadReports {
    pub(super) fn of_shards(count: usize) -> Self {
        Self(Mutex::new((0..count).map(|_| None).collect()))
    }

    /// `None`: the shard has no such connections.
    pub(super) fn set(&self, shard: usize, report: Option<ReadReport>) {
        if let Some(place) = self.lock().get_mut(shard) {
            *place = report;
        }
    }

    /// What is true of all shards at one time. If more than `most` are late, all are taken to have read as far as the first of the
    /// others.
    pub(super) fn level(&self, most: usize) -> Option<ReadLevel> {
        let reports = self.lock();
        let reports = || reports.iter().flatten();
        let mut read = reports().map(|report| report.read).min_by_key(|read| read.number)?;
        if reports().any(|report| report.read.store != read.store) {
            return None;
        }
        let late = reports().flat_map(|report| &report.late).filter(|late| late.is_before(read));
        let mut late: Vec<LateReader> = late.copied().collect();
        late.sort_unstable_by_key(|late| (late.read.store == read.store, late.read.number));
        if let Some(first) = late.get(most) {
            if first.read.store != read.store {
                return None;
            }
            read = first.read;
            late.truncate(most);
        }
        Some(ReadLevel { read, late })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<ReadReport>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::SocketId;

    fn at(number: u64) -> StoreState {
        StoreState { store: 9, number }
    }

    fn late(name: u64, read: StoreState) -> LateReader {
        LateReader { name: SocketId::new(1, name), read }
    }

    #[test]
    fn all_have_read_as_far_as_the_shard_that_is_furthest_behind() {
        let reports = ReadReports::of_shards(3);
        assert_eq!(reports.level(9), None);
        reports.set(0, Some(ReadReport { read: at(20), late: vec![late(1, at(15)), late(2, at(4))] }));
        assert_eq!(
            reports.level(9),
            Some(ReadLevel { read: at(20), late: vec![late(2, at(4)), late(1, at(15))] })
        );
        reports.set(2, Some(ReadReport { read: at(10), late: vec![late(3, at(9))] }));
        let level = ReadLevel { read: at(10), late: vec![late(2, at(4)), late(3, at(9))] };
        assert_eq!(reports.level(2), Some(level));
        reports.set(2, None);
        assert_eq!(reports.level(9).unwrap().read, at(20));
    }

    #[test]
    fn nobody_who_is_late_is_left_out() {
        let reports = ReadReports::of_shards(1);
        let numbers = (1..=5).map(|number| late(number, at(number)));
        reports.set(0, Some(ReadReport { read: at(10), late: numbers.rev().collect() }));
        assert_eq!(
            reports.level(2),
            Some(ReadLevel { read: at(3), late: vec![late(1, at(1)), late(2, at(2))] })
        );
        assert_eq!(reports.level(0), Some(ReadLevel { read: at(1), late: Vec::new() }));
    }

    #[test]
    fn numbers_of_several_stores_are_not_compared() {
        let reports = ReadReports::of_shards(2);
        let other = StoreState { store: 1, number: 90 };
        reports.set(0, Some(ReadReport { read: at(10), late: vec![late(1, other), late(2, at(3))] }));
        assert_eq!(
            reports.level(1),
            Some(ReadLevel { read: at(3), late: vec![late(1, other)] }),
            "a client whose position is of another store is furthest behind"
        );
        assert_eq!(reports.level(0), None);
        reports.set(1, Some(ReadReport { read: other, late: Vec::new() }));
        assert_eq!(reports.level(9), None);
    }
}
