//! What a connection needs to go on where an earlier one of the same page has ended.

use std::time::Duration;

use super::Channels;
use crate::broker::{Status, StoreState};
use crate::history::{Content, Entry, Missed, Since};
use crate::hub::{ConnectionId, ReadLevel};
use crate::message::{ChannelName, Encoding, Frame, Position, SocketId};

impl Channels {
    /// Whether a channel of an app has a history.
    #[must_use]
    pub fn has_history(&self, app: &str, channel: &ChannelName) -> bool {
        self.histories.is_on() && self.histories.retention(&scoped(app, channel)).is_some()
    }

    /// How far this node has delivered. `None`: it has not asked the store yet.
    #[must_use]
    pub fn delivered(&self) -> Option<StoreState> {
        self.histories.delivered()
    }

    /// The same for a client that subscribes to this channel now.
    #[must_use]
    pub fn delivered_on(&self, app: &str, channel: &ChannelName) -> Option<StoreState> {
        self.histories.delivered_on(&scoped(app, channel))
    }

    /// Whether the store of histories has lost messages within this time, and with them perhaps the sessions of pages.
    #[must_use]
    pub fn has_lost_history_within(&self, time: Duration) -> bool {
        self.histories.has_lost_within(time)
    }

    /// Whether Redis may be losing them now: this node cannot reach it, or has not compared yet what it has with what was there before.
    #[must_use]
    pub fn may_be_losing_history(&self) -> bool {
        self.broker.status() != Status::Ready || self.histories.is_catching_up()
    }

    /// How far the clients of tracked connections have read: see [`Hub::read_level`](crate::hub::Hub::read_level).
    #[must_use]
    pub fn read_level(&self, most: usize) -> Option<ReadLevel> {
        self.hub.read_level(most)
    }

    /// What a client of a channel has missed, if this node knows and has delivered all of it. The connection must have joined the
    /// channel [gated](crate::hub::ConnectionHandle::join) before.
    #[must_use]
    pub fn missed(&self, app: &str, channel: &ChannelName, since: Since) -> Option<Missed> {
        self.histories.missed(&scoped(app, channel), since).filter(|missed| self.is_delivered(missed))
    }

    /// What has been entered may not be published yet. It would be delivered once more after the gate has been opened.
    fn is_delivered(&self, missed: &Missed) -> bool {
        missed.entries.last().is_none_or(|last| last.number <= self.hub.delivered())
    }

    /// What a client of a channel has missed, also if it has to be read from the store. `None`: a gap, or the client no longer wants it.
    pub async fn read_missed(
        &self,
        app: &str,
        channel: &ChannelName,
        since: Since,
        is_wanted: impl Fn() -> bool,
    ) -> Option<Missed> {
        let missed = self.histories.read_missed(&scoped(app, channel), since, is_wanted).await?;
        if !self.is_delivered(&missed) {
            self.broker.fence().await;
        }
        Some(missed)
    }

    /// Where a client goes on that is told of a gap: see [`Histories::after_gap`](super::Histories::after_gap).
    #[must_use]
    pub fn after_gap(
        &self,
        scoped: &ChannelName,
        joined: Option<Since>,
        since: Option<Since>,
    ) -> (Option<Since>, Option<Position>) {
        self.histories.after_gap(scoped, joined, since)
    }

    /// The frame of a message that was missed. `None`: it is not for this connection, or cannot be delivered.
    #[must_use]
    pub fn missed_frame(
        &self,
        entry: &Entry,
        channel: &ChannelName,
        encoding: Encoding,
        to: SocketId,
    ) -> Option<Frame> {
        let Content::App(event) = &entry.content else { return None };
        if event.except == Some(to) {
            return None;
        }
        entry.frame(encoding, || self.message(event, channel, Some(entry), encoding)).map(|(_, frame)| frame)
    }

    /// Gives a connection of this node the name of an earlier connection, so that what excludes that one excludes this one.
    pub fn adopt(&self, name: SocketId, connection: ConnectionId) {
        self.socket_ids.adopt(name, connection);
    }

    /// Ends [`adopt`](Self::adopt), unless another connection has the name by now.
    pub fn release(&self, name: SocketId, connection: ConnectionId) {
        self.socket_ids.release(name, connection);
    }
}

fn scoped(app: &str, channel: &ChannelName) -> ChannelName {
    ChannelName::scoped(app, channel.as_str())
}
