use std::collections::{HashMap, VecDeque};

use super::event::{RETURN_WITHIN, Subject, WebhookEvent};
use super::queued::Queued;

/// Departures that are not final yet, because the channel or member may return.
#[derive(Debug, Default)]
pub(super) struct Departures {
    departed: HashMap<Subject, (u64, Queued<WebhookEvent>)>,
    /// In order of the time at which each becomes final. Entries of subjects that have returned stay until then, or
    /// until they are the majority.
    due: VecDeque<(u64, Subject)>,
}

impl Departures {
    pub(super) fn len(&self) -> usize {
        self.departed.len()
    }

    /// When the first one becomes final, in milliseconds.
    pub(super) fn next(&self) -> Option<u64> {
        self.due.front().map(|(at, _)| *at)
    }

    pub(super) fn insert(&mut self, subject: Subject, event: Queued<WebhookEvent>, now: u64) {
        let at = now.saturating_add(RETURN_WITHIN);
        self.due.push_back((at, subject.clone()));
        self.departed.insert(subject, (at, event));
        if self.due.len() > 2 * self.departed.len() + 64 {
            let departed = &self.departed;
            self.due.retain(|(at, subject)| departed.get(subject).is_some_and(|(last, _)| last == at));
        }
    }

    /// The subject has returned. Whether its departure was waiting.
    pub(super) fn remove(&mut self, subject: &Subject) -> bool {
        self.departed.remove(subject).is_some()
    }

    /// The next departure that is final, with its time.
    pub(super) fn pop_due(&mut self, now: u64) -> Option<(u64, Queued<WebhookEvent>)> {
        while self.due.front().is_some_and(|(at, _)| *at <= now) {
            let (at, subject) = self.due.pop_front()?;
            if let Some(event) = self.take(at, &subject) {
                return Some((at.saturating_sub(RETURN_WITHIN), event));
            }
        }
        None
    }

    /// Removes the latest departure, to make room.
    pub(super) fn pop_latest(&mut self) -> Option<Queued<WebhookEvent>> {
        while let Some((at, subject)) = self.due.pop_back() {
            if let Some(event) = self.take(at, &subject) {
                return Some(event);
            }
        }
        None
    }

    /// The event, unless the subject has returned since, or has departed again: then only the later time counts.
    fn take(&mut self, at: u64, subject: &Subject) -> Option<Queued<WebhookEvent>> {
        if self.departed.get(subject).is_none_or(|(last, _)| *last != at) {
            return None;
        }
        self.departed.remove(subject).map(|(_, event)| event)
    }
}
