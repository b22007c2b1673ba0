use std::collections::VecDeque;
use std::sync::Arc;

use crate::webhooks::WebhookEvent;

/// How long events are remembered, in milliseconds: twice the silence after which a node counts as lost.
const REMEMBER: u64 = 30_000;

/// How long before its last message a node may have noticed an event that it has not queued, in milliseconds. The time of an event is that
/// of the last tick, and Redis needs some as well.
const UNQUEUED: u64 = 1_000;

/// The recent events that another node is responsible for. If that node is lost, its successor queues those that it has not: they
/// happened when it was silent already, or shortly before.
#[derive(Debug, Default)]
pub(super) struct RecentEvents(VecDeque<RecentEvent>);

#[derive(Debug)]
struct RecentEvent {
    time: u64,
    app: Arc<str>,
    event: WebhookEvent,
}

impl RecentEvents {
    /// Maximum events that are remembered.
    const MAX: usize = 4096;

    /// Remembers an event of an app that happened now, in milliseconds.
    pub(super) fn remember(&mut self, now: u64, app: &Arc<str>, event: WebhookEvent) {
        let is_old = |recent: &RecentEvent| now.saturating_sub(recent.time) > REMEMBER;
        while self.0.len() >= Self::MAX || self.0.front().is_some_and(is_old) {
            self.0.pop_front();
        }
        self.0.push_back(RecentEvent { time: now, app: app.clone(), event });
    }

    /// The events of an app for the successor of a node that was silent since this time.
    pub(super) fn unqueued(&self, silent_since: u64, app: &str) -> Vec<WebhookEvent> {
        let from = silent_since.saturating_sub(UNQUEUED);
        let of_app = self.0.iter().filter(|recent| recent.time >= from && *recent.app == *app);
        of_app.map(|recent| recent.event.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ChannelName;

    fn occupied(text: &str) -> WebhookEvent {
        WebhookEvent::ChannelOccupied { channel: ChannelName::new(text).unwrap() }
    }

    #[test]
    fn events_of_other_nodes_are_remembered_for_a_while() {
        let mut recent = RecentEvents::default();
        let app: Arc<str> = "1".into();
        for (time, name) in [(1_000, "a"), (5_000, "b"), (9_000, "c")] {
            recent.remember(time, &app, occupied(name));
        }
        assert_eq!(recent.unqueued(5_000 + UNQUEUED, "1"), [occupied("b"), occupied("c")]);
        assert_eq!(recent.unqueued(5_001 + UNQUEUED, "1"), [occupied("c")]);
        assert!(recent.unqueued(0, "2").is_empty());
        recent.remember(9_001 + REMEMBER, &app, occupied("d"));
        assert_eq!(recent.unqueued(0, "1"), [occupied("d")]);
        for _ in 0..2 * RecentEvents::MAX {
            recent.remember(9_001 + REMEMBER, &app, occupied("d"));
        }
        assert_eq!(recent.unqueued(0, "1").len(), RecentEvents::MAX);
    }
}
