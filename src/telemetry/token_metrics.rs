use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::labels::Reason;

/// The metrics of tokens of the native protocol, part of [`Metrics`](super::Metrics).
#[derive(Debug, Default)]
pub struct TokenMetrics {
    /// Tokens of open connections that were replaced by new ones.
    pub renewed: Counter,
    /// New tokens that were refused on open connections, by reason.
    pub renewals_refused: Family<Reason, Counter>,
    /// Keys of `auth.jwks_url`.
    pub jwks_keys: Gauge,
    /// Times that they could not be fetched, by reason.
    pub jwks_failures: Family<Reason, Counter>,
    /// Revocations of tokens in force.
    pub revocations: Gauge,
    /// Revocations that are not in force, or not stored, because there are too many.
    pub revocations_dropped: Counter,
}

impl TokenMetrics {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register("tokens_renewed", "Tokens renewed on open connections", metrics.renewed.clone());
        registry.register(
            "renewals_refused",
            "Token renewals refused, by reason",
            metrics.renewals_refused.clone(),
        );
        registry.register("jwks_keys", "Keys fetched from auth.jwks_url", metrics.jwks_keys.clone());
        registry.register(
            "jwks_failures",
            "Failed fetches of auth.jwks_url, by reason",
            metrics.jwks_failures.clone(),
        );
        registry.register("revocations", "Revocations of tokens in force", metrics.revocations.clone());
        registry.register(
            "revocations_dropped",
            "Revocations that were dropped or not stored because there were too many",
            metrics.revocations_dropped.clone(),
        );
        metrics
    }
}
