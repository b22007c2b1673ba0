use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::listing::{Entry, PageEnd, Part, Smallest, entry_key, merge, read_page};
use super::node_query::NodeQuery;
use super::problem::Problems;
use super::request::{ApiPath, ApiQuery, number};
use super::{ApiState, Problem};
use crate::message::ChannelName;
use crate::protocol::native::PRESENCE_APP;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ChannelsParams {
    /// Only the channels of the app with this ID. Empty: only native channels. Without it, all.
    app: Option<String>,
    /// Only channels whose names start with this.
    prefix: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// 1 to 500; 100 if it is missing. A page may have fewer entries and a `next` nevertheless.
    #[serde(default, deserialize_with = "number")]
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ChannelParams {
    /// The ID of the app that the channel belongs to. Without it, the channel is native.
    app: Option<String>,
}

/// The channels with a subscriber.
#[derive(Serialize, ToSchema)]
pub(super) struct ChannelList {
    /// Native channels first, then those of each app, by name.
    channels: Vec<ChannelEntry>,
    #[serde(flatten)]
    end: PageEnd,
}

/// A channel.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct ChannelEntry {
    /// The ID of the app. It is missing for a native channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    app: Option<String>,
    name: String,
    /// The number of connections.
    subscribers: u64,
    /// The number of members of a presence channel, or of users on a native channel whose kind has `presence`, or of
    /// whose users the application wants events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    members: Option<usize>,
}

/// A channel in detail.
#[derive(Serialize, ToSchema)]
pub(super) struct ChannelDetail {
    #[serde(flatten)]
    channel: ChannelEntry,
    /// The end of its history. It is missing for a channel without a history.
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<HistoryHead>,
    #[serde(flatten)]
    end: PageEnd,
}

/// The end of a history.
#[derive(Serialize, ToSchema)]
pub(super) struct HistoryHead {
    /// The position of the last message. It is missing if there has been none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "9f3c20-17")]
    position: Option<String>,
}

impl Entry for ChannelEntry {
    fn merge(&mut self, other: Self) {
        self.subscribers = self.subscribers.saturating_add(other.subscribers);
    }
}

/// List channels
///
/// Those with a subscriber on any node.
#[utoipa::path(
    get,
    path = "/channels",
    tag = "Channels",
    security(("key" = ["read"])),
    params(ChannelsParams),
    responses((status = 200, body = ChannelList), Problems)
)]
pub(super) async fn channels(
    State(state): State<Arc<ApiState>>,
    ApiQuery(params): ApiQuery<ChannelsParams>,
) -> Result<Json<ChannelList>, Problem> {
    let (after, limit) = read_page(params.cursor.as_deref(), params.limit)?;
    let prefix = params.prefix.unwrap_or_default();
    let apps: Vec<Arc<str>> = match params.app.as_deref() {
        Some("") => Vec::new(),
        Some(id) => vec![state.app(id)?.credentials.id().clone()],
        None => state.apps.load().iter().map(|app| app.credentials.id().clone()).collect(),
    };
    let (mut parts, mut missing) = (Vec::new(), Vec::new());
    if params.app.as_deref().is_none_or(str::is_empty) {
        let query = NodeQuery::Channels { after: after.clone(), prefix: prefix.clone(), limit };
        (parts, missing) = state.gather(&query).await;
    }
    for app in apps {
        parts.push(state.app_channels(&app, &prefix, &after, limit).await);
    }
    let (mut channels, end) = merge(parts, limit, missing);
    for channel in channels.iter_mut().filter(|channel| channel.app.is_none()) {
        channel.members = state.native_members(&channel.name);
    }
    Ok(Json(ChannelList { channels, end }))
}

