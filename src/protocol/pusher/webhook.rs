use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize, Serializer};

use super::socket_id::SocketId;
use super::user::UserId;
use crate::message::ChannelName;

/// How long an empty channel or an absent member waits for its return, in milliseconds, before anybody is told.
pub const RETURN_WITHIN: u64 = 3000;

/// Events in one request at most.
const MAX_BATCH: usize = 100;

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

/// What one webhook has still to be told. Never holds more than its capacity.
#[derive(Debug)]
pub struct WebhookQueue {
    wanted: Vec<EventKind>,
    capacity: usize,
    /// What has gone, and when that counts.
    gone: HashMap<Subject, (u64, WebhookEvent)>,
    /// The same in the order of time. What has come back meanwhile stays here until its time.
    times: VecDeque<(u64, Subject)>,
    ready: VecDeque<WebhookEvent>,
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
            self.ready.push_back(event);
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
        let count = self.ready.len().min(MAX_BATCH);
        self.ready.drain(..count).collect()
    }

    /// Moves what has waited long enough.
    fn settle(&mut self, now: u64) {
        while self.times.front().is_some_and(|(at, _)| *at <= now) {
            let Some((at, subject)) = self.times.pop_front() else { return };
            // Of one that came back and went again only the later time counts.
            if self.gone.get(&subject).is_some_and(|(last, _)| *last == at)
                && let Some((_, event)) = self.gone.remove(&subject)
                && self.wants(event.kind())
            {
                self.ready.push_back(event);
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn channel(text: &str) -> ChannelName {
        ChannelName::new(text).unwrap()
    }

    fn occupied(text: &str) -> WebhookEvent {
        WebhookEvent::ChannelOccupied { channel: channel(text) }
    }

    fn vacated(text: &str) -> WebhookEvent {
        WebhookEvent::ChannelVacated { channel: channel(text) }
    }

    #[test]
    fn golden_body() {
        let events = [
            occupied("a"),
            vacated("a"),
            WebhookEvent::MemberAdded { channel: channel("presence-a"), user_id: UserId::new("7") },
            WebhookEvent::MemberRemoved {
                channel: channel("presence-a"),
                user_id: serde_json::from_str("7").unwrap(),
            },
            WebhookEvent::ClientEvent {
                channel: channel("private-a"),
                event: "client-x".into(),
                data: "{}".into(),
                socket_id: SocketId::new(1, 2),
                user_id: None,
            },
            WebhookEvent::CacheMiss { channel: channel("cache-a") },
            WebhookEvent::SubscriptionCount { channel: channel("a"), subscription_count: 2 },
        ];
        assert_eq!(
            String::from_utf8(webhook_body(1_700_000_000_000, &events)).unwrap(),
            concat!(
                r#"{"time_ms":1700000000000,"events":[{"name":"channel_occupied","channel":"a"},"#,
                r#"{"name":"channel_vacated","channel":"a"},"#,
                r#"{"name":"member_added","channel":"presence-a","user_id":"7"},"#,
                r#"{"name":"member_removed","channel":"presence-a","user_id":7},"#,
                r#"{"name":"client_event","channel":"private-a","event":"client-x","data":"{}","socket_id":"1.2"},"#,
                r#"{"name":"cache_miss","channel":"cache-a"},"#,
                r#"{"name":"subscription_count","channel":"a","subscription_count":2}]}"#
            )
        );
    }

    #[test]
    fn who_comes_back_in_time_never_left() {
        let mut queue = WebhookQueue::new(&[], 10);
        queue.push(occupied("a"), 0).unwrap();
        assert_eq!(queue.take(0), [occupied("a")]);
        queue.push(vacated("a"), 100).unwrap();
        assert_eq!((queue.take(3099), queue.next_ready()), (vec![], Some(3100)));
        queue.push(occupied("a"), 3099).unwrap();
        assert_eq!((queue.take(9000), queue.next_ready()), (vec![], None));
        queue.push(vacated("a"), 9000).unwrap();
        queue.push(occupied("b"), 9000).unwrap();
        assert_eq!(queue.take(12_000), [occupied("b"), vacated("a")]);
        queue.push(vacated("a"), 20_000).unwrap();
        queue.push(occupied("a"), 23_000).unwrap();
        assert_eq!(queue.take(23_000), [vacated("a"), occupied("a")]);
    }

    #[test]
    fn who_goes_again_has_the_whole_time_again() {
        let mut queue = WebhookQueue::new(&[], 10);
        queue.push(vacated("a"), 0).unwrap();
        queue.push(occupied("a"), 1000).unwrap();
        queue.push(vacated("a"), 2000).unwrap();
        assert_eq!([queue.take(3000), queue.take(4999)], [vec![], vec![]]);
        assert_eq!(queue.take(5000), [vacated("a")]);
    }

    #[test]
    fn members_are_told_apart() {
        let event = |added: bool, user: &str| {
            let (channel, user_id) = (channel("presence-a"), UserId::new(user));
            if added {
                WebhookEvent::MemberAdded { channel, user_id }
            } else {
                WebhookEvent::MemberRemoved { channel, user_id }
            }
        };
        let mut queue = WebhookQueue::new(&[], 10);
        queue.push(event(false, "7"), 0).unwrap();
        queue.push(event(true, "8"), 1).unwrap();
        queue.push(event(true, "7"), 2).unwrap();
        assert_eq!(queue.take(9000), [event(true, "8")]);
    }

    #[test]
    fn only_what_is_wanted_and_only_so_much() {
        let mut queue = WebhookQueue::new(&[EventKind::ChannelVacated], 2);
        queue.push(occupied("a"), 0).unwrap();
        queue.push(vacated("a"), 0).unwrap();
        queue.push(occupied("a"), 1).unwrap();
        assert_eq!(queue.take(9000), []);
        queue.push(vacated("a"), 9000).unwrap();
        queue.push(vacated("b"), 9000).unwrap();
        assert_eq!(queue.push(vacated("c"), 9000), Err(Dropped));
        assert_eq!(queue.take(12_000), [vacated("a"), vacated("b")]);
        let mut queue = WebhookQueue::new(&[EventKind::ChannelOccupied], 200);
        queue.push(vacated("a"), 0).unwrap();
        queue.push(occupied("a"), 1).unwrap();
        assert_eq!(queue.take(9000), [], "a return within three seconds is none");
        for at in 0..150 {
            queue.push(occupied(&format!("c{at}")), 9000).unwrap();
        }
        assert_eq!([queue.take(9000).len(), queue.take(9000).len(), queue.take(9000).len()], [100, 50, 0]);
    }

    proptest! {
        /// Whatever flickers, the application is told occupied and vacated in turn, and ends up knowing the truth.
        #[test]
        fn the_application_knows_the_truth(steps in prop::collection::vec(0u64..4000, 0..40)) {
            let mut queue = WebhookQueue::new(&[], 100);
            let (mut now, mut is, mut told) = (0, false, false);
            for step in steps {
                now += step;
                is = !is;
                queue.push(if is { occupied("a") } else { vacated("a") }, now).unwrap();
                for event in queue.take(now) {
                    prop_assert_ne!(event == occupied("a"), told);
                    told = !told;
                }
            }
            for event in queue.take(now + RETURN_WITHIN) {
                prop_assert_ne!(event == occupied("a"), told);
                told = !told;
            }
            prop_assert_eq!(is, told);
        }
    }
}
