//! Who publishes.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::sync::mpsc::UnboundedSender;

use super::api::Api;
use super::connection::Command;
use super::door::Door;
use super::outcome::{Outcome, Part};
use super::pacer::Publisher;
use super::redis::Redis;
use super::stamp::Stamp;
use super::tally::Run;

/// Speakers that are opened at a time.
const AT_A_TIME: usize = 64;

/// One of the ways to publish.
pub(super) enum Voice {
    /// Some of the connections that read: the server sends each of them its own as well.
    Readers,
    /// Connections of their own, because the server sends nobody what they said themselves: all who read are then due
    /// the same copies.
    Speakers(Speakers),
    /// Laravel over Redis.
    Redis(Redis),
    /// Laravel over the HTTP API.
    Http(Api),
}

/// Connections that only publish, by channel and number.
#[derive(Default)]
pub(super) struct Speakers {
    handles: BTreeMap<(usize, u16), UnboundedSender<Command>>,
    /// Those that could not be opened, by reason.
    pub(super) refused: BTreeMap<String, u64>,
}

/// What somebody who is no connection published on a channel.
#[derive(Debug, Clone)]
pub(super) struct Published {
    pub(super) channel: usize,
    pub(super) publisher: u16,
    pub(super) sent: u32,
    pub(super) accepted: u64,
}

impl Voice {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Readers | Self::Speakers(_) => "websocket",
            Self::Redis(_) => "redis",
            Self::Http(_) => "http",
        }
    }

    /// Whether it learns of each message whether it was taken, also where the protocol of the connections is silent.
    pub(super) fn is_answered(&self) -> bool {
        matches!(self, Self::Redis(_) | Self::Http(_))
    }

    /// Connections that are there for it alone.
    pub(super) fn speakers(&self) -> impl Iterator<Item = &UnboundedSender<Command>> {
        let speakers = if let Self::Speakers(speakers) = self { Some(speakers) } else { None };
        speakers.into_iter().flat_map(|speakers| speakers.handles.values())
    }

    /// The publisher with this number on a channel, where it is none of those who read.
    pub(super) fn outside(&self, channel: usize, number: u16) -> Option<Publisher> {
        match self {
            Self::Readers => None,
            Self::Speakers(speakers) => {
                speakers.handles.get(&(channel, number)).cloned().map(Publisher::Connection)
            }
            // There is one Laravel.
            Self::Redis(redis) => (number == 0).then(|| Publisher::Redis(redis.dues.clone())),
            Self::Http(api) => api.publisher(channel, number),
        }
    }

    /// Waits until it has nothing more to do; nobody else may hold one of its publishers.
    pub(super) async fn finish(self) -> anyhow::Result<Vec<Published>> {
        match self {
            Self::Readers | Self::Speakers(_) => Ok(Vec::new()),
            Self::Redis(redis) => redis.finish(),
            Self::Http(api) => api.finish().await,
        }
    }
}

impl Speakers {
    /// Opens so many on each channel. In a closed loop (`window`) each makes up for what is refused.
    pub(super) async fn open(
        &mut self,
        door: &Door,
        publishers: u16,
        window: bool,
        outcomes: &UnboundedSender<Outcome>,
    ) {
        let channels = door.work.channels.len();
        // Behind all who read, and each on its channel.
        let first = door.work.connections.next_multiple_of(channels.max(1));
        let places = (0..publishers).flat_map(|number| (0..channels).map(move |channel| (channel, number)));
        let opening = stream::iter(places).map(|(channel, number)| async move {
            let place = first + usize::from(number) * channels + channel;
            ((channel, number), door.open(place, Part::Speaking, outcomes.clone()).await)
        });
        let mut opening = std::pin::pin!(opening.buffer_unordered(AT_A_TIME));
        while let Some(((channel, number), entered)) = opening.next().await {
            match entered {
                Ok(entered) => {
                    let _ = entered.handle.send(Command::Publish { publisher: number, window });
                    self.handles.insert((channel, number), entered.handle);
                }
                Err(reason) => *self.refused.entry(format!("{reason} (a publisher)")).or_default() += 1,
            }
        }
    }
}

impl Published {
    pub(super) fn new(channel: usize, publisher: u16) -> Self {
        Self { channel, publisher, sent: 0, accepted: 0 }
    }

    /// Counts the next message, which was due at this time, and says how it is marked.
    pub(super) fn next(&mut self, run: &Run, due: u64) -> Stamp {
        let stamp = Stamp {
            run: run.id,
            channel: u32::try_from(self.channel).unwrap_or(u32::MAX),
            publisher: self.publisher,
            sequence: self.sent,
            due,
        };
        self.sent += 1;
        run.sending(self.channel, self.channel, due, run.now());
        stamp
    }

    /// One was taken.
    pub(super) fn accept(&mut self, run: &Run) {
        self.accepted += 1;
        run.accepted.fetch_add(1, Relaxed);
    }
}
