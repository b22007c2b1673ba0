//! HTTP requests that are malformed, slow, endless or never finished.

use std::io::Write;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Others, read_to_the_end, start};
use crate::support::application::application;
use crate::support::{Client, PATIENCE, Raw, Request, Server, claims, eventually, token};

#[test]
fn an_unfinished_handshake_times_out() {
    let server = start(|options| {
        options.set("limits.handshake_timeout", "1s").set("limits.keep_alive_timeout", "1s");
    });
    let mut others = Others::join(&server);
    let started = Instant::now();
    let head = format!("GET /?token={} HTTP/1.1\r\nHost: x\r\n", token(&claims(7, "Aoi", "chat:")));
    let mut silent: Vec<_> = (0..50).map(|_| Raw::connect(server.address)).collect();
    let mut halfway: Vec<_> = (0..50).map(|_| Raw::connect(server.address)).collect();
    let mut kept_alive = Raw::connect(server.address);
    let _ = kept_alive.try_write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    for raw in &mut halfway {
        // On a busy machine its time may be up already.
        let _ = raw.try_write(head.as_bytes());
    }
    // An endless request: one header every 100 ms.
    let mut drip = Raw::connect(server.address);
    let _ = drip.try_write(head.as_bytes());
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
    server.expect_metric("yamabiko_connections", 2);
    others.talk();
}

#[test]
fn malformed_requests_harm_no_other_connection() {
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
fn unread_responses_time_out() {
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
            // Sends requests and never reads, until it is closed.
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
fn an_unfinished_body_times_out() {
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
fn idle_http_connections_are_closed_when_descriptors_run_out() {
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
fn a_request_that_is_being_answered_is_not_closed_in_favour_of_idle_connections() {
    let ((tell, asked), (decide, decided)) = (channel(), channel());
    let decided = Mutex::new(decided);
    let port = application(move |_| {
        tell.send(()).unwrap();
        decided.lock().unwrap().recv().unwrap();
        Some((200, r#"{"decision":"allow"}"#.to_owned()))
    });
    let gate = format!("gate = {{ url = \"http://127.0.0.1:{port}/\", timeout = \"30s\" }}");
    // Room for 16 HTTP connections.
    let server = Server::start(|options| {
        options.files(128).set("limits.handshake_timeout", "60s");
        options.config(&format!("[events]\nsecret = \"{}\"\n[channels.asked]\n{gate}", "s".repeat(32)));
    });
    let bearer = format!("Bearer {}", token(&claims(7, "Aoi", "asked:")));
    let oldest =
        Request::post_json(server.address, "/sse", r#"{"data":{"n":1}}"#).header("Authorization", bearer);
    let oldest = thread::spawn(move || oldest.send().status);
    asked.recv_timeout(PATIENCE).expect("the application is asked");
    let idle: Vec<_> = (0..20).map(|_| Raw::connect(server.address)).collect();
    // As many as there is no room for.
    server.expect_metric("yamabiko_http_dropped_total{reason=\"no_room\"}", 5);
    decide.send(()).unwrap();
    assert_eq!(oldest.join().unwrap(), 200);
    drop(idle);
}

#[test]
fn health_checks_are_answered_when_websockets_use_all_descriptors() {
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
    server.expect_metric("yamabiko_handshakes_refused_total{reason=\"no_descriptors\"}", refused);
    server.expect_metric("yamabiko_handshakes_refused_total{reason=\"accept_failed\"}", 0);
    let mut first = open.swap_remove(0);
    first.say(&json!({ "message": "hello" }));
    first.expect_sent();
    drop(open);
    eventually("room again", || Client::connect(&server, &claims(7, "Aoi", "chat:")).is_ok());
}
