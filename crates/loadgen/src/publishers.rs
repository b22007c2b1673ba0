use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::mpsc::UnboundedSender;

use super::connection::Command;
use super::connector::Connector;
use super::http_api::HttpApi;
use super::outcome::{Outcome, Role};
use super::publisher::Publisher;
use super::redis_publisher::RedisPublisher;
use super::run::Run;
use super::stamp::Stamp;

/// Publish-only connections that are opened at a time.
const CONCURRENT_HANDSHAKES: usize = 64;

/// The ways to publish.
pub(super) enum Publishers {
    /// Some of the subscribers: the server echoes their messages to them.
    Subscribers,
    /// Publish-only connections: the server does not echo, and all subscribers must receive the same copies.
    Connections(PublisherConnections),
    /// One publisher on Redis, as Laravel does.
    Redis(RedisPublisher),
    /// Calls of the HTTP API, as Laravel does.
    Http(HttpApi),
}

/// Publish-only connections, by channel and number.
#[derive(Default)]
pub(super) struct PublisherConnections {
    handles: BTreeMap<(usize, u16), UnboundedSender<Command>>,
    /// Failed handshakes by reason.
    pub(super) refused: BTreeMap<String, u64>,
}

/// What a publisher that is not a connection has sent on a channel.
#[derive(Debug, Clone)]
pub(super) struct PublishLog {
    pub(super) channel: usize,
    pub(super) publisher: u16,
    pub(super) sent: u32,
    pub(super) accepted: u64,
}

impl Publishers {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Subscribers | Self::Connections(_) => "websocket",
            Self::Redis(_) => "redis",
            Self::Http(_) => "http",
        }
    }

    /// Whether every message is acknowledged, even if the protocol of the connections has no acknowledgements.
    pub(super) fn acknowledges(&self) -> bool {
        matches!(self, Self::Redis(_) | Self::Http(_))
    }

    /// The publish-only connections.
    pub(super) fn connections(&self) -> impl Iterator<Item = &UnboundedSender<Command>> {
        let connections = if let Self::Connections(connections) = self { Some(connections) } else { None };
        connections.into_iter().flat_map(|connections| connections.handles.values())
    }

    /// The publisher with this number on a channel, unless subscribers publish.
    pub(super) fn get(&self, channel: usize, number: u16) -> Option<Publisher> {
        match self {
            Self::Subscribers => None,
            Self::Connections(connections) => {
                connections.handles.get(&(channel, number)).cloned().map(Publisher::Connection)
            }
            // A single connection to Redis publishes on all channels.
            Self::Redis(redis) => (number == 0).then(|| Publisher::Redis(redis.inbox.clone())),
            Self::Http(api) => api.publisher(channel, number),
        }
    }

    /// Waits until everything is published. The caller must have dropped all [`Publisher`]s.
    pub(super) async fn finish(self) -> anyhow::Result<Vec<PublishLog>> {
        match self {
            Self::Subscribers | Self::Connections(_) => Ok(Vec::new()),
            Self::Redis(redis) => redis.finish(),
            Self::Http(api) => api.finish().await,
        }
    }
}

impl PublisherConnections {
    /// Opens `per_channel` connections on each channel. In a closed loop each replaces its refused messages.
    pub(super) async fn open(
        &mut self,
        connector: &Connector,
        per_channel: u16,
        closed_loop: bool,
        outcomes: &UnboundedSender<Outcome>,
    ) {
        let channels = connector.work.channels.len();
        // The number of a connection decides its channel; these numbers follow those of the subscribers.
        let first = connector.work.connections.next_multiple_of(channels.max(1));
        let places = (0..per_channel).flat_map(|number| (0..channels).map(move |channel| (channel, number)));
        let opening = stream::iter(places).map(|(channel, number)| async move {
            let connection = first + usize::from(number) * channels + channel;
            ((channel, number), connector.connect(connection, Role::PublishOnly, outcomes.clone()).await)
        });
        let mut opening = std::pin::pin!(opening.buffer_unordered(CONCURRENT_HANDSHAKES));
        while let Some(((channel, number), connected)) = opening.next().await {
            match connected {
                Ok(connected) => {
                    let _ = connected.handle.send(Command::Publish { publisher: number, closed_loop });
                    self.handles.insert((channel, number), connected.handle);
                }
                Err(reason) => *self.refused.entry(format!("{reason} (a publisher)")).or_default() += 1,
            }
        }
    }
}

impl PublishLog {
    pub(super) fn new(channel: usize, publisher: u16) -> Self {
        Self { channel, publisher, sent: 0, accepted: 0 }
    }

    /// Counts the next message, which was due at `due`, and returns its stamp.
    pub(super) fn next(&mut self, run: &Run, due: u64) -> Stamp {
        let stamp = Stamp {
            run: run.id,
            channel: u32::try_from(self.channel).unwrap_or(u32::MAX),
            publisher: self.publisher,
            sequence: self.sent,
            due,
        };
        self.sent += 1;
        run.record_sent(self.channel, self.channel, due, run.now());
        stamp
    }

    /// Counts an acknowledgement.
    pub(super) fn accept(&mut self, run: &Run) {
        self.accepted += 1;
        run.counters.accepted.fetch_add(1, Relaxed);
    }
}
