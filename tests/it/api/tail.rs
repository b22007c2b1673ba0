//! The live tail.

use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{KEYS, OPERATOR, SETTINGS, join, node, post_with, problem};
use crate::pusher::page::Page;
use crate::support::redis::RedisServer;
use crate::support::{Client, Lines, Request, Server, eventually};

/// A key that may read the data of messages too.
const ALL: &str = "all-scopes-key-of-the-tests-32-bytes";

fn serve() -> Server {
    let all = format!("[[api.keys]]\nname = \"all\"\nsecret = \"{ALL}\"\nscopes = [\"*\"]\n");
    Server::start(|options| {
        options.config(&format!("{all}{KEYS}{SETTINGS}")).set("pusher.client_events", true);
        // On a busy machine, the reader that is too slow reads nothing for a while.
        options.set("limits.handshake_timeout", "2m");
    })
}

/// Follows the tail. What happens from now on is in it.
fn follow(server: &Server, query: &str, secret: &str) -> Lines {
    let request = Request::get(server.admin, format!("/api/v1/tail{query}"));
    let request =
        if secret.is_empty() { request } else { request.header("Authorization", format!("Bearer {secret}")) };
    let mut lines = request.lines();
    assert_eq!(lines.next().unwrap()["type"], "nodes");
    lines
}

/// The next line about something that has happened.
fn next(lines: &mut Lines) -> Value {
    lines.find(|line| line["type"] != "nodes").expect("a line")
}

fn publish(server: &Server, channel: &str, data: &Value) {
    let body = json!({ "channel": channel, "data": data });
    assert_eq!(post_with(server.admin, "/api/v1/publish", &body, ALL).status, 200);
}

fn name(server: &Server) -> Value {
    server.expect_log(|line| line["message"] == "listening")["node"].clone()
}

#[test]
fn connections_of_all_nodes_are_told_with_their_reasons() {
    let redis = RedisServer::start();
    let nodes = [node(&redis), node(&redis)];
    let mut tail = follow(&nodes[0], "?types=connected,disconnected&user=7", "");
    let both = tail.find(|line| line["nodes"].as_array().is_some_and(|nodes| nodes.len() == 2)).unwrap();
    assert_eq!(both["missing"], json!([]), "{both}");

    let mut there = join(&nodes[1], 7, "Aoi", "chat:a");
    let connected = next(&mut tail);
    assert_eq!(
        (&connected["type"], &connected["node"], &connected["channel"], &connected["user"]),
        (&json!("connected"), &name(&nodes[1]), &json!("chat:a"), &json!("7")),
        "{connected}"
    );
    assert_eq!((&connected["protocol"], &connected["address"]), (&json!("native"), &json!("127.0.0.1")));
    assert!(connected["at"].as_u64().unwrap() > 1_700_000_000_000, "{connected}");
    // The name leads to the connection.
    let connection = connected["connection"].as_str().unwrap();
    let found = nodes[0].get_admin(&format!("/api/v1/connections/{connection}")).json();
    assert_eq!(found["node"], name(&nodes[1]), "{found}");

    // Somebody else comes and goes first.
    join(&nodes[0], 8, "Sora", "chat:a").close();
    let mut here = join(&nodes[0], 7, "Aoi", "chat:b");
    let connected = next(&mut tail);
    assert_eq!(
        (&connected["node"], &connected["channel"]),
        (&name(&nodes[0]), &json!("chat:b")),
        "{connected}"
    );
    assert_eq!(super::post(&nodes[1], "/disconnect", &json!({ "user": 7 })).status, 200);
    let mut closed = [next(&mut tail), next(&mut tail)];
    closed.sort_by_key(|line| line["channel"].to_string());
    for (line, channel) in closed.iter().zip(["chat:a", "chat:b"]) {
        assert_eq!(
            (&line["type"], &line["channel"], &line["reason"], &line["code"]),
            (&json!("disconnected"), &json!(channel), &json!("disconnected"), &json!(4403)),
            "{line}"
        );
    }
    for client in [&mut here, &mut there] {
        assert_eq!(client.expect_close().0, 4403);
    }
}

