//! Full queues: publishers are refused, Redis is held back, and nothing that was accepted is lost.

use std::time::Duration;

use tokio::time::timeout;
use yamabiko::broker::{Inbound, PublishError};

use super::{Node, PATIENCE, PREFIX, PUBLISH_TIMEOUT, event, event_of, number, text};
use crate::support::redis::RedisServer;

#[tokio::test]
async fn a_full_memory_broker_refuses_messages() {
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
async fn a_full_node_applies_backpressure_and_loses_nothing() {
    let mut node = Node::redis(10_000).await;
    let other = Node::on(node.server_of_its_own.as_ref().unwrap()).await;
    for number in 0..500 {
        assert_eq!(other.publish(event("chat:", number)).await, Ok(()));
    }
    let mut held = Vec::new();
    while let Some(inbound) = next_of_what_has_room(&mut node, held.is_empty()).await {
        let Inbound::Dispatch { dispatch, permit, .. } = inbound else { continue };
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
async fn a_full_node_applies_backpressure_to_topics() {
    let mut node = Node::redis(10_000).await;
    node.subscribe_and_confirm("orders").await;
    let mut laravel = node.server_of_its_own.as_ref().unwrap().client().await;
    let mut pipe = redis::pipe();
    for number in 0..500 {
        pipe.publish(format!("{PREFIX}orders"), number).ignore();
    }
    pipe.query_async::<()>(&mut laravel).await.unwrap();
    let mut held = Vec::new();
    while let Some(inbound) = next_of_what_has_room(&mut node, held.is_empty()).await {
        held.push(inbound);
    }
    assert!(!held.is_empty() && held.len() < 100, "{} of 500 came at once", held.len());
    let arrived = held.len();
    drop(held);
    for expected in arrived..500 {
        assert_eq!(node.topic().await, text("orders", &expected.to_string()));
    }
}

/// The next arrival while nothing is released. Only the absence of further arrivals depends on the clock.
async fn next_of_what_has_room(node: &mut Node, is_first: bool) -> Option<Inbound> {
    let limit = if is_first { PATIENCE } else { Duration::from_millis(500) };
    timeout(limit, node.inbound.recv()).await.ok().flatten()
}
