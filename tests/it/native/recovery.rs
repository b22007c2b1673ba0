//! Clients that come back and ask for what they have missed.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::native::join;
use crate::support::line::{Flow, Line};
use crate::support::redis::RedisServer;
use crate::support::{Client, Options, Request, Server, claims, eventually, token};

/// `notes` and `chat` have a history, other kinds have none.
const HISTORY: &str = r#"
[channels.notes]
history = { messages = 1000, age = "10m" }
[channels.chat]
history = { messages = 1000, age = "10m" }
[recovery]
channel_bytes = 67108864
"#;

pub(super) fn start(change: impl FnOnce(&mut Options)) -> Server {
    Server::start(|options| {
        options.config(HISTORY).set("limits.messages_per_second", 0);
        change(options);
    })
}

/// Nodes on one Redis.
pub(super) fn nodes<const N: usize>(redis: &RedisServer) -> [Server; N] {
    [(); N].map(|()| {
        let node = start(|options| {
            options.set("redis.url", redis.url()).set("redis.publish_timeout", "10s");
        });
        eventually("Redis is there", || node.get_admin("/readyz").status == 200);
        node
    })
}

/// Runs a test with the broker in memory, and with two nodes on one Redis.
fn with_each_broker(test: impl Fn([&Server; 2])) {
    let server = start(|_| {});
    test([&server, &server]);
    let redis = RedisServer::start();
    let [one, other] = nodes(&redis);
    test([&one, &other]);
}

pub(super) fn target(id: i64, channel: &str, since: &str) -> String {
    format!("/?token={}&since={since}", token(&claims(id, "Aoi", channel)))
}

/// A client that asks for what it has missed.
pub(super) fn rejoin(server: &Server, id: i64, channel: &str, since: &str) -> Client {
    Client::upgrade(Request::get(server.address, target(id, channel, since))).expect("upgraded")
}

/// The same without anything to come back to. Returns where it is.
pub(super) fn join_first(server: &Server, id: i64, channel: &str) -> (Client, String) {
    let mut client = rejoin(server, id, channel, "");
    let answer = client.expect_json();
    assert_eq!((&answer["type"], &answer["count"]), (&json!("recovered"), &json!(0)), "{answer}");
    (client, id_of(&answer))
}

pub(super) fn id_of(frame: &Value) -> String {
    frame["id"].as_str().unwrap_or_else(|| panic!("an id: {frame}")).to_owned()
}

/// Sends messages with these numbers, and reads the answers and, if the sender receives them, the copies.
pub(super) fn send(client: &mut Client, numbers: impl IntoIterator<Item = usize>) {
    for number in numbers {
        client.say(&json!({ "message": number }));
        client.expect_sent();
        assert_eq!(client.expect_json()["data"], json!({ "message": number }));
    }
}

/// Reads messages with these numbers. Returns the ID of the last one.
pub(super) fn expect(client: &mut Client, numbers: impl IntoIterator<Item = usize>) -> String {
    let mut last = String::new();
    for number in numbers {
        let frame = client.expect_json();
        assert_eq!(frame["data"], json!({ "message": number }), "{frame}");
        last = id_of(&frame);
    }
    last
}

/// The node may be another one than the sender's, so that the last messages arrive after the recovery.
pub(super) fn expect_recovered(client: &mut Client, numbers: std::ops::Range<usize>) -> String {
    let answer = client.expect_json();
    assert_eq!(answer["type"], "recovered", "{answer}");
    let count = answer["count"].as_u64().unwrap();
    assert!(count <= numbers.len() as u64, "{answer}");
    expect(client, numbers)
}

fn expect_gap(client: &mut Client) -> String {
    let answer = client.expect_json();
    assert_eq!(answer["type"], "gap", "{answer}");
    id_of(&answer)
}

