//! Reads what a client has missed from the broker's store.

use std::time::Duration;

use tokio::time::sleep;

use super::histories::{Histories, READ_AGAIN};
use super::stored_entries::proven;
use crate::broker::{ReadAfter, StoreError, StoreRead, StoreState};
use crate::history::{Missed, Since};
use crate::message::ChannelName;

/// How often to look whether what has arrived proves what a client has missed.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

impl Histories {
    /// What a client of a channel has missed, from the store, once this node has handled everything up to there, or from what arrives
    /// meanwhile. `None`: a gap, or the client no longer wants it, which is asked again after each wait. Waits while the store cannot be
    /// reached, so that the caller has to bound it.
    pub async fn read_missed(
        &self,
        channel: &ChannelName,
        since: Since,
        is_wanted: impl Fn() -> bool,
    ) -> Option<Missed> {
        self.rules.of(channel)?;
        tokio::select! {
            // What is here already is not read.
            biased;
            missed = self.await_missed(channel, since, &is_wanted) => missed,
            missed = self.read_store(channel, since, &is_wanted) => missed,
        }
    }

    async fn read_store(
        &self,
        channel: &ChannelName,
        since: Since,
        is_wanted: impl Fn() -> bool,
    ) -> Option<Missed> {
        let after = match since {
            Since::Position(position) => ReadAfter::Position(position),
            Since::Number { store, number } => ReadAfter::Number(StoreState { store, number }),
        };
        let reads = [StoreRead { channel: channel.clone(), after }];
        loop {
            let permit = self.reads.acquire().await.ok()?;
            if !is_wanted() {
                return None;
            }
            let starts = self.lock().starts;
            let history = match self.broker.read_histories(&reads).await {
                Ok(mut histories) => histories.pop(),
                Err(StoreError::Denied) => None,
                Err(StoreError::Unreachable) => {
                    drop(permit);
                    sleep(READ_AGAIN).await;
                    continue;
                }
            };
            // What the store has may still be on its way to this node, also what the client has read already.
            self.broker.fence().await;
            if let Some(missed) = self.missed(channel, since) {
                return Some(missed);
            }
            let history = history?;
            let state = self.lock();
            if state.starts != starts {
                // What was published after the store was read, and before this node began, does not arrive.
                continue;
            }
            return if state.is_behind(since) { None } else { proven(history, since) };
        }
    }

    /// A node that was behind may receive what proves it, also while the store cannot be reached.
    async fn await_missed(
        &self,
        channel: &ChannelName,
        since: Since,
        is_wanted: impl Fn() -> bool,
    ) -> Option<Missed> {
        loop {
            if let Some(missed) = self.missed(channel, since) {
                return Some(missed);
            }
            sleep(LOOK_AGAIN).await;
            if !is_wanted() {
                return None;
            }
        }
    }
}
