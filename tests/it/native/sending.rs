//! Messages of clients, and the answers.

use serde_json::json;
use tungstenite::Message;

use crate::native::{OK, join, message, refusal};
use crate::support::{Client, Raw, Request, Server, claims, token};

#[test]
fn an_invalid_message_is_refused_and_the_connection_stays_open() {
    let server = Server::start(|_| {});
    let mut aoi = join(&server, 7, "Aoi", "chat:");
    let mut ren = join(&server, 8, "Ren", "chat:");
    for (text, code) in [
        ("", "invalid_json"),
        ("hello", "invalid_json"),
        ("{", "invalid_json"),
        (r#"{"data":{}"#, "invalid_json"),
        (r#"{"data":{}} {"data":{}}"#, "invalid_json"),
        (r"{'data':{}}", "invalid_json"),
        (r#"{"data":{"message":NaN}}"#, "invalid_json"),
        (r#"{"data":{"message":1,}}"#, "invalid_json"),
        ("\u{feff}{\"data\":{}}", "invalid_json"),
        ("null", "invalid_message"),
        ("7", "invalid_message"),
        ("\"data\"", "invalid_message"),
        ("[]", "invalid_message"),
        (r#"[{"data":{}}]"#, "invalid_message"),
        ("{}", "invalid_message"),
        (r#"{"message":"hi"}"#, "invalid_message"),
        (r#"{"Data":{}}"#, "invalid_message"),
        (r#"{"data":null}"#, "invalid_message"),
        (r#"{"data":[]}"#, "invalid_message"),
        (r#"{"data":"{}"}"#, "invalid_message"),
        (r#"{"data":0}"#, "invalid_message"),
        (r#"{"data":true}"#, "invalid_message"),
    ] {
        aoi.send_text(text);
        assert_eq!(refusal(&mut aoi), code, "{text}");
    }
    server.expect_metric("yamabiko_messages_refused_total{reason=\"invalid_json\"}", 9);
    server.expect_metric("yamabiko_messages_refused_total{reason=\"invalid_message\"}", 13);
    aoi.say(&json!({ "message": "still here" }));
    aoi.expect_sent();
    for client in [&mut aoi, &mut ren] {
        assert_eq!(client.expect_json(), message(7, "Aoi", &json!({ "message": "still here" })));
    }
}

#[test]
fn a_refused_message_is_not_delivered() {
    let server = Server::start(|options| {
        options.config("[channels.news]\nclient_send = false\n");
    });
    let mut aoi = join(&server, 7, "Aoi", "news:");
    let mut ren = join(&server, 8, "Ren", "news:");
    aoi.say(&json!({ "message": "hi" }));
    assert_eq!(refusal(&mut aoi), "not_allowed");
    aoi.send_text("{");
    assert_eq!(refusal(&mut aoi), "invalid_json");
    // Anything published would arrive before the close frames.
    for (client, user) in [(&mut aoi, 7), (&mut ren, 8)] {
        assert_eq!(server.post_admin("/disconnect", &json!({ "user": user }).to_string()).status, 200);
        assert_eq!(client.expect_close().0, 4403);
    }
}

#[test]
fn only_data_is_read() {
    let server = Server::start(|_| {});
    let mut aoi = join(&server, 7, "Aoi", "notes:");
    for (text, data) in [
        (r#" { "x" : [1, {"data":{}}], "data" : {"a":1} , "type":"sended" } "#, json!({ "a": 1 })),
        (r#"{"data":{"a":1},"data":{"a":2}}"#, json!({ "a": 2 })),
        (r#"{"d\u0061ta":{"a":3}}"#, json!({ "a": 3 })),
        (r#"{"data":{}}"#, json!({})),
    ] {
        aoi.send_text(text);
        aoi.expect_sent();
        assert_eq!(aoi.expect_json(), message(7, "Aoi", &data), "{text}");
    }
}

#[test]
fn binary_frames_carry_the_same_json() {
    let server = Server::start(|_| {});
    let mut aoi = join(&server, 7, "Aoi", "notes:");
    aoi.send(Message::binary(r#"{"data":{"山":"彦"}}"#.as_bytes().to_vec()));
    aoi.expect_sent();
    assert_eq!(aoi.expect_json(), message(7, "Aoi", &json!({ "山": "彦" })));
    aoi.send(Message::binary(b"{\"data\":{\"a\":\"\xff\"}}".to_vec()));
    assert_eq!(refusal(&mut aoi), "invalid_json");
    aoi.send(Message::binary(Vec::new()));
    assert_eq!(refusal(&mut aoi), "invalid_json");
    aoi.say(&json!({}));
    aoi.expect_sent();
}

#[test]
fn a_message_may_come_in_fragments_with_a_ping_between() {
    let server = Server::start(|_| {});
    let mut raw =
        Client::raw(Request::get(server.address, format!("/?token={}", token(&claims(7, "Aoi", "notes:")))))
            .expect("upgraded");
    let frames = [
        &[0x01, 0x85, 0, 0, 0, 0][..],
        br#"{"dat"#,
        &[0x89, 0x81, 0, 0, 0, 0],
        b"p",
        &[0x00, 0x84, 0, 0, 0, 0],
        br#"a":{"#,
        &[0x80, 0x82, 0, 0, 0, 0],
        b"}}",
    ]
    .concat();
    for byte in frames {
        raw.write(&[byte]);
    }
    let pong = raw.read().unwrap();
    assert_eq!((u8::from(pong.header.opcode), &pong.payload[..]), (0xA, &b"p"[..]));
    assert_eq!(raw.read().unwrap().payload, OK.as_bytes());
    assert!(raw.read().unwrap().payload.ends_with(br#""data":{}}"#));
}

#[test]
fn the_answer_precedes_the_own_copy() {
    const COUNT: usize = 2000;
    let server = Server::start(|options| {
        options.set("limits.messages_per_second", 0);
    });
    let target = format!("/?token={}", token(&claims(7, "Aoi", "notes:")));
    let mut raw = Client::raw(Request::get(server.address, target)).expect("upgraded");
    let bytes: Vec<u8> =
        (0..COUNT).flat_map(|number| Raw::text(&format!(r#"{{"data":{{"n":{number}}}}}"#))).collect();
    raw.write(&bytes);
    let (mut answers, mut copies) = (0, 0);
    while copies < COUNT {
        let frame = raw.read().expect("a frame");
        if frame.payload == OK.as_bytes() {
            answers += 1;
        } else {
            let expected =
                format!(r#"{{"type":"message","sender":{{"name":"Aoi","id":7}},"data":{{"n":{copies}}}}}"#);
            assert_eq!(String::from_utf8(frame.payload).unwrap(), expected);
            copies += 1;
        }
        assert!(answers >= copies, "copy {copies} came after {answers} answers");
    }
    assert_eq!(answers, COUNT);
    server.expect_metric("yamabiko_messages_accepted_total", i64::try_from(COUNT).unwrap());
}
