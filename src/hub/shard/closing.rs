use std::num::NonZeroUsize;

use tokio::task::yield_now;

use super::Shard;
use crate::hub::channel_index::ChannelKey;
use crate::hub::fan_out::WRITES_PER_TURN;
use crate::hub::subscribers::{Subscriber, Subscribers};
use crate::hub::users::AudienceMatcher;
use crate::hub::{ConnectionId, Outbox};
use crate::message::{Close, CloseReason, RevokedTokens, UserId};

/// Which connections are closed for which command.
impl Shard {
    pub(super) fn close_some(&mut self, of: NonZeroUsize, reason: CloseReason) {
        let open: Vec<_> = self
            .connections
            .values()
            .map(|connection| &connection.outbox)
            .filter(|outbox| outbox.ending().is_none())
            .cloned()
            .collect();
        for outbox in open.iter().take(open.len().div_ceil(of.get())) {
            outbox.close_for(reason);
        }
    }

    pub(super) fn close_user(&self, user: &UserId, keys: Option<&[ChannelKey]>, reason: CloseReason) {
        let audience = AudienceMatcher::user(user);
        let close_if_included = |(id, subscriber): (ConnectionId, &Subscriber)| {
            if self.users.include(&audience, id, subscriber.user) {
                subscriber.outbox.close_for(reason);
            }
        };
        if let Some(keys) = keys {
            let subscribers = keys.iter().filter_map(|key| self.channels.get(key));
            subscribers.flat_map(Subscribers::all).for_each(close_if_included);
            keys.iter().flat_map(|key| self.gates.of_channel(*key)).for_each(close_if_included);
        } else {
            self.channels.values().flat_map(Subscribers::all).for_each(close_if_included);
            self.gates.all().for_each(close_if_included);
        }
    }

    pub(super) async fn close_channel(&mut self, keys: &[ChannelKey], reason: CloseReason) {
        let subscribers = keys.iter().filter_map(|key| self.channels.get(key)).flat_map(Subscribers::all);
        let gated = keys.iter().flat_map(|key| self.gates.of_channel(*key));
        for (_, subscriber) in subscribers.chain(gated) {
            subscriber.outbox.close_for(reason);
            self.writes += 1;
            if self.writes >= WRITES_PER_TURN {
                self.writes = 0;
                yield_now().await;
            }
        }
    }

    pub(super) fn close_revoked(&self, tokens: &RevokedTokens, close: &'static Close) {
        let is_revoked = tokens.matcher();
        let close_if_revoked = |outbox: &Outbox| {
            if is_revoked(outbox.token()) {
                outbox.close(close);
            }
        };
        let Some(user) = tokens.user() else {
            self.connections.values().for_each(|connection| close_if_revoked(&connection.outbox));
            return;
        };
        let audience = AudienceMatcher::user(user);
        let all = self.channels.values().flat_map(Subscribers::all).chain(self.gates.all());
        for (id, subscriber) in all {
            if self.users.include(&audience, id, subscriber.user) {
                close_if_revoked(&subscriber.outbox);
            }
        }
    }
}
