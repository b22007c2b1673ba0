//! One node with an embedded broker, whose inbound stream the tests control.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::connection::ConnectionGuard;
use super::context::PusherContext;
use crate::broker::{Broker, Inbound, Settings};
use crate::channels::{AppRules, Channels, Histories};
use crate::history::{Content, Entry, Limits, Since};
use crate::hub::{Connection, Hub, Outbox, WireFormat};
use crate::message::{
    Broadcast, ChannelName, ChannelPattern, Dispatch, Frame, Position, Retention, RetentionRules,
    RetentionTable, Sender, Stored,
};
use crate::protocol::pusher::{Apps, ENCODING, ENCODING_WITH_IDS, PusherDialect, PusherSettings, close};
use crate::telemetry::Metrics;
use crate::transport;
use crate::webhooks::{ActiveWebhooks, EventsSettings, Webhooks};

static FORMAT: WireFormat = WireFormat {
    encoding: ENCODING,
    closes: &close::CLOSES,
    all_closes: &[&close::ALL, &transport::close::ALL],
    encode_close: Frame::close,
};

/// The same for pages that are told positions.
static FORMAT_WITH_IDS: WireFormat = WireFormat {
    encoding: ENCODING_WITH_IDS,
    closes: &close::CLOSES,
    all_closes: &[&close::ALL, &transport::close::ALL],
    encode_close: Frame::close,
};

const PATIENCE: Duration = Duration::from_secs(10);
const APP: &str = r#"{"id":"1","key":"k","secret":"s""#;

struct Node {
    apps: Apps,
    hub: Arc<Hub>,
    broker: Arc<Broker>,
    channels: Arc<Channels>,
    histories: Arc<Histories>,
    context: Arc<PusherContext>,
    inbound: UnboundedReceiver<Inbound>,
    listener: TcpListener,
    budget: Arc<Semaphore>,
}

/// A page, and the text that it has read so far.
struct Page {
    client: ConnectionGuard,
    socket: TcpStream,
    read: String,
    _connection: Connection,
}

impl Node {
    /// Starts a node with one app, to which these settings are added.
    async fn start(more: &str) -> Self {
        Self::start_with(more, Arc::default()).await
    }

