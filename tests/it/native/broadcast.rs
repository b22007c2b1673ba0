//! Delivery to the other connections.

use std::thread;

use serde_json::json;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::native::{OK, join, message};
use crate::support::{Client, Request, Server, claims, token};

#[test]
fn a_message_reaches_every_connection_on_the_channel() {
    let server = Server::start(|_| {});
    let mut here = [
        join(&server, 7, "Aoi", "notes:1"),
        join(&server, 7, "Aoi", "notes:1"),
        join(&server, 8, "Ren", "notes:1"),
    ];
    let mut elsewhere = join(&server, 7, "Aoi", "notes:2");
    here[0].say(&json!({ "n": 1 }));
    here[0].expect_sent();
    for client in &mut here {
        assert_eq!(client.expect_json(), message(7, "Aoi", &json!({ "n": 1 })));
    }
    here[2].say(&json!({ "n": 2 }));
    here[2].expect_sent();
    for client in &mut here {
        assert_eq!(client.expect_json(), message(8, "Ren", &json!({ "n": 2 })));
    }
    server.expect_metric("yamabiko_deliveries_total", 6);
    server.expect_metric("yamabiko_broker_messages_total", 2);
    elsewhere.expect_quiet();
}

#[test]
fn the_sender_comes_from_the_token() {
    let server = Server::start(|_| {});
    let mut aoi = join(&server, 7, "Aoi", "chat:");
    aoi.send_json(
        &json!({ "sender": { "name": "Ren", "id": 8 }, "data": { "message": "hi", "name": "Ren" } }),
    );
    aoi.expect_sent();
    let copy = aoi.expect_text();
    let expected =
        r#"{"type":"message","sender":{"name":"Aoi","id":7},"data":{"message":"hi","name":"Ren"}}"#;
    assert_eq!(copy, expected);
}

#[test]
fn data_is_delivered_unchanged() {
    let data = concat!(
        r#"{"z":1,"a":1.0,"big":123456789012345678901234567890,"exact":9007199254740993,"tiny":1e-400,"huge":1E400,"#,
        r#""minus":-0,"nested":{"null":null,"list":[null,[],{},[[null]]],"b":true,"a":false},"#,
        r#""unicode":"山彦 🗻 é","escaped":"\u5c71\u5F66 \ud83d\uddfb \/ \"\\","lone":"\ud800","empty":"","":0,"z2":"<&>"}"#
    );
    let server = Server::start(|_| {});
    let mut aoi = join(&server, 7, "Aoi", "notes:");
    aoi.send_text(&format!(r#"{{"data":{data}}}"#));
    aoi.expect_sent();
    let expected = format!(r#"{{"type":"message","sender":{{"name":"Aoi","id":7}},"data":{data}}}"#);
    assert_eq!(aoi.expect_text(), expected);

    // Where fields are chosen, what is chosen is as faithful.
    let mut ren = join(&server, 8, "Ren", "progress:");
    ren.send_text(&format!(r#"{{"data":{{"other":1,"info":{data}}}}}"#));
    ren.expect_sent();
    let expected =
        format!(r#"{{"type":"message","sender":{{"name":"Ren","id":8}},"data":{{"info":{data}}}}}"#);
    assert_eq!(ren.expect_text(), expected);
}

#[test]
fn all_receivers_see_one_order_and_no_copy_precedes_its_answer() {
    const SENDERS: usize = 6;
    const EACH: usize = 150;
    let server = Server::start(|options| {
        options.set("limits.messages_per_second", 0);
    });
    let clients: Vec<_> = (0..).take(SENDERS).map(|id| join(&server, id, "x", "notes:")).collect();
    let seen: Vec<Vec<String>> = thread::scope(|scope| {
        let threads: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(sender, mut client)| {
                scope.spawn(move || {
                    let own = format!("\"data\":{{\"by\":{sender},");
                    for number in 0..EACH {
                        client.say(&json!({ "by": sender, "n": number }));
                    }
                    let (mut seen, mut answers, mut copies) = (Vec::new(), 0, 0);
                    while seen.len() < SENDERS * EACH {
                        let text = client.expect_text();
                        if text == OK {
                            answers += 1;
                            continue;
                        }
                        copies += usize::from(text.contains(&own));
                        assert!(copies <= answers, "copy {copies} came after {answers} answers");
                        seen.push(text);
                    }
                    seen
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for others in &seen[1..] {
        assert!(others == &seen[0], "two receivers saw two orders");
    }
    for sender in 0..SENDERS {
        let own = format!(r#""id":{sender}}},"data":{{"by":{sender},"#);
        let numbers: Vec<_> = seen[0].iter().filter(|text| text.contains(&own)).collect();
        assert_eq!(numbers.len(), EACH);
        for (number, text) in numbers.iter().enumerate() {
            assert!(text.ends_with(&format!("\"n\":{number}}}}}")), "{text}");
        }
    }
}

#[test]
fn a_new_connection_receives_everything_after_open_and_nothing_before() {
    let server = Server::start(|_| {});
    let mut aoi = join(&server, 7, "Aoi", "notes:");
    for number in 0..50 {
        aoi.say(&json!({ "before": number }));
        aoi.expect_sent();
        aoi.expect_text();
        let mut ren = join(&server, 8, "Ren", "notes:");
        aoi.say(&json!({ "after": number }));
        assert_eq!(ren.expect_json()["data"], json!({ "after": number }));
        aoi.expect_sent();
        aoi.expect_text();
        ren.vanish();
    }
}

#[test]
fn a_broadcast_is_one_unmasked_text_frame() {
    let server = Server::start(|_| {});
    let target = format!("/?token={}", token(&claims(7, "Aoi", "notes:")));
    let mut raw = Client::raw(Request::get(server.address, target)).expect("upgraded");
    for length in [1, 200, 60_000] {
        raw.write_text(&format!(r#"{{"data":{{"a":"{}"}}}}"#, "x".repeat(length)));
        for _ in 0..2 {
            let frame = raw.read().unwrap();
            assert_eq!(frame.header.opcode, OpCode::Data(Data::Text));
            assert!(frame.header.is_final && frame.header.mask.is_none(), "{:?}", frame.header);
            assert!(!frame.header.rsv1 && !frame.header.rsv2 && !frame.header.rsv3, "{:?}", frame.header);
        }
    }
}
