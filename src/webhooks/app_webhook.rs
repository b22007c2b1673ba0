use std::sync::Arc;

use super::event::WebhookEvent;
use super::queue::is_guarded;
use super::webhook::Webhook;
use crate::message::AppEvent;
use crate::protocol::pusher::{EventKind, WebhookFilter, WebhookSettings};

/// A webhook of an app, and the events that it needs.
#[derive(Debug)]
pub(super) struct AppWebhook {
    webhook: Arc<Webhook>,
    wanted: Vec<EventKind>,
    filter: WebhookFilter,
}

impl AppWebhook {
    pub(super) fn new(webhook: Arc<Webhook>, settings: &WebhookSettings) -> Self {
        Self { webhook, wanted: settings.events.clone(), filter: settings.filter.clone() }
    }

    /// Queues an event, if the webhook needs it. `encoded` is the same event.
    pub(super) fn push(&self, event: &WebhookEvent, encoded: &AppEvent) {
        if self.needs(event) {
            self.webhook.push(encoded.clone(), !is_guarded(event.channel()));
        }
    }

    /// Whether it receives such events, or those of returns, which are none if the departure is not known.
    fn needs(&self, event: &WebhookEvent) -> bool {
        let is_wanted = |kind: EventKind| self.wanted.is_empty() || self.wanted.contains(&kind);
        self.filter.matches(event.channel())
            && (is_wanted(event.kind()) || opposite(event.kind()).is_some_and(is_wanted))
    }
}

fn opposite(kind: EventKind) -> Option<EventKind> {
    match kind {
        EventKind::ChannelOccupied => Some(EventKind::ChannelVacated),
        EventKind::ChannelVacated => Some(EventKind::ChannelOccupied),
        EventKind::MemberAdded => Some(EventKind::MemberRemoved),
        EventKind::MemberRemoved => Some(EventKind::MemberAdded),
        EventKind::ClientEvent | EventKind::CacheMiss | EventKind::SubscriptionCount => None,
    }
}
