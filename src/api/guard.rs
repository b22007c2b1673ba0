use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::ProblemCode;
use super::request::discard;
use super::{Access, Problem, Scope};
use crate::telemetry::{ApiRequest, Metrics, Route};
use std::sync::Arc;
use std::time::Instant;

/// Guards routes: a request needs a key with this scope. `None`: any key.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    pub(super) access: Access,
    pub(super) scope: Option<Scope>,
    pub(super) metrics: Arc<Metrics>,
}

/// Passes a permitted request on, with its [`Caller`](super::Caller) and the [`Access`] as extensions. Counts every request.
pub(super) async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let checked = match guard.scope {
        Some(scope) => guard.access.check(request.headers(), scope),
        None => guard.access.identify(request.headers()),
    };
    let (key, response) = match checked {
        Ok(caller) => {
            let key = caller.name().to_owned();
            request.extensions_mut().insert(caller);
            request.extensions_mut().insert(guard.access);
            (key, next.run(request).await)
        }
        Err(error) => {
            tracing::info!(route = route.as_deref(), %error, "API request rejected");
            discard(request.into_body()).await;
            (String::new(), Problem::from(error).into_response())
        }
    };
    let outcome = response.extensions().get::<ProblemCode>().map_or("ok", |code| code.0);
    let route = route.as_deref().and_then(|path| path.split_once("/api/v1")).map_or("", |(_, route)| route);
    guard.metrics.api_requests.get_or_create(&ApiRequest::new(route, &key, outcome)).inc();
    let durations = guard.metrics.latency.api.get_or_create(&Route::new(route));
    durations.observe(began.elapsed().as_secs_f64());
    drop(durations);
    response
}
