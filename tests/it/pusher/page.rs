use md5::{Digest, Md5};
use ring::hmac;
use serde_json::{Value, json};

use crate::support::{Client, Request, Response, Server};

/// A page with pusher-js, frame by frame.
pub(crate) struct Page {
    pub(crate) client: Client,
    pub(crate) socket_id: String,
    key: &'static str,
    secret: &'static str,
}

pub(crate) const SECRET: &str = "app-secret-of-the-tests";

impl Page {
    /// Connects to the first app and reads the greeting.
    pub(crate) fn open(server: &Server) -> Self {
        Self::of_app(server, "page", SECRET)
    }

    pub(crate) fn of_app(server: &Server, key: &'static str, secret: &'static str) -> Self {
        Self::greeted(server, key, secret, 30)
    }

    /// The first app, where it asks its pages every second whether they are there.
    pub(crate) fn of_impatient_app(server: &Server) -> Self {
        Self::greeted(server, "page", SECRET, 1)
    }

    /// The first app, with the token of a session.
    pub(crate) fn of_session(server: &Server, token: &str) -> Self {
        deliver(server);
        Self::at(server, &format!("page~{token}"), "")
    }

    /// The first app, with more in the path and in the query.
    pub(crate) fn at(server: &Server, path: &str, query: &str) -> Self {
        Self::greeted_at(server, path, query, "page", SECRET, 30)
    }

    fn greeted(server: &Server, key: &'static str, secret: &'static str, activity_timeout: u64) -> Self {
        Self::greeted_at(server, key, "", key, secret, activity_timeout)
    }

    fn greeted_at(
        server: &Server,
        path: &str,
        query: &str,
        key: &'static str,
        secret: &'static str,
        activity_timeout: u64,
    ) -> Self {
        let mut client =
            connect(server, &format!("/app/{path}?protocol=7&client=js&version=8.4.0&flash=false{query}"));
        let greeting = client.expect_json();
        assert_eq!(greeting["event"], "pusher:connection_established", "{greeting}");
        let data = data(&greeting);
        assert_eq!(data["activity_timeout"], activity_timeout);
        let socket_id = data["socket_id"].as_str().unwrap().to_owned();
        let (node, connection) = socket_id.split_once('.').unwrap();
        assert!([node, connection].iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit())));
        Self { client, socket_id, key, secret }
    }

    pub(crate) fn send(&mut self, event: &str, data: impl Into<Value>) {
        let data: Value = data.into();
        self.client.send_json(&json!({ "event": event, "data": data }));
    }

    /// Asks for a channel as its kind demands, without reading the answer.
    pub(crate) fn ask(&mut self, channel: &str, channel_data: Option<&str>) {
        self.ask_with(json!({ "channel": channel }), channel, channel_data);
    }

    /// Asks for a channel with the last position that this page has of it.
    pub(crate) fn ask_since(&mut self, channel: &str, since: Option<&str>) {
        let mut data = json!({ "channel": channel });
        if let Some(since) = since {
            data["since"] = since.into();
        }
        self.ask_with(data, channel, None);
    }

    fn ask_with(&mut self, mut data: Value, channel: &str, channel_data: Option<&str>) {
        if channel.starts_with("private-") || channel.starts_with("presence-") {
            let mut signed = format!("{}:{channel}", self.socket_id);
            if let Some(channel_data) = channel_data {
                signed.push(':');
                signed.push_str(channel_data);
                data["channel_data"] = channel_data.into();
            }
            data["auth"] = format!("{}:{}", self.key, sign(self.secret, &signed)).into();
        }
        self.send("pusher:subscribe", data);
    }

    /// Subscribes to a channel that is not a presence channel.
    pub(crate) fn subscribe(&mut self, channel: &str) {
        self.ask(channel, None);
        let answer =
            json!({ "event": "pusher_internal:subscription_succeeded", "channel": channel, "data": "{}" });
        assert_eq!(self.client.expect_json(), answer);
    }

    /// Becomes a member; returns the ids of the list that came.
    pub(crate) fn enter(&mut self, channel: &str, user: i64) -> Vec<i64> {
        self.ask(channel, Some(&member(user)));
        let answer = self.client.expect_json();
        assert_eq!(answer["event"], "pusher_internal:subscription_succeeded", "{answer}");
        assert_eq!(answer["channel"], channel);
        let presence = &data(&answer)["presence"];
        let ids: Vec<i64> = presence["ids"]
            .as_array()
            .unwrap()
            .iter()
            .map(|id| id.as_str().unwrap().parse().unwrap())
            .collect();
        assert_eq!(presence["count"], ids.len());
        for id in &ids {
            assert_eq!(presence["hash"][id.to_string()], json!({ "name": format!("user {id}") }));
        }
        ids
    }

    pub(crate) fn unsubscribe(&mut self, channel: &str) {
        self.send("pusher:unsubscribe", json!({ "channel": channel }));
    }

    pub(crate) fn sign_in(&mut self, user_data: &str) {
        let signed = format!("{}::user::{user_data}", self.socket_id);
        let auth = format!("{}:{}", self.key, sign(self.secret, &signed));
        self.send("pusher:signin", json!({ "auth": auth, "user_data": user_data }));
    }

    /// The next frame that is no ping, which a page gets that has been silent for long: its event, its channel and its data.
    pub(crate) fn next(&mut self) -> (String, String, Value) {
        loop {
            let frame = self.client.expect_json();
            let text = |key: &str| frame[key].as_str().unwrap_or_default().to_owned();
            if frame["event"] != "pusher:ping" {
                return (text("event"), text("channel"), data(&frame));
            }
        }
    }

    pub(crate) fn expect(&mut self, event: &str, channel: &str, data: &Value) {
        assert_eq!(self.next(), (event.to_owned(), channel.to_owned(), data.clone()));
    }

    pub(crate) fn expect_added(&mut self, channel: &str, user: i64) {
        let added = json!({ "user_id": user.to_string(), "user_info": { "name": format!("user {user}") } });
        self.expect("pusher_internal:member_added", channel, &added);
    }

    pub(crate) fn expect_removed(&mut self, channel: &str, user: i64) {
        self.expect("pusher_internal:member_removed", channel, &json!({ "user_id": user.to_string() }));
    }

    /// Answers the ping that proves what this page has read, after it has subscribed to this many channels with a history. Waits
    /// until the server has noted it.
    pub(crate) fn prove(&mut self, channels: u32) {
        loop {
            let payload = self.client.expect_ping();
            if payload.get(4..8) == Some(&channels.to_be_bytes()) {
                break;
            }
        }
        self.expect_quiet();
    }

    /// Subscribes again to a channel of its session with a history: the data of the events that it had missed.
    pub(crate) fn recover(&mut self, channel: &str, channel_data: Option<&str>) -> Vec<Value> {
        self.ask(channel, channel_data);
        let (event, of, _) = self.next();
        assert_eq!((&*event, &*of), ("pusher_internal:subscription_succeeded", channel));
        let (event, of, data) = self.next();
        assert_eq!((&*event, &data["channel"]), ("yamabiko:recovered", &json!(channel)));
        assert!(of == channel || channel.starts_with("private-encrypted-"));
        let count = data["count"].as_u64().unwrap();
        let mut missed = |_| {
            let (_, of, data) = self.next();
            assert_eq!(of, channel);
            data
        };
        (0..count).map(&mut missed).collect()
    }

    /// Everything sent earlier has been handled, and nothing else has arrived.
    pub(crate) fn expect_quiet(&mut self) {
        self.send("pusher:ping", json!({}));
        self.expect("pusher:pong", "", &json!({}));
    }
}

