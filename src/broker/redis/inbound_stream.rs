use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::desired_topics::DesiredTopics;
use super::fences::Fences;
use super::ingest::{DecodedMessage, PlainIntake};
use super::publish_queue::{OwnCopy, PublishQueue};
use super::store_state::SeenStore;
use super::topic_names::TopicNames;
use crate::broker::budget::Budget;
use crate::broker::envelope::{self, Decoded, InvalidPayload};
use crate::broker::{Inbound, SubscriptionId};
use crate::message::{ChannelName, Dispatch, Sender};
use crate::telemetry::{MessageTimes, Metrics, Reason, TailEvent, TailKind};

/// Turns messages from Redis into the inbound stream. Outlives the connections.
pub(super) struct InboundStream {
    pub(super) queue: Arc<PublishQueue>,
    pub(super) names: Arc<TopicNames>,
    pub(super) topics: Arc<DesiredTopics>,
    pub(super) fences: Arc<Fences>,
    pub(super) seen: Arc<SeenStore>,
    pub(super) sender_default: Sender,
    pub(super) budget: Budget,
    pub(super) inbound: mpsc::UnboundedSender<Inbound>,
    /// Takes what is published without a number for channels with a history. `None`: no channel has one.
    pub(super) intake: Option<Arc<PlainIntake>>,
    /// There was a connection before.
    pub(super) has_subscribed: bool,
    pub(super) metrics: Arc<Metrics>,
}

impl InboundStream {
    /// A connection has been subscribed. Every one but the first follows an interruption.
    pub(super) fn on_connected(&mut self) {
        if std::mem::replace(&mut self.has_subscribed, true) {
            self.send(Inbound::Resumed);
        } else if self.intake.is_some() {
            self.send(Inbound::Connected);
        }
        self.fences.on_connected();
        if let Some(intake) = &self.intake {
            intake.on_connected();
        }
    }

    /// The connection is subscribed to all topics.
    pub(super) fn on_ready(&self) {
        if let Some(intake) = &self.intake {
            intake.on_ready();
        }
    }

    /// Passes fences on, once everything that Redis had published before them has been passed on.
    pub(super) fn on_fence(&self, number: Option<u64>) {
        for handled in number.map(|number| self.fences.take(number)).into_iter().flatten() {
            self.send(Inbound::Fence(handled));
        }
    }

    /// Passes completed subscriptions on: what is read from the connection after this was published later.
    pub(super) fn on_subscribed(&self, subscriptions: Vec<SubscriptionId>) {
        for subscription in subscriptions {
            self.send(Inbound::Subscribed(subscription));
        }
    }

    /// Delivers a message. Returns whether it had to wait for the queue budget; meanwhile nothing is read from Redis, so
    /// that nothing is dropped.
    pub(super) async fn on_message(&self, channel: &[u8], payload: Bytes, arrived: Instant) -> bool {
        let has_runs = *channel == *self.names.events || *channel == *self.names.signals;
        if !has_runs || !envelope::is_run(&payload) {
            let decoded = self.decode(channel, payload.clone());
            return self.on_decoded(channel, &payload, decoded, arrived).await;
        }
        match envelope::split_run(&payload) {
            Ok(run) => {
                let mut has_waited = false;
                for (message, stored) in run {
                    let decoded = self.decode(channel, message.clone());
                    let decoded = decoded.map(|one| one.map(|one| Decoded { stored: Some(stored), ..one }));
                    has_waited |= self.on_decoded(channel, &message, decoded, arrived).await;
                }
                has_waited
            }
            Err(error) => self.on_decoded(channel, &payload, Err(error.into()), arrived).await,
        }
    }

    async fn on_decoded(
        &self,
        channel: &[u8],
        payload: &Bytes,
        mut decoded: DecodedMessage,
        arrived: Instant,
    ) -> bool {
        let decoded = match &self.intake {
            None => {
                if let Ok(Some(Decoded { plain: Some(_), stored: Some(stored), .. })) = &mut decoded {
                    stored.is_plain_copy = true;
                }
                decoded
            }
            Some(intake) => match intake.receive(channel, payload, decoded) {
                Some(decoded) => decoded,
                None => return intake.wait_for_room().await,
            },
        };
        let Decoded { dispatch, seq, stored, .. } = match decoded {
            Ok(Some(decoded)) => decoded,
            Ok(None) => return false,
            Err(InvalidPayload { error, channel: of }) => {
                self.drop_message(error.reason(), channel, of.as_ref());
                return false;
            }
        };
        // This calls the receipt, before the sender's own copy is delivered.
        let position = stored.as_ref().and_then(|stored| Some(stored.positions.first()?.1));
        let own_copy = seq.map(|seq| self.queue.on_copy(seq, position));
        if let Some(OwnCopy::Discard) = own_copy {
            let of = if let Dispatch::Event(event) = &dispatch { Some(&event.channel) } else { None };
            self.drop_message("refused", channel, of);
            return false;
        }
        if let Some(stored) = &stored {
            self.seen.on_stored(stored);
        }
        self.metrics.broker_messages.inc();
        let (permit, has_waited) = match self.budget.try_take(&dispatch) {
            Some(permit) => (Some(permit), false),
            None => (self.budget.take(&dispatch).await, true),
        };
        if let Some(permit) = permit {
            let accepted = own_copy.and_then(OwnCopy::accepted);
            let times = MessageTimes { accepted, arrived };
            self.send(Inbound::Dispatch { dispatch, stored, permit, times });
        }
        has_waited
    }

    /// The contents of a message. `None` for a topic that was unsubscribed while the message was under way.
    fn decode(&self, channel: &[u8], payload: Bytes) -> DecodedMessage {
        if *channel == *self.names.events {
            return envelope::decode_event(&payload, &self.queue.node, &self.sender_default).map(Some);
        }
        if *channel == *self.names.signals {
            return envelope::decode_signal(&payload, &self.queue.node).map(Some);
        }
        let topic = self.names.topic(channel).and_then(|topic| self.topics.find(topic));
        let dispatch = topic.map(|topic| Dispatch::Topic { topic, payload });
        Ok(dispatch.map(|dispatch| Decoded { dispatch, seq: None, stored: None, plain: None }))
    }

    fn drop_message(&self, reason: &'static str, topic: &[u8], channel: Option<&ChannelName>) {
        self.metrics.broker_dropped.get_or_create(&Reason::new(reason)).inc();
        self.metrics.tail.tell(|| TailEvent {
            kind: TailKind::Dropped,
            channel: channel.map(|channel| channel.as_str().into()),
            reason: Some(reason.into()),
            ..TailEvent::default()
        });
        let (topic, channel) = (String::from_utf8_lossy(topic), channel.map(ChannelName::as_str));
        tracing::warn!(channel, topic = &*topic, reason, "dropped a message from Redis");
    }

    fn send(&self, inbound: Inbound) {
        // Fails only while the node shuts down.
        let _ = self.inbound.send(inbound);
    }
}
