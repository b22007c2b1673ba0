//! The histories of an app's channels, for the application.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Channels;
use crate::broker::StoreError;
use crate::history::{Entry, Since};
use crate::message::{ChannelName, Position};

/// How long a call waits for the node to catch up with the broker.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(1);

/// How long it waits for what only the broker has.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// A part of a channel's history.
#[derive(Debug)]
pub struct HistoryPage {
    /// The oldest first.
    pub entries: Vec<Arc<Entry>>,
    /// Where to go on: every later message of the channel comes after this position.
    pub position: Since,
    /// Newer messages are kept than these.
    pub has_more: bool,
    /// It is not proven that these messages are all since the position that was asked for.
    pub is_gap: bool,
}

impl Channels {
    /// The position of a channel with a history: everything before has been delivered on this node. `None`: this node has not reached
    /// the store yet.
    #[must_use]
    pub fn position(&self, app: &str, channel: &ChannelName) -> Option<Since> {
        self.histories.position(&ChannelName::scoped(app, channel.as_str()))
    }

    /// Whether a channel, with the scope of its app or native, has a history.
    #[must_use]
    pub fn is_retained(&self, channel: &ChannelName) -> bool {
        self.histories.retention(channel).is_some()
    }

    /// The position of the last message of such a channel. `None`: there is none.
    pub async fn head(&self, channel: &ChannelName) -> Result<Option<Position>, StoreError> {
        self.histories.head(channel).await
    }

    /// Waits until this node has delivered everything that was published before, so that its positions include it, but not for long:
    /// the broker may be away. Positions are earlier then, which is not wrong.
    pub async fn caught_up(&self) {
        let _ = timeout(CATCH_UP_TIMEOUT, self.broker.fence()).await;
    }

    /// Reads from the history of a channel at most `limit` messages: those that follow `since`, or else the latest ones. In case of a
    /// gap, it starts with the oldest message that is kept. While the broker can be reached, everything is included that any node had
    /// accepted before the call.
    pub async fn history(
        &self,
        app: &str,
        channel: &ChannelName,
        since: Option<Since>,
        limit: usize,
    ) -> Result<HistoryPage, StoreError> {
        self.history_of(&ChannelName::scoped(app, channel.as_str()), since, limit).await
    }

    /// The same for a channel with the scope of its app, or a native one.
    pub async fn history_of(
        &self,
        channel: &ChannelName,
        since: Option<Since>,
        limit: usize,
    ) -> Result<HistoryPage, StoreError> {
        self.caught_up().await;
        // Before the messages are read, so that it does not cover one that is missing below.
        let before = self.histories.position(channel).ok_or(StoreError::Unreachable)?;
        let missed = match since {
            None => None,
            Some(since) => {
                // What is here already is not read.
                let reading = self.histories.read_missed(channel, since, || true);
                timeout(READ_TIMEOUT, reading).await.map_err(|_| StoreError::Unreachable)?
            }
        };
        let is_gap = since.is_some() && missed.is_none();
        let enough = if is_gap { usize::MAX } else { limit };
        let mut entries = match missed {
            Some(missed) => missed.entries,
            None => self.histories.kept(channel, enough).await?,
        };
        let has_more = since.is_some() && entries.len() > limit;
        if since.is_none() {
            entries.drain(..entries.len().saturating_sub(limit));
        }
        entries.truncate(limit);
        let position = entries.last().map_or(before, |last| Since::Position(last.position));
        Ok(HistoryPage { entries, position, has_more, is_gap })
    }
}
