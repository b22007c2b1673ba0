use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::listing::{Entry, Part, merge, read_limit};
use super::node_query::NodeQuery;
use super::problem::Problems;
use super::request::{ApiQuery, number};
use super::{ApiState, Problem};
use crate::message::{ChannelName, NodeName};
use crate::telemetry::Rate;

/// The most entries of each list.
const MAX_LIMIT: usize = 100;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TrafficParams {
    /// How many channels, and how many senders: 1 to 100; 100 if it is missing.
    #[serde(default, deserialize_with = "number")]
    #[param(minimum = 1, maximum = 100)]
    limit: Option<usize>,
}

/// The busiest channels and senders.
#[derive(Serialize, ToSchema)]
pub(super) struct Traffic {
    /// By messages, the busiest first.
    channels: Vec<BusyChannel>,
    /// Users of native channels, and members that send client events to a presence channel. By messages, the busiest first.
    senders: Vec<BusySender>,
    /// Whether nodes have not answered within two seconds.
    incomplete: bool,
    /// The names of these nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    missing_nodes: Vec<NodeName>,
}

/// A channel and its messages.
#[derive(Serialize, ToSchema)]
pub(super) struct BusyChannel {
    /// The ID of the app. It is missing for a native channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<String>,
    name: String,
    /// The number of connections.
    subscribers: u64,
    messages_per_second: f64,
}

/// A user and the messages that the user has sent.
#[derive(Serialize, ToSchema)]
pub(super) struct BusySender {
    /// The ID of the app. It is missing for a user of native channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<String>,
    /// The ID as text.
    #[schema(example = "7")]
    id: String,
    messages_per_second: f64,
}

/// What a node has counted of a name.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct NodeTraffic {
    /// With the scope of its app.
    name: String,
    is_channel: bool,
    subscribers: u64,
    per_second: f64,
}

impl Entry for NodeTraffic {
    /// A message arrives at every node that has a subscriber, so that rates are not added.
    fn merge(&mut self, other: Self) {
        self.subscribers = self.subscribers.saturating_add(other.subscribers);
        self.per_second = self.per_second.max(other.per_second);
    }
}

/// Show the traffic
///
/// Which channels have the most messages, and who sends the most, in about the last second or since the request before. Nodes
/// count only while somebody asks, so that the first answer is empty: ask again after a second. They stop 30 seconds after the
/// last request.
#[utoipa::path(
    get,
    path = "/traffic",
    tag = "Nodes",
    security(("key" = ["read"])),
    params(TrafficParams),
    responses((status = 200, body = Traffic), Problems)
)]
pub(super) async fn traffic(
    State(state): State<Arc<ApiState>>,
    ApiQuery(params): ApiQuery<TrafficParams>,
) -> Result<Json<Traffic>, Problem> {
    let limit = read_limit(params.limit, MAX_LIMIT)?;
    let (parts, missing_nodes) = state.gather(&NodeQuery::Traffic { limit }).await;
    let (mut entries, _) = merge::<NodeTraffic>(parts, usize::MAX, Vec::new());
    entries.sort_by(|a, b| b.per_second.total_cmp(&a.per_second));
    let (channels, senders): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| entry.is_channel);
    let channels = channels.into_iter().take(limit).map(|entry| {
        let (app, name) = unscoped(&entry.name);
        BusyChannel { app, name, subscribers: entry.subscribers, messages_per_second: entry.per_second }
    });
    let senders = senders.into_iter().take(limit).map(|entry| {
        let (app, id) = unscoped(&entry.name);
        BusySender { app, id, messages_per_second: entry.per_second }
    });
    Ok(Json(Traffic {
        channels: channels.collect(),
        senders: senders.collect(),
        incomplete: !missing_nodes.is_empty(),
        missing_nodes,
    }))
}

impl ApiState {
    /// The busiest names of this node.
    pub(super) fn own_traffic(&self, limit: usize) -> Part<NodeTraffic> {
        let busiest = self.context.metrics.traffic.busiest();
        let channels = busiest.channels.into_iter().take(limit).map(|Rate { name, per_second }| {
            let subscribers = scoped(&name).map_or(0, |channel| self.hub.subscribers(&channel) as u64);
            (format!("c{name}"), NodeTraffic { name, is_channel: true, subscribers, per_second })
        });
        let senders = busiest.senders.into_iter().take(limit).map(|Rate { name, per_second }| {
            (format!("s{name}"), NodeTraffic { name, is_channel: false, subscribers: 0, per_second })
        });
        Part::new(channels.chain(senders), None)
    }
}

fn scoped(name: &str) -> Option<ChannelName> {
    match name.split_once(ChannelName::SCOPE_END) {
        Some((app, name)) => Some(ChannelName::scoped(app, name)),
        None => ChannelName::new(name).ok(),
    }
}

fn unscoped(name: &str) -> (Option<String>, String) {
    match name.split_once(ChannelName::SCOPE_END) {
        Some((app, name)) => (Some(app.to_owned()), name.to_owned()),
        None => (None, name.to_owned()),
    }
}
