//! The HTTP API of the Pusher protocol, as Laravel's broadcaster and Pusher's server libraries call it: the real binary,
//! signed requests, bytes of a hand-written client.

mod bodies;
mod history;
mod publishing;
mod routes;
mod signatures;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

use secrecy::SecretString;
use serde_json::{Value, json};
use yamabiko::auth::pusher::{AppCredentials, SignedRequest};

use crate::support::{PATIENCE, Response, Server};

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

fn one() -> AppCredentials {
    app("1", "one", "the secret of one")
}

fn app(id: &str, key: &str, secret: &str) -> AppCredentials {
    AppCredentials::new(id, key, vec![SecretString::from(secret)]).unwrap()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The target of a signed call.
fn signed(app: &AppCredentials, method: &str, target: &str, body: &str, now: u64) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = app.sign_request(&SignedRequest { method, path, query, body: body.as_bytes() }, now);
    format!("{path}?{query}")
}

/// A call, signed with the app's secret, with the time that it is.
fn call(server: &Server, app: &AppCredentials, method: &str, target: &str, body: &str) -> Response {
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
