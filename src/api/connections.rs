use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::listing::{Entry, PageEnd, Part, Smallest, merge, read_page};
use super::node_query::{ConnectionFilter, NodeQuery};
use super::problem::Problems;
use super::published_message::User;
use super::request::{ApiPath, ApiQuery, number};
use super::{ApiState, Problem};
use crate::hub::{ConnectionId, ConnectionWalk, ListedConnection, Outbox};
use crate::message::{ChannelName, SocketId, UserId};
use crate::transport::ConnectionInfo;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ConnectionsParams {
    /// Only those on this channel.
    channel: Option<String>,
    /// The ID of the app that the channel belongs to. Without it, the channel is native.
    app: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// 1 to 500; 100 if it is missing. A page may have fewer entries and a `next` nevertheless.
    #[serde(default, deserialize_with = "number")]
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
}

/// Open connections.
#[derive(Serialize, ToSchema)]
pub(super) struct ConnectionList {
    connections: Vec<ConnectionEntry>,
    #[serde(flatten)]
    end: PageEnd,
}

/// A connection.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct ConnectionEntry {
    /// The name of the connection in the cluster. Pages of Laravel Echo know it as their socket ID.
    #[schema(example = "1234.5678")]
    id: String,
    /// The name of its node.
    node: String,
    /// `native` or `pusher`.
    #[schema(example = "native")]
    protocol: String,
    /// The ID of the app that serves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    app: Option<String>,
    /// The user of its token, or the one that it is signed in as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<ConnectionUser>,
    channels: Vec<String>,
    /// The bytes that its client has not read yet.
    queued_bytes: usize,
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct ConnectionUser {
    #[schema(value_type = User)]
    id: UserId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

impl Entry for ConnectionEntry {
    /// A connection is on one node.
    fn merge(&mut self, _: Self) {}
}

/// List connections
///
/// Of all protocols and nodes.
#[utoipa::path(
    get,
    path = "/connections",
    tag = "Connections",
    security(("key" = ["read"])),
    params(ConnectionsParams),
    responses((status = 200, body = ConnectionList), Problems)
)]
pub(super) async fn connections(
    State(state): State<Arc<ApiState>>,
    ApiQuery(params): ApiQuery<ConnectionsParams>,
) -> Result<Json<ConnectionList>, Problem> {
    let (after, limit) = read_page(params.cursor.as_deref(), params.limit)?;
    let filter = match (params.channel, params.app) {
        (Some(name), app) => {
            let name = ChannelName::new(&name)?.to_string();
            app.as_deref().map(|app| state.app(app)).transpose()?;
            ConnectionFilter::Channel { app, name }
        }
        (None, None) => ConnectionFilter::All,
        (None, Some(_)) => {
            return Err(Problem::bad_request("invalid_query", "`app` says whose `channel` it is: give both"));
        }
    };
    let (connections, end) = state.connections(after, limit, filter).await;
    Ok(Json(ConnectionList { connections, end }))
}

/// Show a connection
#[utoipa::path(
    get,
    path = "/connections/{id}",
    tag = "Connections",
    security(("key" = ["read"])),
    params(("id" = String, Path, description = "The name of the connection", example = "1234.5678")),
    responses(
        (status = 200, body = ConnectionEntry),
        (status = 404, body = Problem, content_type = "application/problem+json", description = "There is no such connection (`unknown_connection`)"),
        Problems
    )
)]
pub(super) async fn connection(
    State(state): State<Arc<ApiState>>,
    ApiPath(id): ApiPath<String>,
) -> Result<Json<ConnectionEntry>, Problem> {
    let id: SocketId = id.parse()?;
    let (parts, missing) = state.gather(&NodeQuery::Connection { id }).await;
    let (found, _) = merge::<ConnectionEntry>(parts, 1, Vec::new());
    match found.into_iter().next() {
        Some(connection) => Ok(Json(connection)),
        None if missing.is_empty() => {
            Err(Problem::not_found("unknown_connection", "there is no such connection"))
        }
        None => {
            let nodes: Vec<&str> = missing.iter().map(|node| &**node).collect();
            let nodes = nodes.join(", ");
            Err(Problem::unavailable(format!(
                "not found, but these nodes have not answered: {nodes}; ask again"
            )))
        }
    }
}

impl ApiState {
    /// A page of the connections on all nodes.
    pub(super) async fn connections(
        &self,
        after: String,
        limit: usize,
        filter: ConnectionFilter,
    ) -> (Vec<ConnectionEntry>, PageEnd) {
        let (parts, missing) = self.gather(&NodeQuery::Connections { after, limit, filter }).await;
        merge(parts, limit, missing)
    }

