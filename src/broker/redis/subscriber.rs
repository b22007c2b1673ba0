use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use redis::{Value, cmd};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::HEARTBEAT;
use super::drops::Drops;
use super::link::{Link, Trouble};
use super::outgoing::{Copy, Outgoing};
use crate::broker::Inbound;
use crate::broker::budget::Budget;
use crate::broker::envelope;
use crate::message::Sender;
use crate::telemetry::Metrics;

/// Where events go that arrive. It outlives the connections.
pub(super) struct Delivery {
    pub(super) outgoing: Arc<Outgoing>,
    pub(super) sender_default: Sender,
    pub(super) budget: Budget,
    pub(super) inbound: mpsc::UnboundedSender<Inbound>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) drops: Drops,
}

/// Subscribes; the answer confirms it.
pub(super) async fn subscribe(link: &mut Link, topic: &[u8]) -> Result<(), Trouble> {
    match link.ask("SUBSCRIBE", cmd("SUBSCRIBE").arg(topic)).await? {
        Value::Array(values) if is(values.first(), b"subscribe") => Ok(()),
        _ => Err(Trouble::Unexpected("SUBSCRIBE")),
    }
}

/// Delivers what arrives, until the connection fails or is silent for longer than `patience`.
pub(super) async fn run(link: &mut Link, delivery: &mut Delivery, patience: Duration) -> Trouble {
    // Any reply counts as a sign of life. The timer is not moved for each: it looks back when it fires.
    let mut heard = true;
    let mut asked = false;
    let timer = sleep_until(Instant::now() + HEARTBEAT);
    tokio::pin!(timer);
    loop {
        tokio::select! {
            biased;
            reply = link.read() => {
                match reply {
                    Ok(Value::Array(values)) => {
                        if let Some(payload) = payload(values) && delivery.take(payload).await {
                            // The time that was spent waiting for room says nothing of Redis.
                            timer.as_mut().reset(Instant::now() + HEARTBEAT);
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
                    match tokio::time::timeout(patience, link.flush()).await {
                        Ok(Ok(())) => {}
                        Ok(Err(trouble)) => return trouble,
                        Err(_) => return Trouble::Silent("PING"),
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

impl Delivery {
    /// Says whether it had to wait for room: then Redis is held back too, and nothing is dropped.
    async fn take(&mut self, payload: Bytes) -> bool {
        let (event, seq) = match envelope::decode(&payload, &self.outgoing.node, &self.sender_default) {
            Ok(decoded) => decoded,
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
        let (hold, waited) = match self.budget.try_take(&event) {
            Some(hold) => (Some(hold), false),
            None => (self.budget.take(&event).await, true),
        };
        if let Some(hold) = hold {
            // Without a receiver the node is going down, and nobody is left to deliver to.
            let _ = self.inbound.send(Inbound { event, hold });
        }
        waited
    }
}

/// The payload of a message; a pong and the like have none.
fn payload(values: Vec<Value>) -> Option<Bytes> {
    if !is(values.first(), b"message") {
        return None;
    }
    match values.into_iter().nth(2) {
        Some(Value::BulkString(payload)) => Some(payload.into()),
        _ => None,
    }
}

fn is(value: Option<&Value>, word: &[u8]) -> bool {
    matches!(value, Some(Value::BulkString(text)) if text == word)
}