#[test]
fn what_was_missed_is_delivered_once_and_in_order_before_what_is_live() {
    with_each_broker(|[here, there]| {
        let mut ren = join(here, 8, "Ren", "notes:1");
        let (mut aoi, _) = join_first(there, 7, "notes:1");
        send(&mut ren, 0..3);
        let last = expect(&mut aoi, 0..3);
        aoi.vanish();
        send(&mut ren, 3..8);
        let mut aoi = rejoin(here, 7, "notes:1", &last);
        let last = expect_recovered(&mut aoi, 3..8);
        send(&mut ren, 8..10);
        assert_ne!(expect(&mut aoi, 8..10), last);
        // Again, from the other node and from further back.
        let mut again = rejoin(there, 7, "notes:1", &last);
        let last = expect_recovered(&mut again, 8..10);
        // And from the end.
        let mut again = rejoin(there, 7, "notes:1", &last);
        assert_eq!(again.expect_json(), json!({ "type": "recovered", "count": 0, "id": last }));
        again.expect_quiet();
    });
}

#[test]
fn a_client_that_has_seen_no_message_yet_misses_none_either() {
    with_each_broker(|[here, there]| {
        // A channel that has no message yet, and one that has.
        for before in [0, 2] {
            let channel = format!("notes:{before}");
            let mut ren = join(here, 8, "Ren", &channel);
            send(&mut ren, 0..before);
            let (aoi, start) = join_first(here, 7, &channel);
            aoi.vanish();
            // Messages of other channels in between.
            send(&mut join(here, 8, "Ren", "chat:other"), 0..3);
            send(&mut ren, before..before + 2);
            let mut aoi = rejoin(here, 7, &channel, &start);
            expect_recovered(&mut aoi, before..before + 2);
            let mut aoi = rejoin(there, 7, &channel, &start);
            expect_recovered(&mut aoi, before..before + 2);
        }
    });
}

#[test]
fn only_who_asks_is_answered_and_everyone_gets_ids() {
    let server = start(|_| {});
    let mut ren = join(&server, 8, "Ren", "notes:");
    ren.send_text(r#"{"data":{"n":1}}"#);
    ren.expect_sent();
    let text = ren.expect_text();
    let id = id_of(&serde_json::from_str(&text).unwrap());
    let expected =
        format!(r#"{{"type":"message","id":"{id}","sender":{{"name":"Ren","id":8}},"data":{{"n":1}}}}"#);
    assert_eq!(text, expected);
    let (epoch, offset) = id.split_once('-').unwrap();
    assert!(u64::from_str_radix(epoch, 16).is_ok() && offset == "1", "{id}");
    let mut silent = join(&server, 7, "Aoi", "notes:");
    silent.expect_quiet();
    server.expect_metric("yamabiko_recoveries_total", 0);
}

#[test]
fn a_gap_is_told_whenever_it_cannot_be_proven_that_nothing_is_missing() {
    let server = start(|options| {
        options.config("[channels.notes]\nhistory = { messages = 3, age = \"10m\" }\n");
    });
    let mut ren = join(&server, 8, "Ren", "notes:");
    let (mut aoi, start) = join_first(&server, 7, "notes:");
    send(&mut ren, 0..1);
    let first = expect(&mut aoi, 0..1);
    send(&mut ren, 1..5);
    let last = expect(&mut aoi, 1..5);
    let (epoch, _) = last.split_once('-').unwrap();
    // Kept are the last three.
    let mut back = rejoin(&server, 7, "notes:", &format!("{epoch}-2"));
    assert_eq!(expect_recovered(&mut back, 2..5), last);
    let unprovable = [
        (start.as_str(), "not_kept"),
        (&first, "not_kept"),
        (&format!("{epoch}-6"), "not_kept"),
        (&format!("{epoch}-18446744073709551615"), "not_kept"),
        (&start.replace("-0", "-99"), "not_kept"),
        ("1-3", "not_kept"),
        ("s1-3", "not_kept"),
        ("0-0", "unreadable"),
        ("nonsense", "unreadable"),
        ("%00%ff", "unreadable"),
        (&format!("{epoch}-+3"), "unreadable"),
        (&"9".repeat(8000), "unreadable"),
    ];
    for (since, reason) in unprovable {
        let name = format!("yamabiko_gaps_total{{reason=\"{reason}\"}}");
        let before = server.metric(&name);
        let mut back = rejoin(&server, 7, "notes:", since);
        // From here on, nothing is missing.
        assert_eq!(expect_gap(&mut back), last, "{since}");
        assert_eq!(server.metric(&name), before + 1, "{since}");
        back.vanish();
    }
    let mut back = rejoin(&server, 7, "notes:", "nonsense");
    let here = expect_gap(&mut back);
    back.vanish();
    send(&mut ren, 5..7);
    expect_recovered(&mut rejoin(&server, 7, "notes:", &here), 5..7);
}

#[test]
fn a_node_that_has_not_caught_up_with_redis_repeats_nothing() {
    let redis = RedisServer::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, redis.port()));
    let link = runtime.block_on(Line::start(Ipv4Addr::LOCALHOST, Arc::new(move || Some(address))));
    let [other] = nodes(&redis);
    let behind = start(|options| {
        options.set("redis.url", format!("redis://127.0.0.1:{}", link.port()));
    });
    eventually("Redis is there", || behind.get_admin("/readyz").status == 200);
    let mut ren = join(&other, 8, "Ren", "notes:1");
    let (mut aoi, _) = join_first(&other, 7, "notes:1");
    // The node catches up with the channel, because it has a subscriber.
    let mut there = join(&behind, 9, "Sora", "notes:1");
    send(&mut ren, 0..3);
    expect(&mut aoi, 0..3);
    expect(&mut there, 0..3);
    link.set(Flow::Down);
    eventually("Redis is lost", || behind.get_admin("/readyz").status != 200);
    send(&mut ren, 3..6);
    let read = expect(&mut aoi, 3..6);
    let mut returned = rejoin(&behind, 7, "notes:1", &read);
    // Longer than the store may take to be read.
    thread::sleep(Duration::from_secs(6));
    link.set(Flow::Open);
    assert_eq!(returned.expect_json()["type"], "recovered");
    expect(&mut there, 3..6);
    send(&mut ren, 6..7);
    expect(&mut returned, 6..7);
}

