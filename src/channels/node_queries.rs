//! Questions to the other nodes about what only they know, such as their connections. What is asked and answered is up to the room
//! that asks.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use super::Channels;
use super::wire::ClusterMessage;
use crate::broker::Broker;
use crate::message::NodeName;

/// How long the other nodes may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Answers a question of another node. `None`: it cannot.
pub type QueryHost =
    Box<dyn Fn(String) -> Pin<Box<dyn Future<Output = Option<String>> + Send>> + Send + Sync>;

/// What the other nodes have answered.
#[derive(Debug, Default)]
pub struct NodeReplies {
    pub replies: Vec<(NodeName, String)>,
    /// The nodes that have not answered in time.
    pub missing: Vec<NodeName>,
}

#[derive(Default)]
pub(super) struct NodeQueries {
    host: OnceLock<QueryHost>,
    /// Who waits for answers, by the number of the question.
    waiting: Mutex<HashMap<u64, UnboundedSender<(NodeName, String)>>>,
    last: AtomicU64,
}

impl Channels {
    /// Sets what answers the questions of other nodes, once.
    pub fn set_query_host(&self, host: QueryHost) {
        let _ = self.node_queries.host.set(host);
    }

    /// Asks all other nodes that are alive, as far as this node knows. Takes two seconds at most.
    ///
    /// Nodes without apps do not know of each other until one of them asks, so that the first question takes two seconds.
    pub async fn ask_nodes(&self, query: String) -> NodeReplies {
        if matches!(*self.broker, Broker::Memory(_)) {
            return NodeReplies::default();
        }
        let knows_others = self.join_cluster();
        let mut missing: BTreeSet<NodeName> = self.state().nodes.others().cloned().collect();
        let mut replies: Vec<(NodeName, String)> = Vec::new();
        let id = self.node_queries.last.fetch_add(1, Ordering::Relaxed);
        let (sender, mut answers) = unbounded_channel();
        self.node_queries.waiting().insert(id, sender);
        let _forget = Forget { queries: &self.node_queries, id };
        let _ = timeout(ANSWER_WITHIN, async {
            if self.send(&ClusterMessage::Query { id, query }).await.is_err() {
                return;
            }
            while !(missing.is_empty() && knows_others) {
                let Some((node, reply)) = answers.recv().await else { return };
                missing.remove(&node);
                replies.push((node, reply));
            }
        })
        .await;
        NodeReplies { replies, missing: missing.into_iter().collect() }
    }

    /// Another node asks.
    pub(super) fn handle_query(&self, by: NodeName, id: u64, query: String) {
        if by == self.node {
            return;
        }
        self.join_cluster();
        let Some(host) = self.node_queries.host.get() else { return };
        let answering = host(query);
        let (broker, node, since) = (self.broker.clone(), self.node.clone(), self.since);
        tokio::spawn(async move {
            // Nobody waits any longer than this.
            let Ok(Some(reply)) = timeout(ANSWER_WITHIN, answering).await else { return };
            let reply = ClusterMessage::QueryReply { to: by, id, reply };
            let signal = crate::cluster::encode(&node, since, &reply);
            // Without an answer, the other node says that it lacks one.
            let _ = broker.publish_and_wait(crate::message::Dispatch::Signal(signal).into()).await;
        });
    }

    pub(super) fn handle_query_reply(&self, from: NodeName, to: &NodeName, id: u64, reply: String) {
        if *to == self.node
            && let Some(waiting) = self.node_queries.waiting().get(&id)
        {
            // Fails if nobody waits any more.
            let _ = waiting.send((from, reply));
        }
    }
}

impl NodeQueries {
    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, UnboundedSender<(NodeName, String)>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets a question, also if the one who has asked is gone.
struct Forget<'a> {
    queries: &'a NodeQueries,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.queries.waiting().remove(&self.id);
    }
}

impl fmt::Debug for NodeQueries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeQueries")
    }
}
