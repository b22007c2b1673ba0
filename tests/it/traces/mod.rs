//! Traces: what a collector of OpenTelemetry receives.

mod collector;

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread;

use md5::{Digest, Md5};
use rustix::process::Signal;
use serde_json::{Value, json};

use self::collector::Collector;
use crate::native::{join, message};
use crate::pusher::APPS;
use crate::pusher::page::{Page, SECRET as APP_SECRET, signed};
use crate::pusher::redis_broadcaster::publish;
use crate::support::application::application;
use crate::support::redis::RedisServer;
use crate::support::{PATIENCE, Request, SECRET, Server, eventually};

const PREFIX: &str = "app-database-";

const EVENTS_SECRET: &str = "the-secret-of-events-with-32-bytes-or-more";

/// What no span may contain.
const CONTENTS: &str = "hello-of-nobody-else";

/// A trace of the application: its ID, its span, and both as a `traceparent`.
struct Parent {
    trace: String,
    span: String,
    traceparent: String,
}

fn parent(number: u64) -> Parent {
    let (trace, span) = (format!("{number:032x}"), format!("{number:016x}"));
    Parent { traceparent: format!("00-{trace}-{span}-01"), trace, span }
}

fn unsampled(number: u64) -> String {
    parent(number).traceparent.replace("-01", "-00")
}

fn node(redis: &RedisServer, config: &str) -> Server {
    let node = Server::start(|options| {
        let options = options.set("redis.url", redis.url()).set("redis.prefix", PREFIX);
        options.set("server.shutdown_grace", "1s").config(config);
    });
    eventually("Redis is there", || node.get_admin("/readyz").status == 200);
    node
}

/// Ends a server, which sends what is left. Returns how many spans it has dropped, as its log says.
fn stop(server: Server) -> u64 {
    server.signal(Signal::TERM);
    let exit = server.wait(PATIENCE);
    assert!(exit.status.success(), "{exit:#?}");
    let is_drop =
        |line: &&Value| line["message"].as_str().is_some_and(|message| message.starts_with("spans dropped"));
    exit.log.iter().filter(is_drop).map(|line| line["spans"].as_u64().unwrap()).sum()
}

