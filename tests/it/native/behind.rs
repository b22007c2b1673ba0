//! Clients that come back to a node that is behind: they have read further elsewhere.

use serde_json::{Value, json};

use super::join;
use super::recovery::{expect, id_of, join_first, nodes, rejoin, send, start};

use crate::support::proxy::{Proxy, Traffic};
use crate::support::redis::RedisServer;
use crate::support::{Client, EventSource, Request, Server, claims, eventually, token};

const CHANNEL: &str = "notes:1";

/// A node on one Redis, and a client there that sends and one that receives; and a node whose connection can fail.
struct World {
    // Dropped first.
    behind: Server,
    other: Server,
    ren: Client,
    aoi: Client,
    link: Proxy,
    redis: RedisServer,
    _runtime: tokio::runtime::Runtime,
}

impl World {
    /// The node that can be behind starts like this.
    fn start(traffic: Traffic) -> Self {
        let redis = RedisServer::start();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let link = runtime.block_on(Proxy::start(redis.port()));
        let [other] = nodes(&redis);
        let mut ren = join(&other, 8, "Ren", CHANNEL);
        let (mut aoi, _) = join_first(&other, 7, CHANNEL);
        send(&mut ren, 0..3);
        expect(&mut aoi, 0..3);
        link.set(traffic);
        let behind = start(|options| {
            options.set("redis.url", link.url());
        });
        Self { behind, other, ren, aoi, link, redis, _runtime: runtime }
    }

    /// The node that can be behind has a client, and knows the channel.
    fn start_together() -> (Self, Client) {
        let mut world = Self::start(Traffic::Open);
        eventually("Redis is there", || world.behind.get_admin("/readyz").status == 200);
        let mut there = join(&world.behind, 9, "Sora", CHANNEL);
        send(&mut world.ren, 3..4);
        expect(&mut there, 3..4);
        expect(&mut world.aoi, 3..4);
        (world, there)
    }

    fn command(&self, arguments: &[&str]) -> redis::Value {
        let mut operator = redis::Client::open(self.redis.url()).unwrap().get_connection().unwrap();
        redis::cmd(arguments[0]).arg(&arguments[1..]).query(&mut operator).unwrap()
    }
}

/// What a client of server-sent events does that comes back.
fn reopen(server: &Server, last: &str) -> EventSource {
    let target = format!("/sse?token={}", token(&claims(10, "Yui", CHANNEL)));
    EventSource::open(Request::get(server.address, target).header("Last-Event-ID", last)).expect("a stream")
}

fn number(frame: &Value) -> Option<u64> {
    frame["data"]["message"].as_u64()
}

#[test]
fn what_arrives_proves_what_was_missed_while_the_store_cannot_be_read() {
    let (mut world, mut there) = World::start_together();
    world.link.set(Traffic::Blackhole);
    send(&mut world.ren, 4..7);
    let read = expect(&mut world.aoi, 4..6);
    let mut page = rejoin(&world.behind, 7, CHANNEL, &read);
    let mut stream = reopen(&world.behind, &read);
    // The store still cannot be read.
    world.link.set(Traffic::RepliesLost);
    expect(&mut there, 4..7);
    for answer in [page.expect_json(), stream.expect_json()] {
        assert_eq!(answer, json!({ "type": "recovered", "count": 1 }));
    }
    expect(&mut page, 6..7);
    assert_eq!(number(&stream.expect_json()), Some(6));
}

#[test]
fn a_gap_is_not_followed_by_what_the_client_has_read_elsewhere() {
    let (mut world, mut there) = World::start_together();
    world.link.set(Traffic::Blackhole);
    send(&mut world.ren, 4..7);
    let read = expect(&mut world.aoi, 4..6);
    let mut page = rejoin(&world.behind, 7, CHANNEL, &read);
    let mut stream = reopen(&world.behind, &read);
    world.command(&["FLUSHALL"]);
    send(&mut world.ren, 7..8);
    world.link.set(Traffic::Open);
    expect(&mut there, 4..8);
    let frames = |next: &mut dyn FnMut() -> Value| {
        let mut frames = vec![next()];
        while frames.last().and_then(number) != Some(7) {
            frames.push(next());
        }
        frames
    };
    for frames in [frames(&mut || page.expect_json()), frames(&mut || stream.expect_json())] {
        let numbers: Vec<u64> = frames.iter().filter_map(number).collect();
        assert_eq!(numbers, [6, 7], "{frames:?}");
        assert!(frames.iter().any(|frame| frame["type"] == "gap"), "{frames:?}");
    }
    // Who was connected goes on after the gap, in the new store.
    expect(&mut world.aoi, 6..7);
    let gap = world.aoi.expect_json();
    assert_eq!(gap["type"], "gap", "{gap}");
    let mut back = rejoin(&world.other, 7, CHANNEL, &id_of(&gap));
    assert_eq!(back.expect_json(), json!({ "type": "recovered", "count": 1 }));
    expect(&mut back, 7..8);
}

#[test]
fn a_node_that_reaches_redis_for_the_first_time_recovers_those_who_wait() {
    let mut world = World::start(Traffic::SubscriptionsHeld);
    let (mut first, here) = join_first(&world.other, 7, CHANNEL);
    send(&mut world.ren, 3..4);
    expect(&mut first, 3..4);
    world.command(&["CONFIG", "RESETSTAT"]);
    let mut page = rejoin(&world.behind, 7, CHANNEL, &here);
    let mut fresh = rejoin(&world.behind, 7, CHANNEL, "");
    assert_eq!(fresh.expect_json(), json!({ "type": "gap", "id": "0-0" }));
    eventually("the history has been read", || {
        let stats = world.command(&["INFO", "commandstats"]);
        redis::from_redis_value::<String>(stats).unwrap().contains("cmdstat_xrange")
    });
    // It does not arrive at the node, which is not subscribed.
    send(&mut world.ren, 4..5);
    world.link.set(Traffic::Open);
    assert_eq!(page.expect_json(), json!({ "type": "recovered", "count": 2 }));
    expect(&mut page, 3..5);
    // Who begins there has missed it, and is told where the channel is.
    let gap = fresh.expect_json();
    assert_eq!(gap["type"], "gap", "{gap}");
    send(&mut world.ren, 5..6);
    expect(&mut page, 5..6);
    expect(&mut fresh, 5..6);
    let mut back = rejoin(&world.other, 7, CHANNEL, &id_of(&gap));
    assert_eq!(back.expect_json(), json!({ "type": "recovered", "count": 1 }));
    expect(&mut back, 5..6);
}
