//! The HTTP API of the Pusher protocol, as Laravel's broadcaster and Pusher's server libraries call it: the real binary,
//! signed requests, bytes of a hand-written client.
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::support::redis::RedisServer;
use crate::support::{Client, PATIENCE, Raw, Response, Server, eventually};
use secrecy::SecretString;
use serde_json::{Value, json};
use yamabiko::auth::pusher::{App, Request};

const JSON: Option<&str> = Some("application/json");

const APPS: &str = r#"
    [pusher]
    event_bytes = 10240

    [[apps]]
    id = "1"
    key = "one"
    secret = "the secret of one"
    previous_secrets = ["the old secret of one"]

    [[apps]]
    id = "second app"
    key = "two"
    secret = "the secret of two"
    event_bytes = 8
    max_channels_per_event = 2
    max_batch_events = 1
    event_name_length = 22
    channel_name_length = 5

    [[apps]]
    id = "off"
    key = "three"
    secret = "the secret of three"
    enabled = false
"#;

fn serve() -> Server {
    Server::start(|options| {
        options.config(APPS);
    })
}

fn one() -> App {
    app("1", "one", "the secret of one")
}

fn app(id: &str, key: &str, secret: &str) -> App {
    App::new(id, key, vec![SecretString::from(secret)]).unwrap()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The target of a signed call.
fn signed(app: &App, method: &str, target: &str, body: &str, now: u64) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = app.sign_request(&Request { method, path, query, body: body.as_bytes() }, now);
    format!("{path}?{query}")
}

/// A call, signed with the app's secret, with the time that it is.
fn call(server: &Server, app: &App, method: &str, target: &str, body: &str) -> Response {
    send(server, method, &signed(app, method, target, body, now()), body)
}

fn send(server: &Server, method: &str, target: &str, body: &str) -> Response {
    let mut stream = TcpStream::connect(server.address).unwrap();
    write(&mut stream, method, target, body);
    read(&mut stream)
}

fn write(stream: &mut TcpStream, method: &str, target: &str, body: &str) {
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
}

fn read(stream: &mut TcpStream) -> Response {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{:?}", String::from_utf8_lossy(&bytes));
        bytes.push(byte[0]);
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(':').unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    Response { status, headers, body }
}

/// The status and the code of a refusal.
fn refused(response: &Response) -> (u16, String) {
    assert_eq!(response.header("content-type"), JSON, "{}", response.text());
    let error = &response.json()["error"];
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
    (response.status, error["code"].as_str().unwrap().to_owned())
}