    pub(super) async fn own_connections(
        &self,
        after: &str,
        limit: usize,
        filter: &ConnectionFilter,
    ) -> Part<ConnectionEntry> {
        let signed_in = match filter {
            ConnectionFilter::SignedIn { app, user } => self.signed_in_as(app, user).await,
            _ => HashSet::new(),
        };
        let mut smallest = Smallest::new(after, limit);
        let mut walk = match filter {
            ConnectionFilter::Channel { app: Some(app), name } => {
                self.hub.walk_channel(&ChannelName::scoped(app, name))
            }
            ConnectionFilter::Channel { app: None, name } => match ChannelName::new(name) {
                Ok(name) => self.hub.walk_channel(&name),
                Err(_) => return Part::new(None, None),
            },
            _ => ConnectionWalk::default(),
        };
        while let Some(listed) = self.hub.next_connections(&mut walk).await {
            let wanted = match filter {
                ConnectionFilter::All | ConnectionFilter::Channel { .. } => listed,
                ConnectionFilter::User(user) => {
                    let known = self.with_users(listed).await.into_iter();
                    known.filter(|connection| connection.user.as_ref() == Some(user)).collect()
                }
                ConnectionFilter::SignedIn { .. } => {
                    listed.into_iter().filter(|connection| signed_in.contains(&connection.id)).collect()
                }
            };
            for ListedConnection { id, outbox, .. } in wanted {
                let key = self.connection_key(id);
                if smallest.wants(&key) {
                    smallest.entry(&key, || (id, outbox));
                }
            }
        }
        let (found, end) = smallest.into_parts();
        let asked: Vec<(ConnectionId, Arc<Outbox>)> = found.into_values().collect();
        let mut infos = self.context.inquiries.ask(&asked).await;
        let described = asked.iter().filter_map(|(id, _)| Some((*id, infos.remove(id)?)));
        Part::new(described.map(|(id, info)| (self.connection_key(id), self.described(id, info))), end)
    }

    pub(super) async fn own_connection(&self, name: SocketId) -> Part<ConnectionEntry> {
        let mut found = None;
        if let Some(id) = self.channels.connection(name)
            && let Some(outbox) = self.hub.outbox(id).await
        {
            let mut infos = self.context.inquiries.ask(&[(id, outbox)]).await;
            found = infos.remove(&id).map(|info| (self.connection_key(id), self.described(id, info)));
        }
        Part::new(found, None)
    }

    /// The native connections among these, all with their users: the hub knows those that are on one channel.
    pub(super) async fn with_users(&self, listed: Vec<ListedConnection>) -> Vec<ListedConnection> {
        let is_native = |connection: &ListedConnection| {
            let encoding = connection.outbox.format().encoding;
            crate::protocol::native::ENCODINGS.contains(&encoding)
        };
        let mut native: Vec<ListedConnection> = listed.into_iter().filter(is_native).collect();
        let unknown: Vec<(ConnectionId, Arc<Outbox>)> = native
            .iter()
            .filter(|connection| connection.user.is_none())
            .map(|connection| (connection.id, connection.outbox.clone()))
            .collect();
        if !unknown.is_empty() {
            let mut infos: HashMap<ConnectionId, ConnectionInfo> = self.context.inquiries.ask(&unknown).await;
            for connection in native.iter_mut().filter(|connection| connection.user.is_none()) {
                connection.user = infos.remove(&connection.id).and_then(|info| info.user);
            }
        }
        native
    }

    /// The connections of this node that are signed in to an app as a user.
    async fn signed_in_as(&self, app: &str, user: &UserId) -> HashSet<ConnectionId> {
        let (mut found, mut end) = (HashSet::new(), usize::MAX);
        while end > 0 {
            let users = self.channels.signed_in_before(app, &mut end).into_iter();
            let names = users.filter(|(_, id)| id == user).map(|(name, _)| name);
            found.extend(names.filter_map(|name| self.channels.connection(name)));
            tokio::task::yield_now().await;
        }
        found
    }

    /// Sorts by node, and then by the time when the connection was opened.
    fn connection_key(&self, id: ConnectionId) -> String {
        format!("{}{id:016x}", self.channels.node())
    }

    fn described(&self, id: ConnectionId, info: ConnectionInfo) -> ConnectionEntry {
        let ConnectionInfo { protocol, name, app, user, user_name, channels, queued_bytes } = info;
        ConnectionEntry {
            id: name.unwrap_or_else(|| self.channels.socket_id(id)).to_string(),
            node: self.channels.node().to_string(),
            protocol: protocol.to_owned(),
            app,
            user: user.map(|id| ConnectionUser { id, name: user_name.map(|name| name.to_string()) }),
            channels: channels.iter().map(|channel| channel.unscoped().to_owned()).collect(),
            queued_bytes,
        }
    }
}
