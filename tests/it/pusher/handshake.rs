use std::time::Duration;

use serde_json::json;

use crate::pusher::page::{connect, data};
use tungstenite::protocol::frame::coding::{Control, OpCode};

use crate::pusher::{APPS, Page, serve};
use crate::support::{Client, Frame, Raw, Request};

#[test]
fn a_fatal_error_sends_an_error_frame_and_closes() {
    let server =
        serve(&format!("{APPS}\n[[apps]]\nid = \"3\"\nkey = \"off\"\nsecret = \"s3\"\nenabled = false\n"));
    for (target, code) in [
        ("/app/nobody?protocol=7", 4001),
        ("/app/off?protocol=7", 4003),
        ("/app?protocol=7", 4005),
        ("/app/page/more?protocol=7", 4005),
        ("/app/page?protocol=x", 4006),
        ("/app/page?protocol=4", 4007),
        ("/app/page", 4008),
    ] {
        let mut client = connect(&server, target);
        let error = client.expect_json();
        assert_eq!(
            (&error["event"], &data(&error)["code"]),
            (&json!("pusher:error"), &json!(code)),
            "{target}"
        );
        assert_eq!(client.expect_close().0, code, "{target}");
    }
}

#[test]
fn a_plain_get_of_an_app_is_answered_426() {
    let server = serve(APPS);
    assert_eq!(server.get("/app/page?protocol=7").status, 426);
}

#[test]
fn extra_slashes_in_the_path_are_ignored() {
    let server = serve(APPS);
    for target in ["//app/page?protocol=7", "/app/page/?protocol=7", "//app//page/?protocol=7"] {
        let mut client = Client::upgrade(Request::get(server.address, target)).expect(target);
        assert_eq!(client.expect_json()["event"], "pusher:connection_established", "{target}");
    }
}

#[test]
fn pings_are_answered() {
    let server = serve(APPS);
    let mut page = Page::open(&server);
    page.expect_quiet();
}

