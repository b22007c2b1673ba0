//! Channels, connections and users, as all nodes together know them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{join, node, post, problem, serve};
use crate::pusher::page::Page;
use crate::support::redis::RedisServer;
use crate::support::{Server, eventually};

fn get(server: &Server, path: &str) -> Value {
    let response = server.get_admin(&format!("/api/v1{path}"));
    assert_eq!(response.status, 200, "{path}: {response:?}");
    response.json()
}

fn name(server: &Server) -> String {
    server.expect_log(|line| line["message"] == "listening")["node"].as_str().unwrap().to_owned()
}

/// Two nodes that know of each other.
fn two_nodes(redis: &RedisServer) -> [Server; 2] {
    let nodes = [node(redis), node(redis)];
    know_each_other(&nodes);
    nodes
}

/// Each finds a connection of the other.
fn know_each_other(nodes: &[Server; 2]) {
    let clients = [join(&nodes[0], 1, "a", "known"), join(&nodes[1], 1, "a", "known")];
    for node in nodes {
        eventually("both nodes answer", || get(node, "/channels/known")["subscribers"] == 2);
    }
    for client in clients {
        client.close();
    }
    for node in nodes {
        eventually("they are gone", || get(node, "/channels/known")["subscribers"] == 0);
    }
}

/// All pages of a list, and how many there were.
fn pages(server: &Server, path: &str, list: &str, limit: usize) -> (Vec<Value>, usize) {
    let (mut entries, mut cursor, mut count) = (Vec::new(), String::new(), 0);
    loop {
        let separator = if path.contains('?') { '&' } else { '?' };
        let page = get(server, &format!("{path}{separator}limit={limit}{cursor}"));
        assert_eq!(page["incomplete"], false, "{page}");
        let found = page[list].as_array().unwrap();
        assert!(found.len() <= limit, "{page}");
        entries.extend(found.iter().cloned());
        count += 1;
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (entries, count),
        }
    }
}

#[test]
fn channels_of_all_nodes_are_listed_in_pages() {
    let redis = RedisServer::start();
    let nodes = two_nodes(&redis);
    let mut clients = Vec::new();
    for (node, user, channel) in
        [(0, 1, "chat:a"), (1, 2, "chat:a"), (1, 3, "chat:a"), (0, 4, "chat:b/山 #1"), (1, 5, "log:x")]
    {
        clients.push(join(&nodes[node], user, "user", channel));
    }
    let mut page = Page::open(&nodes[0]);
    page.subscribe("news");
    page.enter("presence-room", 7);
    let mut other = Page::open(&nodes[1]);
    other.subscribe("news");
    other.enter("presence-room", 8);
    let expected = [
        json!({ "name": "chat:a", "subscribers": 3 }),
        json!({ "name": "chat:b/山 #1", "subscribers": 1 }),
        json!({ "name": "log:x", "subscribers": 1 }),
        json!({ "app": "1", "name": "news", "subscribers": 2 }),
        json!({ "app": "1", "name": "presence-room", "subscribers": 2, "members": 2 }),
    ];
    for node in &nodes {
        eventually("both nodes know", || get(node, "/channels")["channels"] == json!(expected));
        for limit in [1, 2, 500] {
            assert_eq!(pages(node, "/channels", "channels", limit).0, expected, "{limit}");
        }
        assert_eq!(get(node, "/channels?prefix=chat:b%2F")["channels"], json!([expected[1]]));
        assert_eq!(get(node, "/channels?app=")["channels"], json!(expected[..3]));
        assert_eq!(get(node, "/channels?app=1&prefix=n")["channels"], json!([expected[3]]));
        let room = get(node, "/channels/chat:b%2F%E5%B1%B1%20%231");
        assert_eq!((&room["name"], &room["subscribers"]), (&json!("chat:b/山 #1"), &json!(1)));
        let room = get(node, "/channels/presence-room?app=1");
        assert_eq!((&room["subscribers"], &room["members"]), (&json!(2), &json!(2)));
        // In another namespace.
        assert_eq!(get(node, "/channels/presence-room")["subscribers"], 0);
    }
}

