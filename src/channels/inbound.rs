//! Handles what the broker delivers for the channels of apps, in its order.

use std::sync::{Arc, MutexGuard, PoisonError};

use bytes::Bytes;

use super::Channels;
use super::apply::Now;
use super::pending::Joined;
use super::publish::describe;
use super::state::State;
use super::wire::ClusterMessage;
use crate::broker::SubscriptionId;
use crate::cluster::{Decoded, Envelope, decode};
use crate::history::{Content, Entry, Kept};
use crate::hub::InFlight;
use crate::message::{
    Audience, Broadcast, ChannelName, CloseReason, Encoding, Frame, InvalidBroadcast, Notice, Position,
    Signal, Stored,
};
use crate::telemetry::{ChannelMetrics, Reason, Span, SpanKind, TailEvent, TailKind, logged};

impl Channels {
    /// Handles a signal. `stored` says where it was stored. Returns one about tokens.
    pub fn handle_signal(&self, signal: &Bytes, stored: Option<&Stored>, hold: InFlight) -> Option<Signal> {
        let envelope = match decode::<ClusterMessage>(signal) {
            Ok(Decoded::Message(envelope)) => envelope,
            Ok(Decoded::Signal(signal @ (Signal::Revoke { .. } | Signal::Renew(_)))) => return Some(signal),
            Ok(Decoded::Signal(signal)) => {
                self.handle_disconnect(signal);
                return None;
            }
            Err(ignored) => {
                let reason = ignored.reason();
                self.metrics.cluster_messages_ignored.get_or_create(&Reason::new(reason)).inc();
                tracing::warn!(reason, error = %ignored, "cluster message ignored: is another version of Yamabiko running?");
                return None;
            }
        };
        match envelope {
            Envelope { message: ClusterMessage::Event(event), .. } => {
                self.deliver(event, stored, hold, false);
            }
            Envelope { message: ClusterMessage::Probe, node, .. } => self.handle_probe(node),
            Envelope { message: ClusterMessage::ProbeReply { to }, .. } => self.handle_probe_reply(&to),
            Envelope { message: ClusterMessage::SessionClaim { of, session }, node, .. } => {
                self.handle_session_claim(node, &of, session);
            }
            Envelope { message: ClusterMessage::SessionAnswer { to, session, in_use, given_up }, .. } => {
                self.handle_session_answer(&to, &session, in_use, given_up);
            }
            Envelope { message: ClusterMessage::Query { id, query }, node, .. } => {
                self.handle_query(node, id, query);
            }
            Envelope { message: ClusterMessage::QueryReply { to, id, reply }, node, .. } => {
                self.handle_query_reply(node, &to, id, reply);
            }
            Envelope { message: ClusterMessage::Leave | ClusterMessage::LeaveLingering(_), node, .. }
                if node == self.node =>
            {
                self.handle_own_leave();
            }
            envelope => self.apply(envelope),
        }
        None
    }

    /// Handles a signal that was delivered when this node caught up, on the channels with a history. The others have not seen it.
    pub fn handle_repeated(&self, signal: &Bytes, stored: &Stored, hold: InFlight) {
        let Ok(Decoded::Message(Envelope { message: ClusterMessage::Event(mut event), .. })) = decode(signal)
        else {
            return;
        };
        let mut index = 0;
        event.channels.retain(|_| {
            index += 1;
            stored.position(index - 1).is_none()
        });
        // The first channel has the span of the event.
        event.trace = event.trace.filter(|_| stored.position(0).is_none());
        if !event.channels.is_empty() {
            self.deliver(event, None, hold, false);
        }
    }

    /// Handles the broker's confirmation of a subscription. The connections that waited for it are on the channel: they
    /// receive what is published on the topic after it.
    pub fn handle_subscribed(&self, subscription: &SubscriptionId) {
        self.update(|state| {
            let completions = state.topics.confirmed(subscription);
            completions
                .into_iter()
                .map(|completion| super::effect::Effect::Complete(completion, Ok(Joined::default())))
                .collect()
        });
    }

    /// Handles what Laravel's `redis` broadcaster has published on a channel. Every node receives it directly.
    pub fn handle_topic(&self, topic: &str, payload: &Bytes, hold: InFlight) {
        let Ok(channel) = ChannelName::new(topic) else { return };
        let state = self.state();
        let Some(app) = state.topics.app().cloned() else { return };
        let event_bytes = state.rules(&app).map_or(0, |rules| rules.event_bytes);
        drop(state);
        match self.dialect.decode_topic(&app, &channel, payload) {
            Ok(Some(event)) if event.data.len() > event_bytes => self.dropped(&channel, "too_large"),
            Ok(Some(event)) => self.deliver(event, None, hold, true),
            Ok(None) => self.dropped(&channel, "empty"),
            Err(error) => {
                tracing::debug!(channel = channel.as_str(), %error, "not a payload of Laravel");
                let is_reserved = error == InvalidBroadcast::Reserved;
                self.dropped(&channel, if is_reserved { "reserved_event" } else { "invalid_event" });
            }
        }
    }

