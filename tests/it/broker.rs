//! One suite for every broker, and what can go wrong with a real Redis.
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::proxy::{Proxy, Traffic};
use crate::support::redis::{RedisServer, free_port};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use yamabiko::broker::{
    Broker, Inbound, PublishError, Receipt, SUBSCRIBE_TIMEOUT, Settings, Status, SubscribeOutcome,
    SubscriptionId,
};
use yamabiko::message::{ChannelName, Dispatch, Event, Sender};
use yamabiko::telemetry::{Metrics, Reason};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(2);
const PREFIX: &str = "test-database-";
const TOPIC: &str = "test-database-broadcast";
const SIGNALS: &str = "test-database-yamabiko";

struct Node {
    broker: Arc<Broker>,
    inbound: mpsc::UnboundedReceiver<Inbound>,
    metrics: Arc<Metrics>,
    /// Of the conformance suite, kept for as long as the node.
    server_of_its_own: Option<RedisServer>,
}

impl Node {
    fn start(url: &str, queue_bytes: usize, publish_timeout: Duration) -> Self {
        let settings = Settings { url: url.into(), prefix: PREFIX.into(), publish_timeout };
        let metrics = Arc::new(Metrics::new());
        let system = Sender { name: "System".into(), id: 0.into() };
        let (broker, inbound) =
            Broker::start(&settings, system, queue_bytes, metrics.clone()).expect("a usable URL");
        Self { broker: Arc::new(broker), inbound, metrics, server_of_its_own: None }
    }

    fn memory(queue_bytes: usize) -> Self {
        Self::start("", queue_bytes, PUBLISH_TIMEOUT)
    }

