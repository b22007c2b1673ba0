//! The history of channels on this node: what the broker delivers is entered here on its way to the hub, and what a client has
//! missed is read from here, or else from the broker's store (`missed_reads.rs`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::broker::{Broker, ReadAfter, StoreError, StoreRead, StoreState};
use crate::history::{Content, Entry, Limits, Missed, Since};
use crate::message::{ChannelName, Position, Retention, RetentionRules, Stored};
use crate::unix_time::unix_milliseconds;

use super::history_state::{CaughtUp, Gap, HistoryState, Missing, Reading};
use super::stored_entries::entry;

/// Maximum clients, of all protocols, for which the store is read at the same time: what is read takes memory.
const CONCURRENT_READS: usize = 64;

/// How long to wait before the store is read again after a failure.
pub(super) const READ_AGAIN: Duration = Duration::from_millis(50);

/// How long the node handles nothing newer because the store cannot be read. Afterwards what it has missed counts as lost.
const GIVE_UP: Duration = Duration::from_secs(10);

/// How often what is too old is removed.
const EXPIRY: Duration = Duration::from_secs(5);

/// The histories of all channels that have one.
#[derive(Debug)]
pub struct Histories {
    pub(super) broker: Arc<Broker>,
    pub(super) rules: Arc<RetentionRules>,
    state: Mutex<HistoryState>,
    /// For what clients have missed. The node itself does not wait for them.
    pub(super) reads: Semaphore,
}

/// How a dispatch continues what has arrived before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    Next,
    /// It was delivered when this node caught up.
    Repeated,
    /// Others are missing before it: [catch up](Histories::catch_up) first, and ask again.
    TooEarly,
    /// Another store has stored it: [catch up](Histories::catch_up) first, and ask again. After that, it is one that has been lost.
    OfAnotherStore,
}

