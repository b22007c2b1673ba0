//! What ended the old server, and what else a network has in store. After each, others are served as before.
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::redis::RedisServer;
use crate::support::{Client, Options, PATIENCE, Raw, Request, Server, claims, eventually, token};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use serde_json::json;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

const OK: &str = r#"{"type":"sended","ok":true}"#;
const TEXT: OpCode = OpCode::Data(Data::Text);

#[test]
fn two_million_bytes_of_junk() {
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
fn deep_nesting() {
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
        ] {
            aoi.send_text(&text);
            assert_eq!(aoi.expect_json()["error"]["code"], code, "{}…", &text[..30]);
        }
        aoi.send_text(&format!(r#"{{"data":{{"message":{nested}}}}}"#));
        aoi.expect_sent();
        let expected =
            format!(r#"{{"type":"message","sender":{{"name":"Aoi","id":7}},"data":{{"message":{nested}}}}}"#);
        assert!(aoi.expect_text() == expected);
        others.talk();
    }
}

#[test]
fn what_ended_the_old_server() {
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
    // Messages to everybody while refused sockets are still closing.
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
fn what_ended_the_old_server_over_redis() {
    let redis = RedisServer::start();
    let server = start(|options| {
        options.set("redis.url", redis.url()).set("redis.prefix", "p_");
    });
    eventually("Redis is there", || server.get_admin("/readyz").status == 200);
    let mut others = Others::join(&server);
    let mut publisher = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let mut publish = |payload: &[u8]| {
        let heard: i64 = redis::cmd("PUBLISH").arg("p_broadcast").arg(payload).query(&mut publisher).unwrap();
        assert_eq!(heard, 1, "the server has lost its subscription");
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
fn oversize_messages_cost_no_memory() {
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
fn who_does_not_finish_the_handshake_is_closed() {
    let server = start(|options| {
        options.set("limits.handshake_timeout", "1s").set("limits.keep_alive_timeout", "1s");
    });
    let mut others = Others::join(&server);
    let started = Instant::now();
    let head = format!("GET /?token={} HTTP/1.1\r\nHost: x\r\n", token(&claims(7, "Aoi", "chat:")));
    let mut silent: Vec<_> = (0..50).map(|_| Raw::connect(server.address)).collect();
    let mut halfway: Vec<_> = (0..50).map(|_| Raw::connect(server.address)).collect();
    let mut kept_alive = Raw::connect(server.address);
    kept_alive.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    for raw in &mut halfway {
        raw.write(head.as_bytes());
    }
    // One header a moment, for ever.
    let mut drip = Raw::connect(server.address);
    drip.write(head.as_bytes());
    let mut writer = drip.stream().try_clone().unwrap();
    let dripping = thread::spawn(move || {
        let until = Instant::now() + PATIENCE;
        while writer.write_all(b"X-Drip: 1\r\n").is_ok() {
            assert!(Instant::now() < until, "it may drip for ever");
            thread::sleep(Duration::from_millis(100));
        }
    });
    for raw in silent.iter_mut().chain(&mut halfway).chain([&mut drip, &mut kept_alive]) {
        read_to_the_end(raw.stream());
    }
    dripping.join().unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1), "closed before the time was up");
    // The admission of connections is not touched by any of them.
    assert_eq!(server.metric("yamabiko_connections"), 2);
    others.talk();
}

#[test]
fn strange_requests() {
    let server = start(|_| {});
    let mut others = Others::join(&server);
    let long = "x".repeat(100_000);
    let requests = [
        "\r\n\r\n\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}".to_owned() + &long,
        format!("GET /?token={long} HTTP/1.1\r\nHost: x\r\n\r\n"),
        format!("GET /{long}"),
        format!("GET / HTTP/1.1\r\nX: {long}"),
        format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(10_000)),
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n".to_owned(),
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_owned(),
        "GET /?%%%&token=%ff%fe HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\nAuthorization: Bearer\r\n\r\n".to_owned(),
    ];
    for request in &requests {
        let mut raw = Raw::connect(server.address);
        let _ = raw.try_write(request.as_bytes());
        let _ = raw.stream().shutdown(std::net::Shutdown::Write);
        read_to_the_end(raw.stream());
        others.talk();
    }
}

#[test]
fn readers_that_never_read_cost_a_bounded_amount_and_the_others_nothing() {
    let server = start(|options| {
        options.set("limits.outbox_bytes", 256 * 1024);
    });
    let mut others = Others::join(&server);
    let mut lazy: Vec<_> = (0..20).map(|_| connect(&server, "chat:")).collect();
    let before = resident(&server);
    let blob = "x".repeat(60_000);
    let count = 2 * kernel_buffer() / blob.len();
    let mut most = 0;
    for number in 0..count {
        others.talk_with(&format!("{number} {blob}"));
        if number % 10 == 0 {
            most = most.max(resident(&server).saturating_sub(before));
        }
    }
    assert!(most < 48 << 20, "{most} bytes more, for 20 outboxes of 256 KiB");
    eventually("all slow consumers closed", || {
        server.metric("yamabiko_connections_closed_total{reason=\"slow_consumer\"}") == 20
    });
    assert_eq!(server.metric("yamabiko_connections"), 2);
    for raw in &mut lazy {
        read_to_the_end(raw.stream());
    }
    others.talk();
}

#[test]
fn a_flood_of_pings_by_one_who_never_reads() {
    let server = start(|_| {});
    let mut others = Others::join(&server);
    // Equal ones would share their pongs.
    for (floods, payloads) in [(1, [&b""[..], b"p"]), (2, [&[b'p'; 125], &[b'q'; 125]])] {
        let before = resident(&server);
        let mut flood = connect(&server, "chat:");
        let ping = |payload| Raw::frame(OpCode::Control(Control::Ping), payload);
        let pings = payloads.map(ping).concat().repeat(250);
        let until = Instant::now() + 3 * PATIENCE;
        while flood.try_write(&pings).is_ok() {
            assert!(Instant::now() < until, "it may flood for ever");
            thread::sleep(Duration::from_millis(2));
        }
        others.talk();
        eventually("the flood closed", || {
            server.metric("yamabiko_connections_closed_total{reason=\"slow_consumer\"}") == floods
        });
        let grown = resident(&server).saturating_sub(before);
        assert!(grown < 16 << 20, "{grown} bytes more");
    }
}

#[test]
fn half_a_frame_is_not_awaited_for_ever() {
    let server = start(|options| {
        options.set("heartbeat.interval", "1s").set("heartbeat.timeout", "1s");
    });
    let mut half = connect(&server, "chat:");
    let frame = Raw::frame(TEXT, br#"{"data":{"message":"half"}}"#);
    half.write(&frame[..10]);
    read_to_the_end(half.stream());
    server.expect_log(|line| line["message"] == "disconnected" && line["reason"] == "heartbeat_timeout");
}

#[test]
fn thousands_come_and_go_and_their_memory_with_them() {
    const ROUND: usize = 2000;
    let server = start(|_| {});
    let mut others = Others::join(&server);
    let come_and_go = || {
        thread::scope(|scope| {
            for user in 0..4 {
                let server = &server;
                scope.spawn(move || {
                    for number in 0..ROUND / 4 {
                        let claims = claims(user, "x", &format!("passing:{user},{number}"));
                        match number % 4 {
                            0 => Client::connect(server, &claims).unwrap().close(),
                            1 => drop(connect(server, "chat:")),
                            2 => {
                                let mut client = Client::connect(server, &claims).unwrap();
                                client.say(&json!({ "x": "y".repeat(2000) }));
                                client.vanish();
                            }
                            _ => assert_eq!(Client::with_token(server, "junk").unwrap_err().status, 401),
                        }
                    }
                });
            }
        });
        eventually("all gone", || server.metric("yamabiko_connections") == 2);
        eventually("their channels gone", || server.metric("yamabiko_channels") == 1);
        resident(&server)
    };
    // How many are there at the same time differs from round to round, and what that takes once stays.
    let before = come_and_go().max(come_and_go());
    come_and_go();
    come_and_go();
    let after = come_and_go();
    others.talk();
    let grown = after.saturating_sub(before);
    assert!(grown < 3 << 20, "{grown} bytes stay after {} came and went", 3 * ROUND);
}

#[test]
fn those_who_stay_lose_nothing_while_others_come_and_go() {
    let server = start(|_| {});
    let mut others = Others::join(&server);
    thread::scope(|scope| {
        for user in 100..103 {
            let server = &server;
            scope.spawn(move || {
                for _ in 0..150 {
                    let mut raw = connect_as(server, user, "chat:");
                    raw.write_text(r#"{"data":{"target_user_id":1000}}"#);
                    drop(raw);
                }
            });
        }
        for _ in 0..300 {
            others.talk();
        }
    });
    eventually("all gone", || server.metric("yamabiko_connections") == 2);
}

#[test]
fn answers_that_nobody_reads_are_given_up() {
    let server = start(|options| {
        options.set("limits.handshake_timeout", "1s").set("console.enabled", true);
    });
    let mut others = Others::join(&server);
    let pages = [(server.address, "/console"), (server.admin, "/metrics"), (server.address, "/console")];
    let lazy: Vec<_> = pages
        .map(|(address, page)| {
            let request = format!("GET {page} HTTP/1.1\r\nHost: localhost\r\n\r\n").repeat(1000);
            let mut raw = Raw::connect(address);
            raw.stream().set_write_timeout(Some(3 * PATIENCE)).unwrap();
            // Asks for ever and never reads, until it is put out.
            thread::spawn(move || while raw.try_write(request.as_bytes()).is_ok() {})
        })
        .into();
    eventually("all given up", || {
        server.metric("yamabiko_http_dropped_total{reason=\"write_timeout\"}") == 3
    });
    for thread in lazy {
        thread.join().unwrap();
    }
    others.talk();
}

#[test]
fn a_body_that_never_comes_is_not_awaited_for_ever() {
    let server = start(|options| {
        options.set("limits.handshake_timeout", "1s").set("console.enabled", true);
    });
    let head = "Host: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    for (address, target) in
        [(server.admin, "/disconnect"), (server.address, "/console/token"), (server.address, "/nothing")]
    {
        let mut raw = Raw::connect(address);
        raw.write(format!("POST {target} HTTP/1.1\r\n{head}").as_bytes());
        read_to_the_end(raw.stream());
    }
}

#[test]
fn connections_that_never_become_websockets_make_room_for_others() {
    // Room for 16 and 8 of them; those of less than a second are let be.
    let server = Server::start(|options| {
        options.files(128);
    });
    for address in [server.address, server.admin] {
        let idle: Vec<_> = (0..40)
            .map(|_| {
                let mut raw = Raw::connect(address);
                let _ = raw.try_write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
                raw
            })
            .collect();
        for _ in 0..3 {
            assert_eq!(Request::get(address, "/healthz").send().status, 200);
        }
        drop(idle);
    }
    assert!(server.metric("yamabiko_http_dropped_total{reason=\"no_room\"}") > 0);
    let mut aoi = Client::connect(&server, &claims(7, "Aoi", "chat:")).expect("upgraded");
    aoi.say(&json!({ "message": "hello" }));
    aoi.expect_sent();
}

#[test]
fn probes_are_answered_when_there_is_no_descriptor_for_another_websocket() {
    let server = Server::start(|options| {
        options.files(128);
    });
    let (mut open, mut refused) = (Vec::new(), 0);
    for user in 0..200 {
        match Client::connect(&server, &claims(user, "Aoi", "chat:")) {
            Ok(client) => open.push(client),
            Err(answer) => {
                assert_eq!((answer.status, &answer.json()["error"]["code"]), (503, &json!("no_descriptors")));
                refused += 1;
            }
        }
    }
    assert!(open.len() >= 32 && refused > 0, "{} and {refused}", open.len());
    for address in [server.address, server.admin] {
        assert_eq!(Request::get(address, "/healthz").send().status, 200);
    }
    assert_eq!(server.metric("yamabiko_handshakes_refused_total{reason=\"no_descriptors\"}"), refused);
    assert_eq!(server.metric("yamabiko_handshakes_refused_total{reason=\"accept_failed\"}"), 0);
    let mut first = open.swap_remove(0);
    first.say(&json!({ "message": "hello" }));
    first.expect_sent();
    drop(open);
    eventually("room again", || Client::connect(&server, &claims(7, "Aoi", "chat:")).is_ok());
}

/// Two who go on talking on `chat:`.
struct Others([Client; 2], u64);

impl Others {
    fn join(server: &Server) -> Self {
        let join = |id, name| Client::connect(server, &claims(id, name, "chat:")).expect("upgraded");
        Self([join(1001, "Ren"), join(1002, "Yui")], 0)
    }

    /// Both speak, both hear both, and nothing else.
    fn talk(&mut self) {
        self.talk_with("hello");
    }

    fn talk_with(&mut self, words: &str) {
        for speaker in 0..2 {
            self.1 += 1;
            let data = json!({ "message": words, "name": self.1.to_string() });
            self.0[speaker].say(&data);
            // A message of a stranger may come in between; an answer may not be missing.
            next_but_strangers(&mut self.0[speaker], |text| text == OK);
            for client in &mut self.0 {
                next_but_strangers(client, |text| text.ends_with(&format!("\"data\":{data}}}")));
            }
        }
    }
}

/// Reads on over what strangers said, and fails on anything else that is not what was due.
fn next_but_strangers(client: &mut Client, due: impl Fn(&str) -> bool) {
    loop {
        let text = client.expect_text();
        if due(&text) {
            return;
        }
        let stranger = text.starts_with(r#"{"type":"message","sender":{"name":"Aoi","#);
        assert!(stranger, "unexpected: {}", text.get(..200).unwrap_or(&text));
    }
}

fn start(change: impl FnOnce(&mut Options)) -> Server {
    Server::start(|options| {
        options.set("limits.messages_per_second", 0);
        change(options);
    })
}

fn connect(server: &Server, channel: &str) -> Raw {
    connect_as(server, 7, channel)
}

fn connect_as(server: &Server, id: i64, channel: &str) -> Raw {
    let target = format!("/?token={}", token(&claims(id, "Aoi", channel)));
    Client::raw(Request::get(server.address, target)).expect("upgraded")
}

/// The server has to end the stream, in whatever way.
fn read_to_the_end(stream: &mut TcpStream) {
    let mut buffer = [0; 8192];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) => panic!("the end was due: {error}"),
        }
    }
}

fn junk(bytes: usize) -> Vec<u8> {
    let mut junk = vec![0; bytes];
    StdRng::seed_from_u64(20_010_521).fill_bytes(&mut junk);
    junk
}

/// The resident set of the server, in bytes.
fn resident(server: &Server) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// The most that the kernel keeps of what a server has sent.
fn kernel_buffer() -> usize {
    let sizes = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_wmem").unwrap();
    sizes.split_whitespace().last().unwrap().parse().unwrap()
}
