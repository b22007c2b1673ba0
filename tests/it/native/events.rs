//! What the application is told of native channels: webhooks and the event stream.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Value, json};

use crate::native::join;
use crate::support::application::{Asked, PhpServer, application};
use crate::support::redis::RedisServer;
use crate::support::{Client, PATIENCE, Server, claims, eventually};

const SECRET: &str = "the-secret-of-events-with-32-bytes-or-more";

const PREFIX: &str = "app-database-";

fn events(more: &str) -> String {
    format!("[events]\nsecret = {SECRET:?}\n{more}")
}

fn webhook(port: u16, more: &str) -> String {
    format!("[[webhooks]]\nurl = \"http://127.0.0.1:{port}/hook\"\n{more}")
}

fn serve(toml: &str) -> Server {
    Server::start(|options| {
        options.config(toml);
    })
}

/// A node on this Redis that is connected.
fn node(redis: &RedisServer, toml: &str) -> Server {
    let node = Server::start(|options| {
        options.set("redis.url", redis.url()).set("redis.prefix", PREFIX).config(toml);
    });
    eventually("Redis is there", || node.get_admin("/readyz").status == 200);
    node
}

/// An application that hands each request to the test, and answers with what `status` returns.
fn receiver(mut status: impl FnMut() -> u16 + Send + 'static) -> (u16, Receiver<Asked>) {
    let (requests, received) = channel();
    let state = Mutex::new(move |asked: Asked| {
        let status = status();
        requests.send(asked).ok().map(|()| (status, String::new()))
    });
    (application(move |asked| (state.lock().unwrap())(asked)), received)
}

/// The next events, without what differs each time; requests that fail are not counted.
struct Events(Receiver<Asked>, Vec<Value>);

impl Events {
    fn next(&mut self) -> Value {
        while self.1.is_empty() {
            let asked = self.0.recv_timeout(PATIENCE).unwrap();
            self.1.extend(asked.json()["events"].as_array().unwrap().clone());
        }
        self.1.remove(0)
    }

    fn names(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| name(&self.next())).collect()
    }
}

fn name(event: &Value) -> String {
    event["event"].as_str().unwrap().to_owned()
}

fn said(event: &Value) -> &Value {
    &event["data"]["message"]
}

/// The payloads of the stream.
fn stream(redis: &RedisServer) -> Vec<Value> {
    let mut connection = redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let entries: Vec<(String, Vec<(String, String)>)> = redis::cmd("XRANGE")
        .arg(format!("{PREFIX}yamabiko:events"))
        .arg("-")
        .arg("+")
        .query(&mut connection)
        .unwrap();
    let payload = |(_, fields): (String, Vec<(String, String)>)| -> Value {
        let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["event", "channel", "payload"]);
        let event: Value = serde_json::from_str(&fields[2].1).unwrap();
        assert_eq!((&event["event"], &event["channel"]), (&json!(fields[0].1), &json!(fields[1].1)));
        event
    };
    entries.into_iter().map(payload).collect()
}

