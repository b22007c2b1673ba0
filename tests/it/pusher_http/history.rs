//! The history of channels, positions, and idempotency keys.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use yamabiko::auth::pusher::AppCredentials;

use super::publishing::Page;
use super::{APPS, app, call, is, now, one, refused, send, signed};
use crate::support::line::{Flow, RedisLine};
use crate::support::redis::RedisServer;
use crate::support::{Response, Server, eventually};

const HISTORIES: &str = r#"
    [[pusher.history]]
    channels = ["news", "hist*"]
    messages = 1000
    age = "10m"

    [[pusher.history]]
    channels = ["short"]
    messages = 3
    age = "10m"
"#;

fn node(redis: Option<&str>) -> Server {
    let server = Server::start(|options| {
        options.config(&format!("{APPS}{HISTORIES}"));
        if let Some(url) = redis {
            options.set("redis.url", url).set("redis.prefix", "laravel_database_");
        }
    });
    eventually("the broker is there", || server.get_admin("/readyz").status == 200);
    server
}

/// The same holds in memory and on two nodes, where what is published on the second is read on the first.
fn everywhere(test: impl Fn(&Server, &Server)) {
    let alone = node(None);
    test(&alone, &alone);
    drop(alone);
    let redis = RedisServer::start();
    let (here, there) = (node(Some(&redis.url())), node(Some(&redis.url())));
    test(&here, &there);
}

fn ok(response: &Response) -> Value {
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()
}

fn get(server: &Server, path: &str) -> Value {
    ok(&call(server, &one(), "GET", &format!("/apps/1/{path}"), ""))
}

fn history(server: &Server, channel: &str, query: &str) -> Value {
    get(server, &format!("channels/{channel}/history{query}"))
}

fn publish(server: &Server, channel: &str, data: &str) {
    let body = json!({ "name": "App\\Events\\Told", "channel": channel, "data": data }).to_string();
    assert_eq!(call(server, &one(), "POST", "/apps/1/events", &body).status, 200);
}

/// Publishes on one node. The other one's answers include it from then on.
fn publish_all(there: &Server, channel: &str, data: &[&str]) {
    for data in data {
        publish(there, channel, data);
    }
}

fn texts<'a>(page: &'a Value, key: &str) -> Vec<&'a str> {
    page["messages"].as_array().unwrap().iter().map(|message| message[key].as_str().unwrap()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value}"))
}

#[test]
fn a_history_is_read_oldest_first_and_in_parts() {
    everywhere(|here, there| {
        publish_all(there, "news", &["1", "2", "3", "4", "5"]);
        let all = history(here, "news", "");
        assert_eq!(texts(&all, "data"), ["1", "2", "3", "4", "5"]);
        assert_eq!(texts(&all, "event"), [r"App\Events\Told"; 5]);
        assert_eq!((&all["gap"], &all["more"]), (&json!(false), &json!(false)));
        let ids = texts(&all, "id");
        let epoch = ids[0].strip_suffix("-1").unwrap();
        let expected: Vec<String> = (1..=5).map(|offset| format!("{epoch}-{offset}")).collect();
        assert_eq!(ids, expected);
        assert_eq!(all["position"], ids[4]);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = u64::try_from(now.as_millis()).unwrap();
        for message in all["messages"].as_array().unwrap() {
            assert!(message["time"].as_u64().unwrap().abs_diff(now) < 60_000, "{message}");
        }

        assert_eq!(texts(&history(here, "news", "?limit=2"), "data"), ["4", "5"], "the latest ones");
        let part = history(here, "news", &format!("?since={}&limit=2", ids[0]));
        assert_eq!(
            (texts(&part, "data"), &part["more"], &part["gap"]),
            (vec!["2", "3"], &json!(true), &json!(false))
        );
        let rest = history(here, "news", &format!("?since={}&limit=2", text(&part["position"])));
        assert_eq!((texts(&rest, "data"), &rest["more"]), (vec!["4", "5"], &json!(false)));
        let nothing = history(here, "news", &format!("?since={}", text(&rest["position"])));
        assert_eq!(nothing, json!({ "messages": [], "position": ids[4], "more": false, "gap": false }));
    });
}

