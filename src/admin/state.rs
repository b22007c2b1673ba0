use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::broker::Broker;
use crate::telemetry::Metrics;

/// What the operators' port works with.
#[derive(Clone)]
pub struct AdminState<L> {
    /// Its status is part of readiness, and requests that concern all nodes go through it.
    pub broker: Arc<Broker>,
    /// Served under `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Called before each page of metrics: sets those that are measured only then.
    pub measure: Measure,
    /// Called for each readiness probe.
    pub load: L,
}

/// Measures something, and completes when it is measured.
pub type Measure = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

impl<L> fmt::Debug for AdminState<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminState").finish_non_exhaustive()
    }
}

/// How busy the server is with connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// Whether the server is shutting down and refuses new connections.
    pub draining: bool,
    /// Open connections.
    pub connections: usize,
    /// What the server does not know yet, and must know to check tokens.
    pub waiting_for: Option<&'static str>,
}
