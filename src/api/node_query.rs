//! What one node asks the others for, and how a node answers.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::ApiState;
use super::listing::{Entry, Part};
use super::log_level::SetLogLevel;
use super::tail_line::TailFilter;
use crate::message::{NodeName, SocketId, UserId};

/// How long a node may take for its own part.
const WITHIN: Duration = Duration::from_secs(2);

/// Lists that a node makes at a time.
const LISTS: usize = 4;

/// A part of a list of a node. The other nodes may run another version: an unknown question has no answer, and unknown fields are
/// ignored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NodeQuery {
    /// Its native channels.
    Channels { after: String, prefix: String, limit: usize },
    /// One native channel.
    Channel { name: String },
    /// Its connections.
    Connections { after: String, limit: usize, filter: ConnectionFilter },
    /// One connection.
    Connection { id: SocketId },
    /// The users of its connections. Nodes of earlier versions list all, whatever the prefix.
    Users {
        after: String,
        #[serde(default)]
        prefix: String,
        limit: usize,
    },
    /// The node itself.
    Node {},
    /// Its busiest channels and senders.
    Traffic { limit: usize },
    /// What has happened on it since the last question of this name.
    Tail { by: NodeName, name: String, filter: TailFilter },
    /// Its log level, after it has been set if `set` says so.
    LogLevel { set: Option<SetLogLevel> },
}

/// Whose connections to list.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ConnectionFilter {
    All,
    User(UserId),
    SignedIn {
        app: String,
        user: UserId,
    },
    /// On a channel. `app` is missing for a native one.
    Channel {
        app: Option<String>,
        name: String,
    },
}

impl ApiState {
    /// Lets this node answer the questions of others. Needs a tokio runtime.
    #[must_use]
    pub fn start(state: Self) -> Arc<Self> {
        let state = Arc::new(state);
        let weak: Weak<Self> = Arc::downgrade(&state);
        state.channels.set_query_host(Box::new(move |query| {
            let state = weak.upgrade();
            Box::pin(async move {
                let query = serde_json::from_str(&query).ok()?;
                state?.answer(query).await
            })
        }));
        state
    }

    /// The permits for lists.
    #[must_use]
    pub fn lists() -> Semaphore {
        Semaphore::new(LISTS)
    }

    /// The parts of all nodes, and the nodes whose part is missing.
    pub(super) async fn gather<T: Entry>(&self, query: &NodeQuery) -> (Vec<Part<T>>, Vec<NodeName>) {
        let text = serde_json::to_string(query).unwrap_or_default();
        let own = timeout(WITHIN, self.answer(query.clone()));
        let (own, others) = futures_util::future::join(own, self.channels.ask_nodes(text)).await;
        let own = (self.channels.node().clone(), own.ok().flatten().unwrap_or_default());
        let (mut parts, mut missing) = (Vec::new(), others.missing);
        for (node, reply) in others.replies.into_iter().chain([own]) {
            match serde_json::from_str(&reply) {
                Ok(part) => parts.push(part),
                Err(_) => missing.push(node),
            }
        }
        missing.sort_unstable();
        (parts, missing)
    }

    async fn answer(&self, query: NodeQuery) -> Option<String> {
        let _permit = self.lists.acquire().await.ok()?;
        let text = match query {
            NodeQuery::Channels { after, prefix, limit } => {
                serde_json::to_string(&self.own_channels(&after, &prefix, bounded(limit)).await)
            }
            NodeQuery::Channel { name } => serde_json::to_string(&self.own_channel(&name)),
            NodeQuery::Connections { after, limit, filter } => {
                serde_json::to_string(&self.own_connections(&after, bounded(limit), &filter).await)
            }
            NodeQuery::Connection { id } => serde_json::to_string(&self.own_connection(id).await),
            NodeQuery::Users { after, prefix, limit } => {
                serde_json::to_string(&self.own_users(&after, &prefix, bounded(limit)).await)
            }
            NodeQuery::Node {} => serde_json::to_string(&self.own_node().await),
            NodeQuery::Tail { by, name, filter } => {
                serde_json::to_string(&self.own_tail(&by, &name, &filter).await?)
            }
            NodeQuery::LogLevel { set } => serde_json::to_string(&self.own_log_level(set)?),
            NodeQuery::Traffic { limit } => serde_json::to_string(&self.own_traffic(bounded(limit))),
        };
        text.ok()
    }
}

fn bounded(limit: usize) -> usize {
    limit.clamp(1, super::listing::MAX_LIMIT)
}
