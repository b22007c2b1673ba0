//! The history of channels on this node: what the broker delivers is entered here on its way to the hub, and what a client has
//! missed is read from here, or else from the broker's store.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::sleep;

use crate::broker::{Broker, ReadAfter, StoreError, StoreRead, StoreState, StoredHistory, StoredMessage};
use crate::cluster::{Decoded, Envelope, decode};
use crate::history::{Content, Entry, Limits, Missed, Rings, Since};
use crate::message::{ChannelName, Dispatch, Position, Retention, RetentionRules, Stored};
use crate::unix_time::unix_time;

use super::wire::ClusterMessage;

/// How long to wait before the store is read again after a failure.
const READ_AGAIN: Duration = Duration::from_millis(50);

/// How often what is too old is removed.
const EXPIRY: Duration = Duration::from_secs(5);

/// The histories of all channels that have one.
#[derive(Debug)]
pub struct Histories {
    broker: Arc<Broker>,
    rules: Arc<RetentionRules>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rings: Rings,
    /// The last number that this node has handled. `None`: it has not asked the store yet.
    seen: Option<StoreState>,
    /// See [`Histories::delivered`].
    delivered: Option<StoreState>,
}

/// How a dispatch continues what has arrived before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    Next,
    /// It was delivered when this node caught up.
    Repeated,
    /// Others are missing before it: [catch up](Histories::catch_up) first, and ask again.
    TooEarly,
}

/// What a node has missed, for the channels that it asked about.
#[derive(Debug, Default)]
pub struct CaughtUp {
    /// In the order of the store.
    pub missed: Vec<(ChannelName, Arc<Entry>)>,
    /// The channels that may have lost messages: neither this node nor the store has them.
    pub gaps: Vec<ChannelName>,
}

impl Histories {
    /// Needs a Tokio runtime, for a background task.
    #[must_use]
    pub fn start(broker: Arc<Broker>, rules: Arc<RetentionRules>, limits: Limits) -> Arc<Self> {
        let state = State { rings: Rings::new(limits), seen: None, delivered: None };
        let histories = Arc::new(Self { broker, rules, state: Mutex::new(state) });
        if histories.is_on() {
            let weak = Arc::downgrade(&histories);
            tokio::spawn(async move {
                loop {
                    sleep(EXPIRY).await;
                    let Some(histories) = weak.upgrade() else { return };
                    histories.lock().rings.expire(now());
                }
            });
        }
        histories
    }

