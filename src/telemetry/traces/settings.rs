use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::Deserialize;

use crate::webhook_target::{InvalidWebhook, WebhookTarget};

/// `[tracing]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TracingSettings {
    /// The base URL of a collector that takes OTLP over HTTP. Empty: traces are off.
    pub endpoint: String,
    /// The share of requests and messages without a trace that begin one, from 0 to 1.
    pub sample: f64,
    /// Headers of the requests to the collector.
    pub headers: BTreeMap<String, SecretString>,
}

/// The path of traces below the endpoint.
const PATH: &str = "/v1/traces";

impl TracingSettings {
    /// Where spans go. `None`: nowhere.
    #[must_use]
    pub fn target(&self) -> Option<Result<WebhookTarget, InvalidWebhook>> {
        let base = self.endpoint.trim_end_matches('/');
        (!base.is_empty()).then(|| {
            let url = if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") };
            WebhookTarget::new(&url, &self.headers)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_traces_is_appended_once() {
        let target = |endpoint: &str| {
            let settings =
                TracingSettings { endpoint: endpoint.to_owned(), sample: 1.0, headers: BTreeMap::new() };
            settings.target().map(|target| target.unwrap().url.to_string())
        };
        assert_eq!(target(""), None);
        for endpoint in ["http://c:4318", "http://c:4318/", "http://c:4318/v1/traces"] {
            assert_eq!(target(endpoint).unwrap(), "http://c:4318/v1/traces", "{endpoint}");
        }
        assert_eq!(target("https://a:b@c/otlp/").unwrap(), "https://c/otlp/v1/traces");
    }
}
