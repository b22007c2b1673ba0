//! The task that says what there is to say: one signal at a time, so that what gathers meanwhile goes together.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::Cluster;
use super::said::Said;
use super::state::Next;
use super::waiting::{Joining, Purpose};
use crate::protocol::pusher::SubscriptionError;

/// How long something said is waited for to come back before the next is said.
const ECHO_WITHIN: Duration = Duration::from_secs(1);

/// How soon a question is repeated that the broker has refused.
const ASK_AGAIN: Duration = Duration::from_millis(100);

impl Cluster {
    /// Speaks for ever.
    pub(super) async fn speak(self: Arc<Self>) {
        loop {
            let (turn, asks) = {
                let state = self.state();
                (state.cache_turn, state.due.ask)
            };
            let turn = turn.map(|turn| Duration::from_millis(turn.saturating_sub(self.now())));
            tokio::select! {
                () = self.wake.notified() => {}
                () = sleep(turn.unwrap_or_default()), if turn.is_some() => {}
                // What the broker has refused. It may be back.
                () = sleep(ASK_AGAIN), if asks => {}
            }
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

    /// Gives others the next portion of the cache.
    async fn say_cached(&self) -> bool {
        let next = self.state().next_cached(self.now(), self.cache_now());
        let Some(portion) = next else { return false };
        if portion.is_empty() {
            // Much has been looked at; others come first.
            yield_now().await;
            return true;
        }
        if self.say(Said::Cached(portion)).await.is_ok() {
            return true;
        }
        self.state().repeat_caches(self.now());
        false
    }

    /// What was refused was heard by nobody. Changes that wait behind it would be refused as well, and nobody is to
    /// wait for that.
    fn unsaid(&self, kind: Kind, mut joins: Vec<u64>) {
        let mut failed = Vec::new();
        let telling = self.telling();
        let newcomers = {
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
            state.take_newcomers()
        };
        // They are not to wait for the broker: the number is the one that this node knows of.
        for (app, channel, count) in newcomers {
            self.tell_count_now(&app, &channel, count);
        }
        drop(telling);
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