    /// Handles the return of a lost broker: requests snapshots from all nodes.
    pub fn handle_resumed(&self) {
        if !self.is_in_cluster() {
            return;
        }
        let mut state = self.state();
        state.nodes.request_now();
        state.due.snapshot = true;
        for app in state.apps.values_mut() {
            app.history.may_have_missed();
        }
        drop(state);
        self.outbound.notify_one();
    }

    fn apply(&self, mut envelope: Envelope<ClusterMessage>) {
        // Another node asks for lists, or has apps.
        if matches!(envelope.message, ClusterMessage::Heartbeat) {
            self.join_cluster();
        }
        let now = Now { node: self.now(), history: self.history_now() };
        let node = envelope.node.clone();
        let changes = match &mut envelope.message {
            ClusterMessage::Changes(changes) => std::mem::take(changes),
            _ => Vec::new(),
        };
        let mut counts = true;
        self.update(|state| {
            let effects = state.apply(envelope, now);
            counts = effects.is_some();
            effects.unwrap_or_default()
        });
        for change in changes.into_iter().filter(|_| counts) {
            self.update(|state| state.apply_change(&node, change));
        }
    }

    fn handle_disconnect(&self, signal: Signal) {
        let reason = CloseReason::Disconnected;
        match signal {
            Signal::Disconnect { user, channel } => {
                let name = channel.as_ref().map(ChannelName::as_str);
                tracing::info!(user = logged(user.form()), channel = name, "disconnecting a user");
                self.hub.close_user(&user, channel.as_ref(), reason);
            }
            Signal::DisconnectChannel { app, channel } => {
                tracing::info!(app = app.as_deref(), channel = channel.as_str(), "disconnecting a channel");
                match app {
                    Some(app) => {
                        self.hub.close_channel(&ChannelName::scoped(&app, channel.as_str()), reason);
                    }
                    None => self.hub.close_channel(&channel, reason),
                }
            }
            Signal::DisconnectConnection { connection } => {
                if let Some(id) = self.socket_ids.connection(connection) {
                    tracing::info!(connection = id, "disconnecting a connection");
                    self.hub.close_connection(id, reason);
                }
            }
            // See `handle_signal`.
            Signal::Revoke { .. } | Signal::Renew(_) => {}
        }
    }

    fn dropped(&self, channel: &ChannelName, reason: &'static str) {
        self.metrics.broker_dropped.get_or_create(&Reason::new(reason)).inc();
        self.metrics.tail.tell(|| TailEvent {
            kind: TailKind::Dropped,
            protocol: "pusher",
            channel: Some(channel.as_str().into()),
            reason: Some(reason.into()),
            ..TailEvent::default()
        });
        tracing::warn!(channel = channel.as_str(), reason, "message dropped");
    }

    /// Delivers an event to all subscribers on this node, encoded once per channel.
    pub(super) fn deliver(
        &self,
        event: Broadcast,
        stored: Option<&Stored>,
        mut hold: InFlight,
        by_topic: bool,
    ) {
        if stored.is_some_and(|stored| stored.is_plain_copy) {
            let mut scoped =
                event.channels.iter().map(|channel| ChannelName::scoped(&event.app, channel.as_str()));
            if scoped.all(|channel| self.histories.is_delivered(&channel, stored)) {
                return;
            }
        }
        if let Some(channels) = self.count_event(&event.app) {
            hold.set_channels(channels);
        }
        // Each channel has frames with their own copy of the data.
        hold.grow(event.channels.len().saturating_sub(1).saturating_mul(event.data.len()));
        if let Some(span) = self.span(&event) {
            hold.set_span(span);
        }
        let count = event.channels.len();
        let event = Arc::new(event);
        for (index, channel) in (0..).zip(&event.channels) {
            let hold = hold.split(count - usize::from(index));
            let scoped = ChannelName::scoped(&event.app, channel.as_str());
            let last_events = self.lock_last_events(&event, channel, by_topic);
            let place = stored.and_then(|stored| Some((stored, stored.position(index)?)));
            let publish = |entry: Option<&Entry>| {
                self.publish(&event, channel, &scoped, entry, hold, last_events);
            };
            match place {
                Some((stored, position)) => {
                    let content = Content::App(event.clone());
                    self.histories.append_and_publish(&scoped, stored, position, content, publish);
                }
                None => publish(None),
            }
        }
    }

    /// Delivers a message that this node had missed.
    pub fn deliver_missed(&self, scoped: &ChannelName, event: &Broadcast, entry: &Entry) {
        if let Some(channel) = event.channels.iter().find(|channel| channel.as_str() == scoped.unscoped()) {
            self.count_event(&event.app);
            let last_events = self.lock_last_events(event, channel, false);
            let mut hold = InFlight::default();
            if event.channels.first() == Some(channel)
                && let Some(span) = self.span(event)
            {
                hold.set_span(span);
            }
            self.publish(event, channel, scoped, Some(entry), hold, last_events);
        }
    }