#[test]
fn messages_and_refusals_are_told_and_their_data_only_to_a_key_for_it() {
    let server = serve();
    let mut reading = follow(&server, "?types=published,refused&channel=chat:*", OPERATOR);
    let mut all = follow(&server, "", ALL);
    let mut aoi = join(&server, 7, "Aoi", "chat:a");
    assert_eq!(next(&mut all)["type"], "connected");
    publish(&server, "news:1", &json!({ "message": "elsewhere" }));
    let elsewhere = next(&mut all);
    assert_eq!(
        (&elsewhere["channel"], &elsewhere["data"]),
        (&json!("news:1"), &json!(r#"{"message":"elsewhere"}"#))
    );

    aoi.say(&json!({ "message": "x".repeat(3000) }));
    aoi.expect_sent();
    let published = next(&mut all);
    assert_eq!((&published["type"], &published["user"]), (&json!("published"), &json!("7")), "{published}");
    assert_eq!(published["data"].as_str().unwrap().len(), 1024, "{published}");
    // Whoever may only read learns that there was a message.
    let told = next(&mut reading);
    let mut without = published.clone();
    without.as_object_mut().unwrap().remove("data");
    assert_eq!(told, without);
    assert!(told["bytes"].as_u64().unwrap() > 3000, "{told}");

    aoi.send_text("{");
    let refused = next(&mut reading);
    assert_eq!(
        (&refused["type"], &refused["reason"], &refused["user"], &refused["channel"]),
        (&json!("refused"), &json!("invalid_json"), &json!("7"), &json!("chat:a")),
        "{refused}"
    );
    assert_eq!(next(&mut all), refused);
    assert!(Client::with_token(&server, "not-a-token").is_err());
    let refused = next(&mut all);
    assert_eq!(
        (&refused["type"], &refused["reason"], &refused["address"]),
        (&json!("refused"), &json!("malformed_token"), &json!("127.0.0.1")),
        "{refused}"
    );

    // Apps.
    let mut page = Page::open(&server);
    let connected = next(&mut all);
    assert_eq!((&connected["type"], &connected["app"]), (&json!("connected"), &json!("1")), "{connected}");
    assert_eq!(connected["connection"], page.socket_id, "{connected}");
    page.subscribe("news");
    let subscribed = next(&mut all);
    assert_eq!(
        (&subscribed["type"], &subscribed["app"], &subscribed["channel"]),
        (&json!("subscribed"), &json!("1"), &json!("news")),
        "{subscribed}"
    );
    page.send("pusher:subscribe", json!({ "channel": "private-a" }));
    let refused = next(&mut all);
    assert_eq!(
        (&refused["type"], &refused["app"], &refused["channel"], &refused["reason"]),
        (&json!("refused"), &json!("1"), &json!("private-a"), &json!("missing_signature")),
        "{refused}"
    );
    let event = json!({ "app": "1", "channel": "news", "event": "Published", "data": { "a": 1 } });
    assert_eq!(post_with(server.admin, "/api/v1/publish", &event, ALL).status, 200);
    let published = next(&mut all);
    assert_eq!(
        (&published["event"], &published["app"], &published["data"]),
        (&json!("Published"), &json!("1"), &json!(r#"{"a":1}"#)),
        "{published}"
    );
    for wrong in ["?types=everything", "?types=connected,x", "?app=none"] {
        let request = Request::get(server.admin, format!("/api/v1/tail{wrong}"));
        let (status, ..) = problem(&request.header("Authorization", format!("Bearer {OPERATOR}")).send());
        assert!([400, 422].contains(&status), "{wrong}");
    }
}

#[test]
fn a_reader_that_is_too_slow_is_told_how_many_events_it_has_missed() {
    const BATCHES: u64 = 10;
    let server = serve();
    let slow = follow(&server, "?types=published", ALL);
    let message = json!({ "channel": "chat:a", "data": { "message": "x".repeat(2000) } });
    let batch = json!({ "messages": vec![message; 500] });
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..BATCHES {
                    let published = post_with(server.admin, "/api/v1/publish/batch", &batch, ALL);
                    assert_eq!(published.json()["failed"], 0, "{published:?}");
                }
            });
        }
    });
    let (mut events, mut skipped) = (0, 0);
    for line in slow {
        match line["type"].as_str().unwrap() {
            "published" => events += 1,
            "skipped" => skipped += line["count"].as_u64().unwrap(),
            other => assert_eq!(other, "nodes"),
        }
        if events + skipped == BATCHES * 1000 {
            break;
        }
    }
    assert!(events > 1000 && skipped > 1000, "{events} events, {skipped} skipped");
}

#[test]
fn a_tail_goes_on_without_data_when_its_key_loses_the_scope() {
    let server = serve();
    let mut tail = follow(&server, "?types=published", ALL);
    publish(&server, "chat:a", &json!({ "message": "before" }));
    assert_eq!(next(&mut tail)["data"], r#"{"message":"before"}"#);
    let scoped = |scopes: &str| {
        format!("[[api.keys]]\nname = \"all\"\nsecret = \"{ALL}\"\nscopes = {scopes}\n{KEYS}{SETTINGS}")
    };
    for (scopes, data) in [
        (r#"["read", "publish"]"#, Value::Null),
        (r#"["read", "publish", "tail"]"#, json!(r#"{"message":"after"}"#)),
    ] {
        let seen = server.log().len();
        server.write_config(&scoped(scopes));
        server.signal(Signal::HUP);
        eventually("the settings are read again", || {
            server.log()[seen..].iter().any(|line| line["message"] == "settings reloaded")
        });
        publish(&server, "chat:a", &json!({ "message": "after" }));
        let published = next(&mut tail);
        assert_eq!((&published["channel"], &published["data"]), (&json!("chat:a"), &data), "{published}");
        assert!(published["bytes"].as_u64().unwrap() > 0, "{published}");
    }
}

#[test]
fn a_tail_ends_with_its_key_and_there_are_not_too_many() {
    let server = serve();
    let mut tails: Vec<Lines> = (0..16).map(|_| follow(&server, "?types=dropped", OPERATOR)).collect();
    let one_more = || {
        let request = Request::get(server.admin, "/api/v1/tail?types=connected");
        request.header("Authorization", format!("Bearer {OPERATOR}"))
    };
    let (status, code, detail) = problem(&one_more().send());
    assert_eq!((status, &*code), (503, "unavailable"), "{detail}");
    // A place is free again when its client has left.
    drop(tails.pop());
    eventually("a place is free", || one_more().open().1.status == 200);
    let without_operator = KEYS.replace("operator-key", "another-key");
    server.write_config(&format!("{without_operator}{SETTINGS}"));
    server.signal(Signal::HUP);
    for mut tail in tails {
        let ended = next(&mut tail);
        assert_eq!(
            (&ended["type"], &ended["reason"]),
            (&json!("ended"), &json!("the key is not valid any more"))
        );
        assert!(tail.next().is_none());
    }
}
