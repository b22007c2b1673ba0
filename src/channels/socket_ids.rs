use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::hub::ConnectionId;
use crate::message::SocketId;

/// Names this node's connections for the cluster, so that a client cannot guess the name of another connection from its own.
///
/// A connection's number is enciphered with a key that only this process has: a Feistel network over 52 bits, so that
/// each number has one name, each name one number, and no table is needed. 52 bits are a whole number for JavaScript.
#[derive(Debug)]
pub(super) struct SocketIds {
    node: u64,
    /// Four rounds of `SipHash` with random keys make a permutation that is indistinguishable from a random one.
    rounds: [RandomState; 4],
    /// Connections that have the name of an earlier one, of this node or another.
    adopted: Mutex<HashMap<SocketId, ConnectionId>>,
}

/// Half of the bits of a name.
const HALF: u32 = 26;
const MASK: u64 = (1 << HALF) - 1;

impl SocketIds {
    pub(super) fn new(node: u64) -> Self {
        Self { node, rounds: std::array::from_fn(|_| RandomState::new()), adopted: Mutex::default() }
    }

    /// The name of a connection of this node.
    pub(super) fn name(&self, connection: ConnectionId) -> SocketId {
        let (mut left, mut right) = ((connection >> HALF) & MASK, connection & MASK);
        for keys in &self.rounds {
            (left, right) = (right, left ^ (keys.hash_one(right) & MASK));
        }
        SocketId::new(self.node, left << HALF | right)
    }

    /// Gives a connection the name of an earlier one.
    pub(super) fn adopt(&self, name: SocketId, connection: ConnectionId) {
        self.adopted().insert(name, connection);
    }

    /// Takes the name from a connection that still has it.
    pub(super) fn release(&self, name: SocketId, connection: ConnectionId) {
        let mut adopted = self.adopted();
        if adopted.get(&name) == Some(&connection) {
            adopted.remove(&name);
        }
        if adopted.len() < adopted.capacity() / 8 {
            adopted.shrink_to_fit();
        }
    }

    fn adopted(&self) -> MutexGuard<'_, HashMap<SocketId, ConnectionId>> {
        self.adopted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection of this node that has this name, if there is one.
    pub(super) fn connection(&self, name: SocketId) -> Option<ConnectionId> {
        if let Some(connection) = self.adopted().get(&name) {
            return Some(*connection);
        }
        if name.node() != self.node || name.connection() >> (2 * HALF) != 0 {
            return None;
        }
        let (mut left, mut right) = (name.connection() >> HALF, name.connection() & MASK);
        for keys in self.rounds.iter().rev() {
            (left, right) = (right ^ (keys.hash_one(left) & MASK), left);
        }
        Some(left << HALF | right)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_connection_has_one_name_that_leads_back_to_it() {
        let ids = SocketIds::new(7);
        let numbers = (0..10_000).chain([MASK, MASK + 1, (1 << 52) - 1]);
        let mut names = HashSet::new();
        for number in numbers {
            let name = ids.name(number);
            assert_eq!(ids.connection(name), Some(number));
            assert!(name.connection() < 1 << 52);
            names.insert(name);
        }
        assert_eq!(names.len(), 10_003);
        assert_eq!(ids.connection(SocketId::new(8, 1)), None);
        assert_eq!(ids.connection(SocketId::new(7, u64::MAX)), None);
    }

    #[test]
    fn a_connection_has_the_name_that_it_was_given_last() {
        let ids = SocketIds::new(7);
        let (own, of_other_node) = (ids.name(1), SocketId::new(8, 5));
        ids.adopt(own, 2);
        ids.adopt(of_other_node, 3);
        assert_eq!([ids.connection(own), ids.connection(of_other_node)], [Some(2), Some(3)]);
        ids.adopt(of_other_node, 4);
        ids.release(of_other_node, 3);
        assert_eq!(ids.connection(of_other_node), Some(4));
        ids.release(of_other_node, 4);
        assert_eq!(ids.connection(of_other_node), None);
    }

    #[test]
    fn neighbouring_connections_have_unrelated_names() {
        let ids = SocketIds::new(7);
        let names: Vec<u64> = (1..=1000).map(|number| ids.name(number).connection()).collect();
        // Among a thousand random numbers, no two are this close, except in one run out of a million.
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|pair| pair[1] - pair[0] > 2), "{sorted:?}");
        // Half of them are above the one before.
        let rising = names.windows(2).filter(|pair| pair[1] > pair[0]).count();
        assert!((350..650).contains(&rising), "{rising}");
        let other = SocketIds::new(7);
        assert!((1..=1000).all(|number| ids.name(number) != other.name(number)));
    }
}
