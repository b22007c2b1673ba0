//! Sends a client what it has missed on a channel of its session.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::time::sleep;

use super::connection::{Inner, PusherConnection};
use super::recovering::{Recovering, number};
use crate::history::{Missed, Since};
use crate::hub::Replay;
use crate::message::{ChannelName, Frame, Position};
use crate::protocol::pusher::{ENCODING_WITH_IDS, Ticket, server_message};
use crate::telemetry::Reason;

/// What a client is sent before what is published.
struct Recovered {
    /// The first one says how many follow, or that others are missing.
    frames: Vec<Frame>,
    /// How many follow the first one.
    messages: usize,
    end: Option<Position>,
}

/// A longer replay is sent in parts, each this share of the limit of an outbox at most.
const PARTS_OF_OUTBOX: usize = 4;

/// How often to look whether the client has taken a part.
const FLUSH_POLL: Duration = Duration::from_millis(5);

impl PusherConnection {
    /// The client of a connection with a [`Recovery`](super::recovery::Recovery), or with positions, subscribes to a channel. Returns
    /// what is to be done if it may have missed something there, and the position to tell it.
    pub(super) fn begin_recovery(
        &self,
        inner: &mut Inner,
        channel: &ChannelName,
        subscription: Ticket,
    ) -> (Option<Recovering>, Option<String>) {
        if inner.recovery.is_none() && !self.tells_positions() {
            return (None, None);
        }
        let has_history = self.channels().has_history(inner.app_id(), channel);
        let delivered = self.channels().delivered_on(inner.app_id(), channel).filter(|_| has_history);
        let position = |since: Option<Since>| {
            let since = since.or(delivered.map(number)).filter(|_| has_history);
            since.filter(|_| self.tells_positions()).map(|since| since.to_string())
        };
        let Some(recovery) = &mut inner.recovery else { return (None, position(None)) };
        let (has_position, wanted) = recovery.take_wanted(channel);
        let inherited = recovery.take_inherited(channel);
        let read = inherited.as_ref().and_then(|kept| kept.since);
        let may_have_been = inherited.is_some() || recovery.may_lack(self.channels().clock());
        let was_subscribed = may_have_been && has_history;
        if !has_position && !was_subscribed {
            if has_history {
                recovery.subscribe(channel, subscription, delivered, false);
            }
            return (None, position(None));
        }
        let since = if has_position { wanted } else { read.map(number) };
        let follows_gap = inherited.is_some_and(|kept| kept.follows_gap);
        recovery.subscribe(channel, subscription, read, follows_gap);
        // A client that has a position knows what comes before it.
        let follows_gap = follows_gap && !has_position;
        let since = since.filter(|_| has_history);
        let (channel, asked_at) = (channel.clone(), Instant::now());
        let cached = Vec::new();
        let recovering =
            Recovering { channel, subscription, asked_at, since, follows_gap, delivered, cached };
        (Some(recovering), position(since))
    }

    /// Whether nobody can say where a client that subscribes to a channel now would begin: this node has not asked the store yet. If the
    /// client came back elsewhere, it would miss something and nobody would know.
    pub(super) fn begins_nowhere(&self, inner: &Inner, channel: &ChannelName) -> bool {
        (inner.recovery.is_some() || self.tells_positions())
            && self.channels().has_history(inner.app_id(), channel)
            && self.channels().delivered_on(inner.app_id(), channel).is_none()
    }

    pub(super) fn tells_positions(&self) -> bool {
        self.handle.outbox().format().encoding == ENCODING_WITH_IDS
    }

    /// Sends what the client has missed, once the hub holds what is published.
    pub(super) fn recover(self: &Arc<Self>, inner: &mut Inner, recovering: Recovering) {
        let Some(since) = recovering.since else { return self.finish_recovery(inner, &recovering, None) };
        if let Some(missed) = self.channels().missed(inner.app_id(), &recovering.channel, since) {
            let recovered = self.recovered(inner, &recovering, &missed);
            if recovered.bytes() <= self.part_bytes() {
                return self.finish_recovery(inner, &recovering, Some(recovered));
            }
        }
        if inner.recovery.as_mut().is_some_and(|recovery| recovery.queue(recovering)) {
            tokio::spawn(self.clone().recover_queued(inner.app_id().clone()));
        }
    }

    /// Reads what is not on this node, and sends what is too much to be sent at once, for one subscription after the other.
    async fn recover_queued(self: Arc<Self>, app: Arc<str>) {
        while let Some(recovering) = self.next_queued() {
            self.recover_slowly(&app, &recovering).await;
        }
    }

    fn next_queued(&self) -> Option<Recovering> {
        if self.handle.outbox().ending().is_some() {
            return None;
        }
        self.lock().recovery.as_mut()?.next_queued()
    }

