use std::time::Duration;

use serde_json::json;

use crate::page::{connect, data};
use tungstenite::protocol::frame::coding::{Control, OpCode};

use crate::support::{Client, Frame, Raw, Request};
use crate::{APPS, Page, serve};

#[test]
fn what_is_fatal_is_an_error_frame_and_a_close() {
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
fn a_page_that_is_no_websocket_is_told_so() {
    let server = serve(APPS);
    assert_eq!(server.get("/app/page?protocol=7").status, 426);
}

#[test]
fn a_slash_too_many_does_not_keep_a_page_out() {
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
fn what_is_no_message_is_refused_and_the_connection_stays() {
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
fn origins_and_quotas_are_an_apps_own() {
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
    crate::eventually("there is room again", || open("page", "https://app.example.com").1.is_none());
}

#[test]
fn a_full_server_says_so() {
    let server = crate::Server::start(|options| {
        options.config(APPS).set("limits.connections", 1);
    });
    let _only = Page::open(&server);
    let mut second = connect(&server, "/app/page?protocol=7");
    assert_eq!(data(&second.expect_json())["code"], 4100);
    assert_eq!(second.expect_close().0, 4100);
}

#[test]
fn a_silent_client_is_asked_and_then_closed() {
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
    // Not `Client`, which answers the pings of WebSocket by itself.
    let mut raw = Client::raw(Request::get(server.address, "/app/page?protocol=7")).unwrap();
    let mut next = || {
        loop {
            let frame = raw.read().expect("it is told");
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
fn a_client_answers_either_ping() {
    let server = crate::Server::start(|options| {
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
fn a_server_that_goes_sends_pages_to_another() {
    let server = crate::Server::start(|options| {
        options.config(APPS).set("server.shutdown_grace", "2s");
    });
    let mut page = Page::open(&server);
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(page.client.expect_close().0, 4200);
    assert!(server.wait(Duration::from_secs(10)).status.success());
}

#[test]
fn messages_have_the_limits_of_all() {
    let server = crate::Server::start(|options| {
        options.config(APPS).set("limits.message_bytes", 2000);
    });
    let mut page = Page::open(&server);
    page.client.send_text(&"x".repeat(2001));
    assert_eq!(page.client.expect_close().0, 1009);
}
