use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Word(&'static str);

impl EncodeLabelValue for Word {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.0, encoder)
    }
}
