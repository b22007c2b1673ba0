use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::{ServerErrorKind, Value, cmd};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::health::{Health, Role};
use super::link::{Link, READ_FIRST, STEP, Trouble, within, words};
use super::names::Names;
use super::outgoing::{Copy, Outgoing};
use super::pulse::{Beat, Pulse, TICK};
use super::subscription::Subscription;
use super::target::Target;
use super::topics::Topics;
use crate::broker::budget::Budget;
use crate::broker::envelope::{self, Dropped};
use crate::broker::{Inbound, SubscriptionId};
use crate::message::{ChannelName, Dispatch, Sender};
use crate::telemetry::{Metrics, Reason};

/// How long a silent connection is still listened to when another one is subscribed.
const LAST_WORD: Duration = Duration::from_millis(100);
/// A timer that fires so late was held up together with the whole process.
const LATE: Duration = Duration::from_millis(100);

/// Where messages go that arrive. It outlives the connections.
pub(super) struct Delivery {
    pub(super) outgoing: Arc<Outgoing>,
    pub(super) names: Arc<Names>,
    pub(super) topics: Arc<Topics>,
    pub(super) sender_default: Sender,
    pub(super) budget: Budget,
    pub(super) inbound: mpsc::UnboundedSender<Inbound>,
    /// There was a connection before.
    pub(super) has_subscribed: bool,
    pub(super) metrics: Arc<Metrics>,
}

/// Why a subscribed connection is no longer used.
pub(super) struct Lost {
    pub(super) trouble: Trouble,
    /// The connection that takes its place at once.
    pub(super) replacement: Option<Link>,
}

impl From<Trouble> for Lost {
    fn from(trouble: Trouble) -> Self {
        Self { trouble, replacement: None }
    }
}

/// A connection that is being opened and subscribed.
pub(super) type Opening<'o> = Pin<Box<dyn Future<Output = Result<Link, Trouble>> + Send + 'o>>;

/// Opens a connection and subscribes the topics of the nodes themselves; the answers confirm it.
pub(super) async fn open(target: &Target, names: &Names) -> Result<Link, Trouble> {
    let mut link = Link::open(target).await?;
    link.write(cmd("SUBSCRIBE").arg(&names.events[..]).arg(&names.signals[..]));
    flush(&mut link, "SUBSCRIBE", STEP).await?;
    // One command, one execution: nothing can come between its two answers.
    for _ in 0..2 {
        let reply = link.next_reply("SUBSCRIBE").await?;
        let reply = reply.map_err(|error| Trouble::Denied("SUBSCRIBE", words(&error), names.both()))?;
        let Value::Array(values) = reply else { return Err(Trouble::Unexpected("SUBSCRIBE")) };
        if !is(values.first(), b"subscribe") {
            return Err(Trouble::Unexpected("SUBSCRIBE"));
        }
    }
    Ok(link)
}

/// Delivers what arrives and follows what is listened to, until the connection fails, or is silent while another one gets
/// through: `open` opens that. `health` is told when all that is listened to at the beginning is subscribed.
pub(super) async fn run<'o>(
    link: &mut Link,
    delivery: &mut Delivery,
    health: &Health,
    patience: Duration,
    open: impl Fn() -> Opening<'o>,
) -> Lost {
    if std::mem::replace(&mut delivery.has_subscribed, true) {
        // Without a receiver the node is going down.
        let _ = delivery.inbound.send(Inbound::Resumed);
    }
    let lost = follow(link, delivery, health, patience, open).await;
    delivery.topics.end();
    lost
}

