//! The webhooks that a node sends or hands over when it shuts down.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::pusher::webhooks::{app, application_that_answers, application_with, expect_heartbeats};
use crate::pusher::{Page, node};
use crate::support::eventually;
use crate::support::redis::RedisServer;
use crate::support::{Exit, Options, PATIENCE, Server};

/// How long a node that shuts down waits for its last webhooks.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The webhook event of a member that joined or left.
fn of(name: &str, user: i64) -> Value {
    json!({ "name": name, "channel": "presence-a", "user_id": user.to_string() })
}

fn of_channel(name: &str, channel: &str) -> Value {
    json!({ "name": name, "channel": channel })
}

/// The next `count` events that the application has accepted, sorted by their text.
fn told(received: &Receiver<(u16, Value)>, count: usize) -> Vec<Value> {
    let mut events = Vec::new();
    while events.len() < count {
        let (status, body) = received
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("only these events of {count} were told: {events:#?}"));
        if status == 200 {
            events.extend(body["events"].as_array().unwrap().clone());
        }
    }
    events.sort_by_key(Value::to_string);
    events
}

fn sorted<const N: usize>(mut events: [Value; N]) -> [Value; N] {
    events.sort_by_key(Value::to_string);
    events
}

fn lost(exit: &Exit) -> Vec<&Value> {
    exit.log
        .iter()
        .filter(|line| {
            line["message"].as_str().unwrap_or_default().contains("not delivered before the shutdown")
        })
        .collect()
}

/// A single node in memory.
fn alone(options: &mut Options, apps: &str) {
    options.config(apps).set("server.shutdown_grace", "1s");
}

#[test]
fn the_last_node_sends_departure_webhooks_before_it_exits() {
    let redis = RedisServer::start();
    for url in [String::new(), redis.url()] {
        let (port, received) = application_that_answers(200);
        let server = Server::start(|options| {
            options.set("redis.url", url).set("redis.prefix", "app-database-");
            alone(options, &app(port, ""));
        });
        eventually("the node is ready", || server.get_admin("/readyz").status == 200);
        let (mut stays, mut leaves) = (Page::open(&server), Page::open(&server));
        stays.enter("presence-a", 7);
        leaves.subscribe("b");
        assert_eq!(
            told(&received, 3),
            sorted([
                of_channel("channel_occupied", "presence-a"),
                of_channel("channel_occupied", "b"),
                of("member_added", 7),
            ])
        );
        // The departure of this one is held back, because it might return; the other does not even answer the close frame.
        leaves.client.close();
        eventually("it has left", || server.metric("yamabiko_pusher_connections") == 1);
        server.signal(Signal::TERM);
        let exit = server.wait(PATIENCE);
        assert!(exit.status.success(), "{exit:?}");
        assert_eq!(
            told(&received, 3),
            sorted([
                of_channel("channel_vacated", "presence-a"),
                of_channel("channel_vacated", "b"),
                of("member_removed", 7),
            ])
        );
        assert!(received.try_recv().is_err());
        assert!(lost(&exit).is_empty(), "{exit:?}");
    }
}

#[test]
fn a_node_without_redis_still_sends_departure_webhooks() {
    let mut redis = RedisServer::start();
    let (port, received) = application_that_answers(200);
    let server = node(&redis, &app(port, ""));
    let mut page = Page::open(&server);
    page.subscribe("b");
    assert_eq!(told(&received, 1), [of_channel("channel_occupied", "b")]);
    redis.kill();
    eventually("Redis is missed", || server.get_admin("/readyz").status == 503);
    server.signal(Signal::TERM);
    drop(page);
    let exit = server.wait(PATIENCE);
    assert!(exit.status.success() && lost(&exit).is_empty(), "{exit:?}");
    assert_eq!(told(&received, 1), [of_channel("channel_vacated", "b")]);
}

#[test]
fn an_application_that_accepts_no_webhook_does_not_block_shutdown() {
    let (refusing, received) = application_with(|| 500);
    // It accepts requests and answers none.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for port in [refusing, silent.local_addr().unwrap().port()] {
        let apps =
            app(port, "").replace("http://", "http://someone:hush@").replace("/hook", "/hook?token=hush");
        let server = Server::start(|options| alone(options, &apps));
        let mut page = Page::open(&server);
        page.enter("presence-a", 7);
        // The first request is under way.
        let _request = if port == refusing {
            assert_eq!(received.recv_timeout(PATIENCE).unwrap().0, 500);
            None
        } else {
            Some(silent.accept().unwrap())
        };
        let asked = Instant::now();
        server.signal(Signal::TERM);
        let exit = server.wait(PATIENCE);
        assert!(exit.status.success(), "{exit:?}");
        assert!(asked.elapsed() >= LAST_WORDS, "it gave up after {:?}", asked.elapsed());
        let lost = lost(&exit);
        assert_eq!(lost.len(), 1, "{exit:?}");
        let (app, host, events) = (&lost[0]["app"], &lost[0]["host"], &lost[0]["events"]);
        assert_eq!((app, host, events), (&json!("1"), &json!("127.0.0.1"), &json!(4)));
        assert!(exit.log.iter().all(|line| !line.to_string().contains("hush")), "{exit:?}");
    }
}

