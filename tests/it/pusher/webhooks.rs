use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::pusher::page::{SECRET, sign};
use crate::pusher::{Page, node, serve};
use crate::support::PATIENCE;
use crate::support::eventually;
use crate::support::redis::RedisServer;

/// The application's end: answers the first request with 500 and all others with 200.
fn application() -> (u16, Receiver<(u16, Value)>) {
    application_that_answers(500)
}

/// The same with another status for the first request.
pub(crate) fn application_that_answers(first: u16) -> (u16, Receiver<(u16, Value)>) {
    let mut status = first;
    application_with(move || std::mem::replace(&mut status, 200))
}

/// An application that answers each request with the status that `status` returns.
pub(crate) fn application_with(
    mut status: impl FnMut() -> u16 + Send + 'static,
) -> (u16, Receiver<(u16, Value)>) {
    let (requests, received) = channel();
    let port = listen(move |_, body| {
        let status = status();
        requests.send((status, body)).ok().map(|()| status)
    });
    (port, received)
}

/// An application that answers each request, of this head and body, with the status that `take` returns; it ends with `None`.
fn listen(mut take: impl FnMut(&str, Value) -> Option<u16> + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = Vec::new();
            let (head, body) = loop {
                let mut chunk = [0; 4096];
                let count = stream.read(&mut chunk).unwrap();
                assert_ne!(count, 0, "half a request");
                bytes.extend_from_slice(&chunk[..count]);
                let text = String::from_utf8(bytes.clone()).unwrap();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let header = |name: &str| {
                    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name));
                    line.and_then(|line| line.split_once(": ")).map(|(_, value)| value.to_owned())
                };
                if body.len() == header("content-length").unwrap().parse::<usize>().unwrap() {
                    assert_eq!(header("x-pusher-key").unwrap(), "page");
                    assert_eq!(header("x-pusher-signature").unwrap(), sign(SECRET, body));
                    break (head.to_owned(), body.to_owned());
                }
            };
            assert!(head.starts_with("POST /hook"), "{head}");
            let Some(status) = take(&head, serde_json::from_str(&body).unwrap()) else { return };
            // The server may have given the request up meanwhile.
            let _ = write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    port
}

/// An app with a webhook to this port, and these additions to its settings.
pub(crate) fn app(port: u16, more: &str) -> String {
    format!(
        r#"
[[apps]]
id = "1"
key = "page"
secret = "{SECRET}"
webhooks = [{{ url = "http://127.0.0.1:{port}/hook"{more} }}]
"#
    )
}

#[test]
fn a_webhook_is_retried_until_it_succeeds_and_sent_once() {
    let (port, received) = application();
    let server = serve(&format!("{}client_events = true\n", app(port, "")));
    let mut page = Page::open(&server);
    page.enter("presence-a", 7);
    let (status, first) = received.recv_timeout(PATIENCE).unwrap();
    assert_eq!(status, 500);
    let again = received.recv_timeout(PATIENCE).unwrap();
    assert_eq!(again, (200, first));
    // How many requests the events come in depends on time.
    let mut accepted = 1;
    let mut events = again.1["events"].as_array().unwrap().clone();
    let mut told = |count: usize| -> Value {
        while events.len() < count {
            let (status, body) = received.recv_timeout(PATIENCE).unwrap();
            assert_eq!(status, 200);
            accepted += 1;
            events.extend(body["events"].as_array().unwrap().clone());
        }
        std::mem::take(&mut events).into()
    };
    let joined = json!([
        { "name": "channel_occupied", "channel": "presence-a" },
        { "name": "member_added", "channel": "presence-a", "user_id": "7" },
    ]);
    assert_eq!(told(2), joined);
    let failed = server.expect_log(|line| line["message"] == "webhook failed, retrying");
    let named = ["app", "host", "failure"].map(|name| failed[name].as_str().unwrap_or_default());
    assert_eq!(named, ["1", "127.0.0.1", "the response is 500 Internal Server Error"]);
    // A page that is reloaded has not been away.
    page.client.close();
    let mut page = Page::open(&server);
    page.enter("presence-a", 7);
    page.client.send_json(&json!({ "event": "client-x", "channel": "presence-a", "data": "d" }));
    let event = json!({
        "name": "client_event", "channel": "presence-a", "event": "client-x", "data": "d",
        "socket_id": page.socket_id, "user_id": "7",
    });
    assert_eq!(told(1), json!([event]));
    drop(page);
    let left = json!([
        { "name": "member_removed", "channel": "presence-a", "user_id": "7" },
        { "name": "channel_vacated", "channel": "presence-a" },
    ]);
    assert_eq!(told(2), left);
    // No other event was pending.
    let mut page = Page::open(&server);
    page.subscribe("last");
    assert_eq!(told(1), json!([{ "name": "channel_occupied", "channel": "last" }]));
    eventually("it is counted", || server.metric("yamabiko_webhooks_sent_total") == accepted);
    server.expect_metric("yamabiko_webhooks_failed_total", 1);
}

