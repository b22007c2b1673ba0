//! The task that takes connections off their channels, a few at a time: many may end at once, each on many channels.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::yield_now;

use super::peer::Peer;

/// The channels that a connection leaves in one turn of a task. All connections that end in the same moment have their first turn
/// together, and others wait for all of these.
pub(super) const AT_ONCE: usize = 16;

/// Lets them leave, one after the other. Ends with the cluster.
pub(super) async fn leave_in_turn(mut leaving: UnboundedReceiver<Arc<Peer>>) {
    while let Some(peer) = leaving.recv().await {
        while peer.leave_some() {
            yield_now().await;
        }
    }
}