#[test]
fn messages_for_other_users_are_neither_counted_nor_delivered() {
    with_each_broker(|[here, there]| {
        let mut ren = join(here, 8, "Ren", "chat:1");
        let (mut aoi, _) = join_first(there, 7, "chat:1");
        send(&mut ren, 0..1);
        let last = expect(&mut aoi, 0..1);
        aoi.vanish();
        for (message, target) in
            [(1, json!(7)), (2, json!(9)), (3, json!("7")), (4, json!(null)), (5, json!(8))]
        {
            ren.say(&json!({ "message": message, "target_user_id": target }));
            ren.expect_sent();
            if matches!(message, 4 | 5) {
                ren.expect_json();
            }
        }
        let mut aoi = rejoin(there, 7, "chat:1", &last);
        assert_eq!(aoi.expect_json(), json!({ "type": "recovered", "count": 3 }));
        expect(&mut aoi, [1, 3]);
        let last = expect(&mut aoi, [4]);
        // Another user on the channel has its own, and one for whom there is nothing is as far as the channel.
        let mut yui = rejoin(there, 9, "chat:1", &last);
        let answer = yui.expect_json();
        assert_eq!((&answer["type"], &answer["count"]), (&json!("recovered"), &json!(0)));
        assert_ne!(id_of(&answer), last);
    });
}

#[test]
fn every_tab_recovers_on_its_own() {
    let server = start(|_| {});
    let mut ren = join(&server, 8, "Ren", "notes:");
    let (mut first, _) = join_first(&server, 7, "notes:");
    let (mut second, _) = join_first(&server, 7, "notes:");
    send(&mut ren, 0..2);
    let last = expect(&mut first, 0..2);
    first.vanish();
    send(&mut ren, 2..4);
    let mut first = rejoin(&server, 7, "notes:", &last);
    expect_recovered(&mut first, 2..4);
    expect(&mut second, 0..4);
    send(&mut ren, 4..6);
    expect(&mut first, 4..6);
    expect(&mut second, 4..6);
}