#[test]
fn a_webhook_has_its_own_login_headers_and_channels() {
    let (heads, received) = channel();
    let port = listen(move |head, body| heads.send((head.to_owned(), body)).ok().map(|()| 200));
    let server = serve(&format!(
        r#"
[[apps]]
id = "1"
key = "page"
secret = "{SECRET}"
[[apps.webhooks]]
url = "http://aoi:s3cret%21@127.0.0.1:{port}/hook"
headers = {{ X-Tenant = "seven" }}
filter = {{ channel_name_starts_with = "private-", channel_name_ends_with = ".1" }}
"#
    ));
    let mut page = Page::open(&server);
    for channel in ["private-Chat.2", "news.1", "private-Chat.1"] {
        page.subscribe(channel);
    }
    let (head, body) = received.recv_timeout(PATIENCE).unwrap();
    assert_eq!(body["events"], json!([{ "name": "channel_occupied", "channel": "private-Chat.1" }]));
    let head = head.to_ascii_lowercase();
    assert!(head.starts_with("post /hook http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nx-tenant: seven"), "{head}");
    let login = BASE64_STANDARD.encode("aoi:s3cret!").to_ascii_lowercase();
    assert!(head.contains(&format!("\r\nauthorization: basic {login}")), "{head}");
    assert!(head.contains(&format!("\r\nhost: 127.0.0.1:{port}")), "{head}");
}

/// Waits until this many nodes have each sent a heartbeat after this call, and the nodes have received it. A node sends one every three
/// seconds, and reads what Redis carries in one order.
pub(crate) fn expect_heartbeats(redis: &RedisServer, nodes: usize) {
    let mut connection = ::redis::Client::open(redis.url()).unwrap().get_connection().unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut signals = connection.as_pubsub();
    signals.subscribe("app-database-yamabiko").unwrap();
    let mut heartbeats: HashMap<String, usize> = HashMap::new();
    // The second one of each node: by then all nodes have received the first.
    while heartbeats.values().filter(|count| **count >= 2).count() < nodes {
        let signal = signals.get_message().unwrap();
        let signal: Value = serde_json::from_slice(signal.get_payload_bytes()).unwrap();
        let body = signal["body"].to_string();
        if body.contains("alive") || body.contains("heartbeat") {
            *heartbeats.entry(signal["node"].to_string()).or_default() += 1;
        }
    }
}

