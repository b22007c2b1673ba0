use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use super::gate_queues::GateQueues;
use super::reply::Answer;
use super::silent_presence::SilentPresence;
use crate::auth::Authenticator;
use crate::broker::{Broker, PublishError};
use crate::channels::{Channels, Histories};
use crate::message::{ChannelName, Event, Position, Publication, Sender};
use crate::protocol::native::{ChannelsSettings, MessageRef, Native, RejectReason};
use crate::telemetry::{Span, SpanKind};
use crate::transport::EndpointContext;
use crate::webhooks::{EventsSettings, Gate, Gates, NativeEventKind, NativeEvents};

/// What all connections of the native protocol share.
#[derive(Debug)]
pub struct NativeService {
    pub context: Arc<EndpointContext>,
    pub native: Arc<Native>,
    pub broker: Arc<Broker>,
    pub channels: Arc<Channels>,
    pub histories: Arc<Histories>,
    pub authenticator: Arc<Authenticator>,
    pub close_on_expiry: bool,
    /// `None`: no kind has a gate.
    pub gates: ArcSwapOption<Gates>,
    /// If the application wants to be told of anything.
    pub events: ArcSwapOption<NativeEvents>,
    pub silent_presence: Arc<SilentPresence>,
    pub gate_queues: Arc<GateQueues>,
}

impl NativeService {
    /// Replaces the gates by those of the settings. `message_bytes` is the largest message of a client.
    pub fn set_gates(&self, channels: &ChannelsSettings, events: &EventsSettings, message_bytes: usize) {
        let before = self.gates.load();
        let metrics = &self.context.metrics;
        let gates = Gates::new(channels, events, message_bytes, &self.native, metrics, before.as_deref());
        self.gates.store(gates.map(Arc::new));
    }

    /// Whom to ask about the messages of clients on this channel.
    pub(super) fn gate(&self, channel: &ChannelName) -> Option<Arc<Gate>> {
        self.gates.load().as_ref()?.of(channel).cloned()
    }

    /// Reads a message of a client, and its `ref`, which only channels with a history know.
    pub(super) fn receive(
        &self,
        channel: &ChannelName,
        sender: &Sender,
        message: &Bytes,
    ) -> (Option<MessageRef>, Result<Event, RejectReason>) {
        if self.histories.is_on() && self.histories.retention(channel).is_some() {
            self.native.receive_with_ref(channel, sender, message)
        } else {
            (None, self.native.receive(channel, sender, message))
        }
    }

    /// Publishes a message of a client, and answers it when the broker has.
    pub(super) fn publish(&self, mut event: Event, answer: impl Answer) {
        let key = answer.message_ref().map(|found| found.idempotency_key(&event.channel, &event.sender));
        let span = self.trace(&mut event);
        let reported = self.events.load().as_ref().and_then(|events| {
            let is_wanted = events.wants(NativeEventKind::Message, &event.channel);
            // In a box, because it is moved with every receipt.
            is_wanted.then(|| Box::new((events.clone(), event.clone())))
        });
        let mut publication = Publication::from(event);
        publication.idempotency_key = key;
        let receipt = move |published: Result<Option<Position>, PublishError>| {
            if let (Some(reported), Ok(position)) = (reported, &published) {
                let (events, event) = *reported;
                events.message(&event, *position);
            }
            Span::end(span, published.as_ref().err());
            answer.acknowledge(published.map(drop).map_err(|_| RejectReason::Unavailable));
        };
        self.broker.publish(publication, Box::new(receipt));
    }

    /// Makes the message a part of a trace, if it is to be traced. Returns the span of its publication.
    fn trace(&self, event: &mut Event) -> Option<Span> {
        let tracer = self.context.metrics.tracer();
        let mut span = tracer.span(SpanKind::Producer, "publish", event.trace.as_deref())?;
        self.native.with_kind(&event.channel, |kind| span.set("yamabiko.kind", kind));
        span.set_channel(event.channel.as_str());
        event.trace = Some(Box::new(span.context()));
        Some(span)
    }
}
