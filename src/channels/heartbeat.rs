//! The task that sends this node's heartbeats and detects lost nodes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Channels;
use crate::broker::Status;

const TICK: Duration = Duration::from_millis(500);

/// Ticks between two heartbeats.
const HEARTBEAT_TICKS: u32 = 6;

/// Ticks between two subscriber counts of a channel with many subscribers.
const COUNT_TICKS: u32 = 10;

/// Ticks between two expirations of last events.
const EXPIRE_TICKS: u32 = 120;

/// The most that one tick advances the clock, in milliseconds, however long the machine has slept.
const LONGEST_TICK: u64 = 1_000;

/// A node that has not received a message of its own for longer is isolated, in milliseconds.
const ISOLATED_AFTER: u64 = 5_000;

impl Channels {
    /// Runs until this node has left.
    pub(super) async fn beat(self: Arc<Self>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last = Instant::now();
        for tick in (0u32..).cycle() {
            let now = ticks.tick().await;
            let elapsed = u64::try_from((now - last).as_millis()).unwrap_or(u64::MAX);
            last = now;
            if self.state().has_left {
                return;
            }
            self.find_lost_nodes(elapsed.min(LONGEST_TICK));
            if tick % HEARTBEAT_TICKS == 0 {
                self.state().due.heartbeat = true;
            }
            if tick % COUNT_TICKS == 0 {
                self.update(super::state::State::send_counts);
            }
            if tick % EXPIRE_TICKS == 0 {
                self.expire();
            }
            self.outbound.notify_one();
        }
    }

    fn find_lost_nodes(&self, elapsed: u64) {
        let now = self.now();
        let is_ready = self.broker.status() == Status::Ready;
        self.update(|state| {
            let is_isolated = !is_ready || now.saturating_sub(state.nodes.last_echo()) > ISOLATED_AFTER;
            state.pass(elapsed, is_isolated)
        });
    }

    fn expire(&self) {
        let now = self.history_now();
        for app in self.state().apps.values_mut() {
            app.history.expire(app.rules.cache_ttl, now);
        }
    }
}
