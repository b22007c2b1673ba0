//! What every broker numbers and stores: one suite, in memory and over a real Redis.

use std::time::Duration;

use yamabiko::broker::ReadAfter;
use yamabiko::message::{ChannelName, Dispatch};

use super::{MESSAGES, Node, event, keyed, name, numbered};
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
    for (after, first, is_trimmed) in [
        (ReadAfter::Start, total - 9, true),
        (ReadAfter::Offset(total - 10), total - 9, false),
        (ReadAfter::Offset(total - 11), total - 9, true),
        (ReadAfter::Offset(total - 3), total - 2, false),
        (ReadAfter::Offset(total), total + 1, false),
        (ReadAfter::Number(total - 10), total - 9, false),
        (ReadAfter::Number(total - 11), total - 9, true),
        (ReadAfter::Number(0), total - 9, true),
        (ReadAfter::Number(total - 1), total, false),
        (ReadAfter::Number(u64::MAX), total + 1, false),
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
