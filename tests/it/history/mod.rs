//! Channels with a history: what a broker numbers and stores, and what nodes and clients recover.

mod different_settings;
mod faults;
mod ingest_stream;
mod laravel_messages;
mod lost_tail;
mod store;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;
use yamabiko::broker::{
    Broker, Inbound, PublishError, ReadAfter, Settings, Status, StoreRead, StoredHistory,
};
use yamabiko::message::{
    ChannelName, ChannelPattern, Dispatch, Event, Position, Publication, Retained, Retention, RetentionRules,
    RetentionTable, Sender, Stored,
};
use yamabiko::telemetry::Metrics;

use crate::support::redis::RedisServer;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

const PREFIX: &str = "test-";

/// Keeps this many messages of channels `chat:*` and of those of the app `a` that begin with `kept`.
const MESSAGES: u32 = 10;

/// A broker, and its inbound stream.
struct Node {
    broker: Arc<Broker>,
    inbound: mpsc::UnboundedReceiver<Inbound>,
    rules: Arc<RetentionRules>,
    /// The Redis of the conformance suite, kept as long as the node.
    server: Option<RedisServer>,
}

fn rules(retention: Retention) -> RetentionTable {
    RetentionTable {
        kinds: HashMap::from([("chat".to_owned(), Some(retention))]),
        apps: HashMap::from([("a".into(), vec![(ChannelPattern::new("kept*"), retention)])]),
        ..RetentionTable::default()
    }
}

impl Node {
    fn start(url: &str, age: Duration) -> Self {
        // A busy machine is no outage.
        Self::start_with(url, Retention { messages: MESSAGES, age }, PATIENCE)
    }

    fn start_with(url: &str, retention: Retention, publish_timeout: Duration) -> Self {
        Self::start_with_rules(url, rules(retention), publish_timeout)
    }

    fn start_with_rules(url: &str, rules: RetentionTable, publish_timeout: Duration) -> Self {
        let settings = Settings { url: url.into(), prefix: PREFIX.into(), publish_timeout };
        let rules = Arc::new(RetentionRules::new(rules));
        let system = Sender { name: "System".into(), id: 0.into() };
        let (broker, inbound) =
            Broker::start(&settings, system, 64 << 20, rules.clone(), Arc::new(Metrics::new()))
                .expect("a usable URL");
        Self { broker: Arc::new(broker), inbound, rules, server: None }
    }

    async fn on(server: &RedisServer, age: Duration) -> Self {
        let node = Self::start(&server.url(), age);
        node.ready().await;
        node
    }

    async fn ready(&self) {
        let waiting = async {
            while self.broker.status() != Status::Ready {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, waiting).await.expect("a broker that is ready in time");
    }

    async fn publish(&self, publication: impl Into<Publication>) -> Result<Option<Position>, PublishError> {
        timeout(PATIENCE, self.broker.publish_and_wait(publication.into())).await.expect("a receipt in time")
    }

    /// Publishes an event and returns its position.
    async fn store(&self, channel: &str, number: usize) -> Position {
        self.publish(event(channel, number)).await.expect("a receipt").expect("a position")
    }

    /// The next dispatch, and where it was stored.
    async fn next(&mut self) -> (Dispatch, Option<Box<Stored>>) {
        loop {
            let inbound = timeout(PATIENCE, self.inbound.recv()).await.expect("something in time");
            if let Inbound::Dispatch { dispatch, stored, .. } = inbound.expect("an open stream") {
                return (dispatch, stored);
            }
        }
    }

    async fn read(&self, channel: &ChannelName, after: ReadAfter) -> StoredHistory {
        let reads = [StoreRead { channel: channel.clone(), after }];
        let mut histories = self.broker.read_histories(&reads).await.expect("a history");
        histories.pop().expect("one history")
    }

    /// A signal for these channels of the app `a`.
    fn signal(&self, number: usize, channels: &[&str]) -> Publication {
        let channels = (0..).zip(channels.iter().map(|name| ChannelName::scoped("a", name)));
        let retained = channels.filter_map(|(index, channel)| {
            let retention = self.rules.of(&channel)?;
            Some(Retained { index, channel, retention })
        });
        let dispatch = Dispatch::Signal(format!(r#"{{"n":{number}}}"#).into());
        Publication { retained: retained.collect(), ..Publication::from(dispatch) }
    }
}

fn name(text: &str) -> ChannelName {
    ChannelName::new(text).unwrap()
}

fn event(channel: &str, number: usize) -> Event {
    let sender = Sender { name: "Aoi".into(), id: 7.into() };
    Event::new(name(channel), sender, Bytes::from(format!(r#"{{"n":{number}}}"#)))
}

fn numbered(dispatch: &Dispatch) -> usize {
    let body = match dispatch {
        Dispatch::Event(event) => &event.data,
        Dispatch::Signal(body) => body,
        Dispatch::Topic { payload, .. } => payload,
    };
    serde_json::from_slice::<HashMap<String, usize>>(body).unwrap()["n"]
}

fn keyed(publication: impl Into<Publication>, key: &str) -> Publication {
    Publication { idempotency_key: Some(key.into()), ..publication.into() }
}
