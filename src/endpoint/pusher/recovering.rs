use std::time::Instant;

use crate::broker::StoreState;
use crate::history::Since;
use crate::message::{ChannelName, Frame};
use crate::protocol::pusher::{Action, Ticket};

/// A subscription of a client that may have missed something. The hub holds what is published until the client has been sent it.
#[derive(Debug)]
pub(super) struct Recovering {
    pub(super) channel: ChannelName,
    /// Which subscription to the channel: the client may end it, and begin another one.
    pub(super) subscription: Ticket,
    pub(super) asked_at: Instant,
    /// How far the client has read. `None`: it is not known.
    pub(super) since: Option<Since>,
    /// Up to there it has missed something for good, and may not know.
    pub(super) follows_gap: bool,
    /// How far everything was delivered when the subscription began.
    pub(super) delivered: Option<StoreState>,
    /// The last event of a cache channel, for a client that has missed something for good.
    pub(super) cached: Vec<Frame>,
}

impl Recovering {
    /// Takes the last event of a cache channel out of the reply: what has been missed ends with it.
    pub(super) fn withhold_cached(&mut self, reply: &mut Vec<Action>) {
        let cached = reply.split_off(reply.len().min(1)).into_iter().filter_map(|action| match action {
            Action::Reply(frame) => Some(frame),
            _ => None,
        });
        self.cached = cached.collect();
    }
}

pub(super) const fn number(StoreState { store, number }: StoreState) -> Since {
    Since::Number { store, number }
}

/// Reads a position that a client has sent.
pub(super) fn parse_since(text: &str) -> Option<Since> {
    /// Longer than any position.
    const MAX_LENGTH: usize = 64;
    if text.len() > MAX_LENGTH {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_positions_are_read() {
        let numbered = Since::Number { store: 0x009f_3c20, number: 17 };
        assert_eq!(parse_since("s9f3c20-17"), Some(numbered));
        assert_eq!(parse_since("9f3c20-17"), "9f3c20-17".parse().ok().map(Since::Position));
        for text in ["", "s", "s-", "s1", "s1-", "s01-1", "s1-01", "sF-1", "1-0", "x", "é-1", &"1".repeat(65)]
        {
            assert_eq!(parse_since(text), None, "{text}");
        }
    }
}
