//! `ref`: messages that a client can send again without doubling them.

use serde_json::{Value, json};

use crate::native::{join, refusal};
use crate::support::redis::RedisServer;
use crate::support::{Client, Server, eventually};

const HISTORY: &str = "[channels.chat]\nhistory = { messages = 100, age = \"10m\" }\n";

fn say(client: &mut Client, message_ref: &str, message: usize) {
    client.send_json(&json!({ "ref": message_ref, "data": { "message": message } }));
}

fn expect_sent(client: &mut Client, message_ref: &str) {
    assert_eq!(client.expect_text(), format!(r#"{{"type":"sended","ok":true,"ref":"{message_ref}"}}"#));
}

fn expect_messages(client: &mut Client, messages: impl IntoIterator<Item = usize>) {
    for message in messages {
        assert_eq!(client.expect_json()["data"], json!({ "message": message }));
    }
}

fn check([here, there]: [&Server; 2]) {
    let mut aoi = join(here, 7, "Aoi", "chat:1");
    let mut tab = join(there, 7, "Aoi", "chat:1");
    let mut ren = join(there, 8, "Ren", "chat:1");
    say(&mut aoi, "a", 1);
    expect_sent(&mut aoi, "a");
    expect_messages(&mut aoi, [1]);
    // Again from the same connection, and from another tab on the other node.
    say(&mut aoi, "a", 2);
    expect_sent(&mut aoi, "a");
    expect_messages(&mut tab, [1]);
    say(&mut tab, "a", 3);
    expect_sent(&mut tab, "a");
    // Another ref, another user, and another channel are other messages.
    say(&mut aoi, "b", 4);
    expect_sent(&mut aoi, "b");
    expect_messages(&mut ren, [1, 4]);
    say(&mut ren, "a", 5);
    expect_sent(&mut ren, "a");
    expect_messages(&mut ren, [5]);
    expect_messages(&mut aoi, [4, 5]);
    expect_messages(&mut tab, [4, 5]);
    let mut elsewhere = join(here, 7, "Aoi", "chat:2");
    say(&mut elsewhere, "a", 6);
    expect_sent(&mut elsewhere, "a");
    expect_messages(&mut elsewhere, [6]);
    // Without a ref nothing is recognised.
    for _ in 0..2 {
        aoi.say(&json!({ "message": 7 }));
        aoi.expect_sent();
        expect_messages(&mut aoi, [7]);
    }
}

#[test]
fn the_same_ref_of_the_same_user_on_a_channel_is_delivered_once() {
    let memory = Server::start(|options| {
        options.config(HISTORY);
    });
    check([&memory, &memory]);
    let redis = RedisServer::start();
    let [one, other] = [(); 2].map(|()| {
        let node = Server::start(|options| {
            options.config(HISTORY).set("redis.url", redis.url()).set("redis.publish_timeout", "10s");
        });
        eventually("Redis is there", || node.get_admin("/readyz").status == 200);
        node
    });
    check([&one, &other]);
}

#[test]
fn a_refusal_repeats_the_ref_and_does_not_use_it_up() {
    let server = Server::start(|options| {
        options.config(HISTORY);
    });
    let mut aoi = join(&server, 7, "Aoi", "chat:");
    aoi.send_text(r#"{"ref":"a","data":{"message":1,"target_user_id":-1}}"#);
    let answer = aoi.expect_json();
    assert_eq!(
        (&answer["ok"], &answer["ref"], &answer["error"]["code"]),
        (&json!(false), &json!("a"), &json!("invalid_message"))
    );
    say(&mut aoi, "a", 1);
    expect_sent(&mut aoi, "a");
    expect_messages(&mut aoi, [1]);
    for bad in [
        json!(""),
        json!(7),
        json!({}),
        json!([]),
        json!(true),
        json!("x".repeat(65)),
        json!("山".repeat(22)),
    ] {
        aoi.send_json(&json!({ "ref": bad, "data": { "message": 2 } }));
        assert_eq!(refusal(&mut aoi), "invalid_message", "{bad}");
    }
    for good in ["x".repeat(64), "山".repeat(21), "\u{0}\"\\".into()] {
        aoi.send_json(&json!({ "ref": good, "data": { "message": 3 } }));
        let answer: Value = aoi.expect_json();
        assert_eq!(answer, json!({ "type": "sended", "ok": true, "ref": good }));
        expect_messages(&mut aoi, [3]);
    }
    // As if it were not there.
    aoi.send_text(r#"{"ref":null,"data":{"message":4}}"#);
    aoi.expect_sent();
    expect_messages(&mut aoi, [4]);
}