fn histories(server: &Server) {
    assert_eq!(get(server, "/channels/log:empty")["history"], json!({}));
    assert!(get(server, "/channels/chat:a").get("history").is_none());
    let send = |number: i64| {
        let body = json!({
            "channel": "log:a", "data": { "n": number }, "sender": { "id": "b-9", "name": "Bot" }
        });
        post(server, "/publish", &body).json()["position"].as_str().unwrap().to_owned()
    };
    let positions: Vec<String> = (0..5).map(send).collect();
    eventually("all are delivered", || {
        get(server, "/channels/log:a")["history"] == json!({ "position": positions[4] })
    });
    let page = get(server, "/channels/log:a/history?limit=2");
    let numbers = |page: &Value| -> Vec<i64> {
        page["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| message["data"]["n"].as_i64().unwrap())
            .collect()
    };
    assert_eq!(numbers(&page), [3, 4]);
    assert_eq!(page["messages"][0]["id"], json!(positions[3]));
    assert_eq!(page["messages"][0]["sender"], json!({ "id": "b-9", "name": "Bot" }));
    assert!(page["messages"][0]["time"].as_u64().unwrap() > 1_700_000_000_000);
    assert_eq!(
        (&page["position"], &page["more"], &page["gap"]),
        (&json!(positions[4]), &json!(false), &json!(false))
    );
    let page = get(server, &format!("/channels/log:a/history?limit=3&since={}", positions[0]));
    assert_eq!((numbers(&page), &page["more"]), (vec![1, 2, 3], &json!(true)));
    let page = get(server, &format!("/channels/log:a/history?since={}", page["position"].as_str().unwrap()));
    assert_eq!(numbers(&page), [4]);
    let foreign = get(server, "/channels/log:a/history?since=1f-1");
    assert_eq!((numbers(&foreign).len(), &foreign["gap"]), (5, &json!(true)));

    // Half of a surrogate pair, which PHP does not read.
    let mut aoi = join(server, 7, "Aoi", "log:a");
    aoi.send_text(r#"{"data":{"n":"\ud83d"}}"#);
    aoi.expect_sent();
    eventually("its message is delivered", || {
        get(server, "/channels/log:a/history?limit=1")["messages"][0]["data"]["n"] == "\u{fffd}"
    });

    let body = json!({ "app": "1", "channel": "news", "event": "E", "data": { "a": 1 } });
    assert_eq!(post(server, "/publish", &body).status, 200);
    eventually("the event is delivered", || {
        let page = get(server, "/channels/news/history?app=1");
        let message = &page["messages"][0];
        (&message["event"], &message["data"]) == (&json!("E"), &json!("{\"a\":1}"))
    });
    let missing = server.get_admin("/api/v1/channels/chat:a/history");
    assert_eq!((problem(&missing).0, &*problem(&missing).1), (404, "no_history"));
}

#[test]
fn a_history_is_read_in_pages() {
    histories(&serve());
    let redis = RedisServer::start();
    histories(&node(&redis));
}

#[test]
fn connections_and_users_of_all_nodes_are_listed_in_pages() {
    let redis = RedisServer::start();
    let nodes = two_nodes(&redis);
    let names = nodes.each_ref().map(name);
    let mut clients = Vec::new();
    for (node, user, channel) in
        [(0, 7, "chat:a"), (1, 7, "chat:b"), (1, 8, "chat:a"), (0, 9, "chat:a"), (0, 10, "chat:c")]
    {
        clients.push(join(&nodes[node], user, &format!("user {user}"), channel));
    }
    let mut page = Page::open(&nodes[0]);
    page.subscribe("news");
    page.enter("presence-room", 7);
    let mut signed_in = Page::open(&nodes[1]);
    signed_in.sign_in(r#"{"id":"abc"}"#);
    assert_eq!(signed_in.next().0, "pusher:signin_success");

    for node in &nodes {
        let (all, _) = pages(node, "/connections", "connections", 500);
        assert_eq!(all.len(), 7, "{all:?}");
        for limit in [1, 3] {
            let (found, count) = pages(node, "/connections", "connections", limit);
            assert_eq!(found, all, "{limit}");
            assert!(count >= 7 / limit, "{count}");
        }
        let by_user = |user: Value| -> Vec<&Value> {
            all.iter().filter(|connection| connection["user"]["id"] == user).collect()
        };
        let [first, second] = by_user(json!(7))[..] else { panic!("{all:?}") };
        assert_eq!(first["user"], json!({ "id": 7, "name": "user 7" }));
        let mut on: Vec<_> = [first, second]
            .map(|one| (one["node"].as_str().unwrap(), one["channels"][0].as_str().unwrap()))
            .to_vec();
        on.sort_by_key(|(_, channel)| *channel);
        assert_eq!(on, [(&*names[0], "chat:a"), (&*names[1], "chat:b")]);
        assert_eq!(first["protocol"], "native");

        let one = get(node, &format!("/connections/{}", page.socket_id));
        assert_eq!(
            (&one["app"], &one["protocol"], &one["node"]),
            (&json!("1"), &json!("pusher"), &json!(names[0]))
        );
        let mut channels: Vec<&str> =
            one["channels"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        channels.sort_unstable();
        assert_eq!(channels, ["news", "presence-room"]);
        assert!(all.contains(&one));
        let one = get(node, &format!("/connections/{}", signed_in.socket_id));
        assert_eq!(one["user"], json!({ "id": "abc" }));

        let expected = [
            json!({ "id": 10, "connections": 1 }),
            json!({ "id": 7, "connections": 2 }),
            json!({ "id": 8, "connections": 1 }),
            json!({ "id": 9, "connections": 1 }),
            json!({ "app": "1", "id": "abc", "connections": 1 }),
        ];
        for limit in [1, 2, 500] {
            assert_eq!(pages(node, "/users", "users", limit).0, expected, "{limit}");
        }
        let user = get(node, "/users/7");
        assert_eq!((&user["id"], user["connections"].as_array().unwrap().len()), (&json!(7), 2));
        assert_eq!(pages(node, "/users/7", "connections", 1).0.len(), 2);
        let user = get(node, "/users/abc?app=1");
        assert_eq!(user["connections"][0]["id"], json!(signed_in.socket_id));
        assert_eq!(get(node, "/users/nobody")["connections"], json!([]));
        assert_eq!(get(node, "/users/abc")["connections"], json!([]), "native users are others");

        let missing = node.get_admin("/api/v1/connections/1.2");
        assert_eq!((problem(&missing).0, &*problem(&missing).1), (404, "unknown_connection"));
    }

    // What is listed can be closed, from the other node.
    let listed = get(&nodes[0], "/users/8")["connections"][0]["id"].clone();
    assert_eq!(post(&nodes[0], "/disconnect", &json!({ "connection": listed })).status, 200);
    assert_eq!(clients[2].expect_close().0, 4403);
    eventually("it is gone", || get(&nodes[0], "/users/8")["connections"] == json!([]));
}

/// Also where the clients of a channel see each other, and a connection has a second subscription.
#[test]
fn users_on_channels_with_presence_are_listed() {
    let server = Server::start(|options| {
        options.config("[channels.room]\npresence = true\n");
    });
    let mut clients = [join(&server, 7, "Aoi", "room:a"), join(&server, 7, "Aoi", "room:a")];
    for client in &mut clients {
        assert!(client.expect_json()["type"].is_string());
    }
    eventually("the users are there", || {
        get(&server, "/users")["users"] == json!([{ "id": 7, "connections": 2 }])
            && get(&server, "/channels/room:a")["members"] == 1
    });
    let list = get(&server, "/channels");
    assert_eq!(list["channels"], json!([{ "name": "room:a", "subscribers": 2, "members": 1 }]));
    let connections = get(&server, "/users/7");
    assert_eq!(connections["connections"].as_array().unwrap().len(), 2);
    assert_eq!(connections["connections"][0]["channels"], json!(["room:a"]));
}

#[test]
fn more_connections_than_a_step_visits_are_all_found() {
    let server = serve();
    let clients: Vec<_> =
        (0..700).map(|user| join(&server, user + 1, "user", &format!("many:{}", user % 350))).collect();
    let (users, _) = pages(&server, "/users", "users", 500);
    assert_eq!(users.len(), 700);
    let (channels, _) = pages(&server, "/channels", "channels", 100);
    let counts: BTreeMap<&str, u64> = channels
        .iter()
        .map(|channel| (channel["name"].as_str().unwrap(), channel["subscribers"].as_u64().unwrap()))
        .collect();
    assert!(counts.len() == 350 && counts.values().all(|count| *count == 2), "{counts:?}");
    let (connections, _) = pages(&server, "/connections", "connections", 300);
    assert_eq!(connections.len(), clients.len());
}

/// Stops all threads of a node. Each of them stops for itself, a moment after the signal.
fn stop(server: &Server) {
    server.signal(Signal::STOP);
    let is_stopped = |thread: &std::fs::DirEntry| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
    };
    eventually("all threads have stopped", || {
        let threads = std::fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
        threads.map(Result::unwrap).all(|thread| is_stopped(&thread))
    });
}

#[test]
fn a_node_that_does_not_answer_is_named() {
    let redis = RedisServer::start();
    let nodes = two_nodes(&redis);
    let stopped = name(&nodes[1]);
    let _here = join(&nodes[0], 7, "Aoi", "chat:a");
    let there = join(&nodes[1], 8, "Ren", "chat:a");
    eventually("both are there", || get(&nodes[0], "/channels/chat:a")["subscribers"] == 2);
    stop(&nodes[1]);
    let started = Instant::now();
    for (path, list) in [("/channels", "channels"), ("/connections", "connections"), ("/users", "users")] {
        let page = get(&nodes[0], path);
        assert_eq!(page["incomplete"], true, "{page}");
        assert_eq!(page["missing_nodes"], json!([stopped]));
        assert_eq!(page[list].as_array().unwrap().len(), 1, "{page}");
    }
    let response = nodes[0].get_admin("/api/v1/connections/1.2");
    let (status, code, detail) = problem(&response);
    assert!((status, &*code) == (503, "unavailable") && detail.contains(&stopped), "{detail}");
    assert!(started.elapsed() < Duration::from_secs(20));
    nodes[1].signal(Signal::CONT);
    eventually("it answers again", || get(&nodes[0], "/users")["users"].as_array().unwrap().len() == 2);
    drop(there);
}

/// There are no apps whose members the nodes would tell each other.
#[test]
fn nodes_without_apps_know_of_each_other() {
    let redis = RedisServer::start();
    let start = || {
        let server = Server::start(|options| {
            options.set("redis.url", redis.url());
        });
        eventually("the node is ready", || server.get_admin("/readyz").status == 200);
        server
    };
    let nodes = [start(), start()];
    know_each_other(&nodes);
    let [first, second] = nodes;
    let left = name(&second);
    drop(second);
    // A node that was killed is missing until it counts as lost.
    let page = get(&first, "/users");
    assert_eq!((&page["incomplete"], &page["missing_nodes"]), (&json!(true), &json!([left])));
}

#[test]
fn parameters_that_are_wrong_are_problems() {
    let server = serve();
    for (path, status, code) in [
        ("/channels?limit=0", 400, "invalid_query"),
        ("/channels?limit=501", 400, "invalid_query"),
        ("/channels?limit=-1", 400, "invalid_query"),
        ("/channels?limit=ten", 400, "invalid_query"),
        ("/channels?limit=99999999999999999999999", 400, "invalid_query"),
        ("/channels?page=2", 400, "invalid_query"),
        ("/channels?cursor=%21", 400, "invalid_cursor"),
        ("/channels?cursor=", 400, "invalid_cursor"),
        ("/channels?app=none", 422, "unknown_app"),
        ("/channels?app=2", 422, "app_disabled"),
        ("/channels/%FF", 400, "invalid_path"),
        ("/channels/a%0A", 422, "invalid_channel"),
        ("/channels/a%1Fb", 422, "invalid_channel"),
        ("/channels/log:a/history?since=x", 400, "invalid_query"),
        ("/channels/log:a/history?limit=1001", 400, "invalid_query"),
        ("/connections?limit=0", 400, "invalid_query"),
        ("/connections?cursor=a", 400, "invalid_cursor"),
        ("/connections/7", 422, "invalid_connection"),
        ("/users?limit=0", 400, "invalid_query"),
        ("/users/7?limit=0", 400, "invalid_query"),
        ("/users/7?app=none", 422, "unknown_app"),
        ("/channels/a/b", 404, "not_found"),
    ] {
        let response = server.get_admin(&format!("/api/v1{path}"));
        let (found, name, _) = problem(&response);
        assert_eq!((found, &*name), (status, code), "{path}");
    }
    let long = "x".repeat(65);
    assert_eq!(problem(&server.get_admin(&format!("/api/v1/users/{long}"))).1, "invalid_path");
}
