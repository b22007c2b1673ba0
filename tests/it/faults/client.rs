//! Pages that reconnect, each on a thread of its own, and what they send.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::protocol::WebSocket;
use tungstenite::{Error, Message};

use super::history::{Connection, Ending, Event, MessageId, Outcome, Route, Sent, What};
use super::schedule::Random;
use super::shared::{Shared, random_pause};
use crate::pusher::page;
use crate::support::{claims, token};

/// The profile of a page.
#[derive(Debug, Clone)]
pub(super) struct Profile {
    pub(super) name: String,
    pub(super) node: usize,
    pub(super) kind: Kind,
    /// The number under which it publishes, if it does.
    pub(super) publisher: Option<u16>,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Native {
        channel: String,
    },
    /// Sends its client events on the first channel.
    Pusher {
        user: u64,
        channels: Vec<String>,
    },
}

/// The state in which the schedule wants a page.
#[derive(Debug, Clone)]
pub(super) struct Orders {
    /// The node to be on; none: away.
    pub(super) node: Option<usize>,
    /// Counts departures, so that coming back at once is one too.
    pub(super) departures: u32,
    /// Whether the last departure was with a close frame.
    pub(super) closes: bool,
    /// The channel to be off.
    pub(super) leaves: Option<String>,
}

type Socket = WebSocket<TcpStream>;

/// Keeps one page connected as ordered until the run ends.
pub(super) fn run(shared: &Arc<Shared>, page: usize, profile: &Profile, seed: u64) {
    let mut random = Random::new(seed);
    let mut number = 0;
    while !shared.is_over() {
        let orders = shared.orders(page);
        if let Some(address) = orders.node.and_then(|node| shared.address(node)) {
            let node = orders.node.unwrap_or_default();
            if let Some(socket) = connect(profile, address) {
                let departures = orders.departures;
                let mut live =
                    Live { shared, page, profile, socket, connection: 0, departures, number: &mut number };
                live.stay(node, &mut random);
            }
        }
        random_pause(&mut random, 50, 400);
    }
}

fn connect(profile: &Profile, address: SocketAddr) -> Option<Socket> {
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_nodelay(true).ok()?;
    // A node that stands still accepts, and does not answer.
    stream.set_read_timeout(Some(Duration::from_secs(3))).ok()?;
    stream.set_write_timeout(Some(Duration::from_secs(3))).ok()?;
    let target = match &profile.kind {
        Kind::Native { channel } => format!("/?token={}", token(&claims(7, &profile.name, channel))),
        Kind::Pusher { .. } => "/app/page?protocol=7&client=js&version=8.4.0&flash=false".to_owned(),
    };
    tungstenite::client(format!("ws://{address}{target}"), stream).ok().map(|(socket, _)| socket)
}

/// A page while it is connected.
struct Live<'a> {
    shared: &'a Arc<Shared>,
    page: usize,
    profile: &'a Profile,
    socket: Socket,
    connection: usize,
    departures: u32,
    number: &'a mut u32,
}

/// Why reading stops.
enum Stop {
    Ordered,
    Ended(String),
}

