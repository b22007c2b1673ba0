//! Two nodes on one Redis, and a Redis in all kinds of trouble, from the client's end to the other's.
use std::thread;
use std::time::{Duration, Instant};

use crate::support::redis::RedisServer;
use crate::support::{Client, Options, Raw, Server, claims, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

const PREFIX: &str = "laravel-test-database-";
const TOPIC: &str = "laravel-test-database-broadcast";
const SIGNALS: &str = "laravel-test-database-yamabiko";
const OK: &str = r#"{"type":"sended","ok":true}"#;

/// In an outage: after this a sender must have been told that its message was not sent. Elsewhere it is longer, since
/// a busy machine is no outage.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(1);

#[test]
fn a_message_reaches_both_nodes_once() {
    let redis = RedisServer::start();
    let (a, b) = (ready(&redis), ready(&redis));
    let mut on_a = [join(&a, 7, "Aoi", "chat:"), join(&a, 8, "Ren", "chat:")];
    let mut on_b = [join(&b, 7, "Aoi", "chat:"), join(&b, 9, "Yui", "chat:")];
    let mut elsewhere = join(&b, 9, "Yui", "chat:other");
    on_a[0].say(&json!({ "message": "from A", "x": 1 }));
    on_a[0].expect_sent();
    for client in on_a.iter_mut().chain(&mut on_b) {
        assert_eq!(client.expect_json(), message(7, "Aoi", &json!({ "message": "from A" })));
    }
    on_b[1].say(&json!({ "message": "to Aoi", "target_user_id": 7 }));
    on_b[1].expect_sent();
    for client in [&mut on_a[0], &mut on_b[0]] {
        assert_eq!(client.expect_json(), message(9, "Yui", &json!({ "message": "to Aoi" })));
    }
    // The next one that each gets is the last: nothing came twice.
    on_b[1].say(&json!({ "message": "last" }));
    on_b[1].expect_sent();
    for client in on_a.iter_mut().chain(&mut on_b) {
        assert_eq!(client.expect_json(), message(9, "Yui", &json!({ "message": "last" })));
    }
    elsewhere.expect_nothing(Duration::from_millis(200));
    for node in [&a, &b] {
        assert_eq!(node.metric("yamabiko_broker_messages_total"), 3);
    }
}

#[test]
fn all_receivers_on_all_nodes_see_one_order_and_no_copy_precedes_its_answer() {
    const SENDERS: usize = 8;
    const EACH: usize = 250;
    let redis = RedisServer::start();
    let nodes = [ready(&redis), ready(&redis)];
    let clients: Vec<_> =
        (0..SENDERS).map(|sender| join(&nodes[sender % 2], id_of(sender), "x", "notes:")).collect();
    let mut silent: Vec<_> = nodes.iter().map(|node| join(node, 100, "silent", "notes:")).collect();
    let mut seen: Vec<Vec<String>> = thread::scope(|scope| {
        let threads: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(sender, mut client)| {
                scope.spawn(move || speak_and_listen(&mut client, sender, EACH, SENDERS * EACH))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for client in &mut silent {
        seen.push((0..SENDERS * EACH).map(|_| client.expect_text()).collect());
    }
    for other in &seen[1..] {
        assert!(other == &seen[0], "two receivers saw two orders");
    }
    for sender in 0..SENDERS {
        let by = format!("\"data\":{{\"by\":{sender},");
        let own: Vec<_> = seen[0].iter().filter(|text| text.contains(&by)).collect();
        assert_eq!(own.len(), EACH);
        for (number, text) in own.iter().enumerate() {
            assert!(text.ends_with(&format!("\"n\":{number}}}}}")), "{text}");
        }
    }
}

#[test]
fn one_at_a_time_the_answer_still_comes_first() {
    let redis = RedisServer::start();
    let node = ready(&redis);
    let mut aoi = join(&node, 7, "Aoi", "notes:");
    for number in 0..1000 {
        aoi.say(&json!({ "n": number }));
        aoi.expect_sent();
        assert_eq!(aoi.expect_json()["data"], json!({ "n": number }));
    }
}

#[test]
fn data_is_as_faithful_over_redis() {
    let redis = RedisServer::start();
    let (a, b) = (ready(&redis), ready(&redis));
    let mut aoi = join(&a, 7, "Aoi \"山\"", "notes:ルーム");
    let mut ren = join(&b, 8, "Ren", "notes:ルーム");
    let data = r#"{"z":1.0,"a":123456789012345678901234567890,"n":[null,{"x":null}],"u":"\u5c71彦\/🗻","e":1E400,"z":-0}"#;
    aoi.send_text(&format!(r#"{{"data":{data}}}"#));
    aoi.expect_sent();
    let expected = format!(r#"{{"type":"message","sender":{{"name":"Aoi \"山\"","id":7}},"data":{data}}}"#);
    assert_eq!(aoi.expect_text(), expected);
    assert_eq!(ren.expect_text(), expected);
}

#[test]
fn an_absent_redis_is_awaited() {
    let mut redis = RedisServer::absent(&[]);
    let nodes = [impatient(&redis.url()), impatient(&redis.url())];
    let mut outage = Outage::begin(&nodes);
    outage.is_told();
    redis.restart();
    outage.is_over();
}

#[test]
fn a_killed_redis_is_found_again() {
    let mut redis = RedisServer::start();
    let nodes = [impatient(&redis.url()), impatient(&redis.url())];
    let mut outage = Outage::begin(&nodes);
    for _ in 0..2 {
        redis.kill();
        outage.is_told();
        redis.restart();
        outage.is_over();
    }
}

#[test]
fn a_stopped_redis_delivers_nothing_late() {
    let redis = RedisServer::start();
    let nodes = [impatient(&redis.url()), impatient(&redis.url())];
    let mut outage = Outage::begin(&nodes);
    redis.pause();
    outage.is_told();
    outage.is_told();
    redis.resume();
    outage.is_over();
}

#[test]
fn a_paused_redis_delivers_nothing_late() {
    let redis = RedisServer::start();
    let nodes = [impatient(&redis.url()), impatient(&redis.url())];
    for mode in ["WRITE", "ALL"] {
        let mut outage = Outage::begin(&nodes);
        let mut operator = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
        let () = redis::cmd("CLIENT").arg("PAUSE").arg(3000).arg(mode).query(&mut operator).unwrap();
        outage.is_told();
        outage.is_over();
    }
}

#[test]
fn a_wrong_password_is_an_outage_that_an_operator_can_end() {
    let redis = RedisServer::start_with(&["--requirepass", "the right password"]);
    // The server's log is searched for its password at the end.
    let nodes = [0, 1].map(|_| impatient(&redis.url_as(":the-wrong-password")));
    let node = &nodes[0];
    let mut outage = Outage::begin(&nodes);
    outage.is_told();
    eventually("a reason", || {
        node.get_admin("/readyz").json()["broker"].as_str().is_some_and(|why| why.contains("WRONGPASS"))
    });
    assert!(!node.get_admin("/readyz").text().contains("the-wrong-password"));
    let mut operator =
        redis::Client::open(redis.url_as(":the%20right%20password")).unwrap().get_connection().unwrap();
    let () = redis::cmd("CONFIG")
        .arg("SET")
        .arg("requirepass")
        .arg("the-wrong-password")
        .query(&mut operator)
        .unwrap();
    outage.is_over();
}

#[test]
fn a_node_that_stood_still_reads_redis_answer_before_it_judges() {
    let redis = RedisServer::start();
    let (still, other) = (impatient(&redis.url()), ready(&redis));
    eventually("Redis is there", || still.get_admin("/readyz").status == 200);
    let mut sender = join(&still, 7, "Aoi", "notes:");
    let mut receiver = join(&other, 8, "Ren", "notes:");
    for round in 0..5 {
        let data = json!({ "n": round });
        redis.pause();
        sender.say(&data);
        // It lies in Redis's socket, and the node is stopped before there is an answer.
        thread::sleep(Duration::from_millis(100));
        still.signal(Signal::STOP);
        redis.resume();
        assert_eq!(receiver.expect_json(), message(7, "Aoi", &data));
        thread::sleep(2 * PUBLISH_TIMEOUT);
        still.signal(Signal::CONT);
        sender.expect_sent();
        assert_eq!(sender.expect_json(), message(7, "Aoi", &data));
    }
    assert_eq!(still.metric("yamabiko_broker_interruptions_total"), 0);
}

#[test]
fn what_is_said_on_a_node_without_redis_stays_unsaid_on_the_other() {
    let mut redis = RedisServer::start();
    let (a, b) = (ready(&redis), ready(&redis));
    let mut on_a = join(&a, 7, "Aoi", "notes:");
    let mut on_b = join(&b, 8, "Ren", "notes:");
    redis.kill();
    for _ in 0..20 {
        on_a.say(&json!({ "lost": true }));
        assert_eq!(on_a.expect_json()["error"]["code"], "unavailable");
    }
    redis.restart();
    for node in [&a, &b] {
        eventually("both are back", || node.get_admin("/readyz").status == 200);
    }
    on_a.say(&json!({ "lost": false }));
    on_a.expect_sent();
    for client in [&mut on_a, &mut on_b] {
        assert_eq!(client.expect_json(), message(7, "Aoi", &json!({ "lost": false })));
    }
}

#[test]
fn the_topic_is_the_prefix_and_broadcast_and_nothing_else() {
    let redis = RedisServer::start();
    let mut publisher = Laravel::on(&redis);
    for prefix in [PREFIX, "laravel_database_", "", "a*[b]?_"] {
        let node = start(&redis.url(), |options| {
            options.set("redis.prefix", prefix);
        });
        eventually("Redis is there", || node.get_admin("/readyz").status == 200);
        let mut aoi = join(&node, 7, "Aoi", "notes:");
        for topic in [
            format!("{prefix}broadcast2"),
            format!("{prefix}Broadcast"),
            format!("{prefix}broadcas"),
            format!("x{prefix}broadcast"),
            format!("{prefix}_broadcast"),
            "abb_broadcast".to_owned(),
            "laravel_broadcast".to_owned(),
        ] {
            assert_eq!(
                publisher.try_publish(&topic, r#"{"channel":"notes:","data":{"wrong":1}}"#),
                0,
                "{topic}"
            );
        }
        let topic = format!("{prefix}broadcast");
        assert_eq!(publisher.try_publish(&topic, r#"{"channel":"notes:","data":{"right":1}}"#), 1, "{topic}");
        assert_eq!(aoi.expect_json(), message(0, "System", &json!({ "right": 1 })));
    }
}

#[test]
fn who_speaks_for_laravel() {
    let redis = RedisServer::start();
    let node = start(&redis.url(), |options| {
        options.set("sender.name", "運営").set("sender.id", -1);
    });
    eventually("Redis is there", || node.get_admin("/readyz").status == 200);
    let mut aoi = join(&node, 7, "Aoi", "notes:");
    let mut laravel = Laravel::on(&redis);
    for (sender, expected) in [
        ("", json!({ "name": "運営", "id": -1 })),
        (r#","sender":null"#, json!({ "name": "運営", "id": -1 })),
        (r#","sender":{"name":"Ren","id":8}"#, json!({ "name": "Ren", "id": 8 })),
        (
            r#","sender":{"id":9007199254740993,"name":"\u5c71","email":"x"},"event":"x""#,
            json!({ "name": "山", "id": 9_007_199_254_740_993_i64 }),
        ),
    ] {
        laravel.publish(&format!(r#"{{"channel":"notes:","data":{{"a":1}}{sender}}}"#));
        assert_eq!(aoi.expect_json()["sender"], expected, "{sender}");
    }
    for wrong in
        [r#""Ren""#, "8", "[]", r#"{"name":"Ren"}"#, r#"{"name":"Ren","id":""}"#, r#"{"name":8,"id":8}"#]
    {
        laravel.publish(&format!(r#"{{"channel":"notes:","data":{{"wrong":1}},"sender":{wrong}}}"#));
    }
    laravel.publish(r#"{"channel":"notes:","data":[]}"#);
    assert_eq!(aoi.expect_json(), message(-1, "運営", &json!({})));
    assert_eq!(node.metric("yamabiko_broker_dropped_total{reason=\"invalid_sender\"}"), 6);
}

#[test]
fn rules_and_targets_apply_to_laravel_too() {
    let redis = RedisServer::start();
    let (a, b) = (ready(&redis), ready(&redis));
    let mut aoi = join(&a, 7, "Aoi", "chat:");
    let mut ren = join(&a, 8, "Ren", "chat:");
    let mut aoi_on_b = join(&b, 7, "Aoi", "chat:");
    let mut laravel = Laravel::on(&redis);
    let mut targeted = |target: &str, message: u32| {
        laravel.publish(&format!(
            r#"{{"channel":"chat:","data":{{"secret":1,"target_user_id":{target},"message":{message}}}}}"#
        ));
    };
    targeted("7", 1);
    for client in [&mut aoi, &mut aoi_on_b] {
        assert_eq!(client.expect_json(), message(0, "System", &json!({ "message": 1 })));
    }
    let wrong = ["\"-7\"", "7.0", "-7", "true", "[7]", "{}", "1e1"];
    for target in wrong {
        targeted(target, 2);
    }
    for (target, number) in [("null", 3), ("0", 4), ("\"\"", 5), ("false", 6)] {
        targeted(target, number);
        for client in [&mut aoi, &mut ren, &mut aoi_on_b] {
            assert_eq!(client.expect_json(), message(0, "System", &json!({ "message": number })), "{target}");
        }
    }
    for node in [&a, &b] {
        let dropped = node.metric("yamabiko_broker_dropped_total{reason=\"invalid_target\"}");
        assert_eq!(dropped, i64::try_from(wrong.len()).unwrap());
        let line = node.expect_log(|line| line["reason"] == "invalid_target");
        assert_eq!((&line["level"], &line["channel"]), (&json!("WARN"), &json!("chat:")));
    }
    // A kind that takes nothing from browsers takes it from Laravel; tested where there is such a kind.
    let closed = start(&redis.url(), |options| {
        options.config("[channels.news]\nclient_send = false\nfields = [\"title\"]\n");
    });
    eventually("Redis is there", || closed.get_admin("/readyz").status == 200);
    let mut reader = join(&closed, 7, "Aoi", "news:");
    laravel.publish(r#"{"channel":"news:","data":{"title":"t","x":1}}"#);
    assert_eq!(reader.expect_json(), message(0, "System", &json!({ "title": "t" })));
}

#[test]
fn a_user_is_removed_from_all_nodes() {
    let redis = RedisServer::start();
    let nodes = [ready(&redis), ready(&redis)];
    let mut laravel = Laravel::on(&redis);
    let mut ren = [join(&nodes[0], 8, "Ren", "chat:"), join(&nodes[1], 8, "Ren", "chat:")];
    for by_http in [true, false] {
        let mut remove = |body: &str| {
            if by_http {
                let answer = nodes[0].post_admin("/disconnect", body);
                assert_eq!((answer.status, answer.json()), (200, json!({ "ok": true })));
            } else {
                laravel.publish(&format!(r#"{{"disconnect":{body}}}"#));
            }
        };
        let mut there = [join(&nodes[0], 7, "Aoi", "chat:"), join(&nodes[1], 7, "Aoi", "chat:")];
        let mut elsewhere = [join(&nodes[0], 7, "Aoi", "chat:b"), join(&nodes[1], 7, "Aoi", "chat:b")];
        // The nodes see one order: what was said before is heard, on either node.
        ren[0].say(&json!({ "message": "before" }));
        ren[0].expect_sent();
        remove(r#"{"user":7,"channel":"chat:"}"#);
        for client in &mut there {
            assert_eq!(client.expect_json(), message(8, "Ren", &json!({ "message": "before" })));
            assert_eq!(client.expect_close(), (4403, "disconnected".to_owned()));
        }
        remove(r#"{"user":7}"#);
        for client in &mut elsewhere {
            assert_eq!(client.expect_close(), (4403, "disconnected".to_owned()));
        }
        for client in &mut ren {
            assert_eq!(client.expect_json(), message(8, "Ren", &json!({ "message": "before" })));
        }
    }
    // What is not understood closes nobody, and is counted.
    for body in [r#"{"user":""}"#, "8", r#"{"user":8,"chanel":"chat:"}"#] {
        laravel.publish(&format!(r#"{{"disconnect":{body}}}"#));
    }
    // A newer node may say what this one does not know.
    for body in [r#"{"later":{"user":8}}"#, r#"{"disconnect":{"user":8,"connection":1}}"#, "[]"] {
        let payload = format!(r#"{{"body":{body},"node":"0","seq":1}}"#);
        assert_eq!(laravel.try_publish(SIGNALS, &payload), 2);
    }
    ren[1].say(&json!({ "message": "still here" }));
    ren[1].expect_sent();
    for client in &mut ren {
        assert_eq!(client.expect_json(), message(8, "Ren", &json!({ "message": "still here" })));
    }
    for node in &nodes {
        assert_eq!(node.metric("yamabiko_broker_dropped_total{reason=\"invalid_disconnect\"}"), 3);
    }
}

#[test]
fn a_user_may_have_a_text_for_an_id() {
    let redis = RedisServer::start();
    let nodes = [ready(&redis), ready(&redis)];
    let mut laravel = Laravel::on(&redis);
    let ulid = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let mut token = claims(0, "Ren", "chat:");
    token["id"] = json!(ulid);
    let mut ren = nodes.each_ref().map(|node| Client::connect(node, &token).expect("upgraded"));
    let mut aoi = join(&nodes[0], 7, "Aoi", "chat:");

    ren[0].say(&json!({ "message": 1 }));
    ren[0].expect_sent();
    laravel.publish(&format!(
        r#"{{"channel":"chat:","data":{{"message":1}},"sender":{{"name":"Ren","id":"{ulid}"}}}}"#
    ));
    let said =
        json!({ "type": "message", "sender": { "name": "Ren", "id": ulid }, "data": { "message": 1 } });
    for client in ren.iter_mut().chain([&mut aoi]) {
        assert_eq!([client.expect_json(), client.expect_json()], [said.clone(), said.clone()]);
    }
    laravel.publish(&format!(r#"{{"channel":"chat:","data":{{"message":2,"target_user_id":"{ulid}"}}}}"#));
    for client in &mut ren {
        assert_eq!(client.expect_json()["data"], json!({ "message": 2 }));
    }
    laravel.publish(&format!(r#"{{"disconnect":{{"user":"{ulid}","channel":"chat:"}}}}"#));
    for client in &mut ren {
        assert_eq!(client.expect_close(), (4403, "disconnected".to_owned()));
    }
    // A route parameter of Laravel's is a text.
    let answer = nodes[1].post_admin("/disconnect", r#"{"user":"7"}"#);
    assert_eq!((answer.status, answer.json()), (200, json!({ "ok": true })));
    assert_eq!(aoi.expect_close(), (4403, "disconnected".to_owned()));
}

#[test]
fn without_redis_a_removal_is_refused() {
    let redis = RedisServer::absent(&[]);
    let node = start(&redis.url(), |_| {});
    let answer = node.post_admin("/disconnect", r#"{"user":7}"#);
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (503, &json!("unavailable")));
}

/// A sender and listeners on nodes that have lost Redis, and what they may expect.
struct Outage<'n> {
    node: &'n Server,
    other: &'n Server,
    sender: Client,
    listeners: [Client; 2],
    refused: usize,
}

impl<'n> Outage<'n> {
    fn begin([node, other]: &'n [Server; 2]) -> Self {
        for node in [node, other] {
            // Whoever has Redis is connected when the outage begins; who has none says why.
            node.expect_log(|line| line["message"] == "connected to Redis" || line["level"] == "WARN");
        }
        let listeners = [join(node, 8, "Ren", "notes:"), join(other, 9, "Yui", "notes:")];
        Self { node, other, sender: join(node, 7, "Aoi", "notes:"), listeners, refused: 0 }
    }

    /// Every sender is told so in time, and readiness and the metrics say it.
    fn is_told(&mut self) {
        for _ in 0..3 {
            let started = Instant::now();
            self.sender.say(&json!({ "refused": self.refused }));
            let answer = self.sender.expect_json();
            assert_eq!((&answer["type"], &answer["ok"]), (&json!("sended"), &json!(false)), "{answer}");
            assert_eq!(answer["error"]["code"], "unavailable");
            let waited = started.elapsed();
            assert!(waited < PUBLISH_TIMEOUT + Duration::from_secs(2), "told after {waited:?}");
            self.refused += 1;
        }
        // What is no message is told so as ever.
        self.sender.send_text("{}");
        assert_eq!(self.sender.expect_json()["error"]["code"], "invalid_message");
        let refused = self.node.metric("yamabiko_messages_refused_total{reason=\"unavailable\"}");
        assert!(refused >= i64::try_from(self.refused).unwrap());
        eventually("not ready", || self.node.get_admin("/readyz").status == 503);
    }

    /// It goes on by itself, on the same connections, and nothing that was refused arrives.
    fn is_over(&mut self) {
        for node in [self.node, self.other] {
            eventually("ready again", || node.get_admin("/readyz").status == 200);
        }
        for number in 0..3 {
            let data = json!({ "accepted": number });
            self.sender.say(&data);
            assert_eq!(self.sender.expect_text(), OK);
            for client in [&mut self.sender].into_iter().chain(&mut self.listeners) {
                assert_eq!(client.expect_json(), message(7, "Aoi", &data));
            }
        }
    }
}

#[test]
fn who_sends_much_at_once_does_not_make_others_wait_behind_all_of_it() {
    let redis = RedisServer::start();
    let node = ready(&redis);
    let mut yui = join(&node, 9, "Yui", "notes:");
    let mut ren = join(&node, 8, "Ren", "notes:");
    let mut many: Vec<Client> = (10..15).map(|id| join(&node, id, "Aoi", "notes:")).collect();
    redis.pause();
    for client in &mut many {
        let mut writer = client.stream().try_clone().unwrap();
        thread::spawn(move || {
            let message = Raw::text(&json!({ "data": { "blob": "x".repeat(20_000) } }).to_string());
            let _ = std::io::Write::write_all(&mut writer, &message.repeat(100));
        });
    }
    // Time to read all that it would read.
    thread::sleep(Duration::from_millis(700));
    ren.say(&json!({ "from": "Ren" }));
    thread::sleep(Duration::from_millis(200));
    redis.resume();
    let before = (0..500).find(|_| yui.expect_json()["sender"]["id"] == 8).expect("what Ren said");
    assert!(before < 50, "behind {before} of 500");
}

/// Publishes as Laravel does.
struct Laravel(redis::Connection);

impl Laravel {
    fn on(redis: &RedisServer) -> Self {
        Self(redis::Client::open(redis.url()).unwrap().get_connection().unwrap())
    }

    fn publish(&mut self, payload: &str) {
        assert!(self.try_publish(TOPIC, payload) > 0, "nobody is subscribed");
    }

    /// Returns how many are subscribed.
    fn try_publish(&mut self, topic: &str, payload: &str) -> i64 {
        redis::cmd("PUBLISH").arg(topic).arg(payload).query(&mut self.0).unwrap()
    }
}

/// Sends all in one go, and reads until it has heard everybody. Returns what was heard.
fn speak_and_listen(client: &mut Client, sender: usize, count: usize, due: usize) -> Vec<String> {
    for number in 0..count {
        client.say(&json!({ "by": sender, "n": number }));
    }
    let own = format!("\"id\":{}}},\"data\":", id_of(sender));
    let (mut heard, mut answers, mut copies) = (Vec::new(), 0, 0);
    while heard.len() < due {
        let text = client.expect_text();
        if text == OK {
            answers += 1;
            continue;
        }
        assert!(text.starts_with(r#"{"type":"message","#), "{text}");
        copies += usize::from(text.contains(&own));
        assert!(copies <= answers, "copy {copies} came after {answers} answers");
        heard.push(text);
    }
    assert_eq!((answers, copies), (count, count));
    heard
}

fn id_of(sender: usize) -> i64 {
    i64::try_from(sender).unwrap() + 1
}

fn start(url: &str, change: impl FnOnce(&mut Options)) -> Server {
    Server::start(|options| {
        options
            .set("redis.url", url)
            .set("redis.prefix", PREFIX)
            .set("redis.publish_timeout", "10s")
            .set("limits.messages_per_second", 0);
        change(options);
    })
}

/// A node that soon gives up waiting for Redis.
fn impatient(url: &str) -> Server {
    start(url, |options| {
        options.set("redis.publish_timeout", format!("{}s", PUBLISH_TIMEOUT.as_secs()));
    })
}

/// A node that is connected.
fn ready(redis: &RedisServer) -> Server {
    let node = start(&redis.url(), |_| {});
    eventually("Redis is there", || node.get_admin("/readyz").status == 200);
    node
}

fn join(node: &Server, id: i64, name: &str, channel: &str) -> Client {
    Client::connect(node, &claims(id, name, channel)).expect("upgraded")
}

fn message(id: i64, name: &str, data: &Value) -> Value {
    json!({ "type": "message", "sender": { "name": name, "id": id }, "data": data })
}
