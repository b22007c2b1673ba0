//! Shutdown: how connections are spread over the grace period, flushed, and refused; and signals.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::redis::RedisServer;
use crate::support::{Client, Exit, PATIENCE, Raw, Request, Server, claims, eventually, token};

const GOING_AWAY: (u16, &str) = (1001, "going away");

/// The close code after which pusher-js reconnects in a second.
const RECONNECT_LATER: (u16, &str) = (4100, "reconnect later");

const APP: &str = r#"
[[apps]]
id = "1"
key = "page"
secret = "app-secret-of-the-tests"
"#;

#[test]
fn beside_another_node_closing_is_spread_over_the_grace_period() {
    const CLIENTS: usize = 150;
    let redis = RedisServer::start();
    let (server, _other) = (node(&redis, "4s"), node(&redis, "1s"));
    let (ends, exit) = stop(server, CLIENTS);
    let (first, median, last) = (ends[0], ends[CLIENTS / 2], ends[CLIENTS - 1]);
    assert!(median > Duration::from_secs(1), "half are gone after {median:?}");
    assert!(last > Duration::from_secs(2), "all are gone after {last:?}");
    assert!(last > first + Duration::from_secs(1), "all are closed between {first:?} and {last:?}");
    assert!(exit.log.iter().any(|line| line["others"] == true), "{:?}", exit.log);
}

#[test]
fn a_single_node_closes_all_connections_at_once() {
    const CLIENTS: usize = 150;
    let redis = RedisServer::start();
    let alone = node(&redis, "60s");
    // One that has gone before, in whatever way, does not count.
    drop(node(&redis, "60s"));
    let in_memory = Server::start(|options| {
        options.set("server.shutdown_grace", "60s");
    });
    for server in [in_memory, alone] {
        // One that does not answer the close frame does not keep it: pages that wait for the next process would wait, too.
        let mut stubborn = raw(&server);
        // It would close the last one after 48 seconds, and does not end later than a test is patient.
        let (_, exit) = stop(server, CLIENTS);
        assert!(exit.log.iter().any(|line| line["others"] == false), "{:?}", exit.log);
        // Its close frame came all the same.
        assert_eq!(stubborn.read().expect("a close frame").close(), GOING_AWAY);
    }
}

/// Ends a server with this many clients. Returns how long after the signal each was closed, sorted, and how the process ended.
fn stop(server: Server, clients: usize) -> (Vec<Duration>, Exit) {
    let connected: Vec<_> = (0..).take(clients).map(|id| join(&server, id, "notes:")).collect();
    let started = Instant::now();
    server.signal(Signal::TERM);
    let mut ends: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = connected
            .into_iter()
            .map(|mut client| {
                scope.spawn(move || {
                    let (code, reason) = client.expect_close();
                    assert_eq!((code, &*reason), GOING_AWAY);
                    started.elapsed()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    ends.sort();
    let exit = server.wait(PATIENCE);
    assert_eq!(exit.status.code(), Some(0));
    assert!(!exit.log.iter().any(|line| line["level"] == "WARN"), "{:?}", exit.log);
    let gone =
        exit.log.iter().filter(|line| line["message"] == "disconnected" && line["reason"] == "going_away");
    assert_eq!(gone.count(), clients);
    assert_eq!(exit.log.last().unwrap()["message"], "stopped");
    (ends, exit)
}

#[test]
fn a_draining_node_refuses_new_connections() {
    let redis = RedisServer::start();
    let _other = node(&redis, "1s");
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let server = node(&redis, "3s");
        // It never answers the close frame, and so keeps the server draining.
        let mut stubborn = raw(&server);
        server.signal(signal);
        expect_draining(&server);
        let ready = server.get_admin("/readyz");
        assert_eq!((ready.status, &ready.json()["draining"]), (503, &json!(true)));
        let refused = Client::connect(&server, &claims(7, "Aoi", "notes:")).expect_err("refused");
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (503, &json!("going_away")));
        assert!(refused.header("retry-after").is_some());
        // pusher-js would come back after a refusal only 15 seconds later, and comes a second after this.
        let page = Client::upgrade(app(&server)).expect("upgraded");
        expect_reconnect_later(page);
        // A proxy that retries on another node receives an HTTP error instead.
        let refused = Client::upgrade(app(&server).header("X-Retry-On", "503")).expect_err("refused");
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (503, &json!("going_away")));
        // It is still alive.
        assert_eq!(server.get("/healthz").status, 200);
        assert_eq!(server.get_admin("/healthz").status, 200);
        assert_eq!(stubborn.read().expect("a close frame").close(), GOING_AWAY);

        let exit = server.wait(PATIENCE);
        assert_eq!(exit.status.code(), Some(0), "{signal:?}");
        let cut = exit.log.iter().find(|line| line["level"] == "WARN").expect("a warning");
        assert_eq!(cut["connections"], 1);
    }
}

#[test]
fn a_single_draining_node_holds_new_pusher_connections_until_it_exits() {
    let server = Server::start(|options| {
        options
            .config(APP)
            .set("server.shutdown_grace", "60s")
            .set("limits.messages_per_second", 0)
            .set("limits.outbox_bytes", 64_000_000);
    });
    // A client that does not read keeps the server from exiting while bytes are queued for it.
    let mut slow = join(&server, 8, "notes:");
    let mut aoi = join(&server, 7, "notes:");
    let count = fill(&mut aoi);
    let mut page = Client::upgrade(app(&server)).expect("upgraded");
    assert_eq!(page.expect_json()["event"], "pusher:connection_established");
    server.signal(Signal::TERM);
    expect_draining(&server);
    expect_reconnect_later(page);
    assert_eq!(aoi.expect_close().0, 1001);
    let refused = Client::connect(&server, &claims(7, "Aoi", "notes:")).expect_err("refused");
    assert_eq!(refused.status, 503);
    // Also behind a proxy that would try another one: there is none.
    let mut held = [app(&server), app(&server).header("X-Retry-On", "503")]
        .map(|request| Client::upgrade(request).expect("upgraded"));
    held[0].send_json(&json!({ "event": "pusher:ping", "data": {} }));
    for page in &mut held {
        page.expect_nothing(Duration::from_millis(300));
    }
    assert_eq!(slow.expect_last().0.len(), count);
    for page in held {
        expect_reconnect_later(page);
    }
    assert_eq!(server.wait(PATIENCE).status.code(), Some(0));
}

#[test]
fn queued_messages_are_flushed_before_the_close_frame() {
    let server = Server::start(|options| {
        options
            .set("server.shutdown_grace", "5s")
            .set("limits.messages_per_second", 0)
            .set("limits.outbox_bytes", 64_000_000);
    });
    let mut slow = join(&server, 8, "notes:");
    let mut aoi = join(&server, 7, "notes:");
    let count = fill(&mut aoi);
    server.signal(Signal::TERM);
    assert_eq!(aoi.expect_close().0, 1001);
    let (texts, (code, reason)) = slow.expect_last();
    assert_eq!((code, &*reason), GOING_AWAY);
    assert_eq!(texts.len(), count);
    for (number, text) in texts.iter().enumerate() {
        assert!(text.ends_with(&format!("\"n\":{number}}}}}")));
    }
    assert_eq!(server.wait(PATIENCE).status.code(), Some(0));
}

#[test]
fn a_server_without_connections_exits_at_once() {
    let server = Server::start(|options| {
        options.set("server.shutdown_grace", "60s");
    });
    // Plain HTTP connections do not delay the exit.
    let _silent = Raw::connect(server.address);
    let mut kept_alive = Raw::connect(server.address);
    kept_alive.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(kept_alive.read_head().status, 200);
    join(&server, 7, "notes:").close();
    server.signal(Signal::TERM);
    assert_eq!(server.wait(PATIENCE).status.code(), Some(0));
}

#[test]
fn a_second_signal_exits_at_once() {
    let redis = RedisServer::start();
    let _other = node(&redis, "1s");
    for (first, second) in
        [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM), (Signal::QUIT, Signal::QUIT)]
    {
        let server = node(&redis, "60s");
        let _stubborn = raw(&server);
        server.signal(first);
        expect_draining(&server);
        server.signal(second);
        assert_eq!(server.wait(PATIENCE).status.code(), Some(1));
    }
}

