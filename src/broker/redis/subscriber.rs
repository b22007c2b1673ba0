use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::{ServerErrorKind, Value, cmd};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::HEARTBEAT;
use super::drops::Drops;
use super::link::{Link, Trouble};
use super::names::Names;
use super::outgoing::{Copy, Outgoing};
use super::subscription::Subscription;
use super::topics::Topics;
use crate::broker::budget::Budget;
use crate::broker::envelope::{self, Invalid};
use crate::broker::{Inbound, Listening};
use crate::message::{Dispatch, Sender};
use crate::telemetry::Metrics;

/// Where messages go that arrive. It outlives the connections.
pub(super) struct Delivery {
    pub(super) outgoing: Arc<Outgoing>,
    pub(super) names: Arc<Names>,
    pub(super) topics: Arc<Topics>,
    pub(super) sender_default: Sender,
    pub(super) budget: Budget,
    pub(super) inbound: mpsc::UnboundedSender<Inbound>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) drops: Drops,
}

/// Subscribes the topics of the nodes themselves; the answers confirm it.
pub(super) async fn subscribe(link: &mut Link, names: &Names) -> Result<(), Trouble> {
    let command = cmd("SUBSCRIBE").arg(&names.events[..]).arg(&names.signals[..]).take();
    let first = link.ask("SUBSCRIBE", &command).await?;
    // One command, one execution: nothing can come between its two answers.
    let second = link.next("SUBSCRIBE").await?;
    for reply in [first, second] {
        let Value::Array(values) = reply else { return Err(Trouble::Unexpected("SUBSCRIBE")) };
        if !is(values.first(), b"subscribe") {
            return Err(Trouble::Unexpected("SUBSCRIBE"));
        }
    }
    Ok(())
}

/// Delivers what arrives and follows what is listened to, until the connection fails or is silent for longer
/// than `patience`. `ready` is called when all that is listened to at the beginning is subscribed.
pub(super) async fn run(
    link: &mut Link,
    delivery: &mut Delivery,
    patience: Duration,
    ready: impl Fn(),
) -> Trouble {
    let trouble = follow(link, delivery, patience, ready).await;
    delivery.topics.end();
    trouble
}

async fn follow(link: &mut Link, delivery: &mut Delivery, patience: Duration, ready: impl Fn()) -> Trouble {
    let topics = delivery.topics.clone();
    let mut subscription = Subscription::begin(&topics);
    let mut told_of_refusal = false;
    // Any reply counts as a sign of life. The timer is not moved for each: it looks back when it fires.
    let mut heard = true;
    let mut asked = false;
    let timer = sleep_until(Instant::now() + HEARTBEAT);
    tokio::pin!(timer);
    loop {
        if subscription.becomes_ready() {
            ready();
        }
        if subscription.write(link, &delivery.names)
            && let Err(trouble) = flush(link, "SUBSCRIBE", patience).await
        {
            return trouble;
        }
        tokio::select! {
            biased;
            // Before the replies, which a busy Redis sends without a pause.
            () = topics.changed.notified(), if subscription.is_idle() => {
                delivery.tell(subscription.look(&topics));
            }
            reply = link.read() => {
                match reply {
                    Ok(Value::Array(values)) => match Reply::read(values) {
                        // The time that was spent waiting for room says nothing of Redis.
                        Reply::Message { name, payload } => if delivery.take(&name, payload).await {
                            timer.as_mut().reset(Instant::now() + HEARTBEAT);
                        },
                        Reply::Answer => delivery.tell(subscription.answered(&topics)),
                        Reply::Pong => subscription.ponged(),
                        Reply::Other => {}
                    },
                    Ok(Value::ServerError(_)) if subscription.is_optional() => {
                        delivery.tell(subscription.refused(&topics));
                    }
                    // A topic of the application that this user may not read, or PING. The others go on.
                    Ok(Value::ServerError(error)) if error.kind() == Some(ServerErrorKind::NoPerm) => {
                        delivery.tell(subscription.refused(&topics));
                        if !std::mem::replace(&mut told_of_refusal, true) {
                            tracing::warn!(
                                "Redis does not permit all that the subscription needs (allow +subscribe +unsubscribe \
                                 +ping, and the topics under redis.prefix)"
                            );
                        }
                    }
                    Ok(Value::ServerError(error)) => return Trouble::refused("the subscription", &error),
                    Ok(_) => return Trouble::Unexpected("SUBSCRIBE"),
                    Err(trouble) => return trouble,
                }
                heard = true;
                asked = false;
            }
            () = &mut timer => {
                delivery.drops.flush();
                if asked {
                    return Trouble::Silent("PING");
                }
                let wait = if heard { HEARTBEAT } else {
                    link.write(&cmd("PING"));
                    subscription.pinged();
                    if let Err(trouble) = flush(link, "PING", patience).await {
                        return trouble;
                    }
                    asked = true;
                    patience
                };
                heard = false;
                timer.as_mut().reset(Instant::now() + wait);
            }
        }
    }
}

async fn flush(link: &mut Link, what: &'static str, patience: Duration) -> Result<(), Trouble> {
    timeout(patience, link.flush()).await.unwrap_or(Err(Trouble::Silent(what)))
}

impl Delivery {
    /// What is read after this was published later.
    fn tell(&self, confirmed: Vec<Listening>) {
        for listening in confirmed {
            // Without a receiver the node is going down.
            let _ = self.inbound.send(Inbound::Listening(listening));
        }
    }

    /// Says whether it had to wait for room: then Redis is held back too, and nothing is dropped.
    async fn take(&mut self, name: &[u8], payload: Bytes) -> bool {
        let (dispatch, seq) = match self.read(name, payload) {
            Ok(Some(read)) => read,
            Ok(None) => return false,
            Err(invalid) => {
                self.drops.add(invalid.word(), &self.metrics);
                return false;
            }
        };
        // The receipt first: the sender's acknowledgement precedes its own copy.
        if seq.is_some_and(|seq| self.outgoing.arrived(seq) == Copy::Refused) {
            self.drops.add("refused", &self.metrics);
            return false;
        }
        self.metrics.broker_messages.inc();
        let (hold, waited) = match self.budget.try_take(&dispatch) {
            Some(hold) => (Some(hold), false),
            None => (self.budget.take(&dispatch).await, true),
        };
        if let Some(hold) = hold {
            // Without a receiver the node is going down, and nobody is left to deliver to.
            let _ = self.inbound.send(Inbound::Dispatch { dispatch, hold });
        }
        waited
    }

    /// What arrived, with its number if this node published it. `None` for a topic that is not listened to any
    /// more: what was under way when that was told.
    fn read(&self, name: &[u8], payload: Bytes) -> Result<Option<(Dispatch, Option<u64>)>, Invalid> {
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
