//! Whether other nodes are there that can take over the connections of this one. Asked once, at shutdown, so that it costs
//! nothing before; and it needs no apps.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::Channels;
use super::wire::ClusterMessage;
use crate::broker::{Broker, Status};
use crate::message::NodeName;

/// How long a node that shuts down waits for the answer of another one.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub(super) struct Probe {
    is_leaving: AtomicBool,
    answered: Notify,
}

impl Channels {
    /// Whether another node stays. From this call on this node tells others that it does not.
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
