//! The contract of every broker: one suite, run in memory and over a real Redis.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use yamabiko::broker::{PublishError, Status, SubscribeOutcome};
use yamabiko::message::{ChannelName, Dispatch, Event, Sender};

use super::{Node, PATIENCE, event, ignore, number, numbered, signal, signal_of, text, topic};

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
    an_event_arrives_unchanged,
    events_arrive_in_the_order_of_acceptance,
    the_receipt_precedes_the_copy,
    concurrent_events_arrive_once_each,
    a_receipt_may_publish,
    large_events_arrive,
    shutdown_publishes_everything_accepted,
    a_signal_arrives_unchanged,
    events_and_signals_share_one_order,
    the_receipt_of_a_signal_precedes_its_copy,
    a_topic_is_received_while_subscribed,
    messages_after_the_confirmation_arrive,
    a_prefix_subscription_receives_all_its_topics,
    a_topic_message_arrives_unchanged,
    internal_topics_cannot_be_subscribed,
    thousands_of_topics_are_subscribed_and_unsubscribed,
}

async fn an_event_arrives_unchanged(mut node: Node) {
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
            message_type: Some("job\\ \"1\"".into()),
            trace: None,
        };
        assert_eq!(node.publish(sent.clone()).await, Ok(()));
        let arrived = node.next().await;
        assert_eq!((arrived.channel, arrived.sender), (sent.channel, sent.sender));
        assert_eq!(arrived.message_type, sent.message_type);
        assert_eq!(std::str::from_utf8(&arrived.data).unwrap(), data);
    }
}

async fn events_arrive_in_the_order_of_acceptance(mut node: Node) {
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
                        assert_eq!(outcome, Ok(None));
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

async fn concurrent_events_arrive_once_each(mut node: Node) {
    let receipts = Arc::new(AtomicUsize::new(0));
    for publisher in 0..8 {
        let (broker, receipts) = (node.broker.clone(), receipts.clone());
        std::thread::spawn(move || {
            for number in 0..250 {
                let receipts = receipts.clone();
                let receipt = Box::new(move |outcome| {
                    assert_eq!(outcome, Ok(None));
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

async fn large_events_arrive(mut node: Node) {
    let data = Bytes::from(format!(r#"{{"text":"{}"}}"#, "山".repeat(1 << 20)));
    for _ in 0..3 {
        assert_eq!(node.publish(Event { data: data.clone(), ..event("chat:", 0) }).await, Ok(()));
        assert!(node.next().await.data == data);
    }
}

async fn shutdown_publishes_everything_accepted(mut node: Node) {
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    for number in 0..1000 {
        let outcomes = outcomes.clone();
        node.broker
            .publish(event("chat:", number), Box::new(move |outcome| outcomes.lock().unwrap().push(outcome)));
    }
    node.broker.shutdown().await;
    assert_eq!(*outcomes.lock().unwrap(), vec![Ok(None); 1000]);
    assert_eq!(node.publish(event("chat:", 1000)).await, Err(PublishError::Unreachable));
    assert!(matches!(node.broker.status(), Status::Unavailable(_)));
    for expected in 0..1000 {
        assert_eq!(number(&node.next().await), expected);
    }
    assert!(timeout(PATIENCE, node.inbound.recv()).await.expect("the end of the stream").is_none());
    node.broker.shutdown().await;
}

async fn a_signal_arrives_unchanged(mut node: Node) {
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

async fn events_and_signals_share_one_order(mut node: Node) {
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

async fn the_receipt_of_a_signal_precedes_its_copy(mut node: Node) {
    let told = Arc::new(AtomicUsize::new(0));
    for number in 0..500 {
        let told = told.clone();
        let receipt = Box::new(move |outcome| {
            assert_eq!(outcome, Ok(None));
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

async fn a_topic_is_received_while_subscribed(mut node: Node) {
    node.subscribe_and_confirm("orders").await;
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

    node.subscribe_and_confirm("orders").await;
    assert_eq!(node.publish(topic("orders", "5")).await, Ok(()));
    assert_eq!(node.topic().await, text("orders", "5"));
    assert!(node.inbound.try_recv().is_err());
}

async fn messages_after_the_confirmation_arrive(mut node: Node) {
    for round in 0..300 {
        let name = format!("private-Chat.{round}");
        node.subscribe_and_confirm(&name).await;
        let round = round.to_string();
        assert_eq!(node.publish(topic(&name, &round)).await, Ok(()));
        assert_eq!(node.topic().await, text(&name, &round));
        // Unsubscribed and subscribed again, before or after Redis has processed the first.
        node.broker.unsubscribe(&name);
        if round.ends_with('7') {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        node.subscribe_and_confirm(&name).await;
        assert_eq!(node.publish(topic(&name, "again")).await, Ok(()));
        assert_eq!(node.topic().await, text(&name, "again"));
        node.broker.unsubscribe(&name);
    }
}

async fn a_prefix_subscription_receives_all_its_topics(mut node: Node) {
    for beginning in ["cache-", "a*?[b]\\-", "", "yama", "broadcast"] {
        node.broker.subscribe_prefix(beginning);
    }
    node.subscribe_and_confirm("cache-1").await;
    node.subscribe_and_confirm("a*?[b]\\-1").await;
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

async fn a_topic_message_arrives_unchanged(mut node: Node) {
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

async fn internal_topics_cannot_be_subscribed(mut node: Node) {
    for name in ["broadcast", "yamabiko"] {
        assert_eq!(node.broker.subscribe(name), SubscribeOutcome::Reserved);
        node.broker.unsubscribe(name);
    }
    assert_eq!(node.publish(event("chat:", 1)).await, Ok(()));
    assert_eq!(number(&node.next().await), 1);
    assert_eq!(node.publish(signal(2)).await, Ok(()));
    assert_eq!(numbered(&signal_of(node.next_dispatch().await)), 2);
}

async fn thousands_of_topics_are_subscribed_and_unsubscribed(mut node: Node) {
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
