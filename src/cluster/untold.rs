use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::state::SILENT_AFTER;
use crate::protocol::pusher::{RETURN_WITHIN, Subject, Way, WebhookEvent};

/// Times are those of the last tick, and a request takes its time, too.
const IMPRECISE: u64 = 1_000;

/// What a node was to tell webhooks so shortly before it went, in milliseconds, it may not have told any more.
const LAST_WORDS: u64 = 1_000;

/// Where a successor begins with what a node that said its farewell at this time may have left untold.
pub(super) fn last_words(farewell: u64) -> u64 {
    farewell.saturating_sub(LAST_WORDS)
}

/// Whether a successor tells an event that happened so many milliseconds before the farewell, for certain.
pub(super) fn is_taken_over(age: u64, event: &WebhookEvent) -> bool {
    let waits = match event.transition() {
        Some((_, Way::Goes)) => RETURN_WITHIN + IMPRECISE,
        Some((_, Way::Comes)) => 0,
        None if matches!(event, WebhookEvent::SubscriptionCount { .. }) => 0,
        // Only the node of the connection knows of these.
        None => return false,
    };
    // Sooner twice than never.
    age < LAST_WORDS + waits - IMPRECISE / 2
}

/// What another node is to tell webhooks, in case that it is gone.
#[derive(Debug, Default)]
pub(super) struct Untold(VecDeque<(u64, Arc<str>, WebhookEvent)>);

impl Untold {
    /// So many events are remembered.
    const MAX: usize = 4096;

    pub(super) fn remember(&mut self, time: u64, app: &Arc<str>, event: WebhookEvent) {
        let is_old =
            |(then, ..): &(u64, Arc<str>, WebhookEvent)| time.saturating_sub(*then) > 2 * SILENT_AFTER;
        while self.0.len() >= Self::MAX || self.0.front().is_some_and(is_old) {
            self.0.pop_front();
        }
        self.0.push_back((time, app.clone(), event));
    }

    /// What has happened in an app from this time on, and what had gone shortly before: that was not told yet, for it might
    /// have come back.
    pub(super) fn since(&self, time: u64, app: &str) -> Vec<WebhookEvent> {
        let from = time.saturating_sub(RETURN_WITHIN + IMPRECISE);
        let meant = self.0.iter().filter(|(then, id, _)| *then >= from && **id == *app);
        let mut untold: Vec<Option<WebhookEvent>> = Vec::new();
        let mut gone: HashMap<Subject, usize> = HashMap::new();
        for (then, _, event) in meant {
            match event.transition() {
                _ if *then >= time => {}
                Some((subject, Way::Goes)) => {
                    gone.insert(subject, untold.len());
                }
                Some((subject, Way::Comes)) => {
                    // It was back in time, so that there was nothing to tell.
                    if let Some(event) = gone.remove(&subject).and_then(|place| untold.get_mut(place)) {
                        *event = None;
                    }
                    continue;
                }
                None => continue,
            }
            untold.push(Some(event.clone()));
        }
        untold.into_iter().flatten().collect()
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
    fn what_others_may_not_have_told_is_remembered_for_a_while() {
        let mut untold = Untold::default();
        let app: Arc<str> = "1".into();
        for (time, name) in [(1, "a"), (5, "b"), (9, "c")] {
            untold.remember(time, &app, occupied(name));
        }
        assert_eq!(untold.since(5, "1"), [occupied("b"), occupied("c")]);
        assert!(untold.since(0, "2").is_empty());
        untold.remember(10 + 2 * SILENT_AFTER, &app, occupied("d"));
        assert_eq!(untold.since(0, "1"), [occupied("d")]);
    }

    #[test]
    fn what_is_left_to_a_successor_it_tells() {
        let app: Arc<str> = "1".into();
        let at = 60_000;
        let inherited = |age: u64, event: &WebhookEvent| {
            let mut untold = Untold::default();
            untold.remember(at - age, &app, event.clone());
            untold.since(last_words(at), &app) == [event.clone()]
        };
        for age in 0..10_000 {
            for event in [occupied("a"), vacated("a")] {
                assert!(
                    !is_taken_over(age, &event) || inherited(age + IMPRECISE / 2, &event),
                    "{age} {event:?}"
                );
            }
        }
        assert!(is_taken_over(RETURN_WITHIN, &vacated("a")) && !is_taken_over(RETURN_WITHIN, &occupied("a")));
        let channel = ChannelName::new("cache-a").unwrap();
        assert!(!is_taken_over(0, &WebhookEvent::CacheMiss { channel }));
    }

    #[test]
    fn a_departure_that_waited_for_its_return_was_not_told() {
        let mut untold = Untold::default();
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
            untold.remember(time, &app, event);
        }
        let expected = [vacated("just waits"), vacated("waits"), occupied("new")];
        assert_eq!(untold.since(5_000, "1"), expected);
        // Who had it to tell heard of the departure, and not of the return.
        let departures = ["told", "just waits", "back", "waits"].map(vacated);
        let returns = ["back", "told", "new"].map(occupied);
        assert_eq!(untold.since(4_150, "1"), [&departures[..], &returns].concat());
    }
}
