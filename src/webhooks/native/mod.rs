//! Tells the application what happens on native channels: webhooks, and a queue for the event stream.

mod delivery;
mod event;
mod event_queue;
mod selection;

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use self::delivery::Delivery;
use self::event::EventEncoder;
use self::selection::Selection;
use super::WebhookEvent;
use super::http_client::http_client;
use super::request_signer::RequestSigner;
use super::settings::{EventsSettings, NativeWebhookSettings};
use crate::message::{AppEvent, ChannelName, Event, Position, Sender, UserId};
use crate::telemetry::{LevelMetrics, Metrics, WebhookQueueLabel};

pub use event::NativeEventKind;
pub use event_queue::EventQueue;

/// Maximum events that wait for one receiver.
const MAX_EVENTS: usize = 50_000;

/// Maximum bytes of the events that wait for one receiver.
const MAX_BYTES: usize = 32 << 20;

/// What the application is told of native channels.
#[derive(Debug)]
pub struct NativeEvents {
    receivers: Vec<Receiver>,
    /// The kinds of events that any receiver wants, as bits.
    wanted: u8,
    encoder: EventEncoder,
    tasks: Mutex<JoinSet<()>>,
    metrics: Arc<Metrics>,
}

/// A webhook, or the stream.
#[derive(Debug)]
struct Receiver {
    selection: Selection,
    queue: Arc<EventQueue>,
    /// The host of a webhook.
    host: Option<String>,
}

impl NativeEvents {
    /// Starts a task for each webhook. Returns `None` if the application wants no events. Needs a tokio runtime.
    #[must_use]
    pub fn start(
        webhooks: &[NativeWebhookSettings],
        events: &EventsSettings,
        metrics: &Arc<Metrics>,
    ) -> Option<Arc<Self>> {
        let (mut receivers, mut tasks) = (Vec::new(), JoinSet::new());
        if events.stream {
            let selection = Selection::new(&events.stream_kinds, &events.stream_events);
            receivers.push(Receiver::new(selection, None));
        }
        if !webhooks.is_empty() {
            metrics.latency.start_webhooks(None);
            let (http, signer) = (http_client(), RequestSigner::new(&events.secret));
            for settings in webhooks {
                // Loading the settings has checked it.
                let Ok(target) = settings.target() else { continue };
                let selection = Selection::new(&settings.kinds, &settings.events);
                let receiver = Receiver::new(selection, target.url.host());
                let delivery = Delivery {
                    target,
                    queue: receiver.queue.clone(),
                    http: http.clone(),
                    signer: signer.clone(),
                    metrics: metrics.clone(),
                };
                tasks.spawn(delivery.run());
                receivers.push(receiver);
            }
        }
        let wanted = receivers.iter().fold(0, |all, receiver| all | receiver.selection.events());
        (!receivers.is_empty()).then(|| {
            let (encoder, tasks, metrics) = (EventEncoder::new(), Mutex::new(tasks), metrics.clone());
            Arc::new(Self { receivers, wanted, encoder, tasks, metrics })
        })
    }

    /// The events for the stream, if there is one.
    pub fn stream(&self) -> Option<&Arc<EventQueue>> {
        self.receivers.iter().find(|receiver| receiver.host.is_none()).map(|receiver| &receiver.queue)
    }

    /// Whether a receiver wants events of this kind on this channel.
    #[must_use]
    pub fn wants(&self, event: NativeEventKind, channel: &ChannelName) -> bool {
        self.wanted & event.bit() != 0
            && self.receivers.iter().any(|receiver| receiver.selection.wants(event, channel.kind()))
    }

    /// Whether a receiver wants events that need presence.
    pub(super) fn wants_presence(&self) -> bool {
        NativeEventKind::ALL.iter().any(|kind| kind.needs_presence() && self.wanted & kind.bit() != 0)
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
        let Event { channel, sender, data, .. } = event;
        self.push(NativeEventKind::Message, channel, || {
            self.encoder.message(channel, sender, data, position)
        });
    }

    /// What the engine has noticed on a channel with presence.
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
        for receiver in &self.receivers {
            if receiver.selection.wants(kind, channel.kind()) && !receiver.queue.push(event.clone()) {
                self.count_lost(receiver, 1);
                tracing::warn!(
                    host = receiver.host,
                    event = kind.name(),
                    channel = channel.as_str(),
                    "event queue full, event dropped"
                );
            }
        }
    }

    /// Delivers what is queued, until `end` at the latest; events that are left then are counted and logged.
    pub(super) async fn finish(&self, end: Instant) {
        for receiver in &self.receivers {
            let _ = timeout_at(end, receiver.queue.emptied()).await;
        }
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
        for receiver in &self.receivers {
            let left = receiver.queue.len();
            if left > 0 {
                self.count_lost(receiver, left as u64);
                tracing::warn!(
                    host = receiver.host,
                    events = left,
                    "events dropped: not delivered before the shutdown"
                );
            }
        }
    }

    /// Sets how many events wait, those in a request included.
    pub fn measure(&self) {
        let waiting = |is_webhook: bool| {
            let receivers = self.receivers.iter().filter(|receiver| receiver.host.is_some() == is_webhook);
            receivers.map(|receiver| receiver.queue.len()).sum()
        };
        let levels = &self.metrics.levels;
        LevelMetrics::set(&levels.event_stream_queue_events, waiting(false));
        if self.receivers.iter().any(|receiver| receiver.host.is_some()) {
            let gauge = levels.webhook_queue_events.get_or_create(&WebhookQueueLabel::new(None));
            LevelMetrics::set(&gauge, waiting(true));
        }
    }

    fn count_lost(&self, receiver: &Receiver, events: u64) {
        let lost = match receiver.host {
            Some(_) => &self.metrics.webhooks_dropped,
            None => &self.metrics.event_stream_dropped,
        };
        lost.inc_by(events);
    }
}

impl Receiver {
    fn new(selection: Selection, host: Option<&str>) -> Self {
        let queue = Arc::new(EventQueue::new(MAX_EVENTS, MAX_BYTES));
        Self { selection, queue, host: host.map(str::to_owned) }
    }
}
