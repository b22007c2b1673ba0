//! Pings and pongs.

use std::time::{Duration, Instant};

use serde_json::json;
use tungstenite::protocol::frame::coding::{Control, OpCode};

use crate::native::{OK, join};
use crate::support::{Client, Raw, Request, Server, claims, token};

#[test]
fn a_silent_client_receives_only_pings() {
    let server = quick();
    let mut silent = raw(&server);
    let mut loud = join(&server, 8, "Ren", "elsewhere:");
    for _ in 0..3 {
        loud.say(&json!({}));
        loud.expect_sent();
        loud.expect_text();
        let ping = silent.read().expect("it stays open");
        assert_eq!(ping.header.opcode, OpCode::Control(Control::Ping), "{ping:?}");
        assert!(ping.header.is_final && ping.header.mask.is_none());
        silent.write(&Raw::frame(OpCode::Control(Control::Pong), &ping.payload));
    }
}

#[test]
fn a_client_that_never_answers_pings_is_closed() {
    let server = quick();
    let started = Instant::now();
    let mut mute = raw(&server);
    assert_eq!(mute.read().expect("a ping").header.opcode, OpCode::Control(Control::Ping));
    let mut byte = [0];
    match std::io::Read::read(mute.stream(), &mut byte) {
        Ok(0) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        other => panic!("the end was due, but {other:?} came"),
    }
    // A second until the ping, and most of another one to answer it: connections are swept once a second.
    assert!(started.elapsed() > Duration::from_millis(1500), "it had no time to answer");
    let line = server.expect_log(|line| line["message"] == "disconnected");
    assert_eq!((&line["reason"], &line["code"]), (&json!("heartbeat_timeout"), &json!(1006)));
    server.expect_metric("yamabiko_connections", 0);
}

#[test]
fn an_active_client_is_not_pinged() {
    let server = Server::start(|options| {
        options.set("heartbeat.interval", "2s").set("heartbeat.timeout", "1s");
    });
    let mut busy = raw(&server);
    let (mut started, mut spoken) = (Instant::now(), Instant::now());
    // Longer than the interval and the timeout together, and never a pong.
    while started.elapsed() < Duration::from_millis(4500) {
        busy.write_text(r#"{"data":{}}"#);
        let mut answered = false;
        while !answered {
            let frame = busy.read().expect("it stays open");
            if frame.header.opcode == OpCode::Control(Control::Ping) {
                // On a busy machine this client may itself have been silent for too long. Then it starts anew.
                assert!(spoken.elapsed() > Duration::from_secs(1), "a ping for a client that was not silent");
                busy.write(&Raw::frame(OpCode::Control(Control::Pong), &frame.payload));
                started = Instant::now();
            }
            answered = frame.payload == OK.as_bytes();
        }
        spoken = Instant::now();
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_pong_repeats_the_payload_of_its_ping() {
    let server = Server::start(|_| {});
    let mut raw = raw(&server);
    for payload in [&b""[..], b"hello", &[0xff; 125]] {
        raw.write(&Raw::frame(OpCode::Control(Control::Ping), payload));
        let pong = raw.read().unwrap();
        assert_eq!((pong.header.opcode, &pong.payload[..]), (OpCode::Control(Control::Pong), payload));
    }
    // An unsolicited pong is ignored.
    raw.write(&Raw::frame(OpCode::Control(Control::Pong), b"?"));
    raw.write_text(r#"{"data":{}}"#);
    assert_eq!(raw.read().unwrap().payload, OK.as_bytes());
}

fn quick() -> Server {
    Server::start(|options| {
        options.set("heartbeat.interval", "1s").set("heartbeat.timeout", "1s");
    })
}

fn raw(server: &Server) -> Raw {
    let target = format!("/?token={}", token(&claims(7, "Aoi", "notes:")));
    Client::raw(Request::get(server.address, target)).expect("upgraded")
}
