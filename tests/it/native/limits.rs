//! The limits of one client.

use std::time::{Duration, Instant};

use serde_json::json;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::native::{OK, join, message, refusal};
use crate::support::{Client, Raw, Request, Server, claims, eventually, token};

const TEXT: OpCode = OpCode::Data(Data::Text);

#[test]
fn a_message_over_the_limit_by_one_byte_closes() {
    let text = |bytes: usize| {
        let frame = r#"{"data":{"a":""}}"#;
        frame.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - frame.len())))
    };
    let shipped = Server::start(|_| {});
    let small = Server::start(|options| {
        options.set("limits.message_bytes", 1000);
    });
    for (server, limit) in [(&shipped, 65_536), (&small, 1000)] {
        let mut aoi = join(server, 7, "Aoi", "notes:");
        let mut ren = join(server, 8, "Ren", "notes:");
        let full = text(limit);
        assert_eq!(full.len(), limit);
        aoi.send_text(&full);
        aoi.expect_sent();
        assert_eq!(ren.expect_text().len(), aoi.expect_text().len());
        aoi.send_text(&text(limit + 1));
        assert_eq!(aoi.expect_close().0, 1009);
        let line = server.expect_log(|line| line["message"] == "disconnected" && line["user"] == 7);
        assert_eq!((&line["reason"], &line["code"]), (&json!("message_too_large"), &json!(1009)));
        // Others are not concerned.
        ren.say(&json!({}));
        ren.expect_sent();
    }
}

#[test]
fn a_burst_is_accepted_at_once_and_the_rest_at_the_rate() {
    let server = Server::start(|options| {
        options.set("limits.burst", 5).set("limits.messages_per_second", 10);
    });
    let mut aoi = join(&server, 7, "Aoi", "notes:");
    let mut ren = join(&server, 8, "Ren", "notes:");
    let started = Instant::now();
    let pipelined: Vec<u8> =
        (0..15).flat_map(|number| Raw::text(&json!({ "data": { "n": number } }).to_string())).collect();
    std::io::Write::write_all(aoi.stream(), &pipelined).unwrap();
    // Another connection has a share of its own, of the same user too.
    let mut tab = join(&server, 7, "Aoi", "other:");
    tab.say(&json!({}));
    tab.expect_sent();
    // Nothing is refused, nothing is lost, and the order stays.
    let (mut accepted, mut copies) = (0, 0);
    while accepted < 15 || copies < 15 {
        let answer = aoi.expect_json();
        if answer["type"] == "message" {
            assert_eq!(answer["data"], json!({ "n": copies }));
            copies += 1;
        } else {
            assert_eq!(answer, json!({ "type": "sended", "ok": true }));
            accepted += 1;
        }
    }
    assert!(started.elapsed() >= Duration::from_millis(900), "15 in {:?}", started.elapsed());
    for number in 0..15 {
        assert_eq!(ren.expect_json(), message(7, "Aoi", &json!({ "n": number })));
    }
    server.expect_metric("yamabiko_connections_throttled_total", 1);
    let line = server.expect_log(|line| line["message"].as_str().unwrap().starts_with("throttled"));
    assert_eq!((&line["user"], &line["channel"]), (&json!(7), &json!("notes:")));
}

