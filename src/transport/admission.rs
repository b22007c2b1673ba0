use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Limits;
use crate::message::UserId;

/// Counts the connections of this node against `[limits]`.
#[derive(Debug)]
pub struct Admission {
    connections: AtomicUsize,
    per_user: AtomicUsize,
    open: AtomicUsize,
    /// Counted only if there is a limit per user.
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

/// An admitted connection. Dropping it frees its place.
#[derive(Debug)]
pub struct Admitted {
    admission: Arc<Admission>,
    /// The counted user, if there is a limit per user. Boxed, because as a rule there is none.
    user: Option<Box<UserId>>,
}

impl Admission {
    /// Takes the limits of `[limits]`; 0 means no limit.
    #[must_use]
    pub fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            connections: limits.connections.into(),
            per_user: limits.connections_per_user.into(),
            open: AtomicUsize::new(0),
            users: Mutex::default(),
        })
    }

    /// Replaces the limits. Connections that are over them stay. A limit per user where there was none counts the connections that are
    /// admitted from here on.
    pub fn set_limits(&self, limits: &Limits) {
        self.connections.store(limits.connections, Ordering::Relaxed);
        self.per_user.store(limits.connections_per_user, Ordering::Relaxed);
    }

    /// `limits.connections`, if there is such a limit.
    pub(super) fn limit(&self) -> Option<usize> {
        Some(self.connections.load(Ordering::Relaxed)).filter(|limit| *limit > 0)
    }

    /// How many connections are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Admits a connection of a user.
    pub fn admit_user(self: &Arc<Self>, user: &UserId) -> Result<Admitted, Full> {
        let mut admitted = self.admit()?;
        let limit = self.per_user.load(Ordering::Relaxed);
        if limit > 0 {
            let mut users = self.users();
            let count = users.entry(user.clone()).or_default();
            if *count >= limit {
                drop(users);
                return Err(Full::User);
            }
            *count += 1;
            admitted.user = Some(Box::new(user.clone()));
        }
        Ok(admitted)
    }

    /// Admits a connection whose user is not known.
    pub fn admit(self: &Arc<Self>) -> Result<Admitted, Full> {
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        let limit = self.connections.load(Ordering::Relaxed);
        if limit > 0 && open >= limit {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::Node);
        }
        Ok(Admitted { admission: self.clone(), user: None })
    }

    fn users(&self) -> MutexGuard<'_, HashMap<UserId, usize>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(user) = &self.user {
            let mut users = self.admission.users();
            if let Some(count) = users.get_mut(&**user) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    users.remove(&**user);
                }
            }
        }
        // Last, so that an observer who sees the lower count finds the user's place free as well.
        self.admission.open.fetch_sub(1, Ordering::Release);
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
        let admit = |user: i64| admission.admit_user(&user.into());
        let (first, second) = (admit(1).unwrap(), admit(1).unwrap());
        assert_eq!(admit(1).unwrap_err(), Full::Node);
        assert_eq!(admission.admit().unwrap_err(), Full::Node);
        drop(first);
        let third = admit(2).unwrap();
        assert_eq!(admission.open(), 2);
        drop((second, third));
        assert_eq!(admission.open(), 0);
    }

    #[test]
    fn each_user_fills_and_empties() {
        let admission = admission(0, 1);
        let admit = |user: i64| admission.admit_user(&user.into());
        let (one, two) = (admit(1).unwrap(), admit(2).unwrap());
        assert_eq!(admit(1).unwrap_err(), Full::User);
        assert_eq!(admission.open(), 2);
        drop(one);
        drop((admit(1).unwrap(), two));
        assert!(admission.users().is_empty());
        assert_eq!(admission.open(), 0);
    }
}
