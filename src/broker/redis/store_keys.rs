use crate::broker::envelope::NodeId;
use crate::message::ChannelName;

/// The names of the keys that hold histories. All expire.
#[derive(Debug)]
pub(super) struct StoreKeys {
    /// The prefix of all keys.
    base: String,
}

impl StoreKeys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { base: format!("{prefix}yamabiko:") }
    }

    /// What the ACL of Redis has to permit.
    pub(super) fn pattern(&self) -> String {
        format!("{}*", self.base)
    }

    /// The identity of the store and its last number.
    pub(super) fn store(&self) -> String {
        format!("{}store", self.base)
    }

    /// The outcome of the last batch that a node has sent.
    pub(super) fn batch(&self, node: &NodeId) -> String {
        format!("{}batch:{}", self.base, node.as_str())
    }

    /// Remembers a publication by its idempotency key.
    pub(super) fn idempotency(&self, key: &str) -> String {
        format!("{}key:{key}", self.base)
    }

    /// The epoch of a channel and its last message.
    pub(super) fn head(&self, channel: &ChannelName) -> String {
        self.of_channel("head", channel)
    }

    /// The stream with the messages of a channel.
    pub(super) fn messages(&self, channel: &ChannelName) -> String {
        self.of_channel("history", channel)
    }

    /// The stream to which applications add messages.
    pub(super) fn ingest(&self) -> String {
        format!("{}in", self.base)
    }

    /// The entries of that stream that could not be read.
    pub(super) fn dead_letters(&self) -> String {
        format!("{}in:dead", self.base)
    }

    /// The stream from which the application reads events.
    pub(super) fn events(&self) -> String {
        format!("{}events", self.base)
    }

    /// The events that a webhook has still to receive, and the state of that.
    pub(super) fn webhook(&self, name: &str) -> [String; 2] {
        let stream = format!("{}webhooks:{name}", self.base);
        let state = format!("{stream}:state");
        [stream, state]
    }

    /// Keys for a moment, by which a node learns what Redis permits.
    pub(super) fn probe(&self, node: &NodeId, kind: &str) -> String {
        format!("{}{kind}:probe:{}", self.base, node.as_str())
    }

    /// Names of channels of apps contain no slash, so that no two channels share a key.
    fn of_channel(&self, kind: &str, channel: &ChannelName) -> String {
        let (app, name) =
            channel.as_str().split_once(ChannelName::SCOPE_END).unwrap_or(("", channel.as_str()));
        format!("{}{kind}:{app}/{name}", self.base)
    }
}
