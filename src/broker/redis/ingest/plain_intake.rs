use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::marker::Marker;
use super::plain_messages::{Arrived, DueMessage, PlainMessages};
use crate::broker::EVENTS;
use crate::broker::budget::cost;
use crate::broker::envelope::{Decoded, InvalidPayload, NodeId};
use crate::broker::redis::desired_topics::DesiredTopics;
use crate::broker::redis::topic_names::TopicNames;
use crate::broker::retained;
use crate::message::{AppMessages, Dispatch, Publication, RetentionRules};
use crate::telemetry::{Metrics, Reason};

/// Limits of one batch, so that it does not block Redis for its other clients.
const MAX_BATCH_MESSAGES: usize = 256;
const MAX_BATCH_BYTES: usize = 256 << 10;
/// How long the messages of Redis wait for room to hold a plain message.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// Takes plain messages for channels with a history out of what arrives from Redis. They come back numbered.
pub(in crate::broker::redis) struct PlainIntake {
    /// Stores messages.
    node: NodeId,
    names: Arc<TopicNames>,
    topics: Arc<DesiredTopics>,
    retention: Arc<RetentionRules>,
    apps: Arc<dyn AppMessages>,
    events: Arc<str>,
    metrics: Arc<Metrics>,
    state: Mutex<PlainMessages<Publication>>,
    /// There may be something to publish or to store.
    pub(super) changed: Notify,
    /// Messages have been stored.
    stored: Notify,
}

/// A message as it was decoded.
pub(in crate::broker::redis) type DecodedMessage = Result<Option<Decoded>, InvalidPayload>;

impl PlainIntake {
    pub(super) fn new(
        node: NodeId,
        names: Arc<TopicNames>,
        topics: Arc<DesiredTopics>,
        retention: Arc<RetentionRules>,
        apps: Arc<dyn AppMessages>,
        max_bytes: usize,
        metrics: Arc<Metrics>,
    ) -> Self {
        let state = Mutex::new(PlainMessages::new(node.as_str().into(), max_bytes, Instant::now()));
        let (events, changed, stored) = (EVENTS.into(), Notify::new(), Notify::new());
        Self { node, names, topics, retention, apps, events, metrics, state, changed, stored }
    }

    /// A connection has been subscribed to the events.
    pub(in crate::broker::redis) fn on_connected(&self) {
        let given_up = self.lock().on_connected(Instant::now());
        self.report_lost(&given_up, "interrupted");
    }

    /// The connection is subscribed to all topics.
    pub(in crate::broker::redis) fn on_ready(&self) {
        self.lock().on_ready();
        self.changed.notify_one();
    }

    /// Returns the message if it is to be delivered now.
    pub(in crate::broker::redis) fn receive(
        &self,
        channel: &[u8],
        payload: &Bytes,
        mut decoded: DecodedMessage,
    ) -> Option<DecodedMessage> {
        if let Ok(Some(Decoded { plain: Some(plain), stored: Some(stored), dispatch, .. })) = &mut decoded {
            let was_held = self.lock().on_copy(&plain.name, || fingerprint(dispatch), Instant::now());
            // This node has held also what it has stored itself.
            stored.is_plain_copy = !was_held && plain.from.as_ref() != Some(&self.node);
        } else if *channel == *self.names.events {
            return self.receive_event(payload, decoded);
        } else if let Ok(Some(Decoded { dispatch: Dispatch::Topic { topic, payload }, .. })) = &decoded
            && self.apps.has_topic(topic)
            && self.topics.is_kept(topic)
        {
            let publication = self.apps.read_topic(topic, payload);
            let is_held = publication.is_some();
            self.hold(topic, publication);
            return (!is_held).then_some(decoded);
        }
        Some(decoded)
    }

