use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use utoipa::ToSchema;

use super::listing::{Entry, PageEnd, Part, merge};
use super::node_query::NodeQuery;
use super::problem::Problems;
use super::request::ApiJson;
use super::{ApiState, Caller, Problem};
use crate::telemetry::{self, LogLevel, end_temporary_log_level, log_level, set_temporary_log_level};
use crate::unix_time::unix_time;

/// How long a level is in force, if the request does not say.
const DEFAULT_SECONDS: u64 = 15 * 60;
const MAX_SECONDS: u64 = 24 * 60 * 60;

/// The longest filter in bytes.
const MAX_LEVEL_BYTES: usize = 1024;

/// A log level for a while.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LogLevelBody {
    /// `error`, `warn`, `info`, `debug`, `trace` or `off`, or a filter such as `info,yamabiko::broker=debug`.
    level: String,
    /// For how long: 1 to 86400 seconds; 900 if it is missing.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 86400)]
    seconds: Option<u64>,
}

/// The log levels of the nodes.
#[derive(Serialize, ToSchema)]
pub(super) struct LogLevels {
    /// By name.
    nodes: Vec<NodeLogLevel>,
    #[serde(flatten)]
    end: PageEnd,
}

/// The log level of a node.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct NodeLogLevel {
    /// The name of the node.
    node: String,
    #[schema(example = "info")]
    level: String,
    /// The Unix second at which `log.level` of the settings returns. It is missing while that is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
}

/// What a node sets.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum SetLogLevel {
    Until { level: String, until: u64 },
    Configured,
}

impl Entry for NodeLogLevel {
    /// A node answers once.
    fn merge(&mut self, _: Self) {}
}

/// Show the log levels
///
/// Of all nodes.
#[utoipa::path(
    get,
    path = "/log-level",
    operation_id = "log_level",
    tag = "Settings",
    security(("key" = ["read"])),
    responses((status = 200, body = LogLevels), Problems)
)]
pub(super) async fn show(State(state): State<Arc<ApiState>>) -> Result<Json<LogLevels>, Problem> {
    Ok(Json(state.log_levels(None).await))
}

/// Change the log level
///
/// Of all nodes, for a while; then `log.level` of the settings returns. Nodes that start later have that of the settings.
#[utoipa::path(
    put,
    path = "/log-level",
    operation_id = "set_log_level",
    tag = "Settings",
    security(("key" = ["reload"])),
    request_body(content = LogLevelBody, example = json!({ "level": "debug", "seconds": 900 })),
    responses((status = 200, body = LogLevels), Problems)
)]
pub(super) async fn change(
    State(state): State<Arc<ApiState>>,
    Extension(caller): Extension<Caller>,
    ApiJson(LogLevelBody { level, seconds }): ApiJson<LogLevelBody>,
) -> Result<Json<LogLevels>, Problem> {
    if level.len() > MAX_LEVEL_BYTES {
        return Err(Problem::invalid(
            "invalid_level",
            format!("`level` has more than {MAX_LEVEL_BYTES} bytes"),
        ));
    }
    telemetry::validate_filter(&level)
        .map_err(|error| Problem::invalid("invalid_level", format!("`level` {error}")))?;
    let seconds = seconds.unwrap_or(DEFAULT_SECONDS);
    if !(1..=MAX_SECONDS).contains(&seconds) {
        let detail = format!("`seconds` must be a number from 1 to {MAX_SECONDS}");
        return Err(Problem::invalid("invalid_request", detail));
    }
    let until = unix_time().as_secs().saturating_add(seconds);
    tracing::info!(key = caller.name(), to = level, seconds, "API: changing the log level");
    Ok(Json(state.log_levels(Some(SetLogLevel::Until { level, until })).await))
}

/// Return to the log level of the settings
///
/// On all nodes.
#[utoipa::path(
    delete,
    path = "/log-level",
    operation_id = "restore_log_level",
    tag = "Settings",
    security(("key" = ["reload"])),
    responses((status = 200, body = LogLevels), Problems)
)]
pub(super) async fn restore(
    State(state): State<Arc<ApiState>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<LogLevels>, Problem> {
    tracing::info!(key = caller.name(), "API: returning to log.level");
    Ok(Json(state.log_levels(Some(SetLogLevel::Configured)).await))
}

impl ApiState {
    async fn log_levels(&self, set: Option<SetLogLevel>) -> LogLevels {
        let (parts, missing) = self.gather(&NodeQuery::LogLevel { set }).await;
        let (nodes, end) = merge(parts, usize::MAX, missing);
        LogLevels { nodes, end }
    }

    /// Sets and tells the level of this node. `None`: it is not valid here.
    pub(super) fn own_log_level(&self, set: Option<SetLogLevel>) -> Option<Part<NodeLogLevel>> {
        match set {
            Some(SetLogLevel::Configured) if end_temporary_log_level(u64::MAX) => {
                tracing::warn!("log.level is in force again");
            }
            None | Some(SetLogLevel::Configured) => {}
            Some(SetLogLevel::Until { level, until }) => {
                // Before, so that it is logged whatever the new level is.
                // Not called `level`, which is the level of the line.
                tracing::warn!(to = level, until, "the log level changes");
                set_temporary_log_level(&level, until).ok()?;
                tokio::spawn(expire(until));
            }
        }
        let LogLevel { level, until } = log_level();
        let node = self.channels.node().to_string();
        Some(Part::new([(node.clone(), NodeLogLevel { node, level, until })], None))
    }
}

/// Returns to `log.level` at this Unix second, unless another level was set since.
async fn expire(until: u64) {
    sleep(Duration::from_secs(until.saturating_sub(unix_time().as_secs()))).await;
    if end_temporary_log_level(until) {
        tracing::warn!("log.level is in force again");
    }
}
