use std::future::Future;
use std::sync::Arc;

use super::Channels;
use super::wire::{ClusterMessage, EventMessage};
use crate::broker::PublishError;
use crate::cluster::encode;
use crate::message::{Broadcast, ChannelName, Dispatch, Position, Publication, Retained, UserId};
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
        let mut publication = self.encode_event(event);
        publication.idempotency_key = idempotency_key.map(|key| scoped_key(&event.app, key));
        self.broker.publish_and_wait(publication)
    }

    /// Publishes a client event to all subscribers except its sender, and queues its webhook if the broker accepts it. `answer`
    /// is called first, exactly once.
    pub fn publish_client_event(
        self: &Arc<Self>,
        event: Broadcast,
        answer: impl FnOnce(Result<(), PublishError>) + Send + 'static,
    ) {
        let (channels, signal) = (self.clone(), self.encode_event(&event));
        let receipt = move |result: Result<_, PublishError>| {
            let result = result.map(drop);
            answer(result);
            let Broadcast { app, channels: names, event, data, except, user_id } = event;
            if let (Ok(()), Some(channel), Some(socket_id)) = (result, names.into_iter().next(), except) {
                let event = WebhookEvent::ClientEvent { channel, event, data, socket_id, user_id };
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

/// With the length of the app, no two apps have the same key.
fn scoped_key(app: &str, key: &str) -> Arc<str> {
    format!("app:{}:{app}{key}", app.len()).into()
}
