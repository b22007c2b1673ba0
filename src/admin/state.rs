use std::sync::Arc;

use crate::broker::Broker;
use crate::telemetry::Metrics;

/// What the operators' port works with.
#[derive(Debug, Clone)]
pub struct AdminState<L> {
    /// Its status is part of readiness, and requests that concern all nodes go through it.
    pub broker: Arc<Broker>,
    /// Served under `/metrics`.
    pub metrics: Arc<Metrics>,
    /// Called for each readiness probe.
    pub load: L,
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
