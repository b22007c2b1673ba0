//! Connections that come back and ask for what they have missed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::presence::Joiner;
use super::replay_writer::ReplayWriter;
use crate::channels::Histories;
use crate::history::{Content, Entry, Missed, Since};
use crate::hub::{Connection, ConnectionHandle, Replay};
use crate::message::{Audience, ChannelName, Encoding, Frame, Position, UserId};
use crate::protocol::native::{Native, encode_gap, encode_recovered, encode_up_to_date, message_encoding};
use crate::telemetry::{Metrics, Reason, logged};

/// How long a connection waits until the store has been read. Afterwards it is told of a gap, once this node has caught up with Redis.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Joins connections to channels with a history, and sends them what they have missed.
#[derive(Debug)]
pub(super) struct Recovery {
    histories: Arc<Histories>,
    native: Arc<Native>,
    metrics: Arc<Metrics>,
    /// How many bytes may be queued for a connection.
    outbox_bytes: usize,
}

/// A connection that has joined its channel, whose messages are held.
struct Returning {
    asked_at: Instant,
    handle: ConnectionHandle,
    channel: ChannelName,
    user: UserId,
    /// Everything after it is held or will be.
    position: Option<Since>,
    /// What the connection joins when it has been told what it has missed.
    presence: Option<Joiner>,
}

/// Why a client is told of a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GapReason {
    NoHistory,
    Unreadable,
    /// The ID is too old, beyond the newest, or of a store that has been lost.
    NotKept,
    Timeout,
}

impl GapReason {
    const fn label(self) -> &'static str {
        match self {
            Self::NoHistory => "no_history",
            Self::Unreadable => "unreadable",
            Self::NotKept => "not_kept",
            Self::Timeout => "timeout",
        }
    }
}

impl Recovery {
    pub(super) fn new(
        histories: Arc<Histories>,
        native: Arc<Native>,
        metrics: Arc<Metrics>,
        outbox_bytes: usize,
    ) -> Arc<Self> {
        Arc::new(Self { histories, native, metrics, outbox_bytes })
    }

    /// Joins the channel, and answers with what the client has missed since this ID before anything else is delivered. No ID means
    /// from now on.
    ///
    /// If this node knows the answer, it is in the outbox on return. Otherwise the store is read. `presence` joins afterwards.
    pub(super) fn join(
        self: &Arc<Self>,
        connection: &mut Connection,
        channel: &ChannelName,
        user: &UserId,
        since: &str,
        presence: Option<Joiner>,
    ) {
        connection.join_gated(channel, user);
        let returning = Returning {
            asked_at: Instant::now(),
            handle: connection.handle(),
            channel: channel.clone(),
            user: user.clone(),
            position: self.histories.position(channel),
            presence,
        };
        if since.is_empty() {
            let encoding = returning.encoding();
            let answer = match returning.position {
                Some(id) => encode_up_to_date(&id, encoding),
                None => encode_gap(None::<&Since>, encoding),
            };
            let (_, end) = self.histories.after_gap(channel, returning.position, None);
            return returning.open(&answer, end);
        }
        let Ok(since) = since.parse() else { return self.tell_gap(returning, None, GapReason::Unreadable) };
        match self.histories.missed(channel, since) {
            Some(missed) => self.replay(returning, since, missed),
            None => self.read(returning, since),
        }
    }

    /// Joins a channel without a history, and says that it has none.
    pub(super) fn join_without_history(
        &self,
        connection: &mut Connection,
        channel: &ChannelName,
        user: &UserId,
    ) {
        self.metrics.gaps.get_or_create(&Reason::new(GapReason::NoHistory.label())).inc();
        let encoding = connection.outbox().format().encoding;
        connection.handle().push(&encode_gap(None::<&Since>, encoding));
        connection.join(channel, user);
    }

