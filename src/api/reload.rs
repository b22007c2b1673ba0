use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use tokio::task::spawn_blocking;

use super::problem::Problems;
use super::reload_report::{Reload, ReloadReport};
use super::{ApiState, Caller, Problem};

/// Reload the settings
///
/// Of this node, from its file, its `.env` file and its environment. They are validated as a whole first: with a mistake, all of the
/// previous ones stay in force. Only the connections of removed apps are closed. Limits and heartbeats apply to new connections.
#[utoipa::path(
    post,
    path = "/reload",
    tag = "Settings",
    security(("key" = ["reload"])),
    responses((status = 200, body = ReloadReport), Problems)
)]
pub(super) async fn reload(
    State(state): State<Arc<ApiState>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<ReloadReport>, Problem> {
    let Some(Reload(reload)) = state.reload.get().cloned() else {
        let detail = "this server was started with settings of its own, such as `yamabiko dev`";
        return Err(Problem::invalid("not_reloadable", detail));
    };
    tracing::info!(key = caller.name(), "API: reloading the settings");
    let report =
        spawn_blocking(move || reload()).await.map_err(|_| Problem::unavailable("the reload has failed"))?;
    report.map(Json).map_err(|problems| Problem::invalid("invalid_settings", problems))
}