#[test]
fn a_second_signal_interrupts_the_last_webhooks() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server::start(|options| alone(options, &app(silent.local_addr().unwrap().port(), "")));
    let mut page = Page::open(&server);
    page.subscribe("a");
    let _request = silent.accept().unwrap();
    server.signal(Signal::TERM);
    // It waits only for the webhook now.
    eventually("the connection is gone", || server.metric("yamabiko_pusher_connections") == 0);
    server.signal(Signal::TERM);
    let exit = server.wait(PATIENCE);
    assert_eq!(exit.status.code(), Some(1), "{exit:?}");
}

#[test]
fn a_node_that_leaves_hands_departures_over_and_sends_its_own_client_events() {
    let status = Arc::new(AtomicU16::new(200));
    let answer = status.clone();
    let (port, received) = application_with(move || answer.load(Ordering::Relaxed));
    let apps = format!("{}client_events = true\n", app(port, ""));
    let redis = RedisServer::start();
    // The oldest node sends the webhooks.
    let (leader, other) = (node(&redis, &apps), node(&redis, &apps));
    let (mut stays, mut elsewhere) = (Page::open(&leader), Page::open(&other));
    stays.enter("presence-a", 1);
    elsewhere.enter("presence-a", 2);
    let mut leaves = Page::open(&leader);
    leaves.enter("presence-a", 3);
    assert_eq!(
        told(&received, 4),
        sorted([
            of_channel("channel_occupied", "presence-a"),
            of("member_added", 1),
            of("member_added", 2),
            of("member_added", 3),
        ])
    );
    // Only the node of the client knows of a client event. The pauses between the attempts grow.
    status.store(500, Ordering::Relaxed);
    stays.client.send_json(&json!({ "event": "client-x", "channel": "presence-a", "data": "d" }));
    for _ in 0..5 {
        assert_eq!(received.recv_timeout(PATIENCE).unwrap().0, 500);
    }
    status.store(200, Ordering::Relaxed);
    leaves.client.close();
    eventually("it has left", || leader.metric("yamabiko_pusher_connections") == 1);
    // By now the pause is longer than a node that ends waits for webhooks: were it not cut short, the event would be lost.
    leader.signal(Signal::TERM);
    drop(stays.client);
    let exit = leader.wait(PATIENCE);
    assert!(exit.status.success() && lost(&exit).is_empty(), "{exit:?}");
    let event = json!({
        "name": "client_event", "channel": "presence-a", "event": "client-x", "data": "d",
        "socket_id": stays.socket_id, "user_id": "1",
    });
    assert_eq!(told(&received, 3), sorted([event, of("member_removed", 1), of("member_removed", 3)]));
    // Now the other node is the last one, and sends everything that is still pending.
    elsewhere.client.close();
    other.signal(Signal::TERM);
    let exit = other.wait(PATIENCE);
    assert!(exit.status.success() && lost(&exit).is_empty(), "{exit:?}");
    assert_eq!(
        told(&received, 2),
        sorted([of_channel("channel_vacated", "presence-a"), of("member_removed", 2)])
    );
    assert!(received.try_recv().is_err(), "told twice");
}

#[test]
fn simultaneous_shutdown_sends_each_webhook_once() {
    let (port, received) = application_that_answers(200);
    let apps = app(port, "");
    let redis = RedisServer::start();
    let nodes = [(); 3].map(|()| node(&redis, &apps));
    let pages: Vec<Page> = (1..)
        .zip(&nodes)
        .map(|(user, node)| {
            let mut page = Page::open(node);
            page.enter("presence-a", user);
            page
        })
        .collect();
    told(&received, 4);
    // The successor repeats events of the last second.
    expect_heartbeats(&redis, nodes.len());
    for node in &nodes {
        node.signal(Signal::TERM);
    }
    // Not as a page does: the server may close first.
    drop(pages);
    for node in nodes {
        let exit = node.wait(PATIENCE);
        assert!(exit.status.success() && lost(&exit).is_empty(), "{exit:?}");
    }
    let removed = [1, 2, 3].map(|user| of("member_removed", user));
    let mut events = told(&received, 4);
    events.extend(received.try_iter().flat_map(|(_, body)| body["events"].as_array().unwrap().clone()));
    assert!(removed.iter().all(|event| events.contains(event)), "{events:#?}");
    assert!(events.contains(&of_channel("channel_vacated", "presence-a")), "{events:#?}");
    assert_eq!(events.len(), 4, "told twice: {events:#?}");
}
