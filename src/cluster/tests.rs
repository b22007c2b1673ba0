//! One node with an embedded broker, whose stream the tests hold in their hands.

use std::num::NonZeroUsize;
use std::time::Duration;

use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::said::NumberedChange;
use super::*;
use crate::broker::{Inbound, Settings};
use crate::hub::{Connection, Outbox};
use crate::message::Sender;
use crate::presence::Change;
use crate::protocol::pusher::PusherSettings;

const PATIENCE: Duration = Duration::from_secs(10);
const APP: &str = r#"{"id":"1","key":"k","secret":"s","presence_members":1"#;

struct Node {
    cluster: Arc<Cluster>,
    inbound: UnboundedReceiver<Inbound>,
    listener: TcpListener,
    budget: Arc<Semaphore>,
}

/// A page, and what it has read so far.
struct Page {
    client: Client,
    socket: TcpStream,
    read: String,
    _connection: Connection,
}

impl Node {
    /// With one app, to which these settings are added.
    async fn start(more: &str) -> Self {
        let metrics = Arc::new(Metrics::new());
        let app = serde_json::from_str(&format!("{APP}{more}}}")).unwrap();
        let apps = Apps::new(&PusherSettings::default(), &[app]).unwrap();
        let memory = Settings {
            url: SecretString::from(""),
            prefix: String::new(),
            publish_timeout: Duration::from_secs(2),
        };
        let sender = Sender { name: "System".into(), id: 0.into() };
        let (broker, inbound) = Broker::start(&memory, sender, 1 << 20, metrics.clone()).unwrap();
        let hub = Hub::start(NonZeroUsize::MIN, 1 << 20, &metrics);
        let cluster = Cluster::new(apps, hub, Arc::new(broker), metrics);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { cluster, inbound, listener, budget: Arc::new(Semaphore::new(1 << 20)) }
    }

    async fn open(&self) -> Page {
        let socket = TcpStream::connect(self.listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = self.listener.accept().await.unwrap();
        let outbox = Arc::new(Outbox::new());
        outbox.attach(server);
        let connection = self.cluster.hub.connect(outbox);
        let app = self.cluster.apps.by_id("1").unwrap();
        let client = Client::open(&self.cluster, app, &connection).unwrap();
        Page { client, socket, read: String::new(), _connection: connection }
    }

    fn hear(&self, signal: &Bytes) {
        let hold = self.budget.clone().try_acquire_many_owned(u32::try_from(signal.len()).unwrap()).unwrap();
        assert!(self.cluster.hear(signal, hold));
    }

    /// Another node says this, that was there long before.
    fn hear_older(&self, said: Said) {
        self.hear(&Statement { node: "!".into(), since: 0, said }.encode());
    }

    /// The next signal that this node has said.
    async fn next(&mut self) -> Bytes {
        loop {
            match self.inbound.recv().await.unwrap() {
                Inbound::Dispatch { dispatch: Dispatch::Signal(signal), .. } => return signal,
                Inbound::Dispatch { .. } | Inbound::Subscribed(_) | Inbound::Resumed => {}
            }
        }
    }

    /// Loses the next signal that has this text. What comes before it is heard.
    async fn lose(&mut self, text: &str) -> Bytes {
        let losing = async {
            loop {
                let signal = self.next().await;
                if std::str::from_utf8(&signal).unwrap().contains(text) {
                    return signal;
                }
                self.hear(&signal);
            }
        };
        timeout(PATIENCE, losing).await.unwrap_or_else(|_| panic!("{text} is not said"))
    }

    /// Hears all up to the next signal that has this text.
    async fn heard_of(&mut self, text: &str) {
        let signal = self.lose(text).await;
        self.hear(&signal);
    }

    /// Goes on until the page has read this text.
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
                    signal = self.next() => self.hear(&signal),
                }
            }
        };
        timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("no {text} in {}", page.read));
    }
}

