//! Delivers a run of messages to the subscribers of a shard.
//!
//! Each connection receives its messages in the order of the run. For connections on a single channel, that is the order of the
//! channel, whose messages are merged once for all of them. For connections on several channels, the messages are merged once for
//! each set of channels that some connections have in common in this run.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use tokio::task::yield_now;

use super::batch::{Block, Run, blocks, by_channel, channels};
use super::channel_index::{ChannelKey, MAX_SHARDS};
use super::subscribers::{Subscriber, Subscribers};
use super::users::{AudienceMatcher, Users};
use super::{ConnectionId, Pushed};
use crate::message::Audience;
use crate::telemetry::Metrics;

/// The shard yields after this many writes, so that a huge channel does not starve reads.
pub(super) const WRITES_PER_TURN: usize = 2048;

/// Subscriptions of connections on several channels that are sorted at a time. That takes about as long as the writes of a turn.
const SORTED_AT_ONCE: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct FanOut<'a> {
    pub(super) channels: &'a HashMap<ChannelKey, Subscribers, RandomState>,
    pub(super) users: &'a Users,
    pub(super) metrics: &'a Metrics,
    pub(super) outbox_bytes: usize,
    /// Writes since the shard last yielded.
    pub(super) writes: &'a mut usize,
}

/// A channel in a run: the places of its messages, and its subscribers.
struct Group<'a> {
    key: ChannelKey,
    places: &'a [usize],
    subscribers: &'a Subscribers,
}

/// A connection on several channels, as a subscriber of one of them.
struct Membership<'a> {
    id: ConnectionId,
    /// The index of the group.
    group: usize,
    subscriber: &'a Subscriber,
}

impl FanOut<'_> {
    pub(super) async fn deliver(&mut self, run: &Run) {
        if let [only] = run {
            if let Some(subscribers) = self.channels.get(&only.key) {
                self.write(&Block::from(&**only), subscribers.all()).await;
            }
            return;
        }
        let sorted = by_channel(run);
        let groups: Vec<Group<'_>> = channels(run, &sorted)
            .filter_map(|places| {
                let key = run.get(*places.first()?)?.key;
                Some(Group { key, places, subscribers: self.channels.get(&key)? })
            })
            .collect();
        if let [only] = &groups[..] {
            for block in blocks(run, only.places) {
                self.write(&block, only.subscribers.all()).await;
            }
            return;
        }
        for group in groups.iter().filter(|group| group.subscribers.on_one().len() > 0) {
            for block in blocks(run, group.places) {
                self.write(&block, group.subscribers.on_one()).await;
            }
        }
        self.deliver_to_several(run, &groups).await;
    }

    async fn deliver_to_several(&mut self, run: &Run, groups: &[Group<'_>]) {
        let count: usize = groups.iter().map(|group| group.subscribers.on_several().len()).sum();
        let parts = count.div_ceil(SORTED_AT_ONCE);
        for part in 0..parts {
            let memberships = memberships(groups, part, parts);
            let mut connections: Vec<&[Membership<'_>]> =
                memberships.chunk_by(|one, other| one.id == other.id).collect();
            connections.sort_by(|one, other| groups_of(one).cmp(groups_of(other)));
            for alike in connections.chunk_by(|one, other| groups_of(one).eq(groups_of(other))) {
                let groups_in_common = alike.first().into_iter().flat_map(|connection| groups_of(connection));
                let places = groups_in_common.filter_map(|group| groups.get(group));
                let mut places: Vec<usize> = places.flat_map(|group| group.places).copied().collect();
                places.sort_unstable();
                for block in blocks(run, &places) {
                    let subscribers =
                        alike.iter().filter_map(|connection| subscriber(connection, &block, groups));
                    self.write(&block, subscribers).await;
                }
            }
        }
    }

    async fn write<'s>(
        &mut self,
        block: &Block<'_>,
        mut subscribers: impl Iterator<Item = (ConnectionId, &'s Subscriber)>,
    ) {
        let audience = AudienceMatcher::from(block.audience);
        while self.write_turn(block, &audience, &mut subscribers) {
            yield_now().await;
        }
    }

    /// Writes to the next subscribers. Returns whether the turn of the shard is over. A function of its own, because the variables of
    /// an async one are in memory.
    fn write_turn<'s>(
        &mut self,
        block: &Block<'_>,
        audience: &AudienceMatcher<'_>,
        subscribers: &mut impl Iterator<Item = (ConnectionId, &'s Subscriber)>,
    ) -> bool {
        let (mut copies, mut writes) = (0, *self.writes);
        for (id, subscriber) in subscribers {
            if !self.users.include(audience, id, subscriber.user) {
                continue;
            }
            if subscriber.outbox.push(&block.frame, self.outbox_bytes) == Pushed::Taken {
                copies += 1;
            }
            writes += 1;
            if writes >= WRITES_PER_TURN {
                break;
            }
        }
        self.metrics.deliveries.inc_by(copies * block.messages);
        let is_over = writes >= WRITES_PER_TURN;
        *self.writes = if is_over { 0 } else { writes };
        is_over
    }
}

/// The memberships of one part of the connections that are on several channels: those of a connection together, in the order of
/// the groups.
fn memberships<'a>(groups: &[Group<'a>], part: usize, parts: usize) -> Vec<Membership<'a>> {
    // The IDs of a shard have the remainder in common.
    let is_in_part = |id: ConnectionId| (id / MAX_SHARDS as u64) % parts as u64 == part as u64;
    let mut found = Vec::new();
    for (group, Group { subscribers, .. }) in groups.iter().enumerate() {
        let of_part = subscribers.on_several().filter(|(id, _)| is_in_part(*id));
        found.extend(of_part.map(|(id, subscriber)| Membership { id, group, subscriber }));
    }
    // Stable, and fast if they joined in the order in which they connected.
    found.sort_by_key(|membership| membership.id);
    found
}

fn groups_of<'a>(connection: &'a [Membership<'_>]) -> impl Iterator<Item = usize> + use<'a> {
    connection.iter().map(|membership| membership.group)
}

/// The connection as a subscriber of the block's channel. If the block is not for one user, any of its channels will do.
fn subscriber<'a>(
    connection: &[Membership<'a>],
    block: &Block<'_>,
    groups: &[Group<'_>],
) -> Option<(ConnectionId, &'a Subscriber)> {
    let is_it = |membership: &&Membership<'_>| {
        groups.get(membership.group).is_some_and(|group| group.key == block.key)
    };
    let membership = match block.audience {
        Audience::User(_) => connection.iter().find(is_it)?,
        Audience::Everyone | Audience::Except(_) => connection.first()?,
    };
    Some((membership.id, membership.subscriber))
}
