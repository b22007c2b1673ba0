//! Malformed, deep and oversized messages, from clients and over Redis.

use serde_json::json;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::{Others, TEXT, connect, junk, read_to_the_end, resident, start};
use crate::support::redis::RedisServer;
use crate::support::{Client, Raw, claims, eventually};

#[test]
fn random_bytes_harm_no_other_connection() {
    let server = start(|_| {});
    let mut others = Others::join(&server);
    let junk = junk(2_000_000);

    for address in [server.address, server.admin] {
        let mut raw = Raw::connect(address);
        let _ = raw.try_write(&junk);
        read_to_the_end(raw.stream());
        others.talk();
    }

    let mut raw = connect(&server, "chat:");
    let _ = raw.try_write(&junk);
    read_to_the_end(raw.stream());
    others.talk();

    let mut raw = connect(&server, "chat:");
    let _ = raw.try_write(&Raw::frame(OpCode::Data(Data::Binary), &junk));
    assert_eq!(raw.read().expect("a close frame").close().0, 1009);
    others.talk();

    // In messages of a size that is allowed: each is answered.
    let mut raw = connect(&server, "chat:");
    for chunk in junk.chunks(60_000) {
        raw.write(&Raw::frame(OpCode::Data(Data::Binary), chunk));
        let answer = String::from_utf8(raw.read().expect("an answer").payload).unwrap();
        assert!(answer.contains(r#""code":"invalid_json""#), "{answer}");
    }
    others.talk();
}

#[test]
fn deeply_nested_json_is_handled() {
    let server = start(|options| {
        options.set("limits.message_bytes", 4_000_000).set("limits.outbox_bytes", 16_000_000);
    });
    let mut others = Others::join(&server);
    let depth = 900_000;
    let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for channel in ["chat:", "notes:"] {
        let mut aoi = Client::connect(&server, &claims(7, "Aoi", channel)).unwrap();
        for (text, code) in [
            (nested.clone(), "invalid_message"),
            ("[".repeat(depth), "invalid_message"),
            (r#"{"data":"#.repeat(depth / 4), "invalid_json"),
            (format!(r#"{{"data":{nested}}}"#), "invalid_message"),
            (format!(r#"{{"data":{{"message":{}"#, "[".repeat(depth)), "invalid_json"),
            (format!(r#"{{"x":{nested}}}"#), "invalid_message"),
            (format!(r#"{{"data":{{"message":{nested}}}}}"#), "invalid_message"),
        ] {
            aoi.send_text(&text);
            assert_eq!(aoi.expect_json()["error"]["code"], code, "{}…", &text[..30]);
        }
        let nested = format!("{}{}", "[".repeat(499), "]".repeat(499));
        aoi.send_text(&format!(r#"{{"data":{{"message":{nested}}}}}"#));
        aoi.expect_sent();
        let expected =
            format!(r#"{{"type":"message","sender":{{"name":"Aoi","id":7}},"data":{{"message":{nested}}}}}"#);
        assert!(aoi.expect_text() == expected);
        others.talk();
    }
}

#[test]
fn malformed_input_never_ends_the_process() {
    let server = start(|options| {
        options.set("limits.connections_per_user", 3);
    });
    let mut others = Others::join(&server);
    for text in
        ["null", "{}", "[]", "1", "\"\"", "", "{", r#"{"data":null}"#, r#"{"data":{"__proto__":null}}"#]
    {
        let mut raw = connect(&server, "chat:");
        raw.write_text(text);
        assert!(raw.read().expect("an answer").payload.starts_with(br#"{"type":"sended""#), "{text}");
        others.talk();
    }
    for channel in ["unknown:", "unknown", ":", "constructor:", "__proto__:"] {
        let mut client = Client::connect(&server, &claims(7, "Aoi", channel)).unwrap();
        client.say(&json!({ "a": 1 }));
        client.expect_sent();
        assert_eq!(client.expect_json()["data"], json!({ "a": 1 }), "{channel}");
        client.close();
        others.talk();
    }
    let mut no_channel = claims(7, "Aoi", "chat:");
    no_channel.as_object_mut().unwrap().remove("channel");
    assert_eq!(Client::connect(&server, &no_channel).expect_err("refused").status, 401);
    others.talk();
    for bytes in [
        &b"\x81\x02{}"[..],
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x00\x00\x00\x00\x00\x00",
        b"\x81\x80",
        &Raw::frame(TEXT, b"\xff\xfe"),
        &Raw::frame(OpCode::Control(Control::Close), b"\x00\x00"),
        &Raw::frame(OpCode::Control(Control::Close), b"\x03\xe8\xff"),
        &Raw::frame(TEXT, &vec![b' '; 70_000]),
    ] {
        let mut raw = connect(&server, "chat:");
        let _ = raw.try_write(bytes);
        raw.stream().shutdown(std::net::Shutdown::Write).unwrap();
        read_to_the_end(raw.stream());
        others.talk();
    }
    // Messages to all while refused sockets are still closing.
    eventually("the past ones gone", || server.get_admin("/readyz").json()["connections"] == 2);
    let _three: Vec<_> = (0..3).map(|_| connect(&server, "chat:")).collect();
    let mut refused: Vec<_> = (0..10).map(|_| connect(&server, "chat:")).collect();
    others.talk();
    for raw in &mut refused {
        assert_eq!(raw.read().expect("a close frame").close(), (1013, "try again later"));
        others.talk();
    }
}

#[test]
fn malformed_redis_messages_never_end_the_process() {
    let redis = RedisServer::start();
    let server = start(|options| {
        options.set("redis.url", redis.url()).set("redis.prefix", "p_");
    });
    eventually("Redis is there", || server.get_admin("/readyz").status == 200);
    let mut others = Others::join(&server);
    let mut publisher = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let mut publish = |payload: &[u8]| {
        let receivers: i64 =
            redis::cmd("PUBLISH").arg("p_broadcast").arg(payload).query(&mut publisher).unwrap();
        assert_eq!(receivers, 1, "the server has lost its subscription");
    };
    let deep = format!(r#"{{"channel":"chat:","data":{}"#, "[".repeat(500_000));
    let cases: [(&[u8], &str); 16] = [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"not json", "invalid_json"),
        (b"\xff\xfe\x00", "invalid_json"),
        (deep.as_bytes(), "invalid_json"),
        (b"null", "invalid_envelope"),
        (b"[]", "invalid_envelope"),
        (b"7", "invalid_envelope"),
        (b"{}", "invalid_channel"),
        (br#"{"channel":null,"data":{}}"#, "invalid_channel"),
        (br#"{"channel":7,"data":{}}"#, "invalid_channel"),
        (br#"{"channel":"","data":{}}"#, "invalid_channel"),
        (br#"{"channel":"chat:"}"#, "invalid_data"),
        (br#"{"channel":"chat:","data":null}"#, "invalid_data"),
        (br#"{"channel":"chat:","data":"secret words"}"#, "invalid_data"),
        (br#"{"channel":"chat:","data":{},"sender":"x"}"#, "invalid_sender"),
    ];
    for (payload, reason) in cases {
        let metric = format!("yamabiko_broker_dropped_total{{reason=\"{reason}\"}}");
        let before = server.metric(&metric);
        publish(payload);
        eventually(&format!("{reason} counted"), || server.metric(&metric) == before + 1);
        server
            .expect_log(|line| line["level"] == "WARN" && line["reason"] == reason || line["count"].is_u64());
        others.talk();
    }
    publish(&junk(2_000_000));
    publish(br#"{"channel":"nobody:","data":{"a":1}}"#);
    others.talk();
    assert!(
        !server.log().iter().any(|line| line.to_string().contains("secret words")),
        "a payload is in the log"
    );
}

#[test]
fn oversized_messages_use_no_memory() {
    let server = start(|_| {});
    let mut others = Others::join(&server);
    let before = resident(&server);
    let announced = [&[0x82, 0xff][..], &(1_u64 << 62).to_be_bytes(), &[0; 4], &[b'x'; 1000]].concat();
    let mut open = Vec::new();
    for _ in 0..50 {
        let mut raw = connect(&server, "chat:");
        raw.write(&announced);
        assert_eq!(raw.read().expect("a close frame").close().0, 1009);
        open.push(raw);
    }
    others.talk();

    // A little at a time, and never an end.
    let mut raw = connect(&server, "chat:");
    let mut first = Raw::frame(TEXT, &[b' '; 1000]);
    first[0] = 0x01;
    let mut more = Raw::frame(OpCode::Data(Data::Continue), &[b' '; 1000]);
    more[0] = 0x00;
    raw.write(&first);
    for _ in 0..64 {
        raw.write(&more);
    }
    raw.write(&Raw::frame(OpCode::Control(Control::Ping), b"65,000 are fine"));
    assert_eq!(raw.read().expect("a pong").payload, b"65,000 are fine");
    let _ = raw.try_write(&more);
    assert_eq!(raw.read().expect("a close frame").close().0, 1009);
    others.talk();

    // The last fragment carries it over the limit, in a message that is allowed by each frame alone.
    let mut raw = connect(&server, "chat:");
    let mut first = Raw::frame(TEXT, &vec![b' '; 65_536]);
    first[0] = 0x01;
    raw.write(&first);
    let _ = raw.try_write(&Raw::frame(OpCode::Data(Data::Continue), b"x"));
    assert_eq!(raw.read().expect("a close frame").close().0, 1009);
    others.talk();
    let grown = resident(&server).saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more");
}

#[test]
fn half_a_frame_times_out() {
    let server = start(|options| {
        options.set("heartbeat.interval", "1s").set("heartbeat.timeout", "1s");
    });
    let mut half = connect(&server, "chat:");
    let frame = Raw::frame(TEXT, br#"{"data":{"message":"half"}}"#);
    half.write(&frame[..10]);
    read_to_the_end(half.stream());
    server.expect_log(|line| line["message"] == "disconnected" && line["reason"] == "heartbeat_timeout");
}
