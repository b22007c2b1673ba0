//! Several nodes and Laravel on one Redis.

use yamabiko::message::Sender;

use super::{Node, SIGNALS, TOPIC, event, ignore, number, wait_for};
use crate::support::redis::RedisServer;

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_receive_the_same_order_once() {
    let server = RedisServer::start();
    let (mut one, mut two) = (Node::on(&server).await, Node::on(&server).await);
    for number in 0..500 {
        one.broker.publish(event("chat:1", number), ignore());
        two.broker.publish(event("chat:2", number), ignore());
    }
    let mut seen = (Vec::new(), Vec::new());
    for _ in 0..1000 {
        let (a, b) = (one.next().await, two.next().await);
        seen.0.push((a.channel.clone(), number(&a)));
        seen.1.push((b.channel.clone(), number(&b)));
    }
    assert_eq!(seen.0, seen.1);
    for channel in ["chat:1", "chat:2"] {
        let of_channel = seen.0.iter().filter(|(name, _)| name.as_str() == channel);
        assert!(of_channel.map(|(_, number)| *number).eq(0..500));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn application_messages_arrive_and_invalid_ones_are_counted() {
    let server = RedisServer::start();
    let mut node = Node::on(&server).await;
    let mut laravel = server.client().await;
    let junk: [(&'static str, Vec<u8>); 9] = [
        ("invalid_json", b"{\"channel\":\"chat:\"} x".to_vec()),
        ("invalid_json", vec![0xff; 2 << 20]),
        ("invalid_envelope", "[".repeat(1 << 20).into_bytes()),
        ("invalid_json", "{\"a\":".repeat(1 << 18).into_bytes()),
        ("invalid_envelope", b"null".to_vec()),
        ("invalid_channel", br#"{"channel":{},"data":{}}"#.to_vec()),
        ("invalid_data", br#"{"channel":"chat:","data":"x"}"#.to_vec()),
        ("invalid_sender", br#"{"channel":"chat:","data":{},"sender":"x"}"#.to_vec()),
        ("invalid_type", br#"{"channel":"chat:","data":{},"type":{}}"#.to_vec()),
    ];
    for (_, payload) in &junk {
        let receivers: i64 =
            redis::cmd("PUBLISH").arg(TOPIC).arg(payload).query_async(&mut laravel).await.unwrap();
        assert_eq!(receivers, 1);
    }
    let payload = r#"{"channel":"chat:room1","data":{"message":"\u5c71\/"},"socket":null}"#;
    let _: i64 = redis::cmd("PUBLISH").arg(TOPIC).arg(payload).query_async(&mut laravel).await.unwrap();
    let arrived = node.next().await;
    assert_eq!(
        (arrived.channel.as_str(), &arrived.data[..]),
        ("chat:room1", &br#"{"message":"\u5c71\/"}"#[..])
    );
    assert_eq!(arrived.sender, Sender { name: "System".into(), id: 0.into() });
    for (reason, topic, payload) in
        [("invalid_signal", SIGNALS, "{}"), ("invalid_disconnect", TOPIC, r#"{"disconnect":{"user":""}}"#)]
    {
        let _: i64 = redis::cmd("PUBLISH").arg(topic).arg(payload).query_async(&mut laravel).await.unwrap();
        wait_for(reason, || node.dropped(reason) == 1).await;
    }
    let count = |reason| junk.iter().filter(|(word, _)| *word == reason).count() as u64;
    for reason in junk.iter().map(|(reason, _)| *reason) {
        assert_eq!(node.dropped(reason), count(reason), "{reason}");
    }
    assert_eq!(node.metrics.broker_messages.get(), 1);
}
