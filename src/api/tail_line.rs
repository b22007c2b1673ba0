//! The live tail as lines, and which of them are wanted.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::listing::Entry;
use crate::message::{ChannelPattern, NodeName};
use crate::telemetry::{TailEvent, TailKind};

/// One line of the tail. What does not apply is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub(super) struct TailLine {
    /// `connected`, `disconnected`, `subscribed`, `unsubscribed`, `published`, `refused`, `throttled` or `dropped`; `skipped`:
    /// `count` events were too fast for this reader; `nodes`: which nodes are followed, in `nodes` and `missing`; `ended`: nothing
    /// follows, for the `reason`.
    #[serde(rename = "type")]
    #[schema(example = "disconnected")]
    pub(super) kind: String,
    /// Milliseconds since the Unix epoch.
    pub(super) at: u64,
    /// The name of the node.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) node: String,
    /// `native` or `pusher`. It is missing if the node does not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "native")]
    pub(super) protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) app: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "chat:room1")]
    pub(super) channel: Option<String>,
    /// The ID of the user as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "7")]
    pub(super) user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "1234.5678")]
    pub(super) connection: Option<String>,
    /// The address of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "heartbeat_timeout")]
    pub(super) reason: Option<String>,
    /// The close code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 1006)]
    pub(super) code: Option<u16>,
    /// The event of an app.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) event: Option<String>,
    /// The length of the message's data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<usize>,
    /// The first 1024 bytes of the message's data, for a key with the scope `tail`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub(super) nodes: Option<Vec<NodeName>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub(super) missing: Option<Vec<NodeName>>,
}

/// Which events are wanted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct TailFilter {
    /// Empty: all.
    pub(super) kinds: Vec<TailKind>,
    /// An app, or for an empty text what is native.
    pub(super) app: Option<String>,
    /// A name, or the start of a name with a `*` behind it.
    pub(super) channel: Option<String>,
    pub(super) user: Option<String>,
}

impl Entry for TailLine {
    /// An event has happened once.
    fn merge(&mut self, _: Self) {}
}

impl TailFilter {
    pub(super) fn wants(&self, kind: TailKind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }

    /// The same without what all nodes see.
    pub(super) fn for_other_nodes(&self) -> Option<Self> {
        let mut kinds = self.kinds.clone();
        if kinds.is_empty() {
            kinds = ALL.to_vec();
        }
        kinds.retain(|kind| *kind != TailKind::Published);
        (!kinds.is_empty()).then(|| Self { kinds, ..self.clone() })
    }

    /// Whether a line of a wanted kind is about what is asked for.
    pub(super) fn matches(&self, line: &TailLine) -> bool {
        let is_app = self.app.as_deref().is_none_or(|app| match app {
            "" => line.app.is_none() && line.protocol.as_deref() != Some("pusher"),
            app => line.app.as_deref() == Some(app),
        });
        let is_channel = self.channel.as_deref().is_none_or(|pattern| {
            line.channel.as_deref().is_some_and(|channel| ChannelPattern::new(pattern).matches(channel))
        });
        is_app && is_channel && (self.user.is_none() || self.user == line.user)
    }
}

/// Every kind, by its name.
pub(super) const ALL: [TailKind; 8] = [
    TailKind::Connected,
    TailKind::Disconnected,
    TailKind::Subscribed,
    TailKind::Unsubscribed,
    TailKind::Published,
    TailKind::Refused,
    TailKind::Throttled,
    TailKind::Dropped,
];

pub(super) const fn name(kind: TailKind) -> &'static str {
    match kind {
        TailKind::Connected => "connected",
        TailKind::Disconnected => "disconnected",
        TailKind::Subscribed => "subscribed",
        TailKind::Unsubscribed => "unsubscribed",
        TailKind::Published => "published",
        TailKind::Refused => "refused",
        TailKind::Throttled => "throttled",
        TailKind::Dropped => "dropped",
    }
}

impl TailLine {
    /// The line of an event. `connection` is the name of its connection in the cluster.
    pub(super) fn new(
        event: &TailEvent,
        node: &NodeName,
        connection: Option<String>,
        with_data: bool,
    ) -> Self {
        let text = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        let data = event.data.as_ref();
        Self {
            kind: name(event.kind).to_owned(),
            at: event.at,
            node: node.to_string(),
            protocol: Some(event.protocol.to_owned()).filter(|protocol| !protocol.is_empty()),
            app: event.app.as_deref().map(str::to_owned),
            channel: text(&event.channel),
            user: text(&event.user),
            connection,
            address: event.address.map(|address| address.to_string()),
            reason: event.reason.as_deref().map(str::to_owned),
            code: event.code,
            event: text(&event.event),
            bytes: data.map(|(bytes, _)| *bytes),
            data: data.filter(|_| with_data).map(|(_, start)| String::from_utf8_lossy(start).into_owned()),
            ..Self::default()
        }
    }

    /// This many events were skipped on a node.
    pub(super) fn skipped(node: &NodeName, count: u64) -> Self {
        Self { kind: "skipped".to_owned(), node: node.to_string(), count: Some(count), ..Self::default() }
    }

    pub(super) fn ended(reason: &str) -> Self {
        Self { kind: "ended".to_owned(), reason: Some(reason.to_owned()), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(app: Option<&str>, channel: Option<&str>, user: Option<&str>) -> TailFilter {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        TailFilter { kinds: Vec::new(), app: owned(app), channel: owned(channel), user: owned(user) }
    }

    fn line(app: Option<&str>, channel: &str, user: &str) -> TailLine {
        TailLine {
            protocol: Some(if app.is_some() { "pusher" } else { "native" }.to_owned()),
            app: app.map(str::to_owned),
            channel: Some(channel.to_owned()),
            user: Some(user.to_owned()),
            ..TailLine::default()
        }
    }

    #[test]
    fn a_filter_is_for_an_app_a_channel_and_a_user() {
        let native = line(None, "chat:room1", "7");
        let app = line(Some("1"), "private-orders", "8");
        for (filter, wants) in [
            (filter(None, None, None), [true, true]),
            (filter(Some(""), None, None), [true, false]),
            (filter(Some("1"), None, None), [false, true]),
            (filter(Some("2"), None, None), [false, false]),
            (filter(None, Some("chat:*"), None), [true, false]),
            (filter(None, Some("chat:room"), None), [false, false]),
            (filter(None, Some("chat:room1"), Some("7")), [true, false]),
            (filter(None, None, Some("8")), [false, true]),
        ] {
            assert_eq!([&native, &app].map(|line| filter.matches(line)), wants, "{filter:?}");
        }
        // What has no channel or user is about none.
        assert!(filter(None, None, None).matches(&TailLine::default()));
        assert!(!filter(None, Some("*"), None).matches(&TailLine::default()));
        assert!(!filter(None, None, Some("7")).matches(&TailLine::default()));
    }

    #[test]
    fn other_nodes_are_not_asked_for_what_every_node_sees() {
        let only = |kinds: &[TailKind]| TailFilter { kinds: kinds.to_vec(), ..TailFilter::default() };
        assert!(only(&[TailKind::Published]).for_other_nodes().is_none());
        let others = only(&[]).for_other_nodes().unwrap();
        assert!(!others.wants(TailKind::Published) && others.wants(TailKind::Dropped));
        assert!(
            !only(&[TailKind::Published, TailKind::Refused])
                .for_other_nodes()
                .unwrap()
                .wants(TailKind::Connected)
        );
    }

    #[test]
    fn the_names_of_kinds_are_those_that_nodes_exchange() {
        for kind in ALL {
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{}\"", name(kind)));
        }
    }
}
