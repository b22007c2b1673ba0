use std::collections::VecDeque;
use std::sync::Arc;

use super::state::SILENT_AFTER;
use crate::protocol::pusher::WebhookEvent;

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

    /// What has happened in an app from this time on.
    pub(super) fn since(&self, time: u64, app: &str) -> Vec<WebhookEvent> {
        let is_meant = |(then, id, _): &&(u64, Arc<str>, WebhookEvent)| *then >= time && **id == *app;
        self.0.iter().filter(is_meant).map(|(_, _, event)| event.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::ChannelName;

    fn channel(text: &str) -> ChannelName {
        ChannelName::new(text).unwrap()
    }

    #[test]
    fn what_others_may_not_have_told_is_remembered_for_a_while() {
        let mut untold = Untold::default();
        let app: Arc<str> = "1".into();
        let event = |text: &str| WebhookEvent::ChannelOccupied { channel: channel(text) };
        for (time, name) in [(1, "a"), (5, "b"), (9, "c")] {
            untold.remember(time, &app, event(name));
        }
        assert_eq!(untold.since(5, "1"), [event("b"), event("c")]);
        assert!(untold.since(0, "2").is_empty());
        untold.remember(10 + 2 * SILENT_AFTER, &app, event("d"));
        assert_eq!(untold.since(0, "1"), [event("d")]);
    }
}