async fn follow<'o>(
    link: &mut Link,
    delivery: &mut Delivery,
    health: &Health,
    patience: Duration,
    open: impl Fn() -> Opening<'o>,
) -> Lost {
    let topics = delivery.topics.clone();
    let mut subscription = Subscription::begin(&topics);
    let mut pulse = Pulse::new(patience);
    let mut standby = Standby::None;
    // It is not moved for each reply: the pulse looks back when it fires.
    let timer = sleep_until(Instant::now() + TICK);
    tokio::pin!(timer);
    loop {
        if subscription.becomes_ready() {
            health.up(Role::Subscriber);
        }
        if subscription.write(link, &delivery.names)
            && let Err(trouble) = flush(link, "SUBSCRIBE", patience).await
        {
            return trouble.into();
        }
        tokio::select! {
            biased;
            // Before the replies, which a busy Redis sends without a pause.
            () = topics.changed.notified(), if subscription.is_idle() => {
                delivery.tell(subscription.look(&topics));
            }
            reply = link.read() => {
                let waited = match reply {
                    Ok(reply) => delivery.read(reply, &mut subscription).await,
                    Err(trouble) => Err(trouble),
                };
                match waited {
                    // The time that was spent waiting for room says nothing of Redis.
                    Ok(true) => timer.as_mut().reset(Instant::now() + TICK),
                    Ok(false) => {}
                    Err(trouble) => return trouble.into(),
                }
                if pulse.heard() {
                    standby = Standby::None;
                    health.answers(Role::Subscriber);
                    if subscription.is_ready() {
                        health.up(Role::Subscriber);
                    }
                }
            }
            opened = standby.opened() => match opened {
                Ok(link) => {
                    standby = Standby::Open(link);
                    timer.as_mut().reset(Instant::now() + LAST_WORD);
                }
                // The next tick tries again.
                Err(_) => standby = Standby::None,
            },
            () = &mut timer => {
                let now = Instant::now();
                if now.duration_since(timer.deadline()) > LATE {
                    // The process stood still: what has come meanwhile is read first.
                    timer.as_mut().reset(now + READ_FIRST);
                    continue;
                }
                timer.as_mut().reset(now + TICK);
                if let Standby::Open(link) = standby {
                    return Lost { trouble: Trouble::Silent("PING"), replacement: Some(link) };
                }
                match pulse.tick(now) {
                    Beat::Nothing => {}
                    Beat::Ask => {
                        link.write(&cmd("PING"));
                        subscription.pinged();
                        if let Err(trouble) = flush(link, "PING", patience).await {
                            return trouble.into();
                        }
                    }
                    Beat::Silent => health.silent(Role::Subscriber, "PING"),
                    Beat::Lost => health.down(Role::Subscriber, &Trouble::Silent("PING").to_string()),
                }
                if pulse.is_silent() && matches!(standby, Standby::None) {
                    standby = Standby::Opening(open());
                }
            }
        }
    }
}

/// A second connection, looked for while the first one is silent. The first one is kept until this one is subscribed, and
/// for a [`LAST_WORD`] longer: if it was Redis that paused, its replies come first, and nothing was missed.
enum Standby<'o> {
    None,
    Opening(Opening<'o>),
    Open(Link),
}

impl Standby<'_> {
    /// Ready when it has been opened, which it says once.
    async fn opened(&mut self) -> Result<Link, Trouble> {
        match self {
            Self::Opening(opening) => opening.await,
            Self::None | Self::Open(_) => std::future::pending().await,
        }
    }
}

async fn flush(link: &mut Link, what: &'static str, patience: Duration) -> Result<(), Trouble> {
    within(patience, link.flush()).await.unwrap_or(Err(Trouble::Silent(what)))
}

impl Delivery {
    /// Takes a reply. Whether it had to wait for room.
    async fn read(&mut self, reply: Value, subscription: &mut Subscription) -> Result<bool, Trouble> {
        let topics = self.topics.clone();
        match reply {
            Value::Array(values) => match Reply::read(values) {
                Reply::Message { name, payload } => return Ok(self.take(&name, payload).await),
                Reply::Answer => self.tell(subscription.answered(&topics)),
                Reply::Pong => subscription.ponged(),
                Reply::Other => {}
            },
            // A topic of the application that this user may not read, or PING. The others go on.
            Value::ServerError(error)
                if subscription.is_optional() || error.kind() == Some(ServerErrorKind::NoPerm) =>
            {
                self.tell(subscription.refused(&topics, &error));
            }
            Value::ServerError(error) => return Err(Trouble::refused("the subscription", &error)),
            _ => return Err(Trouble::Unexpected("SUBSCRIBE")),
        }
        Ok(false)
    }

