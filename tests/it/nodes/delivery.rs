//! Messages between nodes: each once, in one order, unchanged.

use std::thread;
use std::time::Duration;

use serde_json::json;

use super::{OK, join, message, ready};
use crate::support::redis::RedisServer;
use crate::support::{Client, Raw};

#[test]
fn a_message_reaches_both_nodes_once() {
    let redis = RedisServer::start();
    let (a, b) = (ready(&redis), ready(&redis));
    let mut on_a = [join(&a, 7, "Aoi", "chat:"), join(&a, 8, "Ren", "chat:")];
    let mut on_b = [join(&b, 7, "Aoi", "chat:"), join(&b, 9, "Yui", "chat:")];
    let mut elsewhere = join(&b, 9, "Yui", "chat:other");
    on_a[0].say(&json!({ "message": "from A", "x": 1 }));
    on_a[0].expect_sent();
    for client in on_a.iter_mut().chain(&mut on_b) {
        assert_eq!(client.expect_json(), message(7, "Aoi", &json!({ "message": "from A" })));
    }
    on_b[1].say(&json!({ "message": "to Aoi", "target_user_id": 7 }));
    on_b[1].expect_sent();
    for client in [&mut on_a[0], &mut on_b[0]] {
        assert_eq!(client.expect_json(), message(9, "Yui", &json!({ "message": "to Aoi" })));
    }
    // The next one that each gets is the last: nothing came twice.
    on_b[1].say(&json!({ "message": "last" }));
    on_b[1].expect_sent();
    for client in on_a.iter_mut().chain(&mut on_b) {
        assert_eq!(client.expect_json(), message(9, "Yui", &json!({ "message": "last" })));
    }
    for node in [&a, &b] {
        node.expect_metric("yamabiko_broker_messages_total", 3);
    }
    elsewhere.expect_quiet();
}

#[test]
fn all_receivers_on_all_nodes_see_one_order_and_no_copy_precedes_its_answer() {
    const SENDERS: usize = 8;
    const EACH: usize = 250;
    let redis = RedisServer::start();
    let nodes = [ready(&redis), ready(&redis)];
    let clients: Vec<_> =
        (0..SENDERS).map(|sender| join(&nodes[sender % 2], id_of(sender), "x", "notes:")).collect();
    let mut silent: Vec<_> = nodes.iter().map(|node| join(node, 100, "silent", "notes:")).collect();
    let mut seen: Vec<Vec<String>> = thread::scope(|scope| {
        let threads: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(sender, mut client)| {
                scope.spawn(move || publish_and_receive(&mut client, sender, EACH, SENDERS * EACH))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for client in &mut silent {
        seen.push((0..SENDERS * EACH).map(|_| client.expect_text()).collect());
    }
    for other in &seen[1..] {
        assert!(other == &seen[0], "two receivers saw two orders");
    }
    for sender in 0..SENDERS {
        let by = format!("\"data\":{{\"by\":{sender},");
        let own: Vec<_> = seen[0].iter().filter(|text| text.contains(&by)).collect();
        assert_eq!(own.len(), EACH);
        for (number, text) in own.iter().enumerate() {
            assert!(text.ends_with(&format!("\"n\":{number}}}}}")), "{text}");
        }
    }
}

#[test]
fn the_answer_precedes_the_own_copy_over_redis() {
    let redis = RedisServer::start();
    let node = ready(&redis);
    let mut aoi = join(&node, 7, "Aoi", "notes:");
    for number in 0..1000 {
        aoi.say(&json!({ "n": number }));
        aoi.expect_sent();
        assert_eq!(aoi.expect_json()["data"], json!({ "n": number }));
    }
}

#[test]
fn data_passes_redis_unchanged() {
    let redis = RedisServer::start();
    let (a, b) = (ready(&redis), ready(&redis));
    let mut aoi = join(&a, 7, "Aoi \"山\"", "notes:ルーム");
    let mut ren = join(&b, 8, "Ren", "notes:ルーム");
    let data = r#"{"z":1.0,"a":123456789012345678901234567890,"n":[null,{"x":null}],"u":"\u5c71彦\/🗻","e":1E400,"z":-0}"#;
    aoi.send_text(&format!(r#"{{"data":{data}}}"#));
    aoi.expect_sent();
    let expected = format!(r#"{{"type":"message","sender":{{"name":"Aoi \"山\"","id":7}},"data":{data}}}"#);
    assert_eq!(aoi.expect_text(), expected);
    assert_eq!(ren.expect_text(), expected);
}

#[test]
fn a_large_burst_of_one_client_does_not_delay_others_behind_all_of_it() {
    let redis = RedisServer::start();
    let node = ready(&redis);
    let mut yui = join(&node, 9, "Yui", "notes:");
    let mut ren = join(&node, 8, "Ren", "notes:");
    let mut many: Vec<Client> = (10..15).map(|id| join(&node, id, "Aoi", "notes:")).collect();
    redis.pause();
    for client in &mut many {
        let mut writer = client.stream().try_clone().unwrap();
        thread::spawn(move || {
            let message = Raw::text(&json!({ "data": { "blob": "x".repeat(20_000) } }).to_string());
            let _ = std::io::Write::write_all(&mut writer, &message.repeat(100));
        });
    }
    // Enough time to read everything that it would read.
    thread::sleep(Duration::from_millis(700));
    ren.say(&json!({ "from": "Ren" }));
    thread::sleep(Duration::from_millis(200));
    redis.resume();
    let before = (0..500).find(|_| yui.expect_json()["sender"]["id"] == 8).expect("what Ren said");
    assert!(before < 50, "behind {before} of 500");
}

/// Sends everything at once, then reads until all messages have arrived. Returns them.
fn publish_and_receive(client: &mut Client, sender: usize, count: usize, due: usize) -> Vec<String> {
    for number in 0..count {
        client.say(&json!({ "by": sender, "n": number }));
    }
    let own = format!("\"id\":{}}},\"data\":", id_of(sender));
    let (mut received, mut answers, mut copies) = (Vec::new(), 0, 0);
    while received.len() < due {
        let text = client.expect_text();
        if text == OK {
            answers += 1;
            continue;
        }
        assert!(text.starts_with(r#"{"type":"message","#), "{text}");
        copies += usize::from(text.contains(&own));
        assert!(copies <= answers, "copy {copies} came after {answers} answers");
        received.push(text);
    }
    assert_eq!((answers, copies), (count, count));
    received
}

fn id_of(sender: usize) -> i64 {
    i64::try_from(sender).unwrap() + 1
}
