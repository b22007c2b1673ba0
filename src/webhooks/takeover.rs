//! What the successor of a node repeats to webhooks, because the node may not have delivered it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::event::{Direction, RETURN_WITHIN, Subject, WebhookEvent};

/// How long events of other nodes are remembered, in milliseconds: twice the silence after which a node counts as lost.
const REMEMBER: u64 = 30_000;

/// How inexact the time of an event is, in milliseconds: it is that of the last tick, and a request takes time as well.
const INACCURACY: u64 = 1_000;

/// A node may not have delivered the events of this many milliseconds before it left.
const UNDELIVERED_BEFORE_LEAVE: u64 = 1_000;

/// The time from which a successor repeats the events of a node that left at this time.
#[must_use]
pub fn takeover_start(left_at: u64) -> u64 {
    left_at.saturating_sub(UNDELIVERED_BEFORE_LEAVE)
}

/// Whether a successor is certain to deliver an event that happened `age` milliseconds before this node left.
#[must_use]
pub fn is_taken_over(age: u64, event: &WebhookEvent) -> bool {
    let waits = match event.transition() {
        Some((_, Direction::Departure)) => RETURN_WITHIN + INACCURACY,
        Some((_, Direction::Arrival)) => 0,
        None if matches!(event, WebhookEvent::SubscriptionCount { .. }) => 0,
        // Only the node of the connection knows of these.
        None => return false,
    };
    // Delivering twice is better than not at all.
    age < UNDELIVERED_BEFORE_LEAVE + waits - INACCURACY / 2
}

/// The recent events that another node is responsible for, in case that node is lost.
#[derive(Debug, Default)]
pub struct TakeoverLog(VecDeque<(u64, Arc<str>, WebhookEvent)>);

impl TakeoverLog {
    /// Maximum events that are remembered.
    const MAX: usize = 4096;

    /// Remembers an event of an app that happened now, in milliseconds.
    pub fn remember(&mut self, now: u64, app: &Arc<str>, event: WebhookEvent) {
        let is_old = |(then, ..): &(u64, Arc<str>, WebhookEvent)| now.saturating_sub(*then) > REMEMBER;
        while self.0.len() >= Self::MAX || self.0.front().is_some_and(is_old) {
            self.0.pop_front();
        }
        self.0.push_back((now, app.clone(), event));
    }

    /// The events of an app since this time, and the departures shortly before it: those had not been delivered yet, because
    /// the channel or member might have returned.
    #[must_use]
    pub fn since(&self, time: u64, app: &str) -> Vec<WebhookEvent> {
        let from = time.saturating_sub(RETURN_WITHIN + INACCURACY);
        let meant = self.0.iter().filter(|(then, id, _)| *then >= from && **id == *app);
        let mut events: Vec<Option<WebhookEvent>> = Vec::new();
        let mut departed: HashMap<Subject, usize> = HashMap::new();
        for (then, _, event) in meant {
            match event.transition() {
                _ if *then >= time => {}
                Some((subject, Direction::Departure)) => {
                    departed.insert(subject, events.len());
                }
                Some((subject, Direction::Arrival)) => {
                    // It returned in time, so that there was nothing to deliver.
                    if let Some(event) = departed.remove(&subject).and_then(|place| events.get_mut(place)) {
                        *event = None;
                    }
                    continue;
                }
                None => continue,
            }
            events.push(Some(event.clone()));
        }
        events.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ChannelName;

    fn occupied(text: &str) -> WebhookEvent {
        WebhookEvent::ChannelOccupied { channel: ChannelName::new(text).unwrap() }
    }

    fn vacated(text: &str) -> WebhookEvent {
        WebhookEvent::ChannelVacated { channel: ChannelName::new(text).unwrap() }
    }

    #[test]
    fn events_of_other_nodes_are_remembered_for_a_while() {
        let mut log = TakeoverLog::default();
        let app: Arc<str> = "1".into();
        for (time, name) in [(1, "a"), (5, "b"), (9, "c")] {
            log.remember(time, &app, occupied(name));
        }
        assert_eq!(log.since(5, "1"), [occupied("b"), occupied("c")]);
        assert!(log.since(0, "2").is_empty());
        log.remember(10 + REMEMBER, &app, occupied("d"));
        assert_eq!(log.since(0, "1"), [occupied("d")]);
    }

    #[test]
    fn a_successor_repeats_what_is_left_to_it() {
        let app: Arc<str> = "1".into();
        let at = 60_000;
        let inherited = |age: u64, event: &WebhookEvent| {
            let mut log = TakeoverLog::default();
            log.remember(at - age, &app, event.clone());
            log.since(takeover_start(at), &app) == [event.clone()]
        };
        for age in 0..10_000 {
            for event in [occupied("a"), vacated("a")] {
                assert!(
                    !is_taken_over(age, &event) || inherited(age + INACCURACY / 2, &event),
                    "{age} {event:?}"
                );
            }
        }
        assert!(is_taken_over(RETURN_WITHIN, &vacated("a")) && !is_taken_over(RETURN_WITHIN, &occupied("a")));
        let channel = ChannelName::new("cache-a").unwrap();
        assert!(!is_taken_over(0, &WebhookEvent::CacheMiss { channel }));
    }

    #[test]
    fn a_departure_that_waited_for_its_return_is_repeated() {
        let mut log = TakeoverLog::default();
        let app: Arc<str> = "1".into();
        for (time, event) in [
            (900, vacated("told")),
            (1_100, vacated("just waits")),
            (4_000, vacated("back")),
            (4_100, vacated("waits")),
            (4_200, occupied("back")),
            (4_300, occupied("told")),
            (6_000, occupied("new")),
        ] {
            log.remember(time, &app, event);
        }
        let expected = [vacated("just waits"), vacated("waits"), occupied("new")];
        assert_eq!(log.since(5_000, "1"), expected);
        // The responsible node saw the departure, but not the return.
        let departures = ["told", "just waits", "back", "waits"].map(vacated);
        let returns = ["back", "told", "new"].map(occupied);
        assert_eq!(log.since(4_150, "1"), [&departures[..], &returns].concat());
    }
}