#[test]
fn php_verifies_a_webhook_and_receives_connections_and_messages() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("events");
    let env = [("YAMABIKO_EVENTS_SECRET", SECRET), ("EVENTS_FILE", file.to_str().unwrap())];
    let php = PhpServer::start("docs/snippets/webhook.php", &env);
    let stranger = PhpServer::start(
        "docs/snippets/webhook.php",
        &[("YAMABIKO_EVENTS_SECRET", "another"), ("EVENTS_FILE", file.to_str().unwrap())],
    );
    let wanted = "events = [\"connected\", \"message\", \"disconnected\"]\n";
    let server = serve(&(webhook(php.port, wanted) + &webhook(stranger.port, wanted) + &events("")));
    let mut aoi = join(&server, 7, "Aoi", "chat:1");
    // Half of a surrogate pair, and a key that PHP has no property for.
    let data = r#"{"message":"山 \ud83d","\u0000":1}"#;
    aoi.send_text(&format!(r#"{{"data":{data}}}"#));
    aoi.expect_sent();
    let copy = r#"{"type":"message","sender":{"name":"Aoi","id":7},"data":{"message":"山 \ud83d"}}"#;
    assert_eq!(aoi.expect_text(), copy);
    aoi.send_text("{");
    aoi.close();
    let read = || -> Vec<Value> {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    eventually("the application knows that it has left", || read().len() == 3);
    let told = read();
    let user = json!({ "name": "Aoi", "id": 7 });
    assert_eq!(told.iter().map(name).collect::<Vec<_>>(), ["connected", "message", "disconnected"]);
    for event in &told {
        assert_eq!(event["channel"], "chat:1");
        assert!(event["time_ms"].is_u64() && event["event_id"].is_string(), "{event}");
    }
    assert_eq!((&told[0]["user"], &told[1]["sender"], &told[2]["user"]), (&user, &user, &user));
    assert_eq!(told[1]["data"], json!({ "message": "山 \u{fffd}", "\u{fffd}": 1 }));
    assert_eq!(told[0]["connection"], told[2]["connection"]);
    assert_eq!((&told[2]["reason"], &told[2]["code"]), (&json!("client_closed"), &json!(1005)));
    // The other one has another secret, and has answered 401.
    eventually("it is retried", || server.metric("yamabiko_webhooks_failed_total") > 0);
}

#[test]
fn a_webhook_is_retried_and_later_events_wait() {
    let mut answers = vec![200, 500, 500];
    let (port, received) = receiver(move || answers.pop().unwrap_or(200));
    let server = serve(&(webhook(port, "events = [\"message\"]\n") + &events("")));
    let mut aoi = join(&server, 7, "Aoi", "chat:1");
    aoi.say(&json!({ "message": 0 }));
    let first = received.recv_timeout(PATIENCE).unwrap();
    for number in 1..150 {
        aoi.say(&json!({ "message": number }));
    }
    let mut events = first.json()["events"].as_array().unwrap().clone();
    let mut last = first;
    for _ in 0..2 {
        let again = received.recv_timeout(PATIENCE).unwrap();
        assert_eq!(again.body, last.body);
        last = again;
    }
    while events.len() < 150 {
        events.extend(received.recv_timeout(PATIENCE).unwrap().json()["events"].as_array().unwrap().clone());
    }
    let numbers: Vec<_> = events.iter().map(said).cloned().collect();
    assert_eq!(numbers, (0..150).map(|number| json!(number)).collect::<Vec<_>>());
    let mut ids: Vec<_> = events.iter().map(|event| event["event_id"].to_string()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 150);
    server.expect_metric("yamabiko_webhooks_failed_total", 2);
}

#[test]
fn a_webhook_receives_only_the_kinds_and_events_that_it_wants() {
    let (port, received) = receiver(|| 200);
    let more =
        "kinds = [\"news\"]\nevents = [\"connected\", \"message\"]\nheaders = { X-Tenant = \"seven\" }\n";
    let server = serve(&(webhook(port, more) + &events("")));
    for channel in ["chat:1", "news:1", "newspaper:1"] {
        let mut aoi = join(&server, 7, "Aoi", channel);
        aoi.say(&json!({ "message": channel }));
        aoi.expect_sent();
        aoi.close();
    }
    join(&server, 7, "Aoi", "news:last");
    let mut channels = Vec::new();
    while channels.last() != Some(&json!("news:last")) {
        let asked = received.recv_timeout(PATIENCE).unwrap();
        assert_eq!(asked.header("x-tenant"), Some("seven"));
        let events = asked.json()["events"].as_array().unwrap().clone();
        channels.extend(events.iter().map(|event| event["channel"].clone()));
    }
    assert_eq!(channels, ["news:1", "news:1", "news:last"]);
}

#[test]
fn refused_messages_and_connections_are_no_events() {
    let (port, received) = receiver(|| 200);
    let limit = "[limits]\nconnections_per_user = 1\n";
    let rules = "[channels.news]\nclient_send = false\n";
    let wanted = "events = [\"connected\", \"message\", \"disconnected\"]\n";
    let server = serve(&(webhook(port, wanted) + &events("") + limit + rules));
    let mut events = Events(received, Vec::new());
    let mut aoi = join(&server, 7, "Aoi", "news:1");
    aoi.say(&json!({ "message": "refused" }));
    assert_eq!(aoi.expect_json()["ok"], false);
    let mut over = join(&server, 7, "Aoi", "news:1");
    assert_eq!(over.expect_close().0, 1013);
    aoi.close();
    assert_eq!(events.names(2), ["connected", "disconnected"]);
    join(&server, 8, "Ren", "news:1").vanish();
    let (connected, lost) = (events.next(), events.next());
    assert_eq!((name(&connected), &lost["reason"]), ("connected".to_owned(), &json!("connection_lost")));
}

/// The events that only the engine notices.
const OF_USERS: &str =
    "events = [\"channel_occupied\", \"channel_vacated\", \"user_online\", \"user_offline\"]\n";

#[test]
fn users_are_told_of_kinds_without_presence_and_clients_are_told_nothing() {
    let (port, received) = receiver(|| 200);
    let kinds = format!("kinds = [\"room\"]\n{OF_USERS}");
    let server = serve(&(webhook(port, &kinds) + &events("")));
    let mut events = Events(received, Vec::new());
    let mut expect = |wanted: &[(&str, Value)]| {
        for (wanted, user) in wanted {
            let event = events.next();
            assert_eq!((&*name(&event), &event["channel"]), (*wanted, &json!("room:1")), "{event}");
            assert_eq!(&event["user"]["id"], user, "{event}");
        }
    };
    // Of other kinds, nobody is told.
    let mut other = join(&server, 9, "Yui", "chat:1");
    let mut aoi = join(&server, 7, "Aoi", "room:1");
    expect(&[("channel_occupied", Value::Null), ("user_online", json!(7))]);
    let tab = join(&server, 7, "Aoi", "room:1");
    let ren = join(&server, 8, "Ren", "room:1");
    expect(&[("user_online", json!(8))]);
    other.expect_quiet();
    let channel = |name: &str| server.get_admin(&format!("/api/v1/channels/{name}")).json();
    assert_eq!((&channel("room:1")["members"], &channel("room:1")["subscribers"]), (&json!(2), &json!(3)));
    assert_eq!(channel("chat:1").get("members"), None);
    ren.close();
    expect(&[("user_offline", json!(8))]);
    tab.vanish();
    eventually("the tab is gone", || channel("room:1")["subscribers"] == 1);
    aoi.expect_quiet();
    aoi.close();
    expect(&[("user_offline", json!(7)), ("channel_vacated", Value::Null)]);
}

#[test]
fn each_event_of_two_nodes_comes_once() {
    let redis = RedisServer::start();
    let (port, received) = receiver(|| 200);
    let presence = "[channels.room]\npresence = true\n";
    let toml = webhook(port, "") + &events("stream = true\n") + presence;
    let nodes = [node(&redis, &toml), node(&redis, &toml)];
    let connect = |node: &Server, id: i64| {
        let mut client = Client::connect(node, &claims(id, "A", "room:1")).unwrap();
        while client.expect_json()["type"] != "connected" {}
        client
    };
    let mut told: Vec<Value> = Vec::new();
    let mut until = |wanted: &str| {
        while !told.iter().any(|event| name(event) == wanted) {
            let asked = received.recv_timeout(PATIENCE).unwrap();
            told.extend(asked.json()["events"].as_array().unwrap().clone());
        }
    };
    let mut aoi = connect(&nodes[0], 7);
    until("user_online");
    let mut ren = connect(&nodes[1], 8);
    ren.say(&json!({ "message": "hi" }));
    while aoi.expect_json()["type"] != "message" {}
    until("message");
    ren.close();
    while aoi.expect_json()["type"] != "disconnectOther" {}
    until("user_offline");
    aoi.close();
    until("channel_vacated");
    let expected = [
        ("channel_occupied", 1),
        ("channel_vacated", 1),
        ("connected", 2),
        ("disconnected", 2),
        ("message", 1),
        ("user_offline", 2),
        ("user_online", 2),
    ];
    let count = |events: &[Value]| {
        expected.map(|(wanted, _)| (wanted, events.iter().filter(|event| name(event) == wanted).count()))
    };
    eventually("all are in the stream", || count(&stream(&redis)) == expected);
    while told.len() < 11 {
        told.extend(received.recv_timeout(PATIENCE).unwrap().json()["events"].as_array().unwrap().clone());
    }
    assert_eq!(count(&told), expected);
    let online = told.iter().find(|event| name(event) == "user_online").unwrap();
    assert_eq!((&online["channel"], &online["user"]), (&json!("room:1"), &json!({ "id": 7 })));
    // The other way round, the stream has the same events.
    let ids = |events: &[Value]| {
        let mut ids: Vec<_> = events.iter().map(|event| event["event_id"].to_string()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&told), ids(&stream(&redis)));
}

#[test]
fn laravel_reads_the_stream_with_its_own_classes_at_least_once() {
    let redis = RedisServer::start();
    let history = "[channels.chat]\nhistory = { messages = 10, age = \"10m\" }\n";
    let server = node(&redis, &(events("stream = true\nstream_events = [\"message\"]\n") + history));
    let mut aoi = join(&server, 7, "Aoi", "chat:1");
    for number in 0..3 {
        aoi.say(&json!({ "message": number }));
        aoi.expect_sent();
        assert_eq!(said(&aoi.expect_json()), &json!(number));
    }
    let read = |count: usize| -> Vec<Value> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/laravel");
        let output = Command::new("php")
            .arg(folder.join("events.php"))
            .arg(count.to_string())
            .env("REDIS_PORT", redis.port().to_string())
            .env("REDIS_PREFIX", PREFIX)
            .output()
            .expect("php runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let (first, rest) = (read(2), read(2));
    let numbers = |events: &[Value]| events.iter().map(said).cloned().collect::<Vec<_>>();
    assert_eq!((numbers(&first), numbers(&rest)), (vec![json!(0), json!(1)], vec![json!(1), json!(2)]));
    assert_eq!(first[1]["event_id"], rest[0]["event_id"]);
    assert!(first[0]["id"].is_string(), "its place in the history: {first:?}");
}

#[test]
fn events_wait_for_a_redis_that_is_away() {
    let mut redis = RedisServer::start();
    let server = node(&redis, &events("stream = true\nstream_events = [\"connected\"]\n"));
    let _before = join(&server, 0, "A", "chat:1");
    // What the node has no answer for is added again.
    server.expect_metric("yamabiko_event_stream_entries_total", 1);
    redis.kill();
    let _meanwhile = [1, 2, 3].map(|id| join(&server, id, "A", "chat:1"));
    server.expect_log(|line| line["message"] == "cannot add events to the event stream, retrying");
    redis.restart();
    eventually("they are in the stream", || stream(&redis).len() >= 3);
    let users: Vec<_> = stream(&redis).iter().map(|event| event["user"]["id"].clone()).collect();
    assert_eq!(users, [1, 2, 3]);
}

#[test]
fn the_stream_is_bounded() {
    let redis = RedisServer::start();
    let toml = "stream = true\nstream_entries = 10\nstream_events = [\"message\"]\n";
    let server = node(&redis, &(events(toml) + "[limits]\nmessages_per_second = 0\n"));
    let mut aoi = join(&server, 7, "Aoi", "chat:1");
    for number in 0..1_000 {
        aoi.say(&json!({ "message": number }));
    }
    eventually("all were added", || server.metric("yamabiko_event_stream_entries_total") == 1_000);
    let left = stream(&redis);
    // Redis removes whole blocks of entries.
    assert!((10..=210).contains(&left.len()), "{}", left.len());
    assert_eq!(said(left.last().unwrap()), &json!(999));
}