    async fn redis(queue_bytes: usize) -> Self {
        let server = RedisServer::start();
        let mut node = Self::start(&server.url(), queue_bytes, PUBLISH_TIMEOUT);
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
        timeout(PATIENCE, receiver).await.expect("a receipt in time").expect("a receipt")
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

    /// Listens, and waits until it is so. Nothing else may come before.
    async fn hear(&mut self, topic: &str) {
        match self.broker.subscribe(topic) {
            SubscribeOutcome::Active => {}
            SubscribeOutcome::Pending(awaited) => {
                let inbound = self.next_inbound().await;
                assert!(
                    matches!(&inbound, Inbound::Subscribed(listening) if *listening == awaited),
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
    Event { channel: ChannelName::new(channel).unwrap(), sender, data }
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

macro_rules! conformance {
    ($($name:ident),* $(,)?) => {
        mod in_memory { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name(super::Node::memory(64 << 20)).await; }
        )* }
        mod over_redis { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name(super::Node::redis(64 << 20).await).await; }
        )* }
    };
}

conformance! {
    an_event_arrives_as_it_was,
    the_order_is_the_order_of_acceptance,
    the_receipt_precedes_the_copy,
    of_many_at_once_each_arrives_once,
    a_receipt_may_publish,
    large_events_pass,
    shutdown_lets_out_what_was_accepted,
    a_signal_arrives_as_it_was,
    events_and_signals_have_one_order,
    a_signals_receipt_precedes_its_copy,
    a_topic_is_heard_while_it_is_listened_to,
    what_is_published_after_the_confirmation_arrives,
    all_topics_that_begin_so_are_heard,
    what_arrives_on_a_topic_is_as_it_was,
    the_nodes_own_topics_cannot_be_listened_to,
    topics_come_and_go_by_the_thousand,
}

async fn an_event_arrives_as_it_was(mut node: Node) {
    for data in [
        "{}",
        r#"{"z":1,"a":2,"m":{"z":null,"a":[null,{}]}}"#,
        r#"{"big":123456789012345678901234567890,"f":1.0,"e":1E+2,"neg":-0}"#,
        r#"{ "text" : "山びこ \u5c71 \ud83d\ude00 😀 \/ \\ \" \u0000" }"#,
        "{\n\t\"lines\":\r\n \"of text\" }",
    ] {
        let sent = Event {
            channel: ChannelName::new("chat:ルーム \"1\", a\\b").unwrap(),
            sender: Sender { name: "あおい \"A\" \u{2028}".into(), id: i64::MIN.into() },
            data: Bytes::from_static(data.as_bytes()),
        };
        assert_eq!(node.publish(sent.clone()).await, Ok(()));
        let arrived = node.next().await;
        assert_eq!((arrived.channel, arrived.sender), (sent.channel, sent.sender));
        assert_eq!(std::str::from_utf8(&arrived.data).unwrap(), data);
    }
}

async fn the_order_is_the_order_of_acceptance(mut node: Node) {
    let channels = ["chat:", "chat:a", "tweet:"];
    for number in 0..3000 {
        node.broker.publish(event(channels[number % 3], number), ignore());
    }
    for expected in 0..3000 {
        let arrived = node.next().await;
        assert_eq!((number(&arrived), arrived.channel.as_str()), (expected, channels[expected % 3]));
    }
}

async fn the_receipt_precedes_the_copy(mut node: Node) {
    let told: Arc<Vec<AtomicUsize>> = Arc::new((0..2000).map(|_| AtomicUsize::new(0)).collect());
    let publishers: Vec<_> = (0..4)
        .map(|publisher| {
            let (told, broker) = (told.clone(), node.broker.clone());
            tokio::spawn(async move {
                for number in publisher * 500..(publisher + 1) * 500 {
                    let told = told.clone();
                    let receipt = Box::new(move |outcome| {
                        assert_eq!(outcome, Ok(()));
                        // A copy that does not wait for its receipt would be seen.
                        if number % 50 == 0 {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                        told[number].fetch_add(1, Ordering::SeqCst);
                    });
                    broker.publish(event("chat:", number), receipt);
                    if number % 7 == 0 {
                        tokio::task::yield_now().await;
                    }
                }
            })
        })
        .collect();
    for _ in 0..2000 {
        let number = number(&node.next().await);
        assert_eq!(told[number].load(Ordering::SeqCst), 1, "{number} came before its receipt");
    }
    for publisher in publishers {
        publisher.await.unwrap();
    }
}

async fn of_many_at_once_each_arrives_once(mut node: Node) {
    let receipts = Arc::new(AtomicUsize::new(0));
    for publisher in 0..8 {
        let (broker, receipts) = (node.broker.clone(), receipts.clone());
        std::thread::spawn(move || {
            for number in 0..250 {
                let receipts = receipts.clone();
                let receipt = Box::new(move |outcome| {
                    assert_eq!(outcome, Ok(()));
                    receipts.fetch_add(1, Ordering::SeqCst);
                });
                broker.publish(event(&format!("chat:{publisher}"), number), receipt);
            }
        });
    }
    let mut next = HashMap::new();
    for _ in 0..2000 {
        let arrived = node.next().await;
        let expected = next.entry(arrived.channel.clone()).or_insert(0);
        assert_eq!(number(&arrived), *expected, "on {}", arrived.channel);
        *expected += 1;
    }
    assert_eq!(receipts.load(Ordering::SeqCst), 2000);
    assert!(node.inbound.try_recv().is_err());
}

/// It deadlocks if a receipt is called under a lock.
async fn a_receipt_may_publish(mut node: Node) {
    let broker = node.broker.clone();
    let receipt = Box::new(move |_| broker.publish(event("chat:", 2), ignore()));
    node.broker.publish(event("chat:", 1), receipt);
    assert_eq!((number(&node.next().await), number(&node.next().await)), (1, 2));
}

async fn large_events_pass(mut node: Node) {
    let data = Bytes::from(format!(r#"{{"text":"{}"}}"#, "山".repeat(1 << 20)));
    for _ in 0..3 {
        assert_eq!(node.publish(Event { data: data.clone(), ..event("chat:", 0) }).await, Ok(()));
        assert!(node.next().await.data == data);
    }
}

async fn shutdown_lets_out_what_was_accepted(mut node: Node) {
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    for number in 0..1000 {
        let outcomes = outcomes.clone();
        node.broker
            .publish(event("chat:", number), Box::new(move |outcome| outcomes.lock().unwrap().push(outcome)));
    }
    node.broker.shutdown().await;
    assert_eq!(*outcomes.lock().unwrap(), [Ok(()); 1000]);
    assert_eq!(node.publish(event("chat:", 1000)).await, Err(PublishError::Unreachable));
    assert!(matches!(node.broker.status(), Status::Unavailable(_)));
    for expected in 0..1000 {
        assert_eq!(number(&node.next().await), expected);
    }
    assert!(timeout(PATIENCE, node.inbound.recv()).await.expect("the end of the stream").is_none());
    node.broker.shutdown().await;
}

async fn a_signal_arrives_as_it_was(mut node: Node) {
    for body in [
        r#"{"disconnect":{"user":7}}"#,
        r#"{ "f":1e400, "f":123456789012345678901234567890, "t":"\\ud800 山びこ \\/"}"#,
        "[]",
        "null",
        r#""text""#,
        "-0.0",
    ] {
        assert_eq!(node.publish(Dispatch::Signal(Bytes::from_static(body.as_bytes()))).await, Ok(()));
        assert_eq!(std::str::from_utf8(&signal_of(node.next_dispatch().await)).unwrap(), body);
    }
    let large = Bytes::from(format!(r#"{{"text":"{}"}}"#, "山".repeat(1 << 20)));
    assert_eq!(node.publish(Dispatch::Signal(large.clone())).await, Ok(()));
    assert!(signal_of(node.next_dispatch().await) == large);
    assert_eq!(node.metrics.broker_messages.get(), 7);
}

async fn events_and_signals_have_one_order(mut node: Node) {
    for number in 0..3000 {
        let dispatch = if number % 3 == 0 { signal(number) } else { event("chat:", number).into() };
        node.broker.publish(dispatch, ignore());
    }
    for expected in 0..3000 {
        let arrived = match node.next_dispatch().await {
            Dispatch::Event(event) => number(&event),
            other => numbered(&signal_of(other)),
        };
        assert_eq!(arrived, expected);
    }
}

async fn a_signals_receipt_precedes_its_copy(mut node: Node) {
    let told = Arc::new(AtomicUsize::new(0));
    for number in 0..500 {
        let told = told.clone();
        let receipt = Box::new(move |outcome| {
            assert_eq!(outcome, Ok(()));
            if number % 50 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            told.fetch_add(1, Ordering::SeqCst);
        });
        node.broker.publish(signal(number), receipt);
    }
    for expected in 0..500 {
        assert_eq!(numbered(&signal_of(node.next_dispatch().await)), expected);
        assert!(told.load(Ordering::SeqCst) > expected, "{expected} came before its receipt");
    }
}

async fn a_topic_is_heard_while_it_is_listened_to(mut node: Node) {
    node.hear("orders").await;
    // Twice is once.
    assert_eq!(node.broker.subscribe("orders"), SubscribeOutcome::AlreadySubscribed);
    node.settle(&["orders"]).await;
    assert_eq!(node.publish(topic("orders", "1")).await, Ok(()));
    // Names are exact.
    for other in ["order", "orders2", "Orders", "test-database-orders", "", "*"] {
        assert_eq!(node.publish(topic(other, "not listened to")).await, Ok(()));
    }
    assert_eq!(node.publish(topic("orders", "2")).await, Ok(()));
    assert_eq!((node.topic().await, node.topic().await), (text("orders", "1"), text("orders", "2")));

    node.broker.unsubscribe("orders");
    node.broker.unsubscribe("orders");
    node.broker.unsubscribe("never");
    assert_eq!(node.publish(topic("orders", "3")).await, Ok(()));
    assert_eq!(node.publish(event("chat:", 4)).await, Ok(()));
    assert_eq!(number(&node.next().await), 4);

    node.hear("orders").await;
    assert_eq!(node.publish(topic("orders", "5")).await, Ok(()));
    assert_eq!(node.topic().await, text("orders", "5"));
    assert!(node.inbound.try_recv().is_err());
}

async fn what_is_published_after_the_confirmation_arrives(mut node: Node) {
    for round in 0..300 {
        let name = format!("private-Chat.{round}");
        node.hear(&name).await;
        let round = round.to_string();
        assert_eq!(node.publish(topic(&name, &round)).await, Ok(()));
        assert_eq!(node.topic().await, text(&name, &round));
        // Given up and listened to again, sooner or later than Redis is told.
        node.broker.unsubscribe(&name);
        if round.ends_with('7') {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        node.hear(&name).await;
        assert_eq!(node.publish(topic(&name, "again")).await, Ok(()));
        assert_eq!(node.topic().await, text(&name, "again"));
        node.broker.unsubscribe(&name);
    }
}

async fn all_topics_that_begin_so_are_heard(mut node: Node) {
    for beginning in ["cache-", "a*?[b]\\-", "", "yama", "broadcast"] {
        node.broker.subscribe_prefix(beginning);
    }
    node.hear("cache-1").await;
    node.hear("a*?[b]\\-1").await;
    for name in ["cache-1", "cache-2", "cache-", "a*?[b]\\-1", "a*?[b]\\-2"] {
        assert!(node.broker.is_subscribed(name));
        for other in ["cache", "1cache-", "test-database-cache-1", "axxb\\-1", "a*?b\\-"] {
            assert!(!node.broker.is_subscribed(other));
            assert_eq!(node.publish(topic(other, "not listened to")).await, Ok(()));
        }
        // Once, also where it is listened to by its name.
        assert_eq!(node.publish(topic(name, "x")).await, Ok(()));
        assert_eq!(node.topic().await, text(name, "x"));
    }
    node.broker.unsubscribe("cache-1");
    assert_eq!(node.publish(topic("cache-1", "still")).await, Ok(()));
    assert_eq!(node.topic().await, text("cache-1", "still"));
    assert_eq!(node.publish(event("chat:", 1)).await, Ok(()));
    assert_eq!(number(&node.next().await), 1);
}

async fn what_arrives_on_a_topic_is_as_it_was(mut node: Node) {
    // PHP publishes an empty text where it cannot write JSON.
    let cases =
        [("private-ルーム.1", &b""[..]), ("", b"\xff\0"), ("a\r\n*", br#"{"event":"A","data":{"x":1.0}}"#)];
    for (name, _) in cases {
        node.subscribe(name);
    }
    node.settle(&cases.map(|(name, _)| name)).await;
    for (name, payload) in cases {
        let payload = Bytes::from_static(payload);
        let dispatch = Dispatch::Topic { topic: name.into(), payload: payload.clone() };
        assert_eq!(node.publish(dispatch).await, Ok(()));
        let Dispatch::Topic { topic, payload: arrived } = node.next_dispatch().await else {
            panic!("no topic")
        };
        assert_eq!((&*topic, arrived), (name, payload));
    }
    let large = "山".repeat(1 << 20);
    assert_eq!(node.publish(topic("", &large)).await, Ok(()));
    assert!(node.topic().await.1 == large);
}

async fn the_nodes_own_topics_cannot_be_listened_to(mut node: Node) {
    for name in ["broadcast", "yamabiko"] {
        assert_eq!(node.broker.subscribe(name), SubscribeOutcome::Reserved);
        node.broker.unsubscribe(name);
    }
    assert_eq!(node.publish(event("chat:", 1)).await, Ok(()));
    assert_eq!(number(&node.next().await), 1);
    assert_eq!(node.publish(signal(2)).await, Ok(()));
    assert_eq!(numbered(&signal_of(node.next_dispatch().await)), 2);
}

async fn topics_come_and_go_by_the_thousand(mut node: Node) {
    const TOPICS: usize = 5000;
    let names: Vec<String> = (0..TOPICS).map(|number| format!("private-Chat.{number}")).collect();
    for round in 0..3 {
        for name in &names {
            node.subscribe(name);
        }
        // Churn while the first are still on their way.
        for name in names.iter().filter(|name| name.ends_with('7')) {
            node.broker.unsubscribe(name);
        }
        let kept: Vec<&str> = names.iter().map(|name| &**name).filter(|name| !name.ends_with('7')).collect();
        node.settle(&kept).await;
        for name in &names {
            node.broker.publish(topic(name, "x"), ignore());
        }
        for name in &kept {
            assert_eq!(node.topic().await, text(name, "x"), "round {round}");
        }
        for name in &names {
            node.broker.unsubscribe(name);
        }
        node.settle(&[]).await;
    }
    assert_eq!(node.publish(event("chat:", 1)).await, Ok(()));
    assert_eq!(number(&node.next().await), 1);
    assert_eq!(node.metrics.broker_interruptions.get(), 0);
}

#[tokio::test]
async fn memory_refuses_what_has_no_room() {
    let mut node = Node::memory(1000);
    let (mut accepted, mut held) = (0, Vec::new());
    while node.publish(event("chat:", accepted)).await.is_ok() {
        accepted += 1;
        held.push(node.inbound.recv().await);
        assert!(accepted < 100, "no bound");
    }
    assert!(accepted > 0);
    assert_eq!(node.publish(event("chat:", 0)).await, Err(PublishError::QueueFull));
    held.pop();
    assert_eq!(node.publish(event("chat:", 0)).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_holds_redis_back_and_loses_nothing() {
    let mut node = Node::redis(10_000).await;
    let other = Node::on(node.server_of_its_own.as_ref().unwrap()).await;
    for number in 0..500 {
        assert_eq!(other.publish(event("chat:", number)).await, Ok(()));
    }
    let mut held = Vec::new();
    while let Ok(Some(inbound)) = timeout(Duration::from_millis(500), node.inbound.recv()).await {
        let Inbound::Dispatch { dispatch, permit } = inbound else { continue };
        held.push((dispatch, permit));
    }
    assert!(!held.is_empty() && held.len() < 100, "{} of 500 came at once", held.len());
    let arrived = held.len();
    assert!(held.drain(..).map(|(dispatch, _)| number(&event_of(dispatch))).eq(0..arrived));
    for expected in arrived..500 {
        assert_eq!(number(&node.next().await), expected);
    }
    assert_eq!((node.metrics.broker_messages.get(), node.metrics.broker_interruptions.get()), (500, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_see_the_same_once_each() {
    let server = RedisServer::start();
    let (mut one, mut two) = (Node::on(&server).await, Node::on(&server).await);
    for number in 0..500 {
        one.broker.publish(event("chat:1", number), ignore());
        two.broker.publish(event("chat:2", number), ignore());
    }
    let mut seen = (Vec::new(), Vec::new());
    for _ in 0..1000 {
        let (a, b) = (one.next().await, two.next().await);
        seen.0.push((a.channel.clone(), number(&a)));
        seen.1.push((b.channel.clone(), number(&b)));
    }
    assert_eq!(seen.0, seen.1);
    for channel in ["chat:1", "chat:2"] {
        let of_channel = seen.0.iter().filter(|(name, _)| name.as_str() == channel);
        assert!(of_channel.map(|(_, number)| *number).eq(0..500));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn laravel_is_heard_and_junk_is_counted() {
    let server = RedisServer::start();
    let mut node = Node::on(&server).await;
    let mut laravel = server.client().await;
    let junk: [(&'static str, Vec<u8>); 8] = [
        ("invalid_json", b"{\"channel\":\"chat:\"} x".to_vec()),
        ("invalid_json", vec![0xff; 2 << 20]),
        ("invalid_envelope", "[".repeat(1 << 20).into_bytes()),
        ("invalid_json", "{\"a\":".repeat(1 << 18).into_bytes()),
        ("invalid_envelope", b"null".to_vec()),
        ("invalid_channel", br#"{"channel":{},"data":{}}"#.to_vec()),
        ("invalid_data", br#"{"channel":"chat:","data":"x"}"#.to_vec()),
        ("invalid_sender", br#"{"channel":"chat:","data":{},"sender":"x"}"#.to_vec()),
    ];
    for (_, payload) in &junk {
        let heard: i64 =
            redis::cmd("PUBLISH").arg(TOPIC).arg(payload).query_async(&mut laravel).await.unwrap();
        assert_eq!(heard, 1);
    }
    let payload = r#"{"channel":"chat:room1","data":{"message":"\u5c71\/"},"socket":null}"#;
    let _: i64 = redis::cmd("PUBLISH").arg(TOPIC).arg(payload).query_async(&mut laravel).await.unwrap();
    let arrived = node.next().await;
    assert_eq!(
        (arrived.channel.as_str(), &arrived.data[..]),
        ("chat:room1", &br#"{"message":"\u5c71\/"}"#[..])
    );
    assert_eq!(arrived.sender, Sender { name: "System".into(), id: 0.into() });
    for (reason, topic, payload) in
        [("invalid_signal", SIGNALS, "{}"), ("invalid_disconnect", TOPIC, r#"{"disconnect":{"user":""}}"#)]
    {
        let _: i64 = redis::cmd("PUBLISH").arg(topic).arg(payload).query_async(&mut laravel).await.unwrap();
        wait_for(reason, || node.dropped(reason) == 1).await;
    }
    let count = |reason| junk.iter().filter(|(word, _)| *word == reason).count() as u64;
    for reason in ["invalid_json", "invalid_envelope", "invalid_channel", "invalid_data", "invalid_sender"] {
        assert_eq!(node.dropped(reason), count(reason), "{reason}");
    }
    assert_eq!(node.metrics.broker_messages.get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_redis_is_awaited() {
    let mut server = RedisServer::absent(&[]);
    let mut node = Node::start(&server.url(), 1 << 20, PUBLISH_TIMEOUT);
    assert_eq!(node.publish(event("chat:", 0)).await, Err(PublishError::Unreachable));
    assert_eq!(node.metrics.broker_up.get(), 0);
    wait_for(
        "a reason",
        || matches!(node.broker.status(), Status::Unavailable(reason) if reason.contains("refused")),
    )
    .await;
    server.restart();
    node.ready().await;
    assert_eq!(node.publish(event("chat:", 1)).await, Ok(()));
    assert_eq!(number(&node.next().await), 1);
    assert_eq!((node.metrics.broker_up.get(), node.metrics.broker_interruptions.get()), (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_redis_is_found_again() {
    let mut server = RedisServer::start();
    let mut node = Node::on(&server).await;
    for round in 1..=2 {
        server.kill();
        wait_for("the loss to be noticed", || node.broker.status() != Status::Ready).await;
        assert_eq!(node.publish(event("chat:", 0)).await, Err(PublishError::Unreachable));
        server.restart();
        node.ready().await;
        assert_eq!(node.metrics.broker_interruptions.get(), round);
        assert_eq!(node.publish(event("chat:", 7)).await, Ok(()));
        assert_eq!(number(&node.next().await), 7);
    }
}

/// Publishes while Redis does not answer; afterwards nothing of it may turn up anywhere.
async fn refused_means_never_delivered(
    server: &RedisServer,
    node: &mut Node,
    pause: impl AsyncFnOnce(),
    resume: impl AsyncFnOnce(),
) {
    let mut other = Node::on(server).await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut witness = client.get_async_pubsub().await.unwrap();
    witness.subscribe(TOPIC).await.unwrap();

    pause().await;
    let publishing = (0..20).map(|number| node.publish(event("chat:", number)));
    let outcomes = futures_util::future::join_all(publishing).await;
    assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
    assert!(outcomes.contains(&Err(PublishError::TimedOut)), "{outcomes:?}");
    resume().await;

    // Both have to be subscribed again to hear it.
    let before = other.metrics.broker_messages.get();
    while other.metrics.broker_messages.get() == before {
        node.publish_when_up(event("chat:", 1000)).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What comes first is what was published last: nothing stood in line before it.
    assert_eq!(number(&node.next().await), 1000);
    assert_eq!(number(&other.next().await), 1000);
    let heard = timeout(PATIENCE, witness.on_message().next()).await.expect("in time").expect("a message");
    assert!(heard.get_payload::<String>().unwrap().contains(r#""n":1000"#));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_redis_delivers_nothing_late() {
    let server = RedisServer::start();
    let mut node = Node::on(&server).await;
    refused_means_never_delivered(&server, &mut node, async || server.pause(), async || server.resume())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_redis_delivers_nothing_late() {
    let server = RedisServer::start();
    let mut node = Node::on(&server).await;
    let mut client = server.client().await;
    // Long enough for the sender to give up, short enough for the connection to live on.
    let pause = async || {
        redis::cmd("CLIENT").arg("PAUSE").arg(1900).query_async::<()>(&mut client).await.unwrap();
    };
    refused_means_never_delivered(&server, &mut node, pause, async || ()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_redis_fills_a_bounded_queue() {
    let server = RedisServer::start();
    let node = Node::start(&server.url(), 5_000, PUBLISH_TIMEOUT);
    node.ready().await;
    server.pause();
    let outcomes =
        futures_util::future::join_all((0..100).map(|number| node.publish(event("chat:", number)))).await;
    let full = outcomes.iter().filter(|outcome| **outcome == Err(PublishError::QueueFull)).count();
    assert!((50..100).contains(&full), "{outcomes:?}");
    assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
    server.resume();
    node.publish_when_up(event("chat:", 0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_come_back() {
    let server = RedisServer::start();
    let mut node = Node::on(&server).await;
    let mut client = server.client().await;
    for (round, kind) in (1..).zip(["pubsub", "normal"]) {
        let _: i64 =
            redis::cmd("CLIENT").arg(&["KILL", "TYPE", kind]).query_async(&mut client).await.unwrap();
        wait_for("the loss to be noticed", || node.metrics.broker_interruptions.get() == round).await;
        node.ready().await;
        assert_eq!(node.publish(event("chat:", 7)).await, Ok(()));
        assert_eq!(number(&node.next().await), 7);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flushed_scripts_are_loaded_again() {
    let server = RedisServer::start();
    let mut node = Node::on(&server).await;
    let mut client = server.client().await;
    let _: () = redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut client).await.unwrap();
    for expected in 0..10 {
        assert_eq!(node.publish(event("chat:", expected)).await, Ok(()));
        assert_eq!(number(&node.next().await), expected);
    }
    assert_eq!(node.metrics.broker_interruptions.get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_listened_to_is_subscribed_again_before_the_broker_is_ready() {
    const TOPICS: usize = 3000;
    let mut server = RedisServer::absent(&[]);
    let mut node = Node::start(&server.url(), 64 << 20, PUBLISH_TIMEOUT);
    let names: Vec<String> = (0..TOPICS).map(|number| format!("orders.{number}")).collect();
    for name in &names {
        node.subscribe(name);
    }
    for round in 0..3 {
        server.restart();
        let mut laravel = server.client().await;
        node.ready().await;
        // What was listened to, or not, while there was no Redis counts too.
        let expected = names.iter().skip(round);
        let mut pipe = redis::pipe();
        for name in &names {
            pipe.publish(format!("{PREFIX}{name}"), round);
        }
        let heard: Vec<usize> = pipe.query_async(&mut laravel).await.unwrap();
        assert_eq!(heard.iter().sum::<usize>(), TOPICS - round);
        for name in expected {
            assert_eq!(node.topic().await, text(name, &round.to_string()));
        }
        server.kill();
        wait_for("the loss to be noticed", || node.broker.status() != Status::Ready).await;
        node.broker.unsubscribe(&names[round]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_not_awaited_for_ever() {
    let mut server = RedisServer::start();
    let mut node = Node::on(&server).await;
    for (name, outage) in [("silent", true), ("absent", false)] {
        if outage {
            server.pause();
        } else {
            server.kill();
            wait_for("the loss to be noticed", || node.broker.status() != Status::Ready).await;
        }
        let asked = Instant::now();
        node.hear(name).await;
        assert!(asked.elapsed() >= SUBSCRIBE_TIMEOUT);
        assert!(asked.elapsed() < SUBSCRIBE_TIMEOUT + Duration::from_secs(1), "{:?}", asked.elapsed());
        // One that is given up is not answered.
        node.subscribe("given up");
        node.broker.unsubscribe("given up");
        if outage {
            server.resume();
        } else {
            server.restart();
        }
        node.ready().await;
        settle(&server, if outage { &["silent"] } else { &["silent", "absent"] }).await;
        // Answered once, and heard from now on.
        node.publish_when_up(event("chat:", 1)).await;
        assert!(matches!(node.next_inbound().await, Inbound::Dispatch { .. }));
        assert_eq!(node.publish(topic(name, "x")).await, Ok(()));
        assert_eq!(node.topic().await, text(name, "x"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_followed_in_a_flood() {
    let server = RedisServer::start();
    let mut node = Node::on(&server).await;
    let mut laravel = server.client().await;
    let payload = r#"{"channel":"chat:","data":{"n":1}}"#;
    let mut flood = redis::pipe();
    for _ in 0..10_000 {
        flood.publish(TOPIC, payload).ignore();
    }
    let counted = node.metrics.clone();
    let metrics = node.metrics.clone();
    let flooding = tokio::spawn(async move {
        for sent in (0..).step_by(10_000) {
            // Always more than is read at once, never so much that Redis gives the subscriber up.
            while metrics.broker_messages.get() + 20_000 < sent {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            flood.query_async::<()>(&mut laravel).await.unwrap();
        }
    });
    node.next().await;
    let broker = node.broker.clone();
    let reading = tokio::spawn(async move { while node.inbound.recv().await.is_some() {} });
    for round in 0..20 {
        let topic = format!("orders.{round}");
        subscribe(&broker, &topic);
        settle(&server, &[&topic]).await;
        broker.unsubscribe(&topic);
    }
    assert_eq!(counted.broker_interruptions.get(), 0);
    assert!(!flooding.is_finished());
    flooding.abort();
    reading.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_holds_topics_back_too() {
    let mut node = Node::redis(10_000).await;
    node.hear("orders").await;
    let mut laravel = node.server_of_its_own.as_ref().unwrap().client().await;
    let mut pipe = redis::pipe();
    for number in 0..500 {
        pipe.publish(format!("{PREFIX}orders"), number).ignore();
    }
    pipe.query_async::<()>(&mut laravel).await.unwrap();
    let mut held = Vec::new();
    while let Ok(Some(inbound)) = timeout(Duration::from_millis(500), node.inbound.recv()).await {
        held.push(inbound);
    }
    assert!(!held.is_empty() && held.len() < 100, "{} of 500 came at once", held.len());
    let arrived = held.len();
    drop(held);
    for expected in arrived..500 {
        assert_eq!(node.topic().await, text("orders", &expected.to_string()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_not_permitted_takes_nothing_else_along() {
    for permissions in
        ["+subscribe +unsubscribe +publish +script|load +evalsha +time", "+subscribe +publish +ping"]
    {
        let acl =
            format!("aoi on >pass resetchannels &{TOPIC} &{SIGNALS} &{PREFIX}orders -@all {permissions}");
        let mut arguments = vec!["--user"];
        arguments.extend(acl.split(' '));
        let server = RedisServer::start_with(&arguments);
        let mut node = Node::start(&server.url_as("aoi:pass"), 1 << 20, PUBLISH_TIMEOUT);
        for name in ["secrets", "orders"] {
            node.subscribe(name);
        }
        node.ready().await;
        settle(&server, &["orders"]).await;
        // Also the one that is refused is answered: it is not worth waiting for.
        for _ in 0..2 {
            assert!(matches!(node.next_inbound().await, Inbound::Subscribed(_)));
        }
        node.subscribe("more secrets");
        // Longer than the heartbeat, which this user may not send.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_eq!(node.publish(topic("orders", "1")).await, Ok(()));
        assert_eq!(node.topic().await, text("orders", "1"));
        assert_eq!(node.metrics.broker_interruptions.get(), 0, "{permissions}");

        // Of one batch, what is permitted is published, and the rest is refused.
        let publish = [
            node.publish(Dispatch::from(event("chat:", 1))),
            node.publish(topic("secrets", "x")),
            node.publish(Dispatch::from(event("chat:", 2))),
        ];
        let outcomes = futures_util::future::join_all(publish).await;
        assert_eq!(outcomes, [Ok(()), Err(PublishError::Unreachable), Ok(())], "{permissions}");
        assert_eq!((number(&node.next().await), number(&node.next().await)), (1, 2));
        node.ready().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_patterns_topics_are_heard_one_by_one() {
    for denied in [
        "--user aoi on >pass allchannels -@all +subscribe +unsubscribe +ping +publish +script|load +evalsha +time",
        "--rename-command PSUBSCRIBE hidden --user aoi on >pass allchannels allcommands",
    ] {
        let arguments: Vec<&str> = denied.split(' ').collect();
        let mut server = RedisServer::start_with(&arguments);
        let mut node = Node::start(&server.url_as("aoi:pass"), 1 << 20, PUBLISH_TIMEOUT);
        node.broker.subscribe_prefix("cache-");
        node.ready().await;
        for round in 0..2 {
            if round > 0 {
                server.restart();
                wait_for("the loss to be noticed", || node.metrics.broker_interruptions.get() > 0).await;
                node.ready().await;
            } else {
                node.hear("cache-1").await;
            }
            let refused = || !node.broker.is_subscribed("cache-2");
            wait_for("the refusal", refused).await;
            settle(&server, &["cache-1"]).await;
            node.publish_when_up(event("chat:", 1)).await;
            assert_eq!(number(&node.next().await), 1);
            assert_eq!(node.publish(topic("cache-2", "not listened to")).await, Ok(()));
            assert_eq!(node.publish(topic("cache-1", "x")).await, Ok(()));
            assert_eq!(node.topic().await, text("cache-1", "x"));
        }
        assert_eq!(node.metrics.broker_interruptions.get(), 1, "{denied}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_opens_and_a_wrong_one_is_told() {
    let server = RedisServer::start_with(&["--requirepass", "p@ss/word"]);
    for (credentials, code) in [("", "NOAUTH"), (":wr0ng", "WRONGPASS")] {
        let node = Node::start(&server.url_as(credentials), 1 << 20, PUBLISH_TIMEOUT);
        wait_for(code, || {
            let Status::Unavailable(reason) = node.broker.status() else { panic!("it got in") };
            assert!(!reason.contains("wr0ng"), "{reason}");
            reason.contains(code)
        })
        .await;
        assert_eq!(node.publish(event("chat:", 0)).await, Err(PublishError::Unreachable));
    }
    for credentials in [":p%40ss%2Fword", "default:p%40ss%2Fword"] {
        let mut node = Node::start(&format!("{}/3", server.url_as(credentials)), 1 << 20, PUBLISH_TIMEOUT);
        node.ready().await;
        assert_eq!(node.publish(event("chat:", 1)).await, Ok(()));
        assert_eq!(number(&node.next().await), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn few_permissions_are_enough() {
    for permissions in [
        "+subscribe +publish +script|load +evalsha +time",
        "+subscribe +publish +ping",
        "+subscribe +publish +ping +script|load +evalsha",
    ] {
        let acl = format!("aoi on >pass resetchannels &{TOPIC} &{SIGNALS} -@all {permissions}");
        let mut arguments = vec!["--user"];
        arguments.extend(acl.split(' '));
        let server = RedisServer::start_with(&arguments);
        let mut node = Node::start(&server.url_as("aoi:pass"), 1 << 20, PUBLISH_TIMEOUT);
        node.ready().await;
        for expected in 0..100 {
            node.broker.publish(event("chat:", expected), ignore());
        }
        for expected in 0..100 {
            assert_eq!(number(&node.next().await), expected, "{permissions}");
        }
        assert_eq!(node.publish(event("chat:", 100)).await, Ok(()), "{permissions}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_scripts_a_node_still_drops_its_own_late_copies() {
    let acl = format!("aoi on >pass resetchannels &{TOPIC} &{SIGNALS} -@all +subscribe +publish +ping");
    let mut arguments = vec!["--user"];
    arguments.extend(acl.split(' '));
    let server = RedisServer::start_with(&arguments);
    let mut node = Node::start(&server.url_as("aoi:pass"), 1 << 20, Duration::from_secs(1));
    node.ready().await;
    server.pause();
    assert_eq!(node.publish(event("chat:", 1)).await, Err(PublishError::TimedOut));
    server.resume();
    wait_for("the late copy", || node.dropped("refused") == 1).await;
    node.publish_when_up(event("chat:", 2)).await;
    assert_eq!(number(&node.next().await), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_dropped_keeps_no_sender_waiting() {
    let server = RedisServer::start();
    let node = Node::on(&server).await;
    server.pause();
    let (sender, receiver) = oneshot::channel();
    node.broker.publish(event("chat:", 1), Box::new(move |outcome| sender.send(outcome).unwrap_or(())));
    drop(node);
    assert_eq!(timeout(PATIENCE, receiver).await.expect("in time"), Ok(Err(PublishError::Unreachable)));
    server.resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_network_is_noticed_and_delivers_nothing_late() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let mut node = Node::start(&proxy.url(), 64 << 20, PUBLISH_TIMEOUT);
    node.ready().await;
    let mut elsewhere = Node::on(&server).await;
    assert_eq!(node.publish(event("chat:", 1)).await, Ok(()));
    assert_eq!((number(&node.next().await), number(&elsewhere.next().await)), (1, 1));

    // With nothing to publish, heartbeats notice.
    proxy.set(Traffic::Blackhole);
    let began = Instant::now();
    wait_for("the loss to be noticed", || node.broker.status() != Status::Ready).await;
    // Within a second; the rest is for a busy machine.
    let noticed = began.elapsed();
    assert!(noticed < Duration::from_secs(2), "{noticed:?}");
    // It may be a moment only, so that messages are refused when it has been longer.
    wait_for("the loss to count", || node.metrics.broker_interruptions.get() == 1).await;
    assert_eq!(node.publish(event("chat:", 2)).await, Err(PublishError::Unreachable));
    proxy.set(Traffic::Cut);
    proxy.set(Traffic::Open);
    node.ready().await;

    // With something to publish, its sender is told in time.
    proxy.set(Traffic::Blackhole);
    let began = Instant::now();
    assert_eq!(node.publish(event("chat:", 3)).await, Err(PublishError::TimedOut));
    let told = began.elapsed();
    assert!(told < PUBLISH_TIMEOUT + Duration::from_secs(1), "{told:?}");
    // What was held on the way comes out late, and Redis refuses it.
    proxy.set(Traffic::Open);
    node.publish_when_up(event("chat:", 4)).await;
    assert_eq!((number(&node.next().await), number(&elsewhere.next().await)), (4, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_is_silently_dead_is_noticed_and_replaced() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let mut node = Node::start(&proxy.url(), 64 << 20, PUBLISH_TIMEOUT);
    node.ready().await;
    node.hear("orders").await;
    proxy.set(Traffic::SubscriptionsSwallowed);
    let began = Instant::now();
    wait_for("the silence to be noticed", || node.broker.status() != Status::Ready).await;
    let noticed = began.elapsed();
    assert!(noticed < Duration::from_secs(2), "{noticed:?}");
    node.ready().await;
    let replaced = began.elapsed();
    assert!(replaced < Duration::from_secs(3), "{replaced:?}");
    // The stream says where something may be missing, and goes on with all topics.
    assert!(matches!(node.inbound.recv().await, Some(Inbound::Resumed)));
    assert_eq!(node.publish(event("chat:", 1)).await, Ok(()));
    assert_eq!(number(&node.next().await), 1);
    assert_eq!(node.publish(topic("orders", "2")).await, Ok(()));
    assert_eq!(node.topic().await, text("orders", "2"));
    assert_eq!(node.metrics.broker_interruptions.get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_outlives_a_pause_of_redis_and_the_loss_of_the_publishing_connection() {
    let server = RedisServer::start();
    let mut node = Node::on(&server).await;
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let client = redis::Client::open(server.url()).unwrap();
    let mut client = client.get_multiplexed_async_connection_with_config(&patient).await.unwrap();
    let laravel = |number: usize| {
        let payload = format!(r#"{{"channel":"chat:","data":{{"n":{number}}}}}"#);
        redis::cmd("PUBLISH").arg(TOPIC).arg(payload).take()
    };
    for round in 0..2 {
        server.pause();
        wait_for("the silence to be noticed", || node.broker.status() != Status::Ready).await;
        // What is published meanwhile waits in Redis.
        let publish = laravel(round);
        let (sent, ()) = tokio::join!(publish.query_async::<i64>(&mut client), async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            server.resume();
        });
        assert_eq!(sent, Ok(1));
        assert_eq!(number(&node.next().await), round);
        node.ready().await;
    }
    assert_eq!(node.metrics.broker_interruptions.get(), 0);
    let mut heard = 2;
    for _ in 0..5 {
        let _: i64 = redis::cmd("CLIENT")
            .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
            .query_async(&mut client)
            .await
            .unwrap();
        for _ in 0..20 {
            assert_eq!(laravel(heard).query_async::<i64>(&mut client).await, Ok(1));
            assert_eq!(number(&node.next().await), heard);
            heard += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_found_soon_after_it_is_back() {
    let mut server = RedisServer::start();
    let node = Node::on(&server).await;
    for _ in 0..3 {
        server.kill();
        // Long enough for a wait between attempts to grow.
        tokio::time::sleep(Duration::from_secs(6)).await;
        server.restart();
        let back = Instant::now();
        node.ready().await;
        let found = back.elapsed();
        assert!(found < Duration::from_millis(1500), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_copy_is_a_receipt_if_the_reply_is_lost() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let mut node = Node::start(&proxy.url(), 64 << 20, PUBLISH_TIMEOUT);
    node.ready().await;
    proxy.set(Traffic::RepliesLost);
    let began = Instant::now();
    assert_eq!(node.publish(event("chat:", 1)).await, Ok(()));
    assert!(began.elapsed() < PUBLISH_TIMEOUT);
    assert_eq!(number(&node.next().await), 1);
    // The connection that lost a reply is given up, and what it published is not published again.
    wait_for("the loss to be noticed", || node.metrics.broker_interruptions.get() == 1).await;
    proxy.set(Traffic::Open);
    node.publish_when_up(event("chat:", 2)).await;
    assert_eq!(number(&node.next().await), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_topics_in_redis_own_words() {
    let acl = "aoi on >pass resetchannels &other-* -@all +subscribe +publish +ping";
    let mut arguments = vec!["--user"];
    arguments.extend(acl.split(' '));
    let server = RedisServer::start_with(&arguments);
    let node = Node::start(&server.url_as("aoi:pass"), 1 << 20, PUBLISH_TIMEOUT);
    wait_for("the reason", || {
        let Status::Unavailable(reason) = node.broker.status() else { panic!("it got in") };
        reason.contains("refused SUBSCRIBE: NOPERM ")
            && reason.contains("permissions")
            && reason.contains(TOPIC)
            && reason.contains(SIGNALS)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_without_redis_tls_and_the_other_way_round_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    std::fs::write(path("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
    let port = free_port().to_string();
    let (cert, key) = (path("cert.pem"), path("key.pem"));
    let tls = ["--tls-port", &*port, "--tls-cert-file", &*cert, "--tls-key-file", &*key];
    for password in [&[][..], &["--requirepass", "secret"]] {
        let arguments =
            [&tls[..], &["--tls-ca-cert-file", &*cert, "--tls-auth-clients", "no"], password].concat();
        let server = RedisServer::start_with(&arguments);
        for (url, told) in [
            (format!("rediss://:secret@127.0.0.1:{}", server.port()), "without TLS: use redis://"),
            (format!("redis://:secret@127.0.0.1:{port}"), "speaks TLS: use rediss://"),
        ] {
            let node = Node::start(&url, 1 << 20, PUBLISH_TIMEOUT);
            wait_for(told, || {
                let Status::Unavailable(reason) = node.broker.status() else { panic!("it got in") };
                reason.contains(told)
            })
            .await;
        }
    }
}

/// Runs itself again with an environment of its own: the roots of the system are looked up there.
#[tokio::test(flavor = "multi_thread")]
async fn tls_with_a_user_and_a_database() {
    const URL: &str = "TEST_REDIS_URL";
    if let Ok(url) = std::env::var(URL) {
        return over_tls(&url).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new([]).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = authority.self_signed(&key).unwrap();
    let issuer = rcgen::Issuer::new(authority, key);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    std::fs::write(path("root.pem"), root.pem()).unwrap();
    std::fs::write(path("cert.pem"), certificate.pem()).unwrap();
    std::fs::write(path("key.pem"), key.serialize_pem()).unwrap();
    std::fs::write(path("none.pem"), "").unwrap();

    let port = free_port();
    let acl = format!(
        "aoi on >p@ss/word resetchannels &{TOPIC} &{SIGNALS} -@all +subscribe +publish +script|load +evalsha +time"
    );
    let (port_text, cert, key, root) =
        (port.to_string(), path("cert.pem"), path("key.pem"), path("root.pem"));
    let mut arguments = vec!["--tls-port", &*port_text, "--tls-cert-file", &*cert, "--tls-key-file", &*key];
    arguments.extend(["--tls-ca-cert-file", &*root, "--tls-auth-clients", "no", "--user"]);
    arguments.extend(acl.split(' '));
    let _server = RedisServer::start_with(&arguments);

    for (host, roots, expected) in [
        ("localhost", "root.pem", "in"),
        // Not the name in the certificate.
        ("127.0.0.1", "root.pem", "not valid for name"),
        // Issued by nobody known.
        ("localhost", "none.pem", "UnknownIssuer"),
    ] {
        let output = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tls_with_a_user_and_a_database", "--nocapture"])
            .env(URL, format!("rediss://aoi:p%40ss%2Fword@{host}:{port}/3"))
            .env("SSL_CERT_FILE", path(roots))
            .env_remove("SSL_CERT_DIR")
            .env("TEST_EXPECTED", expected)
            .output();
        let output = timeout(2 * PATIENCE, output).await.expect("an end").unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{host}, {roots}: {text}");
    }
}

async fn over_tls(url: &str) {
    let expected = std::env::var("TEST_EXPECTED").unwrap();
    let mut node = Node::start(url, 64 << 20, PUBLISH_TIMEOUT);
    if expected != "in" {
        return wait_for(&expected, || {
            let Status::Unavailable(reason) = node.broker.status() else { panic!("it got in") };
            reason.contains(&expected)
        })
        .await;
    }
    node.ready().await;
    for number in 0..1000 {
        node.broker.publish(event("chat:", number), ignore());
    }
    for expected in 0..1000 {
        assert_eq!(number(&node.next().await), expected);
    }
    let data = Bytes::from(format!(r#"{{"text":"{}"}}"#, "山".repeat(1 << 20)));
    assert_eq!(node.publish(Event { data: data.clone(), ..event("chat:", 0) }).await, Ok(()));
    assert!(node.next().await.data == data);
}
