use super::event::NativeEventKind;

/// Which events a receiver wants. Empty lists stand for all.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    kinds: Vec<String>,
    /// A bit for each kind of event.
    events: u8,
}

impl Selection {
    pub(super) fn new(kinds: &[String], events: &[NativeEventKind]) -> Self {
        let events = if events.is_empty() { &NativeEventKind::ALL } else { events };
        Self {
            kinds: kinds.to_vec(),
            events: events.iter().map(|event| event.bit()).fold(0, |all, bit| all | bit),
        }
    }

    /// The kinds of events that it wants, as bits.
    pub(super) const fn events(&self) -> u8 {
        self.events
    }

    /// `kind` is the kind of the channel.
    pub(super) fn wants(&self, event: NativeEventKind, kind: &str) -> bool {
        self.wants_any(event.bit(), kind)
    }

    /// The same for any of these events, given as bits.
    pub(super) fn wants_any(&self, events: u8, kind: &str) -> bool {
        self.events & events != 0 && (self.kinds.is_empty() || self.kinds.iter().any(|own| own == kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_lists_stand_for_all() {
        let all = Selection::new(&[], &[]);
        assert!(NativeEventKind::ALL.iter().all(|event| all.wants(*event, "anything")));
        let some = Selection::new(&["chat".into()], &[NativeEventKind::Message, NativeEventKind::UserOnline]);
        assert!(
            some.wants(NativeEventKind::Message, "chat") && some.wants(NativeEventKind::UserOnline, "chat")
        );
        assert!(
            !some.wants(NativeEventKind::Message, "chats") && !some.wants(NativeEventKind::Connected, "chat")
        );
        assert!(some.wants_any(NativeEventKind::OF_ENGINE, "chat"));
        assert!(!some.wants_any(NativeEventKind::OF_ENGINE, "chats"));
        assert!(!some.wants_any(NativeEventKind::Connected.bit(), "chat"));
    }
}