    /// What is read after this was published later.
    fn tell(&self, confirmed: Vec<SubscriptionId>) {
        for listening in confirmed {
            // Without a receiver the node is going down.
            let _ = self.inbound.send(Inbound::Subscribed(listening));
        }
    }

    /// Says whether it had to wait for room: then Redis is held back too, and nothing is dropped.
    async fn take(&mut self, name: &[u8], payload: Bytes) -> bool {
        let (dispatch, seq) = match self.decode(name, payload) {
            Ok(Some(read)) => read,
            Ok(None) => return false,
            Err(Dropped { why, channel }) => {
                self.dropped(why.word(), name, channel.as_ref());
                return false;
            }
        };
        // The receipt first: the sender's acknowledgement precedes its own copy.
        if seq.is_some_and(|seq| self.outgoing.arrived(seq) == Copy::Refused) {
            let channel = if let Dispatch::Event(event) = &dispatch { Some(&event.channel) } else { None };
            self.dropped("refused", name, channel);
            return false;
        }
        self.metrics.broker_messages.inc();
        let (permit, waited) = match self.budget.try_take(&dispatch) {
            Some(permit) => (Some(permit), false),
            None => (self.budget.take(&dispatch).await, true),
        };
        if let Some(permit) = permit {
            // Without a receiver the node is going down, and nobody is left to deliver to.
            let _ = self.inbound.send(Inbound::Dispatch { dispatch, permit });
        }
        waited
    }

    fn dropped(&self, reason: &'static str, topic: &[u8], channel: Option<&ChannelName>) {
        self.metrics.broker_dropped.get_or_create(&Reason::new(reason)).inc();
        let (topic, channel) = (String::from_utf8_lossy(topic), channel.map(ChannelName::as_str));
        tracing::warn!(channel, topic = &*topic, reason, "dropped a message from Redis");
    }

    /// What arrived, with its number if this node published it. `None` for a topic that is not listened to any
    /// more: what was under way when that was told.
    fn decode(&self, name: &[u8], payload: Bytes) -> Result<Option<(Dispatch, Option<u64>)>, Dropped> {
        if *name == *self.names.events {
            return envelope::decode_event(&payload, &self.outgoing.node, &self.sender_default).map(Some);
        }
        if *name == *self.names.signals {
            return envelope::decode_signal(&payload, &self.outgoing.node).map(Some);
        }
        let topic = self.names.topic(name).and_then(|topic| self.topics.find(topic));
        Ok(topic.map(|topic| (Dispatch::Topic { topic, payload }, None)))
    }
}

/// What a subscribed connection hears.
enum Reply {
    Message {
        name: Vec<u8>,
        payload: Bytes,
    },
    /// To SUBSCRIBE, UNSUBSCRIBE or PSUBSCRIBE.
    Answer,
    Pong,
    Other,
}

impl Reply {
    fn read(values: Vec<Value>) -> Self {
        let answers: [&[u8]; 3] = [b"subscribe", b"unsubscribe", b"psubscribe"];
        if answers.iter().any(|word| is(values.first(), word)) {
            return Self::Answer;
        }
        if is(values.first(), b"pong") {
            return Self::Pong;
        }
        let before = match values.first() {
            first if is(first, b"message") => 1,
            // The pattern stands before the name.
            first if is(first, b"pmessage") => 2,
            _ => return Self::Other,
        };
        let mut rest = values.into_iter().skip(before);
        match (rest.next(), rest.next()) {
            (Some(Value::BulkString(name)), Some(Value::BulkString(payload))) => {
                Self::Message { name, payload: payload.into() }
            }
            _ => Self::Other,
        }
    }
}

fn is(value: Option<&Value>, word: &[u8]) -> bool {
    matches!(value, Some(Value::BulkString(text)) if text == word)
}
