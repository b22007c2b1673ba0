use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize, Serializer};

use super::socket_id::SocketId;
use super::user::UserId;
use crate::message::ChannelName;

/// How long an empty channel or an absent member waits for its return, in milliseconds, before anybody is told.
pub const RETURN_WITHIN: u64 = 3000;

/// Events in one request at most.
const MAX_BATCH: usize = 100;

/// The texts of one request, in bytes, or one event that is larger. What JSON adds to them leaves it below the megabyte that
/// web servers take: a request that is too large for them would be tried for minutes, and hold up all that come after it.
const MAX_REQUEST_BYTES: usize = 128 * 1024;

/// The texts of all events that are ready, in bytes.
const MAX_READY_BYTES: usize = 16 * 1024 * 1024;

/// Something that the application is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum WebhookEvent {
    /// A channel has its first subscriber.
    ChannelOccupied {
        /// Which one.
        #[serde(serialize_with = "as_text")]
        channel: ChannelName,
    },
    /// A channel has lost its last subscriber.
    ChannelVacated {
        /// Which one.
        #[serde(serialize_with = "as_text")]
        channel: ChannelName,
    },
    /// A user's first connection has joined a presence channel.
    MemberAdded {
        /// Which one.
        #[serde(serialize_with = "as_text")]
        channel: ChannelName,
        /// Who.
        user_id: UserId,
    },
    /// A user's last connection has left a presence channel.
    MemberRemoved {
        /// Which one.
        #[serde(serialize_with = "as_text")]
        channel: ChannelName,
        /// Who.
        user_id: UserId,
    },
    /// A client has published an event.
    ClientEvent {
        /// Where.
        #[serde(serialize_with = "as_text")]
        channel: ChannelName,
        /// Its name.
        event: String,
        /// What the receivers found under `data`.
        data: String,
        /// Which connection.
        socket_id: SocketId,
        /// Who, on a presence channel.
        #[serde(skip_serializing_if = "Option::is_none")]
        user_id: Option<UserId>,
    },
    /// A cache channel had no event for a new subscriber.
    CacheMiss {
        /// Which one.
        #[serde(serialize_with = "as_text")]
        channel: ChannelName,
    },
    /// The number of subscribers of a channel has changed.
    SubscriptionCount {
        /// Which one.
        #[serde(serialize_with = "as_text")]
        channel: ChannelName,
        /// How many there are.
        subscription_count: u64,
    },
}

/// The kinds of events, by which a webhook chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// `channel_occupied`
    ChannelOccupied,
    /// `channel_vacated`
    ChannelVacated,
    /// `member_added`
    MemberAdded,
    /// `member_removed`
    MemberRemoved,
    /// `client_event`
    ClientEvent,
    /// `cache_miss`
    CacheMiss,
    /// `subscription_count`
    SubscriptionCount,
}

impl WebhookEvent {
    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> EventKind {
        match self {
            Self::ChannelOccupied { .. } => EventKind::ChannelOccupied,
            Self::ChannelVacated { .. } => EventKind::ChannelVacated,
            Self::MemberAdded { .. } => EventKind::MemberAdded,
            Self::MemberRemoved { .. } => EventKind::MemberRemoved,
            Self::ClientEvent { .. } => EventKind::ClientEvent,
            Self::CacheMiss { .. } => EventKind::CacheMiss,
            Self::SubscriptionCount { .. } => EventKind::SubscriptionCount,
        }
    }

    /// How long its texts are that clients write.
    fn text_bytes(&self) -> usize {
        if let Self::ClientEvent { event, data, .. } = self { event.len() + data.len() } else { 0 }
    }

    /// What it says has gone, or has come.
    #[must_use]
    pub fn transition(&self) -> Option<(Subject, Way)> {
        match self {
            Self::ChannelOccupied { channel } => Some(((channel.clone(), None), Way::Comes)),
            Self::ChannelVacated { channel } => Some(((channel.clone(), None), Way::Goes)),
            Self::MemberAdded { channel, user_id } => {
                Some(((channel.clone(), Some(user_id.clone())), Way::Comes))
            }
            Self::MemberRemoved { channel, user_id } => {
                Some(((channel.clone(), Some(user_id.clone())), Way::Goes))
            }
            _ => None,
        }
    }
}

/// A channel, or a member of one.
pub type Subject = (ChannelName, Option<UserId>);

/// What has become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It is there.
    Comes,
    /// It is not any more. The application hears of that only after [`RETURN_WITHIN`].
    Goes,
}

/// What one webhook has still to be told. Never holds more than its capacity, in events and in bytes, until the node goes.
#[derive(Debug)]
pub struct WebhookQueue {
    wanted: Vec<EventKind>,
    capacity: usize,
    /// What has gone, and when that counts.
    gone: HashMap<Subject, (u64, WebhookEvent)>,
    /// The same in the order of time. What has come back meanwhile stays here until its time.
    times: VecDeque<(u64, Subject)>,
    /// With the times when they happened.
    ready: VecDeque<(u64, WebhookEvent)>,
    /// The texts of those that are ready.
    bytes: usize,
    /// Nobody can come back any more, so that nothing waits.
    is_last: bool,
}

