use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::outgoing::Outgoing;
use crate::telemetry::Metrics;

/// The two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Publisher,
    Subscriber,
}

/// Whether both connections work. Opens and closes the queue, counts, and logs each change once.
pub(super) struct Health {
    outgoing: Arc<Outgoing>,
    metrics: Arc<Metrics>,
    /// Where Redis is, without secrets.
    place: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    publisher: bool,
    subscriber: bool,
    stopped: bool,
    /// The reasons that this outage has shown already.
    told: HashSet<String>,
}

impl State {
    fn set(&mut self, role: Role, up: bool) {
        match role {
            Role::Publisher => self.publisher = up,
            Role::Subscriber => self.subscriber = up,
        }
    }

    fn up(&self) -> bool {
        self.publisher && self.subscriber && !self.stopped
    }
}

impl Health {
    pub(super) fn new(outgoing: Arc<Outgoing>, metrics: Arc<Metrics>, place: String) -> Self {
        metrics.broker_up.set(0);
        Self { outgoing, metrics, place, state: Mutex::default() }
    }

    pub(super) fn up(&self, role: Role) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.set(role, true);
        if state.up() {
            state.told.clear();
            self.outgoing.open();
            self.metrics.broker_up.set(1);
            tracing::info!(redis = %self.place, "connected to Redis");
        }
    }

    pub(super) fn down(&self, role: Role, reason: &str) {
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let was_up = state.up();
            state.set(role, false);
            if state.stopped {
                return;
            }
            self.outgoing.close(reason);
            if was_up {
                self.metrics.broker_up.set(0);
                self.metrics.broker_interruptions.inc();
                tracing::warn!(redis = %self.place, reason, "lost Redis: client messages are refused until it is back");
                state.told.insert(reason.to_owned());
            } else if state.told.insert(reason.to_owned()) {
                tracing::warn!(redis = %self.place, reason, "cannot reach Redis, trying on");
            } else {
                tracing::debug!(redis = %self.place, reason, ?role, "cannot reach Redis, trying on");
            }
        }
        self.outgoing.refuse_unsent();
    }

    /// Accepts nothing from now on.
    pub(super) fn stop(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.stopped = true;
        self.outgoing.close("shutting down");
        self.metrics.broker_up.set(0);
    }
}
