//! What every broker numbers and stores: one suite, in memory and over a real Redis.

use std::collections::BTreeSet;
use std::num::NonZeroU64;
use std::time::Duration;

use tokio::time::timeout;
use yamabiko::broker::{Inbound, PublishError, ReadAfter, Status, StoreState};
use yamabiko::message::{ChannelName, Dispatch, Position, Retention, RetentionTable};

use super::{MESSAGES, Node, PATIENCE, PREFIX, event, keyed, name, numbered, rules};
use crate::support::redis::RedisServer;

const AGE: Duration = Duration::from_secs(600);

macro_rules! conformance {
    ($($name:ident),* $(,)?) => {
        mod in_memory { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name(super::Node::start("", super::AGE)).await; }
        )* }
        mod over_redis { $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                let server = super::RedisServer::start();
                let mut node = super::Node::on(&server, super::AGE).await;
                node.server = Some(server);
                super::$name(node).await;
            }
        )* }
    };
}

conformance! {
    offsets_and_numbers_have_no_holes,
    the_receipt_and_the_copy_report_the_same_position,
    channels_without_a_history_have_no_position,
    a_signal_has_a_position_on_each_channel_with_a_history,
    an_idempotency_key_is_published_once,
    a_fence_follows_everything_that_was_published,
}

async fn offsets_and_numbers_have_no_holes(mut node: Node) {
    let channels = ["chat:a", "chat:b", "tweet:a"];
    for number in 0..300 {
        node.broker.publish(event(channels[number % 3], number), Box::new(|_| ()));
    }
    let mut expected = [0; 2];
    let (mut last, mut store) = (0, None);
    for number in 0..300 {
        let (dispatch, stored) = node.next().await;
        assert_eq!(numbered(&dispatch), number);
        assert_eq!(stored.is_some(), number % 3 < 2);
        let Some(stored) = stored else { continue };
        let [(0, position)] = stored.positions[..] else { panic!("{stored:?}") };
        expected[number % 3] += 1;
        last += 1;
        assert_eq!((position.offset.get(), stored.number), (expected[number % 3], last));
        assert_eq!(*store.get_or_insert(stored.store), stored.store);
    }
    let state = node.broker.store_state(None).await.unwrap();
    assert_eq!((Some(state.store), state.number), (store, last));
}

async fn the_receipt_and_the_copy_report_the_same_position(mut node: Node) {
    for number in 0..20 {
        let position = node.store("chat:a", number).await;
        let (dispatch, stored) = node.next().await;
        assert_eq!((numbered(&dispatch), stored.unwrap().position(0)), (number, Some(position)));
    }
}

async fn channels_without_a_history_have_no_position(mut node: Node) {
    assert_eq!(node.publish(event("tweet:", 1)).await, Ok(None));
    assert_eq!(node.publish(node.signal(2, &["other"])).await, Ok(None));
    for number in 1..=2 {
        let (dispatch, stored) = node.next().await;
        assert_eq!((numbered(&dispatch), stored), (number, None));
    }
}

async fn a_signal_has_a_position_on_each_channel_with_a_history(mut node: Node) {
    assert!(node.publish(node.signal(1, &["kept-b"])).await.unwrap().is_some());
    let receipt = node.publish(node.signal(2, &["other", "kept-a", "kept-b", "kept-a"])).await.unwrap();
    let (_, first) = node.next().await;
    let (dispatch, stored) = node.next().await;
    let (first, stored) = (first.unwrap(), stored.unwrap());
    assert!(matches!(dispatch, Dispatch::Signal(_)));
    assert_eq!((first.number, stored.number, first.store), (1, 2, stored.store));
    assert_eq!((stored.position(0), stored.position(1)), (None, receipt));
    assert_eq!(stored.position(1).unwrap().offset.get(), 1);
    let [before, after] = [first.position(0), stored.position(2)].map(Option::unwrap);
    assert_eq!((before.epoch, before.offset.get(), after.offset.get()), (after.epoch, 1, 2));
    assert_ne!(stored.position(1).unwrap().epoch, after.epoch);
}

