//! The application: publishes in all ways that it has.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::history::MessageId;
use super::super::publisher::{PREFIX, call};
use super::super::schedule::Random;
use super::super::shared::random_pause;
use super::native_page;
use super::record::{Outcome, Route, Sent};
use super::shared::Shared;

/// Channels with a history. Of the last of each protocol little is kept, and not for long.
pub(super) const NATIVE: [&str; 3] = ["room:1", "room:2", "brief:1"];
pub(super) const PUSHER: [&str; 4] = ["private-a", "presence-p", "news", "private-brief"];

/// The publisher of messages that are to make buffers full.
const FLOOD: u16 = 80;
/// The publisher of the last messages.
const MARK: u16 = 99;

/// Calls the HTTP API of any node; half of the calls have an idempotency key and are repeated until they are accepted.
pub(super) fn over_http(shared: &Arc<Shared>, publisher: u16, seed: u64) {
    let mut random = Random::new(seed);
    let mut number = 0;
    while shared.may_publish() {
        random_pause(&mut random, 40, 160);
        number += 1;
        let id = MessageId { publisher, number };
        let mut channels = vec![pick(&PUSHER, &mut random)];
        let other = pick(&PUSHER, &mut random);
        if !channels.contains(&other) && random.below(2) == 0 {
            channels.push(other);
        }
        let except = if random.below(5) == 0 { shared.any_socket_id(&mut random) } else { None };
        let is_valid = random.below(20) > 0;
        let is_retried = is_valid && random.below(2) == 0;
        let mut body = json!({
            "name": if is_valid { "E" } else { "pusher:e" },
            "channels": channels,
            "data": json!({ "id": id.to_string() }).to_string(),
        });
        if let Some((_, socket_id)) = &except {
            body["socket_id"] = socket_id.as_str().into();
        }
        if is_retried {
            body["idempotency_key"] = format!("k{id}").into();
        }
        let index = shared.sent(Sent {
            id,
            route: if is_retried { Route::HttpRetried } else { Route::Http },
            channels,
            node: None,
            except,
            at: 0,
            outcome: if is_valid { Outcome::Unknown } else { Outcome::Rejected },
        });
        post(shared, index, &body.to_string(), is_valid, is_retried, &mut random);
    }
}

fn post(
    shared: &Shared,
    index: usize,
    body: &str,
    is_valid: bool,
    is_retried: bool,
    random: &mut Random,
) -> bool {
    while !shared.is_over() {
        let Some((node, address)) = shared.any_node(random) else {
            random_pause(random, 20, 100);
            continue;
        };
        shared.record().sent[index].node = Some(node);
        let (status, answer) = call(address, "POST", "/apps/1/events", body).unwrap_or_default();
        match status {
            200 if is_valid => {
                shared.accepted(index);
                return true;
            }
            400 if !is_valid => return false,
            0 | 503 if is_retried => random_pause(random, 50, 200),
            503 if is_valid => {
                shared.answered(index, Outcome::Refused(shared.now()));
                return false;
            }
            0 | 503 => return false,
            _ => {
                let id = shared.record().sent[index].id;
                shared.note(format!("{id} over HTTP: {status} {answer}"));
                return false;
            }
        }
    }
    false
}

/// Publishes on Redis with plain `PUBLISH`, on both kinds of topic.
pub(super) fn over_pubsub(shared: &Arc<Shared>, publisher: u16, seed: u64) {
    let mut random = Random::new(seed);
    let mut application = Redis::new(shared);
    let mut number = 0;
    while shared.may_publish() {
        random_pause(&mut random, 40, 160);
        number += 1;
        let id = MessageId { publisher, number };
        let is_valid = random.below(20) > 0;
        if random.below(2) == 0 {
            application.broadcast(id, &pick(&NATIVE, &mut random), is_valid, "");
        } else {
            application.driver(id, &pick(&PUSHER, &mut random), is_valid);
        }
    }
}

/// Appends to the stream for ingest.
pub(super) fn over_stream(shared: &Arc<Shared>, publisher: u16, seed: u64) {
    let mut random = Random::new(seed);
    let mut application = Redis::new(shared);
    let mut number = 0;
    while shared.may_publish() {
        random_pause(&mut random, 60, 240);
        number += 1;
        let id = MessageId { publisher, number };
        let is_valid = random.below(20) > 0;
        application.ingest(id, &mut random, is_valid);
    }
}

/// A connection to Redis that is opened again when it fails.
pub(super) struct Redis<'a> {
    shared: &'a Shared,
    connection: Option<redis::Connection>,
}