impl Live<'_> {
    fn stay(&mut self, node: usize, random: &mut Random) {
        let mut connection = Connection {
            client: self.profile.name.clone(),
            node,
            user: None,
            socket_id: None,
            ended: None,
            events: Vec::new(),
        };
        match &self.profile.kind {
            Kind::Native { channel } => {
                let what = What::Joined(None);
                connection.events.push(Event { at: self.shared.now(), channel: channel.clone(), what });
            }
            Kind::Pusher { user, .. } => {
                let Ok(Message::Text(greeting)) = self.socket.read() else { return };
                let frame: Value = serde_json::from_str(&greeting).unwrap();
                if frame["event"] != "pusher:connection_established" {
                    return;
                }
                connection.user = Some(*user);
                connection.socket_id = page::data(&frame)["socket_id"].as_str().map(str::to_owned);
            }
        }
        connection.client = format!("{}#{}", connection.client, self.shared.history().connections.len());
        self.connection = self.shared.connected(connection);
        let stop = match self.profile.kind.clone() {
            Kind::Native { .. } => self.native(random),
            Kind::Pusher { user, channels } => self.pusher(user, &channels, random),
        };
        match stop {
            Stop::Ordered => {
                self.shared.ended(self.connection, Ending::Client);
                if self.shared.orders(self.page).closes {
                    let _ = self.socket.close(None);
                    // The server answers, unless it stands still.
                    while self.socket.read().is_ok() {}
                }
                let _ = self.socket.get_ref().shutdown(Shutdown::Both);
            }
            Stop::Ended(reason) => self.shared.ended(self.connection, Ending::Server(reason)),
        }
    }

    /// Sends one message or three at once, and the next when all are answered.
    fn native(&mut self, random: &mut Random) -> Stop {
        let Kind::Native { channel } = &self.profile.kind else { unreachable!() };
        let mut waiting: Vec<usize> = Vec::new();
        let mut answers: Vec<Outcome> = Vec::new();
        let mut due = Instant::now();
        loop {
            if self.is_ordered_away() {
                return Stop::Ordered;
            }
            if waiting.is_empty() && Instant::now() >= due && self.may_publish() {
                let (burst, is_valid) = (if random.below(3) == 0 { 3 } else { 1 }, random.below(20) > 0);
                for _ in 0..burst {
                    let sent = self.sent(Route::Native, channel, is_valid);
                    let id = sent.id.to_string();
                    waiting.push(self.shared.sent(sent));
                    let data = if is_valid { json!({ "id": id }) } else { json!(id) };
                    if let Err(stop) = self.send(&json!({ "data": data })) {
                        return stop;
                    }
                }
                due = Instant::now() + Duration::from_millis(random.between(40, 200));
            }
            let frame = match self.read() {
                Ok(Some(frame)) => frame,
                Ok(None) => continue,
                Err(stop) => return stop,
            };
            if frame["type"] == "message" {
                let id = frame["data"]["id"].as_str().and_then(MessageId::parse);
                self.received(channel, id, false);
            } else if frame["type"] == "sended" {
                let now = self.shared.now();
                answers.push(match (frame["ok"].as_bool(), frame["error"]["code"].as_str()) {
                    (Some(true), _) => Outcome::Accepted(now),
                    (_, Some("unavailable")) => Outcome::Refused(now),
                    _ => Outcome::Rejected,
                });
                if answers.len() == waiting.len() {
                    self.answered(&waiting, &answers);
                    waiting.clear();
                    answers.clear();
                }
            } else {
                self.shared.note(format!("{}: unexpected frame {frame}", self.profile.name));
            }
        }
    }

    /// A refusal may overtake the answer to an earlier message, so that in a burst only equal answers say what became of which.
    fn answered(&self, waiting: &[usize], answers: &[Outcome]) {
        let are_equal = answers
            .windows(2)
            .all(|pair| std::mem::discriminant(&pair[0]) == std::mem::discriminant(&pair[1]));
        for (index, answer) in waiting.iter().zip(answers) {
            let answer = if are_equal { *answer } else { Outcome::Unknown };
            self.shared.answered(*index, answer);
        }
    }

    fn pusher(&mut self, user: u64, channels: &[String], random: &mut Random) -> Stop {
        let mut wanted: BTreeMap<String, Membership> =
            channels.iter().map(|channel| (channel.clone(), Membership::Off(Instant::now()))).collect();
        let mut due = Instant::now();
        loop {
            if self.is_ordered_away() {
                return Stop::Ordered;
            }
            let leaves = self.shared.orders(self.page).leaves;
            for (channel, membership) in &mut wanted {
                let is_on = leaves.as_ref() != Some(channel);
                let request = match membership {
                    Membership::Off(when) if is_on && Instant::now() >= *when => {
                        *membership = Membership::Asked;
                        self.subscription(channel, user)
                    }
                    Membership::On { .. } if !is_on => {
                        *membership = Membership::Off(Instant::now());
                        self.shared.event(self.connection, channel, What::Left);
                        json!({ "event": "pusher:unsubscribe", "data": { "channel": channel } })
                    }
                    _ => continue,
                };
                if let Err(stop) = self.send(&request) {
                    return stop;
                }
            }
            let channel = &channels[0];
            let is_on = matches!(wanted.get(channel), Some(Membership::On { .. }));
            if is_on && self.profile.publisher.is_some() && Instant::now() >= due && self.may_publish() {
                let sent = self.sent(Route::ClientEvent, channel, true);
                let event = json!({ "event": "client-e", "channel": channel, "data": sent.id.to_string() });
                self.shared.sent(sent);
                if let Err(stop) = self.send(&event) {
                    return stop;
                }
                due = Instant::now() + Duration::from_millis(random.between(150, 400));
            }
            match self.read() {
                Ok(Some(frame)) => self.pusher_frame(&frame, &mut wanted),
                Ok(None) => {}
                Err(stop) => return stop,
            }
        }
    }

    fn pusher_frame(&self, frame: &Value, wanted: &mut BTreeMap<String, Membership>) {
        let (event, channel) = (frame["event"].as_str().unwrap_or_default(), frame["channel"].as_str());
        let channel = channel.unwrap_or_default();
        let data = || frame["data"].as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
        let user = |data: Option<Value>| data.and_then(|data| data["user_id"].as_str()?.parse().ok());
        match event {
            "pusher_internal:subscription_succeeded" => {
                let ids = data().and_then(|data| data["presence"]["ids"].as_array().cloned());
                let members = ids.map(|ids| ids.iter().filter_map(|id| id.as_str()?.parse().ok()).collect());
                self.shared.event(self.connection, channel, What::Joined(members));
                let awaits_replay = channel.starts_with("cache-");
                wanted.insert(channel.to_owned(), Membership::On { awaits_replay });
            }
            "pusher:subscription_error" => {
                if data().is_some_and(|data| data["status"] != 503) {
                    self.shared.note(format!("{}: {frame}", self.profile.name));
                }
                let again = Instant::now() + Duration::from_millis(300);
                wanted.insert(channel.to_owned(), Membership::Off(again));
            }
            "pusher_internal:member_added" => {
                if let Some(user) = user(data()) {
                    self.shared.event(self.connection, channel, What::Added(user));
                }
            }
            "pusher_internal:member_removed" => {
                if let Some(user) = user(data()) {
                    self.shared.event(self.connection, channel, What::Removed(user));
                }
            }
            "E" | "client-e" | "pusher:cache_miss" => {
                let mut is_replay = false;
                if let Some(Membership::On { awaits_replay }) = wanted.get_mut(channel) {
                    is_replay = std::mem::take(awaits_replay);
                }
                if event != "pusher:cache_miss" {
                    let text = data().and_then(|data| data.as_str().map(str::to_owned));
                    let text = text.or_else(|| frame["data"].as_str().map(str::to_owned));
                    self.received(channel, text.as_deref().and_then(MessageId::parse), is_replay);
                }
            }
            // Client events are refused while Redis is away.
            "pusher:ping" | "pusher:pong" | "pusher:error" => {}
            _ => self.shared.note(format!("{}: unexpected frame {frame}", self.profile.name)),
        }
    }

    fn subscription(&self, channel: &str, user: u64) -> Value {
        let socket_id = self.shared.history().connections[self.connection].socket_id.clone();
        let mut signed = format!("{}:{channel}", socket_id.unwrap_or_default());
        let mut data = json!({ "channel": channel });
        if channel.starts_with("presence-") {
            let member = json!({ "user_id": user.to_string() }).to_string();
            signed.push(':');
            signed.push_str(&member);
            data["channel_data"] = member.into();
        }
        data["auth"] = format!("page:{}", page::sign(page::SECRET, &signed)).into();
        json!({ "event": "pusher:subscribe", "data": data })
    }

    fn sent(&mut self, route: Route, channel: &str, is_valid: bool) -> Sent {
        *self.number += 1;
        Sent {
            id: MessageId { publisher: self.profile.publisher.unwrap_or_default(), number: *self.number },
            route,
            node: Some(self.shared.history().connections[self.connection].node),
            connection: Some(self.connection),
            channels: vec![channel.to_owned()],
            except: (route == Route::ClientEvent).then_some(self.connection),
            at: self.shared.now(),
            outcome: if is_valid { Outcome::Unknown } else { Outcome::Rejected },
        }
    }

    fn received(&self, channel: &str, id: Option<MessageId>, is_replay: bool) {
        match id {
            Some(id) if is_replay => self.shared.event(self.connection, channel, What::Replayed(id)),
            Some(id) => self.shared.event(self.connection, channel, What::Delivered(id)),
            None => self.shared.note(format!("{}: a message that no client sends", self.profile.name)),
        }
    }

    fn may_publish(&self) -> bool {
        self.profile.publisher.is_some() && self.shared.may_publish()
    }

    fn is_ordered_away(&self) -> bool {
        self.shared.is_over() || self.shared.orders(self.page).departures != self.departures
    }

    fn send(&mut self, value: &Value) -> Result<(), Stop> {
        self.socket.send(Message::text(value.to_string())).map_err(|error| Stop::Ended(error.to_string()))
    }

    /// The next text message; nothing if none comes within a moment.
    fn read(&mut self) -> Result<Option<Value>, Stop> {
        let _ = self.socket.get_ref().set_read_timeout(Some(Duration::from_millis(25)));
        let read = self.socket.read();
        let _ = self.socket.get_ref().set_read_timeout(Some(Duration::from_secs(3)));
        match read {
            Ok(Message::Text(text)) => Ok(serde_json::from_str(&text).ok()),
            Ok(Message::Close(frame)) => Err(Stop::Ended(format!("{frame:?}"))),
            Ok(_) => Ok(None),
            Err(Error::Io(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(error) => Err(Stop::Ended(error.to_string())),
        }
    }
}

/// Whether a page is on a channel.
enum Membership {
    /// To be asked for from this time on.
    Off(Instant),
    Asked,
    On {
        awaits_replay: bool,
    },
}