fn is(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

fn event(channels: &Value, data: &str) -> String {
    json!({ "name": "App\\Events\\MessageSent", "channels": channels, "data": data }).to_string()
}

fn channels(count: usize) -> Value {
    (0..count).map(|index| format!("private-Chat.{index}")).collect()
}

/// A page of an app.
struct Page {
    client: Client,
    app: App,
    socket_id: String,
}

impl Page {
    fn open(server: &Server, app: App) -> Self {
        let path = format!("/app/{}?protocol=7&client=js&version=8.4.0&flash=false", app.key());
        let mut client = Client::upgrade(crate::support::Request::get(server.address, path)).unwrap();
        let first = client.expect_json();
        assert_eq!(first["event"], "pusher:connection_established", "{first}");
        let data: Value = serde_json::from_str(first["data"].as_str().unwrap()).unwrap();
        let socket_id = data["socket_id"].as_str().unwrap().to_owned();
        Self { client, app, socket_id }
    }

    fn subscribe(&mut self, channel: &str) {
        self.join(channel, None);
    }

    /// On a presence channel, as this user.
    fn enter(&mut self, channel: &str, user: &Value) {
        self.join(channel, Some(&json!({ "user_id": user }).to_string()));
    }

    fn join(&mut self, channel: &str, member: Option<&str>) {
        let auth = self.app.sign_channel(&self.socket_id, channel, member);
        let data = json!({ "channel": channel, "auth": auth, "channel_data": member });
        self.client.send_json(&json!({ "event": "pusher:subscribe", "data": data }));
        let answer = self.client.expect_json();
        assert_eq!(answer["event"], "pusher_internal:subscription_succeeded", "{answer}");
    }

    fn sign_in(&mut self, id: &str) {
        let user = json!({ "id": id }).to_string();
        let data = json!({ "auth": self.app.sign_user(&self.socket_id, &user), "user_data": user });
        self.client.send_json(&json!({ "event": "pusher:signin", "data": data }));
        let answer = self.client.expect_json();
        assert_eq!(answer["event"], "pusher:signin_success", "{answer}");
    }

    /// The channel, the name and the data of the next event.
    fn expect(&mut self) -> (String, String, String) {
        let event = self.client.expect_json();
        let text = |name: &str| event[name].as_str().unwrap_or_else(|| panic!("{event}")).to_owned();
        (text("channel"), text("event"), text("data"))
    }

    fn expect_data(&mut self, data: &str) {
        assert_eq!(self.expect().2, data);
    }
}

/// One server in memory, or two on one Redis.
fn nodes(redis: Option<&RedisServer>) -> Vec<Server> {
    let count = if redis.is_some() { 2 } else { 1 };
    let start = |_| {
        let server = Server::start(|options| {
            options.config(APPS);
            if let Some(redis) = redis {
                options.set("redis.url", redis.url()).set("redis.prefix", "laravel_database_");
            }
        });
        eventually("the broker is there", || server.get_admin("/readyz").status == 200);
        server
    };
    (0..count).map(start).collect()
}

/// What holds in memory holds on two nodes: the second node of the two is where it is asked, the first where pages are.
fn everywhere(test: impl Fn(&Server, &Server)) {
    let alone = nodes(None);
    test(&alone[0], &alone[0]);
    drop(alone);
    let redis = RedisServer::start();
    let both = nodes(Some(&redis));
    test(&both[0], &both[1]);
}

#[test]
fn an_event_reaches_who_is_subscribed_and_not_the_one_who_caused_it() {
    everywhere(|here, there| {
        let (mut aoi, mut ren, mut yui) =
            (Page::open(here, one()), Page::open(there, one()), Page::open(here, one()));
        aoi.subscribe("private-Chat.1");
        ren.subscribe("private-Chat.1");
        yui.subscribe("public");
        let mut stranger = Page::open(here, app("second app", "two", "the secret of two"));
        stranger.subscribe("publi");
        // Laravel's toOthers().
        let mut body: Value =
            serde_json::from_str(&event(&json!(["private-Chat.1", "public"]), r#"{"message":"山"}"#))
                .unwrap();
        body["socket_id"] = json!(aoi.socket_id);
        let response = call(there, &one(), "POST", "/apps/1/events", &body.to_string());
        assert_eq!((response.status, response.text()), (200, "{}"));
        let expected =
            |channel: &str| (channel.into(), "App\\Events\\MessageSent".into(), r#"{"message":"山"}"#.into());
        assert_eq!(ren.expect(), expected("private-Chat.1"));
        assert_eq!(yui.expect(), expected("public"));

        let batch: Vec<_> = (0..10)
            .map(|number| json!({ "name": "e", "channel": "private-Chat.1", "data": number.to_string() }))
            .collect();
        let body = json!({ "batch": batch }).to_string();
        assert_eq!(call(there, &one(), "POST", "/apps/1/batch_events", &body).status, 200);
        for page in [&mut aoi, &mut ren] {
            (0..10).for_each(|number| page.expect_data(&number.to_string()));
        }
        // An app's channels are its own.
        let two = app("second app", "two", "the secret of two");
        let body = json!({ "name": "e", "channel": "publi", "data": "two" }).to_string();
        assert_eq!(call(there, &two, "POST", "/apps/second%20app/events", &body).status, 200);
        stranger.expect_data("two");
        yui.client.expect_nothing(Duration::from_millis(100));
    });
}

#[test]
fn a_call_that_is_refused_has_delivered_nothing() {
    let server = serve();
    let mut page = Page::open(&server, one());
    page.subscribe("a");
    let good = json!({ "name": "e", "channel": "a", "data": "refused" });
    let bad = json!({ "name": "e", "channel": "a b", "data": "refused" });
    let batch = json!({ "batch": [good, bad] }).to_string();
    assert_eq!(call(&server, &one(), "POST", "/apps/1/batch_events", &batch).status, 400);
    let batch = json!({ "batch": vec![good.clone(); 11] }).to_string();
    assert_eq!(call(&server, &one(), "POST", "/apps/1/batch_events", &batch).status, 400);
    let several = event(&json!(["a", "a b"]), "refused");
    assert_eq!(call(&server, &one(), "POST", "/apps/1/events", &several).status, 400);
    let stale = signed(&one(), "POST", "/apps/1/events", &good.to_string(), now() - 620);
    assert_eq!(send(&server, "POST", &stale, &good.to_string()).status, 401);
    let last = event(&json!(["a"]), "accepted");
    assert_eq!(call(&server, &one(), "POST", "/apps/1/events", &last).status, 200);
    page.expect_data("accepted");
}

#[test]
fn what_there_is_to_tell_is_told_of_all_nodes() {
    everywhere(|here, there| {
        let (mut tab, mut other_tab, mut ren) =
            (Page::open(here, one()), Page::open(there, one()), Page::open(here, one()));
        tab.enter("presence-Room.1", &json!(7));
        other_tab.enter("presence-Room.1", &json!(7));
        ren.enter("presence-Room.1", &json!("ren"));
        ren.subscribe("private-Chat.1");
        let _stranger = Page::open(here, app("second app", "two", "the secret of two"));
        let get = |target: &str| call(there, &one(), "GET", target, "").json();
        eventually("the other node knows", || get("/apps/1/connections") == json!({ "connections": 3 }));
        eventually("the other node knows", || {
            get("/apps/1/channels?filter_by_prefix=presence-&info=user_count,subscription_count")
                == json!({ "channels": { "presence-Room.1": { "user_count": 2, "subscription_count": 3 } } })
        });
        assert_eq!(
            get("/apps/1/channels?info=subscription_count"),
            json!({ "channels": {
                "presence-Room.1": { "subscription_count": 3 },
                "private-Chat.1": { "subscription_count": 1 },
            } })
        );
        assert_eq!(get("/apps/1/channels/private-Chat.1"), json!({ "occupied": true }));
        assert_eq!(
            get("/apps/1/channels/presence-Room.1?info=user_count,subscription_count"),
            json!({ "occupied": true, "user_count": 2, "subscription_count": 3 })
        );
        assert_eq!(
            get("/apps/1/channels/presence-Room.1/users"),
            json!({ "users": [{ "id": "7" }, { "id": "ren" }] })
        );
        let mut body: Value =
            serde_json::from_str(&event(&json!(["presence-Room.1", "empty"]), "{}")).unwrap();
        body["info"] = json!("user_count,subscription_count");
        let response = call(there, &one(), "POST", "/apps/1/events", &body.to_string());
        assert_eq!(
            response.json(),
            json!({ "channels": {
                "presence-Room.1": { "user_count": 2, "subscription_count": 3 },
                "empty": { "subscription_count": 0 },
            } })
        );
    });
}

#[test]
fn a_user_is_ended_on_all_nodes_and_nobody_else() {
    everywhere(|here, there| {
        let (mut first, mut second, mut other) =
            (Page::open(here, one()), Page::open(there, one()), Page::open(here, one()));
        first.sign_in("7");
        second.sign_in("7");
        other.sign_in("8");
        let response = call(there, &one(), "POST", "/apps/1/users/7/terminate_connections", "{}");
        assert_eq!((response.status, response.text()), (200, "{}"));
        for page in [&mut first, &mut second] {
            let (_, (code, _)) = page.client.expect_last();
            assert_eq!(code, 4009);
        }
        other.client.expect_nothing(Duration::from_millis(200));
    });
}

#[test]
fn what_the_broker_did_not_take_is_not_called_done() {
    let mut redis = RedisServer::start();
    let server = Server::start(|options| {
        options.config(APPS).set("redis.url", redis.url()).set("redis.publish_timeout", "1s");
    });
    eventually("the broker is there", || server.get_admin("/readyz").status == 200);
    let post = |path: &str, body: &str| call(&server, &one(), "POST", path, body);
    let body = event(&json!(["a"]), "{}");
    assert_eq!(post("/apps/1/events", &body).status, 200);

    redis.kill();
    let batch = json!({"batch": [{"name": "e", "channel": "a", "data": "{}"}]}).to_string();
    for (path, body) in [
        ("/apps/1/events", &*body),
        ("/apps/1/batch_events", &*batch),
        ("/apps/1/users/7/terminate_connections", "{}"),
    ] {
        let response = post(path, body);
        assert_eq!(refused(&response), is(503, "unavailable"), "{path}");
        assert_eq!(response.header("retry-after"), Some("1"));
    }
    // What is wrong with a call is told all the same, and the node is alive.
    assert_eq!(post("/apps/1/events", "{}").status, 400);
    assert_eq!(server.get("/up").status, 200);

    redis.restart();
    eventually("the broker is there again", || post("/apps/1/events", &body).status == 200);
}

#[test]
fn every_route_answers_as_the_libraries_expect() {
    let server = serve();
    let one = one();
    let several = event(&json!(["private-Chat.1", "presence-Room.1"]), "{}");
    let asking = several.replacen('{', r#"{"info":"subscription_count,user_count","socket_id":"1.2","#, 1);
    let batch = json!({"batch": [{"name": "e", "channel": "a", "data": "{}"}, {"name": "e", "channel": "b", "data": "x", "info": "subscription_count"}]}).to_string();
    let plain = json!({"batch": [{"name": "e", "channel": "a", "data": "{}"}]}).to_string();
    for (method, target, body, answer) in [
        ("POST", "/apps/1/events", &*several, "{}"),
        (
            "POST",
            "/apps/1/events",
            &*asking,
            r#"{"channels":{"presence-Room.1":{"subscription_count":0,"user_count":0},"private-Chat.1":{"subscription_count":0}}}"#,
        ),
        ("POST", "/apps/1/batch_events", &*plain, "{}"),
        ("POST", "/apps/1/batch_events", &*batch, r#"{"batch":[{},{"subscription_count":0}]}"#),
        ("GET", "/apps/1/channels", "", r#"{"channels":{}}"#),
        ("GET", "/apps/1/channels?filter_by_prefix=presence-&info=user_count", "", r#"{"channels":{}}"#),
        ("GET", "/apps/1/channels/private-Chat.1", "", r#"{"occupied":false}"#),
        (
            "GET",
            "/apps/1/channels/presence-a%40b?info=user_count,subscription_count",
            "",
            r#"{"occupied":false,"subscription_count":0,"user_count":0}"#,
        ),
        ("GET", "/apps/1/channels/presence-a/users", "", r#"{"users":[]}"#),
        ("POST", "/apps/1/users/7/terminate_connections", "{}", "{}"),
        ("POST", "/apps/1/users/a%2Fb/terminate_connections", "", "{}"),
        ("GET", "/apps/1/connections", "", r#"{"connections":0}"#),
    ] {
        let response = call(&server, &one, method, target, body);
        assert_eq!((response.status, response.text()), (200, answer), "{method} {target}");
        assert_eq!(response.header("content-type"), JSON, "{target}");
    }
    let up = server.get("/up");
    assert_eq!((up.status, up.text(), up.header("content-type")), (200, r#"{"health":"OK"}"#, JSON));

    let two = app("second app", "two", "the secret of two");
    assert_eq!(call(&server, &two, "GET", "/apps/second%20app/connections", "").status, 200);
}

#[test]
fn one_connection_serves_many_calls() {
    let server = serve();
    let mut stream = TcpStream::connect(server.address).unwrap();
    let body = event(&json!(["a"]), "{}");
    for status in [200, 401, 200, 400, 200] {
        let body = if status == 400 { "{}" } else { &body };
        let mut target = signed(&one(), "POST", "/apps/1/events", body, now());
        if status == 401 {
            target.push('0');
        }
        write(&mut stream, "POST", &target, body);
        assert_eq!(read(&mut stream).status, status);
    }
}

#[test]
fn what_is_not_served() {
    let server = serve();
    let one = one();
    for (method, target, status, code) in [
        ("GET", "/apps/1/nothing", 404, "not_found"),
        ("GET", "/apps/1", 404, "not_found"),
        ("POST", "/apps/1/events/more", 404, "not_found"),
        ("GET", "/apps/1/channels/%ff", 404, "not_found"),
        ("GET", "/apps/2/channels", 404, "no_such_app"),
    ] {
        let response = call(&server, &one, method, target, "");
        assert_eq!(refused(&response), is(status, code), "{target}");
    }
    for (method, target, allowed) in [
        ("GET", "/apps/1/events", "POST"),
        ("PUT", "/apps/1/events", "POST"),
        ("POST", "/apps/1/channels", "GET"),
        ("DELETE", "/apps/1/channels/a", "GET"),
    ] {
        let response = call(&server, &one, method, target, "");
        assert_eq!(refused(&response), is(405, "method_not_allowed"), "{method} {target}");
        assert_eq!(response.header("allow"), Some(allowed), "{method} {target}");
    }
    // The operators' port has none of it.
    assert_eq!(server.get_admin("/up").status, 404);
    assert_eq!(server.get_admin("/apps/1/channels").status, 404);
}

#[test]
fn only_who_has_the_secret() {
    let server = serve();
    let body = event(&json!(["a"]), "{}");
    let target = |app: &App, now| signed(app, "POST", "/apps/1/events", &body, now);
    let good = target(&one(), now());
    let post = |target: &str, body: &str| send(&server, "POST", target, body);
    assert_eq!(post(&good, &body).status, 200);

    let message = |response: &Response| {
        assert_eq!(refused(response), is(401, "unauthorized"));
        response.json()["error"]["message"].as_str().unwrap().to_owned()
    };
    assert!(message(&post("/apps/1/events", &body)).contains("auth_key is missing"));
    let wrong = app("1", "one", "a guess");
    assert!(message(&post(&target(&wrong, now()), &body)).contains("auth_signature is wrong"));
    let other = app("second app", "two", "the secret of two");
    assert!(message(&post(&target(&other, now()), &body)).contains("not the key of this app"));
    for stale in [now() - 620, now() + 620] {
        assert!(message(&post(&target(&one(), stale), &body)).contains("more than 600 s off"));
    }
    assert_eq!(post(&target(&one(), now() - 580), &body).status, 200);
    let changed = body.replace("{}", "[]");
    assert!(message(&post(&good, &changed)).contains("body_md5 is not the MD5 of the body"));
    assert!(message(&post(&format!("{good}&info=x"), &body)).contains("auth_signature is wrong"));
    assert!(message(&post(&format!("{good}&auth_key=one"), &body)).contains("more than once"));
    let renamed = good.replace("body_md5", "body_md6");
    assert!(message(&post(&renamed, &body)).contains("auth_signature is wrong"));
    // Signed as a call without a body, sent with one.
    let empty = signed(&one(), "POST", "/apps/1/events", "", now());
    assert!(message(&post(&empty, &body)).contains("body_md5 is missing"));
    let elsewhere = good.replace("/apps/1/events", "/apps/1/batch_events");
    assert!(message(&post(&elsewhere, &body)).contains("auth_signature is wrong"));

    let off = app("off", "three", "the secret of three");
    assert_eq!(refused(&call(&server, &off, "GET", "/apps/off/channels", "")), is(403, "app_disabled"));
    let off = app("off", "three", "a guess");
    assert_eq!(refused(&call(&server, &off, "GET", "/apps/off/channels", "")), is(401, "unauthorized"));
}

#[test]
fn a_secret_can_be_replaced() {
    let server = serve();
    let status = |secret: &str| call(&server, &app("1", "one", secret), "GET", "/apps/1/channels", "").status;
    assert_eq!([status("the secret of one"), status("the old secret of one")], [200, 200]);
    assert_eq!(status("the older secret of one"), 401);
}

#[test]
fn what_is_no_command() {
    let server = serve();
    let one = one();
    let post = |path: &str, body: &str| refused(&call(&server, &one, "POST", path, body));
    let good = json!({"name": "e", "channel": "a", "data": "{}"});
    let with = |key: &str, value: Value| {
        let mut event = good.clone();
        event[key] = value;
        post("/apps/1/events", &event.to_string())
    };
    assert_eq!(post("/apps/1/events", "not json"), is(400, "bad_request"));
    assert_eq!(post("/apps/1/events", ""), is(400, "bad_request"));
    assert_eq!(with("channel", json!("a b")), is(400, "invalid"));
    assert_eq!(with("name", json!("pusher:ping")), is(400, "invalid"));
    assert_eq!(with("data", json!({})), is(400, "invalid"));
    assert_eq!(with("socket_id", json!("undefined")), is(400, "invalid"));
    assert_eq!(with("info", json!("members")), is(400, "bad_request"));
    assert_eq!(post("/apps/1/batch_events", r#"{"batch":{}}"#), is(400, "invalid"));
    let get = |target: &str| refused(&call(&server, &one, "GET", target, ""));
    assert_eq!(get("/apps/1/channels?info=user_count"), is(400, "bad_request"));
    assert_eq!(get("/apps/1/channels/a?info=user_count"), is(400, "bad_request"));
    assert_eq!(get("/apps/1/channels/a%20b"), is(400, "invalid"));
    assert_eq!(get("/apps/1/channels/private-a/users"), is(400, "bad_request"));
}

#[test]
fn limits_are_the_apps_own() {
    let server = serve();
    let one = one();
    let two = app("second app", "two", "the secret of two");
    let at = |app: &App, path: &str, body: &str| {
        let id = if &**app.id() == "1" { "1" } else { "second%20app" };
        call(&server, app, "POST", &format!("/apps/{id}/{path}"), body)
    };
    let events = |app: &App, channels: &Value, data: &str| at(app, "events", &event(channels, data)).status;
    // As large as Laravel and the libraries may send, with every byte escaped.
    assert_eq!(events(&one, &channels(100), &"\u{1}".repeat(10_240)), 200);
    assert_eq!(events(&one, &channels(101), ""), 400);
    assert_eq!(events(&one, &channels(1), &"x".repeat(10_241)), 413);
    assert_eq!(events(&two, &json!(["abcde", "b"]), "12345678"), 200);
    assert_eq!(events(&two, &json!(["a"]), "123456789"), 413);
    assert_eq!(events(&two, &json!(["a", "b", "c"]), ""), 400);
    assert_eq!(events(&two, &json!(["abcdef"]), ""), 400);
    let named = |length| json!({ "name": "é".repeat(length), "channel": "a", "data": "" }).to_string();
    assert_eq!((at(&one, "events", &named(200)).status, at(&one, "events", &named(201)).status), (200, 400));
    assert_eq!((at(&two, "events", &named(22)).status, at(&two, "events", &named(23)).status), (200, 400));
    let batch = |count| json!({ "batch": vec![json!({"name": "e", "channel": "a", "data": "\u{1}".repeat(8)}); count] });
    assert_eq!(at(&one, "batch_events", &batch(10).to_string()).status, 200);
    assert_eq!(refused(&at(&one, "batch_events", &batch(11).to_string())), is(400, "invalid"));
    assert_eq!(at(&two, "batch_events", &batch(1).to_string()).status, 200);
    assert_eq!(at(&two, "batch_events", &batch(2).to_string()).status, 400);
}

/// Its sender writes all of it before it reads, however long that takes: it must find an answer, not a broken connection.
#[test]
fn a_body_over_the_limit_is_told_so() {
    let server = serve();
    let large = event(&json!(["a"]), &"x".repeat(3_000_000));
    for (app, path, status, code) in [
        (one(), "/apps/1/events", 413, "too_large"),
        (app("1", "one", "a guess"), "/apps/1/events", 401, "unauthorized"),
        (one(), "/apps/x/events", 404, "no_such_app"),
        (one(), "/apps/1/event", 404, "not_found"),
    ] {
        let target = signed(&app, "POST", path, &large, now());
        let length = large.len();
        let head = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let (first, second) = large.split_at(100_000);
        stream.write_all(first.as_bytes()).unwrap();
        thread::sleep(Duration::from_millis(200));
        stream.write_all(second.as_bytes()).unwrap();
        assert_eq!(refused(&read(&mut stream)), is(status, code));
    }

    // The length is not always said beforehand.
    let target = signed(&one(), "POST", "/apps/1/events", &large, now());
    let mut stream = TcpStream::connect(server.address).unwrap();
    let head = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    for chunk in large.as_bytes().chunks(100_000) {
        stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).unwrap();
        stream.write_all(chunk).unwrap();
        stream.write_all(b"\r\n").unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    assert_eq!(refused(&read(&mut stream)), is(413, "too_large"));
}

#[test]
fn a_chunked_body_and_one_that_waits_for_leave() {
    let server = serve();
    let body = event(&json!(["a"]), "{}");
    let target = signed(&one(), "POST", "/apps/1/events", &body, now());
    let mut stream = TcpStream::connect(server.address).unwrap();
    let (first, second) = body.split_at(9);
    let chunks = format!("{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n", first.len(), second.len());
    let head = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    stream.write_all(format!("{head}{chunks}").as_bytes()).unwrap();
    assert_eq!(read(&mut stream).status, 200);

    let length = body.len();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(read(&mut stream).status, 100);
    stream.write_all(body.as_bytes()).unwrap();
    assert_eq!(read(&mut stream).status, 200);
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let server = Server::start(|options| {
        options.config(APPS).set("limits.handshake_timeout", "1s");
    });
    let body = event(&json!(["a"]), "{}");
    let length = body.len();
    for (app, status, code) in [(one(), 408, "timeout"), (app("1", "one", "a guess"), 401, "unauthorized")] {
        let target = signed(&app, "POST", "/apps/1/events", &body, now());
        let head = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{{");
        let start = Instant::now();
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        assert_eq!(refused(&read(&mut stream)), is(status, code));
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the connection ends");
    }
    // One that breaks off does no harm.
    let target = signed(&one(), "POST", "/apps/1/events", &body, now());
    let mut raw = Raw::connect(server.address);
    raw.write(format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{{").as_bytes());
    drop(raw);
    assert_eq!(call(&server, &one(), "POST", "/apps/1/events", &body).status, 200);
}

#[test]
fn without_an_app_nothing_is_there() {
    let server = Server::start(|_| {});
    assert_eq!(refused(&call(&server, &one(), "GET", "/apps/1/channels", "")), is(404, "no_such_app"));
}

#[test]
fn every_call_is_counted() {
    let server = serve();
    let count = |endpoint: &str, outcome: &str| {
        server.metric(&format!(r#"yamabiko_pusher_calls_total{{endpoint="{endpoint}",outcome="{outcome}"}}"#))
    };
    let good = event(&json!(["a"]), "{}");
    let other = app("1", "one", "a wrong secret");
    for _ in 0..2 {
        assert_eq!(call(&server, &one(), "POST", "/apps/1/events", &good).status, 200);
    }
    assert_eq!(call(&server, &other, "POST", "/apps/1/events", &good).status, 401);
    assert_eq!(call(&server, &one(), "POST", "/apps/1/batch_events", "{}").status, 400);
    for target in
        ["/apps/1/channels", "/apps/1/channels/a", "/apps/1/channels/presence-a/users", "/apps/1/connections"]
    {
        assert_eq!(call(&server, &one(), "GET", target, "").status, 200);
    }
    assert_eq!(call(&server, &one(), "POST", "/apps/1/users/7/terminate_connections", "{}").status, 200);
    assert_eq!(call(&server, &one(), "GET", "/apps/1/channels/a%20b", "").status, 400);
    assert_eq!(call(&server, &one(), "GET", "/apps/nobody/channels", "").status, 404);
    for number in 0..3 {
        assert_eq!(send(&server, "GET", &format!("/apps/1/whatever{number}"), "").status, 404);
    }
    assert_eq!(send(&server, "DELETE", "/apps/1/events", "").status, 405);
    for (endpoint, outcome, times) in [
        ("events", "ok", 2),
        ("events", "unauthorized", 1),
        ("batch_events", "invalid", 1),
        ("channels", "ok", 1),
        ("channels", "no_such_app", 1),
        ("channel", "ok", 1),
        ("channel", "invalid", 1),
        ("users", "ok", 1),
        ("connections", "ok", 1),
        ("terminate_connections", "ok", 1),
        ("none", "not_found", 3),
        ("none", "method_not_allowed", 1),
    ] {
        assert_eq!(count(endpoint, outcome), times, "{endpoint} {outcome}");
    }
    let page = server.get_admin("/metrics").text().to_owned();
    let counted = |line: &&str| line.starts_with("yamabiko_pusher_calls_total{") && !line.ends_with(" 0");
    assert_eq!(page.lines().filter(counted).count(), 12, "{page}");
}