    async fn recover_slowly(&self, app: &str, recovering: &Recovering) {
        let (channel, is_wanted) = (&recovering.channel, || self.is_wanted(&self.lock(), recovering));
        let missed = match recovering.since {
            Some(since) => self.channels().read_missed(app, channel, since, is_wanted).await,
            None => None,
        };
        let Some(missed) = missed else {
            let mut inner = self.lock();
            if self.is_wanted(&inner, recovering) {
                self.finish_recovery(&mut inner, recovering, None);
            }
            return;
        };
        let mut recovered = self.recovered(&self.lock(), recovering, &missed);
        while recovered.bytes() > self.part_bytes() {
            let part = recovered.take_part(self.part_bytes());
            {
                let inner = self.lock();
                if !self.is_wanted(&inner, recovering) {
                    return;
                }
                self.handle.push(&part);
            }
            while !self.handle.outbox().is_flushed() {
                sleep(FLUSH_POLL).await;
                if !is_wanted() {
                    return;
                }
            }
        }
        self.finish_recovery(&mut self.lock(), recovering, Some(recovered));
    }

    /// Whether the client still waits for what it has missed, in this subscription.
    fn is_wanted(&self, inner: &Inner, recovering: &Recovering) -> bool {
        let Recovering { channel, subscription, .. } = recovering;
        let recovery = inner.recovery.as_ref();
        recovery.is_some_and(|recovery| recovery.is_sending(channel, *subscription))
            && self.handle.outbox().ending().is_none()
    }

    fn recovered(&self, inner: &Inner, recovering: &Recovering, missed: &Missed) -> Recovered {
        let channel = &recovering.channel;
        let (encoding, to) = (self.handle.outbox().format().encoding, inner.session.socket_id());
        let frames = missed.entries.iter();
        let frames = frames.filter_map(|entry| self.channels().missed_frame(entry, channel, encoding, to));
        let mut frames: Vec<Frame> = frames.collect();
        let messages = frames.len();
        if recovering.follows_gap {
            let id = recovering.since.filter(|_| self.tells_positions()).map(|since| since.to_string());
            frames.insert(0, server_message::gap(channel.as_str(), id.as_deref()));
            if messages == 0 {
                frames.extend(recovering.cached.iter().cloned());
            }
        } else {
            frames.insert(0, server_message::recovered(channel.as_str(), messages));
        }
        Recovered { frames, messages, end: missed.end }
    }

    /// Sends the last part, or tells the client of a gap, and lets it have what is published. `None`: a gap.
    fn finish_recovery(&self, inner: &mut Inner, recovering: &Recovering, recovered: Option<Recovered>) {
        let channel = &recovering.channel;
        let scoped = inner.scoped(channel);
        let Some(recovery) = &mut inner.recovery else { return };
        if !recovery.is_sending(channel, recovering.subscription) {
            return;
        }
        let metrics = self.channels().metrics();
        let recoveries = &metrics.pusher_recoveries;
        let replay = if let Some(Recovered { frames, messages, end }) = recovered {
            let reason = if recovering.follows_gap { "gap" } else { "recovered" };
            recoveries.get_or_create(&Reason::new(reason)).inc();
            metrics.messages_recovered.inc_by(messages as u64);
            metrics.latency.recovered(recovering.asked_at, messages);
            Replay { frames, end }
        } else {
            recoveries.get_or_create(&Reason::new("gap")).inc();
            tracing::info!(
                connection = self.handle.id(),
                channel = channel.as_str(),
                "gap: the history no longer has everything that the client has missed"
            );
            // What it has read elsewhere may be held here.
            let joined = recovering.delivered.map(number);
            let (id, end) = self.channels().after_gap(&scoped, joined, recovering.since);
            let id = id.filter(|_| self.tells_positions()).map(|id| id.to_string());
            let mut frames = vec![server_message::gap(channel.as_str(), id.as_deref())];
            frames.extend(recovering.cached.iter().cloned());
            recovery.skip(channel, recovering.delivered);
            Replay { frames, end }
        };
        self.handle.open(&scoped, replay);
        if recovery.sent(channel, recovering.subscription).is_some()
            && let Some((progress, ticket)) = recovery.progress()
        {
            self.handle.track(ticket, progress);
        }
        self.write_channels(inner, std::slice::from_ref(channel));
    }

    fn part_bytes(&self) -> usize {
        self.handle.outbox_bytes() / PARTS_OF_OUTBOX
    }
}

impl Recovered {
    fn bytes(&self) -> usize {
        self.frames.iter().map(|frame| frame.bytes().len()).sum()
    }

    /// Takes the first frames, at least one, as one.
    fn take_part(&mut self, bytes: usize) -> Frame {
        let mut part = BytesMut::new();
        let count = self.frames.iter().take_while(|frame| {
            let fits = part.is_empty() || part.len() + frame.bytes().len() <= bytes;
            if fits {
                part.extend_from_slice(frame.bytes());
            }
            fits
        });
        let count = count.count();
        self.frames.drain(..count);
        Frame::from_wire(part.freeze())
    }
}