    fn receive_event(&self, payload: &Bytes, decoded: DecodedMessage) -> Option<DecodedMessage> {
        if let Some(marker) = Marker::decode(payload) {
            self.lock().on_marker(&marker, Instant::now());
            self.changed.notify_one();
            return None;
        }
        let mut is_held = false;
        match &decoded {
            Ok(Some(Decoded { stored: Some(_), .. })) => {}
            Ok(Some(Decoded { dispatch: dispatch @ Dispatch::Event(_), .. })) => {
                let mut publication = Publication::from(dispatch.clone());
                retained(&mut publication, &self.retention);
                is_held = !publication.retained.is_empty();
                self.hold(&self.events, is_held.then_some(publication));
            }
            // All nodes count the same messages, whichever channels have a history on them.
            _ => self.hold(&self.events, None),
        }
        (!is_held).then_some(decoded)
    }

    fn hold(&self, topic: &Arc<str>, publication: Option<Publication>) {
        let message = publication.map(|content| Arrived {
            topic: topic.clone(),
            fingerprint: fingerprint(&content.dispatch),
            bytes: cost(&content.dispatch),
            content,
        });
        let (no_room, is_due) = {
            let mut state = self.lock();
            let is_due = message.is_some() && state.leads();
            (state.on_message(topic, message, Instant::now()), is_due)
        };
        if is_due {
            self.changed.notify_one();
        }
        self.report_lost(no_room.as_slice(), "no_room");
    }

    /// Waits a little while this node cannot store messages as fast as they arrive. Returns whether it has waited.
    pub(in crate::broker::redis) async fn wait_for_room(&self) -> bool {
        let is_crowded = || {
            let state = self.lock();
            state.leads() && state.is_crowded()
        };
        if !is_crowded() {
            return false;
        }
        let waiting = async {
            loop {
                let stored = self.stored.notified();
                tokio::pin!(stored);
                stored.as_mut().enable();
                if !is_crowded() {
                    return;
                }
                stored.await;
            }
        };
        // The node must go on although it cannot store: it drops what it cannot hold.
        let _ = timeout(MAX_WAIT, waiting).await;
        true
    }

    pub(super) fn tick(&self) {
        let given_up = self.lock().tick(Instant::now());
        self.report_lost(&given_up, "too_old");
        self.changed.notify_one();
    }

    pub(super) fn take_marker(&self) -> Option<Marker> {
        self.lock().take_marker(Instant::now())
    }

    pub(super) fn batch(&self) -> Vec<DueMessage<Publication>> {
        self.lock().batch(MAX_BATCH_MESSAGES, MAX_BATCH_BYTES, Instant::now())
    }

    pub(super) fn on_stored(&self, places: impl Iterator<Item = u64>) {
        let (now, mut state) = (Instant::now(), self.lock());
        for place in places {
            state.on_stored(place, now);
        }
        drop(state);
        self.stored.notify_waiters();
    }

    /// Whether this node stores messages at once.
    pub(super) fn leads(&self) -> bool {
        self.lock().leads()
    }

    /// Waits until this node has stored what it has to.
    pub(in crate::broker::redis) async fn drained(&self) {
        loop {
            let stored = self.stored.notified();
            tokio::pin!(stored);
            stored.as_mut().enable();
            if self.is_drained() {
                return;
            }
            stored.await;
        }
    }

    fn is_drained(&self) -> bool {
        let state = self.lock();
        state.is_empty() || !state.leads()
    }

    fn report_lost(&self, lost: &[Arrived<Publication>], reason: &'static str) {
        if lost.is_empty() {
            return;
        }
        self.metrics.ingest_lost.get_or_create(&Reason::new(reason)).inc_by(lost.len() as u64);
        let topic = lost.first().map(|message| &*message.topic);
        tracing::warn!(messages = lost.len(), topic, reason, "messages without a number were not stored");
    }

    fn lock(&self) -> MutexGuard<'_, PlainMessages<Publication>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same for a message and its numbered copy.
fn fingerprint(dispatch: &Dispatch) -> u64 {
    let mut hasher = DefaultHasher::new();
    match dispatch {
        Dispatch::Event(event) => {
            (event.channel.as_str(), &event.sender.name, &event.data[..]).hash(&mut hasher);
            event.sender.id.with_json(|id| id.hash(&mut hasher));
        }
        Dispatch::Signal(body) => body.hash(&mut hasher),
        Dispatch::Topic { topic, payload } => (topic, payload).hash(&mut hasher),
    }
    hasher.finish()
}