#[test]
fn channels_without_a_history_are_as_before_to_the_byte() {
    let server = start(|_| {});
    let mut ren = join(&server, 8, "Ren", "tweet:");
    // A ref is a key like any other that is not `data`.
    for text in
        [r#"{"data":{"tweet":1}}"#, r#"{"ref":"x","data":{"tweet":1}}"#, r#"{"ref":{},"data":{"tweet":1}}"#]
    {
        ren.send_text(text);
        assert_eq!(ren.expect_text(), r#"{"type":"sended","ok":true}"#);
        let message = r#"{"type":"message","sender":{"name":"Ren","id":8},"data":{"tweet":1}}"#;
        assert_eq!(ren.expect_text(), message);
    }
    ren.send_text(r#"{"ref":"x"}"#);
    let refusal = r#"{"type":"sended","ok":false,"error":{"code":"invalid_message","message":"the message must be an object with an object under \"data\""}}"#;
    assert_eq!(ren.expect_text(), refusal);
    // Who asks is told that nothing is kept, every time.
    for since in ["", "1-1", "0-0"] {
        let mut aoi = rejoin(&server, 7, "tweet:", since);
        assert_eq!(aoi.expect_text(), r#"{"type":"gap","id":"0-0"}"#);
        ren.say(&json!({ "tweet": 2 }));
        ren.expect_sent();
        ren.expect_text();
        assert_eq!(
            aoi.expect_text(),
            r#"{"type":"message","sender":{"name":"Ren","id":8},"data":{"tweet":2}}"#
        );
    }
    server.expect_metric("yamabiko_gaps_total{reason=\"no_history\"}", 3);
}

/// Publishes a stream of messages, while clients are cut and come back, to alternating nodes.
fn burst_in_flight([here, there]: [&Server; 2]) {
    const MESSAGES: usize = 3_000;
    const CUTS: usize = 40;
    let (aoi, start) = join_first(here, 7, "notes:burst");
    aoi.vanish();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut ren = join(there, 8, "Ren", "notes:burst");
            for numbers in (0..MESSAGES).collect::<Vec<_>>().chunks(10) {
                for number in numbers {
                    ren.say(&json!({ "n": number, "text": "x".repeat(number % 700) }));
                }
                for _ in 0..2 * numbers.len() {
                    ren.expect_text();
                }
            }
        });
        for reader in 0..3 {
            let start = start.clone();
            scope.spawn(move || {
                let (mut since, mut received) = (start, Vec::new());
                for attempt in 0.. {
                    let node = [here, there][(attempt + reader) % 2];
                    let request = Request::get(node.address, target(7, "notes:burst", &since));
                    let mut raw = Client::raw(request).expect("upgraded");
                    let answer: Value = serde_json::from_slice(&raw.read().unwrap().payload).unwrap();
                    assert_eq!(answer["type"], "recovered", "{answer}");
                    let count = answer["count"].as_u64().unwrap();
                    // Read on a while beyond what was recovered, and end in the middle of a frame.
                    let last_one = attempt >= CUTS;
                    let most = if last_one {
                        usize::MAX
                    } else {
                        usize::try_from(count).unwrap() / 2 + 37 * reader + attempt
                    };
                    for _ in 0..most {
                        if received.len() == MESSAGES {
                            break;
                        }
                        let frame = raw.read().unwrap();
                        if u8::from(frame.header.opcode) != 1 {
                            continue;
                        }
                        let frame: Value = serde_json::from_slice(&frame.payload).unwrap();
                        since = id_of(&frame);
                        received.push(usize::try_from(frame["data"]["n"].as_u64().unwrap()).unwrap());
                    }
                    if received.len() == MESSAGES {
                        break;
                    }
                }
                assert_eq!(received, (0..MESSAGES).collect::<Vec<_>>());
            });
        }
    });
}

#[test]
fn a_burst_in_flight_arrives_exactly_once_in_order_however_often_the_line_is_cut() {
    with_each_broker(burst_in_flight);
}

