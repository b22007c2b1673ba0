//! One suite for every broker, and the failures of a real Redis.

mod access;
mod backpressure;
mod contract;
mod failures;
mod nodes;
mod topics;
mod webhook_lanes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use yamabiko::broker::{
    Broker, Inbound, PublishError, Receipt, Settings, Status, SubscribeOutcome, SubscriptionId,
};
use yamabiko::message::{ChannelName, Dispatch, Event, Sender};
use yamabiko::telemetry::{Metrics, Reason};

use crate::support::redis::RedisServer;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The deadline of a message, where a test is about outages.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(2);

const PREFIX: &str = "test-database-";

const TOPIC: &str = "test-database-broadcast";

const SIGNALS: &str = "test-database-yamabiko";

struct Node {
    broker: Arc<Broker>,
    inbound: mpsc::UnboundedReceiver<Inbound>,
    metrics: Arc<Metrics>,
    /// The Redis of the conformance suite, kept as long as the node.
    server_of_its_own: Option<RedisServer>,
}

impl Node {
    fn start(url: &str, queue_bytes: usize, publish_timeout: Duration) -> Self {
        let settings = Settings { url: url.into(), prefix: PREFIX.into(), publish_timeout };
        let metrics = Arc::new(Metrics::new());
        let system = Sender { name: "System".into(), id: 0.into() };
        let (broker, inbound) =
            Broker::start(&settings, system, queue_bytes, Arc::default(), metrics.clone())
                .expect("a usable URL");
        Self { broker: Arc::new(broker), inbound, metrics, server_of_its_own: None }
    }

    fn memory(queue_bytes: usize) -> Self {
        Self::start("", queue_bytes, PUBLISH_TIMEOUT)
    }

    async fn redis(queue_bytes: usize) -> Self {
        let server = RedisServer::start();
        // A busy machine is no outage.
        let mut node = Self::start(&server.url(), queue_bytes, PATIENCE);
        node.ready().await;
        node.server_of_its_own = Some(server);
        node
    }

    async fn on(server: &RedisServer) -> Self {
        let node = Self::start(&server.url(), 64 << 20, PUBLISH_TIMEOUT);
        node.ready().await;
        node
    }

    async fn ready(&self) {
        wait_for("the broker to be ready", || self.broker.status() == Status::Ready).await;
    }

    async fn publish(&self, dispatch: impl Into<Dispatch>) -> Result<(), PublishError> {
        let (sender, receiver) = oneshot::channel();
        self.broker.publish(dispatch, Box::new(move |outcome| sender.send(outcome).unwrap_or(())));
        timeout(PATIENCE, receiver).await.expect("a receipt in time").expect("a receipt").map(drop)
    }

    /// Publishes as soon as it is accepted: an outage that just began may not be noticed yet.
    async fn publish_when_up(&self, event: Event) {
        let trying = async {
            while self.publish(event.clone()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, trying).await.expect("an accepted event in time");
    }

    async fn next(&mut self) -> Event {
        event_of(self.next_dispatch().await)
    }

    async fn next_dispatch(&mut self) -> Dispatch {
        loop {
            if let Inbound::Dispatch { dispatch, .. } = self.next_inbound().await {
                return dispatch;
            }
        }
    }

    async fn next_inbound(&mut self) -> Inbound {
        loop {
            let inbound = timeout(PATIENCE, self.inbound.recv()).await.expect("something in time");
            let inbound = inbound.expect("an open stream");
            if !matches!(inbound, Inbound::Resumed) {
                return inbound;
            }
        }
    }

    /// Subscribes to a topic and waits for the confirmation, which must be the next thing to arrive.
    async fn subscribe_and_confirm(&mut self, topic: &str) {
        match self.broker.subscribe(topic) {
            SubscribeOutcome::Active => {}
            SubscribeOutcome::Pending(pending) => {
                let inbound = self.next_inbound().await;
                assert!(
                    matches!(&inbound, Inbound::Subscribed(confirmed) if *confirmed == pending),
                    "{inbound:?}"
                );
            }
            other => panic!("{topic} is new and not reserved: {other:?}"),
        }
    }

    /// Listens, without waiting.
    fn subscribe(&self, topic: &str) -> Option<SubscriptionId> {
        subscribe(&self.broker, topic)
    }

    /// Waits until Redis knows that exactly these topics are listened to; in memory it is so at once.
    async fn settle(&self, topics: &[&str]) {
        let Some(server) = &self.server_of_its_own else { return };
        settle(server, topics).await;
    }

    async fn topic(&mut self) -> (String, String) {
        match self.next_dispatch().await {
            Dispatch::Topic { topic, payload } => text(&topic, std::str::from_utf8(&payload).unwrap()),
            other => panic!("a topic was due: {other:?}"),
        }
    }

    fn dropped(&self, reason: &'static str) -> u64 {
        self.metrics.broker_dropped.get_or_create(&Reason::new(reason)).get()
    }
}

fn subscribe(broker: &Broker, topic: &str) -> Option<SubscriptionId> {
    match broker.subscribe(topic) {
        SubscribeOutcome::Active => None,
        SubscribeOutcome::Pending(listening) => Some(listening),
        other => panic!("{topic} is new and not reserved: {other:?}"),
    }
}

async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

fn event(channel: &str, number: usize) -> Event {
    let sender = Sender { name: "Aoi".into(), id: 7.into() };
    let data = Bytes::from(format!(r#"{{"n":{number}}}"#));
    Event::new(ChannelName::new(channel).unwrap(), sender, data)
}

fn number(event: &Event) -> usize {
    numbered(&event.data)
}

fn text(topic: &str, payload: &str) -> (String, String) {
    (topic.to_owned(), payload.to_owned())
}

fn topic(topic: &str, payload: &str) -> Dispatch {
    Dispatch::Topic { topic: topic.into(), payload: payload.to_owned().into() }
}

fn signal(number: usize) -> Dispatch {
    Dispatch::Signal(format!(r#"{{"n":{number}}}"#).into())
}

fn numbered(body: &[u8]) -> usize {
    serde_json::from_slice::<HashMap<String, usize>>(body).unwrap()["n"]
}

fn signal_of(dispatch: Dispatch) -> Bytes {
    match dispatch {
        Dispatch::Signal(body) => body,
        other => panic!("a signal was due: {other:?}"),
    }
}

/// Waits until a Redis has exactly these topics beside the nodes' own.
async fn settle(server: &RedisServer, topics: &[&str]) {
    let mut client = server.client().await;
    let mut wanted: Vec<String> = topics.iter().map(|topic| format!("{PREFIX}{topic}")).collect();
    wanted.extend([TOPIC.to_owned(), SIGNALS.to_owned()]);
    wanted.sort();
    let settled = async {
        loop {
            let mut there: Vec<String> =
                redis::cmd("PUBSUB").arg("CHANNELS").query_async(&mut client).await.unwrap();
            there.sort();
            if there == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, settled).await.expect("the topics in time");
}

fn event_of(dispatch: Dispatch) -> Event {
    match dispatch {
        Dispatch::Event(event) => event,
        other => panic!("an event was due: {other:?}"),
    }
}

fn ignore() -> Receipt {
    Box::new(|_| ())
}
