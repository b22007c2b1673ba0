//! Pages of the native protocol that come back with the last `id` they have seen, and a client that sends.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::protocol::WebSocket;
use tungstenite::{Error, Message};

use super::super::history::MessageId;
use super::super::schedule::Random;
use super::super::shared::random_pause;
use super::record::{Outcome, Position, Route, Sent, What};
use super::shared::Shared;
use crate::support::{claims, token};

type Socket = WebSocket<TcpStream>;

/// Keeps a page connected through its line until the run ends.
pub(super) fn run(
    shared: &Arc<Shared>,
    page: usize,
    line: SocketAddr,
    node: impl Fn() -> Option<usize>,
    seed: u64,
) {
    let mut random = Random::new(seed);
    let channel = shared.record().pages[page].channels[0].clone();
    let mut since = String::new();
    while !shared.is_over() {
        let target = format!("/?token={}&since={since}", token(&claims(7, "page", &channel)));
        if let Some(socket) = connect(line, &target, Duration::from_secs(3)) {
            shared.event(page, What::Connected { node: node(), socket_id: None });
            let mut connection =
                Live { shared, page, channel: &channel, socket, since: &mut since, is_asking: true };
            let reason = connection.stay();
            shared.event(page, What::Disconnected(reason));
        }
        random_pause(&mut random, 20, 300);
    }
}

/// A page while it is connected.
struct Live<'a> {
    shared: &'a Shared,
    page: usize,
    channel: &'a str,
    socket: Socket,
    /// The last `id` that it has been given.
    since: &'a mut String,
    /// It has not been told yet what it has missed.
    is_asking: bool,
}

impl Live<'_> {
    /// Reads until the connection ends. Why it has.
    fn stay(&mut self) -> String {
        while !self.shared.is_over() {
            match read(&mut self.socket) {
                Ok(Some(frame)) => self.receive(&frame),
                Ok(None) => {}
                Err(reason) => return reason,
            }
        }
        "the run is over".to_owned()
    }

    fn receive(&mut self, frame: &Value) {
        let channel = || self.channel.to_owned();
        let was_asking = std::mem::take(&mut self.is_asking);
        let is_fresh = self.since.is_empty();
        let kind = frame["type"].as_str().unwrap_or_default();
        if was_asking {
            self.event(What::Subscribed { channel: channel(), fresh: is_fresh });
            if !matches!(kind, "recovered" | "gap") {
                self.note("not told what it has missed before", frame);
            }
        }
        match kind {
            "message" => {
                let id = frame["data"]["id"].as_str().and_then(MessageId::parse);
                let position = frame["id"].as_str().and_then(Position::parse);
                if position.is_none() {
                    self.note("a message without a position:", frame);
                }
                match id {
                    Some(id) => self.event(What::Message { channel: channel(), id, position }),
                    None => self.note("not a message of ours:", frame),
                }
            }
            "recovered" if was_asking => {
                let count = frame["count"].as_u64().unwrap_or_default();
                if !is_fresh {
                    self.event(What::Recovered { channel: channel(), count });
                }
            }
            // Who begins has no position: that there is none yet is no loss.
            "gap" if was_asking && is_fresh => {}
            "gap" => self.event(What::Gap { channel: channel() }),
            _ => self.note("unexpected frame", frame),
        }
        if let Some(id) = frame["id"].as_str() {
            id.clone_into(self.since);
        }
    }

    fn event(&self, what: What) {
        self.shared.event(self.page, what);
    }

    fn note(&self, text: &str, frame: &Value) {
        self.shared.note(format!("page {}: {text} {}", self.page, shortened(frame)));
    }
}

