use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Limits;
use crate::message::UserId;

/// Counts the connections of this node against `[limits]`.
#[derive(Debug)]
pub struct Admission {
    connections: usize,
    per_user: usize,
    open: AtomicUsize,
    /// Kept only where there is a limit per user.
    users: Mutex<HashMap<UserId, usize>>,
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// `limits.connections`
    Node,
    /// `limits.connections_per_user`
    User,
}

impl Admission {
    /// Takes the limits of `[limits]`; 0 stands for none.
    #[must_use]
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            connections: limits.connections,
            per_user: limits.connections_per_user,
            open: AtomicUsize::new(0),
            users: Mutex::default(),
        })
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Gives a connection of a user a place, to be given back with [`leave`](Self::leave).
    pub fn admit(&self, user: &UserId) -> Result<(), Full> {
        self.admit_anyone()?;
        if self.per_user > 0 {
            let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
            let count = users.entry(user.clone()).or_default();
            if *count >= self.per_user {
                self.open.fetch_sub(1, Ordering::Relaxed);
                return Err(Full::User);
            }
            *count += 1;
        }
        Ok(())
    }

    /// Gives a connection of nobody in particular a place, to be given back with
    /// [`leave_anyone`](Self::leave_anyone).
    pub fn admit_anyone(&self) -> Result<(), Full> {
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        if self.connections > 0 && open >= self.connections {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::Node);
        }
        Ok(())
    }

    /// Makes room for anyone again.
    pub fn leave_anyone(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Makes room again.
    pub fn leave(&self, user: &UserId) {
        if self.per_user > 0 {
            let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = users.get_mut(user) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    users.remove(user);
                }
            }
        }
        // Last, so that who sees that it is gone finds the user's place free, too.
        self.open.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn admission(connections: usize, connections_per_user: usize) -> Arc<Admission> {
        Admission::new(&Limits {
            message_bytes: 1,
            messages_per_second: 1,
            burst: 1,
            outbox_bytes: 1,
            queue_bytes: 1,
            connections,
            connections_per_user,
            handshake_timeout: Duration::ZERO,
            keep_alive_timeout: Duration::ZERO,
        })
    }

    #[test]
    fn the_node_fills_and_empties() {
        let admission = admission(2, 0);
        assert_eq!(
            [1, 1, 1].map(|user: i64| admission.admit(&user.into())),
            [Ok(()), Ok(()), Err(Full::Node)]
        );
        admission.leave(&1.into());
        assert_eq!(admission.admit(&2.into()), Ok(()));
        assert_eq!(admission.open(), 2);
    }

    #[test]
    fn each_user_fills_and_empties() {
        let admission = admission(0, 1);
        assert_eq!(
            [1, 2, 1].map(|user: i64| admission.admit(&user.into())),
            [Ok(()), Ok(()), Err(Full::User)]
        );
        assert_eq!(admission.open(), 2);
        admission.leave(&1.into());
        assert_eq!(admission.admit(&1.into()), Ok(()));
        admission.leave(&1.into());
        admission.leave(&2.into());
        assert!(admission.users.lock().unwrap().is_empty());
    }
}
