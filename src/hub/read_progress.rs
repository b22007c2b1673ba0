use std::sync::{Mutex, MutexGuard, PoisonError};

use super::read_proof::ReadProof;
use crate::message::{SocketId, StoreState};

/// How far the client of a tracked connection has read. Its shard, which sends the pings, and its connection, which receives the answers,
/// share it.
#[derive(Debug)]
pub struct ReadProgress {
    name: SocketId,
    state: Mutex<ReadState>,
}

#[derive(Debug, Default)]
struct ReadState {
    /// The last ping that was sent, and the last one that was answered.
    sent: u32,
    answered: u32,
    /// The store of the last ping, and the first ping of it.
    store: u64,
    first: u32,
    /// Everything up to here that was delivered has been read. `None`: nothing is proven.
    read: Option<StoreState>,
}

/// A client that has not answered its last pings in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LateReader {
    /// The name of its connection.
    pub name: SocketId,
    /// What it has proven to have read.
    pub read: StoreState,
}

impl ReadProgress {
    #[must_use]
    pub fn new(name: SocketId) -> Self {
        Self { name, state: Mutex::default() }
    }

    /// A ping is sent. Everything `delivered` precedes it; everything up to `pinged` precedes an earlier one. Returns its number.
    pub(super) fn on_ping(&self, delivered: StoreState, pinged: Option<StoreState>) -> u32 {
        let mut state = self.lock();
        if state.answered == state.sent
            && let Some(pinged) = pinged
        {
            state.set_read(pinged);
        }
        state.sent = state.sent.wrapping_add(1);
        if state.store != delivered.store {
            (state.store, state.first) = (delivered.store, state.sent);
        }
        state.sent
    }

    /// The client has answered a ping. `last` is the last number that was delivered here. Returns how far it has read. `None`: this
    /// proves nothing.
    #[must_use]
    pub fn on_answer(&self, proof: ReadProof, last: StoreState) -> Option<StoreState> {
        let mut state = self.lock();
        if proof.ping.wrapping_sub(state.answered) > state.sent.wrapping_sub(state.answered) {
            // It was not sent, or a later one has been answered.
            return None;
        }
        state.answered = proof.ping;
        if last.store != state.store || proof.ping.wrapping_sub(state.first) > u32::MAX / 2 {
            return None;
        }
        let read = StoreState { store: last.store, number: proof.number_before(last.number)? };
        state.set_read(read);
        Some(read)
    }

    /// The client has not answered all pings, and has not proven to have read this far.
    pub(super) fn late_for(&self, pinged: StoreState) -> Option<LateReader> {
        let state = self.lock();
        // A client that has proven nothing is assumed to have read nothing.
        let read = state.read.filter(|_| state.answered != state.sent)?;
        let late = LateReader { name: self.name, read };
        late.is_before(pinged).then_some(late)
    }

    fn lock(&self) -> MutexGuard<'_, ReadState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadState {
    fn set_read(&mut self, read: StoreState) {
        let before = self.read.filter(|before| before.store == read.store);
        let number = read.number.max(before.map_or(0, |before| before.number));
        self.read = Some(StoreState { number, ..read });
    }
}

impl LateReader {
    pub(super) fn is_before(&self, read: StoreState) -> bool {
        self.read.store != read.store || self.read.number < read.number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u64) -> StoreState {
        StoreState { store: 9, number }
    }

    fn answer(progress: &ReadProgress, ping: u32, number: u32, last: StoreState) -> Option<u64> {
        progress.on_answer(ReadProof { number, ticket: 0, ping }, last).map(|read| read.number)
    }

    #[test]
    fn a_client_is_late_until_it_has_answered_what_was_pinged() {
        let progress = ReadProgress::new(SocketId::new(1, 2));
        let late = |pinged| progress.late_for(at(pinged)).map(|late| late.read.number);
        assert_eq!(progress.on_ping(at(10), Some(at(0))), 1);
        assert_eq!(answer(&progress, 1, 10, at(12)), Some(10));
        // It has nothing to answer, however much others are sent.
        assert_eq!(late(1000), None);
        // What it is sent now comes after what others were sent.
        assert_eq!(progress.on_ping(at(1001), Some(at(1000))), 2);
        assert_eq!([late(1000), late(1001)], [None, Some(1000)]);
        progress.on_ping(at(1100), Some(at(1001)));
        progress.on_ping(at(1200), Some(at(1100)));
        assert_eq!(late(1100), Some(1000));
        // It reads slowly.
        assert_eq!(answer(&progress, 3, 1100, at(1200)), Some(1100));
        assert_eq!([late(1100), late(1200)], [None, Some(1100)]);
        assert_eq!(answer(&progress, 4, 1200, at(1200)), Some(1200));
        assert_eq!(late(5000), None);
    }

    #[test]
    fn an_answer_to_no_ping_proves_nothing() {
        let progress = ReadProgress::new(SocketId::new(1, 2));
        for ping in [1, 7, u32::MAX] {
            assert_eq!(answer(&progress, ping, 10, at(12)), None);
        }
        progress.on_ping(at(10), Some(at(0)));
        progress.on_ping(at(20), Some(at(10)));
        assert_eq!(answer(&progress, 2, 20, at(20)), Some(20));
        assert_eq!(answer(&progress, 1, 10, at(20)), None, "a later one is answered");
        assert_eq!(answer(&progress, 3, 20, at(20)), None);
    }

    #[test]
    fn a_number_of_a_store_that_was_lost_is_not_one_of_the_next() {
        let progress = ReadProgress::new(SocketId::new(1, 2));
        progress.on_ping(at(10), Some(at(0)));
        progress.on_ping(at(20), Some(at(10)));
        assert_eq!(answer(&progress, 1, 10, at(20)), Some(10));
        let next = |number| StoreState { store: 8, number };
        assert_eq!(answer(&progress, 2, 20, next(30)), None);
        progress.on_ping(next(30), Some(at(20)));
        assert_eq!(progress.late_for(next(1)).map(|late| late.read), Some(at(20)));
        progress.on_ping(next(40), Some(next(30)));
        assert_eq!(answer(&progress, 3, 30, next(40)), Some(30));
        assert_eq!(progress.late_for(next(40)).map(|late| late.read), Some(next(30)));
    }
}
