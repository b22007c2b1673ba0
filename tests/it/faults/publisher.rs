//! The application: publishes over HTTP, as Pusher's SDKs do, and on Redis, as Laravel does.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::history::{MessageId, Outcome, Route, Sent};
use super::schedule::{NODES, Random};
use super::shared::{Shared, random_pause};
use crate::pusher::page;

/// Channels of the Pusher protocol; the first of each pair is that of the pages' client events.
pub(super) const CHANNELS: [&str; 6] =
    ["private-a", "private-b", "news", "cache-c", "presence-p", "presence-q"];
pub(super) const NATIVE_CHANNELS: [&str; 2] = ["room:1", "room:2"];
pub(super) const PREFIX: &str = "app-database-";

/// Calls the HTTP API of all nodes in turn.
pub(super) fn over_http(shared: &Arc<Shared>, publisher: u16, seed: u64) {
    let mut random = Random::new(seed);
    let mut number = 0;
    while shared.may_publish() {
        random_pause(&mut random, 40, 160);
        let node = random.index(NODES);
        let Some(address) = shared.address(node) else { continue };
        number += 1;
        let id = MessageId { publisher, number };
        let mut channels = vec![CHANNELS[random.index(CHANNELS.len())].to_owned()];
        let other = CHANNELS[random.index(CHANNELS.len())].to_owned();
        if !channels.contains(&other) {
            channels.push(other);
        }
        let except = if random.below(5) == 0 { any_page(shared, &mut random) } else { None };
        let is_valid = random.below(20) > 0;
        let name = if is_valid { "E" } else { "pusher:e" };
        let mut body =
            json!({ "name": name, "channels": channels, "data": json!(id.to_string()).to_string() });
        if let Some((_, socket_id)) = &except {
            body["socket_id"] = socket_id.as_str().into();
        }
        let index = shared.sent(Sent {
            id,
            route: Route::Http,
            node: Some(node),
            connection: None,
            channels,
            except: except.map(|(index, _)| index),
            at: shared.now(),
            outcome: Outcome::Unknown,
        });
        let (status, answer) = call(address, "POST", "/apps/1/events", &body.to_string()).unwrap_or_default();
        let expected: &[u16] = if is_valid { &[0, 200, 503] } else { &[0, 400] };
        if !expected.contains(&status) {
            shared.note(format!("{id} over HTTP: {status} {answer}"));
        }
        let now = shared.now();
        match status {
            200 => shared.answered(index, Outcome::Accepted(now)),
            _ if !is_valid || (400..500).contains(&status) => shared.answered(index, Outcome::Rejected),
            _ => {}
        }
    }
}

/// Publishes on Redis, on both kinds of topic.
pub(super) fn over_redis(shared: &Arc<Shared>, publisher: u16, seed: u64) {
    let mut random = Random::new(seed);
    let mut application = Application::new(shared);
    let mut number = 0;
    while shared.may_publish() {
        random_pause(&mut random, 40, 160);
        number += 1;
        let id = MessageId { publisher, number };
        let is_valid = random.below(20) > 0;
        if random.below(2) == 0 {
            let channel = NATIVE_CHANNELS[random.index(NATIVE_CHANNELS.len())];
            application.native(id, channel, is_valid);
        } else {
            application.event(id, CHANNELS[random.index(CHANNELS.len())], is_valid);
        }
    }
}

/// A connection to Redis that is opened again when it fails.
pub(super) struct Application<'a> {
    shared: &'a Shared,
    connection: Option<redis::Connection>,
}

impl<'a> Application<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self { shared, connection: None }
    }

    /// For the native protocol.
    pub(super) fn native(&mut self, id: MessageId, channel: &str, is_valid: bool) -> bool {
        let data = if is_valid { json!({ "id": id.to_string() }) } else { json!([id.to_string()]) };
        let payload = json!({ "channel": channel, "data": data }).to_string();
        self.publish(id, channel, "broadcast", &payload, is_valid)
    }

    /// For the Pusher protocol.
    pub(super) fn event(&mut self, id: MessageId, channel: &str, is_valid: bool) -> bool {
        let event = if is_valid { "E" } else { "pusher_internal:member_removed" };
        let payload = json!({ "event": event, "data": id.to_string(), "socket": null }).to_string();
        self.publish(id, channel, channel, &payload, is_valid)
    }

    /// A message that no page receives, for a node's own answer on a native channel.
    pub(super) fn probe(&mut self, channel: &str) -> bool {
        let payload = json!({ "channel": channel, "data": {} }).to_string();
        let topic = format!("{PREFIX}broadcast");
        self.command::<i64>(redis::cmd("PUBLISH").arg(topic).arg(payload)).is_some()
    }

    /// Anything; nothing if Redis does not answer within a second.
    pub(super) fn command<T: redis::FromRedisValue>(&mut self, command: &redis::Cmd) -> Option<T> {
        if self.connection.is_none() {
            let client = redis::Client::open(self.shared.redis_url.as_str()).unwrap();
            self.connection = client.get_connection_with_timeout(Duration::from_secs(1)).ok();
        }
        let connection = self.connection.as_mut()?;
        let _ = connection.set_read_timeout(Some(Duration::from_secs(1)));
        let answer = command.query(connection).ok();
        if answer.is_none() {
            self.connection = None;
        }
        answer
    }

    fn publish(&mut self, id: MessageId, channel: &str, topic: &str, payload: &str, is_valid: bool) -> bool {
        let index = self.shared.sent(Sent {
            id,
            route: if topic == "broadcast" { Route::RedisBroadcast } else { Route::RedisTopic },
            node: None,
            connection: None,
            channels: vec![channel.to_owned()],
            except: None,
            at: self.shared.now(),
            outcome: if is_valid { Outcome::Unknown } else { Outcome::Rejected },
        });
        let topic = format!("{PREFIX}{topic}");
        let is_there = self.command::<i64>(redis::cmd("PUBLISH").arg(topic).arg(payload)).is_some();
        if is_there && is_valid {
            self.shared.answered(index, Outcome::Accepted(self.shared.now()));
        }
        is_there
    }
}

/// A page of the Pusher protocol that is connected: its connection and its socket id.
fn any_page(shared: &Shared, random: &mut Random) -> Option<(usize, String)> {
    let history = shared.history();
    let open = history.connections.iter().enumerate().filter(|(_, connection)| connection.ended.is_none());
    let open: Vec<_> =
        open.filter_map(|(index, connection)| Some((index, connection.socket_id.clone()?))).collect();
    open.get(random.index(open.len())).cloned()
}

/// A signed call of the HTTP API: the status and the body, unless the node does not answer.
pub(super) fn call(address: SocketAddr, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
    let (path, info) = path.split_once('?').unwrap_or((path, ""));
    let mut more = String::new();
    if !body.is_empty() {
        more = format!("&body_md5={}", hex::encode(Md5::digest(body)));
    }
    if !info.is_empty() {
        more = format!("{more}&{info}");
    }
    let target = format!("{path}?{}", page::signed(method, path, &more));
    // More than `redis.publish_timeout`.
    request(address, method, &target, body, Duration::from_secs(5))
}

/// An HTTP request that may meet a node that stands still or is gone.
pub(super) fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    body: &str,
    limit: Duration,
) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(limit)).ok()?;
    let length = body.len();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// The JSON of a `GET` of the HTTP API.
pub(super) fn get(address: SocketAddr, path: &str) -> Option<Value> {
    let (status, body) = call(address, "GET", path, "")?;
    if status == 200 { serde_json::from_str(&body).ok() } else { None }
}