    fn read(self: &Arc<Self>, returning: Returning, since: Since) {
        // Nothing is read from the client, because an answer to it would precede this one.
        returning.handle.outbox().pause_reading();
        let recovery = self.clone();
        tokio::spawn(async move {
            let outbox = returning.handle.outbox().clone();
            // A node that has not caught up would deliver what the client has read elsewhere.
            let mut has_caught_up = false;
            loop {
                let missed =
                    recovery.histories.read_missed(&returning.channel, since, || outbox.ending().is_none());
                match timeout(READ_TIMEOUT, missed).await {
                    Ok(Some(missed)) => break recovery.replay(returning, since, missed),
                    Ok(None) | Err(_) if outbox.ending().is_some() => break,
                    Ok(None) => break recovery.tell_gap(returning, Some(since), GapReason::NotKept),
                    Err(_) if has_caught_up => {
                        break recovery.tell_gap(returning, Some(since), GapReason::Timeout);
                    }
                    Err(_) => {
                        has_caught_up = timeout(READ_TIMEOUT, recovery.histories.caught_up()).await.is_ok();
                    }
                }
            }
            outbox.resume_reading();
        });
    }

    fn replay(&self, returning: Returning, since: Since, Missed { entries, end }: Missed) {
        let (encoding, user) = (returning.encoding(), &returning.user);
        let frames: Vec<Frame> =
            entries.iter().filter_map(|entry| self.frame(entry, user, encoding)).collect();
        self.metrics.recoveries.inc();
        self.metrics.messages_recovered.inc_by(frames.len() as u64);
        self.metrics.latency.recovered(returning.asked_at, frames.len());
        let answer = if frames.is_empty() {
            encode_up_to_date(&end.map_or(since, Since::Position), encoding)
        } else {
            encode_recovered(frames.len(), encoding)
        };
        let Returning { handle, channel, presence, .. } = returning;
        ReplayWriter::new(handle, channel, frames, end, self.metrics.clone(), presence).start(&answer);
    }

    /// `since` is how far the client says it has read.
    fn tell_gap(&self, returning: Returning, since: Option<Since>, reason: GapReason) {
        self.metrics.gaps.get_or_create(&Reason::new(reason.label())).inc();
        tracing::info!(
            connection = returning.handle.id(),
            user = logged(returning.user.form()),
            channel = returning.channel.as_str(),
            reason = reason.label(),
            "gap: the client may have missed messages"
        );
        // What it has read elsewhere may be held here.
        let (position, end) = self.histories.after_gap(&returning.channel, returning.position, since);
        let answer = encode_gap(position.as_ref(), returning.encoding());
        returning.open(&answer, end);
    }

    /// The frame of a message, if it is for this user.
    fn frame(&self, entry: &Entry, user: &UserId, encoding: Encoding) -> Option<Frame> {
        let encoding = message_encoding(encoding);
        let (audience, frame) = entry.frame(encoding, || self.encode(entry, encoding))?;
        match audience {
            Audience::User(target) if target != *user => None,
            Audience::User(_) | Audience::Everyone | Audience::Except(_) => Some(frame),
        }
    }

    /// Encodes a message that had no subscriber of this encoding on this node when it was published.
    fn encode(&self, entry: &Entry, encoding: Encoding) -> Option<(Audience, Frame)> {
        let Content::Native(event) = &entry.content else { return None };
        let dropped = match self.native.deliver(event, Some(entry.position), encoding, |_, _| ()) {
            Ok((_, frame)) if frame.bytes().len() > self.outbox_bytes => "too_large",
            Ok(encoded) => return Some(encoded),
            Err(_) => "invalid_target",
        };
        self.metrics.broker_dropped.get_or_create(&Reason::new(dropped)).inc();
        tracing::warn!(
            channel = event.channel.as_str(),
            sender = logged(event.sender.id.form()),
            reason = dropped,
            "message dropped"
        );
        None
    }
}

impl Returning {
    fn encoding(&self) -> Encoding {
        self.handle.outbox().format().encoding
    }

    /// Delivers what comes after `end`.
    fn open(self, answer: &Frame, end: Option<Position>) {
        self.handle.push(answer);
        self.handle.open(&self.channel, Replay { frames: Vec::new(), end });
        if let Some(presence) = self.presence {
            presence.join();
        }
    }
}
