use std::collections::HashMap;

use super::departures::Departures;
use super::event::{Direction, Subject, WebhookEvent};
use super::pending_events::Dropped;
use super::queued::Queued;
use super::ready::{Ready, weight};
use crate::message::ChannelName;
use crate::protocol::pusher::{Access, Channel, EventKind, WebhookFilter, WebhookSettings};

/// Maximum events in one request.
const MAX_BATCH: usize = 100;

/// Maximum bytes of texts in one request, or one event that is larger. With what JSON adds, a request stays below the megabyte that
/// web servers accept: one that is too large for them would be retried for minutes, and delay all events after it.
const MAX_REQUEST_BYTES: usize = 128 * 1024;

/// The weight of all events that are ready, in bytes.
const MAX_READY_BYTES: usize = 16 * 1024 * 1024;

/// How long further subscribers of an empty cache channel cause no further `cache_miss`, in milliseconds.
const MISS_WINDOW: u64 = 10_000;

/// Maximum channels whose last `cache_miss` is remembered. Of more, some are reported again within the window.
const MAX_MISSES: usize = 4_096;

/// The events that one webhook has still to receive. Never holds more than its capacity, in events and in bytes, until the node
/// shuts down.
///
/// Any client can subscribe to any number of public channels. Therefore events of guarded channels are sent first, and displace
/// those of public ones if there is no room. Among equals, the channel and kind of event that has queued the most loses.
#[derive(Debug)]
pub(super) struct WebhookQueue {
    wanted: Vec<EventKind>,
    filter: WebhookFilter,
    capacity: usize,
    guarded: ClassQueue,
    public: ClassQueue,
    misses: HashMap<ChannelName, u64>,
    /// Nothing can return: departures do not wait, and all of them have room.
    is_last: bool,
}

/// The events of one class of channels: guarded or public ones.
#[derive(Debug, Default)]
struct ClassQueue {
    departures: Departures,
    ready: Ready,
}

impl WebhookQueue {
    /// A queue of at most `capacity` events for a webhook with these settings.
    #[must_use]
    pub(super) fn new(settings: &WebhookSettings, capacity: usize) -> Self {
        Self {
            wanted: settings.events.clone(),
            filter: settings.filter.clone(),
            capacity,
            guarded: ClassQueue::default(),
            public: ClassQueue::default(),
            misses: HashMap::new(),
            is_last: false,
        }
    }

    /// How many events it holds.
    pub(super) fn len(&self) -> usize {
        [&self.guarded, &self.public].iter().map(|lane| lane.departures.len() + lane.ready.len()).sum()
    }

    /// Queues an event. `now` is in milliseconds and never goes back.
    ///
    /// Fails if there was no room, for this event or for others that it displaced.
    pub(super) fn push(&mut self, event: impl Into<Queued<WebhookEvent>>, now: u64) -> Result<(), Dropped> {
        let event = event.into();
        self.settle(now);
        if !self.filter.matches(event.channel()) {
            return Ok(());
        }
        let is_guarded = is_guarded(event.channel());
        let transition = event.transition();
        if let Some((subject, Direction::Arrival)) = &transition
            && self.class(is_guarded).departures.remove(subject)
        {
            return Ok(());
        }
        // A departure is kept even if it is not wanted: a return in time is no event either.
        let departure = transition
            .filter(|(_, direction)| *direction == Direction::Departure)
            .map(|(subject, _)| subject);
        if departure.is_none() && (!self.wants(event.kind()) || self.is_repeated_miss(&event, now)) {
            return Ok(());
        }
        let mut dropped = None;
        let has_room = self.make_room(&event, is_guarded, &mut dropped);
        if has_room {
            self.keep(event, departure, is_guarded, now);
        } else {
            count(&mut dropped, &event);
        }
        dropped.map_or(Ok(()), Err)
    }

    /// When to [`take`](Self::take) again: a departure may be final then.
    #[must_use]
    pub(super) fn next_ready(&self) -> Option<u64> {
        self.guarded.departures.next().into_iter().chain(self.public.departures.next()).min()
    }

    /// The events of the next request, none if there is nothing to send yet.
    pub(super) fn take(&mut self, now: u64) -> Vec<Queued<WebhookEvent>> {
        self.settle(now);
        let (mut events, mut bytes) = (Vec::new(), 0);
        for class in [&mut self.guarded, &mut self.public] {
            while let Some((_, next)) = class.ready.first() {
                bytes += next.text_bytes();
                if events.len() == MAX_BATCH || (!events.is_empty() && bytes > MAX_REQUEST_BYTES) {
                    return events;
                }
                events.extend(class.ready.pop_first());
            }
        }
        events
    }