    /// The span of the delivery on this node, if the event is traced and has a subscriber here.
    fn span(&self, event: &Broadcast) -> Option<Span> {
        let parent = event.trace.as_deref()?;
        let scoped = event.channels.iter().map(|channel| ChannelName::scoped(&event.app, channel.as_str()));
        let subscribers: usize = scoped.map(|channel| self.hub.subscribers(&channel)).sum();
        if subscribers == 0 {
            return None;
        }
        let mut span = self.metrics.tracer().child(SpanKind::Consumer, "deliver", Some(parent))?;
        describe(event, &mut span);
        span.set_number("yamabiko.subscribers", subscribers);
        Some(span)
    }

    /// Returns the metrics of the channels of the app, if that is in the settings of this node.
    fn count_event(&self, app: &str) -> Option<Arc<ChannelMetrics>> {
        self.metrics.pusher_events.inc();
        let apps = self.metrics_of_apps.read().unwrap_or_else(PoisonError::into_inner);
        let metrics = apps.get(app)?;
        metrics.messages.inc();
        Some(metrics.clone())
    }

    fn publish(
        &self,
        event: &Broadcast,
        channel: &ChannelName,
        scoped: &ChannelName,
        entry: Option<&Entry>,
        hold: InFlight,
        last_events: Option<LastEventsGuard<'_>>,
    ) {
        self.metrics.traffic.count(scoped.as_str(), || sender(event));
        self.metrics.tail.tell(|| tail_event(event, channel));
        let position = entry.map(|entry| entry.position);
        let encode = |encoding| match entry {
            Some(entry) => entry.frame(encoding, || self.message(event, channel, Some(entry), encoding)),
            None => self.message(event, channel, None, encoding),
        };
        let Some(LastEventsGuard { mut state, by_topic }) = last_events else {
            self.hub.publish_at(scoped, position, hold, encode);
            return;
        };
        let Some(frame) = self.encode(event, channel, None) else { return };
        let (name, data) = (event.event.clone(), event.data.clone());
        let kept = Kept { event: name, data, frame: frame.clone(), at: self.history_now(), by_topic };
        if let Some(state) = state.apps.get_mut(&event.app) {
            state.history.keep(channel, kept);
        }
        self.hub.publish_at(scoped, position, hold, |encoding| match entry {
            Some(_) => encode(encoding),
            None => Some((self.audience(event), frame.clone())),
        });
    }

    /// Locks the last events if the channel keeps this one, until it is published: so that a new subscriber receives it either from
    /// them or from the hub. Where a history is locked as well, it is locked after them.
    fn lock_last_events(
        &self,
        event: &Broadcast,
        channel: &ChannelName,
        by_topic: bool,
    ) -> Option<LastEventsGuard<'_>> {
        // The topic may have been unsubscribed since: the node would miss the next event there.
        let is_last = !by_topic || self.broker.is_subscribed(channel.as_str());
        let is_kept = is_last && self.dialect.is_kept(channel, &event.event);
        is_kept.then(|| LastEventsGuard { state: self.state(), by_topic })
    }

    /// The message of an event to the subscribers of a channel.
    pub(super) fn message(
        &self,
        event: &Broadcast,
        channel: &ChannelName,
        entry: Option<&Entry>,
        encoding: Encoding,
    ) -> Option<(Audience, Frame)> {
        let at = entry.map(|entry| (entry.position, encoding));
        Some((self.audience(event), self.encode(event, channel, at)?))
    }

    fn audience(&self, event: &Broadcast) -> Audience {
        let except = event.except.and_then(|socket| self.socket_ids.connection(socket));
        except.map_or(Audience::Everyone, Audience::Except)
    }

    fn encode(
        &self,
        event: &Broadcast,
        channel: &ChannelName,
        at: Option<(Position, Encoding)>,
    ) -> Option<Frame> {
        let Broadcast { event, data, user_id, .. } = event;
        let notice = Notice::Event { channel, event, data, user_id: user_id.as_ref() };
        let frame = match at {
            Some((position, encoding)) => self.dialect.encode_at(&notice, position, encoding),
            None => self.dialect.encode(&notice),
        };
        if frame.bytes().len() > self.hub.outbox_bytes() {
            self.dropped(channel, "too_large");
            return None;
        }
        Some(frame)
    }
}

/// The state, locked to keep an event as the last one of its channel.
struct LastEventsGuard<'a> {
    state: MutexGuard<'a, State>,
    /// The event has arrived by the topic of the channel.
    by_topic: bool,
}

/// An event on a channel, for operators who watch.
fn tail_event(event: &Broadcast, channel: &ChannelName) -> TailEvent {
    let Broadcast { app, event, data, user_id, .. } = event;
    let told = TailEvent {
        kind: TailKind::Published,
        protocol: "pusher",
        app: Some(app.clone()),
        channel: Some(channel.as_str().into()),
        user: user_id.as_ref().map(|user| user.to_text().into()),
        event: Some(event.as_str().into()),
        ..TailEvent::default()
    };
    told.with_data(data.as_bytes())
}

/// The member that has sent a client event, in the scope of the app.
fn sender(event: &Broadcast) -> Option<String> {
    let user = event.user_id.as_ref()?;
    Some(format!("{}{}{}", event.app, ChannelName::SCOPE_END, user.to_text()))
}
