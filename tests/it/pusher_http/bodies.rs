//! Bodies: limits of an app, too large, chunked, or never sent.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::{Value, json};
use yamabiko::auth::pusher::AppCredentials;

use super::{APPS, app, call, event, is, now, one, read, refused, serve, signed};
use crate::support::{Raw, Server, eventually};

fn channels(count: usize) -> Value {
    (0..count).map(|index| format!("private-Chat.{index}")).collect()
}

#[test]
fn each_app_has_its_own_limits() {
    let server = serve();
    let one = one();
    let two = app("second app", "two", "the secret of two");
    let at = |app: &AppCredentials, path: &str, body: &str| {
        let id = if &**app.id() == "1" { "1" } else { "second%20app" };
        call(&server, app, "POST", &format!("/apps/{id}/{path}"), body)
    };
    let events =
        |app: &AppCredentials, channels: &Value, data: &str| at(app, "events", &event(channels, data)).status;
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
fn an_oversized_body_is_answered_413() {
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
        // It is refused while the client is still writing.
        let endpoint = if code == "not_found" { "none" } else { "events" };
        let refusals = format!(r#"yamabiko_pusher_calls_total{{endpoint="{endpoint}",outcome="{code}"}}"#);
        eventually("the call is refused", || server.metric(&refusals) == 1);
        stream.write_all(second.as_bytes()).unwrap();
        assert_eq!(refused(&read(&mut stream)), is(status, code));
    }

    // The length is not always declared.
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
fn chunked_bodies_and_expect_100_continue_are_accepted() {
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
fn a_body_that_never_arrives_times_out() {
    let server = Server::start(|options| {
        options.config(APPS).set("limits.handshake_timeout", "1s");
    });
    let body = event(&json!(["a"]), "{}");
    let length = body.len();
    for (app, status, code) in [(one(), 408, "timeout"), (app("1", "one", "a guess"), 401, "unauthorized")] {
        let target = signed(&app, "POST", "/apps/1/events", &body, now());
        let head = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{{");
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        assert_eq!(refused(&read(&mut stream)), is(status, code));
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "the connection ends");
    }
    // One that breaks off does no harm.
    let target = signed(&one(), "POST", "/apps/1/events", &body, now());
    let mut raw = Raw::connect(server.address);
    raw.write(format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{{").as_bytes());
    drop(raw);
    assert_eq!(call(&server, &one(), "POST", "/apps/1/events", &body).status, 200);
}
