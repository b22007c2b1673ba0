//! The nodes with their figures, and the busiest channels and users.

use serde_json::{Value, json};

use super::{join, node, serve};
use crate::pusher::page::Page;
use crate::support::redis::RedisServer;
use crate::support::{Server, eventually};

fn get(server: &Server, path: &str) -> Value {
    let response = server.get_admin(&format!("/api/v1{path}"));
    assert_eq!(response.status, 200, "{path}: {response:?}");
    response.json()
}

/// The entry of a list with this value.
fn entry<'a>(list: &'a Value, name: &str, value: &str) -> &'a Value {
    list.as_array().unwrap().iter().find(|entry| entry[name] == value).unwrap_or(&Value::Null)
}

#[test]
fn nodes_are_listed_with_their_figures() {
    let redis = RedisServer::start();
    let servers = [node(&redis), node(&redis)];
    let mut aoi = join(&servers[0], 7, "Aoi", "chat:default");
    aoi.say(&json!({ "message": "hello" }));
    aoi.expect_sent();
    let name = |server: &Server| {
        server.expect_log(|line| line["message"] == "listening")["node"].as_str().unwrap().to_owned()
    };
    let mut list = Value::Null;
    eventually("both nodes answer with the message", || {
        list = get(&servers[1], "/nodes");
        let nodes = list["nodes"].as_array().unwrap();
        // Those between nodes are not counted.
        let all_have = nodes.iter().all(|node| node["messages_received"] == 1);
        nodes.len() == 2 && all_have && nodes.iter().any(|node| node["deliveries"] == 1)
    });
    assert_eq!(list["incomplete"], false);
    let [first, second] = servers.each_ref().map(|server| entry(&list["nodes"], "name", &name(server)));
    for (node, connections) in [(first, 1), (second, 0)] {
        assert_eq!(node["connections"], connections, "{node}");
        assert_eq!(
            (&node["messages_accepted"], &node["channels"]),
            (&connections.into(), &connections.into()),
            "{node}"
        );
        assert_eq!((&node["broker"], &node["draining"]), (&"ready".into(), &false.into()), "{node}");
        assert_eq!(node["version"], env!("CARGO_PKG_VERSION"));
        assert!(!node["host"].as_str().unwrap().is_empty(), "{node}");
        for positive in ["connections_limit", "started_at", "resident_bytes"] {
            assert!(node[positive].as_u64().unwrap() > 0, "{positive}: {node}");
        }
    }
}

#[test]
fn the_limit_of_connections_follows_a_reload() {
    let server = Server::start(|options| {
        options.config("[limits]\nconnections = 10\n");
    });
    assert_eq!(get(&server, "/nodes")["nodes"][0]["connections_limit"], 10);
    server.write_config("[limits]\nconnections = 20\n");
    assert_eq!(server.post_admin("/api/v1/reload", "").status, 200);
    assert_eq!(get(&server, "/nodes")["nodes"][0]["connections_limit"], 20);
    server.write_config("");
    assert_eq!(server.post_admin("/api/v1/reload", "").status, 200);
    // What the file descriptors leave room for.
    assert!(get(&server, "/nodes")["nodes"][0]["connections_limit"].as_u64().unwrap() > 20);
}

#[test]
fn the_traffic_names_the_busiest_channels_and_users() {
    let server = serve();
    let mut aoi = join(&server, 7, "Aoi", "chat:default");
    let mut ken = join(&server, 8, "Ken", "chat:quiet");
    let say = |client: &mut crate::support::Client, count: usize| {
        for _ in 0..count {
            client.say(&json!({ "message": "hello" }));
            client.expect_sent();
            // Its own copy.
            client.expect_json();
        }
    };
    // Nothing was counted before somebody asked.
    say(&mut ken, 5);
    let empty = get(&server, "/traffic");
    assert_eq!((&empty["channels"], &empty["senders"]), (&json!([]), &json!([])), "{empty}");

    say(&mut aoi, 8);
    say(&mut ken, 2);
    let event = json!({ "app": "1", "channel": "news", "event": "Published", "data": {} });
    assert_eq!(super::post(&server, "/publish", &event).status, 200);
    let mut traffic = Value::Null;
    eventually("the window is complete", || {
        traffic = get(&server, "/traffic");
        traffic["channels"] != json!([])
    });
    let channels = &traffic["channels"];
    assert_eq!(channels[0]["name"], "chat:default", "{traffic}");
    assert_eq!(channels[0]["subscribers"], 1, "{traffic}");
    assert_eq!(channels[0]["app"], Value::Null, "{traffic}");
    let rate = |entry: &Value| entry["messages_per_second"].as_f64().unwrap();
    let ratio = rate(&channels[0]) / rate(entry(channels, "name", "chat:quiet"));
    assert!((3.99..4.01).contains(&ratio), "{traffic}");
    assert_eq!(entry(channels, "name", "news")["app"], "1", "{traffic}");
    let senders = &traffic["senders"];
    assert_eq!(senders[0]["id"], "7", "{traffic}");
    assert_eq!(senders.as_array().unwrap().len(), 2, "{traffic}");
    assert_eq!(get(&server, "/traffic?limit=1")["channels"].as_array().unwrap().len(), 1);
}

#[test]
fn members_that_whisper_are_named_with_their_app() {
    let server = Server::start(|options| {
        options.config(super::SETTINGS).set("pusher.client_events", true);
    });
    let mut page = Page::open(&server);
    page.enter("presence-room", 9);
    get(&server, "/traffic");
    page.client.send_json(&json!({ "event": "client-typing", "channel": "presence-room", "data": {} }));
    eventually("the whisper is counted", || {
        let senders = &get(&server, "/traffic")["senders"];
        entry(senders, "id", "9")["app"] == "1"
    });
}

#[test]
fn a_message_on_two_nodes_is_counted_once() {
    let redis = RedisServer::start();
    let servers = [node(&redis), node(&redis)];
    let mut clients = servers.each_ref().map(|server| join(server, 7, "Aoi", "chat:default"));
    eventually("both nodes answer", || get(&servers[0], "/channels/chat:default")["subscribers"] == 2);
    let mut traffic = Value::Null;
    eventually("both nodes count", || {
        clients[0].say(&json!({ "message": "hello" }));
        clients[0].expect_sent();
        clients[0].expect_json();
        traffic = get(&servers[0], "/traffic");
        traffic["channels"][0]["subscribers"] == 2
    });
    assert_eq!(traffic["channels"].as_array().unwrap().len(), 1, "{traffic}");
    assert_eq!(traffic["incomplete"], false, "{traffic}");
}
