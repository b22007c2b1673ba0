//! How a connection leaves one of its channels, or all of them.

use std::sync::Arc;

use super::connection::{Inner, PusherConnection};
use super::leave::{AT_ONCE, Ended};
use super::tail::tell_subscription;
use crate::message::ChannelName;
use crate::protocol::pusher::Unsubscribed;
use crate::telemetry::TailKind;

impl PusherConnection {
    pub(super) fn unsubscribe(&self, inner: &mut Inner, Unsubscribed { channel, was_active }: &Unsubscribed) {
        let name = channel.name();
        if *was_active {
            self.leave_hub(inner, name);
        }
        self.unwrite_channel(inner, name);
        if let Some(recovery) = &mut inner.recovery {
            recovery.leave(name);
        }
        self.channels().exit(inner.app_id(), name, inner.session.socket_id());
    }

    /// Ends the delivery of a channel that the client was subscribed to.
    pub(super) fn leave_hub(&self, inner: &Inner, channel: &ChannelName) {
        self.handle.leave(&inner.scoped(channel));
        self.channels().metrics().pusher_subscriptions.dec();
        let kind = TailKind::Unsubscribed;
        tell_subscription(self.channels().metrics(), kind, &inner.session, self.handle.id(), channel);
    }

    /// Leaves all channels.
    pub(super) fn leave(self: &Arc<Self>, inner: &mut Inner) {
        self.unwatch(inner);
        if inner.session.user().is_some() {
            self.channels().sign_out(inner.app_id(), inner.session.socket_id());
        }
        if self.leave_some_of(inner) {
            self.context.leaving.push(self.clone());
        }
    }

    fn leave_some_of(&self, inner: &mut Inner) -> bool {
        for unsubscribed in inner.session.take_channels(AT_ONCE) {
            self.unsubscribe(inner, &unsubscribed);
        }
        inner.session.channels().next().is_some()
    }
}

impl Ended for PusherConnection {
    fn leave_some(&self) -> bool {
        self.leave_some_of(&mut self.lock())
    }
}
