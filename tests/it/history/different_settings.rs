//! Nodes whose settings differ, as while they are reloaded or restarted one after another: what Laravel publishes is delivered once on
//! those where its channel has no history yet, or no longer has one.

use redis::Connection;
use rustix::process::Signal;
use serde_json::json;

use super::laravel_messages::{
    PREFIX, SETTINGS, app_numbers, application, client, expect_received, numbers, publish, publish_event,
};
use crate::pusher::page::Page;
use crate::support::redis::RedisServer;
use crate::support::{Server, eventually};

fn node(redis: &RedisServer, settings: &str) -> Server {
    let server = Server::start(|options| {
        options.set("redis.url", redis.url()).set("redis.prefix", PREFIX).config(settings);
    });
    eventually("the node is ready", || server.get_admin("/readyz").status == 200);
    server
}

/// Everything that [`SETTINGS`] leave without a history has one.
fn with_history() -> String {
    let other = "[channels.other]\nhistory = { messages = 100000, age = \"10m\" }\n";
    SETTINGS.replace("[channels.other]\n", other).replace(r#""news", "#, r#""news", "elsewhere", "#)
}

/// No channel has a history.
fn without_histories() -> String {
    let is_part = |line: &&str| !line.starts_with("history =");
    let settings: Vec<&str> = SETTINGS.lines().filter(is_part).collect();
    let (before, rest) = settings
        .join("\n")
        .split_once("[[apps.history]]")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    let (_, after) = rest.split_once("[[apps]]").unwrap();
    format!("{before}[[apps]]{after}")
}

fn expect_once(old: &str) {
    let redis = RedisServer::start();
    let (old, new) = (node(&redis, old), node(&redis, &with_history()));
    let mut laravel = application(&redis);
    eventually("messages are stored", || {
        publish(&mut laravel, "other:probe", 0);
        !numbers(&mut laravel, "other:probe").is_empty()
    });
    let mut clients = [&old, &new].map(|server| client(server, "other:a"));
    let mut pages = [&old, &new].map(Page::open);
    for page in &mut pages {
        page.subscribe("elsewhere");
    }
    for number in 0..20 {
        publish(&mut laravel, "other:a", number);
        publish_event(&mut laravel, "elsewhere", &json!(number), None);
    }
    eventually("all are stored", || {
        numbers(&mut laravel, "other:a").len() == 20 && app_numbers(&mut laravel, "elsewhere").len() == 20
    });
    // It follows whatever arrives twice.
    publish(&mut laravel, "other:a", 20);
    publish_event(&mut laravel, "elsewhere", &json!(20), None);
    for client in &mut clients {
        expect_received(client, 21);
    }
    for page in &mut pages {
        for number in 0..21 {
            page.expect("E", "elsewhere", &json!(number));
        }
    }
}

#[test]
fn a_history_that_is_added_on_one_node_after_another_doubles_nothing() {
    expect_once(SETTINGS);
}

#[test]
fn the_first_history_doubles_nothing() {
    expect_once(&without_histories());
}

/// What a node holds is delivered, although its channel has no history any more when it is stored.
#[test]
fn a_history_that_is_removed_loses_nothing() {
    let redis = RedisServer::start();
    let server = node(&redis, SETTINGS);
    let mut laravel = application(&redis);
    let mut aoi = client(&server, "feed:a");
    publish(&mut laravel, "feed:a", 0);
    expect_received(&mut aoi, 1);
    let memory = |laravel: &mut Connection, bytes: usize| {
        let () = redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(bytes).query(laravel).unwrap();
    };
    memory(&mut laravel, 1);
    for number in 1..20 {
        publish(&mut laravel, "feed:a", number);
    }
    server.expect_log(|line| {
        line["message"].as_str().is_some_and(|text| text.starts_with("Redis does not store messages"))
    });
    let feed = "[channels.feed]\nhistory = { messages = 100000, age = \"10m\" }\n";
    server.write_config(&SETTINGS.replace(feed, "[channels.feed]\n"));
    server.signal(Signal::HUP);
    server.expect_log(|line| line["message"] == "settings reloaded");
    memory(&mut laravel, 0);
    for number in 1..20 {
        assert_eq!(aoi.expect_json()["data"]["n"], number);
    }
}