#[test]
fn a_message_is_followed_from_the_application_to_the_sockets_of_two_nodes() {
    let (collector, redis) = (Collector::start(), RedisServer::start());
    let history = "[channels.notes]\nhistory = { messages = 100, age = \"10m\" }\n";
    let config = format!("{history}{}{APPS}", collector.settings(0));
    let (first, second) = (node(&redis, &config), node(&redis, &config));
    let data = json!({ "message": CONTENTS });
    let mut aoi = join(&first, 7, "Aoi", "chat:room1");
    let mut ren = join(&second, 8, "Ren", "chat:room1");
    let mut mio = join(&first, 9, "Mio", "notes:1");
    let mut page = Page::open(&second);
    page.subscribe("orders");
    let post = |target: &str, body: &Value, traceparent: &str| {
        let request = Request::post_json(first.admin, target, body.to_string());
        assert_eq!(request.header("traceparent", traceparent).send().status, 200);
    };
    let redis_publish = |topic: &str, payload: &Value, receivers: i64| {
        publish(&redis, &format!("{PREFIX}{topic}"), &payload.to_string(), receivers);
    };

    // Not recorded, or not a trace.
    let native = json!({ "channel": "chat:room1", "data": data });
    for none in [unsampled(1), "nonsense".to_owned()] {
        post("/api/v1/publish", &native, &none);
        let mut payload = native.clone();
        payload["traceparent"] = json!(none);
        redis_publish("broadcast", &payload, 2);
    }

    // The HTTP API: both kinds of messages.
    let api = parent(2);
    let event = json!({ "app": "1", "channel": "orders", "event": "E", "data": data });
    post("/api/v1/publish/batch", &json!({ "messages": [native, event] }), &api.traceparent);
    for client in [&mut aoi, &mut ren] {
        for _ in 0..5 {
            assert_eq!(client.expect_json()["data"], data);
        }
    }
    page.expect("E", "orders", &data);
    let names = ["/publish/batch", "publish", "publish", "deliver", "deliver", "deliver"];
    let spans = collector.expect(&api.trace, names);
    let [request, publish_spans @ .., _, _, _] = &spans;
    assert_eq!((request.kind, &request.parent), (2, &api.span));
    assert_eq!(request.attributes["http.response.status_code"], 200);
    for publish in publish_spans {
        assert_eq!((publish.kind, &publish.parent, &publish.node), (4, &request.id, &request.node));
        let deliveries: Vec<_> = spans.iter().filter(|span| span.parent == publish.id).collect();
        let is_native = publish.attributes["yamabiko.kind"] == "chat";
        assert!(is_native || publish.attributes["yamabiko.app"] == "1", "{publish:#?}");
        assert_eq!(deliveries.len(), if is_native { 2 } else { 1 }, "{spans:#?}");
        for deliver in &deliveries {
            assert_eq!((deliver.kind, &deliver.error), (5, &None));
            assert_eq!(deliver.attributes["yamabiko.subscribers"], 1);
            let channel = "messaging.destination.name";
            assert_eq!(deliver.attributes[channel], publish.attributes[channel]);
        }
        if let [one, other] = deliveries[..] {
            assert_ne!(one.node, other.node);
        }
    }

    // The HTTP API of the Pusher protocol, and a call that nobody has signed.
    let body = json!({ "name": "E", "channels": ["orders"], "data": data.to_string() }).to_string();
    let (call, stranger, path) = (parent(3), parent(1), "/apps/1/events");
    let query = signed("POST", path, &format!("&body_md5={}", hex::encode(Md5::digest(&body))));
    for (query, parent, status) in [("", &stranger, 401), (&query, &call, 200)] {
        let request = Request::post_json(first.address, format!("{path}?{query}"), &*body);
        assert_eq!(request.header("traceparent", &*parent.traceparent).send().status, status);
    }
    page.expect("E", "orders", &data);
    let [events, publish, deliver] = collector.expect(&call.trace, ["events", "publish", "deliver"]);
    assert_eq!((&events.parent, &publish.parent, &deliver.parent), (&call.span, &events.id, &publish.id));
    assert_ne!(deliver.node, publish.node);

    // Laravel over Redis: a native message, one for a channel with a history, the redis broadcaster, and the ingest stream.
    let traced = |channel: &str, parent: &Parent| json!({ "channel": channel, "data": data, "traceparent": parent.traceparent });
    let (plain, kept, broadcast, added) = (parent(4), parent(5), parent(6), parent(7));
    redis_publish("broadcast", &traced("chat:room1", &plain), 2);
    redis_publish("broadcast", &traced("notes:1", &kept), 2);
    let payload = json!({ "event": "E", "data": data, "socket": null, "traceparent": broadcast.traceparent });
    redis_publish("orders", &payload, 1);
    let mut laravel = ::redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    let key = format!("{PREFIX}yamabiko:in");
    let entry = traced("notes:1", &added).to_string();
    let _: String =
        ::redis::cmd("XADD").arg(key).arg("*").arg("payload").arg(entry).query(&mut laravel).unwrap();
    for client in [&mut aoi, &mut ren, &mut mio] {
        assert_eq!(client.expect_json()["data"], data);
    }
    assert_eq!(mio.expect_json()["data"], data);
    page.expect("E", "orders", &data);
    for deliver in collector.expect(&plain.trace, ["deliver", "deliver"]) {
        assert_eq!(deliver.parent, plain.span);
    }
    for parent in [kept, broadcast, added] {
        let [deliver] = collector.expect(&parent.trace, ["deliver"]);
        assert_eq!((deliver.parent, deliver.kind), (parent.span, 5));
    }

    drop((aoi, ren, mio, page));
    assert_eq!([stop(first), stop(second)], [0, 0]);
    assert_eq!(collector.spans().len(), 14, "{:#?}", collector.spans());
    for secret in [CONTENTS, APP_SECRET, SECRET] {
        assert!(!collector.bodies().contains(secret), "{secret}");
    }
}