/// Show a channel
///
/// Also one without subscribers. In the path, `/` and `#` are `%2F` and `%23`.
#[utoipa::path(
    get,
    path = "/channels/{name}",
    tag = "Channels",
    security(("key" = ["read"])),
    params(("name" = String, Path, description = "The name of the channel", example = "chat:room1"), ChannelParams),
    responses((status = 200, body = ChannelDetail), Problems)
)]
pub(super) async fn channel(
    State(state): State<Arc<ApiState>>,
    ApiPath(name): ApiPath<String>,
    ApiQuery(ChannelParams { app }): ApiQuery<ChannelParams>,
) -> Result<Json<ChannelDetail>, Problem> {
    let name = ChannelName::new(&name)?;
    let scoped = state.scoped(app.as_deref(), &name)?;
    let history = if state.channels.is_retained(&scoped) {
        let position = state.channels.head(&scoped).await?;
        Some(HistoryHead { position: position.map(|position| position.to_string()) })
    } else {
        None
    };
    if let Some(app) = app {
        let info = state.channels.channel(&app, &name);
        let members = is_presence(name.as_str()).then_some(info.members);
        let channel =
            ChannelEntry { app: Some(app), name: name.to_string(), subscribers: info.subscriptions, members };
        return Ok(Json(ChannelDetail { channel, history, end: PageEnd::default() }));
    }
    let query = NodeQuery::Channel { name: name.to_string() };
    let (parts, missing) = state.gather(&query).await;
    let (found, end) = merge::<ChannelEntry>(parts, 1, missing);
    let subscribers = found.first().map_or(0, |channel| channel.subscribers);
    let members = state.native_members(name.as_str());
    let channel = ChannelEntry { app: None, name: name.to_string(), subscribers, members };
    Ok(Json(ChannelDetail { channel, history, end }))
}

impl ApiState {
    /// The native channels of this node.
    pub(super) async fn own_channels(&self, after: &str, prefix: &str, limit: usize) -> Part<ChannelEntry> {
        let mut smallest = Smallest::new(after, limit);
        self.hub
            .visit_channels(|name, subscribers| {
                if name.is_scoped() || !name.as_str().starts_with(prefix) {
                    return;
                }
                let key = entry_key("", name.as_str());
                if smallest.wants(&key) {
                    smallest.entry(&key, || native(name.as_str(), 0)).subscribers = subscribers as u64;
                }
            })
            .await;
        smallest.into()
    }

    /// A native channel on this node.
    pub(super) fn own_channel(&self, name: &str) -> Part<ChannelEntry> {
        let subscribers = ChannelName::new(name).map_or(0, |name| self.hub.subscribers(&name));
        Part::new([(entry_key("", name), native(name, subscribers as u64))], None)
    }

    /// The channels of an app on all nodes, which every node knows.
    async fn app_channels(&self, app: &str, prefix: &str, after: &str, limit: usize) -> Part<ChannelEntry> {
        let mut smallest = Smallest::new(after, limit);
        self.channels
            .visit_channels(app, prefix, |name, info| {
                let key = entry_key(app, name.as_str());
                if smallest.wants(&key) {
                    let new = || ChannelEntry {
                        app: Some(app.to_owned()),
                        members: is_presence(name.as_str()).then_some(info.members),
                        ..native(name.as_str(), info.subscriptions)
                    };
                    smallest.entry(&key, new);
                }
            })
            .await;
        smallest.into()
    }

    /// The users on a native channel, if the nodes tell each other of them.
    fn native_members(&self, name: &str) -> Option<usize> {
        let name = ChannelName::new(name).ok()?;
        let is_known = self.native.has_presence(&name) || self.channels.knows_users(&name);
        is_known.then(|| self.channels.channel(PRESENCE_APP, &name).members)
    }

    /// The channel as histories and the hub name it.
    pub(super) fn scoped(&self, app: Option<&str>, name: &ChannelName) -> Result<ChannelName, Problem> {
        match app {
            Some(id) => Ok(ChannelName::scoped(self.app(id)?.credentials.id(), name.as_str())),
            None => Ok(name.clone()),
        }
    }
}

fn native(name: &str, subscribers: u64) -> ChannelEntry {
    ChannelEntry { app: None, name: name.to_owned(), subscribers, members: None }
}

fn is_presence(name: &str) -> bool {
    name.starts_with("presence-")
}
