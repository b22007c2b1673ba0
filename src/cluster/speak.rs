//! The task that says what there is to say: one signal at a time, so that what gathers meanwhile goes together.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::Cluster;
use super::said::Said;
use super::state::Next;
use super::waiting::{Joining, Purpose};
use crate::protocol::pusher::SubscriptionError;

/// How long something said is waited for to come back before the next is said.
const ECHO_WITHIN: Duration = Duration::from_secs(1);

impl Cluster {
    /// Speaks for ever.
    pub(super) async fn speak(self: Arc<Self>) {
        loop {
            self.wake.notified().await;
            while self.say_next().await {}
        }
    }

    /// Says the next thing. Whether there was one and the broker took it.
    async fn say_next(&self) -> bool {
        let next = self.state().next();
        let Some(Next { said, joins }) = next else { return self.say_cached().await };
        let kind = Kind::of(&said);
        if self.say(said).await.is_ok() {
            if matches!(kind, Kind::Everything | Kind::Changes) {
                // What others say is heard in between, also where this node has very much to say.
                let _ = timeout(ECHO_WITHIN, self.echoed.notified()).await;
            }
            return true;
        }
        self.unsaid(kind, joins);
        false
    }

    /// Gives others the cache.
    async fn say_cached(&self) -> bool {
        let portions = {
            let mut state = self.state();
            if !std::mem::take(&mut state.due.cached) {
                return false;
            }
            state.cached(self.cache_now())
        };
        for portion in portions {
            if self.say(portion).await.is_err() {
                self.state().due.cached = true;
                return false;
            }
        }
        true
    }

    /// What was refused was heard by nobody. Changes that wait behind it would be refused as well, and nobody is to
    /// wait for that.
    fn unsaid(&self, kind: Kind, mut joins: Vec<u64>) {
        let mut failed = Vec::new();
        {
            let mut state = self.state();
            joins.extend(state.give_changes_up());
            match kind {
                Kind::Ask => state.due.ask = true,
                // Departures, counts and sign-ins are told by the snapshot instead; joins fail.
                Kind::Everything | Kind::Changes => state.repeat_snapshot(),
                Kind::Other => {}
            }
            for number in joins {
                let is_channel = state
                    .joining
                    .get(&number)
                    .is_some_and(|joining| matches!(joining.purpose, Purpose::Channel { .. }));
                if is_channel && let Some(joining) = state.joining.remove(&number) {
                    failed.push((number, joining));
                }
            }
        }
        for (number, Joining { peer, purpose }) in failed {
            if let Purpose::Channel { channel, ticket } = purpose {
                self.exit(peer.app().credentials.id(), channel.name(), peer.id(), Some(number));
                peer.join_failed(channel.name(), ticket, SubscriptionError::Unavailable);
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Ask,
    Everything,
    Changes,
    Other,
}

impl Kind {
    fn of(said: &Said) -> Self {
        match said {
            Said::Ask => Self::Ask,
            Said::Everything { .. } | Said::Portion { .. } => Self::Everything,
            Said::Changes(_) => Self::Changes,
            Said::Alive | Said::Gone | Said::Cached(_) | Said::Terminate { .. } => Self::Other,
        }
    }
}