async fn an_idempotency_key_is_published_once(mut node: Node) {
    let first = node.publish(keyed(event("chat:a", 1), "k")).await.unwrap();
    assert!(first.is_some());
    assert_eq!(node.publish(keyed(event("chat:a", 2), "k")).await, Ok(first));
    assert_eq!(node.publish(keyed(event("tweet:", 3), "k")).await, Ok(first));
    let other = node.publish(keyed(event("chat:a", 4), "l")).await.unwrap().unwrap();
    assert_eq!(other.offset.get(), 2);
    // Also what has no history.
    assert_eq!(node.publish(keyed(event("tweet:", 5), "m")).await, Ok(None));
    assert_eq!(node.publish(keyed(event("tweet:", 6), "m")).await, Ok(None));
    assert_eq!(node.publish(event("chat:a", 7)).await.unwrap().unwrap().offset.get(), 3);
    for (number, stored) in [(1, Some(1)), (4, Some(2)), (5, None), (7, Some(3))] {
        let (dispatch, at) = node.next().await;
        assert_eq!((numbered(&dispatch), at.map(|stored| stored.number)), (number, stored));
    }
    node.broker.shutdown().await;
}

async fn a_fence_follows_everything_that_was_published(mut node: Node) {
    for number in 0..200 {
        let channel = if number % 2 == 0 { "chat:a" } else { "tweet:" };
        node.publish(event(channel, number)).await.unwrap();
    }
    let mut fences: Vec<_> = (0..3).map(|_| Box::pin(node.broker.fence())).collect();
    let (mut arrived, mut handled) = (0, 0);
    while handled < 3 {
        match node.inbound.recv().await.expect("an open stream") {
            Inbound::Dispatch { dispatch, .. } => {
                assert_eq!(numbered(&dispatch), arrived);
                arrived += 1;
            }
            Inbound::Fence(fence) => {
                assert_eq!(arrived, 200);
                fence.send(()).unwrap();
                handled += 1;
            }
            _ => {}
        }
    }
    for fence in &mut fences {
        timeout(PATIENCE, fence).await.expect("a fence that completes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fence_without_a_connection_follows_the_resumption() {
    let mut server = RedisServer::start();
    let mut node = Node::on(&server, AGE).await;
    server.kill();
    while node.broker.status() == Status::Ready {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let fence = node.broker.fence();
    server.restart();
    let mut has_resumed = false;
    loop {
        match timeout(PATIENCE, node.inbound.recv())
            .await
            .expect("something in time")
            .expect("an open stream")
        {
            Inbound::Resumed => has_resumed = true,
            Inbound::Fence(handled) => {
                assert!(has_resumed);
                handled.send(()).unwrap();
                break;
            }
            _ => {}
        }
    }
    timeout(PATIENCE, fence).await.expect("a fence that completes");
}

/// The in-memory broker keeps no messages, only numbers.
#[tokio::test(flavor = "multi_thread")]
async fn redis_keeps_the_latest_messages() {
    let server = RedisServer::start();
    let node = Node::on(&server, AGE).await;
    let channel = name("chat:a");
    let empty = node.read(&channel, ReadAfter::Start).await;
    assert!(empty.head.is_none() && empty.messages.is_empty() && !empty.is_trimmed);
    let total = 3 * u64::from(MESSAGES);
    let mut positions = Vec::new();
    for number in 1..=total {
        positions.push(node.store("chat:a", usize::try_from(number).unwrap()).await);
    }
    let StoreState { store, .. } = node.broker.store_state(None).await.unwrap();
    let (epoch, after_all) = (positions[0].epoch, total + 1);
    let position = |offset| position(epoch, offset);
    let number = |number| ReadAfter::Number(StoreState { store, number });
    for (after, first, is_trimmed) in [
        (ReadAfter::Start, total - 9, true),
        (position(total - 10), total - 9, false),
        (position(total - 3), total - 2, false),
        (position(total), after_all, false),
        (number(total - 10), total - 9, false),
        (number(total - 11), total - 9, true),
        (number(0), total - 9, true),
        (number(total - 1), total, false),
        (number(u64::MAX), after_all, false),
        (ReadAfter::End, after_all, false),
    ] {
        let history = node.read(&channel, after).await;
        let head = history.head.unwrap();
        assert_eq!((Some(&head.position), head.number), (positions.last(), total));
        let offsets: Vec<u64> =
            history.messages.iter().map(|message| message.position.offset.get()).collect();
        assert_eq!(offsets, (first..=total).collect::<Vec<_>>(), "{after:?}");
        assert_eq!(history.is_trimmed, is_trimmed, "{after:?}");
        for message in history.messages {
            let number = numbered(&message.dispatch);
            assert_eq!((number as u64, message.number), (message.position.offset.get(), message.number));
            assert!(matches!(message.dispatch, Dispatch::Event(event) if event.channel == channel));
        }
    }
}

/// A client may ask for anything, and as often as it likes.
#[tokio::test(flavor = "multi_thread")]
async fn no_messages_are_read_when_some_are_missing_before_them() {
    let server = RedisServer::start();
    let node = Node::on(&server, AGE).await;
    for number in 1..=2 * usize::try_from(MESSAGES).unwrap() {
        node.store("chat:a", number).await;
    }
    let head = node.read(&name("chat:a"), ReadAfter::End).await.head.unwrap();
    let StoreState { store, number } = node.broker.store_state(None).await.unwrap();
    let other = head.position.epoch + 1;
    let before = reads(&server).await;
    for after in [
        position(head.position.epoch, 1),
        position(other, 1),
        position(other, head.position.offset.get() - 1),
        ReadAfter::Number(StoreState { store: store + 1, number: number - 1 }),
    ] {
        let history = node.read(&name("chat:a"), after).await;
        assert_eq!((history.head, history.is_trimmed), (Some(head), true), "{after:?}");
        assert!(history.messages.is_empty(), "{after:?}");
    }
    assert_eq!(reads(&server).await, before);
    assert_eq!(node.read(&name("chat:a"), position(head.position.epoch, 15)).await.messages.len(), 5);
    assert_eq!(reads(&server).await, before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_keeps_a_signal_on_each_of_its_channels() {
    let server = RedisServer::start();
    let node = Node::on(&server, AGE).await;
    node.publish(node.signal(1, &["kept-a", "other", "kept-b"])).await.unwrap();
    for (channel, index) in [("kept-a", 0), ("kept-b", 2)] {
        let history = node.read(&ChannelName::scoped("a", channel), ReadAfter::Start).await;
        let [message] = &history.messages[..] else { panic!("{history:?}") };
        assert_eq!((message.index, message.number, numbered(&message.dispatch)), (index, 1, 1));
        assert!(matches!(message.dispatch, Dispatch::Signal(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_redis_stores_as_one_keep_their_own_positions() {
    const TOTAL: usize = 200;
    let server = RedisServer::start();
    let retention = Retention { messages: 1000, age: AGE };
    let mut node = Node::start_with(&server.url(), retention, PATIENCE);
    node.ready().await;
    let first = node.store("chat:a", 0).await;
    let published = (1..TOTAL).map(|number| node.broker.publish_and_wait(event("chat:a", number).into()));
    let receipts = futures_util::future::join_all(published).await;
    for number in 0..TOTAL {
        let (dispatch, stored) = node.next().await;
        let (stored, offset) = (stored.unwrap(), number as u64 + 1);
        let position = stored.position(0).unwrap();
        assert_eq!((numbered(&dispatch), stored.number, position.offset.get()), (number, offset, offset));
        assert_eq!(position.epoch, first.epoch);
        if number > 0 {
            assert_eq!(receipts[number - 1], Ok(Some(position)));
        }
    }
    let entries: usize = query(&server, &["XLEN", &keys("chat:a")[1]]).await;
    assert!(entries < TOTAL / 2, "{entries}");
    let StoreState { store, .. } = node.broker.store_state(None).await.unwrap();
    for after in 0..TOTAL as u64 {
        // There is no position before the first one.
        let position = (after > 0).then(|| position(first.epoch, after));
        for read in position.into_iter().chain([ReadAfter::Number(StoreState { store, number: after })]) {
            let history = node.read(&name("chat:a"), read).await;
            let found: Vec<(u64, u64, usize)> = history
                .messages
                .iter()
                .map(|one| (one.position.offset.get(), one.number, numbered(&one.dispatch)))
                .collect();
            let expected =
                (after + 1..=TOTAL as u64).map(|one| (one, one, usize::try_from(one).unwrap() - 1));
            assert_eq!(found, expected.collect::<Vec<_>>(), "{read:?}");
            assert!(!history.is_trimmed);
        }
    }
}

fn position(epoch: u64, offset: u64) -> ReadAfter {
    ReadAfter::Position(Position { epoch, offset: NonZeroU64::new(offset).unwrap() })
}

/// How often messages have been read.
async fn reads(server: &RedisServer) -> usize {
    let statistics: String = query(server, &["INFO", "commandstats"]).await;
    let reads = statistics.lines().find_map(|line| line.strip_prefix("cmdstat_xrange:calls="));
    reads.map_or(0, |reads| reads.split(',').next().unwrap().parse().unwrap())
}

/// The offsets that Redis keeps of a channel.
async fn offsets(node: &Node, channel: &str) -> Vec<u64> {
    let history = node.read(&name(channel), ReadAfter::Start).await;
    history.messages.iter().map(|message| message.position.offset.get()).collect()
}

async fn query<T: redis::FromRedisValue>(server: &RedisServer, arguments: &[&str]) -> T {
    let mut client = server.client().await;
    redis::cmd(arguments[0]).arg(&arguments[1..]).query_async(&mut client).await.unwrap()
}

/// The key of a channel's head, and of its messages.
fn keys(channel: &str) -> [String; 2] {
    ["head", "history"].map(|kind| format!("{PREFIX}yamabiko:{kind}:/{channel}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_in_redis_expires() {
    let server = RedisServer::start();
    let node = Node::on(&server, AGE).await;
    node.store("chat:a", 1).await;
    node.publish(node.signal(2, &["kept-a", "kept-b"])).await.unwrap();
    node.publish(keyed(event("chat:b", 3), "k")).await.unwrap();
    node.publish(keyed(event("tweet:", 4), "l")).await.unwrap();
    node.broker.store_state(None).await.unwrap();
    let keys: BTreeSet<String> = query(&server, &["KEYS", "*"]).await;
    let kinds: BTreeSet<&str> = keys
        .iter()
        .map(|key| {
            key.strip_prefix(PREFIX).unwrap().strip_prefix("yamabiko:").unwrap().split(':').next().unwrap()
        })
        .collect();
    assert_eq!(kinds, BTreeSet::from(["batch", "head", "history", "key", "store"]));
    for key in &keys {
        let ttl: i64 = query(&server, &["TTL", key]).await;
        assert!(ttl > 0, "{key}: {ttl}");
    }
    let left = |key: &str| format!("{PREFIX}yamabiko:{key}");
    let ttl: i64 = query(&server, &["TTL", &left("store")]).await;
    let head: i64 = query(&server, &["TTL", &left("head:/chat:a")]).await;
    assert!(ttl > head, "the store outlives every head");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_keeps_no_more_bytes_than_the_limit() {
    const LIMIT: usize = 20_000;
    let server = RedisServer::start();
    let retention = Retention { messages: 100_000, age: AGE };
    let rules = RetentionTable { channel_bytes: LIMIT, ..rules(retention) };
    let node = Node::start_with_rules(&server.url(), rules, PATIENCE);
    node.ready().await;
    for number in 1..=1000_u64 {
        node.store("chat:a", usize::try_from(number).unwrap()).await;
        if number % 50 == 0 {
            let offsets = offsets(&node, "chat:a").await;
            // A message is some 180 bytes long.
            let bytes = offsets.len() * 180;
            assert!(bytes < LIMIT * 5 / 4 && (number < 150 || bytes > LIMIT / 2), "{bytes}");
            assert_eq!(offsets, (number - offsets.len() as u64 + 1..=number).collect::<Vec<_>>());
        }
    }
    let kept: u64 = query(&server, &["XLEN", &keys("chat:a")[1]]).await;
    // Redis removes whole nodes of a stream, of 4 KiB.
    assert!(kept * 180 < 2 * LIMIT as u64, "{kept}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_expire_and_their_position_does_not() {
    let server = RedisServer::start();
    let node = Node::on(&server, Duration::from_millis(200)).await;
    let first = node.store("chat:a", 1).await;
    // A busy channel.
    let mut last = first;
    while offsets(&node, "chat:a").await.contains(&1) {
        last = node.store("chat:a", 2).await;
    }
    assert_eq!(last.epoch, first.epoch);
    let channel = name("chat:a");
    let read = |after: Position| node.read(&channel, ReadAfter::Position(after));
    assert!(node.read(&channel, ReadAfter::Start).await.is_trimmed);
    // A silent one.
    while !offsets(&node, "chat:a").await.is_empty() {}
    let before_last = NonZeroU64::new(last.offset.get() - 1).unwrap();
    let trimmed = read(Position { offset: before_last, ..last }).await;
    assert_eq!((trimmed.head.unwrap().position, trimmed.is_trimmed), (last, true));
    assert!(!read(last).await.is_trimmed);
    while query::<bool>(&server, &["EXISTS", &keys("chat:a")[1]]).await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let next = node.store("chat:a", 3).await;
    assert_eq!((next.epoch, next.offset.get()), (last.epoch, last.offset.get() + 1));
    assert_eq!(offsets(&node, "chat:a").await.last(), Some(&next.offset.get()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_head_starts_a_new_epoch() {
    let server = RedisServer::start();
    let node = Node::on(&server, AGE).await;
    let mut before = node.store("chat:a", 1).await;
    node.store("chat:b", 2).await;
    let [head, messages] = keys("chat:a");
    for broken in [&["DEL", &head][..], &["SET", &head, "nonsense"]] {
        let () = query(&server, broken).await;
        let after = node.store("chat:a", 3).await;
        assert_ne!(after.epoch, before.epoch);
        assert_eq!((after.offset.get(), offsets(&node, "chat:a").await), (1, vec![1]));
        // Nobody knows what was lost.
        let StoreState { store, .. } = node.broker.store_state(None).await.unwrap();
        let read = node.read(&name("chat:a"), ReadAfter::Number(StoreState { store, number: 1 })).await;
        assert!(read.is_trimmed);
        before = after;
    }
    // The messages do not continue what the head says.
    let () = query(&server, &["XADD", &messages, "9-0", "payload", "{}"]).await;
    assert_eq!(node.publish(event("chat:a", 4)).await, Err(PublishError::Unreachable));
    let after = node.store("chat:a", 5).await;
    assert!(after.epoch != before.epoch && after.offset.get() == 1);
    // Other channels go on, and no number is missing.
    assert_eq!(node.store("chat:b", 6).await.offset.get(), 2);
    assert_eq!(node.broker.store_state(None).await.unwrap().number, 6);
}

/// Redis does not undo what a script has done: the script removes what would be a part.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_failure_has_removed_counts_as_missed() {
    let server = RedisServer::start();
    let node = Node::on(&server, AGE).await;
    let first = node.store("chat:a", 1).await;
    node.store("chat:a", 2).await;
    node.store("chat:b", 3).await;
    let [head, messages] = keys("chat:a");
    let () = query(&server, &["XADD", &messages, "9-0", "payload", "{}"]).await;
    assert_eq!(node.publish(event("chat:a", 4)).await, Err(PublishError::Unreachable));
    let StoreState { store, .. } = node.broker.store_state(None).await.unwrap();
    let after_number = |number| ReadAfter::Number(StoreState { store, number });
    let is_trimmed = async |after| {
        let history = node.read(&name("chat:a"), after).await;
        assert!(history.head.is_none() && history.messages.is_empty(), "{history:?}");
        history.is_trimmed
    };
    for (after, expected) in [(0, true), (1, true), (2, false), (3, false)] {
        assert_eq!(is_trimmed(after_number(after)).await, expected, "{after}");
    }
    assert!(is_trimmed(ReadAfter::Start).await && is_trimmed(ReadAfter::Position(first)).await);
    // The same once the channel goes on.
    node.store("chat:a", 5).await;
    for (after, expected) in [(1, true), (2, false), (3, false)] {
        assert_eq!(node.read(&name("chat:a"), after_number(after)).await.is_trimmed, expected, "{after}");
    }
    // A head that was cut off proves nothing.
    let identity: String = query(&server, &["GETRANGE", &head, "0", "30"]).await;
    let () = query(&server, &["SET", &head, &identity]).await;
    assert!(is_trimmed(after_number(3)).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_has_lost_its_tail_becomes_another_store() {
    let server = RedisServer::start();
    let node = Node::on(&server, AGE).await;
    let before = node.store("chat:a", 1).await;
    node.store("chat:a", 2).await;
    let seen = node.broker.store_state(None).await.unwrap();
    assert_eq!(node.broker.store_state(Some(seen)).await, Ok(seen));
    // As after a failover to a replica that had not received everything.
    let lost = StoreState { number: 3, ..seen };
    let renewed = node.broker.store_state(Some(lost)).await.unwrap();
    assert!(renewed.store != seen.store && renewed.number == 0);
    assert_eq!(node.broker.store_state(Some(lost)).await, Ok(renewed));
    let stale = node.read(&name("chat:a"), ReadAfter::Position(before)).await;
    assert!(stale.head.is_none() && stale.messages.is_empty() && stale.is_trimmed);
    let after = node.store("chat:a", 3).await;
    assert!(after.epoch != before.epoch && after.offset.get() == 1);
    assert_eq!(offsets(&node, "chat:a").await, [1]);
}

/// The node itself notices before it publishes, not only when it is asked.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_gives_no_number_twice_to_what_it_has_seen() {
    let server = RedisServer::start();
    let mut node = Node::on(&server, AGE).await;
    for number in 0..5 {
        node.store("chat:a", number).await;
        node.next().await;
    }
    let before = node.broker.store_state(None).await.unwrap();
    let key = format!("{PREFIX}yamabiko:store");
    let () = query(&server, &["HSET", &key, &format!("{:016x}", before.store), "3"]).await;
    let () = query(&server, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    while node.publish(event("chat:a", 5)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (_, stored) = node.next().await;
    let stored = stored.unwrap();
    assert!(stored.store != before.store && stored.number == 1, "{stored:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_publish_the_same_key_at_once_publish_it_once() {
    let server = RedisServer::start();
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Node::on(&server, AGE).await);
    }
    for round in 0..50 {
        let publish =
            |node: &Node| node.broker.publish_and_wait(keyed(event("chat:a", round), &format!("k{round}")));
        let outcomes = futures_util::future::join_all(nodes.iter().map(publish)).await;
        let first = outcomes[0].unwrap().unwrap();
        assert_eq!(first.offset.get(), round as u64 + 1);
        assert!(outcomes.iter().all(|outcome| *outcome == Ok(Some(first))), "{outcomes:?}");
        for node in &mut nodes {
            assert_eq!(numbered(&node.next().await.0), round);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_without_memory_refuses_only_what_is_to_be_stored() {
    let server = RedisServer::start();
    let mut node = Node::on(&server, AGE).await;
    node.store("chat:a", 0).await;
    let () = query(&server, &["CONFIG", "SET", "maxmemory", "1"]).await;
    let mixed = [("chat:a", 1), ("tweet:", 2), ("chat:b", 3), ("tweet:", 4)];
    let published =
        mixed.map(|(channel, number)| node.broker.publish_and_wait(event(channel, number).into()));
    let outcomes = futures_util::future::join_all(published).await;
    let refused = Err(PublishError::Unreachable);
    assert_eq!(outcomes, [refused, Ok(None), refused, Ok(None)]);
    let () = query(&server, &["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(node.store("chat:a", 5).await.offset.get(), 2);
    for expected in [0, 2, 4, 5] {
        assert_eq!(numbered(&node.next().await.0), expected);
    }
    assert_eq!(node.broker.store_state(None).await.unwrap().number, 2);
}