    async fn start_with(more: &str, retention: Arc<RetentionRules>) -> Self {
        let metrics = Arc::new(Metrics::new());
        let app = serde_json::from_str(&format!("{APP}{more}}}")).unwrap();
        let apps = Apps::new(&PusherSettings::default(), &[app]).unwrap();
        let memory = Settings {
            url: SecretString::from(""),
            prefix: String::new(),
            publish_timeout: Duration::from_secs(2),
        };
        let sender = Sender { name: "System".into(), id: 0.into() };
        let (broker, inbound) =
            Broker::start(&memory, sender, 1 << 20, retention.clone(), metrics.clone()).unwrap();
        let (hub, broker) = (Hub::start(NonZeroUsize::MIN, 1 << 20, &metrics), Arc::new(broker));
        let webhooks = Webhooks::start(&apps, &[], &EventsSettings::default(), &broker, &metrics, None);
        let webhooks = Arc::new(ActiveWebhooks::new(webhooks));
        let settings = &apps.by_id("1").unwrap().rules;
        let rules = AppRules {
            id: "1".into(),
            connections: 0,
            presence_members: settings.presence_members,
            member_encoder: None,
            subscription_count: settings.subscription_count,
            cache_ttl: 1_000,
            event_bytes: 10_000,
        };
        let limits = Limits { channel_bytes: 1 << 20, total_bytes: 1 << 20 };
        let histories = Histories::start(broker.clone(), retention, limits);
        let channels = Channels::start(
            vec![rules],
            &PusherDialect,
            hub.clone(),
            broker.clone(),
            histories.clone(),
            webhooks,
            metrics,
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let budget = Arc::new(Semaphore::new(1 << 20));
        let context = PusherContext::start(channels.clone(), Duration::ZERO);
        Self { apps, hub, broker, channels, histories, context, inbound, listener, budget }
    }

    async fn open(&self) -> Page {
        self.open_as(&FORMAT).await
    }

    async fn open_as(&self, format: &'static WireFormat) -> Page {
        let socket = TcpStream::connect(self.listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = self.listener.accept().await.unwrap();
        let outbox = Arc::new(Outbox::new(format));
        outbox.attach(server);
        let connection = self.hub.connect(outbox);
        let app = self.apps.by_id("1").unwrap();
        let client = ConnectionGuard::open(&self.context, app, &connection, None).unwrap();
        Page { client, socket, read: String::new(), _connection: connection }
    }

    fn handle(&self, signal: &Bytes) {
        let hold = self.budget.clone().try_acquire_many_owned(u32::try_from(signal.len()).unwrap()).unwrap();
        let _ = self.channels.handle_signal(signal, None, hold.into());
    }

    /// Handles a message of another node that was started long before.
    fn handle_from_older_node(&self, message: &Value) {
        self.handle(&signal(0, message));
    }

    /// The next signal that this node has sent.
    async fn next(&mut self) -> Bytes {
        loop {
            if let Inbound::Dispatch { dispatch: Dispatch::Signal(signal), .. } =
                self.inbound.recv().await.unwrap()
            {
                return signal;
            }
        }
    }

    /// Discards the next signal with this text. Earlier ones are handled.
    async fn lose(&mut self, text: &str) -> Bytes {
        let losing = async {
            loop {
                let signal = self.next().await;
                if std::str::from_utf8(&signal).unwrap().contains(text) {
                    return signal;
                }
                self.handle(&signal);
            }
        };
        timeout(PATIENCE, losing).await.unwrap_or_else(|_| panic!("{text} is not sent"))
    }

    /// Handles all signals up to the next one with this text.
    async fn handle_until(&mut self, text: &str) {
        let signal = self.lose(text).await;
        self.handle(&signal);
    }

    /// Handles signals until the page has read this text.
    async fn until(&mut self, page: &mut Page, text: &str) {
        let reading = async {
            while !page.read.contains(text) {
                let mut bytes = [0; 1024];
                tokio::select! {
                    count = page.socket.read(&mut bytes) => {
                        let count = count.unwrap();
                        assert_ne!(count, 0, "closed: {}", page.read);
                        page.read.push_str(&String::from_utf8_lossy(&bytes[..count]));
                    }
                    signal = self.next() => self.handle(&signal),
                }
            }
        };
        timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("no {text} in {}", page.read));
    }
}

impl Page {
    /// Reads until this text has arrived.
    async fn until(&mut self, text: &str) {
        let reading = async {
            while !self.read.contains(text) {
                let mut bytes = [0; 1024];
                let count = self.socket.read(&mut bytes).await.unwrap();
                assert_ne!(count, 0, "closed: {}", self.read);
                self.read.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        };
        let read = timeout(PATIENCE, reading).await.is_ok();
        assert!(read, "no {text} in {}", self.read);
    }

    fn enter(&self, node: &Node, channel: &str, user: u32) {
        let credentials = &node.apps.by_id("1").unwrap().credentials;
        let data = format!(r#"{{"user_id":{user}}}"#);
        let auth = credentials.sign_channel(&self.client.id().to_string(), channel, Some(&data));
        let data = serde_json::json!({ "channel": channel, "auth": auth, "channel_data": data });
        let message = serde_json::json!({ "event": "pusher:subscribe", "data": data });
        self.client.receive(message.to_string().as_bytes());
    }
}

/// The application that receives webhooks.
struct Application(TcpListener);

impl Application {
    async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// The `webhooks` setting of the app.
    fn webhooks(&self) -> String {
        format!(r#","webhooks":[{{"url":"http://{}/hook"}}]"#, self.0.local_addr().unwrap())
    }

    /// Takes requests until one contains this event.
    async fn expect_event(&self, event: &str) {
        let receiving = async {
            loop {
                let (mut stream, _) = self.0.accept().await.unwrap();
                let (mut request, mut bytes) = (String::new(), [0; 4096]);
                while !request.ends_with("}]}") {
                    let count = stream.read(&mut bytes).await.unwrap();
                    assert_ne!(count, 0);
                    request.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
                }
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(answer).await.unwrap();
                if request.contains(event) {
                    return;
                }
            }
        };
        timeout(PATIENCE, receiving).await.expect("the webhook arrives");
    }
}

/// A message of another node.
fn signal(since: u64, message: &Value) -> Bytes {
    json!({ "version": 1, "node": "!", "since": since, "message": message }).to_string().into()
}

/// Changes on a channel of the app, numbered.
fn changes(channel: &str, changes: impl IntoIterator<Item = Value>) -> Value {
    let change = |(number, change): (u64, Value)| json!({ "app": "1", "number": number, "channel": channel, "change": change });
    json!({ "changes": (1..).zip(changes).map(change).collect::<Vec<_>>() })
}

fn join(connection: u64, user: &str) -> Value {
    json!({ "join": { "connection": format!("1.{connection}"), "member": { "user_id": user } } })
}

fn count(count: u64) -> Value {
    json!({ "count": count })
}

#[tokio::test]
async fn a_join_whose_copy_is_lost_is_answered_with_the_next_snapshot() {
    let mut node = Node::start("").await;
    let mut page = node.open().await;
    page.enter(&node, "presence-a", 7);
    // Redis has accepted it, and the subscribed connection broke before it came back.
    node.lose("join").await;
    node.channels.handle_resumed();
    node.until(&mut page, "subscription_succeeded").await;
    assert!(page.read.contains(r#"\"ids\":[\"7\"]"#), "{}", page.read);
    assert_eq!(node.channels.pending_joins(), 0);
}

#[tokio::test]
async fn connections_that_join_together_hear_of_each_other_once() {
    let mut node = Node::start("").await;
    let (mut first, mut second) = (node.open().await, node.open().await);
    // Both go in one message.
    first.enter(&node, "presence-a", 7);
    second.enter(&node, "presence-a", 8);
    node.until(&mut second, r#"\"ids\":[\"7\",\"8\"]"#).await;
    node.until(&mut first, "member_added").await;
    // A marker after everything else.
    first.client.receive(br#"{"event":"pusher:ping","data":{}}"#);
    first.until("pusher:pong").await;
    assert!(first.read.contains(r#"\"ids\":[\"7\"]"#), "{}", first.read);
    assert_eq!(first.read.matches("member_added").count(), 1, "{}", first.read);
    assert!(!second.read.contains("member_added"), "{}", second.read);
}

#[tokio::test]
async fn a_user_that_is_a_member_already_can_join_a_channel_that_is_over_its_limit() {
    let mut node = Node::start(r#","presence_members":1"#).await;
    // Two nodes admitted the last member at the same time, and neither has left yet.
    node.handle_from_older_node(&changes("presence-a", [join(1, "7"), join(2, "8")]));
    let mut page = node.open().await;
    page.enter(&node, "presence-a", 7);
    node.until(&mut page, "subscription_").await;
    assert!(page.read.contains("subscription_succeeded"), "{}", page.read);
    let mut other = node.open().await;
    other.enter(&node, "presence-a", 9);
    node.until(&mut other, "presence channel is full").await;
}

#[tokio::test]
async fn a_node_whose_leave_does_not_come_back_delivers_its_webhooks() {
    let application = Application::start().await;
    let mut node = Node::start(&application.webhooks()).await;
    let page = node.open().await;
    page.client.receive(br#"{"event":"pusher:subscribe","data":{"channel":"a"}}"#);
    node.handle_until(r#""a","change":{"count":1}"#).await;
    // The page is still connected: changes that have not been sent count too. The test does not deliver what comes back.
    let finishing = node.channels.leave(Duration::from_secs(2), Duration::ZERO);
    tokio::join!(finishing, application.expect_event(r#"{"name":"channel_vacated","channel":"a"}"#));
    drop(page);
}

#[tokio::test]
async fn a_node_that_has_left_delivers_nothing_about_others() {
    let application = Application::start().await;
    let mut node = Node::start(&application.webhooks()).await;
    node.handle_until(r#""snapshot":"#).await;
    let channels = node.channels.clone();
    let finishing = tokio::spawn(async move { channels.leave(Duration::from_secs(2), Duration::ZERO).await });
    node.handle_until(r#""leave""#).await;
    // The other nodes handle what arrives after the `Leave`.
    node.handle_from_older_node(&changes("a", [count(1)]));
    assert_eq!(node.channels.known_channels("1"), 0);
    node.handle_from_older_node(&json!("leave"));
    timeout(Duration::from_secs(1), finishing).await.expect("there is nothing to deliver").unwrap();
    assert!(!node.channels.knows_others());
}

#[tokio::test]
async fn a_new_node_does_not_become_the_leader() {
    let application = Application::start().await;
    let mut node = Node::start(&application.webhooks()).await;
    let page = node.open().await;
    page.client.receive(br#"{"event":"pusher:subscribe","data":{"channel":"a"}}"#);
    node.handle_until(r#""a","change":{"count":1}"#).await;
    node.handle(&signal(u64::MAX, &json!("snapshot_request")));
    drop(page);
    node.handle_until(r#""a","change":{"count":0}"#).await;
    application.expect_event(r#"{"name":"channel_vacated","channel":"a"}"#).await;
}

#[tokio::test]
async fn a_new_subscriber_receives_the_count_even_if_another_one_leaves_meanwhile() {
    let mut node = Node::start(r#","subscription_count":true"#).await;
    let subscribe = br#"{"event":"pusher:subscribe","data":{"channel":"a"}}"#;
    let mut leaver = node.open().await;
    leaver.client.receive(subscribe);
    node.until(&mut leaver, r#"{\"subscription_count\":1}"#).await;
    let mut newcomer = node.open().await;
    newcomer.client.receive(subscribe);
    // Both are sent to the other nodes together, where they cancel out.
    leaver.client.receive(br#"{"event":"pusher:unsubscribe","data":{"channel":"a"}}"#);
    node.until(&mut newcomer, r#"{\"subscription_count\":1}"#).await;
    // The same if the copy is lost and a snapshot takes its place, and if the broker accepts nothing more.
    leaver.read.clear();
    leaver.client.receive(subscribe);
    newcomer.client.receive(br#"{"event":"pusher:unsubscribe","data":{"channel":"a"}}"#);
    node.lose(r#""a","change":{"count":1}"#).await;
    node.channels.handle_resumed();
    node.until(&mut leaver, r#"{\"subscription_count\":1}"#).await;
    node.broker.shutdown().await;
    let mut late = node.open().await;
    late.client.receive(subscribe);
    late.until(r#"{\"subscription_count\":2}"#).await;
}

#[tokio::test]
async fn an_event_takes_room_for_the_copy_of_each_channel() {
    let node = Node::start("").await;
    let page = node.open().await;
    let names: Vec<String> = (0..10).map(|number| format!("c{number}")).collect();
    for name in &names {
        let data = format!(r#"{{"event":"pusher:subscribe","data":{{"channel":"{name}"}}}}"#);
        page.client.receive(data.as_bytes());
    }
    let event = |names: &[String], bytes: usize| {
        let event = json!({ "app": "1", "channels": names, "event": "e", "data": "x".repeat(bytes) });
        signal(5, &json!({ "event": event }))
    };
    let before = node.budget.available_permits();
    let taken = |signal: &Bytes| {
        let before = node.budget.available_permits();
        node.handle(signal);
        before - node.budget.available_permits()
    };
    let one = event(&names[..1], 10_000);
    assert_eq!(taken(&one), one.len());
    let ten = event(&names, 10_000);
    // Shared equally, except for the remainder.
    let all = ten.len() + 9 * 10_000;
    assert!((all - 9..=all).contains(&taken(&ten)));
    // No subscribers: no frames.
    assert_eq!(taken(&event(&["d".into(), "e".into()], 10_000)), 0);
    // An event that exceeds the budget does not break it.
    let rest = node.budget.available_permits() - 200_000;
    let others = node.budget.clone().try_acquire_many_owned(u32::try_from(rest).unwrap()).unwrap();
    node.handle(&ten);
    node.handle(&ten);
    // All of it is returned when the frames are written.
    drop(others);
    while node.budget.available_permits() < before {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn messages_that_this_version_does_not_know_are_ignored_and_counted() {
    let node = Node::start("").await;
    node.handle_from_older_node(&json!({ "later": { "app": "1" } }));
    node.handle_from_older_node(&json!("later"));
    node.handle(&json!({ "version": 2, "node": "!", "since": 0, "message": "heartbeat" }).to_string().into());
    node.handle(&Bytes::from_static(b"{}"));
    let page = node.channels.metrics().render();
    for (reason, count) in [("unknown_kind", 2), ("newer_version", 1), ("malformed", 1)] {
        let line = format!(r#"yamabiko_cluster_messages_ignored_total{{reason="{reason}"}} {count}"#);
        assert!(page.contains(&line), "{line} is not in {page}");
    }
    assert!(!node.channels.knows_others());
}

/// A page that subscribes while its node has still to publish what it had missed is not sent that: its position is after it.
#[tokio::test]
async fn a_subscription_begins_where_the_node_catches_up() {
    let retention = Retention { messages: 10, age: Duration::from_secs(60) };
    let apps = [("1".into(), vec![(ChannelPattern::new("news"), retention)])].into();
    let rules = RetentionRules::new(RetentionTable { apps, ..RetentionTable::default() });
    let node = Node::start_with("", Arc::new(rules)).await;
    node.histories.catch_up(Vec::new).await;
    node.histories.set_delivered();
    let news = ChannelName::new("news").unwrap();
    let event = Broadcast {
        app: "1".into(),
        channels: vec![news.clone()],
        event: "E".into(),
        data: "{}".into(),
        except: None,
        user_id: None,
        trace: None,
    };
    let mut positions = Vec::new();
    for _ in 0..3 {
        positions.extend(node.channels.broadcast(&event, None).await.unwrap());
    }
    // What has arrived is not handled: the node finds out what it has missed.
    node.histories.catch_up(Vec::new).await;
    let current = node.broker.store_state(None).await.unwrap();
    assert_eq!((positions.len(), current.number), (3, 3));
    let mut page = node.open_as(&FORMAT_WITH_IDS).await;
    page.client.receive(br#"{"event":"pusher:subscribe","data":{"channel":"news"}}"#);
    page.until(&Since::Number { store: current.store, number: 3 }.to_string()).await;

    // The channels that it has read go on where it is.
    let entry = |(position, number): (Position, u64)| {
        let stored = Stored {
            store: current.store,
            number,
            at: 0,
            positions: vec![(0, position)],
            is_plain_copy: false,
        };
        (news.clone(), Arc::new(Entry::new(position, &stored, Content::App(Arc::new(event.clone())))))
    };
    let missed = positions.into_iter().zip(1..).map(entry).collect();
    let mut delivered = Vec::new();
    node.histories.publish_missed(missed, |_, _| {
        delivered.extend(node.histories.delivered().map(|delivered| delivered.number));
    });
    assert_eq!(delivered, [0, 1, 2]);
}