#[test]
fn what_cannot_be_proven_is_a_gap_with_what_is_kept() {
    everywhere(|here, there| {
        publish_all(there, "short", &["1"]);
        let first = history(here, "short", "");
        publish_all(there, "short", &["2", "3", "4"]);
        // Only 1 is gone, which was read.
        let since = format!("?since={}", text(&first["position"]));
        let page = history(here, "short", &since);
        assert_eq!((texts(&page, "data"), &page["gap"]), (vec!["2", "3", "4"], &json!(false)));
        publish_all(there, "short", &["5"]);
        let page = history(here, "short", &since);
        assert_eq!((texts(&page, "data"), &page["gap"]), (vec!["3", "4", "5"], &json!(true)));
        // In parts, the rest follows without a gap.
        let part = history(here, "short", &format!("{since}&limit=1"));
        assert_eq!(
            (texts(&part, "data"), &part["gap"], &part["more"]),
            (vec!["3"], &json!(true), &json!(true))
        );
        let rest = history(here, "short", &format!("?since={}", text(&part["position"])));
        assert_eq!((texts(&rest, "data"), &rest["gap"]), (vec!["4", "5"], &json!(false)));

        let of_another_epoch = history(here, "short", "?since=1-1");
        assert_eq!(
            (texts(&of_another_epoch, "data"), &of_another_epoch["gap"]),
            (vec!["3", "4", "5"], &json!(true))
        );
        let newest = text(&page["position"]);
        let beyond = newest.replace("-5", "-6");
        assert_eq!(history(here, "short", &format!("?since={beyond}"))["gap"], true);
        assert_eq!(history(here, "short", "?since=s1-1")["gap"], true);
    });
}

#[test]
fn what_only_redis_has_is_not_waited_for_without_end() {
    let mut redis = RedisServer::start();
    let there = node(Some(&redis.url()));
    publish_all(&there, "news", &["1", "2"]);
    let first = text(&history(&there, "news", "")["messages"][0]["id"]).to_owned();
    // This one has not received any.
    let here = node(Some(&redis.url()));
    redis.kill();
    let path = format!("/apps/1/channels/news/history?since={first}");
    assert_eq!(call(&here, &one(), "GET", &path, "").status, 503);
    assert_eq!(texts(&history(&there, "news", &format!("?since={first}")), "data"), ["2"]);
}

#[test]
fn calls_about_histories_that_do_not_exist_name_the_setting() {
    let server = node(None);
    let answer = call(&server, &one(), "GET", "/apps/1/channels/private-a/history", "");
    assert_eq!(refused(&answer), is(404, "no_history"));
    assert!(answer.text().contains("[[pusher.history]] or [[apps.history]]"), "{}", answer.text());
    let answer = call(&server, &one(), "GET", "/apps/1/channels/private-a?info=position", "");
    assert_eq!(refused(&answer), is(400, "bad_request"));
    assert!(answer.text().contains("[[pusher.history]] or [[apps.history]]"), "{}", answer.text());
    for query in ["since=x", "since=1", "since=1-0", "limit=0", "limit=1001", "limit=x"] {
        let answer = call(&server, &one(), "GET", &format!("/apps/1/channels/news/history?{query}"), "");
        assert_eq!(refused(&answer), is(400, "bad_request"), "{query}");
    }
    let answer = call(&server, &one(), "POST", "/apps/1/channels/news/history", "");
    assert_eq!(refused(&answer), is(405, "method_not_allowed"));
    let unsigned = send(&server, "GET", "/apps/1/channels/news/history", "");
    assert_eq!(refused(&unsigned), is(401, "unauthorized"));
    let counted = r#"yamabiko_pusher_calls_total{endpoint="history",outcome="no_history"}"#;
    server.expect_metric(counted, 1);
}

#[test]
fn a_node_that_is_behind_answers_when_it_has_caught_up() {
    let redis = RedisServer::start();
    let link = RedisLine::start(&redis);
    let (here, there) = (node(Some(&link.url())), node(Some(&redis.url())));
    let start = text(&history(&here, "hist.1", "")["position"]).to_owned();
    link.set(Flow::Stalled);
    publish(&there, "hist.1", "a");
    let page = thread::scope(|scope| {
        let asked = scope.spawn(|| history(&here, "hist.1", &format!("?since={start}")));
        thread::sleep(Duration::from_millis(200));
        link.set(Flow::Open);
        asked.join().unwrap()
    });
    assert_eq!((texts(&page, "data"), &page["gap"]), (vec!["a"], &json!(false)));
    // It does not wait forever: that this node has nothing newer is true as well.
    link.set(Flow::Stalled);
    publish(&there, "hist.1", "b");
    let page = history(&here, "hist.1", &format!("?since={}", text(&page["position"])));
    assert_eq!((texts(&page, "data").len(), &page["gap"]), (0, &json!(false)));
    link.set(Flow::Open);
    let page = history(&here, "hist.1", &format!("?since={}", text(&page["position"])));
    assert_eq!(texts(&page, "data"), ["b"]);
}

