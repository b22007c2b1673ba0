//! Finds out whether other nodes can take over the connections of this one. Runs once, at shutdown, so that it costs
//! nothing before that. It needs no apps.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::Channels;
use super::wire::ClusterMessage;
use crate::broker::{Broker, Status};
use crate::message::NodeName;

/// How long a node that shuts down waits for a reply from another one.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub(super) struct Probe {
    is_leaving: AtomicBool,
    answered: Notify,
}

impl Channels {
    /// Whether another node stays. After this call, this node no longer replies to others that it stays.
    pub async fn has_other_nodes(&self) -> bool {
        self.probe.is_leaving.store(true, Ordering::Relaxed);
        if matches!(*self.broker, Broker::Memory(_)) || self.broker.status() != Status::Ready {
            return false;
        }
        // It is queued at once, and its receipt does not matter.
        drop(self.send(&ClusterMessage::Probe));
        timeout(ANSWER_TIMEOUT, self.probe.answered.notified()).await.is_ok()
    }

    pub(super) fn handle_probe(&self, node: NodeName) {
        if node != self.node && !self.probe.is_leaving.load(Ordering::Relaxed) {
            drop(self.send(&ClusterMessage::ProbeReply { to: node }));
        }
    }

    pub(super) fn handle_probe_reply(&self, to: &NodeName) {
        if *to == self.node {
            self.probe.answered.notify_one();
        }
    }
}