impl<'a> Redis<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self { shared, connection: None }
    }

    /// A native message, as `Redis::publish('broadcast', …)` of Laravel publishes it.
    pub(super) fn broadcast(&mut self, id: MessageId, channel: &str, is_valid: bool, padding: &str) -> bool {
        let mut data = if is_valid { json!({ "id": id.to_string() }) } else { json!([id.to_string()]) };
        if !padding.is_empty() {
            data["padding"] = padding.into();
        }
        let payload = json!({ "channel": channel, "data": data }).to_string();
        self.publish(id, Route::Broadcast, channel, "broadcast", &payload, is_valid)
    }

    /// An event, as Laravel's redis driver publishes it.
    pub(super) fn driver(&mut self, id: MessageId, channel: &str, is_valid: bool) -> bool {
        let event = if is_valid { "E" } else { "pusher_internal:member_removed" };
        let payload = json!({ "event": event, "data": { "id": id.to_string() }, "socket": null }).to_string();
        self.publish(id, Route::Driver, channel, channel, &payload, is_valid)
    }

    /// A message for the stream, of either protocol.
    fn ingest(&mut self, id: MessageId, random: &mut Random, is_valid: bool) -> bool {
        let data = if is_valid { json!({ "id": id.to_string() }) } else { Value::Null };
        let (channel, payload) = if random.below(2) == 0 {
            let channel = pick(&NATIVE, random);
            let payload = json!({ "channel": channel, "data": data });
            (channel, payload)
        } else {
            let channel = pick(&PUSHER, random);
            let event = if is_valid { "E" } else { "pusher:e" };
            let payload = json!({ "app": "1", "channel": channel, "event": event, "data": data });
            (channel, payload)
        };
        let index = self.shared.sent(sent(id, Route::Ingest, &channel, is_valid));
        let mut command = redis::cmd("XADD");
        command.arg(format!("{PREFIX}yamabiko:in")).arg("*").arg("payload").arg(payload.to_string());
        let is_added = self.command::<String>(&command).is_some();
        if is_added && is_valid {
            self.shared.accepted(index);
        }
        is_added
    }

    /// Something that a node's own probe on a native channel receives.
    pub(super) fn probe(&mut self, channel: &str, padding: &str) -> bool {
        let payload = json!({ "channel": channel, "data": { "padding": padding } }).to_string();
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

    fn publish(
        &mut self,
        id: MessageId,
        route: Route,
        channel: &str,
        topic: &str,
        payload: &str,
        is_valid: bool,
    ) -> bool {
        let index = self.shared.sent(sent(id, route, channel, is_valid));
        let topic = format!("{PREFIX}{topic}");
        let receivers = self.command::<i64>(redis::cmd("PUBLISH").arg(topic).arg(payload));
        let is_received = receivers.is_some_and(|receivers| receivers > 0);
        if is_received && is_valid {
            self.shared.accepted(index);
        }
        is_received
    }
}

/// Publishes more on a native channel than fits between a node and a page that does not read.
pub(super) fn flood(shared: &Shared, channel: &str, first: u32) {
    let padding = "x".repeat(40 << 10);
    let mut application = Redis::new(shared);
    for number in (first..first + 70).take_while(|_| shared.may_publish()) {
        application.broadcast(MessageId { publisher: FLOOD, number }, channel, true, &padding);
    }
}

/// Publishes a last message on each channel, in a way that is sure to be stored. Whether all were accepted.
pub(super) fn mark(shared: &Shared, attempt: u32) -> bool {
    let mut random = Random::new(u64::from(attempt));
    (0..).zip(NATIVE.iter().chain(&PUSHER)).all(|(number, channel)| {
        let id = MessageId { publisher: MARK, number: attempt * 100 + number };
        let is_native = NATIVE.contains(channel);
        let index = shared.sent(sent(id, if is_native { Route::Native } else { Route::Http }, channel, true));
        let is_accepted = if is_native {
            native_page::send_once(shared, index, channel, &mut random)
        } else {
            let data = json!({ "id": id.to_string() }).to_string();
            let body = json!({ "name": "E", "channels": [channel], "data": data }).to_string();
            post(shared, index, &body, true, false, &mut random)
        };
        if is_accepted {
            shared.mark(id);
        }
        is_accepted
    })
}

fn sent(id: MessageId, route: Route, channel: &str, is_valid: bool) -> Sent {
    Sent {
        id,
        route,
        channels: vec![channel.to_owned()],
        node: None,
        except: None,
        at: 0,
        outcome: if is_valid { Outcome::Unknown } else { Outcome::Rejected },
    }
}

fn pick(channels: &[&str], random: &mut Random) -> String {
    channels[random.index(channels.len())].to_owned()
}