#[test]
fn the_trace_of_a_client_message_reaches_the_gate_and_the_webhook() {
    let collector = Collector::start();
    let (asked, requests) = channel();
    let asked = Mutex::new(asked);
    let port = application(move |request| {
        let is_gate = request.head.starts_with("post /a-secret-gate");
        asked.lock().unwrap().send(request).unwrap();
        Some((200, if is_gate { r#"{"decision":"allow"}"# } else { "" }.to_owned()))
    });
    let url = |path: &str| format!("url = \"http://127.0.0.1:{port}/{path}\"");
    let config = format!(
        "{}[events]\nsecret = {EVENTS_SECRET:?}\n[channels.room]\ngate = {{ {} }}\n[[webhooks]]\n{}\nevents = [\"message\"]\n\
         [[pusher.webhooks]]\n{}\nevents = [\"client_event\"]\n{APPS}",
        collector.settings(1),
        url("a-secret-gate"),
        url("a-secret-hook"),
        url("a-secret-app-hook"),
    );
    let server = Server::start(|options| {
        options.config(&config);
    });
    let mut aoi = join(&server, 7, "Aoi", "room:1");
    let data = json!({ "message": CONTENTS });
    aoi.say(&data);
    aoi.expect_sent();
    assert_eq!(aoi.expect_json(), message(7, "Aoi", &data));
    let [at_gate, at_webhook] = [(); 2].map(|()| requests.recv_timeout(PATIENCE).unwrap());
    let trace = at_gate.header("traceparent").unwrap().split('-').nth(1).unwrap();
    let [gate, publish, deliver, webhook] =
        collector.expect(trace, ["gate", "publish", "deliver", "webhook"]);
    assert_eq!(
        [&*gate.parent, &publish.parent, &deliver.parent, &webhook.parent],
        ["", &gate.id, &publish.id, &publish.id]
    );
    assert_eq!([gate.kind, publish.kind, deliver.kind, webhook.kind], [3, 4, 5, 3]);
    assert_eq!(gate.attributes["yamabiko.decision"], "publish");
    for (span, request) in [(&gate, &at_gate), (&webhook, &at_webhook)] {
        assert_eq!(request.header("traceparent").unwrap(), format!("00-{trace}-{}-01", span.id));
        assert_eq!(span.attributes["server.address"], "127.0.0.1");
    }
    let event = &at_webhook.json()["events"][0];
    assert_eq!(event["traceparent"], format!("00-{trace}-{}-01", publish.id), "{event}");

    // A client event of an app. Nothing waits for the collector while the server shuts down.
    let [mut page, mut other] = [(); 2].map(|()| Page::open(&server));
    for page in [&mut page, &mut other] {
        page.subscribe("private-a");
    }
    page.client.send_json(&json!({ "event": "client-typing", "channel": "private-a", "data": data }));
    other.expect("client-typing", "private-a", &data);
    let at_webhook = requests.recv_timeout(PATIENCE).unwrap();
    drop((aoi, page, other));
    assert_eq!(stop(server), 0);
    let trace = at_webhook.header("traceparent").unwrap().split('-').nth(1).unwrap();
    let [publish, deliver, webhook] = collector.expect(trace, ["publish", "deliver", "webhook"]);
    assert_eq!([&*publish.parent, &deliver.parent, &webhook.parent], ["", &publish.id, &publish.id]);
    let event = &at_webhook.json()["events"][0];
    assert_eq!(event["traceparent"], format!("00-{trace}-{}-01", publish.id), "{event}");
    assert_eq!(collector.spans().len(), 7, "{:#?}", collector.spans());
    for secret in [EVENTS_SECRET, APP_SECRET, SECRET, "a-secret", CONTENTS] {
        assert!(!collector.bodies().contains(secret), "{secret}");
    }
}

#[test]
fn a_collector_that_fails_or_hangs_delays_nothing_and_its_spans_are_counted() {
    // One span was rejected: it is "old".
    let rejection = "\x0a\x07\x08\x01\x12\x03old";
    let answers = [None, Some(429), Some(200), Some(500)].map(|status| status.map(|status| (status, "")));
    let answers =
        Mutex::new(answers.into_iter().chain([Some((200, rejection))]).collect::<Vec<_>>().into_iter());
    let (hanging, hangs) = channel();
    let hanging = Mutex::new(hanging);
    let collector = Collector::answering(move || {
        let answer = answers.lock().unwrap().next();
        let Some(answer) = answer else {
            hanging.lock().unwrap().send(()).unwrap();
            loop {
                thread::park();
            }
        };
        answer.map(|(status, body)| (status, body.to_owned()))
    });
    let server = Server::start(|options| {
        options.config(&collector.settings(1));
    });
    let one_span = || assert_eq!(server.get_admin("/api/v1/channels").status, 200);
    let expect_dropped = |reason: &str| {
        server.expect_metric(&format!("yamabiko_spans_dropped_total{{reason={reason:?}}}"), 1);
        server.expect_log(|line| line["reason"] == reason && line["spans"] == 1);
    };
    // The connection is closed, then it is too much, then it is taken.
    one_span();
    server.expect_metric("yamabiko_spans_sent_total", 1);
    one_span();
    expect_dropped("status");
    one_span();
    expect_dropped("rejected");
    one_span();
    hangs.recv_timeout(PATIENCE).unwrap();
    let mut aoi = join(&server, 7, "Aoi", "chat:room1");
    let data = json!({ "message": CONTENTS });
    aoi.say(&data);
    aoi.expect_sent();
    assert_eq!(aoi.expect_json(), message(7, "Aoi", &data));
    drop(aoi);
    assert_eq!(server.metric("yamabiko_spans_sent_total"), 1);
    // Two above, and three that were left.
    assert_eq!(stop(server), 5);
}
