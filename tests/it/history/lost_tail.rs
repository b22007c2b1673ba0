//! A Redis that has lost its latest messages, as after a failover to a replica that was behind: whichever connection of a node is
//! the first to notice, clients are told.

use redis::Connection;
use serde_json::json;

use super::laravel_messages::{PREFIX, application, node, publish};
use crate::support::redis::RedisServer;
use crate::support::{Client, Request, Server, claims, eventually, token};

/// A client that is told of gaps.
fn client(server: &Server) -> Client {
    let target = format!("/?token={}&since=a-1", token(&claims(7, "Aoi", "feed:a")));
    let mut client = Client::upgrade(Request::get(server.address, target)).expect("the token is good");
    assert_eq!(client.expect_json()["type"], "gap");
    client
}

/// Takes the last messages away from the store.
fn lose_tail(application: &mut Connection) {
    let key = format!("{PREFIX}yamabiko:store");
    let [store, next]: [String; 2] = redis::cmd("HGETALL").arg(&key).query(application).unwrap();
    let next = next.parse::<u64>().unwrap() - 3;
    let () = redis::cmd("HSET").arg(&key).arg(store).arg(next).query(application).unwrap();
}

/// Closes the connections whose last command was one of these. The others of the node stay.
fn close_connections(application: &mut Connection, commands: &[&str]) {
    let list: String = redis::cmd("CLIENT").arg("LIST").query(application).unwrap();
    let value = |line: &str, key: &str| {
        line.split(' ').find_map(|part| Some(part.strip_prefix(key)?.to_owned())).unwrap_or_default()
    };
    let is_it = |line: &&str| commands.contains(&&*value(line, "cmd="));
    let found: Vec<String> = list.lines().filter(is_it).map(|line| value(line, "id=")).collect();
    assert_eq!(found.len(), 1, "{list}");
    let () = redis::cmd("CLIENT").arg("KILL").arg("ID").arg(&found[0]).query(application).unwrap();
}

/// Publishes messages, lets Redis lose the last ones, and publishes another one.
fn lose(commands: &[&str], mut publish: impl FnMut(&mut Connection, usize)) {
    let redis = RedisServer::start();
    let server = node(&redis);
    let mut laravel = application(&redis);
    let mut aoi = client(&server);
    for number in 0..5 {
        let entry = json!({ "channel": "feed:a", "data": { "n": number } }).to_string();
        let key = format!("{PREFIX}yamabiko:in");
        let _: String =
            redis::cmd("XADD").arg(key).arg("*").arg("payload").arg(entry).query(&mut laravel).unwrap();
        assert_eq!(aoi.expect_json()["data"]["n"], number);
    }
    // The feeder waits for entries again.
    eventually("the node waits", || {
        let list: String = redis::cmd("CLIENT").arg("LIST").query(&mut laravel).unwrap();
        list.contains(" cmd=xread ")
    });
    lose_tail(&mut laravel);
    close_connections(&mut laravel, commands);
    publish(&mut laravel, 5);
    assert_eq!(aoi.expect_json()["type"], "gap");
    assert_eq!(aoi.expect_json()["data"]["n"], 5);
}

#[test]
fn the_connection_of_the_ingest_stream_notices() {
    lose(&["xread"], |laravel, number| {
        let entry = json!({ "channel": "feed:a", "data": { "n": number } }).to_string();
        let key = format!("{PREFIX}yamabiko:in");
        let _: String =
            redis::cmd("XADD").arg(key).arg("*").arg("payload").arg(entry).query(laravel).unwrap();
    });
}

#[test]
fn the_connection_for_messages_without_a_number_notices() {
    lose(&["publish", "time"], |laravel, number| publish(laravel, "feed:a", number));
}
