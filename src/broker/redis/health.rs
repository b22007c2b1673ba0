use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::publish_queue::PublishQueue;
use crate::telemetry::Metrics;

/// The two connections to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionRole {
    Publisher,
    Subscriber,
}

/// Whether both connections work. Opens and closes the publish queue, counts interruptions, and logs each change once.
pub(super) struct Health {
    queue: Arc<PublishQueue>,
    metrics: Arc<Metrics>,
    /// The address of Redis, without secrets.
    address: String,
    /// The Redis channel that carries events.
    events_channel: String,
    /// One of the connections has come up.
    pub(super) connected: Notify,
    /// How often both have been up.
    pub(super) connections: watch::Sender<u64>,
    state: Mutex<HealthState>,
}

#[derive(Default)]
struct HealthState {
    publisher: bool,
    subscriber: bool,
    /// What connections that are open, but do not answer, have not answered.
    unresponsive: [Option<Arc<str>>; 2],
    is_stopped: bool,
    /// The reasons already logged during this outage.
    logged_reasons: HashSet<String>,
}

impl HealthState {
    fn set(&mut self, role: ConnectionRole, is_up: bool) {
        *self.unresponsive_mut(role) = None;
        match role {
            ConnectionRole::Publisher => self.publisher = is_up,
            ConnectionRole::Subscriber => self.subscriber = is_up,
        }
    }

    fn unresponsive_mut(&mut self, role: ConnectionRole) -> &mut Option<Arc<str>> {
        let [publisher, subscriber] = &mut self.unresponsive;
        match role {
            ConnectionRole::Publisher => publisher,
            ConnectionRole::Subscriber => subscriber,
        }
    }

    fn is_up(&self) -> bool {
        self.publisher && self.subscriber && !self.is_stopped
    }
}

impl Health {
    pub(super) fn new(
        queue: Arc<PublishQueue>,
        metrics: Arc<Metrics>,
        address: String,
        events_channel: String,
    ) -> Self {
        metrics.broker_up.set(0);
        let (connected, connections) = (Notify::new(), watch::Sender::new(0));
        Self { queue, metrics, address, events_channel, connected, connections, state: Mutex::default() }
    }

    pub(super) fn set_up(&self, role: ConnectionRole) {
        {
            let mut state = self.state();
            let was_up = state.is_up();
            state.set(role, true);
            if state.is_up() {
                if !was_up {
                    self.connections.send_modify(|connections| *connections += 1);
                }
                state.logged_reasons.clear();
                self.queue.open();
                self.metrics.broker_up.set(1);
                tracing::info!(redis = %self.address, topic = self.events_channel, "connected to Redis");
            }
        }
        self.connected.notify_waiters();
    }

    /// The connection is open, but has not answered `command` in time. Until it answers, the node reports that it is not
    /// ready. It still accepts what clients send, because the delay may be short.
    pub(super) fn set_unresponsive(&self, role: ConnectionRole, command: &str) {
        let mut state = self.state();
        tracing::debug!(redis = %self.address, ?role, command, "Redis does not answer");
        *state.unresponsive_mut(role) = Some(format!("no answer to {command} in time").into());
    }

    pub(super) fn set_responsive(&self, role: ConnectionRole) {
        *self.state().unresponsive_mut(role) = None;
    }

    /// Why an open connection cannot be relied on at the moment.
    pub(super) fn unresponsive_reason(&self) -> Option<Arc<str>> {
        self.state().unresponsive.iter().flatten().next().cloned()
    }

    pub(super) fn set_down(&self, role: ConnectionRole, reason: &str) {
        {
            let mut state = self.state();
            let was_up = state.is_up();
            state.set(role, false);
            if state.is_stopped {
                return;
            }
            self.queue.close(reason);
            let is_new = state.logged_reasons.insert(reason.to_owned());
            if was_up {
                self.metrics.broker_up.set(0);
                self.metrics.broker_interruptions.inc();
                tracing::warn!(redis = %self.address, reason, "lost Redis, refusing client messages until it is back");
            } else if is_new {
                tracing::warn!(redis = %self.address, reason, "cannot reach Redis, retrying");
            } else {
                tracing::debug!(redis = %self.address, reason, ?role, "cannot reach Redis, retrying");
            }
        }
        self.queue.refuse_unsent();
    }

    /// Accepts no more dispatches.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.is_stopped = true;
        self.queue.close("shutting down");
        self.metrics.broker_up.set(0);
    }

    fn state(&self) -> MutexGuard<'_, HealthState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
