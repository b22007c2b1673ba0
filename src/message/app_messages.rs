use std::fmt;

use super::{ChannelPattern, Publication};

/// Reads what applications publish for the channels of apps without Yamabiko's HTTP API. The broker's interface to the engine.
pub trait AppMessages: fmt::Debug + Send + Sync {
    /// The topics of channels with a history. A node is always subscribed to them.
    fn topics(&self) -> Vec<ChannelPattern>;

    /// Whether a topic is that of a channel with a history.
    fn has_topic(&self, topic: &str) -> bool;

    /// What a message on the topic of a channel says, for all nodes. `None`: it cannot be delivered.
    fn read_topic(&self, topic: &str, payload: &[u8]) -> Option<Publication>;

    /// What an entry of the ingest stream says, for all nodes.
    fn read_entry(&self, entry: &AppEntry<'_>) -> Result<Publication, InvalidEntry>;
}

/// An entry of the ingest stream for a channel of an app. The values are the texts of JSON values.
#[derive(Debug, Clone, Copy)]
pub struct AppEntry<'a> {
    pub app: &'a str,
    pub channel: Option<&'a str>,
    pub event: Option<&'a str>,
    pub data: Option<&'a str>,
    pub socket_id: Option<&'a str>,
    pub traceparent: Option<&'a str>,
}

/// Why an entry of the ingest stream cannot be delivered, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidEntry(pub &'static str);

/// There are no apps.
#[derive(Debug, Clone, Copy)]
pub struct NoApps;

impl AppMessages for NoApps {
    fn topics(&self) -> Vec<ChannelPattern> {
        Vec::new()
    }

    fn has_topic(&self, _: &str) -> bool {
        false
    }

    fn read_topic(&self, _: &str, _: &[u8]) -> Option<Publication> {
        None
    }

    fn read_entry(&self, _: &AppEntry<'_>) -> Result<Publication, InvalidEntry> {
        Err(InvalidEntry("unknown_app"))
    }
}