#[test]
fn a_page_can_start_from_a_position() {
    everywhere(|here, there| {
        // Before the channel has a message.
        let empty = history(here, "hist.1", "");
        assert_eq!((texts(&empty, "data").len(), &empty["gap"]), (0, &json!(false)));
        let asked = get(here, "channels/hist.1?info=position,subscription_count");
        assert_eq!((&asked["occupied"], &asked["subscription_count"]), (&json!(false), &json!(0)));
        publish_all(there, "hist.1", &["a", "b"]);
        for position in [&empty["position"], &asked["position"]] {
            let page = history(here, "hist.1", &format!("?since={}", text(position)));
            assert_eq!((texts(&page, "data"), &page["gap"]), (vec!["a", "b"], &json!(false)), "{position}");
        }
        let position = text(&get(here, "channels/hist.1?info=position")["position"]).to_owned();
        assert!(position.ends_with("-2"), "{position}");
        publish_all(there, "hist.1", &["c"]);
        assert_eq!(texts(&history(here, "hist.1", &format!("?since={position}")), "data"), ["c"]);

        // What has just been published is included. Channels without a history have no position.
        let body =
            json!({ "name": "e", "channels": ["hist.1", "a"], "data": "d", "info": "position" }).to_string();
        let published = ok(&call(there, &one(), "POST", "/apps/1/events", &body));
        assert_eq!(published["channels"]["a"], json!({}));
        let position = text(&published["channels"]["hist.1"]["position"]);
        assert!(position.ends_with("-4"), "{position}");
        let event = |channel| json!({ "name": "e", "channel": channel, "data": "e", "info": "position" });
        let body = json!({ "batch": [event("hist.1"), event("a")] }).to_string();
        let published = ok(&call(there, &one(), "POST", "/apps/1/batch_events", &body));
        assert!(text(&published["batch"][0]["position"]).ends_with("-5"), "{published}");
        assert_eq!(published["batch"][1], json!({}));
    });
}

/// A call with an `Idempotency-Key`.
fn with_header(server: &Server, app: &AppCredentials, path: &str, key: &str, body: &str) -> Response {
    use std::io::Write;
    let target = signed(app, "POST", path, body, now());
    let mut stream = std::net::TcpStream::connect(server.address).unwrap();
    let length = body.len();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: {key}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes()).unwrap();
    super::read(&mut stream)
}

#[test]
fn a_call_that_is_made_again_with_its_key_is_published_once() {
    everywhere(|here, there| {
        // Without a history too.
        for channel in ["news", "plain"] {
            let mut page = Page::open(here, one());
            page.subscribe(channel);
            let event = |data: &str, key: &str| {
                let key = format!("{key} of {channel}");
                json!({ "name": "e", "channel": channel, "data": data, "idempotency_key": key })
            };
            let post = |server: &Server, body: &Value| {
                let answer = call(server, &one(), "POST", "/apps/1/events", &body.to_string());
                assert_eq!((answer.status, answer.text()), (200, "{}"));
            };
            post(there, &event("first", "1"));
            post(there, &event("first", "1"));
            post(here, &event("first", "1"));
            post(there, &event("second", "2"));
            page.expect_data("first");
            page.expect_data("second");

            // In the header, with or without quotation marks.
            let body = json!({ "name": "e", "channel": channel, "data": "third" }).to_string();
            for key in [format!("\"3 of {channel}\""), format!("3 of {channel}")] {
                assert_eq!(with_header(there, &one(), "/apps/1/events", &key, &body).status, 200);
            }
            // For a batch as a whole, and for each of its events.
            let plain = |data: &str| json!({ "name": "e", "channel": channel, "data": data });
            let batch =
                json!({ "batch": [plain("fourth"), event("first", "1"), plain("fifth")] }).to_string();
            for server in [there, here] {
                let key = format!("4 of {channel}");
                assert_eq!(with_header(server, &one(), "/apps/1/batch_events", &key, &batch).status, 200);
            }
            post(there, &event("last", "5"));
            for data in ["third", "fourth", "fifth", "last"] {
                page.expect_data(data);
            }
        }
        let kept = history(here, "news", "");
        assert_eq!(texts(&kept, "data"), ["first", "second", "third", "fourth", "fifth", "last"]);
    });
}

#[test]
fn a_key_belongs_to_one_app() {
    let server = node(None);
    let two = app("second app", "two", "the secret of two");
    let mut page = Page::open(&server, two.clone());
    page.subscribe("plain");
    let body = json!({ "name": "e", "channel": "plain", "data": "x", "idempotency_key": "k" }).to_string();
    assert_eq!(call(&server, &one(), "POST", "/apps/1/events", &body).status, 200);
    assert_eq!(call(&server, &two, "POST", "/apps/second%20app/events", &body).status, 200);
    page.expect_data("x");
}

#[test]
fn invalid_keys_are_refused() {
    let server = node(None);
    for key in [json!(""), json!("x".repeat(256)), json!(7), json!("a\u{7}")] {
        let body = json!({ "name": "e", "channel": "a", "data": "x", "idempotency_key": key }).to_string();
        let answer = call(&server, &one(), "POST", "/apps/1/events", &body);
        assert_eq!(refused(&answer), is(400, "invalid"), "{key}");
    }
    let body = json!({ "name": "e", "channel": "a", "data": "x" }).to_string();
    let answer = with_header(&server, &one(), "/apps/1/events", &"x".repeat(256), &body);
    assert_eq!(refused(&answer), is(400, "invalid"));
}