/// An event was dropped: the queue is full because the application does not take what it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped;

impl WebhookQueue {
    /// A queue for these kinds (none: all) and so many events.
    #[must_use]
    pub fn new(wanted: &[EventKind], capacity: usize) -> Self {
        Self {
            wanted: wanted.to_vec(),
            capacity,
            gone: HashMap::new(),
            times: VecDeque::new(),
            ready: VecDeque::new(),
            bytes: 0,
            is_last: false,
        }
    }

    /// Takes an event. `now` is in milliseconds and never goes back.
    pub fn push(&mut self, event: WebhookEvent, now: u64) -> Result<(), Dropped> {
        self.settle(now);
        let transition = event.transition();
        if let Some((subject, Way::Comes)) = &transition
            && self.gone.remove(subject).is_some()
        {
            return Ok(());
        }
        // What goes is kept also if it is not wanted: its return within the time is not news either.
        let goes = transition.filter(|(_, way)| *way == Way::Goes);
        if goes.is_none() && !self.wants(event.kind()) {
            return Ok(());
        }
        if self.times.len() + self.ready.len() >= self.capacity {
            return Err(Dropped);
        }
        if let Some((subject, _)) = goes {
            let at = now.saturating_add(RETURN_WITHIN);
            self.times.push_back((at, subject.clone()));
            self.gone.insert(subject, (at, event));
        } else {
            let bytes = event.text_bytes();
            if self.bytes + bytes > MAX_READY_BYTES {
                return Err(Dropped);
            }
            self.bytes += bytes;
            self.ready.push_back((now, event));
        }
        Ok(())
    }

    /// When to [`take`](Self::take) again: something that waits may be ready then.
    #[must_use]
    pub fn next_ready(&self) -> Option<u64> {
        self.times.front().map(|(at, _)| *at)
    }

    /// The events of the next request, none if there is nothing to tell yet.
    pub fn take(&mut self, now: u64) -> Vec<WebhookEvent> {
        self.settle(now);
        let mut bytes = 0;
        let fits = |(_, event): &&(u64, WebhookEvent)| {
            let is_first = bytes == 0;
            bytes += event.text_bytes();
            is_first || bytes <= MAX_REQUEST_BYTES
        };
        let count = self.ready.iter().take(MAX_BATCH).take_while(fits).count();
        let events: Vec<WebhookEvent> = self.ready.drain(..count).map(|(_, event)| event).collect();
        self.bytes -= events.iter().map(WebhookEvent::text_bytes).sum::<usize>();
        events
    }

    /// The last node goes: what has gone counts at once, for nobody can come back. What comes with the end is as much as there
    /// is on the node, and all of it has room.
    pub fn close(&mut self) {
        self.is_last = true;
        self.capacity = usize::MAX;
    }

    /// The node goes and leaves to others what waits here, and of what is ready that which `is_theirs`, which is told how
    /// many milliseconds ago an event happened.
    pub fn hand_over(&mut self, now: u64, is_theirs: impl Fn(u64, &WebhookEvent) -> bool) {
        self.settle(now);
        self.gone.clear();
        self.times.clear();
        self.ready.retain(|(then, event)| !is_theirs(now.saturating_sub(*then), event));
        self.bytes = self.ready.iter().map(|(_, event)| event.text_bytes()).sum();
    }

    /// Forgets everything. How many events nobody will be told.
    pub fn clear(&mut self) -> usize {
        self.settle(u64::MAX);
        self.bytes = 0;
        std::mem::take(&mut self.ready).len()
    }

    /// Moves what has waited long enough.
    fn settle(&mut self, now: u64) {
        let now = if self.is_last { u64::MAX } else { now };
        while self.times.front().is_some_and(|(at, _)| *at <= now) {
            let Some((at, subject)) = self.times.pop_front() else { return };
            // Of one that came back and went again only the later time counts.
            if self.gone.get(&subject).is_some_and(|(last, _)| *last == at)
                && let Some((_, event)) = self.gone.remove(&subject)
                && self.wants(event.kind())
            {
                self.ready.push_back((at.saturating_sub(RETURN_WITHIN), event));
            }
        }
    }

    fn wants(&self, kind: EventKind) -> bool {
        self.wanted.is_empty() || self.wanted.contains(&kind)
    }
}

/// The body of a request: `{"time_ms":…,"events":[…]}`. `time` is in milliseconds since the Unix epoch.
#[must_use]
pub fn webhook_body(time: u64, events: &[WebhookEvent]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        time_ms: u64,
        events: &'a [WebhookEvent],
    }
    // Texts and numbers can always be written as JSON.
    serde_json::to_vec(&Body { time_ms: time, events }).unwrap_or_default()
}

fn as_text<S: Serializer>(channel: &ChannelName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(channel.as_str())
}

#[cfg(test)]
mod tests;
