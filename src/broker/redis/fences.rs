use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

/// The fences that wait: a PING on the subscribed connection, whose reply comes after everything that Redis had published before.
///
/// Outlives the connections: a fence whose connection is lost is sent again on the next one.
#[derive(Debug, Default)]
pub(super) struct Fences {
    state: Mutex<FencesState>,
    /// There are fences to send.
    pub(super) added: Notify,
}

#[derive(Debug, Default)]
struct FencesState {
    /// In order of their numbers.
    waiting: VecDeque<(u64, oneshot::Sender<()>)>,
    last: u64,
    /// The greatest number that was sent on the current connection.
    sent: u64,
}

impl Fences {
    pub(super) fn add(&self, handled: oneshot::Sender<()>) {
        let mut state = self.lock();
        state.last += 1;
        let number = state.last;
        state.waiting.push_back((number, handled));
        drop(state);
        self.added.notify_one();
    }

    /// A connection starts: all fences that wait are to be sent on it.
    pub(super) fn on_connected(&self) {
        self.lock().sent = 0;
        self.added.notify_one();
    }

    /// The number of the next PING, which serves all fences up to it. `None`: nothing is to be sent.
    pub(super) fn next(&self) -> Option<u64> {
        let mut state = self.lock();
        let last = state.waiting.back().map(|(number, _)| *number).filter(|last| *last > state.sent)?;
        state.sent = last;
        Some(last)
    }

    /// The PING of this number has been answered.
    pub(super) fn take(&self, number: u64) -> Vec<oneshot::Sender<()>> {
        let mut state = self.lock();
        let count = state.waiting.partition_point(|(of, _)| *of <= number);
        state.waiting.drain(..count).map(|(_, handled)| handled).collect()
    }

    fn lock(&self) -> MutexGuard<'_, FencesState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_ping_serves_all_fences_and_is_repeated_on_the_next_connection() {
        let fences = Fences::default();
        assert_eq!(fences.next(), None);
        let add = || fences.add(oneshot::channel().0);
        add();
        add();
        assert_eq!([fences.next(), fences.next()], [Some(2), None]);
        add();
        assert_eq!(fences.next(), Some(3));
        assert_eq!(fences.take(2).len(), 2);
        fences.on_connected();
        assert_eq!([fences.next(), fences.next()], [Some(3), None]);
        assert_eq!((fences.take(3).len(), fences.take(3).len()), (1, 0));
    }
}
