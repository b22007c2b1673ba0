use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::connections::ConnectionEntry;
use super::listing::{Entry, PageEnd, Part, Smallest, entry_key, merge, read_page};
use super::node_query::{ConnectionFilter, NodeQuery};
use super::problem::Problems;
use super::published_message::User;
use super::request::{ApiPath, ApiQuery, number};
use super::{ApiState, Problem};
use crate::hub::ConnectionWalk;
use crate::message::UserId;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct UsersParams {
    /// Only users whose IDs start with this.
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
pub(super) struct UserParams {
    /// The ID of the app that the user is signed in to. Without it, the user of native connections.
    app: Option<String>,
    /// The `next` of the page before.
    cursor: Option<String>,
    /// 1 to 500; 100 if it is missing.
    #[serde(default, deserialize_with = "number")]
    #[param(minimum = 1, maximum = 500)]
    limit: Option<usize>,
}

/// Users with an open connection.
#[derive(Serialize, ToSchema)]
pub(super) struct UserList {
    /// Those of native connections first, then those that are signed in to each app, by ID.
    users: Vec<UserEntry>,
    #[serde(flatten)]
    end: PageEnd,
}

/// A user.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct UserEntry {
    /// The ID of the app that the user is signed in to. It is missing for the user of native connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    app: Option<String>,
    #[schema(value_type = User)]
    id: UserId,
    /// The number of connections.
    connections: u64,
}

/// A user with their connections.
#[derive(Serialize, ToSchema)]
pub(super) struct UserDetail {
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<String>,
    #[schema(value_type = User)]
    id: UserId,
    /// Empty if the user has none.
    connections: Vec<ConnectionEntry>,
    #[serde(flatten)]
    end: PageEnd,
}

impl Entry for UserEntry {
    fn merge(&mut self, other: Self) {
        self.connections = self.connections.saturating_add(other.connections);
    }
}

/// List users
///
/// The users of native connections, and those that are signed in to apps, on all nodes.
#[utoipa::path(
    get,
    path = "/users",
    tag = "Users",
    security(("key" = ["read"])),
    params(UsersParams),
    responses((status = 200, body = UserList), Problems)
)]
pub(super) async fn users(
    State(state): State<Arc<ApiState>>,
    ApiQuery(params): ApiQuery<UsersParams>,
) -> Result<Json<UserList>, Problem> {
    let (after, limit) = read_page(params.cursor.as_deref(), params.limit)?;
    let prefix = params.prefix.unwrap_or_default();
    let query = NodeQuery::Users { after, prefix: prefix.clone(), limit };
    let (parts, missing) = state.gather(&query).await;
    let (mut users, end) = merge::<UserEntry>(parts, limit, missing);
    users.retain(|user| user.id.to_text().starts_with(&prefix));
    Ok(Json(UserList { users, end }))
}

/// Show a user
///
/// With the connections of the user on all nodes.
#[utoipa::path(
    get,
    path = "/users/{id}",
    tag = "Users",
    security(("key" = ["read"])),
    params(("id" = String, Path, description = "The ID of the user", example = "7"), UserParams),
    responses((status = 200, body = UserDetail), Problems)
)]
pub(super) async fn user(
    State(state): State<Arc<ApiState>>,
    ApiPath(id): ApiPath<String>,
    ApiQuery(params): ApiQuery<UserParams>,
) -> Result<Json<UserDetail>, Problem> {
    let id: UserId = id.parse().map_err(|_| {
        Problem::bad_request("invalid_path", "the ID of a user is a whole number or a text of 1 to 64 bytes")
    })?;
    let (after, limit) = read_page(params.cursor.as_deref(), params.limit)?;
    let filter = match &params.app {
        Some(app) => {
            state.app(app)?;
            ConnectionFilter::SignedIn { app: app.clone(), user: id.clone() }
        }
        None => ConnectionFilter::User(id.clone()),
    };
    let (connections, end) = state.connections(after, limit, filter).await;
    Ok(Json(UserDetail { app: params.app, id, connections, end }))
}

impl ApiState {
    /// The users of this node.
    pub(super) async fn own_users(&self, after: &str, prefix: &str, limit: usize) -> Part<UserEntry> {
        let mut smallest = Smallest::new(after, limit);
        let mut count = |app: Option<&str>, user: UserId| {
            let id = user.to_text();
            let key = entry_key(app.unwrap_or_default(), &id);
            if id.starts_with(prefix) && smallest.wants(&key) {
                drop(id);
                let new = || UserEntry { app: app.map(str::to_owned), id: user, connections: 0 };
                smallest.entry(&key, new).connections += 1;
            }
        };
        let mut walk = ConnectionWalk::default();
        while let Some(listed) = self.hub.next_connections(&mut walk).await {
            for connection in self.with_users(listed).await {
                if let Some(user) = connection.user {
                    count(None, user);
                }
            }
        }
        for app in self.apps.load_full().iter() {
            let (app, mut end) = (app.credentials.id(), usize::MAX);
            while end > 0 {
                for (_, user) in self.channels.signed_in_before(app, &mut end) {
                    count(Some(app), user);
                }
                tokio::task::yield_now().await;
            }
        }
        smallest.into()
    }
}
