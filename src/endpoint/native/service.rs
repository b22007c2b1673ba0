use std::sync::Arc;

use super::reply::Reply;
use crate::auth::Authenticator;
use crate::broker::{Broker, PublishError};
use crate::channels::Histories;
use crate::message::{Event, Position, Publication};
use crate::protocol::native::{Native, RejectReason};
use crate::transport::EndpointContext;
use crate::webhooks::{Gates, NativeEventKind, NativeEvents};

/// What all connections of the native protocol share.
#[derive(Debug)]
pub struct NativeService {
    pub context: Arc<EndpointContext>,
    pub native: Arc<Native>,
    pub broker: Arc<Broker>,
    pub histories: Arc<Histories>,
    pub authenticator: Arc<Authenticator>,
    pub close_on_expiry: bool,
    pub gates: Gates,
    /// If the application wants to be told of anything.
    pub events: Option<Arc<NativeEvents>>,
}

impl NativeService {
    /// Publishes a message of a client, and answers it when the broker has.
    pub(super) fn publish(&self, event: Event, reply: Reply) {
        let key = reply.message_ref().map(|found| found.idempotency_key(&event.channel, &event.sender));
        let reported = self.events.as_ref().and_then(|events| {
            events.wants(NativeEventKind::Message, &event.channel).then(|| (events.clone(), event.clone()))
        });
        let mut publication = Publication::from(event);
        publication.idempotency_key = key;
        let receipt = move |published: Result<Option<Position>, PublishError>| {
            if let (Some((events, event)), Ok(position)) = (reported, &published) {
                events.message(&event, *position);
            }
            reply.acknowledge(published.map(drop).map_err(|_| RejectReason::Unavailable));
        };
        self.broker.publish(publication, Box::new(receipt));
    }
}
