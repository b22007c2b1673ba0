//! A real Redis that is killed, stopped, paused or cut off.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use tokio::sync::oneshot;
use tokio::time::timeout;
use yamabiko::broker::{Inbound, PublishError, Status};

use super::{Node, PATIENCE, PUBLISH_TIMEOUT, SIGNALS, TOPIC, event, number, text, topic, wait_for};
use crate::support::proxy::{Proxy, Traffic};
use crate::support::redis::RedisServer;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_waits_for_an_absent_redis() {
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
async fn a_node_reconnects_to_a_killed_redis() {
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

    // Both have to be subscribed again to receive it.
    let before = other.metrics.broker_messages.get();
    while other.metrics.broker_messages.get() == before {
        node.publish_when_up(event("chat:", 1000)).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The first arrival is the last message published: nothing was queued before it.
    assert_eq!(number(&node.next().await), 1000);
    assert_eq!(number(&other.next().await), 1000);
    let message = timeout(PATIENCE, witness.on_message().next()).await.expect("in time").expect("a message");
    assert!(message.get_payload::<String>().unwrap().contains(r#""n":1000"#));
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
    let mut other = server.client().await;
    let pause = async || {
        redis::cmd("CLIENT")
            .arg("PAUSE")
            .arg(600_000)
            .arg("WRITE")
            .query_async::<()>(&mut client)
            .await
            .unwrap();
    };
    let resume = async || redis::cmd("CLIENT").arg("UNPAUSE").query_async::<()>(&mut other).await.unwrap();
    refused_means_never_delivered(&server, &mut node, pause, resume).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_connections_are_reopened() {
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
async fn without_scripts_a_node_drops_its_own_late_copies() {
    let acl = format!("aoi on >pass resetchannels &{TOPIC} &{SIGNALS} -@all +subscribe +publish +ping");
    let mut arguments = vec!["--user"];
    arguments.extend(acl.split(' '));
    let server = RedisServer::start_with(&arguments);
    let mut node = Node::start(&server.url_as("aoi:pass"), 1 << 20, Duration::from_secs(1));
    node.ready().await;
    // A message that waits for the answer to a heartbeat is not sent, so it has no copy.
    for _ in 0..10 {
        server.pause();
        assert_eq!(node.publish(event("chat:", 1)).await, Err(PublishError::TimedOut));
        server.resume();
        // The copies of what was sent before come before this one.
        node.publish_when_up(event("chat:", 2)).await;
        assert_eq!(number(&node.next().await), 2);
        if node.dropped("refused") > 0 {
            return;
        }
    }
    panic!("no late copy was dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_broker_answers_every_publisher() {
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
async fn a_black_hole_is_detected_and_nothing_is_delivered_late() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let mut node = Node::start(&proxy.url(), 64 << 20, PUBLISH_TIMEOUT);
    node.ready().await;
    let mut elsewhere = Node::on(&server).await;
    assert_eq!(node.publish(event("chat:", 1)).await, Ok(()));
    assert_eq!((number(&node.next().await), number(&elsewhere.next().await)), (1, 1));

    // With nothing to publish, heartbeats notice.
    proxy.set(Traffic::Blackhole);
    wait_for("the loss to be noticed", || node.broker.status() != Status::Ready).await;
    // It may be a moment only, so that messages are refused when it has been longer.
    wait_for("the loss to count", || node.metrics.broker_interruptions.get() == 1).await;
    assert_eq!(node.publish(event("chat:", 2)).await, Err(PublishError::Unreachable));
    proxy.set(Traffic::Cut);
    proxy.set(Traffic::Open);
    node.ready().await;

    // With something to publish, its sender is refused in time.
    proxy.set(Traffic::Blackhole);
    assert_eq!(node.publish(event("chat:", 3)).await, Err(PublishError::TimedOut));
    // Messages held in transit arrive late, and Redis refuses them.
    proxy.set(Traffic::Open);
    node.publish_when_up(event("chat:", 4)).await;
    assert_eq!((number(&node.next().await), number(&elsewhere.next().await)), (4, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silently_dead_subscription_is_detected_and_replaced() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let mut node = Node::start(&proxy.url(), 64 << 20, PUBLISH_TIMEOUT);
    node.ready().await;
    node.subscribe_and_confirm("orders").await;
    proxy.set(Traffic::SubscriptionsSwallowed);
    wait_for("the silence to be noticed", || node.broker.status() != Status::Ready).await;
    node.ready().await;
    // The stream marks where messages may be missing, and continues with all topics.
    assert!(matches!(node.inbound.recv().await, Some(Inbound::Resumed)));
    assert_eq!(node.publish(event("chat:", 1)).await, Ok(()));
    assert_eq!(number(&node.next().await), 1);
    assert_eq!(node.publish(topic("orders", "2")).await, Ok(()));
    assert_eq!(node.topic().await, text("orders", "2"));
    assert_eq!(node.metrics.broker_interruptions.get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_survives_a_redis_pause_and_the_loss_of_the_publishing_connection() {
    let server = RedisServer::start();
    let mut node = Node::on(&server).await;
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let client = redis::Client::open(server.url()).unwrap();
    let mut client = client.get_multiplexed_async_connection_with_config(&patient).await.unwrap();
    let blob = "x".repeat(5_000);
    let laravel = |number: usize| {
        let payload = format!(r#"{{"channel":"chat:","data":{{"n":{number}}},"event":"{blob}"}}"#);
        redis::cmd("PUBLISH").arg(TOPIC).arg(payload).take()
    };
    for round in 0..2 {
        server.pause();
        wait_for("the silence to be noticed", || node.broker.status() != Status::Ready).await;
        // Messages published meanwhile wait in Redis.
        let publish = laravel(round);
        let (sent, ()) = tokio::join!(publish.query_async::<i64>(&mut client), async {
            wait_for("the message to lie in Redis's socket", || server.unread() > blob.len()).await;
            server.resume();
        });
        assert_eq!(sent, Ok(1));
        assert_eq!(number(&node.next().await), round);
        node.ready().await;
    }
    assert_eq!(node.metrics.broker_interruptions.get(), 0);
    let mut next = 2;
    for _ in 0..5 {
        let _: i64 = redis::cmd("CLIENT")
            .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
            .query_async(&mut client)
            .await
            .unwrap();
        for _ in 0..20 {
            assert_eq!(laravel(next).query_async::<i64>(&mut client).await, Ok(1));
            assert_eq!(number(&node.next().await), next);
            next += 1;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_reconnected_soon_after_it_returns() {
    let mut server = RedisServer::start();
    let node = Node::on(&server).await;
    server.kill();
    // Long enough for the pause between two attempts to grow to its maximum, which is a second.
    tokio::time::sleep(Duration::from_secs(12)).await;
    server.restart();
    let back = Instant::now();
    node.ready().await;
    assert!(back.elapsed() < Duration::from_secs(5), "found after {:?}", back.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_own_copy_counts_as_the_receipt_if_the_reply_is_lost() {
    let server = RedisServer::start();
    let proxy = Proxy::start(server.port()).await;
    let mut node = Node::start(&proxy.url(), 64 << 20, PUBLISH_TIMEOUT);
    node.ready().await;
    proxy.set(Traffic::RepliesLost);
    assert_eq!(node.publish(event("chat:", 1)).await, Ok(()));
    assert_eq!(number(&node.next().await), 1);
    // The connection that lost a reply is given up, and what it published is not published again.
    wait_for("the loss to be noticed", || node.metrics.broker_interruptions.get() == 1).await;
    proxy.set(Traffic::Open);
    node.publish_when_up(event("chat:", 2)).await;
    assert_eq!(number(&node.next().await), 2);
}