/// Sends on native channels, with and without a `ref`, through any node.
pub(super) fn send(shared: &Arc<Shared>, publisher: u16, channel: &str, seed: u64) {
    let mut random = Random::new(seed);
    let mut socket: Option<(usize, Socket)> = None;
    let mut number = 0;
    let target = format!("/?token={}", token(&claims(40 + i64::from(publisher), "sender", channel)));
    while shared.may_publish() {
        random_pause(&mut random, 40, 160);
        number += 1;
        let id = MessageId { publisher, number };
        let is_valid = random.below(20) > 0;
        let is_retried = is_valid && random.below(2) == 0;
        let data = if is_valid { json!({ "id": id.to_string() }) } else { json!([id.to_string()]) };
        let mut message = json!({ "data": data });
        if is_retried {
            message["ref"] = format!("r{id}").into();
        }
        let index = shared.sent(Sent {
            id,
            route: if is_retried { Route::NativeRetried } else { Route::Native },
            channels: vec![channel.to_owned()],
            node: None,
            except: None,
            at: 0,
            outcome: if is_valid { Outcome::Unknown } else { Outcome::Rejected },
        });
        while !shared.is_over() {
            if socket.is_none() {
                socket = shared.open_node(&mut random).and_then(|(node, address)| {
                    Some((node, connect(address, &target, Duration::from_secs(2))?))
                });
            }
            let Some((node, connection)) = &mut socket else {
                random_pause(&mut random, 50, 200);
                if is_retried {
                    continue;
                }
                break;
            };
            shared.record().sent[index].node = Some(*node);
            let answer = ask(connection, &message);
            let is_kept =
                answer.as_ref().is_some_and(|answer| answer["ok"] == true || !answer["error"].is_null());
            if !is_kept || random.below(20) == 0 {
                socket = None;
            }
            let Some(answer) = answer else {
                if is_retried {
                    continue;
                }
                break;
            };
            if is_retried && answer["ref"] != message["ref"] {
                shared.note(format!("the answer to a ref does not repeat it: {}", shortened(&answer)));
            }
            match (answer["ok"].as_bool(), answer["error"]["code"].as_str()) {
                (Some(true), _) if is_valid => shared.accepted(index),
                (Some(true), _) => shared.note(format!("{id} is invalid and was accepted")),
                (_, Some("unavailable")) if is_retried => {
                    random_pause(&mut random, 50, 200);
                    continue;
                }
                (_, Some("unavailable")) if is_valid => {
                    shared.answered(index, Outcome::Refused(shared.now()));
                }
                (_, Some("invalid_message")) if !is_valid => {}
                _ => shared.note(format!("{id} was answered: {}", shortened(&answer))),
            }
            break;
        }
    }
}

/// Sends one message through any node. Whether it was accepted.
pub(super) fn send_once(shared: &Shared, index: usize, channel: &str, random: &mut Random) -> bool {
    let Some((node, address)) = shared.open_node(random) else { return false };
    shared.record().sent[index].node = Some(node);
    let target = format!("/?token={}", token(&claims(40, "sender", channel)));
    let Some(mut socket) = connect(address, &target, Duration::from_secs(2)) else { return false };
    let id = shared.record().sent[index].id;
    let is_accepted = ask(&mut socket, &json!({ "data": { "id": id.to_string() } }))
        .is_some_and(|answer| answer["ok"] == true);
    if is_accepted {
        shared.accepted(index);
    }
    is_accepted
}

/// Sends, and reads until the answer. Nothing if none comes.
fn ask(socket: &mut Socket, message: &Value) -> Option<Value> {
    socket.send(Message::text(message.to_string())).ok()?;
    let deadline = Instant::now() + Duration::from_secs(4);
    while Instant::now() < deadline {
        let frame = read(socket).ok()?;
        if let Some(frame) = frame.filter(|frame| frame["type"] == "sended") {
            return Some(frame);
        }
    }
    None
}

pub(super) fn connect(address: SocketAddr, target: &str, limit: Duration) -> Option<Socket> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_nodelay(true).ok()?;
    stream.set_read_timeout(Some(limit)).ok()?;
    stream.set_write_timeout(Some(limit)).ok()?;
    tungstenite::client(format!("ws://{address}{target}"), stream).ok().map(|(socket, _)| socket)
}

/// The next text message; nothing if none comes within a moment.
fn read(socket: &mut Socket) -> Result<Option<Value>, String> {
    let _ = socket.get_ref().set_read_timeout(Some(Duration::from_millis(50)));
    match socket.read() {
        Ok(Message::Text(text)) => Ok(serde_json::from_str(&text).ok()),
        Ok(Message::Close(frame)) => Err(format!("{frame:?}")),
        Ok(_) => Ok(None),
        Err(Error::Io(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Ok(None)
        }
        Err(error) => Err(error.to_string()),
    }
}

fn shortened(frame: &Value) -> String {
    frame.to_string().chars().take(200).collect()
}
