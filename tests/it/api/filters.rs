//! Parts of the lists: the connections and members of one channel, and users by their IDs.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{SETTINGS, join, problem};
use crate::pusher::page::Page;
use crate::support::redis::RedisServer;
use crate::support::{Server, eventually};

const PRESENCE: &str = "[channels.room]\npresence = true\nfields = []\n";

fn get(server: &Server, path: &str) -> Value {
    let response = server.get_admin(&format!("/api/v1{path}"));
    assert_eq!(response.status, 200, "{path}: {response:?}");
    response.json()
}

/// The values of a field of a list.
fn values(list: &Value, field: &str) -> BTreeSet<String> {
    let entries = list.as_array().unwrap().iter();
    entries
        .map(|entry| entry[field].as_str().map_or_else(|| entry[field].to_string(), str::to_owned))
        .collect()
}

/// The IDs on all pages of a list, and the number of pages, with one entry each.
fn one_by_one(server: &Server, path: &str, list: &str) -> (BTreeSet<String>, usize) {
    let (mut found, mut cursor, mut count) = (BTreeSet::new(), String::new(), 0);
    loop {
        let page = get(server, &format!("{path}limit=1{cursor}"));
        found.extend(values(&page[list], "id"));
        count += 1;
        let Some(next) = page["next"].as_str() else { return (found, count) };
        cursor = format!("&cursor={next}");
    }
}

#[test]
fn a_channel_has_its_connections_and_members_on_all_nodes() {
    let redis = RedisServer::start();
    let nodes = [(); 2].map(|()| {
        Server::start(|options| {
            options.set("redis.url", redis.url()).config(&format!("{PRESENCE}{SETTINGS}"));
        })
    });
    for node in &nodes {
        eventually("the node is ready", || node.get_admin("/readyz").status == 200);
    }
    let _native = [
        join(&nodes[0], 7, "Aoi", "room"),
        join(&nodes[1], 7, "Aoi", "room"),
        join(&nodes[1], 71, "Ren", "room"),
    ];
    let _other = join(&nodes[0], 8, "Sora", "room:b");
    let mut pages = nodes.each_ref().map(Page::open);
    pages[0].subscribe("room");
    pages[1].enter("presence-a", 9);
    eventually("the channel has three connections", || get(&nodes[0], "/channels/room")["subscribers"] == 3);

    for node in &nodes {
        let page = get(node, "/connections?channel=room");
        let connections = page["connections"].as_array().unwrap();
        let users: Vec<_> = connections.iter().map(|connection| connection["user"]["id"].clone()).collect();
        assert_eq!(users.iter().filter(|user| **user == 7).count(), 2, "{page}");
        assert_eq!((users.len(), values(&page["connections"], "node").len()), (3, 2), "{page}");
        assert!(connections.iter().all(|connection| connection["protocol"] == "native"), "{page}");
    }
    // In pages, as every list.
    let (found, _) = one_by_one(&nodes[0], "/connections?channel=room&", "connections");
    assert_eq!(found.len(), 3);
    // The channel of an app is another one.
    let of_app = get(&nodes[1], "/connections?channel=room&app=1");
    assert_eq!(values(&of_app["connections"], "protocol"), BTreeSet::from(["pusher".to_owned()]), "{of_app}");
    assert_eq!(get(&nodes[0], "/connections?channel=nothing")["connections"], json!([]));
    let without_channel = nodes[0].get_admin("/api/v1/connections?app=1");
    assert_eq!(problem(&without_channel).1, "invalid_query");

    let members = |path: &str| {
        let list = get(&nodes[0], path);
        (values(&list["members"], "id"), list["count"].as_u64().unwrap())
    };
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>();
    eventually("the node knows the members", || members("/channels/room/members") == (ids(&["7", "71"]), 2));
    eventually("and those of the app", || members("/channels/presence-a/members?app=1") == (ids(&["9"]), 1));
    assert_eq!(members("/channels/room/members?limit=1"), (ids(&["7"]), 2));
    assert_eq!(one_by_one(&nodes[0], "/channels/room/members?", "members"), (ids(&["7", "71"]), 2));
    assert_eq!(members("/channels/presence-a/members"), (BTreeSet::new(), 0));

    let users = |prefix: &str| values(&get(&nodes[0], &format!("/users?prefix={prefix}"))["users"], "id");
    assert_eq!(users("7"), ids(&["7", "71"]));
    assert_eq!(users("71"), ids(&["71"]));
    assert_eq!(users("9"), ids(&[]));
}
