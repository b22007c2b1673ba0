use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problems;
use super::{ApiState, Caller, Problem, Scope};
use crate::message::NodeName;

/// The key of the request, and who answers.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyInfo {
    /// The name of the key. It is missing where no key is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "laravel")]
    name: Option<String>,
    /// What the key permits. The scopes of a key with `*` are listed.
    #[schema(example = json!(["read", "publish"]))]
    scopes: Vec<String>,
    /// The IDs of the apps.
    apps: Vec<String>,
    /// The name of the node that answers.
    #[schema(value_type = String)]
    node: NodeName,
    /// Its version of Yamabiko.
    version: &'static str,
}

/// Show the key
///
/// What the key of the request permits. Every key may ask.
#[utoipa::path(
    get,
    path = "/key",
    tag = "Settings",
    security(("key" = [])),
    responses((status = 200, body = KeyInfo), Problems)
)]
pub(super) async fn key(
    State(state): State<Arc<ApiState>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<KeyInfo>, Problem> {
    let scopes = Scope::EACH.into_iter().filter(|scope| caller.permits(*scope));
    let mut apps: Vec<String> =
        state.apps.load().iter().map(|app| app.credentials.id().to_string()).collect();
    apps.sort_unstable();
    Ok(Json(KeyInfo {
        name: Some(caller.name().to_owned()).filter(|name| !name.is_empty()),
        scopes: scopes.map(|scope| scope.to_string()).collect(),
        apps,
        node: state.channels.node().clone(),
        version: env!("CARGO_PKG_VERSION"),
    }))
}
