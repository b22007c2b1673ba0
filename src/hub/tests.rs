//! The hub with real sockets.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

struct Node {
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    listener: TcpListener,
    budget: Arc<Semaphore>,
}

impl Node {
    async fn start(shards: usize) -> Self {
        let metrics = Arc::new(Metrics::new());
        let hub = Hub::start(NonZeroUsize::new(shards).unwrap(), 1 << 20, &metrics);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { hub, metrics, listener, budget: Arc::new(Semaphore::new(1000)) }
    }

    /// A connection in the hub, and the socket of its client.
    async fn connect(&self) -> (Connection, TcpStream) {
        let client = TcpStream::connect(self.listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = self.listener.accept().await.unwrap();
        let outbox = Arc::new(Outbox::new());
        outbox.attach(server);
        (self.hub.connect(outbox), client)
    }

    fn publish(&self, channel: &str, audience: Audience, text: &str) {
        let hold = self.budget.clone().try_acquire_owned().unwrap();
        let frame = Frame::from_wire(Bytes::copy_from_slice(text.as_bytes()));
        self.hub.publish(&name(channel), hold, || Some((audience, frame)));
    }
}

fn name(channel: &str) -> ChannelName {
    ChannelName::new(channel).unwrap()
}

async fn expect(client: &mut TcpStream, text: &str) {
    let mut bytes = vec![0; text.len()];
    timeout(PATIENCE, client.read_exact(&mut bytes)).await.expect("nothing came").unwrap();
    assert_eq!(std::str::from_utf8(&bytes).unwrap(), text);
}

#[tokio::test]
async fn each_audience_gets_what_is_for_it() {
    let node = Node::start(3).await;
    let (mut first, mut first_client) = node.connect().await;
    let (mut second, mut second_client) = node.connect().await;
    first.join(&name("chat:"), &7.into());
    second.join(&name("chat:"), &8.into());
    node.publish("chat:", Audience::Everyone, "all ");
    node.publish("chat:", Audience::User(7.into()), "seven ");
    node.publish("chat:", Audience::Except(first.id()), "not the first ");
    node.publish("other:", Audience::Everyone, "nobody ");
    node.publish("chat:", Audience::Everyone, "end");
    expect(&mut first_client, "all seven end").await;
    expect(&mut second_client, "all not the first end").await;
}

#[tokio::test]
async fn who_left_gets_nothing_more_and_the_rest_goes_on() {
    let node = Node::start(2).await;
    let (mut both, mut both_client) = node.connect().await;
    let (mut gone, mut gone_client) = node.connect().await;
    for channel in ["a", "b"] {
        both.join(&name(channel), &1.into());
        both.join(&name(channel), &1.into());
    }
    gone.join(&name("a"), &2.into());
    assert_eq!(node.hub.subscribers(&name("a")), 2);
    assert!(both.leave(&name("a")));
    assert!(!both.leave(&name("a")));
    assert_eq!(node.hub.subscribers(&name("a")), 1);
    node.publish("a", Audience::Everyone, "a");
    node.publish("b", Audience::Everyone, "b");
    expect(&mut both_client, "b").await;
    expect(&mut gone_client, "a").await;
    drop(gone);
    assert_eq!(node.hub.subscribers(&name("a")), 0);
    assert_eq!(node.metrics.channels.get(), 1);
    // The hub has let go of the socket when its client sees the end.
    assert_eq!(timeout(PATIENCE, gone_client.read(&mut [0])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn encoding_is_for_an_audience_and_the_budget_comes_back() {
    let node = Node::start(2).await;
    let hold = node.budget.clone().try_acquire_owned().unwrap();
    node.hub.publish(&name("empty"), hold, || panic!("nobody is on the channel"));
    assert_eq!(node.budget.available_permits(), 1000);
    let (mut connection, mut client) = node.connect().await;
    connection.join(&name("a"), &1.into());
    for _ in 0..100 {
        node.publish("a", Audience::Everyone, "x");
    }
    expect(&mut client, &"x".repeat(100)).await;
    while node.budget.available_permits() < 1000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_drain_closes_each_connection_once_and_a_share_at_a_time() {
    let node = Node::start(1).await;
    let mut places = Vec::new();
    for _ in 0..4 {
        places.push(node.connect().await);
    }
    let closed = |places: &[(Connection, TcpStream)]| {
        places.iter().filter(|(connection, _)| connection.outbox().ending().is_some()).count()
    };
    for (of, expected) in [(2, 2), (2, 3), (1, 4), (1, 4)] {
        node.hub.close_some(NonZeroUsize::new(of).unwrap(), Close::GoingAway);
        let all = async {
            while closed(&places) < expected {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, all).await.unwrap();
        assert_eq!(closed(&places), expected);
    }
}

#[tokio::test]
async fn a_seat_subscribes_from_anywhere_until_it_is_dropped() {
    let node = Node::start(2).await;
    let (connection, mut client) = node.connect().await;
    let scoped = ChannelName::scoped("app", "a");
    let seat = connection.seat();
    let subscription =
        tokio::spawn(async move { seat.subscribe(&ChannelName::scoped("app", "a")) }).await.unwrap();
    assert_eq!(subscription.channel(), &scoped);
    let publish = |text: &str| {
        let frame = Frame::from_wire(Bytes::copy_from_slice(text.as_bytes()));
        node.hub.publish(&scoped, None, || Some((Audience::Everyone, frame)));
    };
    publish("first ");
    // Users of scoped channels are not native ones.
    node.hub.close_user(&0.into(), None, Close::Disconnected);
    publish("second ");
    expect(&mut client, "first second ").await;
    drop(subscription);
    assert_eq!(node.hub.subscribers(&scoped), 0);
    publish("third");
    connection.outbox().speak_pusher();
    node.hub.close_some(NonZeroUsize::MIN, Close::GoingAway);
    // What a connection's task does when it is woken.
    while connection.outbox().ending().is_none() {
        tokio::task::yield_now().await;
    }
    connection.outbox().flush().unwrap();
    let mut close = [0; 13];
    timeout(PATIENCE, client.read_exact(&mut close)).await.unwrap().unwrap();
    assert_eq!(close, *b"\x88\x0b\x10\x68reconnect");
}