impl Histories {
    /// Needs a Tokio runtime, for a background task.
    #[must_use]
    pub fn start(broker: Arc<Broker>, rules: Arc<RetentionRules>, limits: Limits) -> Arc<Self> {
        let state = HistoryState::new(limits);
        let reads = Semaphore::new(CONCURRENT_READS);
        let histories = Arc::new(Self { broker, rules, state: Mutex::new(state), reads });
        if histories.is_on() {
            let weak = Arc::downgrade(&histories);
            tokio::spawn(async move {
                loop {
                    sleep(EXPIRY).await;
                    let Some(histories) = weak.upgrade() else { return };
                    histories.lock().rings.expire(unix_milliseconds());
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

    /// How far this node has published everything for a client that subscribes to a channel now: what it will not be sent.
    #[must_use]
    pub fn delivered_on(&self, channel: &ChannelName) -> Option<StoreState> {
        self.lock().delivered_on(channel)
    }

    /// Whether this node has noticed within this time that the store has lost messages.
    #[must_use]
    pub fn has_lost_within(&self, time: Duration) -> bool {
        self.lock().lost_at.is_some_and(|lost_at| lost_at.elapsed() <= time)
    }

    /// Whether this node is reading what it may have missed.
    #[must_use]
    pub fn is_catching_up(&self) -> bool {
        self.lock().is_catching_up
    }

    /// Publishes what was missed, in its order. Whoever subscribes meanwhile begins where this node is by then.
    pub fn publish_missed(
        &self,
        missed: Vec<(ChannelName, Arc<Entry>)>,
        mut publish: impl FnMut(&ChannelName, &Entry),
    ) {
        for (channel, entry) in missed {
            self.lock().set_delivered_before(entry.number);
            publish(&channel, &entry);
        }
    }

    /// Everything that has [arrived](Self::arrive), or was missing before it, has been published in the hub. Returns how far that is.
    pub fn set_delivered(&self) -> Option<StoreState> {
        let mut state = self.lock();
        (state.delivered, state.is_catching_up, state.reading) = (state.seen, false, None);
        state.seen
    }

    /// Classifies a dispatch that has been stored. One that is [next](Arrival::Next) counts as handled.
    pub fn arrive(&self, stored: &Stored) -> Arrival {
        let mut state = self.lock();
        let state = &mut *state;
        if state.is_blind {
            let before = stored.number.saturating_sub(1);
            state.rings.restart(stored.store, before);
            state.seen = Some(StoreState { store: stored.store, number: before });
            state.is_blind = false;
        }
        let Some(seen) = &mut state.seen else { return Arrival::TooEarly };
        if stored.store != seen.store {
            return Arrival::OfAnotherStore;
        }
        if stored.number > seen.number + 1 {
            return Arrival::TooEarly;
        }
        if stored.number <= seen.number {
            return if stored.number <= state.first { Arrival::Next } else { Arrival::Repeated };
        }
        seen.number = stored.number;
        Arrival::Next
    }

    /// Whether this node has delivered a message before other nodes, on which its channel has a history, have stored it. Their settings
    /// differ while nodes are reloaded one after another.
    #[must_use]
    pub fn is_delivered(&self, channel: &ChannelName, stored: Option<&Stored>) -> bool {
        stored.is_some_and(|stored| stored.is_plain_copy) && self.rules.of(channel).is_none()
    }

    /// Enters a message and publishes it, in one step for [`missed`](Self::missed): a client gets it either with what it has missed or
    /// live. `publish` must not block.
    pub fn append_and_publish(
        &self,
        channel: &ChannelName,
        stored: &Stored,
        position: Position,
        content: Content,
        publish: impl FnOnce(Option<&Entry>),
    ) {
        let Some(retention) = self.rules.of(channel) else { return publish(None) };
        let entry = Arc::new(Entry::new(position, stored, content));
        let mut state = self.lock();
        state.append(channel, retention, stored.store, &entry);
        publish(Some(&entry));
    }

    /// Reads what this node has missed, and enters it. `channels` lists the channels with subscribers here, and is called once what
    /// is published on them arrives. Waits until the store can be read, for some seconds. Until [`set_delivered`](Self::set_delivered),
    /// nothing is proven by what was entered.
    pub async fn catch_up(&self, channels: impl Fn() -> Vec<ChannelName>) -> CaughtUp {
        let started = Instant::now();
        loop {
            let error = match self.try_catch_up(&channels).await {
                Ok(caught_up) => return caught_up,
                Err(error) => error,
            };
            if error == StoreError::Denied || started.elapsed() > GIVE_UP {
                tracing::error!(%error, "cannot read the history: what this node has missed is lost");
                return self.give_up(channels);
            }
            sleep(READ_AGAIN).await;
        }
    }

    async fn try_catch_up(&self, channels: &impl Fn() -> Vec<ChannelName>) -> Result<CaughtUp, StoreError> {
        let seen = {
            let mut state = self.lock();
            // Whoever asks the rings now may have subscribed after `channels` is called.
            state.is_catching_up = true;
            state.seen
        };
        let current = self.broker.store_state(seen).await?;
        let Some(seen) = seen else {
            // Those who have subscribed already may have missed what was stored before.
            let StoreState { store, number } = current;
            let gaps = self.gaps(channels(), Some(Since::Number { store, number }));
            let mut state = self.lock();
            let is_first = state.starts == 0;
            state.start(current);
            return Ok(CaughtUp { missed: Vec::new(), gaps, is_first });
        };
        if current == seen {
            let mut state = self.lock();
            (state.is_catching_up, state.reading) = (false, None);
            return Ok(CaughtUp::default());
        }
        if current.store != seen.store {
            // Before the channels are listed: whoever subscribes to others now has to be told by its own connection.
            self.lock().lost_at = Some(Instant::now());
        }
        let mut channels = channels();
        channels.retain(|channel| self.rules.of(channel).is_some());
        let reading = Reading { channels: channels.iter().cloned().collect(), until: current };
        self.lock().reading = Some(reading);
        // What another store has numbered has all been missed.
        let after = if current.store == seen.store { seen.number } else { 0 };
        let from = ReadAfter::Number(StoreState { store: current.store, number: after });
        let read = |channel: &ChannelName| StoreRead { channel: channel.clone(), after: from };
        let reads: Vec<StoreRead> = channels.iter().map(read).collect();
        let histories = self.broker.read_histories(&reads).await?;
        if histories.iter().any(|history| history.store != Some(current.store)) {
            // It has changed in the meantime.
            return Err(StoreError::Unreachable);
        }
        let missed = Missing { seen, current, after };
        Ok(self.lock().enter(&missed, channels.into_iter().zip(histories).collect(), &self.rules))
    }

    /// Continues with the next message that arrives.
    fn give_up(&self, channels: impl Fn() -> Vec<ChannelName>) -> CaughtUp {
        self.lock().lost_at = Some(Instant::now());
        let channels = channels();
        let mut state = self.lock();
        let has_seen = state.seen.take().is_some();
        state.rings.restart(0, 0);
        state.starts += 1;
        (state.is_blind, state.is_catching_up, state.reading) = (true, false, None);
        let gaps = if has_seen { self.gaps(channels, None) } else { Vec::new() };
        CaughtUp { gaps, ..CaughtUp::default() }
    }

    fn gaps(&self, channels: Vec<ChannelName>, position: Option<Since>) -> Vec<Gap> {
        let retained = channels.into_iter().filter(|channel| self.rules.of(channel).is_some());
        retained.map(|channel| Gap { channel, position }).collect()
    }

    /// What a client of a channel has missed, if this node knows. The client must be [gated](crate::hub::ConnectionHandle::subscribe_gated)
    /// already, so that what is published meanwhile is held.
    #[must_use]
    pub fn missed(&self, channel: &ChannelName, since: Since) -> Option<Missed> {
        let state = self.lock();
        if state.is_catching_up || state.seen.is_none() || state.is_behind(since) {
            return None;
        }
        state.rings.missed(channel, since, unix_milliseconds())
    }

    /// Where a client goes on that is told of a gap: after which position, and which of the messages that are held for it are old.
    /// `joined` is how far this node had published the channel when they began to be held, `since` how far the client has read.
    #[must_use]
    pub fn after_gap(
        &self,
        channel: &ChannelName,
        joined: Option<Since>,
        since: Option<Since>,
    ) -> (Option<Since>, Option<Position>) {
        self.lock().after_gap(channel, joined, since)
    }

    /// Waits until this node has handled everything that Redis has published before, as far as it can.
    pub async fn caught_up(&self) {
        self.broker.fence().await;
    }

    /// The position of the last message of a channel. `None`: there is none.
    pub async fn head(&self, channel: &ChannelName) -> Result<Option<Position>, StoreError> {
        if let Some(end) = self.lock().rings.end(channel) {
            return Ok(Some(end));
        }
        let reads = [StoreRead { channel: channel.clone(), after: ReadAfter::End }];
        let history = self.broker.read_histories(&reads).await?.pop();
        Ok(history.and_then(|history| history.head).map(|head| head.position))
    }

    /// How far this node has published a channel. `None`: it has not asked the store yet.
    #[must_use]
    pub fn position(&self, channel: &ChannelName) -> Option<Since> {
        let state = self.lock();
        let end = state.rings.end(channel).filter(|_| !state.is_catching_up).map(Since::Position);
        end.or_else(|| state.delivered.map(|StoreState { store, number }| Since::Number { store, number }))
    }

    /// The messages of a channel that are kept, the oldest first: all of them, or the latest ones if this node has `enough`.
    pub async fn kept(&self, channel: &ChannelName, enough: usize) -> Result<Vec<Arc<Entry>>, StoreError> {
        let Some(retention) = self.rules.of(channel) else { return Ok(Vec::new()) };
        let (now, age) = (unix_milliseconds(), retention.age.as_millis());
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

    pub(super) fn lock(&self) -> MutexGuard<'_, HistoryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