impl Page {
    /// Reads on until there is this text.
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
        let credentials = &node.cluster.apps.by_id("1").unwrap().credentials;
        let data = format!(r#"{{"user_id":{user}}}"#);
        let auth = credentials.sign_channel(&self.client.id().to_string(), channel, Some(&data));
        let data = serde_json::json!({ "channel": channel, "auth": auth, "channel_data": data });
        let message = serde_json::json!({ "event": "pusher:subscribe", "data": data });
        self.client.receive(message.to_string().as_bytes());
    }
}

/// Who is told by webhooks.
struct Application(TcpListener);

impl Application {
    async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// The setting.
    fn webhooks(&self) -> String {
        format!(r#","webhooks":[{{"url":"http://{}/hook"}}]"#, self.0.local_addr().unwrap())
    }

    /// Takes requests until it is told this.
    async fn is_told(&self, event: &str) {
        let told = async {
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
        timeout(PATIENCE, told).await.expect("nobody tells");
    }
}

/// Changes on a channel of the app, numbered.
fn changes(channel: &str, changes: impl IntoIterator<Item = Change>) -> Said {
    let change =
        |(number, change)| NumberedChange { app: "1".into(), number, channel: channel.into(), change };
    Said::Changes((1..).zip(changes).map(change).collect())
}

fn join(connection: u64, user: &str) -> Change {
    let member = Member { user_id: UserId::new(user), user_info: None };
    Change::Join { connection: SocketId::new(1, connection), member }
}

#[tokio::test]
async fn a_join_whose_copy_is_lost_is_answered_with_the_next_snapshot() {
    let mut node = Node::start("").await;
    let mut page = node.open().await;
    page.enter(&node, "presence-a", 7);
    // Redis has taken it, and the subscribed connection broke before it came back.
    node.lose("join").await;
    node.cluster.may_have_missed();
    node.until(&mut page, "subscription_succeeded").await;
    assert!(page.read.contains(r#"\"ids\":[\"7\"]"#), "{}", page.read);
    assert!(node.cluster.state().joining.is_empty());
}

#[tokio::test]
async fn who_is_a_member_already_takes_no_room_of_a_channel_that_is_over_its_limit() {
    let mut node = Node::start("").await;
    // Two nodes let the last one in at the same time, and none of them is gone again yet.
    node.hear_older(changes("presence-a", [join(1, "7"), join(2, "8")]));
    let mut page = node.open().await;
    page.enter(&node, "presence-a", 7);
    node.until(&mut page, "subscription_").await;
    assert!(page.read.contains("subscription_succeeded"), "{}", page.read);
    let mut other = node.open().await;
    other.enter(&node, "presence-a", 9);
    node.until(&mut other, "presence channel is full").await;
}

#[tokio::test]
async fn what_a_node_that_goes_was_to_tell_webhooks_its_successor_tells() {
    let application = Application::start().await;
    let node = Node::start(&application.webhooks()).await;
    // It is the older one, so that it tells. Before it does, it waits whether anybody comes back.
    node.hear_older(changes("a", [Change::Count(1), Change::Count(0)]));
    node.hear_older(Said::Gone);
    application.is_told(r#"{"name":"channel_vacated","channel":"a"}"#).await;
}

#[tokio::test]
async fn where_the_farewell_does_not_come_back_what_is_known_is_told() {
    let application = Application::start().await;
    let mut node = Node::start(&application.webhooks()).await;
    let page = node.open().await;
    page.client.receive(br#"{"event":"pusher:subscribe","data":{"channel":"a"}}"#);
    node.heard_of(r#""a","change":{"count":1}"#).await;
    // The page is still there: what has not been said has gone as well. Nobody hands over what comes back.
    let finishing = node.cluster.finish(Duration::from_secs(2));
    tokio::join!(finishing, application.is_told(r#"{"name":"channel_vacated","channel":"a"}"#));
    drop(page);
}

#[tokio::test]
async fn who_has_left_tells_nothing_of_others() {
    let application = Application::start().await;
    let mut node = Node::start(&application.webhooks()).await;
    node.heard_of("everything").await;
    let cluster = node.cluster.clone();
    let finishing = tokio::spawn(async move { cluster.finish(Duration::from_secs(2)).await });
    node.heard_of(r#""gone""#).await;
    // At once: what comes behind the farewell is for others.
    node.hear_older(changes("a", [Change::Count(1)]));
    assert_eq!(node.cluster.state().apps["1"].view.channels().count(), 0);
    node.hear_older(Said::Gone);
    timeout(Duration::from_secs(1), finishing).await.expect("there is nothing to tell").unwrap();
    assert!(!node.cluster.state().has_others());
}

#[tokio::test]
async fn a_newcomer_that_knows_nothing_yet_does_not_take_the_word_from_others() {
    let application = Application::start().await;
    let mut node = Node::start(&application.webhooks()).await;
    let page = node.open().await;
    page.client.receive(br#"{"event":"pusher:subscribe","data":{"channel":"a"}}"#);
    node.heard_of(r#""a","change":{"count":1}"#).await;
    node.hear(&Statement { node: "!".into(), since: u64::MAX, said: Said::Ask }.encode());
    drop(page);
    node.heard_of(r#""a","change":{"count":0}"#).await;
    application.is_told(r#"{"name":"channel_vacated","channel":"a"}"#).await;
}

#[tokio::test]
async fn a_newcomer_is_told_the_number_of_subscribers_also_if_another_one_leaves_meanwhile() {
    let mut node = Node::start(r#","subscription_count":true"#).await;
    let subscribe = br#"{"event":"pusher:subscribe","data":{"channel":"a"}}"#;
    let mut leaver = node.open().await;
    leaver.client.receive(subscribe);
    node.until(&mut leaver, r#"{\"subscription_count\":1}"#).await;
    let mut newcomer = node.open().await;
    newcomer.client.receive(subscribe);
    // Both are told to the other nodes at once, and as no change.
    leaver.client.receive(br#"{"event":"pusher:unsubscribe","data":{"channel":"a"}}"#);
    node.until(&mut newcomer, r#"{\"subscription_count\":1}"#).await;
    // The same where the copy is lost and a snapshot takes its place, and where the broker takes nothing more.
    leaver.read.clear();
    leaver.client.receive(subscribe);
    newcomer.client.receive(br#"{"event":"pusher:unsubscribe","data":{"channel":"a"}}"#);
    node.lose(r#""a","change":{"count":1}"#).await;
    node.cluster.may_have_missed();
    node.until(&mut leaver, r#"{\"subscription_count\":1}"#).await;
    node.cluster.broker.shutdown().await;
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
        let channels = names.iter().map(|name| ChannelName::new(name).unwrap()).collect();
        let (app, event, data) = ("1".into(), "e".to_owned(), "x".repeat(bytes));
        said::broadcast(&Broadcast { app, channels, event, data, except: None, user_id: None })
    };
    let before = node.budget.available_permits();
    let taken = |signal: &Bytes| {
        let before = node.budget.available_permits();
        node.hear(signal);
        before - node.budget.available_permits()
    };
    let one = event(&names[..1], 10_000);
    assert_eq!(taken(&one), one.len());
    let ten = event(&names, 10_000);
    // Shared equally, but for what is left over.
    let all = ten.len() + 9 * 10_000;
    assert!((all - 9..=all).contains(&taken(&ten)));
    // Nobody is there: no frames.
    assert_eq!(taken(&event(&["d".into(), "e".into()], 10_000)), 0);
    // The budget has not so much, and takes no harm.
    let rest = node.budget.available_permits() - 200_000;
    let others = node.budget.clone().try_acquire_many_owned(u32::try_from(rest).unwrap()).unwrap();
    node.hear(&ten);
    node.hear(&ten);
    // All of it is given back when the frames are out.
    drop(others);
    while node.budget.available_permits() < before {
        tokio::task::yield_now().await;
    }
}
