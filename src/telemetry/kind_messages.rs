use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::channel_metrics::ChannelMetrics;
use super::labels::ChannelGroup;
use super::metrics::Metrics;

/// Counts the messages of each kind of native channels.
#[derive(Debug)]
pub struct KindMessages {
    metrics: Arc<Metrics>,
    kinds: HashMap<String, Arc<ChannelMetrics>, RandomState>,
}

impl KindMessages {
    /// Starts the series of these kinds.
    #[must_use]
    pub fn new<'a>(metrics: Arc<Metrics>, kinds: impl IntoIterator<Item = &'a str>) -> Self {
        let mut messages = Self { metrics, kinds: HashMap::default() };
        for kind in kinds {
            messages.start(kind);
        }
        messages
    }

    /// Counts a message of a kind, as the settings name it. Returns the metrics of its channels.
    pub fn count(&mut self, kind: &str) -> Arc<ChannelMetrics> {
        let started = self.kinds.get(kind).cloned();
        // Not started if the settings have been reloaded.
        let metrics = started.unwrap_or_else(|| self.start(kind));
        metrics.messages.inc();
        metrics
    }

    fn start(&mut self, kind: &str) -> Arc<ChannelMetrics> {
        let metrics = self.metrics.start_channels(&ChannelGroup::of_kind(kind));
        self.kinds.insert(kind.to_owned(), metrics.clone());
        metrics
    }
}