    /// The last node shuts down: departures are final at once, because nothing can return. Their number is bounded by what is on the
    /// node, and all of them have room.
    pub(super) fn close(&mut self) {
        self.is_last = true;
    }

    /// Removes all events that the webhook has still to receive. Departures do not wait for returns.
    pub(super) fn drain(&mut self) -> Vec<Queued<WebhookEvent>> {
        self.settle(u64::MAX);
        let mut events = Vec::new();
        for class in [&mut self.guarded, &mut self.public] {
            while let Some(event) = class.ready.pop_first() {
                events.push(event);
            }
        }
        (self.guarded, self.public) = (ClassQueue::default(), ClassQueue::default());
        events
    }

    fn keep(&mut self, event: Queued<WebhookEvent>, departure: Option<Subject>, is_guarded: bool, now: u64) {
        let class = self.class(is_guarded);
        match departure {
            Some(subject) => class.departures.insert(subject, event, now),
            None => class.ready.push(now, event),
        }
    }

    /// Makes room for an event if that is fair. Whether there is room; displaced events are counted in `dropped`.
    fn make_room(&mut self, event: &WebhookEvent, is_guarded: bool, dropped: &mut Option<Dropped>) -> bool {
        while !self.is_last && self.is_full(event) {
            let own = self.class(is_guarded).ready.weight_of_source(event) + weight(event);
            let public = &mut self.public;
            let victim = if is_guarded {
                let of_public = public.ready.pop_heavier_than(0).or_else(|| public.departures.pop_latest());
                of_public.or_else(|| self.guarded.ready.pop_heavier_than(own))
            } else {
                public.ready.pop_heavier_than(own)
            };
            let Some(victim) = victim else { return false };
            count(dropped, &victim);
        }
        true
    }

    fn is_full(&self, event: &WebhookEvent) -> bool {
        let classes = [&self.guarded, &self.public];
        let events: usize = classes.iter().map(|class| class.departures.len() + class.ready.len()).sum();
        let bytes: usize = classes.iter().map(|class| class.ready.weight()).sum();
        // Only texts can be large, and one event alone has room whatever its size.
        let is_heavy = event.text_bytes() > 0 && bytes > 0 && bytes + weight(event) > MAX_READY_BYTES;
        events >= self.capacity || is_heavy
    }

    /// Moves departures that are final.
    fn settle(&mut self, now: u64) {
        let now = if self.is_last { u64::MAX } else { now };
        for class in [&mut self.guarded, &mut self.public] {
            while let Some((time, event)) = class.departures.pop_due(now) {
                if self.wanted.is_empty() || self.wanted.contains(&event.kind()) {
                    class.ready.push(time, event);
                }
            }
        }
    }

    /// Whether an event is a `cache_miss` that was reported just now.
    fn is_repeated_miss(&mut self, event: &WebhookEvent, now: u64) -> bool {
        let WebhookEvent::CacheMiss { channel } = event else { return false };
        let is_recent = |at: &u64| now.saturating_sub(*at) < MISS_WINDOW;
        if self.misses.get(channel).is_some_and(is_recent) {
            return true;
        }
        if self.misses.len() >= MAX_MISSES {
            self.misses.retain(|_, at| is_recent(at));
        }
        if self.misses.len() < MAX_MISSES {
            self.misses.insert(channel.clone(), now);
        }
        false
    }

    fn class(&mut self, is_guarded: bool) -> &mut ClassQueue {
        if is_guarded { &mut self.guarded } else { &mut self.public }
    }

    fn wants(&self, kind: EventKind) -> bool {
        self.wanted.is_empty() || self.wanted.contains(&kind)
    }
}

/// Whether only clients that the application authorizes can cause events of a channel.
pub(super) fn is_guarded(channel: &ChannelName) -> bool {
    Channel::new(channel.as_str(), ChannelName::MAX_BYTES)
        .is_ok_and(|channel| channel.access() != Access::Public)
}

fn count(dropped: &mut Option<Dropped>, event: &WebhookEvent) {
    let events = dropped.as_ref().map_or(0, |dropped| dropped.events) + 1;
    *dropped = Some(Dropped { events, last: Some((event.kind().name(), event.channel().clone())) });
}