#[test]
fn a_replay_that_is_larger_than_the_outbox_arrives_whole_while_messages_go_on() {
    let server = start(|options| {
        options.set("limits.outbox_bytes", 65_536);
    });
    let mut ren = join(&server, 8, "Ren", "notes:");
    let (aoi, start) = join_first(&server, 7, "notes:");
    aoi.vanish();
    let text = "x".repeat(20_000);
    let mut say = |number: usize| {
        ren.say(&json!({ "n": number, "text": text }));
        ren.expect_sent();
        ren.expect_text();
    };
    (0..800).for_each(&mut say);
    let mut aoi = rejoin(&server, 7, "notes:", &start);
    assert_eq!(aoi.expect_json(), json!({ "type": "recovered", "count": 800 }));
    (800..802).for_each(&mut say);
    for number in 0..802 {
        assert_eq!(aoi.expect_json()["data"]["n"], json!(number));
    }
    (802..804).for_each(&mut say);
    for number in 802..804 {
        assert_eq!(aoi.expect_json()["data"]["n"], json!(number));
    }
}

#[test]
fn who_does_not_read_what_it_asked_for_is_a_slow_consumer_by_the_live_messages() {
    let server = start(|options| {
        options.set("limits.outbox_bytes", 65_536);
    });
    let mut ren = join(&server, 8, "Ren", "notes:");
    let (aoi, start) = join_first(&server, 7, "notes:");
    aoi.vanish();
    let text = "x".repeat(20_000);
    let mut say = |number: usize| {
        ren.say(&json!({ "n": number, "text": text }));
        ren.expect_sent();
        ren.expect_text();
    };
    // More than the kernel buffers.
    (0..900).for_each(&mut say);
    let deaf = rejoin(&server, 7, "notes:", &start);
    let slow = || server.metric("yamabiko_connections_closed_total{reason=\"slow_consumer\"}");
    assert_eq!(slow(), 0);
    // As many as the outbox takes, and one more.
    (900..904).for_each(&mut say);
    eventually("the slow consumer is closed", || slow() == 1);
    drop(deaf);
}

#[test]
fn a_connection_that_ends_while_the_store_is_read_leaves_nothing_behind() {
    let server = start(|_| {});
    let mut ren = join(&server, 8, "Ren", "notes:");
    send(&mut ren, 0..1);
    for _ in 0..50 {
        rejoin(&server, 7, "notes:", "1-1").vanish();
    }
    eventually("all are gone", || server.metric("yamabiko_connections") == 1);
    send(&mut ren, 1..3);
}

#[test]
fn a_token_that_expires_during_a_long_replay_ends_it() {
    let server = start(|options| {
        options.set("limits.outbox_bytes", 65_536);
    });
    let mut ren = join(&server, 8, "Ren", "notes:");
    let (aoi, start) = join_first(&server, 7, "notes:");
    aoi.vanish();
    let text = "x".repeat(20_000);
    for number in 0..900 {
        ren.say(&json!({ "n": number, "text": text }));
        ren.expect_sent();
        ren.expect_text();
    }
    let mut claims = claims(7, "Aoi", "notes:");
    claims["exp"] = json!(crate::native::unix_time() + 3);
    let target = format!("/?token={}&since={start}", token(&claims));
    let deaf = Client::upgrade(Request::get(server.address, target)).expect("upgraded");
    server.expect_log(|line| line["message"] == "disconnected" && line["code"] == 4401);
    eventually("nothing is left", || server.metric("yamabiko_connections") == 1);
    drop(deaf);
}

#[test]
fn an_answer_never_precedes_the_recovery() {
    let server = start(|_| {});
    send(&mut join(&server, 8, "Ren", "notes:"), 0..1);
    // Asked of the store: an epoch that this node does not know.
    for since in ["1-1", "", "nonsense"] {
        let mut aoi = rejoin(&server, 7, "notes:", since);
        aoi.say(&json!({ "message": since }));
        assert!(["gap", "recovered"].contains(&aoi.expect_json()["type"].as_str().unwrap()));
        aoi.expect_sent();
        assert_eq!(aoi.expect_json()["data"], json!({ "message": since }));
    }
}