#[test]
fn an_invalid_frame_is_refused_and_the_connection_stays_open() {
    let server = serve(APPS);
    let mut page = Page::open(&server);
    for text in
        ["{", "[]", r#"{"event":"pusher:nonsense"}"#, r#"{"event":"App\\Events\\X","channel":"a","data":{}}"#]
    {
        page.client.send_text(text);
        assert_eq!(page.next().0, "pusher:error", "{text}");
    }
    page.expect_quiet();
}

#[test]
fn each_app_has_its_own_origins_and_quotas() {
    let server = serve(
        r#"
[server]
origins = ["https://native.example.com"]
[[apps]]
id = "1"
key = "page"
secret = "app-secret-of-the-tests"
origins = ["https://app.example.com"]
connections = 1
[[apps]]
id = "2"
key = "other"
secret = "another-secret-of-the-tests"
"#,
    );
    let open = |key: &str, origin: &str| {
        let request = Request::get(server.address, format!("/app/{key}?protocol=7")).header("Origin", origin);
        let mut client = Client::upgrade(request).unwrap();
        let first = client.expect_json();
        (client, data(&first)["code"].as_u64())
    };
    assert_eq!(open("page", "https://native.example.com").1, Some(4009));
    assert_eq!(open("other", "https://app.example.com").1, Some(4009));
    let (_other, refused) = open("other", "https://native.example.com");
    assert_eq!(refused, None);
    let (only, refused) = open("page", "https://app.example.com");
    assert_eq!(refused, None);
    let (mut second, refused) = open("page", "https://app.example.com");
    assert_eq!(refused, Some(4004));
    assert_eq!(second.expect_close().0, 4004);
    only.close();
    crate::support::eventually("there is room again", || open("page", "https://app.example.com").1.is_none());
}

#[test]
fn an_origin_may_name_all_subdomains() {
    let server = serve(
        r#"
[server]
origins = ["https://*.native.example.com"]
[[apps]]
id = "1"
key = "page"
secret = "app-secret-of-the-tests"
origins = ["https://*.example.com:8443", "http://localhost"]
[[apps]]
id = "2"
key = "other"
secret = "another-secret-of-the-tests"
"#,
    );
    let refused = |key: &str, origin: &str| {
        let request = Request::get(server.address, format!("/app/{key}?protocol=7")).header("Origin", origin);
        data(&Client::upgrade(request).unwrap().expect_json())["code"].as_u64()
    };
    for origin in ["https://a.example.com:8443", "https://a.b.Example.com:8443", "http://localhost"] {
        assert_eq!(refused("page", origin), None, "{origin}");
    }
    for origin in ["https://example.com:8443", "https://a.example.com", "http://a.example.com:8443"] {
        assert_eq!(refused("page", origin), Some(4009), "{origin}");
    }
    assert_eq!(refused("other", "https://a.native.example.com"), None);
    assert_eq!(refused("other", "https://native.example.com"), Some(4009));
}

#[test]
fn a_connection_that_never_authenticates_is_closed() {
    let server = serve(
        r#"
[pusher]
authorization_timeout = "1s"
[[apps]]
id = "1"
key = "page"
secret = "app-secret-of-the-tests"
[[apps]]
id = "2"
key = "other"
secret = "another-secret-of-the-tests"
authorization_timeout = "0s"
"#,
    );
    let mut private = Page::open(&server);
    private.subscribe("private-a");
    let mut user = Page::open(&server);
    user.sign_in(r#"{"id":"7"}"#);
    assert_eq!(user.next().0, "pusher:signin_success");
    let mut of_another_app = Page::of_app(&server, "other", "another-secret-of-the-tests");
    let mut public = Page::open(&server);
    public.subscribe("news");
    let (event, _, error) = public.next();
    assert_eq!((event.as_str(), &error["code"]), ("pusher:error", &json!(4009)));
    assert!(error["message"].as_str().unwrap().contains("authorization_timeout"), "{error}");
    assert_eq!(public.client.expect_close().0, 4009);
    for page in [&mut private, &mut user, &mut of_another_app] {
        page.expect_quiet();
    }
}

#[test]
fn a_full_server_closes_with_its_own_code() {
    let server = crate::support::Server::start(|options| {
        options.config(APPS).set("limits.connections", 1);
    });
    let _only = Page::open(&server);
    let mut second = connect(&server, "/app/page?protocol=7");
    assert_eq!(data(&second.expect_json())["code"], 4100);
    assert_eq!(second.expect_close().0, 4100);
}

#[test]
fn a_silent_client_is_pinged_then_closed() {
    let server = serve(
        r#"
[[apps]]
id = "1"
key = "page"
secret = "s"
activity_timeout = "1s"
pong_timeout = "1s"
"#,
    );
    // Not `Client`, which answers WebSocket pings automatically.
    let mut raw = Client::raw(Request::get(server.address, "/app/page?protocol=7")).unwrap();
    let mut next = || {
        loop {
            let frame = raw.read().expect("an error frame");
            if frame.header.opcode != OpCode::Control(Control::Ping) {
                return (frame.header.opcode, String::from_utf8_lossy(&frame.payload).into_owned(), frame);
            }
        }
    };
    assert!(next().1.contains(r#"\"activity_timeout\":1"#));
    assert!(next().1.contains("pusher:ping"));
    assert!(next().1.contains(r#"\"code\":4201"#));
    assert_eq!(next().2.close().0, 4201);
}

/// As the protocol lets clients be that implement RFC 6455, and as others are that do not.
#[test]
fn either_kind_of_pong_keeps_the_connection_open() {
    let server = crate::support::Server::start(|options| {
        options.set("heartbeat.interval", "2s").set("heartbeat.timeout", "1s").config(
            r#"
[[apps]]
id = "1"
key = "page"
secret = "s"
activity_timeout = "1s"
pong_timeout = "1s"
[[apps]]
id = "2"
key = "patient"
secret = "s"
activity_timeout = "14s"
pong_timeout = "1s"
"#,
        );
    });
    let open = |key: &str| {
        let mut raw = Client::raw(Request::get(server.address, format!("/app/{key}?protocol=7"))).unwrap();
        assert!(raw.read().is_some(), "the greeting");
        raw
    };
    let is_ping = |frame: &Frame| frame.header.opcode == OpCode::Control(Control::Ping);
    let mut of_websocket = open("page");
    let mut own = open("page");
    // Long enough that either would be closed if its answers did not count.
    for _ in 0..3 {
        let ping = of_websocket.read().expect("it stays open");
        assert!(is_ping(&ping), "{ping:?}");
        let ping_of_pusher = of_websocket.read().expect("it stays open");
        assert!(ping_of_pusher.payload.starts_with(br#"{"event":"pusher:ping""#), "{ping_of_pusher:?}");
        of_websocket.write(&Raw::frame(OpCode::Control(Control::Pong), &ping.payload));
        assert!(own.read().is_some_and(|ping| is_ping(&ping)), "it stays open");
        assert!(own.read().is_some_and(|ping| !is_ping(&ping)), "it stays open");
        own.write_text(r#"{"event":"pusher:pong","data":{}}"#);
    }
    // The heartbeat of all connections asks as well, and waits for Pusher's own answer.
    let mut patient = open("patient");
    patient.stream().set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert!(patient.read().is_some_and(|ping| is_ping(&ping)), "a ping of the heartbeat");
    assert!(patient.read().is_some_and(|ping| is_ping(&ping)), "it stays open");
    assert!(patient.read().is_some_and(|ping| !is_ping(&ping)), "it stays open");
    patient.write_text(r#"{"event":"pusher:pong","data":{}}"#);
    assert!(patient.read().is_some_and(|ping| is_ping(&ping)), "it stays open");
}

#[test]
fn shutdown_closes_with_4200_beside_another_node_and_4100_alone() {
    let redis = crate::support::redis::RedisServer::start();
    let (first, last) = (crate::pusher::node(&redis, APPS), crate::pusher::node(&redis, APPS));
    // The last one is alone, and the next page finds it no sooner than a second later.
    for (server, code) in [(first, 4200), (last, 4100)] {
        let mut page = Page::open(&server);
        server.signal(rustix::process::Signal::TERM);
        assert_eq!(page.client.expect_close().0, code);
        assert!(server.wait(Duration::from_secs(20)).status.success());
    }
}

/// A message within an app's limits does not close its connection, however JSON escapes it.
#[test]
fn the_message_limit_follows_the_event_limit_of_the_app() {
    let server = serve(
        r#"
[limits]
message_bytes = 2000
[[apps]]
id = "1"
key = "page"
secret = "app-secret-of-the-tests"
client_events = true
event_bytes = 102400
[[apps]]
id = "2"
key = "other"
secret = "another-secret-of-the-tests"
presence_user_bytes = 300
"#,
    );
    let (mut page, mut receiver) = (Page::open(&server), Page::open(&server));
    page.subscribe("private-a");
    receiver.subscribe("private-a");
    for (data, raw) in [("x".repeat(66_000), None), ("\u{1}".repeat(102_400), Some(r"\u0001"))] {
        let text = raw.map_or_else(|| data.clone(), |escaped| escaped.repeat(data.len()));
        page.client.send_text(&format!(r#"{{"event":"client-x","channel":"private-a","data":"{text}"}}"#));
        let frame = receiver.client.expect_json();
        assert_eq!((&frame["event"], frame["data"].as_str()), (&json!("client-x"), Some(data.as_str())));
    }
    page.client
        .send_json(&json!({ "event": "client-x", "channel": "private-a", "data": "x".repeat(102_401) }));
    assert_eq!(page.next().0, "pusher:error", "it is refused, and the connection stays");
    page.expect_quiet();
    // No more than that: an app without client events needs little.
    let mut other = Page::of_app(&server, "other", "another-secret-of-the-tests");
    other.client.send_text(&"x".repeat(20_000));
    assert_eq!(other.client.expect_close().0, 1009);
    page.client.send_text(&"x".repeat(1_000_000));
    assert_eq!(page.client.expect_close().0, 1009);
}

#[test]
fn the_servers_message_limit_applies_to_apps() {
    let server = crate::support::Server::start(|options| {
        options.config(&format!("[pusher]\nevent_bytes = 10\npresence_user_bytes = 10\n{APPS}"));
        options.set("limits.message_bytes", 8000);
    });
    let mut page = Page::open(&server);
    page.client.send_text(&"x".repeat(8001));
    assert_eq!(page.client.expect_close().0, 1009);
}
