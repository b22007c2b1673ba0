//! Topics of applications on a real Redis: subscribed again after an outage, confirmed in time, followed under load.

use std::time::{Duration, Instant};

use yamabiko::broker::{Inbound, PublishError, SUBSCRIBE_TIMEOUT, Status};
use yamabiko::message::Dispatch;

use super::{
    Node, PREFIX, PUBLISH_TIMEOUT, SIGNALS, TOPIC, event, number, settle, subscribe, text, topic, wait_for,
};
use crate::support::redis::RedisServer;

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_resubscribed_before_the_broker_is_ready() {
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
        // Subscriptions and unsubscriptions during the outage count too.
        let expected = names.iter().skip(round);
        let mut pipe = redis::pipe();
        for name in &names {
            pipe.publish(format!("{PREFIX}{name}"), round);
        }
        let receivers: Vec<usize> = pipe.query_async(&mut laravel).await.unwrap();
        assert_eq!(receivers.iter().sum::<usize>(), TOPICS - round);
        for name in expected {
            assert_eq!(node.topic().await, text(name, &round.to_string()));
        }
        server.kill();
        wait_for("the loss to be noticed", || node.broker.status() != Status::Ready).await;
        node.broker.unsubscribe(&names[round]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pending_subscription_times_out() {
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
        node.subscribe_and_confirm(name).await;
        assert!(asked.elapsed() >= SUBSCRIBE_TIMEOUT);
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
        // Confirmed once, and received since.
        node.publish_when_up(event("chat:", 1)).await;
        assert!(matches!(node.next_inbound().await, Inbound::Dispatch { .. }));
        assert_eq!(node.publish(topic(name, "x")).await, Ok(()));
        assert_eq!(node.topic().await, text(name, "x"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_change_while_messages_flood_in() {
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
async fn a_forbidden_topic_does_not_affect_others() {
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

        // The permitted messages of a batch are published, and the others are refused. They are one batch, because they wait for the
        // message before them.
        server.pause();
        let before = node.publish(Dispatch::from(event("chat:", 0)));
        let batch = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let publish = [
                node.publish(Dispatch::from(event("chat:", 1))),
                node.publish(topic("secrets", "x")),
                node.publish(Dispatch::from(event("chat:", 2))),
            ];
            futures_util::future::join_all(publish).await
        };
        let resume = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            server.resume();
        };
        let (first, outcomes, ()) = tokio::join!(before, batch, resume);
        assert_eq!(first, Ok(()));
        assert_eq!(outcomes, [Ok(()), Err(PublishError::Unreachable), Ok(())], "{permissions}");
        let numbers = [number(&node.next().await), number(&node.next().await), number(&node.next().await)];
        assert_eq!(numbers, [0, 1, 2]);
        node.ready().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_psubscribe_topics_are_subscribed_one_by_one() {
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
                node.subscribe_and_confirm("cache-1").await;
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
