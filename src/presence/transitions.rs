use std::collections::HashMap;

use indexmap::IndexMap;

use super::channel::{Before, ChannelView};
use super::{Subject, Transition, What};
use crate::message::{ChannelName, NodeName};

/// Collects what one message changes. Channels are compared before and after all of it, so that a user that moves from one
/// connection to another has not left.
pub(super) struct Transitions<'a> {
    channels: &'a mut IndexMap<ChannelName, ChannelView>,
    touched: HashMap<ChannelName, Before>,
}

impl<'a> Transitions<'a> {
    pub(super) fn new(channels: &'a mut IndexMap<ChannelName, ChannelView>) -> Self {
        Self { channels, touched: HashMap::new() }
    }

    pub(super) fn replace(
        &mut self,
        node: &NodeName,
        subject: &Subject,
        old: Option<What>,
        new: Option<What>,
    ) {
        let (old, new) = (old.unwrap_or(What::Nobody), new.unwrap_or(What::Nobody));
        if old == new {
            return;
        }
        let (name, connection) = (&subject.0, subject.1.as_deref().copied());
        let view = self.channels.entry(name.clone()).or_default();
        let before = self.touched.entry(name.clone()).or_insert_with(|| view.before());
        for what in [&old, &new] {
            if let What::Member(member) = what {
                before.note(view, &member.user_id);
            }
        }
        // Of a connection that changes its member, the old one goes first.
        match old {
            What::Member(member) => view.remove(node, connection, &member.user_id),
            What::Count(count) => view.count -= count.min(view.count),
            What::Nobody => {}
        }
        match new {
            What::Member(member) => view.add(node, connection, member),
            What::Count(count) => view.count = view.count.saturating_add(count),
            What::Nobody => {}
        }
    }

    pub(super) fn finish(self) -> Vec<Transition> {
        let mut transitions = Vec::new();
        for (name, before) in self.touched {
            let Some(view) = self.channels.get(&name) else { continue };
            before.compare(&name, view, &mut transitions);
            if view.connections() == 0 {
                self.channels.swap_remove(&name);
                if self.channels.len() < self.channels.capacity() / 8 {
                    self.channels.shrink_to_fit();
                }
            }
        }
        transitions
    }
}
