use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Limits;

/// Counts the connections of this node against `[limits]`.
#[derive(Debug)]
pub struct Admission {
    connections: usize,
    per_user: usize,
    open: AtomicUsize,
    /// Kept only where there is a limit per user.
    users: Mutex<HashMap<i64, usize>>,
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Node,
    User,
}

/// One connection's place; dropping it makes room.
#[derive(Debug)]
pub(super) struct Admitted {
    admission: Arc<Admission>,
    user: i64,
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
        self.open.load(Ordering::Relaxed)
    }

    pub(super) fn admit(self: &Arc<Self>, user: i64) -> Result<Admitted, Full> {
        let open = self.open.fetch_add(1, Ordering::Relaxed);
        if self.connections > 0 && open >= self.connections {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::Node);
        }
        if self.per_user > 0 {
            let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
            let count = users.entry(user).or_default();
            if *count >= self.per_user {
                self.open.fetch_sub(1, Ordering::Relaxed);
                return Err(Full::User);
            }
            *count += 1;
        }
        Ok(Admitted { admission: self.clone(), user })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.open.fetch_sub(1, Ordering::Relaxed);
        if self.admission.per_user > 0 {
            let mut users = self.admission.users.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = users.get_mut(&self.user) {
                *count -= 1;
                if *count == 0 {
                    users.remove(&self.user);
                }
            }
        }
    }
}
