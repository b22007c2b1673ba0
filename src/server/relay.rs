use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::broker::Inbound;
use crate::channels::{Arrival, CaughtUp, Channels, Gap, Histories};
use crate::history::{Content, Entry};
use crate::hub::{Hub, InFlight, Place};
use crate::message::{Audience, Dispatch, Encoding, Event, Frame, Position, Renewal, Signal, Stored};
use crate::protocol::native::{Native, Rule, encode_gap_while_connected, message_encoding, tells_gaps};
use crate::telemetry::{
    DeliveryTimer, KindMessages, Metrics, Reason, RemovedKeys, Span, SpanKind, TailEvent, TailKind, logged,
};
use crate::tokens::Revoker;
use crate::transport::Streams;

/// Maximum dispatches taken from the broker at a time.
const BATCH: usize = 256;

/// One of this many dispatches of a batch is timed, from the first one on: each one as long as few arrive.
const TIMED: usize = 16;

/// Carries what the broker delivers through the protocol's encoding into the hub: the one way to a subscriber.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) native: Arc<Native>,
    pub(super) hub: Arc<Hub>,
    pub(super) channels: Arc<Channels>,
    pub(super) histories: Arc<Histories>,
    pub(super) revoker: Arc<Revoker>,
    pub(super) streams: Arc<Streams>,
    pub(super) metrics: Arc<Metrics>,
}

impl Relay {
    /// Ends with the broker's stream.
    pub(super) async fn run(self, mut inbound: UnboundedReceiver<Inbound>) {
        let mut counters = Counters::new(&self.native, &self.metrics);
        let mut batch = Vec::with_capacity(BATCH);
        while inbound.recv_many(&mut batch, BATCH).await > 0 {
            for (index, inbound) in batch.drain(..).enumerate() {
                match inbound {
                    Inbound::Dispatch { dispatch, stored, permit, times } => {
                        let is_timed = index % TIMED == 0;
                        let timer = is_timed.then(|| DeliveryTimer::start(&self.metrics, times));
                        let in_flight = InFlight::new(permit, timer);
                        if let Some(stored) = &stored
                            && !self.is_next(stored, &mut counters).await
                        {
                            if let Dispatch::Signal(signal) = dispatch {
                                self.channels.handle_repeated(&signal, stored, in_flight);
                            }
                            continue;
                        }
                        self.handle(&dispatch, stored.as_deref(), in_flight, &mut counters);
                        if stored.is_some() {
                            self.set_delivered();
                        }
                    }
                    Inbound::Subscribed(subscription) => self.channels.handle_subscribed(&subscription),
                    Inbound::Connected => self.catch_up(&mut counters).await,
                    Inbound::Resumed => {
                        self.channels.handle_resumed();
                        if self.histories.is_on() {
                            self.catch_up(&mut counters).await;
                        }
                    }
                    Inbound::Fence(handled) => {
                        // Fails if nobody waits any more.
                        let _ = handled.send(());
                    }
                }
            }
        }
    }

    /// Whether a stored dispatch is new. Delivers what is missing before it.
    async fn is_next(&self, stored: &Stored, counters: &mut Counters) -> bool {
        let mut arrival = self.histories.arrive(stored);
        if matches!(arrival, Arrival::TooEarly | Arrival::OfAnotherStore) {
            self.catch_up(counters).await;
            arrival = self.histories.arrive(stored);
        }
        if arrival == Arrival::OfAnotherStore {
            self.metrics.broker_dropped.get_or_create(&Reason::new("lost_store")).inc();
            tracing::warn!(
                reason = "lost_store",
                "message dropped: Redis has lost the history that it was stored in, and clients have been told of a gap"
            );
        }
        matches!(arrival, Arrival::Next | Arrival::TooEarly)
    }

    async fn catch_up(&self, counters: &mut Counters) {
        let CaughtUp { missed, gaps, is_first } = self.histories.catch_up(|| self.hub.channels()).await;
        let place = if is_first { Place::GapForOpen } else { Place::Gap };
        for gap in &gaps {
            self.tell_gap(gap, place);
            self.channels.tell_gap(gap, place);
        }
        self.histories.publish_missed(missed, |channel, entry| match &entry.content {
            Content::Native(event) => self.deliver(event, Some(entry), InFlight::default(), counters),
            Content::App(event) => self.channels.deliver_missed(channel, event, entry),
        });
        self.set_delivered();
    }

    fn set_delivered(&self) {
        if let Some(delivered) = self.histories.set_delivered() {
            self.hub.set_delivered(delivered);
        }
    }

    /// Tells the native clients that want to know.
    fn tell_gap(&self, Gap { channel, position }: &Gap, place: Place) {
        let mut is_counted = false;
        self.hub.publish_at(channel, place, InFlight::default(), |encoding| {
            tells_gaps(encoding).then(|| {
                if !std::mem::replace(&mut is_counted, true) {
                    self.metrics.gaps.get_or_create(&Reason::new("lost")).inc();
                }
                (Audience::Everyone, encode_gap_while_connected(position.as_ref(), encoding))
            })
        });
    }

