use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

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
    /// Where the nodes and Laravel publish events.
    topic: String,
    /// A connection has come up.
    pub(super) risen: Notify,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    publisher: bool,
    subscriber: bool,
    /// Connections that stand but do not answer at the moment, and what was not answered.
    silent: [Option<Arc<str>>; 2],
    stopped: bool,
    /// The reasons that this outage has shown already.
    told: HashSet<String>,
}

impl State {
    fn set(&mut self, role: Role, up: bool) {
        *self.silence_of(role) = None;
        match role {
            Role::Publisher => self.publisher = up,
            Role::Subscriber => self.subscriber = up,
        }
    }

    fn silence_of(&mut self, role: Role) -> &mut Option<Arc<str>> {
        let [publisher, subscriber] = &mut self.silent;
        match role {
            Role::Publisher => publisher,
            Role::Subscriber => subscriber,
        }
    }

    fn up(&self) -> bool {
        self.publisher && self.subscriber && !self.stopped
    }
}

impl Health {
    pub(super) fn new(outgoing: Arc<Outgoing>, metrics: Arc<Metrics>, place: String, topic: String) -> Self {
        metrics.broker_up.set(0);
        Self { outgoing, metrics, place, topic, risen: Notify::new(), state: Mutex::default() }
    }

    pub(super) fn up(&self, role: Role) {
        {
            let mut state = self.state();
            state.set(role, true);
            if state.up() {
                state.told.clear();
                self.outgoing.open();
                self.metrics.broker_up.set(1);
                tracing::info!(redis = %self.place, topic = self.topic, "connected to Redis");
            }
        }
        self.risen.notify_waiters();
    }

    /// A connection stands but has not answered `what`. Until it does, the node says that it is not ready; what clients
    /// send is still taken, because it may only be a moment.
    pub(super) fn silent(&self, role: Role, what: &str) {
        let mut state = self.state();
        tracing::debug!(redis = %self.place, ?role, what, "Redis does not answer");
        *state.silence_of(role) = Some(format!("no answer to {what} in time").into());
    }

    /// It answers again.
    pub(super) fn answers(&self, role: Role) {
        *self.state().silence_of(role) = None;
    }

    /// Why a connection that stands is of no use at the moment, if so.
    pub(super) fn silence(&self) -> Option<Arc<str>> {
        self.state().silent.iter().flatten().next().cloned()
    }

    pub(super) fn down(&self, role: Role, reason: &str) {
        {
            let mut state = self.state();
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
        let mut state = self.state();
        state.stopped = true;
        self.outgoing.close("shutting down");
        self.metrics.broker_up.set(0);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