#[test]
fn control_frames_and_small_fragments_count_as_messages() {
    let server = Server::start(|options| {
        options.set("limits.burst", 5).set("limits.messages_per_second", 20);
    });
    let raw = |user: i64| {
        let target = format!("/?token={}", token(&claims(user, "Aoi", "notes:")));
        Client::raw(Request::get(server.address, target)).expect("upgraded")
    };
    let fragments = |count: usize, size: usize| -> Vec<u8> {
        let text = format!(r#"{{"data":{{"a":"{}"}}}}"#, "x".repeat(count * size));
        let (mut first, mut rest) = (Raw::frame(TEXT, &text.as_bytes()[..12]), &text.as_bytes()[12..]);
        first[0] = 0x01;
        for _ in 0..count {
            let mut fragment = Raw::frame(OpCode::Data(Data::Continue), &rest[..size]);
            fragment[0] = 0x00;
            first.extend(fragment);
            rest = &rest[size..];
        }
        first.extend(Raw::frame(OpCode::Data(Data::Continue), rest));
        first
    };
    let pings = |payload: fn(u8) -> Vec<u8>| -> Vec<u8> {
        (0..25).flat_map(|number| Raw::frame(OpCode::Control(Control::Ping), &payload(number))).collect()
    };
    // The behaviour of each after 25 small frames.
    let floods = [
        pings(|number| vec![number]),
        pings(|_| Vec::new()),
        fragments(25, 0),
        fragments(25, 1),
        Raw::frame(OpCode::Control(Control::Pong), b"").repeat(25),
    ];
    for (number, flood) in floods.into_iter().enumerate() {
        let mut raw = raw(100 + i64::try_from(number).unwrap());
        let started = Instant::now();
        raw.write(&[flood, Raw::frame(OpCode::Control(Control::Ping), b"behind")].concat());
        let mut before = Vec::new();
        loop {
            let frame = raw.read().expect("a pong");
            if frame.payload == b"behind" {
                break;
            }
            before.push(frame.payload);
        }
        assert!(started.elapsed() >= Duration::from_millis(900), "{number} took {:?}", started.elapsed());
        if number == 0 {
            let all: Vec<Vec<u8>> = (0..25).map(|number| vec![number]).collect();
            assert_eq!(before, all, "each ping that differs has its pong");
        }
    }
    server.expect_metric("yamabiko_connections_throttled_total", 5);
    // A large message in large pieces is one.
    let mut raw = raw(7);
    raw.write(&fragments(40, 1024));
    while raw.read().expect("an answer").payload != OK.as_bytes() {}
    server.expect_metric("yamabiko_connections_throttled_total", 5);
}

#[test]
fn a_throttled_client_does_not_time_out() {
    let server = Server::start(|options| {
        options.set("limits.burst", 1).set("limits.messages_per_second", 1);
        options.set("heartbeat.interval", "1s").set("heartbeat.timeout", "1s");
    });
    let target = format!("/?token={}", token(&claims(7, "Aoi", "notes:")));
    let mut raw = Client::raw(Request::get(server.address, target)).expect("upgraded");
    // It never answers a ping, and its messages are longer on their way than that is permitted.
    raw.write(&Raw::text(r#"{"data":{}}"#).repeat(6));
    let mut accepted = 0;
    while accepted < 6 {
        accepted += usize::from(raw.read().expect("all answers").payload == OK.as_bytes());
    }
    server.expect_log(|line| line["message"] == "disconnected" && line["reason"] == "heartbeat_timeout");
}

#[test]
fn memory_of_throttled_clients_is_bounded() {
    let server = Server::start(|options| {
        options.set("limits.burst", 1).set("limits.messages_per_second", 1);
    });
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    };
    let before = resident();
    let flood = Raw::text(r#"{"data":{}}"#).repeat(20_000);
    let mut raws = Vec::new();
    for user in 0..200 {
        let target = format!("/?token={}", token(&claims(user, "Aoi", &format!("notes:{user}"))));
        let mut raw = Client::raw(Request::get(server.address, target)).expect("upgraded");
        raw.stream().set_nonblocking(true).unwrap();
        let _ = raw.try_write(&flood);
        raws.push(raw);
    }
    eventually("all held back", || server.metric("yamabiko_connections_throttled_total") == 200);
    let grown = resident().saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes more for 200 connections");
}

#[test]
fn the_rate_limit_can_be_disabled() {
    let server = Server::start(|options| {
        options.set("limits.messages_per_second", 0).set("limits.burst", 1);
    });
    let mut aoi = join(&server, 7, "Aoi", "notes:");
    for _ in 0..500 {
        aoi.say(&json!({}));
    }
    let mut answers = 0;
    while answers < 500 {
        answers += usize::from(aoi.expect_text() == OK);
    }
}

#[test]
fn the_default_burst_is_200() {
    let server = Server::start(|_| {});
    let mut aoi = join(&server, 7, "Aoi", "notes:");
    let started = Instant::now();
    let mut pipelined = Raw::text(r#"{"data":{}}"#).repeat(200);
    std::io::Write::write_all(aoi.stream(), &pipelined).unwrap();
    let answers = |aoi: &mut Client, mut count: usize| {
        while count > 0 {
            count -= usize::from(aoi.expect_text() == OK);
        }
    };
    answers(&mut aoi, 200);
    server.expect_metric("yamabiko_connections_throttled_total", 0);
    pipelined.truncate(pipelined.len() / 2);
    std::io::Write::write_all(aoi.stream(), &pipelined.repeat(3)).unwrap();
    answers(&mut aoi, 300);
    // 500 are 200 and three seconds.
    assert!(started.elapsed() >= Duration::from_millis(2900), "500 in {:?}", started.elapsed());
}

#[test]
fn connections_over_the_limit_close_with_1013() {
    let server = Server::start(|options| {
        options.set("limits.connections", 2);
    });
    let mut aoi = join(&server, 7, "Aoi", "notes:");
    let ren = join(&server, 8, "Ren", "notes:");
    let mut yui = join(&server, 9, "Yui", "notes:");
    assert_eq!(yui.expect_close(), (1013, "try again later".to_owned()));
    // The refused connection receives nothing and affects no one.
    aoi.say(&json!({ "n": 1 }));
    aoi.expect_sent();
    assert_eq!(aoi.expect_json(), message(7, "Aoi", &json!({ "n": 1 })));
    ren.close();
    eventually("room for another", || places_taken(&server) == 1);
    let mut yui = join(&server, 9, "Yui", "notes:");
    yui.say(&json!({ "n": 2 }));
    yui.expect_sent();
    assert_eq!(aoi.expect_json(), message(9, "Yui", &json!({ "n": 2 })));
}

#[test]
fn connections_per_user_are_limited() {
    let server = Server::start(|options| {
        options.set("limits.connections_per_user", 2);
    });
    let first = join(&server, 7, "Aoi", "notes:1");
    let _second = join(&server, 7, "Aoi", "notes:2");
    assert_eq!(join(&server, 7, "Aoi", "notes:3").expect_close(), (1013, "try again later".to_owned()));
    let mut ren = join(&server, 8, "Ren", "notes:1");
    ren.say(&json!({}));
    ren.expect_sent();
    first.vanish();
    eventually("room for another tab", || places_taken(&server) == 2);
    let mut third = join(&server, 7, "Aoi", "notes:3");
    third.say(&json!({}));
    third.expect_sent();
}

#[test]
fn a_slow_consumer_closes_with_1013_and_others_miss_nothing() {
    let server = Server::start(|options| {
        options.set("limits.messages_per_second", 0).set("limits.outbox_bytes", 256 * 1024);
    });
    let target = format!("/?token={}", token(&claims(9, "Slow", "notes:")));
    let mut slow = Client::raw(Request::get(server.address, target)).expect("upgraded");
    let mut aoi = join(&server, 7, "Aoi", "notes:");
    let mut ren = join(&server, 8, "Ren", "notes:");
    let blob = "x".repeat(60_000);
    // The kernel's buffers on both sides, the outbox, and a margin.
    let count = (kernel_buffer() + 256 * 1024 + 1024 * 1024) / blob.len();
    for number in 0..count {
        aoi.say(&json!({ "n": number, "blob": blob }));
        aoi.expect_sent();
        for client in [&mut aoi, &mut ren] {
            assert!(client.expect_text().ends_with(&format!("\"n\":{number}}}}}")));
        }
    }
    // It gets what was on its way, whole frames in order, then the close frame.
    let mut received = 0;
    let close = loop {
        match slow.read() {
            Some(frame) if u8::from(frame.header.opcode) == 1 => received += 1,
            Some(frame) => break frame,
            None => panic!("it ended without a close frame after {received} messages"),
        }
    };
    assert_eq!(close.close(), (1013, "try again later"));
    assert!(received < count, "it got everything");
    drop(slow);
    let line = server.expect_log(|line| line["level"] == "WARN" && line["user"] == 9);
    assert_eq!(line["channel"], "notes:");
    eventually("counted", || {
        server.metric("yamabiko_connections_closed_total{reason=\"slow_consumer\"}") == 1
    });
    server.expect_metric("yamabiko_connections", 2);
}

#[test]
fn a_full_queue_answers_unavailable() {
    // Two messages and no third.
    let server = Server::start(|options| {
        options.set("limits.queue_bytes", 65_536).set("limits.messages_per_second", 0);
    });
    let mut aoi = join(&server, 7, "Aoi", "notes:");
    let bytes: Vec<u8> = (0..64)
        .flat_map(|_| Raw::text(&json!({ "data": { "a": "x".repeat(30_000) } }).to_string()))
        .collect();
    let mut writer = aoi.stream().try_clone().unwrap();
    let writing = std::thread::spawn(move || std::io::Write::write_all(&mut writer, &bytes).unwrap());
    let (mut accepted, mut refused, mut copies) = (0, 0, 0);
    while accepted + refused < 64 || copies < accepted {
        let answer = aoi.expect_json();
        if answer["type"] == "message" {
            copies += 1;
        } else if answer["ok"] == true {
            accepted += 1;
        } else {
            assert_eq!(answer["error"]["code"], "unavailable");
            refused += 1;
        }
    }
    writing.join().unwrap();
    assert!(accepted > 0);
    aoi.say(&json!({ "small": 1 }));
    aoi.expect_sent();
    assert_eq!(aoi.expect_json()["data"], json!({ "small": 1 }));
    aoi.send_text("{}");
    assert_eq!(refusal(&mut aoi), "invalid_message");
}

/// The most that the kernel keeps of what a server has sent.
fn kernel_buffer() -> usize {
    let sizes = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_wmem").unwrap();
    sizes.split_whitespace().last().unwrap().parse().unwrap()
}

/// How many count against the limits.
fn places_taken(server: &Server) -> u64 {
    server.get_admin("/readyz").json()["connections"].as_u64().unwrap()
}