    fn handle(
        &self,
        dispatch: &Dispatch,
        stored: Option<&Stored>,
        in_flight: InFlight,
        counters: &mut Counters,
    ) {
        match dispatch {
            Dispatch::Event(event) if self.histories.is_delivered(&event.channel, stored) => {}
            Dispatch::Event(event) => {
                let position = stored.and_then(|stored| Some((stored, stored.position(0)?)));
                let publish = |entry: Option<&Entry>| self.deliver(event, entry, in_flight, counters);
                let Some((stored, position)) = position else { return publish(None) };
                let content = Content::Native(Event { trace: None, ..event.clone() });
                self.histories.append_and_publish(&event.channel, stored, position, content, publish);
            }
            Dispatch::Signal(signal) => match self.channels.handle_signal(signal, stored, in_flight) {
                Some(Signal::Revoke { revocation, is_stored }) => self.revoker.apply(revocation, is_stored),
                Some(Signal::Renew(renewal)) => self.renew(*renewal),
                _ => {}
            },
            Dispatch::Topic { topic, payload } => self.channels.handle_topic(topic, payload, in_flight),
        }
    }

    /// Another node has verified a token for a stream that is on this node, or was.
    fn renew(&self, renewal: Renewal) {
        if let Some(connection) = self.channels.connection(renewal.connection) {
            self.streams.renew(connection, renewal);
        }
    }

    fn deliver(
        &self,
        event: &Event,
        entry: Option<&Entry>,
        mut in_flight: InFlight,
        counters: &mut Counters,
    ) {
        self.metrics.traffic.count(event.channel.as_str(), || Some(event.sender.id.to_text().into_owned()));
        self.metrics.tail.tell(|| tail_event(TailKind::Published, event).with_data(&event.data));
        let rule = self.native.rule(&event.channel);
        in_flight.set_channels(counters.messages.count(rule.kind()));
        if let Some(span) = self.span(event, &rule) {
            in_flight.set_span(span);
        }
        let position = entry.map(|entry| entry.position);
        // Its rules are applied for each encoding, and counted once.
        let mut removed_keys = Some(&mut counters.removed_keys);
        self.hub.publish_at(&event.channel, position, in_flight, |encoding| {
            let encoding = message_encoding(encoding);
            let mut encode = || self.encode(event, &rule, position, encoding, removed_keys.take());
            match entry {
                Some(entry) => entry.frame(encoding, encode),
                None => encode(),
            }
        });
    }

    /// The span of the delivery on this node, if the message is traced and has a subscriber here.
    fn span(&self, event: &Event, rule: &Rule) -> Option<Span> {
        let parent = event.trace.as_deref().filter(|trace| trace.is_sampled)?;
        let subscribers = self.hub.subscribers(&event.channel);
        if subscribers == 0 {
            return None;
        }
        let mut span = self.metrics.tracer().child(SpanKind::Consumer, "deliver", Some(parent))?;
        span.set("yamabiko.kind", rule.kind());
        span.set_channel(event.channel.as_str());
        span.set_number("yamabiko.subscribers", subscribers);
        Some(span)
    }

    /// `removed_keys`: unless the message has been encoded before.
    fn encode(
        &self,
        event: &Event,
        rule: &Rule,
        position: Option<Position>,
        encoding: Encoding,
        mut removed_keys: Option<&mut RemovedKeys>,
    ) -> Option<(Audience, Frame)> {
        let mut removed_by = None;
        let delivery = rule.deliver(event, position, encoding, |kind, key| {
            if let Some(removed_keys) = &mut removed_keys {
                removed_keys.count(kind, key);
                removed_by.get_or_insert_with(|| kind.to_owned());
            }
        });
        if let (Some(removed_keys), Some(kind)) = (&mut removed_keys, removed_by) {
            removed_keys.log(&kind, event.channel.as_str());
        }
        let dropped = match delivery {
            Ok((_, frame)) if frame.bytes().len() > self.hub.outbox_bytes() => "too_large",
            Ok(delivery) => return Some(delivery),
            Err(_) if removed_keys.is_none() => return None,
            Err(_) => "invalid_target",
        };
        self.metrics.broker_dropped.get_or_create(&Reason::new(dropped)).inc();
        let reason = Some(dropped.into());
        self.metrics.tail.tell(|| TailEvent { reason, ..tail_event(TailKind::Dropped, event) });
        tracing::warn!(
            channel = event.channel.as_str(),
            sender = logged(event.sender.id.form()),
            reason = dropped,
            "message dropped"
        );
        None
    }
}

/// For operators who watch.
fn tail_event(kind: TailKind, event: &Event) -> TailEvent {
    TailEvent {
        kind,
        protocol: "native",
        channel: Some(event.channel.as_str().into()),
        user: Some(event.sender.id.to_text().into()),
        ..TailEvent::default()
    }
}

/// What the relay counts by kind.
struct Counters {
    messages: KindMessages,
    removed_keys: RemovedKeys,
}

impl Counters {
    fn new(native: &Native, metrics: &Arc<Metrics>) -> Self {
        let with_fields = native.kinds_with_fields();
        Self {
            messages: KindMessages::new(metrics.clone(), native.kinds().iter().map(String::as_str)),
            removed_keys: RemovedKeys::new(metrics.clone(), with_fields.iter().map(String::as_str)),
        }
    }
}