#[test]
fn ten_pages_on_an_empty_cache_channel_are_one_cache_miss() {
    let (port, received) = application_that_answers(200);
    let server = serve(&app(port, r#", events = ["cache_miss"]"#));
    let mut pages = [(); 10].map(|()| Page::open(&server));
    let missed = || -> Vec<Value> {
        let (_, body) = received.recv_timeout(PATIENCE).unwrap();
        body["events"].as_array().unwrap().iter().map(|event| event["channel"].clone()).collect()
    };
    for (number, page) in pages.iter_mut().enumerate() {
        page.subscribe("private-cache-a");
        page.expect("pusher:cache_miss", "private-cache-a", &json!({}));
        if number == 0 {
            // The others come after it has been sent, so that each of them would be a request of its own.
            assert_eq!(missed(), ["private-cache-a"]);
        }
    }
    pages[0].subscribe("private-cache-last");
    assert_eq!(missed(), ["private-cache-last"]);
}

/// Events that wait for one webhook.
const QUEUE: i64 = 10_000;

#[test]
fn webhook_events_of_public_channels_do_not_displace_those_of_guarded_ones() {
    let (answer, may_answer) = channel::<()>();
    let (requests, received) = channel();
    // The first request is answered when the test allows it, or when the test ends.
    let port = listen(move |_, body| {
        let _ = may_answer.recv();
        requests.send(body).ok().map(|()| 200)
    });
    let server = serve(&format!(
        "{}channels_per_connection = 0\n[limits]\nmessages_per_second = 0\n",
        app(port, r#", events = ["channel_occupied", "member_added"]"#)
    ));
    let mut strangers = [(); 12].map(|()| Page::open(&server));
    for (stranger, page) in strangers.iter_mut().enumerate() {
        for number in 0..1_000 {
            page.ask(&format!("made-up-{stranger}-{number}"), None);
        }
        for _ in 0..1_000 {
            assert_eq!(page.next().0, "pusher_internal:subscription_succeeded");
        }
    }
    let mut member = Page::open(&server);
    member.enter("presence-a", 7);
    let line = server.expect_log(|line| {
        line["message"].as_str().is_some_and(|text| text.starts_with("webhook queue full"))
    });
    assert_eq!(
        (&line["level"], &line["app"], &line["event"]),
        (&json!("WARN"), &json!("1"), &json!("channel_occupied"))
    );
    assert!(line["channel"].as_str().unwrap().starts_with("made-up-"), "{line}");
    eventually("the others are dropped", || {
        server.metric("yamabiko_webhooks_dropped_total") >= 12_000 - QUEUE - 200
    });

    // The request under way was made before; the next one has what matters.
    for _ in 0..2 {
        answer.send(()).unwrap();
    }
    let mut bodies = (0..2).map(|_| received.recv_timeout(Duration::from_secs(40)).unwrap());
    let made_up = bodies.next().unwrap();
    assert!(made_up["events"][0]["channel"].as_str().unwrap().starts_with("made-up-"));
    let mut next = bodies.next().unwrap();
    if next == made_up {
        // It was given up and repeated.
        answer.send(()).unwrap();
        next = received.recv_timeout(Duration::from_secs(40)).unwrap();
    }
    let first: Vec<_> =
        next["events"].as_array().unwrap().iter().take(2).map(|event| event["channel"].clone()).collect();
    assert_eq!(first, ["presence-a", "presence-a"]);
}

#[test]
fn one_of_two_nodes_sends_each_webhook() {
    let (port, received) = application();
    let apps = app(port, r#", events = ["channel_occupied", "member_added"]"#);
    let redis = RedisServer::start();
    let nodes = [node(&redis, &apps), node(&redis, &apps)];
    let (mut a, mut b) = (Page::open(&nodes[0]), Page::open(&nodes[1]));
    a.enter("presence-a", 1);
    b.enter("presence-a", 2);
    let expected = [
        json!({ "name": "channel_occupied", "channel": "presence-a" }),
        json!({ "name": "member_added", "channel": "presence-a", "user_id": "1" }),
        json!({ "name": "member_added", "channel": "presence-a", "user_id": "2" }),
    ];
    let mut told = Vec::new();
    while told.len() < expected.len() {
        let (status, body) = received.recv_timeout(PATIENCE).unwrap();
        if status == 200 {
            told.extend(body["events"].as_array().unwrap().clone());
        }
    }
    assert_eq!(told, expected);
    // Nodes that start later have nothing to report, even if one of them becomes responsible.
    let late = [(); 3].map(|()| node(&redis, &apps));
    let mut page = Page::open(&late[2]);
    page.subscribe("last");
    let (_, last) = received.recv_timeout(PATIENCE).unwrap();
    assert_eq!(last["events"], json!([{ "name": "channel_occupied", "channel": "last" }]));
}

#[test]
fn another_node_takes_over_the_webhooks_of_a_killed_leader() {
    let (port, received) = application_that_answers(200);
    let apps = app(port, "");
    let redis = RedisServer::start();
    // The oldest node sends the webhooks.
    let (leader, other) = (node(&redis, &apps), node(&redis, &apps));

    let mut told: Vec<(String, Value)> = Vec::new();
    let mut take = |limit: Duration| -> Option<(String, Value)> {
        while told.is_empty() {
            let (status, body) = received.recv_timeout(limit).ok()?;
            assert_eq!(status, 200);
            let text = |event: &Value| event["name"].as_str().unwrap().to_owned();
            told.extend(
                body["events"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|event| (text(event), event["user_id"].clone())),
            );
        }
        Some(told.remove(0))
    };
    let added = |user: i64| ("member_added".to_owned(), json!(user.to_string()));
    let removed = |user: i64| ("member_removed".to_owned(), json!(user.to_string()));

    let mut on_leader = Page::open(&leader);
    on_leader.enter("presence-a", 100);
    let enter = |user: i64| {
        let mut page = Page::open(&other);
        page.enter("presence-a", user);
        page
    };
    let leaves = enter(1);
    for expected in [("channel_occupied".to_owned(), Value::Null), added(100), added(1)] {
        assert_eq!(take(PATIENCE), Some(expected));
    }
    // The other node has received its heartbeat since, so it does not repeat these events.
    expect_heartbeats(&redis, 2);
    let mut stays = enter(2);
    assert_eq!(take(PATIENCE), Some(added(2)));
    leader.signal(Signal::KILL);
    let _pages = [3, 4, 5].map(enter);
    leaves.client.close();

    let mut events = Vec::new();
    let killed = Instant::now();
    while ![removed(100), removed(1), added(5)].iter().all(|event| events.contains(event)) {
        assert!(killed.elapsed() < 3 * PATIENCE, "{events:?}");
        events.extend(take(Duration::from_secs(1)));
        stays.send("pusher:ping", json!({}));
    }
    // The successor sends at once, and nothing else is pending.
    let _late = enter(6);
    loop {
        let event = take(PATIENCE).expect("the newcomer");
        if event == added(6) {
            break;
        }
        events.push(event);
    }
    // Only what happened shortly before may come twice.
    // Its acknowledgement may not have come back, and the successor cannot know that it was queued.
    assert!(events.iter().filter(|event| **event == added(2)).count() <= 2, "{events:?}");
    events.retain(|event| *event != added(2));
    let (came, mut went): (Vec<_>, Vec<_>) = events.into_iter().partition(|(name, _)| name == "member_added");
    assert_eq!(came, [added(3), added(4), added(5)]);
    went.sort_by_key(|(_, user)| user.as_str().map(str::to_owned));
    assert_eq!(went, [removed(1), removed(100)]);
}