    /// Whether any channel has a history.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.rules.is_empty()
    }

    /// The retention of a channel, with the scope of its app.
    #[must_use]
    pub fn retention(&self, channel: &ChannelName) -> Option<Retention> {
        self.rules.of(channel)
    }

    /// The store, and the last number of it up to which this node has published everything in the hub. `None`: it has not asked the
    /// store yet.
    #[must_use]
    pub fn delivered(&self) -> Option<StoreState> {
        self.lock().delivered
    }

    /// Everything that has [arrived](Self::arrive), or was missing before it, has been published in the hub. Returns the last number.
    pub fn set_delivered(&self) -> Option<u64> {
        let mut state = self.lock();
        state.delivered = state.seen;
        state.seen.map(|seen| seen.number)
    }

    /// Classifies a dispatch that has been stored. One that is [next](Arrival::Next) counts as handled.
    pub fn arrive(&self, stored: &Stored) -> Arrival {
        let mut state = self.lock();
        let Some(seen) = &mut state.seen else { return Arrival::TooEarly };
        if stored.store != seen.store || stored.number > seen.number + 1 {
            return Arrival::TooEarly;
        }
        if stored.number <= seen.number {
            return Arrival::Repeated;
        }
        seen.number = stored.number;
        Arrival::Next
    }

    /// Enters a message that is about to be published in the hub. `None`: its channel has no history here.
    pub fn append(
        &self,
        channel: &ChannelName,
        stored: &Stored,
        position: Position,
        content: Content,
    ) -> Option<Arc<Entry>> {
        let retention = self.rules.of(channel)?;
        let entry = Arc::new(Entry::new(position, stored, content));
        self.lock().rings.append(channel, retention, entry.clone(), now());
        Some(entry)
    }

    /// Reads what this node has missed, and enters it. `channels` lists the channels with subscribers here, and is called once what
    /// is published on them arrives. Waits until the store can be read.
    pub async fn catch_up(&self, channels: impl Fn() -> Vec<ChannelName>) -> CaughtUp {
        loop {
            match self.try_catch_up(&channels).await {
                Ok(caught_up) => return caught_up,
                Err(StoreError::Unreachable) => sleep(READ_AGAIN).await,
                Err(error @ StoreError::Denied) => {
                    tracing::error!(%error, "history is unavailable: messages may be missing");
                    return CaughtUp::default();
                }
            }
        }
    }

    async fn try_catch_up(&self, channels: &impl Fn() -> Vec<ChannelName>) -> Result<CaughtUp, StoreError> {
        let seen = self.lock().seen;
        let current = self.broker.store_state(seen).await?;
        let Some(seen) = seen else {
            let mut state = self.lock();
            state.rings.restart(current.store, current.number);
            state.seen = Some(current);
            return Ok(CaughtUp::default());
        };
        if current == seen {
            return Ok(CaughtUp::default());
        }
        let is_same = current.store == seen.store;
        let after = if is_same { seen.number } else { 0 };
        let mut channels = channels();
        channels.retain(|channel| self.rules.of(channel).is_some());
        let reads: Vec<StoreRead> = channels
            .iter()
            .map(|channel| StoreRead {
                channel: channel.clone(),
                after: self.read_after(channel, is_same, after),
            })
            .collect();
        let histories = self.broker.read_histories(&reads).await?;
        let mut caught_up = CaughtUp::default();
        let mut state = self.lock();
        if is_same {
            // What these have missed is not read.
            let others: Vec<ChannelName> =
                state.rings.channels().filter(|channel| !channels.contains(channel)).cloned().collect();
            for channel in others {
                state.rings.forget(&channel);
            }
        } else {
            tracing::warn!(
                "the store of histories has lost messages: clients that have missed some are told"
            );
        }
        let mut found: Vec<(ChannelName, StoredMessage)> = Vec::new();
        for (channel, history) in channels.into_iter().zip(histories) {
            if !is_same || has_hole(&state.rings, &channel, &history, after) {
                caught_up.gaps.push(channel.clone());
            }
            let missed = history.messages.into_iter();
            let missed = missed.filter(|message| message.number > after && message.number <= current.number);
            found.extend(missed.map(|message| (channel.clone(), message)));
        }
        if !is_same {
            state.rings.restart(current.store, 0);
        }
        found.sort_by_key(|(_, message)| message.number);
        for (channel, message) in found {
            let Some(retention) = self.rules.of(&channel) else { continue };
            let Some(entry) = entry(message, current.store) else { continue };
            state.rings.append(&channel, retention, entry.clone(), now());
            caught_up.missed.push((channel, entry));
        }
        state.seen = Some(current);
        Ok(caught_up)
    }

    fn read_after(&self, channel: &ChannelName, is_same: bool, after: u64) -> ReadAfter {
        match self.lock().rings.end(channel) {
            Some(end) if is_same => ReadAfter::Offset(end.offset.get()),
            _ => ReadAfter::Number(after),
        }
    }

    /// What a client of a channel has missed, if this node knows. The client must be [gated](crate::hub::ConnectionHandle::subscribe_gated)
    /// already, so that what is published meanwhile is held.
    #[must_use]
    pub fn missed(&self, channel: &ChannelName, since: Since) -> Option<Missed> {
        self.lock().rings.missed(channel, since, now())
    }

    /// What a client of a channel has missed, from the store, once this node has handled everything up to there. `None`: a gap.
    pub async fn read_missed(&self, channel: &ChannelName, since: Since) -> Option<Missed> {
        self.rules.of(channel)?;
        let after = match since {
            Since::Position(position) => ReadAfter::Offset(position.offset.get()),
            Since::Number { number, .. } => ReadAfter::Number(number),
        };
        let reads = [StoreRead { channel: channel.clone(), after }];
        let state = self.broker.store_state(None).await.ok()?;
        let history = self.broker.read_histories(&reads).await.ok()?.pop()?;
        // What the store has may still be on its way to this node.
        self.broker.fence().await;
        if let Some(missed) = self.missed(channel, since) {
            return Some(missed);
        }
        proven(history, since, state.store)
    }

    /// The position of the last message of a channel. `None`: there is none.
    pub async fn head(&self, channel: &ChannelName) -> Result<Option<Position>, StoreError> {
        if let Some(end) = self.lock().rings.end(channel) {
            return Ok(Some(end));
        }
        let reads = [StoreRead { channel: channel.clone(), after: ReadAfter::Number(u64::MAX) }];
        let history = self.broker.read_histories(&reads).await?.pop();
        Ok(history.and_then(|history| history.head).map(|head| head.position))
    }

    /// How far this node has handled a channel. `None`: it has not asked the store yet.
    #[must_use]
    pub fn position(&self, channel: &ChannelName) -> Option<Since> {
        let state = self.lock();
        let seen = state.seen.map(|seen| Since::Number { store: seen.store, number: seen.number });
        state.rings.end(channel).map(Since::Position).or(seen)
    }

    /// The messages of a channel that are kept, the oldest first: all of them, or the latest ones if this node has `enough`.
    pub async fn kept(&self, channel: &ChannelName, enough: usize) -> Result<Vec<Arc<Entry>>, StoreError> {
        let Some(retention) = self.rules.of(channel) else { return Ok(Vec::new()) };
        let (now, age) = (now(), retention.age.as_millis());
        let is_kept = |entry: &Arc<Entry>| u128::from(now.saturating_sub(entry.at)) <= age;
        let here: Vec<_> =
            self.lock().rings.entries(channel).filter(|entry| is_kept(entry)).cloned().collect();
        let is_whole = here.first().is_some_and(|first| first.position.offset.get() == 1);
        if is_whole || here.len() >= enough {
            return Ok(here);
        }
        let store = self.broker.store_state(None).await?.store;
        let reads = [StoreRead { channel: channel.clone(), after: ReadAfter::Start }];
        let history = self.broker.read_histories(&reads).await?.pop().unwrap_or_default();
        if history.head.is_none() {
            return Ok(here);
        }
        Ok(history.messages.into_iter().filter_map(|message| entry(message, store)).filter(is_kept).collect())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether messages after what this node has are neither in the ring nor in the store.
fn has_hole(rings: &Rings, channel: &ChannelName, history: &StoredHistory, after: u64) -> bool {
    let Some(head) = history.head.filter(|head| head.number > after) else { return false };
    let Some(first) = history.messages.first() else { return true };
    let (first, is_whole) = (first.position, first.position.offset.get() == 1);
    debug_assert_eq!(first.epoch, head.position.epoch);
    match rings.end(channel) {
        Some(end) if end.epoch == first.epoch => first.offset.get() != end.offset.get() + 1,
        // The first one that was read is the first one after `after`, unless those before it have been trimmed.
        _ => !is_whole && history.is_trimmed,
    }
}

/// What a client has missed by the store alone. `None`: the store does not prove it.
fn proven(history: StoredHistory, since: Since, store: u64) -> Option<Missed> {
    let head = history.head?;
    let is_proven = match since {
        Since::Position(position) => {
            let next = history
                .messages
                .first()
                .map_or(head.position.offset.get() + 1, |first| first.position.offset.get());
            position.epoch == head.position.epoch && position.offset.get() + 1 == next
        }
        Since::Number { store: of, .. } => of == store && !history.is_trimmed,
    };
    let entries =
        history.messages.into_iter().map(|message| entry(message, store)).collect::<Option<Vec<_>>>();
    is_proven.then(|| Some(Missed { entries: entries?, end: Some(head.position) })).flatten()
}

fn entry(
    StoredMessage { position, number, at, index, dispatch }: StoredMessage,
    store: u64,
) -> Option<Arc<Entry>> {
    let content = match dispatch {
        Dispatch::Event(event) => Content::Native(event),
        Dispatch::Signal(signal) => match decode::<ClusterMessage>(&signal) {
            Ok(Decoded::Message(Envelope { message: ClusterMessage::Event(event), .. })) => {
                Content::App(event.into())
            }
            _ => return None,
        },
        Dispatch::Topic { .. } => return None,
    };
    let stored = Stored { store, number, at, positions: vec![(index, position)] };
    Some(Arc::new(Entry::new(position, &stored, content)))
}

fn now() -> u64 {
    u64::try_from(unix_time().as_millis()).unwrap_or(u64::MAX)
}
