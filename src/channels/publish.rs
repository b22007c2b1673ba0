use std::future::Future;
use std::sync::Arc;

use super::Channels;
use super::wire::{ClusterMessage, EventMessage};
use crate::broker::PublishError;
use crate::cluster::encode;
use crate::message::{Broadcast, ChannelName, Dispatch, Position, Publication, Retained, UserId};
use crate::telemetry::{Span, SpanKind};
use crate::webhooks::WebhookEvent;

/// The signal that delivers an event on all nodes, whichever node publishes it. Equal events have equal signals.
#[must_use]
pub fn event_signal(event: &Broadcast) -> Dispatch {
    Dispatch::Signal(encode(&"".into(), 0, &EventMessage::Event(event)))
}

impl Channels {
    /// Sends an event to the subscribers of its channels on all nodes, all or nothing. Completes when the broker has accepted it, with
    /// the position in the history of the first channel that has one.
    ///
    /// If an event of the same app with the same idempotency key was published within the last five minutes, it has no further
    /// effect.
    pub fn broadcast(
        &self,
        event: &Broadcast,
        idempotency_key: Option<&str>,
    ) -> impl Future<Output = Result<Option<Position>, PublishError>> + Send + use<> {
        let tracer = self.metrics.tracer();
        let span = tracer.child(SpanKind::Producer, "publish", event.trace.as_deref());
        let (mut publication, span) = self.encode_traced(event, span);
        publication.idempotency_key = idempotency_key.map(|key| scoped_key(&event.app, key));
        let accepted = self.broker.publish_and_wait(publication);
        async move {
            let result = accepted.await;
            Span::end(span, result.as_ref().err());
            result
        }
    }

    /// Publishes a client event to all subscribers except its sender, and queues its webhook if the broker accepts it. `answer`
    /// is called first, exactly once.
    pub fn publish_client_event(
        self: &Arc<Self>,
        event: Broadcast,
        answer: impl FnOnce(Result<(), PublishError>) + Send + 'static,
    ) {
        let span = self.metrics.tracer().root(SpanKind::Producer, "publish");
        let trace = span.as_ref().map(|span| Box::new(span.context()));
        let (signal, span) = self.encode_traced(&event, span);
        let channels = self.clone();
        let receipt = move |result: Result<_, PublishError>| {
            let result = result.map(drop);
            Span::end(span, result.as_ref().err());
            answer(result);
            let Broadcast { app, channels: names, event, data, except, user_id, .. } = event;
            if let (Ok(()), Some(channel), Some(socket_id)) = (result, names.into_iter().next(), except) {
                let event = WebhookEvent::ClientEvent { channel, event, data, socket_id, user_id, trace };
                channels.webhooks.push(&app, &event);
            }
        };
        self.broker.publish(signal, Box::new(receipt));
    }

    /// Ends all connections of an app that are signed in as a user, on all nodes. Completes when the broker has accepted it.
    pub fn terminate(
        &self,
        app: &Arc<str>,
        user: &UserId,
    ) -> impl Future<Output = Result<(), PublishError>> + Send + use<> {
        self.send(&ClusterMessage::Terminate { app: app.clone(), user: user.clone() })
    }

    /// The event as it is published, as a part of the span of its publication, if there is one.
    fn encode_traced(&self, event: &Broadcast, span: Option<Span>) -> (Publication, Option<Span>) {
        let Some(mut span) = span else { return (self.encode_event(event), None) };
        describe(event, &mut span);
        let trace = Some(Box::new(span.context()));
        (self.encode_event(&Broadcast { trace, ..event.clone() }), Some(span))
    }

    fn encode_event(&self, event: &Broadcast) -> Publication {
        let dispatch = Dispatch::Signal(encode(&self.node, self.since, &EventMessage::Event(event)));
        let retained = if self.histories.is_on() { self.retained(event) } else { Vec::new() };
        Publication { dispatch, retained, idempotency_key: None }
    }

    /// The channels of an event that have a history.
    fn retained(&self, event: &Broadcast) -> Vec<Retained> {
        let scoped = event.channels.iter().map(|channel| ChannelName::scoped(&event.app, channel.as_str()));
        let retained = (0..).zip(scoped).filter_map(|(index, channel)| {
            let retention = self.histories.retention(&channel)?;
            Some(Retained { index, channel, retention })
        });
        retained.collect()
    }
}

/// Says in the span of an event where it goes.
pub(super) fn describe(event: &Broadcast, span: &mut Span) {
    span.set("yamabiko.app", &*event.app);
    span.set_channel(event.channels.first().map_or("", ChannelName::as_str));
    if event.channels.len() > 1 {
        span.set_number("yamabiko.channels", event.channels.len());
    }
}

/// With the length of the app, no two apps have the same key.
fn scoped_key(app: &str, key: &str) -> Arc<str> {
    format!("app:{}:{app}{key}", app.len()).into()
}