/// Returns when the node has delivered everything that was published before.
pub(crate) fn deliver(server: &Server) {
    let mut marker = Page::open(server);
    marker.subscribe("marker");
    trigger(server, &["marker"], "E", &json!({}), None);
    marker.expect("E", "marker", &json!({}));
}

/// A WebSocket at a path.
pub(crate) fn connect(server: &Server, target: &str) -> Client {
    Client::upgrade(Request::get(server.address, target)).expect("upgraded")
}

pub(crate) fn member(user: i64) -> String {
    json!({ "user_id": user, "user_info": { "name": format!("user {user}") } }).to_string()
}

/// The contents of `data`, which is always a string.
pub(crate) fn data(frame: &Value) -> Value {
    serde_json::from_str(frame["data"].as_str().unwrap_or_else(|| panic!("no text in data: {frame}")))
        .unwrap()
}

pub(crate) fn sign(secret: &str, text: &str) -> String {
    hex::encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), text.as_bytes()))
}

/// The HTTP API of the first app, as Laravel's library calls it.
pub(crate) fn post(server: &Server, path: &str, body: &Value) -> Response {
    let body = body.to_string();
    let hash = hex::encode(Md5::digest(&body));
    let query = signed("POST", path, &format!("&body_md5={hash}"));
    Request::post_json(server.address, format!("{path}?{query}"), body).send()
}

pub(crate) fn get(server: &Server, path: &str, info: &str) -> Response {
    let query = signed("GET", path, info);
    Request::get(server.address, format!("{path}?{query}")).send()
}

/// The query of a call of the first app. `more` has names that sort after `auth_` and is in order.
pub(crate) fn signed(method: &str, path: &str, more: &str) -> String {
    signed_by(("page", SECRET), method, path, more)
}

fn signed_by((key, secret): (&str, &str), method: &str, path: &str, more: &str) -> String {
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let query = format!("auth_key={key}&auth_timestamp={time}&auth_version=1.0{more}");
    let signature = sign(secret, &format!("{method}\n{path}\n{query}"));
    format!("{query}&auth_signature={signature}")
}

/// Publishes over HTTP.
pub(crate) fn trigger(server: &Server, channels: &[&str], event: &str, data: &Value, except: Option<&str>) {
    let mut body = json!({ "name": event, "channels": channels, "data": data.to_string() });
    if let Some(except) = except {
        body["socket_id"] = except.into();
    }
    let answer = post(server, "/apps/1/events", &body);
    assert_eq!((answer.status, answer.text()), (200, "{}"));
}

/// Publishes over HTTP as the second app of [`super::APPS`].
pub(crate) fn trigger_other(server: &Server, channels: &[&str], event: &str, data: &Value) {
    let body = json!({ "name": event, "channels": channels, "data": data.to_string() }).to_string();
    let hash = hex::encode(Md5::digest(&body));
    let path = "/apps/2/events";
    let other = ("other", "another-secret-of-the-tests");
    let query = signed_by(other, "POST", path, &format!("&body_md5={hash}"));
    let answer = Request::post_json(server.address, format!("{path}?{query}"), body).send();
    assert_eq!((answer.status, answer.text()), (200, "{}"));
}
