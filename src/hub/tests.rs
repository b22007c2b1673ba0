//! The hub with real sockets.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::wire_format::tests::{FORMAT, format};
use super::*;
use crate::message::Position;

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
        self.connect_with(&FORMAT).await
    }

    async fn connect_with(&self, format: &'static WireFormat) -> (Connection, TcpStream) {
        let client = TcpStream::connect(self.listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = self.listener.accept().await.unwrap();
        let outbox = Arc::new(Outbox::new(format));
        outbox.attach(server);
        (self.hub.connect(outbox), client)
    }

    fn publish(&self, channel: &str, audience: Audience, text: &str) {
        let hold = self.budget.clone().try_acquire_owned().unwrap();
        let frame = Frame::from_wire(Bytes::copy_from_slice(text.as_bytes()));
        let mut message = Some((audience, frame));
        self.hub.publish(&name(channel), hold, |_| message.take());
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
async fn each_audience_receives_its_messages() {
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
async fn a_connection_that_left_a_channel_receives_nothing_more_from_it() {
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
    // The client sees the end only after the hub has dropped the socket.
    assert_eq!(timeout(PATIENCE, gone_client.read(&mut [0])).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn nothing_is_encoded_without_subscribers_and_the_budget_is_returned() {
    let node = Node::start(2).await;
    let hold = node.budget.clone().try_acquire_owned().unwrap();
    node.hub.publish(&name("empty"), hold, |_| panic!("the channel has no subscribers"));
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
        node.hub.close_some(NonZeroUsize::new(of).unwrap(), CloseReason::GoingAway);
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
async fn a_handle_subscribes_from_any_task_until_the_subscription_is_dropped() {
    let node = Node::start(2).await;
    let (connection, mut client) = node.connect().await;
    let scoped = ChannelName::scoped("app", "a");
    let handle = connection.handle();
    let subscription =
        tokio::spawn(async move { handle.subscribe(&ChannelName::scoped("app", "a")) }).await.unwrap();
    assert_eq!(subscription.channel(), &scoped);
    let publish = |text: &str| {
        let frame = Frame::from_wire(Bytes::copy_from_slice(text.as_bytes()));
        node.hub.publish(&scoped, InFlight::default(), |_| Some((Audience::Everyone, frame.clone())));
    };
    publish("first ");
    // No message is addressed to the users of such a subscription.
    node.hub.close_user(&0.into(), None, CloseReason::Expired);
    publish("second ");
    expect(&mut client, "first second ").await;
    drop(subscription);
    assert_eq!(node.hub.subscribers(&scoped), 0);
    publish("third");
    node.hub.close_some(NonZeroUsize::MIN, CloseReason::GoingAway);
    // What a connection's task does when it is woken.
    while connection.outbox().ending().is_none() {
        tokio::task::yield_now().await;
    }
    connection.outbox().flush().unwrap();
    let mut close = [0; 8];
    timeout(PATIENCE, client.read_exact(&mut close)).await.unwrap().unwrap();
    assert_eq!(close, *b"\x88\x06\x03\xe9away");
}

#[tokio::test]
async fn a_message_is_encoded_once_for_each_encoding_with_a_subscriber() {
    static THIRD: WireFormat = format(2);
    static UNUSED: Encoding = Encoding::new(3);
    let node = Node::start(3).await;
    let (mut first, mut first_client) = node.connect().await;
    let (mut second, mut second_client) = node.connect_with(&THIRD).await;
    let (mut third, mut third_client) = node.connect_with(&THIRD).await;
    let publish = |channel: &str, text: &str, permit: Option<OwnedSemaphorePermit>| {
        let mut encodings = Vec::new();
        node.hub.publish(&name(channel), permit, |encoding| {
            encodings.push(encoding);
            let text = format!("{text}{}|", if encoding == FORMAT.encoding { "" } else { "*" });
            Some((Audience::Everyone, Frame::from_wire(text.into())))
        });
        encodings.sort_by_key(|encoding| *encoding != FORMAT.encoding);
        encodings
    };
    for connection in [&mut first, &mut second, &mut third] {
        connection.join(&name("a"), &1.into());
    }
    second.join(&name("b"), &1.into());
    let permit = node.budget.clone().try_acquire_many_owned(1000).unwrap();
    let encodings = publish("a", "1", Some(permit));
    assert_eq!(encodings, [FORMAT.encoding, THIRD.encoding]);
    assert!(!encodings.contains(&UNUSED));
    assert_eq!(publish("b", "2", None), [THIRD.encoding]);
    assert_eq!(publish("a", "3", None).len(), 2);
    expect(&mut first_client, "1|3|").await;
    expect(&mut second_client, "1*|2*|3*|").await;
    expect(&mut third_client, "1*|3*|").await;
    while node.budget.available_permits() < 1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(node.hub.subscribers(&name("a")), 3);
    first.leave(&name("a"));
    assert_eq!(publish("a", "4", None), [THIRD.encoding]);
    third.leave(&name("a"));
    first.join(&name("a"), &1.into());
    assert_eq!(publish("a", "5", None).len(), 2);
    expect(&mut first_client, "5|").await;
    expect(&mut second_client, "4*|5*|").await;
    // Users are found in every encoding.
    node.hub.close_user(&1.into(), Some(&name("a")), CloseReason::Expired);
    for connection in [&first, &second] {
        while connection.outbox().ending().is_none() {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(third.outbox().ending(), None);
}

#[tokio::test]
async fn a_gated_subscription_replays_first_and_misses_nothing() {
    let node = Node::start(2).await;
    let (connection, mut client) = node.connect().await;
    let position = |offset: u64| Position { epoch: 1, offset: offset.try_into().unwrap() };
    let frame = |offset: u64| Frame::from_wire(format!("{offset} ").into());
    let publish = |offset: u64| {
        let message = |_| Some((Audience::Everyone, frame(offset)));
        node.hub.publish_at(&name("a"), Place::At(position(offset)), InFlight::default(), message);
    };
    publish(1);
    let gated = connection.handle().subscribe_gated(&name("a"), Some(&7.into()));
    publish(2);
    publish(3);
    // The history has been read up to 2.
    let replay = Replay { frames: vec![frame(1), frame(2)], end: Some(position(2)) };
    publish(4);
    let subscription = gated.open(replay);
    publish(5);
    expect(&mut client, "1 2 3 4 5 ").await;
    drop(subscription);
    let abandoned = connection.handle().subscribe_gated(&name("a"), None);
    publish(6);
    drop(abandoned);
    assert_eq!(node.hub.subscribers(&name("a")), 0);
    let _second = connection.handle().subscribe_gated(&name("a"), None).open(Replay::default());
    publish(7);
    expect(&mut client, "7 ").await;
    assert_eq!(node.metrics.deliveries.get(), 6);
}

#[tokio::test]
async fn nothing_of_the_history_is_sent_that_comes_before_what_the_client_has() {
    let node = Node::start(1).await;
    let (connection, mut client) = node.connect().await;
    let position = |epoch: u64, offset: u64| Position { epoch, offset: offset.try_into().unwrap() };
    let publish = |place: Place, text: &'static str| {
        let message = |_| Some((Audience::Everyone, Frame::from_wire(text.into())));
        node.hub.publish_at(&name("a"), place, InFlight::default(), message);
    };
    let replay_up_to = |end: Position| Replay { frames: Vec::new(), end: Some(end) };
    let gated = connection.handle().subscribe_gated(&name("a"), None);
    publish(Place::At(position(1, 8)), "lost ");
    publish(Place::None, "status ");
    publish(Place::Gap, "gap ");
    publish(Place::At(position(2, 1)), "read ");
    publish(Place::GapForOpen, "answered ");
    publish(Place::Gap, "later gap ");
    publish(Place::At(position(2, 2)), "new ");
    let open = gated.open(replay_up_to(position(2, 1)));
    publish(Place::GapForOpen, "open ");
    expect(&mut client, "status later gap new open ").await;
    drop(open);
    // The client has read further than the node was.
    let gated = connection.handle().subscribe_gated(&name("a"), None);
    publish(Place::At(position(1, 8)), "read ");
    publish(Place::At(position(1, 9)), "missed ");
    publish(Place::Gap, "gap ");
    publish(Place::At(position(2, 1)), "new ");
    let _open = gated.open(replay_up_to(position(1, 8)));
    expect(&mut client, "missed gap new ").await;
}
