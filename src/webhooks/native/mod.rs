//! Tells the application what happens on native channels: webhooks, and a queue for the event stream.

mod event;
mod pending;
mod selection;
mod stream_queue;

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use self::event::EventEncoder;
use self::pending::PendingNativeEvents;
use self::selection::Selection;
use super::WebhookEvent;
use super::pending_events::PendingEvents;
use super::settings::{EventsSettings, NativeWebhookSettings};
use super::webhook::Webhook;
use crate::message::{AppEvent, ChannelName, Event, Position, Sender, UserId};
use crate::telemetry::{LevelMetrics, Metrics};

pub use event::NativeEventKind;
pub use stream_queue::StreamQueue;

/// Maximum events that wait for one receiver.
const MAX_EVENTS: usize = 50_000;

/// Maximum bytes of the events that wait for one receiver.
const MAX_BYTES: usize = 32 << 20;

/// What the application is told of native channels.
#[derive(Debug)]
pub struct NativeEvents {
    webhooks: Vec<(Selection, Arc<Webhook>)>,
    stream: Option<(Selection, Arc<StreamQueue>)>,
    /// The kinds of events that any receiver wants, as bits.
    wanted: u8,
    encoder: EventEncoder,
    metrics: Arc<Metrics>,
}

/// The events that one webhook has still to receive.
pub(super) fn pending_native_events() -> Box<dyn PendingEvents> {
    Box::new(PendingNativeEvents::new(MAX_EVENTS, MAX_BYTES))
}

impl NativeEvents {
    /// Returns `None` if the application wants no events. What waits for the stream of `before` stays in its queue.
    pub(super) fn new(
        webhooks: &[(Arc<Webhook>, &NativeWebhookSettings)],
        events: &EventsSettings,
        metrics: &Arc<Metrics>,
        before: Option<&Self>,
    ) -> Option<Arc<Self>> {
        let webhooks: Vec<_> = webhooks
            .iter()
            .map(|(webhook, settings)| (Selection::new(&settings.kinds, &settings.events), webhook.clone()))
            .collect();
        let stream = events.stream.then(|| {
            let selection = Selection::new(&events.stream_kinds, &events.stream_events);
            let before = before.and_then(Self::stream).cloned();
            let queue = before.unwrap_or_else(|| Arc::new(StreamQueue::new()));
            queue.set_max_entries(events.stream_entries);
            (selection, queue)
        });
        let selections = webhooks.iter().map(|(selection, _)| selection);
        let selections = selections.chain(stream.iter().map(|(selection, _)| selection));
        let wanted = selections.fold(0, |all, selection| all | selection.events());
        (wanted != 0).then(|| {
            Arc::new(Self {
                webhooks,
                stream,
                wanted,
                encoder: EventEncoder::new(),
                metrics: metrics.clone(),
            })
        })
    }

    /// The events for the stream, if there is one.
    pub fn stream(&self) -> Option<&Arc<StreamQueue>> {
        self.stream.as_ref().map(|(_, queue)| queue)
    }

    /// Whether others go on with the queue of the stream.
    pub(super) fn shares_stream_with(&self, other: &Self) -> bool {
        self.stream().zip(other.stream()).is_some_and(|(own, other)| Arc::ptr_eq(own, other))
    }

    /// Whether a receiver wants events of this kind on this channel.
    #[must_use]
    pub fn wants(&self, event: NativeEventKind, channel: &ChannelName) -> bool {
        self.wants_any(event.bit(), channel)
    }

    /// Whether a receiver wants events of this channel that only the engine notices: who is there, on all nodes.
    #[must_use]
    pub fn wants_users(&self, channel: &ChannelName) -> bool {
        self.wants_any(NativeEventKind::OF_ENGINE, channel)
    }

    /// Whether a receiver wants such events of any channel.
    pub(super) const fn wants_any_users(&self) -> bool {
        self.wanted & NativeEventKind::OF_ENGINE != 0
    }

    fn wants_any(&self, events: u8, channel: &ChannelName) -> bool {
        let wants = |selection: &Selection| selection.wants_any(events, channel.kind());
        self.wanted & events != 0
            && (self.webhooks.iter().any(|(selection, _)| wants(selection))
                || self.stream.iter().any(|(selection, _)| wants(selection)))
    }

    pub fn connected(&self, connection: u64, channel: &ChannelName, user: &Sender) {
        self.push(NativeEventKind::Connected, channel, || self.encoder.connected(connection, channel, user));
    }

    /// `reason` is a word of the log, and `code` the close code.
    pub fn disconnected(
        &self,
        connection: u64,
        channel: &ChannelName,
        user: &Sender,
        reason: &str,
        code: u16,
    ) {
        self.push(NativeEventKind::Disconnected, channel, || {
            self.encoder.disconnected(connection, channel, user, (reason, code))
        });
    }

    /// A client's message was accepted, at this position if its channel has a history.
    pub fn message(&self, event: &Event, position: Option<Position>) {
        let Event { channel, sender, data, trace, .. } = event;
        let trace = trace.as_deref().filter(|trace| trace.is_sampled);
        self.push(NativeEventKind::Message, channel, || {
            self.encoder.message(channel, sender, data, position, trace)
        });
    }

    /// What the engine has noticed on a channel.
    pub(super) fn presence(&self, event: &WebhookEvent) {
        let (kind, user): (_, Option<&UserId>) = match event {
            WebhookEvent::ChannelOccupied { .. } => (NativeEventKind::ChannelOccupied, None),
            WebhookEvent::ChannelVacated { .. } => (NativeEventKind::ChannelVacated, None),
            WebhookEvent::MemberAdded { user_id, .. } => (NativeEventKind::UserOnline, Some(user_id)),
            WebhookEvent::MemberRemoved { user_id, .. } => (NativeEventKind::UserOffline, Some(user_id)),
            WebhookEvent::ClientEvent { .. }
            | WebhookEvent::CacheMiss { .. }
            | WebhookEvent::SubscriptionCount { .. } => return,
        };
        let channel = event.channel();
        self.push(kind, channel, || self.encoder.presence(kind, channel, user));
    }

    fn push(&self, kind: NativeEventKind, channel: &ChannelName, encode: impl Fn() -> Bytes) {
        if !self.wants(kind, channel) {
            return;
        }
        let event = AppEvent { name: kind.name(), channel: channel.clone(), payload: encode() };
        for (selection, webhook) in &self.webhooks {
            if selection.wants(kind, channel.kind()) {
                webhook.push(event.clone(), false);
            }
        }
        if let Some((selection, queue)) = &self.stream
            && selection.wants(kind, channel.kind())
            && !queue.events().push(event)
        {
            self.metrics.event_stream_dropped.inc();
            tracing::warn!(
                event = kind.name(),
                channel = channel.as_str(),
                "event queue full, event dropped"
            );
        }
    }

    /// Waits until the stream has what is queued, until `end` at the latest; events that are left then are counted and logged.
    pub(super) async fn finish(&self, end: Instant) {
        let Some((_, queue)) = &self.stream else { return };
        let left = queue.finish(end).await;
        if left > 0 {
            self.metrics.event_stream_dropped.inc_by(left as u64);
            tracing::warn!(events = left, "events dropped: not delivered before the shutdown");
        }
    }

    /// Sets how many events wait for the stream, those on their way to Redis included.
    pub fn measure(&self) {
        if let Some((_, queue)) = &self.stream {
            LevelMetrics::set(&self.metrics.levels.event_stream_queue_events, queue.events().len());
        }
    }
}
