use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use prometheus_client::metrics::counter::Counter;

use super::labels::ChannelGroup;
use super::metrics::Metrics;

/// Counts the messages of each kind of native channels.
#[derive(Debug)]
pub struct KindMessages {
    metrics: Arc<Metrics>,
    kinds: HashMap<String, (ChannelGroup, Counter), RandomState>,
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

    /// Counts a message of a kind, as the settings name it. Returns its label.
    pub fn count(&mut self, kind: &str) -> Option<&ChannelGroup> {
        if !self.kinds.contains_key(kind) {
            // The settings have been reloaded.
            self.start(kind);
        }
        let (group, counter) = self.kinds.get(kind)?;
        counter.inc();
        Some(group)
    }

    fn start(&mut self, kind: &str) {
        let group = ChannelGroup::of_kind(kind);
        let counter = self.metrics.start_channels(&group);
        self.kinds.insert(kind.to_owned(), (group, counter));
    }
}