#[test]
fn sigusr1_and_sigusr2_are_logged_and_ignored() {
    let server = Server::start(|_| {});
    let mut aoi = join(&server, 7, "notes:");
    for (signal, name) in [(Signal::USR1, "SIGUSR1"), (Signal::USR2, "SIGUSR2"), (Signal::USR1, "SIGUSR1")] {
        server.signal(signal);
        let line = server.expect_log(|line| line["signal"] == name);
        assert_eq!((&line["message"], &line["level"]), (&json!("signal ignored"), &json!("INFO")));
    }
    aoi.say(&json!({ "message": "still there" }));
    aoi.expect_sent();
}

/// A node on a Redis, ready.
fn node(redis: &RedisServer, grace: &str) -> Server {
    let server = Server::start(|options| {
        options.config(APP).set("redis.url", redis.url()).set("server.shutdown_grace", grace);
    });
    eventually("the node is ready", || server.get_admin("/readyz").status == 200);
    server
}

/// Where a page with pusher-js connects.
fn app(server: &Server) -> Request {
    Request::get(server.address, "/app/page?protocol=7")
}

fn expect_reconnect_later(mut page: Client) {
    let (code, reason) = page.expect_close();
    assert_eq!((code, &*reason), RECONNECT_LATER);
}

fn expect_draining(server: &Server) {
    server.expect_log(|line| line["message"].as_str().is_some_and(|text| text.starts_with("shutting down")));
}

/// Sends more than the kernel buffers for a client that does not read, so that some of it waits in the server. Returns how many messages.
fn fill(client: &mut Client) -> usize {
    let blob = "x".repeat(60_000);
    let count = 2 * kernel_buffer() / blob.len();
    for number in 0..count {
        client.say(&json!({ "blob": blob, "n": number }));
        client.expect_sent();
        client.expect_text();
    }
    count
}

fn join(server: &Server, id: i64, channel: &str) -> Client {
    Client::connect(server, &claims(id, "Aoi", channel)).expect("upgraded")
}

fn raw(server: &Server) -> Raw {
    let target = format!("/?token={}", token(&claims(7, "Aoi", "notes:")));
    Client::raw(Request::get(server.address, target)).expect("upgraded")
}

/// The most that the kernel keeps of what a server has sent.
fn kernel_buffer() -> usize {
    let sizes = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_wmem").unwrap();
    sizes.split_whitespace().last().unwrap().parse().unwrap()
}

#[test]
fn sigterm_closes_every_connection_and_exits_0() {
    let server = Server::start(|options| {
        options.set("server.shutdown_grace", "2s");
    });
    let mut clients: Vec<Client> =
        (0..20).map(|id| Client::connect(&server, &claims(id, "Aoi", "chat:default")).unwrap()).collect();
    server.signal(Signal::TERM);
    for client in &mut clients {
        assert_eq!(client.expect_close(), (1001, "going away".to_owned()));
    }
    let exit = server.wait(Duration::from_secs(5));
    assert!(exit.status.success(), "{exit:?}");
}
