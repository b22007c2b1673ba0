use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{
    EncodeLabel as _, EncodeLabelSet, EncodeLabelValue, LabelSetEncoder, LabelValueEncoder,
};

/// The `reason` label. Always one of a fixed set of words, never text from the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    reason: Word,
}

impl Reason {
    #[must_use]
    pub const fn new(word: &'static str) -> Self {
        Self { reason: Word(word) }
    }
}

/// The labels of a call to the HTTP API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ApiCall {
    endpoint: Word,
    outcome: Word,
}

impl ApiCall {
    #[must_use]
    pub const fn new(endpoint: &'static str, outcome: &'static str) -> Self {
        Self { endpoint: Word(endpoint), outcome: Word(outcome) }
    }
}

/// The labels of a request to `/api/v1`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ApiRequest {
    route: String,
    key: String,
    outcome: Word,
}

impl ApiRequest {
    /// The route with its parameters' names, and the name of a key in the settings: neither must come from the network.
    #[must_use]
    pub fn new(route: &str, key: &str, outcome: &'static str) -> Self {
        Self { route: route.to_owned(), key: key.to_owned(), outcome: Word(outcome) }
    }
}

/// The `kind` label: a kind of channel from the settings.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KindLabel {
    kind: String,
}

impl KindLabel {
    /// Each name makes a time series, so it must not come from the network.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { kind: name.to_owned() }
    }
}

/// The channels that a message is for: the label is `kind` on native channels, and `app` on those of the Pusher protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ChannelGroup {
    Kind(Arc<str>),
    App(Arc<str>),
}

impl ChannelGroup {
    /// The kind as the settings name it. Each name makes a time series, so it must not come from the network.
    #[must_use]
    pub fn of_kind(kind: &str) -> Self {
        Self::Kind(kind.into())
    }

    /// An app of the settings.
    #[must_use]
    pub fn of_app(app: &Arc<str>) -> Self {
        Self::App(app.clone())
    }
}

impl EncodeLabelSet for ChannelGroup {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let (name, value) = match self {
            Self::Kind(kind) => ("kind", kind),
            Self::App(app) => ("app", app),
        };
        (name, &**value).encode(encoder.encode_label())
    }
}

/// The `protocol` label of a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Protocol {
    protocol: Word,
}

impl Protocol {
    #[must_use]
    pub const fn new(word: &'static str) -> Self {
        Self { protocol: Word(word) }
    }
}

/// The `endpoint` label of a call to the HTTP API of the Pusher protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Endpoint {
    endpoint: Word,
}

impl Endpoint {
    #[must_use]
    pub const fn new(word: &'static str) -> Self {
        Self { endpoint: Word(word) }
    }
}

/// The `route` label of a request to `/api/v1`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Route {
    route: String,
}

impl Route {
    /// The route with its parameters' names: it must not come from the network.
    #[must_use]
    pub fn new(route: &str) -> Self {
        Self { route: route.to_owned() }
    }
}

/// The labels of a webhook request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WebhookCall {
    queue: WebhookQueueLabel,
    outcome: Word,
}

impl WebhookCall {
    /// `None`: a webhook about native channels.
    #[must_use]
    pub fn new(app: Option<&str>, outcome: &'static str) -> Self {
        Self { queue: WebhookQueueLabel::new(app), outcome: Word(outcome) }
    }
}

impl EncodeLabelSet for WebhookCall {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.queue.encode(encoder)?;
        ("outcome", self.outcome.0).encode(encoder.encode_label())
    }
}

/// The `app` label of a webhook. One about native channels has none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WebhookQueueLabel {
    app: Option<Arc<str>>,
}

impl WebhookQueueLabel {
    #[must_use]
    pub fn new(app: Option<&str>) -> Self {
        Self { app: app.map(Into::into) }
    }
}

impl EncodeLabelSet for WebhookQueueLabel {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        match &self.app {
            Some(app) => ("app", &**app).encode(encoder.encode_label()),
            None => Ok(()),
        }
    }
}

/// The labels of a webhook: its app, and its place in the settings of the app. One about native channels has no app.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WebhookLabel {
    queue: WebhookQueueLabel,
    index: usize,
}

impl WebhookLabel {
    /// `index` is counted from 0, as in the problems of settings.
    #[must_use]
    pub fn new(app: Option<&str>, index: usize) -> Self {
        Self { queue: WebhookQueueLabel::new(app), index }
    }
}

impl EncodeLabelSet for WebhookLabel {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.queue.encode(encoder)?;
        ("webhook", self.index.to_string().as_str()).encode(encoder.encode_label())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Word(&'static str);

impl EncodeLabelValue for Word {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.0, encoder)
    }
}
