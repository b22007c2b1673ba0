//! The lanes of webhooks in Redis: bounds, leases, and what is read again.

use std::time::Duration;

use yamabiko::broker::{LaneEvent, LaneReader, LaneRequest, LaneState, LaneWriter, LeaseOutcome};

use super::Node;
use crate::support::redis::RedisServer;

const LEASE: Duration = Duration::from_secs(60);

fn names() -> Vec<String> {
    vec!["a".into(), "b".into()]
}

fn open(node: &Node) -> (LaneWriter, LaneReader) {
    node.broker.webhook_lanes(&names()).expect("it is Redis")
}

fn event(lane: usize, event: &[u8]) -> LaneEvent<'_> {
    LaneEvent { lane, max_events: 3, max_bytes: 10, event }
}

fn request() -> LaneRequest {
    LaneRequest { wants: true, limit: 100, ..LaneRequest::default() }
}

fn texts(state: &LaneState) -> Vec<&[u8]> {
    state.events.iter().map(|(_, event)| &event[..]).collect()
}

/// Asks for the first lane only.
async fn take(reader: &mut LaneReader, first: LaneRequest, lease: Duration) -> LaneState {
    let (now, mut states) = reader.take(&[first, LaneRequest::default()], lease).await.unwrap();
    assert!(now > 1_700_000_000_000);
    assert_eq!((states.len(), states[1].lease), (2, LeaseOutcome::HeldByOther));
    states.remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_is_bounded_and_keeps_its_order() {
    let server = RedisServer::start();
    let node = Node::on(&server).await;
    let (mut writer, mut reader) = open(&node);
    let long = [b'x'; 50];
    let events =
        [event(0, b"1"), event(1, &long), event(0, b"2"), event(1, b"3"), event(0, b"4"), event(0, b"5")];
    assert_eq!(writer.add(&events).await.unwrap(), [3, 5], "one event always has room");
    assert_eq!(writer.add(&[event(0, b"6")]).await.unwrap(), [0]);
    let state = take(&mut reader, request(), LEASE).await;
    assert_eq!((state.lease, texts(&state)), (LeaseOutcome::Acquired, vec![&b"1"[..], b"2", b"4"]));
    let (ids, epoch) = (state.events.iter().map(|(id, _)| *id).collect::<Vec<_>>(), state.epoch);
    // Two are delivered, which makes room.
    let delivered =
        LaneRequest { epoch: epoch.clone(), after: ids[2], delivered: ids[..2].to_vec(), ..request() };
    let state = take(&mut reader, delivered, LEASE).await;
    assert_eq!((state.lease, state.events.len(), &state.epoch), (LeaseOutcome::Renewed, 0, &epoch));
    assert_eq!(writer.add(&[event(0, b"123456789"), event(0, b"1234567890")]).await.unwrap(), [1]);
    let limited = LaneRequest { epoch, limit: 1, ..request() };
    let state = take(&mut reader, limited, LEASE).await;
    assert_eq!(texts(&state), [b"4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_reads_what_was_not_delivered_when_a_lease_ends_or_is_given_up() {
    let server = RedisServer::start();
    let node = Node::on(&server).await;
    let ((mut writer, mut first), (_, mut second)) = (open(&node), open(&node));
    writer.add(&[event(0, b"1"), event(0, b"2")]).await.unwrap();
    let state = take(&mut first, request(), LEASE).await;
    assert_eq!(take(&mut second, request(), LEASE).await.lease, LeaseOutcome::HeldByOther);
    let release = LaneRequest {
        wants: false,
        epoch: state.epoch.clone(),
        delivered: vec![state.events[0].0],
        ..LaneRequest::default()
    };
    assert_eq!(take(&mut first, release, LEASE).await.lease, LeaseOutcome::HeldByOther);
    // A lease that is over at once.
    let state = take(&mut second, request(), Duration::ZERO).await;
    assert_eq!((state.lease, texts(&state)), (LeaseOutcome::Acquired, vec![&b"2"[..]]));
    wait_for_lease(&mut first).await;
    assert_eq!(take(&mut second, request(), LEASE).await.lease, LeaseOutcome::HeldByOther);
}

async fn wait_for_lease(reader: &mut LaneReader) {
    loop {
        let state = take(reader, request(), LEASE).await;
        if state.lease == LeaseOutcome::Acquired {
            assert_eq!(texts(&state), [b"2"]);
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_has_lost_its_data_has_another_epoch() {
    let mut server = RedisServer::start();
    let node = Node::on(&server).await;
    let (mut writer, mut reader) = open(&node);
    writer.add(&[event(0, b"1")]).await.unwrap();
    let before = take(&mut reader, request(), LEASE).await;
    server.restart();
    writer.add(&[event(0, b"2")]).await.unwrap();
    let known = LaneRequest {
        epoch: before.epoch.clone(),
        after: before.events[0].0,
        delivered: vec![before.events[0].0],
        ..request()
    };
    let state = take(&mut reader, known, LEASE).await;
    assert_eq!((state.lease, texts(&state)), (LeaseOutcome::Acquired, vec![&b"2"[..]]));
    assert_ne!(state.epoch, before.epoch);
}
